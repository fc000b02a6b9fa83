//! The stock path of candle as a peer of benches/embeddings.py: its tokenizer, its BERT, a mean. One JSON request a line:
//! `{"texts": [...], "times": n}`; the answer is the seconds of each time.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::time::Instant;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use serde::Deserialize;
use tokenizers::Tokenizer;

#[derive(Deserialize)]
struct Request {
    texts: Vec<String>,
    times: usize,
}

fn encode(tokenizer: &Tokenizer, model: &BertModel, text: &str) -> Result<Vec<f32>> {
    let encoding = tokenizer.encode(text, true).unwrap();
    let ids = Tensor::new(encoding.get_ids(), &Device::Cpu)?.unsqueeze(0)?;
    let states = model.forward(&ids, &ids.zeros_like()?, None)?;
    let mean = states.mean(1)?;
    mean.broadcast_div(&mean.sqr()?.sum_keepdim(1)?.sqrt()?)?.squeeze(0)?.to_vec1()
}

fn main() {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap());
    let mut tokenizer = Tokenizer::from_file(folder.join("tokenizer.json")).unwrap();
    tokenizer.with_padding(None);
    let config: Config = serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap();
    let weights = folder.join("model.safetensors");
    // SAFETY: nobody changes the file while this runs.
    let tensors =
        unsafe { VarBuilder::from_mmaped_safetensors(&[weights], DType::F32, &Device::Cpu) }.unwrap();
    let model = BertModel::load(tensors, &config).unwrap();
    println!("{{\"ready\": true}}");
    for line in std::io::stdin().lock().lines() {
        let request: Request = serde_json::from_str(&line.unwrap()).unwrap();
        let mut seconds = Vec::new();
        let mut last = Vec::new();
        for _ in 0..request.times {
            let began = Instant::now();
            last = request
                .texts
                .iter()
                .map(|text| encode(&tokenizer, &model, text).unwrap())
                .collect::<Vec<_>>();
            seconds.push(began.elapsed().as_secs_f64());
        }
        let answer = serde_json::json!({"seconds": seconds, "vector": last[0]});
        println!("{answer}");
        std::io::stdout().flush().unwrap();
    }
}
