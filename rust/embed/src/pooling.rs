//! From the hidden states of a text to its vector.

use super::folder::Pooling;

/// Writes the pooled and normalised vector of the hidden states `rows` (tokens, hidden) to `vector`.
///
/// A vector without length stays 0, as in the reference.
pub(super) fn pool(rows: &[f32], hidden: usize, how: &[Pooling], vector: &mut [f32]) {
    for (pooling, part) in how.iter().zip(vector.chunks_exact_mut(hidden)) {
        match pooling {
            Pooling::First => part.copy_from_slice(&rows[..hidden]),
            Pooling::Last => part.copy_from_slice(&rows[rows.len() - hidden..]),
            Pooling::Max => {
                part.fill(f32::NEG_INFINITY);
                for row in rows.chunks_exact(hidden) {
                    part.iter_mut().zip(row).for_each(|(largest, value)| *largest = largest.max(*value));
                }
            }
            Pooling::Mean | Pooling::MeanRoot | Pooling::Weighted => weighted(rows, hidden, *pooling, part),
        }
    }
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt().max(1e-12);
    vector.iter_mut().for_each(|value| *value /= length);
}

#[allow(clippy::cast_precision_loss)]
fn weighted(rows: &[f32], hidden: usize, pooling: Pooling, sum: &mut [f32]) {
    sum.fill(0.0);
    let mut total = 0.0;
    for (number, row) in rows.chunks_exact(hidden).enumerate() {
        let weight = if pooling == Pooling::Weighted { (number + 1) as f32 } else { 1.0 };
        total += weight;
        sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += weight * value);
    }
    let total = if pooling == Pooling::MeanRoot { f32::sqrt(total) } else { total };
    sum.iter_mut().for_each(|sum| *sum /= total);
}
