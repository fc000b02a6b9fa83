//! Chat streams, from bytes to deltas.
//!
//! `sse` frames, `delta` and `anthropic` read the JSON of one event (`wire` says which does), `clocks` and `decoder` are the sans-I/O state of
//! one response, `http` and `mux` move the bytes, `push` takes text from elsewhere, `text` cuts what was written into fragments. Only
//! `http` and `mux` do I/O; the rest works on any clock, given as seconds.

mod anthropic;
pub mod clocks;
pub mod decoder;
pub mod delta;
pub mod error;
pub mod http;
pub mod mux;
pub mod push;
mod refusal;
mod shared;
pub mod sse;
pub mod text;
mod tick;
mod transfer;
pub mod wire;

pub use clocks::{Clocks, InvalidTimeouts, Seconds, Timeouts};
pub use decoder::ChatDecoder;
pub use delta::{Delta, Deltas, Usage};
pub use error::{ErrorCode, StreamError};
pub use http::{Client, ClientError};
pub use mux::Mux;
pub use push::Push;
pub use shared::{Pushed, StreamId, Waiting};
pub use text::{ChunkText, Segment, TextError};
pub use wire::Wire;
