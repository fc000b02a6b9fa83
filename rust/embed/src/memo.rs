//! Vectors of texts that were asked for before, so that the same text is not computed twice.

use std::sync::Arc;

use lru::LruCache;

/// What an entry takes beside its text and its vector, roughly.
const OVERHEAD: usize = 128;
/// No text may push out more than this part of the others.
const LARGEST_PART: usize = 8;

/// The vectors of texts asked for last, within a number of bytes.
pub(super) struct Memo {
    entries: LruCache<String, Arc<[f32]>>,
    bytes: usize,
    limit: usize,
}

impl Memo {
    pub(super) fn new(limit: usize) -> Self {
        Self { entries: LruCache::unbounded(), bytes: 0, limit }
    }

    pub(super) fn get(&mut self, text: &str) -> Option<Arc<[f32]>> {
        self.entries.get(text).cloned()
    }

    pub(super) fn put(&mut self, text: String, vector: Arc<[f32]>) {
        let bytes = size(&text, &vector);
        if bytes > self.limit / LARGEST_PART {
            return;
        }
        self.bytes += bytes;
        if let Some((text, vector)) = self.entries.push(text, vector) {
            // The same text, which another thread computed meanwhile.
            self.bytes -= size(&text, &vector);
        }
        while self.bytes > self.limit {
            let Some((text, vector)) = self.entries.pop_lru() else { break };
            self.bytes -= size(&text, &vector);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

fn size(text: &str, vector: &[f32]) -> usize {
    text.len() + size_of_val(vector) + OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_what_was_used_last_within_its_limit() {
        let mut memo = Memo::new(10 * size("text0", &[0.0; 4]));
        for number in 0..30 {
            memo.put(format!("text{}", number % 10), Arc::new([0.0; 4]));
        }
        assert_eq!(memo.len(), 10);
        assert!(memo.get("text0").is_some());
        memo.put("textA".to_owned(), Arc::new([1.0; 4]));
        assert!(memo.get("text1").is_none() && memo.get("text0").is_some() && memo.get("textA").is_some());
        assert_eq!(memo.bytes(), 10 * size("text0", &[0.0; 4]));
        memo.put("x".repeat(memo.limit / LARGEST_PART), Arc::new([1.0; 4]));
        assert_eq!(memo.len(), 10);
    }

    #[test]
    fn without_room_it_keeps_nothing() {
        let mut memo = Memo::new(0);
        memo.put("text".to_owned(), Arc::new([0.0; 4]));
        assert_eq!((memo.len(), memo.bytes()), (0, 0));
    }
}
