//! A folder of sentence-transformers, as its files describe it: <https://sbert.net/docs/sentence_transformer/usage/custom_models.html>.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::elementwise::Activation;
use super::error::EmbedError;

/// What a folder says of its model.
pub(super) struct Folder {
    pub(super) path: PathBuf,
    pub(super) config: Config,
    /// Joined one behind the other where there are several.
    pub(super) pooling: Vec<Pooling>,
    /// The most tokens of a text, the special ones included; what is longer is cut.
    pub(super) longest: usize,
    pub(super) lower_case: bool,
    /// Whether the beginning of a text that is too long is cut, not its end.
    pub(super) cut_left: bool,
    pub(super) prompts: BTreeMap<String, String>,
    pub(super) default_prompt: Option<String>,
}

/// How the hidden states of a text become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum Pooling {
    #[serde(rename = "cls")]
    First,
    #[serde(rename = "lasttoken")]
    Last,
    #[serde(rename = "mean")]
    Mean,
    /// The sum divided by the root of the length.
    #[serde(rename = "mean_sqrt_len_tokens")]
    MeanRoot,
    #[serde(rename = "max")]
    Max,
    /// Later tokens weigh more: 1, 2, 3, ...
    #[serde(rename = "weightedmean")]
    Weighted,
}

/// `config.json`, as far as it matters.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) hidden_size: usize,
    pub(super) num_hidden_layers: usize,
    pub(super) num_attention_heads: usize,
    pub(super) intermediate_size: usize,
    pub(super) activation: Activation,
    pub(super) max_position_embeddings: usize,
    pub(super) type_vocab_size: usize,
    pub(super) vocab_size: usize,
    pub(super) layer_norm_eps: f32,
    /// The position of the first token is behind that of the padding in RoBERTa, else 0.
    pub(super) padding_position: Option<usize>,
}

impl Config {
    /// The row of the table of positions that a first token gets.
    pub(super) fn first_position(&self) -> usize {
        self.padding_position.map_or(0, |padding| padding.saturating_add(1))
    }

    fn positions(&self) -> usize {
        self.max_position_embeddings - self.first_position()
    }
}

#[derive(Deserialize)]
struct RawConfig {
    model_type: Option<String>,
    hidden_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    intermediate_size: Option<usize>,
    hidden_act: Option<String>,
    max_position_embeddings: Option<usize>,
    #[serde(default = "types")]
    type_vocab_size: usize,
    vocab_size: Option<usize>,
    #[serde(default = "epsilon")]
    layer_norm_eps: f32,
    #[serde(default)]
    pad_token_id: Option<usize>,
    position_embedding_type: Option<String>,
    #[serde(default)]
    is_decoder: bool,
}

/// What the reference takes where a file says nothing.
fn types() -> usize {
    2
}

fn epsilon() -> f32 {
    1e-12
}

#[derive(Deserialize)]
struct Module {
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Default, Deserialize)]
struct TransformerFile {
    max_seq_length: Option<f64>,
    #[serde(default)]
    do_lower_case: bool,
    module_output_name: Option<String>,
}

/// The names under which older folders have it, in the order in which the reference looks for them.
const TRANSFORMER_FILES: [&str; 7] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];

#[derive(Default, Deserialize)]
struct TokenizerFile {
    model_max_length: Option<f64>,
    truncation_side: Option<String>,
}

#[derive(Default, Deserialize)]
struct ModelFile {
    #[serde(default)]
    prompts: BTreeMap<String, Option<String>>,
    default_prompt_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Modes {
    One(Pooling),
    Several(Vec<Pooling>),
}

#[derive(Deserialize)]
struct PoolingFile {
    pooling_mode: Option<Modes>,
    #[serde(default)]
    pooling_mode_cls_token: bool,
    #[serde(default)]
    pooling_mode_max_tokens: bool,
    #[serde(default)]
    pooling_mode_mean_tokens: bool,
    #[serde(default)]
    pooling_mode_mean_sqrt_len_tokens: bool,
    #[serde(default)]
    pooling_mode_weightedmean_tokens: bool,
    #[serde(default)]
    pooling_mode_lasttoken: bool,
    include_prompt: Option<bool>,
}

impl PoolingFile {
    fn modes(self) -> Vec<Pooling> {
        let named = match self.pooling_mode {
            Some(Modes::One(mode)) => return vec![mode],
            Some(Modes::Several(modes)) => modes,
            None => [
                (self.pooling_mode_cls_token, Pooling::First),
                (self.pooling_mode_max_tokens, Pooling::Max),
                (self.pooling_mode_mean_tokens, Pooling::Mean),
                (self.pooling_mode_mean_sqrt_len_tokens, Pooling::MeanRoot),
                (self.pooling_mode_weightedmean_tokens, Pooling::Weighted),
                (self.pooling_mode_lasttoken, Pooling::Last),
            ]
            .into_iter()
            .filter_map(|(chosen, mode)| chosen.then_some(mode))
            .collect(),
        };
        if named.is_empty() { vec![Pooling::Mean] } else { named }
    }
}

impl Folder {
    /// Reads what a folder says, but not its weights.
    ///
    /// # Errors
    /// When a file is missing or damaged, or asks for something that cannot be computed here.
    pub(super) fn read(path: &Path) -> Result<Self, EmbedError> {
        let modules_path = path.join("modules.json");
        let modules: Option<Vec<Module>> = optional(&modules_path)?;
        let unsupported = |path: &Path, what: String, instead| EmbedError::Unsupported {
            path: path.to_owned(),
            what,
            instead,
        };
        let (mut transformer, mut pooling) = (path.to_owned(), None);
        for module in modules.iter().flatten() {
            let kind =
                module.kind.strip_prefix("sentence_transformers.").and_then(|kind| kind.rsplit('.').next());
            match (kind, &pooling) {
                (Some("Transformer"), None) => transformer = path.join(&module.path),
                (Some("Pooling"), None) => {
                    pooling = Some(read_pooling(&path.join(&module.path).join("config.json"))?);
                }
                (Some("Normalize"), _) => {}
                _ => {
                    let what = format!("a module {}", module.kind);
                    let instead =
                        "what is: one Transformer, one Pooling, Normalize, of sentence_transformers";
                    return Err(unsupported(&modules_path, what, instead));
                }
            }
        }
        if modules.is_some() && pooling.is_none() {
            let instead = "its vectors would be those of tokens";
            return Err(unsupported(&modules_path, "no Pooling".to_owned(), instead));
        }
        let config_path = transformer.join("config.json");
        let config = checked(required(&config_path, "the shape of the model")?, &config_path)?;
        let mut said = None;
        for name in TRANSFORMER_FILES {
            if said.is_none() {
                said = optional::<TransformerFile>(&transformer.join(name))?;
            }
        }
        let said = said.unwrap_or_default();
        if let Some(other) = said.module_output_name.filter(|name| name != "token_embeddings") {
            let what = format!("the output {other}");
            return Err(unsupported(
                &transformer.join(TRANSFORMER_FILES[0]),
                what,
                "what is: token_embeddings",
            ));
        }
        let tokenizer: TokenizerFile =
            optional(&transformer.join("tokenizer_config.json"))?.unwrap_or_default();
        let model_path = path.join("config_sentence_transformers.json");
        let model: ModelFile = optional(&model_path)?.unwrap_or_default();
        let prompts: BTreeMap<String, String> =
            model.prompts.into_iter().map(|(name, text)| (name, text.unwrap_or_default())).collect();
        if let Some(name) = model.default_prompt_name.as_ref().filter(|name| !prompts.contains_key(*name)) {
            let reason = format!("its default prompt {name} is none of its prompts");
            return Err(EmbedError::Malformed { path: model_path, reason });
        }
        let positions = config.positions();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let longest =
            said.max_seq_length.or(tokenizer.model_max_length).map_or(positions, |most| most as usize);
        Ok(Self {
            path: transformer,
            pooling: pooling.unwrap_or_else(|| vec![Pooling::Mean]),
            longest: longest.clamp(2, positions),
            lower_case: said.do_lower_case,
            cut_left: tokenizer.truncation_side.as_deref() == Some("left"),
            prompts,
            default_prompt: model.default_prompt_name,
            config,
        })
    }

    /// Whether a folder has everything that it speaks of: of one that another program has downloaded only the
    /// transformer may be there.
    pub(super) fn is_whole(path: &Path) -> bool {
        path.join("modules.json").is_file()
            && Self::read(path).is_ok_and(|folder| folder.weights().is_ok() && folder.tokenizer().is_ok())
    }

    /// Where the weights are.
    ///
    /// # Errors
    /// When they are missing, or are there in a form that is not read.
    pub(super) fn weights(&self) -> Result<PathBuf, EmbedError> {
        let path = self.path.join("model.safetensors");
        if path.is_file() {
            return Ok(path);
        }
        let instead = "save it as model.safetensors: model.save_pretrained(folder, safe_serialization=True)";
        for other in ["model.safetensors.index.json", "pytorch_model.bin"] {
            if self.path.join(other).is_file() {
                let what = format!("weights as {other}");
                return Err(EmbedError::Unsupported { path: self.path.join(other), what, instead });
            }
        }
        Err(missing(&path, "the weights"))
    }

    /// Where the tokenizer is.
    ///
    /// # Errors
    /// When it is missing.
    pub(super) fn tokenizer(&self) -> Result<PathBuf, EmbedError> {
        let path = self.path.join("tokenizer.json");
        if path.is_file() { Ok(path) } else { Err(missing(&path, "how texts are divided into tokens")) }
    }
}

fn read_pooling(path: &Path) -> Result<Vec<Pooling>, EmbedError> {
    let file: PoolingFile = required(path, "how hidden states become a vector")?;
    if file.include_prompt == Some(false) {
        return Err(EmbedError::Unsupported {
            path: path.to_owned(),
            what: "prompts that are left out of the pooling".to_owned(),
            instead: "take a model without include_prompt",
        });
    }
    Ok(file.modes())
}

fn checked(raw: RawConfig, path: &Path) -> Result<Config, EmbedError> {
    let unsupported =
        |what: String, instead| EmbedError::Unsupported { path: path.to_owned(), what, instead };
    let kind = raw.model_type.unwrap_or_else(|| "bert".to_owned());
    let is_roberta = match &*kind {
        "bert" => false,
        "roberta" | "xlm-roberta" | "camembert" => true,
        _ => {
            return Err(unsupported(
                format!("a model of type {kind}"),
                "what is: bert, roberta, xlm-roberta, camembert",
            ));
        }
    };
    if raw.is_decoder {
        return Err(unsupported("a decoder".to_owned(), "what is: encoders, which see the whole text"));
    }
    if let Some(other) = raw.position_embedding_type.filter(|kind| kind != "absolute") {
        return Err(unsupported(format!("positions of type {other}"), "what is: absolute"));
    }
    let activation = match raw.hidden_act.as_deref() {
        None | Some("gelu") => Activation::Gelu,
        Some("gelu_new" | "gelu_pytorch_tanh" | "gelu_approximate") => Activation::GeluTanh,
        Some("relu") => Activation::Relu,
        Some(other) => {
            return Err(unsupported(format!("the activation {other}"), "what is: gelu, gelu_new, relu"));
        }
    };
    let size = |name: &str, value: Option<usize>| match value {
        Some(value) if value > 0 => Ok(value),
        _ => Err(EmbedError::Malformed { path: path.to_owned(), reason: format!("it has no {name}") }),
    };
    let config = Config {
        hidden_size: size("hidden_size", raw.hidden_size)?,
        num_hidden_layers: size("num_hidden_layers", raw.num_hidden_layers)?,
        num_attention_heads: size("num_attention_heads", raw.num_attention_heads)?,
        intermediate_size: size("intermediate_size", raw.intermediate_size)?,
        activation,
        max_position_embeddings: size("max_position_embeddings", raw.max_position_embeddings)?,
        type_vocab_size: raw.type_vocab_size,
        vocab_size: size("vocab_size", raw.vocab_size)?,
        layer_norm_eps: raw.layer_norm_eps,
        padding_position: is_roberta.then(|| raw.pad_token_id.unwrap_or(1)),
    };
    let (hidden, heads) = (config.hidden_size, config.num_attention_heads);
    if !hidden.is_multiple_of(heads)
        || !(hidden / heads).is_multiple_of(32)
        || !config.intermediate_size.is_multiple_of(32)
    {
        let what = format!("{heads} heads in {hidden} floats and {} between", config.intermediate_size);
        return Err(unsupported(what, "the floats of a head and those between have to be multiples of 32"));
    }
    if config.first_position().saturating_add(2) > config.max_position_embeddings {
        let reason = "max_position_embeddings leaves no room for a text".to_owned();
        return Err(EmbedError::Malformed { path: path.to_owned(), reason });
    }
    Ok(config)
}

fn missing(path: &Path, needed: &'static str) -> EmbedError {
    let folder = path.parent().unwrap_or(path).to_owned();
    let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    EmbedError::Missing { folder, file, needed }
}

fn required<T: DeserializeOwned>(path: &Path, needed: &'static str) -> Result<T, EmbedError> {
    optional(path)?.ok_or_else(|| missing(path, needed))
}

fn optional<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, EmbedError> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(EmbedError::Unreadable { path: path.to_owned(), source }),
    };
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|error| EmbedError::Malformed { path: path.to_owned(), reason: error.to_string() })
}
