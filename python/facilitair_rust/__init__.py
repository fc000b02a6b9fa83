"""The Rust core of Facilitair: token streams, their decoding and the text of a chunk."""

from .facilitair_rust import (
    ChatDecoder,
    ChunkText,
    Closed,
    Content,
    Control,
    Boundary,
    Failed,
    Finished,
    HttpClient,
    Mux,
    Reasoning,
    StreamError,
    Text,
    Timeouts,
    Usage,
    __version__,
)

__all__ = [
    "Boundary",
    "ChatDecoder",
    "ChunkText",
    "Closed",
    "Content",
    "Control",
    "Failed",
    "Finished",
    "HttpClient",
    "Mux",
    "Reasoning",
    "StreamError",
    "Text",
    "Timeouts",
    "Usage",
    "__version__",
]
