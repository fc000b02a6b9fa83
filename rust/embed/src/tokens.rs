//! Texts to the tokens of a model, by the tokenizer of its folder.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokenizers::normalizers::{Lowercase, Sequence};
use tokenizers::{
    NormalizedString, Normalizer, NormalizerWrapper, PostProcessor, Tokenizer, TruncationDirection,
    TruncationParams,
};

use super::error::EmbedError;
use super::folder::Folder;

/// A tokenizer that cuts what is too long, pads nothing, and gives only tokens that the model has.
pub(super) struct Tokens {
    tokenizer: Tokenizer,
    vocabulary: usize,
    longest: usize,
}

impl Tokens {
    /// Reads `tokenizer.json` and sets it as the other files of the folder say.
    ///
    /// # Errors
    /// When the file is missing, damaged, or does not fit the model.
    pub(super) fn load(folder: &Folder) -> Result<Self, EmbedError> {
        let path = folder.tokenizer()?;
        let malformed = |reason: String| EmbedError::Malformed { path: path.clone(), reason };
        let mut tokenizer = held(|| Tokenizer::from_file(&path)).map_err(malformed)?;
        // MiniLM's file pads every text to 128 tokens.
        tokenizer.with_padding(None);
        let added = tokenizer.get_post_processor().map_or(0, |processor| processor.added_tokens(false));
        if added >= folder.longest {
            let reason =
                format!("it adds {added} tokens to each text, and the model takes {}", folder.longest);
            return Err(malformed(reason));
        }
        let direction = if folder.cut_left { TruncationDirection::Left } else { TruncationDirection::Right };
        let truncation =
            TruncationParams { max_length: folder.longest, direction, ..TruncationParams::default() };
        held(|| tokenizer.with_truncation(Some(truncation)).map(|_| ())).map_err(malformed)?;
        let largest = tokenizer.get_vocab(true).into_values().max();
        if largest.is_some_and(|largest| largest as usize >= folder.config.vocab_size) {
            let reason = format!("it has more tokens than the {} of config.json", folder.config.vocab_size);
            return Err(malformed(reason));
        }
        if folder.lower_case && !lowers(&tokenizer) {
            let mut steps = vec![NormalizerWrapper::Lowercase(Lowercase)];
            steps.extend(tokenizer.get_normalizer().cloned());
            held(|| tokenizer.with_normalizer(Some(Sequence::new(steps))).map(|_| ())).map_err(malformed)?;
        }
        Ok(Self { tokenizer, vocabulary: folder.config.vocab_size, longest: folder.longest })
    }

    /// The tokens of a text: at least one, at most as many as the model takes.
    ///
    /// # Errors
    /// When the text cannot be read, or gives none or what the model does not have.
    pub(super) fn tokens(&self, text: &str) -> Result<Vec<u32>, EmbedError> {
        let encoding = held(|| self.tokenizer.encode_fast(text, true)).map_err(|reason| {
            EmbedError::Argument(format!("a text cannot be divided into tokens: {reason}"))
        })?;
        let tokens = encoding.get_ids();
        // What a post-processor adds stands in its file and in no vocabulary.
        if let Some(token) = tokens.iter().find(|token| **token as usize >= self.vocabulary) {
            let message =
                format!("tokenizer.json gives the token {token}, and the model has {}", self.vocabulary);
            return Err(EmbedError::Argument(message));
        }
        if tokens.is_empty() || tokens.len() > self.longest {
            let (count, longest) = (tokens.len(), self.longest);
            let message = format!("a text has {count} tokens, and the model takes 1 to {longest}");
            return Err(EmbedError::Argument(message));
        }
        Ok(tokens.to_vec())
    }
}

/// Calls the tokenizers library, which panics for some files that contradict themselves.
fn held<T>(call: impl FnOnce() -> Result<T, tokenizers::Error>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("the tokenizer failed on what tokenizer.json says".to_owned()),
    }
}

/// Whether the tokenizer itself makes letters small.
fn lowers(tokenizer: &Tokenizer) -> bool {
    let mut letter = NormalizedString::from("A");
    tokenizer
        .get_normalizer()
        .is_some_and(|normalizer| normalizer.normalize(&mut letter).is_ok() && letter.get() == "a")
}
