//! The core of Facilitair: everything that touches each token, without knowing Python.
//!
//! [`stream`] turns the bytes of many chat completions into merged deltas and cuts their text into
//! fragments. It holds no policy: retries, prompts and prices belong to the caller.

#![forbid(unsafe_code)]

pub mod stream;
