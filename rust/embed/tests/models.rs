//! Models of any shape with random weights: our kernels give what candle's own operations give, on every instruction
//! set that this processor has, and what a text's vector is does not depend on its neighbours.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::num::NonZero;
use std::path::{Path, PathBuf};

use candle_core::{Device as Place, Tensor};
use facilitair_embed::{Device, EmbedError, Embedder, Isa, Options, Precision};
use proptest::prelude::*;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/embed/golden").join(name)
}

/// A folder that is removed again.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[derive(Debug, Clone)]
struct Shape {
    head: usize,
    heads: usize,
    inner: usize,
    layers: usize,
    activation: &'static str,
}

fn shapes() -> impl Strategy<Value = Shape> {
    let activation = prop::sample::select(vec!["gelu", "relu", "gelu_new"]);
    (1..=2_usize, 1..=4_usize, 1..=20_usize, 1..=2_usize, activation).prop_map(
        |(head, heads, inner, layers, activation)| Shape {
            head: 32 * head,
            heads,
            inner: 32 * inner,
            layers,
            activation,
        },
    )
}

/// Random weights, spread as those of a trained model, with some inputs far larger than the others.
fn write(shape: &Shape) -> Folder {
    static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("facilitair-embed-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    let folder = Folder(path);
    std::fs::copy(golden("bert-cls").join("tokenizer.json"), folder.0.join("tokenizer.json")).unwrap();
    let Shape { head, heads, inner, layers, activation } = *shape;
    let hidden = head * heads;
    let config = format!(
        r#"{{"model_type":"bert","vocab_size":43,"hidden_size":{hidden},"num_hidden_layers":{layers},
        "num_attention_heads":{heads},"intermediate_size":{inner},"hidden_act":"{activation}",
        "max_position_embeddings":200,"type_vocab_size":2,"layer_norm_eps":1e-12,"pad_token_id":0}}"#
    );
    std::fs::write(folder.0.join("config.json"), config).unwrap();
    let random = |size: &[usize], spread: f32| Tensor::randn(0.0, spread, size, &Place::Cpu).unwrap();
    let mut tensors: HashMap<String, Tensor> = HashMap::new();
    let mut put = |name: String, tensor: Tensor| {
        tensors.insert(name, tensor);
    };
    put("embeddings.word_embeddings.weight".into(), random(&[43, hidden], 0.5));
    put("embeddings.position_embeddings.weight".into(), random(&[200, hidden], 0.2));
    put("embeddings.token_type_embeddings.weight".into(), random(&[2, hidden], 0.2));
    let mut norms = vec!["embeddings.LayerNorm".to_owned()];
    for layer in 0..layers {
        let name = format!("encoder.layer.{layer}");
        norms.extend([format!("{name}.attention.output.LayerNorm"), format!("{name}.output.LayerNorm")]);
        let linears = [
            ("attention.self.query", hidden, hidden),
            ("attention.self.key", hidden, hidden),
            ("attention.self.value", hidden, hidden),
            ("attention.output.dense", hidden, hidden),
            ("intermediate.dense", inner, hidden),
            ("output.dense", hidden, inner),
        ];
        for (part, outputs, inputs) in linears {
            #[allow(clippy::cast_precision_loss)]
            let spread = 1.0 / (inputs as f32).sqrt();
            put(format!("{name}.{part}.weight"), random(&[outputs, inputs], spread));
            put(format!("{name}.{part}.bias"), random(&[outputs], 0.2));
        }
    }
    for norm in norms {
        put(format!("{norm}.weight"), (random(&[hidden], 0.3) + 1.0).unwrap());
        put(format!("{norm}.bias"), random(&[hidden], 0.5));
    }
    candle_core::safetensors::save(&tensors, folder.0.join("model.safetensors")).unwrap();
    folder
}

fn load(path: &Path, device: Device, precision: Precision, isa: Isa) -> Embedder {
    let options = Options { device, precision, isa, memo_bytes: 0, ..Options::default() };
    Embedder::load(path, options).unwrap()
}

fn sets() -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.is_available())
}

/// The smallest cosine of any text in two lists of vectors of length 1; in double precision, as a sum of a thousand
/// products would be wrong by more than what is asked for.
fn least_cosine(one: &[f32], other: &[f32], dimensions: usize) -> f64 {
    assert!(!one.is_empty() && one.len() == other.len(), "nothing to compare");
    assert!(one.iter().chain(other).all(|value| value.is_finite()), "not a number");
    let product = |(a, b): (&[f32], &[f32])| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    one.chunks_exact(dimensions)
        .zip(other.chunks_exact(dimensions))
        .map(product)
        .fold(f64::INFINITY, f64::min)
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    let text = prop::collection::vec(0..26_u8, 0..90).prop_map(|letters| {
        letters.into_iter().map(|letter| char::from(b'a' + letter).to_string()).collect::<Vec<_>>().join(" ")
    });
    prop::collection::vec(text, 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn all_instruction_sets_agree(shape in shapes(), texts in texts()) {
        let folder = write(&shape);
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let dimensions = shape.head * shape.heads;
        let floats = load(&folder.0, Device::Cpu, Precision::F32, Isa::Portable).encode("", &texts).unwrap();
        let bytes = load(&folder.0, Device::Cpu, Precision::Int8, Isa::Portable).encode("", &texts).unwrap();
        prop_assert!(least_cosine(&floats, &bytes, dimensions) > 0.99);
        for isa in sets() {
            let same = load(&folder.0, Device::Cpu, Precision::F32, isa).encode("", &texts).unwrap();
            prop_assert!(least_cosine(&floats, &same, dimensions) > 0.999_999, "{isa}");
            let same = load(&folder.0, Device::Cpu, Precision::Int8, isa).encode("", &texts).unwrap();
            prop_assert!(least_cosine(&bytes, &same, dimensions) > 0.999, "{isa}");
        }
    }

    #[cfg(feature = "candle")]
    #[test]
    fn they_give_what_candle_gives(shape in shapes(), texts in texts()) {
        let folder = write(&shape);
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let reference = load(&folder.0, Device::Reference, Precision::F32, Isa::best()).encode("", &texts).unwrap();
        for isa in sets() {
            let ours = load(&folder.0, Device::Cpu, Precision::F32, isa).encode("", &texts).unwrap();
            prop_assert!(least_cosine(&reference, &ours, shape.head * shape.heads) > 0.999_99, "{isa}");
        }
    }

    #[test]
    fn a_vector_does_not_depend_on_what_is_computed_with_it(shape in shapes(), texts in texts(), threads in 1..4_usize) {
        let folder = write(&shape);
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        for precision in [Precision::F32, Precision::Int8] {
            let threads = NonZero::new(threads).unwrap();
            let options = Options { precision, threads, memo_bytes: 0, ..Options::default() };
            let embedder = Embedder::load(&folder.0, options).unwrap();
            let together = embedder.encode("", &texts).unwrap();
            for (text, vector) in texts.iter().zip(together.chunks_exact(embedder.dimensions())) {
                prop_assert_eq!(embedder.encode("", &[text]).unwrap(), vector);
            }
        }
    }
}

#[test]
fn wide_heads_and_long_texts() {
    let shape = Shape { head: 128, heads: 8, inner: 4096, layers: 1, activation: "gelu" };
    let folder = write(&shape);
    let text = "a b c d ".repeat(49);
    let texts = [text.as_str(), "a"];
    let floats = load(&folder.0, Device::Cpu, Precision::F32, Isa::best()).encode("", &texts).unwrap();
    let bytes = load(&folder.0, Device::Cpu, Precision::Int8, Isa::best()).encode("", &texts).unwrap();
    let plain = load(&folder.0, Device::Cpu, Precision::F32, Isa::Portable).encode("", &texts).unwrap();
    assert!(least_cosine(&floats, &plain, 1024) > 0.999_999);
    let least = least_cosine(&floats, &bytes, 1024);
    assert!(least > 0.99, "{least}");
}

#[test]
fn a_set_that_the_processor_has_not_is_an_error() {
    for isa in Isa::ALL.into_iter().filter(|isa| !isa.is_available()) {
        let options = Options { isa, ..Options::default() };
        assert!(matches!(Embedder::load(&golden("bert-cls"), options), Err(EmbedError::Device(_))));
    }
}

#[test]
fn what_is_asked_for_again_is_remembered() {
    let embedder = Embedder::load(&golden("bert-cls"), Options::default()).unwrap();
    let first = embedder.encode("", &["a b", "c", "a b"]).unwrap();
    let tokens = embedder.stats().tokens;
    let again = embedder.encode("", &["c", "a b", "d"]).unwrap();
    let dimensions = embedder.dimensions();
    assert_eq!(first[..dimensions], again[dimensions..2 * dimensions]);
    assert_eq!(first[dimensions..2 * dimensions], again[..dimensions]);
    let stats = embedder.stats();
    assert_eq!((stats.texts, stats.remembered, stats.memo_entries), (6, 2, 3));
    assert_eq!(stats.tokens - tokens, 3);
    // A prompt makes it another text.
    embedder.encode("q ", &["c"]).unwrap();
    assert_eq!(embedder.stats().remembered, 2);
}

#[test]
fn several_threads_share_it() {
    let embedder =
        Embedder::load(&golden("bert-cls"), Options { memo_bytes: 1 << 16, ..Options::default() }).unwrap();
    let texts: Vec<String> = (0..200).map(|number| format!("{} a", "b ".repeat(number % 20))).collect();
    let expected: Vec<Vec<f32>> = texts.iter().map(|text| embedder.encode("", &[text]).unwrap()).collect();
    std::thread::scope(|scope| {
        for offset in 0..4 {
            let (embedder, texts, expected) = (&embedder, &texts, &expected);
            scope.spawn(move || {
                for at in (0..texts.len()).map(|at| (at + 50 * offset) % texts.len()) {
                    assert_eq!(embedder.encode("", &[&texts[at]]).unwrap(), expected[at]);
                }
            });
        }
    });
}
