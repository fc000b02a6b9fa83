//! Texts to vectors: sentence-transformers of the BERT family, computed here.

mod arena;
mod attention;
mod bert;
#[cfg(feature = "candle")]
mod device;
mod elementwise;
mod embedder;
mod error;
mod find;
mod folder;
mod memo;
mod pooling;
mod product;
mod simd;
mod tokens;

pub use embedder::{Device, Embedder, Options, Stats};
pub use error::EmbedError;
pub use find::{DEFAULT_MODEL, full_name, in_hub_cache, is_name};
pub use product::Precision;
pub use simd::Isa;
