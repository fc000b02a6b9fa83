//! The forward pass on a graphics processor: candle's own BERT, texts of one batch padded to the longest.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};

use super::error::EmbedError;

/// A model on a device.
pub(super) struct DeviceBert {
    model: BertModel,
    device: Device,
    hidden: usize,
}

impl DeviceBert {
    /// Reads the weights of the folder at `path` onto a device.
    ///
    /// # Errors
    /// When a file is damaged, or the device does not take the model.
    pub(super) fn load(folder: &Path, weights: &Path, device: Device) -> Result<Self, EmbedError> {
        let path = folder.join("config.json");
        let text = std::fs::read(&path).map_err(|source| EmbedError::Unreadable { path: path.clone(), source })?;
        let config: Config = serde_json::from_slice(&text)
            .map_err(|error| EmbedError::Malformed { path: path.clone(), reason: error.to_string() })?;
        if config.model_type.as_deref().is_some_and(|kind| kind != "bert") {
            let what = format!("a model of type {} on a graphics processor", config.model_type.unwrap_or_default());
            return Err(EmbedError::Unsupported { path, what, instead: "there it is bert; use device=\"cpu\"" });
        }
        let load = || -> candle_core::Result<BertModel> {
            // SAFETY: the weights are copied to the device before this ends.
            let tensors = unsafe { VarBuilder::from_mmaped_safetensors(&[weights], DType::F32, &device)? };
            BertModel::load(tensors, &config)
        };
        let model = load().map_err(|error| EmbedError::Malformed {
            path: weights.to_owned(),
            reason: error.to_string().lines().next().unwrap_or_default().to_owned(),
        })?;
        Ok(Self { model, device, hidden: config.hidden_size })
    }

    /// The last hidden states of all tokens of the texts, one behind the other.
    ///
    /// # Errors
    /// When the device fails, such as for want of memory.
    pub(super) fn forward(&self, tokens: &[u32], lengths: &[usize]) -> Result<Vec<f32>, EmbedError> {
        self.states(tokens, lengths).map_err(|error| EmbedError::Device(format!("the device failed: {error}")))
    }

    fn states(&self, tokens: &[u32], lengths: &[usize]) -> candle_core::Result<Vec<f32>> {
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let (mut ids, mut mask) = (Vec::new(), Vec::new());
        let mut rest = tokens;
        for length in lengths {
            let (text, behind) = rest.split_at(*length);
            ids.extend_from_slice(text);
            ids.resize(ids.len() + longest - length, 0);
            mask.resize(mask.len() + length, 1_u32);
            mask.resize(mask.len() + longest - length, 0);
            rest = behind;
        }
        let shape = (lengths.len(), longest);
        let ids = Tensor::from_vec(ids, shape, &self.device)?;
        let mask = Tensor::from_vec(mask, shape, &self.device)?;
        let states = self.model.forward(&ids, &ids.zeros_like()?, Some(&mask))?;
        let states: Vec<f32> = states.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        let texts = states.chunks_exact(longest * self.hidden);
        Ok(texts.zip(lengths).flat_map(|(text, length)| &text[..length * self.hidden]).copied().collect())
    }
}
