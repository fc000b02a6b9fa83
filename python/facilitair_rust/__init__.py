"""The Rust core of Facilitair: token streams, their decoding, the text of a chunk, and embeddings."""

from .facilitair_rust import (
    Block,
    Boundary,
    ChatDecoder,
    ChunkText,
    Closed,
    Content,
    Control,
    Embedder,
    EmbedderStats,
    Failed,
    Finished,
    HttpClient,
    Mux,
    PushStream,
    Reasoning,
    StreamError,
    Text,
    Timeouts,
    Usage,
    __version__,
)

Delta = Content | Reasoning | Finished | Failed | Closed
Segment = Text | Boundary | Block | Control

__all__ = [
    "Block",
    "Boundary",
    "ChatDecoder",
    "ChunkText",
    "Closed",
    "Content",
    "Control",
    "Delta",
    "Embedder",
    "EmbedderStats",
    "Failed",
    "Finished",
    "HttpClient",
    "Mux",
    "PushStream",
    "Reasoning",
    "Segment",
    "StreamError",
    "Text",
    "Timeouts",
    "Usage",
    "__version__",
]
