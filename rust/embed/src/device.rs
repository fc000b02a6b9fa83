//! The forward pass on a graphics processor: candle's own BERT, texts of one batch padded to the longest.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config, HiddenAct};

use super::elementwise::Activation;
use super::error::EmbedError;
use super::folder::Folder;

/// A model on a device.
pub(super) struct DeviceBert {
    model: BertModel,
    device: Device,
    hidden: usize,
}

impl DeviceBert {
    /// Reads the weights of a model onto a device.
    ///
    /// # Errors
    /// When the file is damaged, or the device does not take the model.
    pub(super) fn load(folder: &Folder, weights: &Path, device: Device) -> Result<Self, EmbedError> {
        let said = &folder.config;
        if said.first_position() > 0 {
            let what = "a RoBERTa on a graphics processor".to_owned();
            let path = folder.path.join("config.json");
            return Err(EmbedError::Unsupported {
                path,
                what,
                instead: "there it is BERT; use device=\"cpu\"",
            });
        }
        let config = Config {
            vocab_size: said.vocab_size,
            hidden_size: said.hidden_size,
            num_hidden_layers: said.num_hidden_layers,
            num_attention_heads: said.num_attention_heads,
            intermediate_size: said.intermediate_size,
            hidden_act: match said.activation {
                Activation::Gelu => HiddenAct::Gelu,
                Activation::GeluTanh => HiddenAct::GeluApproximate,
                Activation::Relu => HiddenAct::Relu,
            },
            max_position_embeddings: said.max_position_embeddings,
            type_vocab_size: said.type_vocab_size,
            layer_norm_eps: f64::from(said.layer_norm_eps),
            ..Config::default()
        };
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
        self.states(tokens, lengths)
            .map_err(|error| EmbedError::Device(format!("the device failed: {error}")))
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
