//! Self-attention within one text: its heads one after the other, without a mask, as nothing is padded.

use super::elementwise::softmax;
use super::product::{blocks, tile, with_rows};
use super::simd::{Kernel, Lanes};

/// `softmax(Q K^T / sqrt d) V` for all heads of one text.
pub(super) struct Attention<'a> {
    /// For each token its queries, keys and values, `hidden` floats each.
    pub(super) qkv: &'a [f32],
    /// For each token `hidden` floats.
    pub(super) out: &'a mut [f32],
    pub(super) hidden: usize,
    /// Floats of a head; a multiple of 32.
    pub(super) head: usize,
    pub(super) scratch: &'a mut Scratch,
}

/// Memory that is used again.
#[derive(Default)]
pub(super) struct Scratch {
    /// The keys of a head, one column a token.
    keys: Vec<f32>,
    /// Its values, one row a token. Where they come from they lie pages apart, and many of them in one set of the cache.
    values: Vec<f32>,
    /// A tile of rows of scores.
    scores: Vec<f32>,
}

impl Kernel for Attention<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        let Self { qkv, out, hidden, head, scratch } = self;
        let tokens = out.len() / hidden;
        assert!(out.len() == tokens * hidden && qkv.len() == 3 * out.len(), "rows that do not fit");
        assert!(hidden.is_multiple_of(head) && head.is_multiple_of(32), "a head the kernels do not take");
        let padded = tokens.next_multiple_of(V::N);
        scratch.keys.resize((padded * head).max(scratch.keys.len()), 0.0);
        scratch.values.resize((tokens * head).max(scratch.values.len()), 0.0);
        scratch.scores.resize((padded * V::ROWS).max(scratch.scores.len()), 0.0);
        #[allow(clippy::cast_precision_loss)]
        let scale = 1.0 / (head as f32).sqrt();
        for first in (0..hidden).step_by(head) {
            transpose(&qkv[hidden + first..], 3 * hidden, &mut scratch.keys[..padded * head], tokens, padded);
            let values = qkv[2 * hidden + first..].chunks(3 * hidden).map(|row| &row[..head]);
            for (to, from) in scratch.values.chunks_exact_mut(head).zip(values) {
                to.copy_from_slice(from);
            }
            let one = Head {
                queries: qkv[first..].as_ptr(),
                values: scratch.values.as_ptr(),
                keys: scratch.keys.as_ptr(),
                scores: scratch.scores.as_mut_ptr(),
                out: out[first..].as_mut_ptr(),
                tokens,
                padded,
                hidden,
                head,
                scale,
            };
            for (row, size) in blocks(tokens, V::ROWS) {
                // SAFETY: the lengths were checked above.
                unsafe { with_rows!(V, size, attend(&one, row)) };
            }
        }
    }
}

/// Writes the keys of one head in columns; what lies behind the tokens is 0.
fn transpose(keys: &[f32], stride: usize, columns: &mut [f32], tokens: usize, padded: usize) {
    // Sixteen tokens at a time: their rows stay in the cache, and whole lines of the columns are written.
    for first in (0..padded).step_by(16) {
        let last = padded.min(first + 16);
        for (at, column) in columns.chunks_exact_mut(padded).enumerate() {
            for (token, value) in (first..last).zip(&mut column[first..last]) {
                *value = if token < tokens { keys[token * stride + at] } else { 0.0 };
            }
        }
    }
}

struct Head {
    queries: *const f32,
    values: *const f32,
    keys: *const f32,
    scores: *mut f32,
    out: *mut f32,
    tokens: usize,
    padded: usize,
    hidden: usize,
    head: usize,
    scale: f32,
}

/// # Safety
/// What the pointers of the head point to is as long as [`Attention`] checks, and `R` rows begin at `row`.
#[inline(always)]
unsafe fn attend<V: Lanes, const R: usize>(head: &Head, row: usize) {
    let Head { tokens, padded, hidden, .. } = *head;
    let stride = 3 * hidden;
    // SAFETY: as the caller promises.
    unsafe {
        let queries = head.queries.add(row * stride);
        let mut column = 0;
        while column + 2 * V::N <= padded {
            let sums = tile::<V, R, 2>(queries, stride, head.keys.add(column), padded, head.head);
            store(&sums, head.scores.add(column), padded, &[1.0; R]);
            column += 2 * V::N;
        }
        if column < padded {
            let sums = tile::<V, R, 1>(queries, stride, head.keys.add(column), padded, head.head);
            store(&sums, head.scores.add(column), padded, &[1.0; R]);
        }
        let weights: [f32; R] = std::array::from_fn(|r| {
            1.0 / softmax::<V>(head.scores.add(r * padded), tokens, padded, head.scale)
        });
        for column in (0..head.head).step_by(2 * V::N) {
            let sums = tile::<V, R, 2>(head.scores, padded, head.values.add(column), head.head, tokens);
            store(&sums, head.out.add(row * hidden + column), hidden, &weights);
        }
    }
}

/// Stores a tile, each row times its weight.
///
/// # Safety
/// There is room for the tile at `at`.
#[inline(always)]
unsafe fn store<V: Lanes, const R: usize, const C: usize>(
    sums: &[[V; C]; R],
    at: *mut f32,
    stride: usize,
    weights: &[f32; R],
) {
    // By reference: moved arrays would go through memory.
    for (r, (sums, weight)) in sums.iter().zip(weights).enumerate() {
        for (c, sum) in sums.iter().enumerate() {
            // SAFETY: as the caller promises.
            unsafe { sum.mul(V::splat(*weight)).store(at.add(r * stride + c * V::N)) };
        }
    }
}
