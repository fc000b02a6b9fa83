//! Chat streams, from bytes to deltas.
//!
//! Imports point one way, from the later to the earlier of these:
//!
//! - `error`, `clocks`, `delta` and `wire` are what all of them speak of.
//! - `sse` frames the bytes of a response, `openai` and `anthropic` read what one event says (over `json`), `unexpected`
//!   what one is that says nothing they know, `refusal` what a provider says went wrong (through `scrub`); `surrogate`
//!   and `think` mend the text. `decoder` makes deltas of it all: without I/O, on any clock, given as seconds.
//! - `shared` holds the deltas of all streams for their one consumer.
//! - `tick` paces the I/O thread, `http` has its connections, `transfer` runs one request on it; only these do I/O.
//!   `push` is for text from elsewhere.
//! - `mux` is what the program holds.
//!
//! `text` and `bell` stand alone: the one cuts what was written into fragments, the other wakes the event loop on which
//! the consumers of many multiplexers wait.

mod anthropic;
mod bell;
pub mod clocks;
pub mod decoder;
pub mod delta;
pub mod error;
pub mod http;
mod json;
pub mod mux;
mod openai;
mod opening;
pub mod push;
mod refusal;
mod scrub;
mod shared;
pub mod sse;
mod surrogate;
pub mod text;
mod think;
mod tick;
mod transfer;
mod unexpected;
pub mod wire;

pub use bell::Bell;
pub use clocks::{Clocks, InvalidTimeouts, Seconds, Timeouts};
pub use decoder::ChatDecoder;
pub use delta::{Delta, Deltas, Usage};
pub use error::{ErrorCode, StreamError};
pub use http::{Client, ClientError};
pub use mux::Mux;
pub use push::Push;
pub use shared::{Pushed, StreamId, Waiting};
pub use text::{Block, BlockKind, ChunkText, Segment, TextError};
pub use wire::{Reading, Wire};
