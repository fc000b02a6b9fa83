//! Texts to vectors.

use std::collections::HashMap;
use std::num::NonZero;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::bert::{Bert, Scratch};
#[cfg(feature = "candle")]
use super::device::DeviceBert;
use super::error::EmbedError;
use super::folder::Folder;
use super::memo::Memo;
use super::pooling::pool;
use super::product::Precision;
use super::simd::Isa;
use super::tokens::Tokens;

/// Rows that go through the layers together: enough to read the weights seldom, few enough to stay in the cache.
const ROWS: usize = 192;
/// Rows that a graphics processor takes at a time.
#[cfg(feature = "candle")]
const DEVICE_ROWS: usize = 16_384;

/// More threads than any machine has use for.
const MOST_THREADS: usize = 1024;

/// A model that turns texts into vectors.
///
/// Safe to use from several threads; the memory that a call works in is kept for the next.
pub struct Embedder {
    folder: Folder,
    tokenizer: Tokens,
    engine: Engine,
    precision: Precision,
    threads: usize,
    scratch: Mutex<Vec<Scratch>>,
    memo: Mutex<Memo>,
    counts: Counts,
    fingerprint: OnceLock<String>,
    /// Sizes and times of the files that were loaded.
    state: FileState,
}

type FileState = Vec<(u64, Option<SystemTime>)>;

enum Engine {
    Cpu(Bert),
    #[cfg(feature = "candle")]
    Device(Device, DeviceBert),
}

/// Where a model is computed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Device {
    /// The processor, by the kernels of this crate.
    #[default]
    Cpu,
    /// The first NVIDIA GPU; needs the cargo feature `cuda`.
    Cuda,
    /// The GPU of a Mac; needs the cargo feature `metal`.
    Metal,
    /// The processor by candle's own operations: what the others are compared with. Needs the cargo feature `candle`.
    Reference,
}

impl Device {
    /// The name that users know.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::Metal => "metal",
            Self::Reference => "reference",
        }
    }

    /// A graphics processor if this build can use one and there is one, else the processor.
    #[must_use]
    pub fn best() -> Self {
        [Self::Cuda, Self::Metal].into_iter().find(|device| device.open().is_ok()).unwrap_or_default()
    }

    fn open(self) -> Result<candle_core::Device, EmbedError> {
        let name = self.as_str();
        let built = match self {
            Self::Cpu => true,
            Self::Reference => cfg!(feature = "candle"),
            Self::Cuda => cfg!(feature = "cuda"),
            Self::Metal => cfg!(feature = "metal"),
        };
        if !built {
            return Err(EmbedError::Device(format!(
                "this build cannot use the device {name}: build it with the cargo feature of that name, or use \"cpu\""
            )));
        }
        match self {
            Self::Cpu | Self::Reference => Ok(candle_core::Device::Cpu),
            Self::Cuda => candle_core::Device::new_cuda(0),
            Self::Metal => candle_core::Device::new_metal(0),
        }
        .map_err(|error| EmbedError::Device(format!("the device {name} cannot be used: {error}")))
    }
}

/// How a model is loaded.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Where it is computed.
    pub device: Device,
    /// How its weights are kept; `Int8` on the processor only.
    pub precision: Precision,
    /// The most threads that the texts of one call are spread over; one text is always computed by one.
    pub threads: NonZero<usize>,
    /// Bytes of vectors that are remembered for texts asked for again; 0 for none.
    pub memo_bytes: usize,
    /// The instruction set of the processor; one that it does not have is an error.
    pub isa: Isa,
}

impl Default for Options {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
        Self {
            device: Device::Cpu,
            precision: Precision::F32,
            threads,
            memo_bytes: 32 << 20,
            isa: Isa::best(),
        }
    }
}

#[derive(Default)]
struct Counts {
    texts: AtomicU64,
    remembered: AtomicU64,
    tokens: AtomicU64,
}

/// What an embedder has done so far, and what it remembers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Texts that were asked for.
    pub texts: u64,
    /// Of these the ones whose vector was remembered.
    pub remembered: u64,
    /// Tokens that were computed.
    pub tokens: u64,
    /// Vectors in the memo.
    pub memo_entries: usize,
    /// Bytes that it takes.
    pub memo_bytes: usize,
}

impl Embedder {
    /// Loads a folder of sentence-transformers. The table of words stays mapped: whoever writes into that file changes
    /// the vectors.
    ///
    /// # Errors
    /// When something is missing, damaged or not supported; the message says what.
    pub fn load(path: &Path, options: Options) -> Result<Self, EmbedError> {
        if !options.isa.is_available() {
            return Err(EmbedError::Device(format!("this processor has no {}", options.isa)));
        }
        if options.threads.get() > MOST_THREADS {
            return Err(EmbedError::Argument(format!(
                "{} threads are more than {MOST_THREADS}",
                options.threads
            )));
        }
        let device = options.device.open()?;
        let folder = Folder::read(path)?;
        let weights = folder.weights()?;
        let state = file_state(&folder)?;
        let tokenizer = Tokens::load(&folder)?;
        let engine = engine(&folder, &weights, options, device)?;
        let embedder = Self {
            state,
            folder,
            tokenizer,
            engine,
            precision: options.precision,
            threads: options.threads.get(),
            scratch: Mutex::default(),
            memo: Mutex::new(Memo::new(options.memo_bytes)),
            counts: Counts::default(),
            fingerprint: OnceLock::new(),
        };
        embedder.tried()
    }

    /// This embedder, if it gives a vector for a text: what a folder promises shows only then.
    fn tried(self) -> Result<Self, EmbedError> {
        let tokenizer = |error: EmbedError| EmbedError::Malformed {
            path: self.folder.path.join("tokenizer.json"),
            reason: error.to_string(),
        };
        let tokens = self.tokens("a").map_err(tokenizer)?;
        let vector = self.batch(&[tokens], &[0])?;
        if vector.iter().all(|value| value.is_finite()) && vector.iter().any(|value| *value != 0.0) {
            return Ok(self);
        }
        let reason = "its weights give no vector for a text".to_owned();
        Err(EmbedError::Malformed { path: self.folder.weights()?, reason })
    }

    /// Floats of a vector.
    #[must_use]
    pub fn dimensions(&self) -> usize {
        self.folder.config.hidden_size * self.folder.pooling.len()
    }

    /// The most tokens of a text, the special ones included; what is longer is cut.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.folder.longest
    }

    /// Where it is computed.
    #[must_use]
    pub fn device(&self) -> Device {
        match &self.engine {
            Engine::Cpu(_) => Device::Cpu,
            #[cfg(feature = "candle")]
            Engine::Device(device, _) => *device,
        }
    }

    /// The instruction set that computes it, on the processor.
    #[must_use]
    pub fn isa(&self) -> Option<Isa> {
        match &self.engine {
            Engine::Cpu(bert) => Some(bert.isa()),
            #[cfg(feature = "candle")]
            Engine::Device(..) => None,
        }
    }

    /// How its weights are kept.
    #[must_use]
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// What it has done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let memo = self.memo();
        Stats {
            texts: self.counts.texts.load(Ordering::Relaxed),
            remembered: self.counts.remembered.load(Ordering::Relaxed),
            tokens: self.counts.tokens.load(Ordering::Relaxed),
            memo_entries: memo.len(),
            memo_bytes: memo.bytes(),
        }
    }

    /// A name for everything that decides what a text's vector is: the weights, the tokenizer, the pooling, the longest
    /// text, the prompts, and how the weights are kept. Vectors of two fingerprints must not be compared. Reads the
    /// files the first time.
    ///
    /// # Errors
    /// When a file cannot be read any more.
    pub fn fingerprint(&self) -> Result<&str, EmbedError> {
        if let Some(known) = self.fingerprint.get() {
            return Ok(known);
        }
        let mut whole = Sha256::new();
        for path in [self.folder.weights()?, self.folder.tokenizer()?, self.folder.path.join("config.json")] {
            let mut one = Sha256::new();
            std::fs::File::open(&path)
                .and_then(|mut file| std::io::copy(&mut file, &mut Hashing(&mut one)))
                .map_err(|source| EmbedError::Unreadable { path, source })?;
            whole.update(one.finalize());
        }
        if self.state != file_state(&self.folder)? {
            let reason = "its files were changed since it was loaded; load it again".to_owned();
            return Err(EmbedError::Malformed { path: self.folder.path.clone(), reason });
        }
        let Folder { pooling, longest, lower_case, cut_left, prompts, default_prompt, .. } = &self.folder;
        let texts = (prompts, default_prompt, lower_case, cut_left);
        let rest = format!("1 {pooling:?} {longest} {texts:?} {:?}", self.precision);
        whole.update(rest.as_bytes());
        let name: String = whole.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        Ok(self.fingerprint.get_or_init(|| name))
    }

    /// The names of the prompts that its files know.
    pub fn prompts(&self) -> impl Iterator<Item = &str> {
        self.folder.prompts.keys().map(String::as_str)
    }

    /// The text that is put in front of the texts for `prompt`, or for none what the files say.
    ///
    /// # Errors
    /// When there is no prompt of this name.
    pub fn prompt(&self, prompt: Option<&str>) -> Result<&str, EmbedError> {
        let Some(name) = prompt.or(self.folder.default_prompt.as_deref()) else {
            return Ok("");
        };
        self.folder.prompts.get(name).map(String::as_str).ok_or_else(|| {
            let known: Vec<_> = self.prompts().collect();
            let known = if known.is_empty() {
                "it has none".to_owned()
            } else {
                format!("it has {}", known.join(", "))
            };
            EmbedError::Argument(format!("the model has no prompt {name:?}; {known}"))
        })
    }

    /// The tokens of a text, as the model reads them.
    ///
    /// # Errors
    /// When the tokenizer cannot read the text, or gives none or what the model does not have.
    pub fn tokens(&self, text: &str) -> Result<Vec<u32>, EmbedError> {
        self.tokenizer.tokens(text)
    }

    /// The vectors of the texts, one behind the other, [`Self::dimensions`] floats each, of length 1. `prompt` is put
    /// in front of each of them.
    ///
    /// # Errors
    /// When the tokenizer cannot read a text, or a device fails.
    pub fn encode(&self, prompt: &str, texts: &[&str]) -> Result<Vec<f32>, EmbedError> {
        let dimensions = self.dimensions();
        let whole: Vec<String> = texts.iter().map(|text| format!("{prompt}{text}")).collect();
        let mut vectors = vec![0.0; texts.len() * dimensions];
        // A text that occurs twice is computed once.
        let mut wanted: HashMap<&str, Vec<usize>> = HashMap::new();
        let mut remembered = 0;
        {
            let mut memo = self.memo();
            for (at, text) in whole.iter().enumerate() {
                if let Some(vector) = memo.get(text) {
                    vectors[at * dimensions..][..dimensions].copy_from_slice(&vector);
                    remembered += 1;
                } else {
                    wanted.entry(text).or_default().push(at);
                }
            }
        }
        self.counts.texts.fetch_add(texts.len() as u64, Ordering::Relaxed);
        self.counts.remembered.fetch_add(remembered, Ordering::Relaxed);
        let unknown: Vec<&str> = wanted.keys().copied().collect();
        self.compute(&unknown, |text, vector| {
            for at in &wanted[unknown[text]] {
                vectors[at * dimensions..][..dimensions].copy_from_slice(vector);
            }
            self.memo().put(unknown[text].to_owned(), Arc::from(vector));
        })?;
        Ok(vectors)
    }

    /// Calls `each` with the number and the vector of every text, none of which is remembered.
    fn compute(&self, texts: &[&str], mut each: impl FnMut(usize, &[f32])) -> Result<(), EmbedError> {
        let tokens = self.spread(texts.len(), 16, |at| self.tokens(texts[at]))?;
        self.counts.tokens.fetch_add(tokens.iter().map(|text| text.len() as u64).sum(), Ordering::Relaxed);
        let batches = match &self.engine {
            Engine::Cpu(_) => batches(&tokens, ROWS),
            #[cfg(feature = "candle")]
            Engine::Device(..) => batches(&tokens, DEVICE_ROWS),
        };
        let found = self.spread(batches.len(), 1, |at| self.batch(&tokens, &batches[at]))?;
        for (batch, found) in batches.iter().zip(found) {
            for (text, vector) in batch.iter().zip(found.chunks_exact(self.dimensions())) {
                each(*text, vector);
            }
        }
        Ok(())
    }

    fn batch(&self, tokens: &[Vec<u32>], batch: &[usize]) -> Result<Vec<f32>, EmbedError> {
        let lengths: Vec<usize> = batch.iter().map(|text| tokens[*text].len()).collect();
        let joined: Vec<u32> = batch.iter().flat_map(|text| &tokens[*text]).copied().collect();
        match &self.engine {
            Engine::Cpu(bert) => Ok(self.with_scratch(|scratch| {
                bert.forward(&joined, &lengths, scratch);
                self.pooled(&scratch.rows, &lengths)
            })),
            #[cfg(feature = "candle")]
            Engine::Device(_, bert) => Ok(self.pooled(&bert.forward(&joined, &lengths)?, &lengths)),
        }
    }

    fn pooled(&self, mut rows: &[f32], lengths: &[usize]) -> Vec<f32> {
        let hidden = self.folder.config.hidden_size;
        let mut vectors = vec![0.0; lengths.len() * self.dimensions()];
        for (length, vector) in lengths.iter().zip(vectors.chunks_exact_mut(self.dimensions())) {
            let (text, rest) = rows.split_at(length * hidden);
            pool(text, hidden, &self.folder.pooling, vector);
            rows = rest;
        }
        vectors
    }

    fn memo(&self) -> MutexGuard<'_, Memo> {
        self.memo.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with_scratch<R>(&self, work: impl FnOnce(&mut Scratch) -> R) -> R {
        let kept = || self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        let mut scratch = kept().pop().unwrap_or_default();
        let result = work(&mut scratch);
        let mut kept = kept();
        // What one very long text needed is not kept for ever.
        if kept.len() < self.threads && scratch.room <= 4 * ROWS {
            kept.push(scratch);
        }
        result
    }

    /// Does `count` pieces of work, `at_least` of them a thread, and gives what came out in their order.
    fn spread<R: Send>(
        &self,
        count: usize,
        at_least: usize,
        work: impl Fn(usize) -> Result<R, EmbedError> + Sync,
    ) -> Result<Vec<R>, EmbedError> {
        let threads = self.threads.min(count.div_ceil(at_least));
        if threads <= 1 {
            return (0..count).map(work).collect();
        }
        let next = AtomicUsize::new(0);
        let share = || {
            let mut found = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                if at >= count {
                    return Ok(found);
                }
                match work(at) {
                    Ok(result) => found.push((at, result)),
                    Err(error) => {
                        // Nobody needs the rest.
                        next.store(count, Ordering::Relaxed);
                        return Err(error);
                    }
                }
            }
        };
        let mut found = std::thread::scope(|scope| {
            // Where the system gives no more threads, fewer do the work.
            let help = |_| std::thread::Builder::new().spawn_scoped(scope, share).ok();
            let helpers: Vec<_> = (1..threads).filter_map(help).collect();
            let mut found: Vec<(usize, R)> = share()?;
            for helper in helpers {
                match helper.join() {
                    Ok(more) => found.extend(more?),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            Ok::<_, EmbedError>(found)
        })?;
        found.sort_unstable_by_key(|(at, _)| *at);
        Ok(found.into_iter().map(|(_, result)| result).collect())
    }
}

/// Feeds a digest.
struct Hashing<'a>(&'a mut Sha256);

impl std::io::Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn engine(
    folder: &Folder,
    weights: &Path,
    options: Options,
    device: candle_core::Device,
) -> Result<Engine, EmbedError> {
    if options.device == Device::Cpu {
        return Bert::load(weights, &folder.config, options.precision, options.isa).map(Engine::Cpu);
    }
    if options.precision == Precision::Int8 {
        let message = format!("weights of one byte are for the cpu; on {} use f32", options.device.as_str());
        return Err(EmbedError::Device(message));
    }
    #[cfg(feature = "candle")]
    return DeviceBert::load(folder, weights, device).map(|bert| Engine::Device(options.device, bert));
    #[cfg(not(feature = "candle"))]
    return Err(EmbedError::Device(format!("this build computes on the processor, not on {device:?}")));
}

/// Divides texts into batches of about `most` tokens, the longest texts first: the last batches are small, so that
/// all threads end at about the same time.
fn batches(tokens: &[Vec<u32>], most: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..tokens.len()).collect();
    order.sort_by_key(|text| std::cmp::Reverse(tokens[*text].len()));
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut room = 0;
    for text in order {
        let length = tokens[text].len();
        if length > room {
            batches.push(Vec::new());
            room = most.max(length);
        }
        room -= length;
        if let Some(batch) = batches.last_mut() {
            batch.push(text);
        }
    }
    batches
}

fn file_state(folder: &Folder) -> Result<FileState, EmbedError> {
    [folder.weights()?, folder.tokenizer()?, folder.path.join("config.json")]
        .into_iter()
        .map(|path| match path.metadata() {
            Ok(found) => Ok((found.len(), found.modified().ok())),
            Err(source) => Err(EmbedError::Unreadable { path, source }),
        })
        .collect()
}
