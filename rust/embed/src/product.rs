//! Rows times a matrix that was packed for it: in floats, or in bytes with 32-bit sums.
//!
//! A packed matrix lies in panels two registers wide, in the order in which the kernel reads it, so that each weight
//! is read once, in sequence, for all rows of a batch. A tile of rows and one panel stays in registers over the whole
//! depth. What follows a product (bias, activation, residual) is done on the registers before they are stored.

use super::arena::{Arena, Piece};
use super::elementwise::{Activation, Quantise, Quantising, Range};
use super::simd::{Isa, Kernel, Lanes, on};

/// How the weights of the linear layers are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Precision {
    /// As they are.
    F32,
    /// One byte each, a step for each output; activations one byte each, a range for each token.
    Int8,
}

/// How the registers of an instruction set divide a matrix.
struct Shape {
    panel: usize,
    group: usize,
}

impl Kernel for &mut Option<Shape> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        *self = Some(Shape { panel: 2 * V::N, group: V::GROUP });
    }
}

fn shape(isa: Isa) -> Shape {
    let mut shape = None;
    // SAFETY: it executes nothing that only one instruction set has.
    unsafe { on(isa, &mut shape) };
    shape.unwrap_or(Shape { panel: 16, group: 2 })
}

/// A linear layer, `x W^T + b`, packed for an instruction set that this processor has.
pub(super) struct Linear {
    isa: Isa,
    outputs: usize,
    depth: usize,
    weights: Weights,
    bias: Vec<f32>,
}

enum Weights {
    F32(Piece),
    Int8 {
        panels: Piece,
        /// Inputs that share a range; the following are for each group one for each output.
        group: usize,
        /// What one step of the weights is worth.
        steps: Vec<f32>,
        /// The sum of the weights as they were rounded, for what is least in a row.
        sums: Vec<f32>,
    },
}

/// What is done with the registers of a product.
#[derive(Clone, Copy)]
pub(super) enum Then {
    /// Store them.
    Store,
    /// Store what an activation makes of them.
    Activate(Activation),
    /// Add them to what is there.
    Add,
}

/// Where a product goes: from the column `first` of rows of `width` floats.
pub(super) struct Columns<'a> {
    pub(super) rows: &'a mut [f32],
    pub(super) width: usize,
    pub(super) first: usize,
}

impl<'a> Columns<'a> {
    /// All of them.
    pub(super) fn all(rows: &'a mut [f32], width: usize) -> Self {
        Self { rows, width, first: 0 }
    }
}

/// Rows of bytes.
#[derive(Default)]
pub(super) struct Quantised {
    words: Vec<u32>,
    ranges: Vec<Range>,
}

/// The most inputs that share a range. One outlier among 1,536 would make the steps of all others coarse; see
/// `Norm::smooth` for what this and the rest brings.
const LARGEST_GROUP: usize = 384;

/// The inputs that share a range in a layer of this depth, a multiple of 32.
fn group_of(depth: usize) -> usize {
    (1..=depth.min(LARGEST_GROUP) / 32)
        .map(|size| size * 32)
        .rfind(|size| depth.is_multiple_of(*size))
        .unwrap_or(depth)
}

impl Linear {
    /// Packs the `weights` (outputs, depth) of a layer into `arena`.
    ///
    /// # Panics
    /// When the sizes do not fit each other or are no multiples of 32, which whoever loads a model checks.
    pub(super) fn f32(isa: Isa, arena: &mut Arena, weights: &[f32], bias: Vec<f32>) -> Self {
        let (outputs, depth) = sizes(weights, &bias);
        let width = shape(isa).panel;
        let (piece, bytes) = arena.take(weights.len() * 4);
        let (panels, _) = bytes.as_chunks_mut::<4>();
        for (panel, rows) in panels.chunks_exact_mut(width * depth).zip(weights.chunks_exact(width * depth)) {
            // Sixteen inputs at a time: a line of each row is read once, and what is written stays in the cache.
            for (first, lines) in panel.chunks_exact_mut(width * 16).enumerate() {
                for (column, row) in rows.chunks_exact(depth).enumerate() {
                    let (weights, _) = row[first * 16..].as_chunks::<16>();
                    for (line, weight) in lines.chunks_exact_mut(width).zip(&weights[0]) {
                        line[column] = weight.to_ne_bytes();
                    }
                }
            }
        }
        Self { isa, outputs, depth, weights: Weights::F32(piece), bias }
    }

    /// Packs the weights of a layer as bytes, each output by a step of its own.
    ///
    /// # Panics
    /// As [`Self::f32`].
    pub(super) fn int8(isa: Isa, arena: &mut Arena, weights: &[f32], bias: Vec<f32>) -> Self {
        let (outputs, depth) = sizes(weights, &bias);
        let Shape { panel: width, group } = shape(isa);
        let (piece, bytes) = arena.take(weights.len());
        let shared = group_of(depth);
        let (mut steps, mut sums) =
            (vec![0.0; depth / shared * outputs], vec![0.0; depth / shared * outputs]);
        let panels = bytes.chunks_exact_mut(width * depth).zip(weights.chunks_exact(width * depth));
        for (panel_number, (panel, rows)) in panels.enumerate() {
            for (column, row) in rows.chunks_exact(depth).enumerate() {
                for (number, weights) in row.chunks_exact(shared).enumerate() {
                    let largest = weights.iter().fold(0.0_f32, |largest, weight| largest.max(weight.abs()));
                    let step = (largest / 127.0).max(f32::MIN_POSITIVE);
                    let per_step = 1.0 / step;
                    let mut sum = 0;
                    for (word, weights) in (number * shared / group..).zip(weights.chunks_exact(group)) {
                        let to = &mut panel[(word * width + column) * group..][..group];
                        for (to, weight) in to.iter_mut().zip(weights) {
                            let byte = rounded(weight * per_step);
                            *to = byte.cast_unsigned();
                            sum += i32::from(byte);
                        }
                    }
                    let output = number * outputs + panel_number * width + column;
                    steps[output] = step;
                    #[allow(clippy::cast_precision_loss)]
                    (sums[output] = sum as f32);
                }
            }
        }
        let weights = Weights::Int8 { panels: piece, group: shared, steps, sums };
        Self { isa, outputs, depth, weights, bias }
    }

    /// Its outputs.
    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }

    /// The bytes that a layer of this size takes in an arena.
    pub(super) fn bytes(precision: Precision, outputs: usize, depth: usize) -> usize {
        outputs * depth * if precision == Precision::F32 { 4 } else { 1 }
    }

    /// Turns `rows` into bytes where this layer multiplies those.
    pub(super) fn prepare(&self, rows: &[f32], quantised: &mut Quantised) {
        if matches!(self.weights, Weights::Int8 { .. }) {
            let to = quantised.room(self.isa, self.depth, rows.len());
            // SAFETY: the layer was packed for a set that is available.
            unsafe { on(self.isa, Quantise { rows, to }) };
        }
    }

    /// Multiplies `rows`, or where the weights are bytes what was quantised of them, and writes to some columns of
    /// `out`.
    ///
    /// # Panics
    /// When their lengths do not fit.
    pub(super) fn apply(
        &self,
        arena: &Arena,
        rows: &[f32],
        quantised: &Quantised,
        out: Columns<'_>,
        then: Then,
    ) {
        let count = rows.len() / self.depth;
        let Columns { rows: to, width, first } = out;
        assert!(rows.len() == count * self.depth && to.len() == count * width, "rows that do not fit");
        assert!(first + self.outputs <= width, "columns that do not fit");
        let out = to[first..].as_mut_ptr();
        let finish = Finish { out, width, outputs: self.outputs, bias: self.bias.as_ptr(), then };
        match &self.weights {
            Weights::F32(panels) => {
                let product = FloatProduct {
                    rows: rows.as_ptr(),
                    count,
                    panels: arena.get(*panels).as_ptr().cast(),
                    depth: self.depth,
                    finish,
                };
                // SAFETY: the layer was packed for a set that is available, and the lengths were checked.
                unsafe { on(self.isa, product) };
            }
            Weights::Int8 { panels, group, steps, sums } => {
                assert!(quantised.words.len() >= count * self.depth / shape(self.isa).group, "too few bytes");
                assert!(quantised.ranges.len() >= rows.len() / group, "too few ranges");
                let product = ByteProduct {
                    words: quantised.words.as_ptr(),
                    ranges: &quantised.ranges,
                    count,
                    panels: arena.get(*panels).as_ptr().cast(),
                    depth: self.depth,
                    group: *group,
                    steps: steps.as_ptr(),
                    sums: sums.as_ptr(),
                    finish,
                };
                // SAFETY: as above.
                unsafe { on(self.isa, product) };
            }
        }
    }
}

/// To the nearest of the numbers from -127 to 127. Without a call of the C library, and fast enough for millions.
fn rounded(value: f32) -> i8 {
    const ROUNDER: f32 = 12_582_912.0;
    #[allow(clippy::cast_possible_truncation)]
    let whole = ((value + ROUNDER) - ROUNDER) as i8;
    whole
}

fn sizes(weights: &[f32], bias: &[f32]) -> (usize, usize) {
    let outputs = bias.len();
    let depth = weights.len() / outputs.max(1);
    assert!(weights.len() == outputs * depth, "a bias that does not fit its weights");
    assert!(outputs.is_multiple_of(32) && depth.is_multiple_of(32), "sizes that are no multiples of 32");
    (outputs, depth)
}

impl Quantised {
    /// Room for rows of `width` floats, `floats` in all.
    pub(super) fn room(&mut self, isa: Isa, width: usize, floats: usize) -> Quantising<'_> {
        let group = group_of(width);
        let (words, ranges) = (floats / shape(isa).group, floats / group);
        self.words.resize(words.max(self.words.len()), 0);
        self.ranges.resize(ranges.max(self.ranges.len()), Range::default());
        Quantising { group, words: &mut self.words[..words], ranges: &mut self.ranges[..ranges] }
    }
}

struct Finish {
    out: *mut f32,
    width: usize,
    outputs: usize,
    bias: *const f32,
    then: Then,
}

impl Finish {
    /// # Safety
    /// `row` and `column` lie within the output; the processor has the instructions of `V`.
    #[inline(always)]
    unsafe fn store<V: Lanes>(&self, row: usize, column: usize, sum: V) {
        // SAFETY: as the caller promises.
        unsafe {
            let at = self.out.add(row * self.width + column);
            let value = sum.add(V::load(self.bias.add(column)));
            match self.then {
                Then::Store => value,
                Then::Activate(activation) => activation.apply(value),
                Then::Add => value.add(V::load(at)),
            }
            .store(at);
        }
    }
}

/// A tile of sums over the whole depth: `R` rows by `C` registers of columns.
///
/// # Safety
/// `R` rows of `depth` floats, `stride` apart, lie at `rows`; `depth` rows of `C` registers, `pitch` floats apart, lie
/// at `columns`; the processor has the instructions of `V`.
#[inline(always)]
pub(super) unsafe fn tile<V: Lanes, const R: usize, const C: usize>(
    rows: *const f32,
    stride: usize,
    columns: *const f32,
    pitch: usize,
    depth: usize,
) -> [[V; C]; R] {
    // SAFETY: as the caller promises.
    unsafe {
        let rows: [*const f32; R] = std::array::from_fn(|r| rows.add(r * stride));
        let mut sums = [[V::splat(0.0); C]; R];
        for at in 0..depth {
            let line = columns.add(at * pitch);
            let factors: [V; C] = std::array::from_fn(|c| V::load(line.add(c * V::N)));
            for (row, sums) in rows.iter().zip(&mut sums) {
                let value = V::splat(*row.add(at));
                for (sum, factor) in sums.iter_mut().zip(factors) {
                    *sum = value.fma(factor, *sum);
                }
            }
        }
        sums
    }
}

/// The rows of each tile: as even as possible, none more than `most`.
#[inline(always)]
pub(super) fn blocks(count: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let tiles = count.div_ceil(most).max(1);
    let (size, larger) = (count / tiles, count % tiles);
    (0..tiles).map(move |tile| (tile * size + tile.min(larger), size + usize::from(tile < larger)))
}

/// Calls a function that is generic over the number of rows with that number, up to the limit of the registers.
macro_rules! with_rows {
    ($lanes:ident, $rows:expr, $call:ident ( $($argument:expr),* )) => {
        match $rows {
            1 => $call::<$lanes, 1>($($argument),*),
            2 => $call::<$lanes, 2>($($argument),*),
            3 => $call::<$lanes, 3>($($argument),*),
            4 => $call::<$lanes, 4>($($argument),*),
            5 if $lanes::ROWS >= 5 => $call::<$lanes, 5>($($argument),*),
            6 if $lanes::ROWS >= 6 => $call::<$lanes, 6>($($argument),*),
            7 if $lanes::ROWS >= 7 => $call::<$lanes, 7>($($argument),*),
            8 if $lanes::ROWS >= 8 => $call::<$lanes, 8>($($argument),*),
            9 if $lanes::ROWS >= 9 => $call::<$lanes, 9>($($argument),*),
            10 if $lanes::ROWS >= 10 => $call::<$lanes, 10>($($argument),*),
            11 if $lanes::ROWS >= 11 => $call::<$lanes, 11>($($argument),*),
            12 if $lanes::ROWS >= 12 => $call::<$lanes, 12>($($argument),*),
            13 if $lanes::ROWS >= 13 => $call::<$lanes, 13>($($argument),*),
            14 if $lanes::ROWS >= 14 => $call::<$lanes, 14>($($argument),*),
            rows => unreachable!("a tile of {rows} rows"),
        }
    };
}
pub(super) use with_rows;

struct FloatProduct {
    rows: *const f32,
    count: usize,
    panels: *const f32,
    depth: usize,
    finish: Finish,
}

impl Kernel for FloatProduct {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        #[inline(always)]
        unsafe fn block<V: Lanes, const R: usize>(product: &FloatProduct, row: usize, column: usize) {
            // SAFETY: the block lies within the rows, the panel within the matrix.
            unsafe {
                let rows = product.rows.add(row * product.depth);
                let panel = product.panels.add(column * product.depth);
                let sums = tile::<V, R, 2>(rows, product.depth, panel, 2 * V::N, product.depth);
                // By reference: moved arrays would go through memory.
                for (r, sums) in sums.iter().enumerate() {
                    for (c, sum) in sums.iter().enumerate() {
                        product.finish.store(row + r, column + c * V::N, *sum);
                    }
                }
            }
        }
        for column in (0..self.finish.outputs).step_by(2 * V::N) {
            for (row, size) in blocks(self.count, V::ROWS) {
                // SAFETY: as above.
                unsafe { with_rows!(V, size, block(&self, row, column)) };
            }
        }
    }
}

struct ByteProduct<'a> {
    words: *const u32,
    ranges: &'a [Range],
    count: usize,
    panels: *const i8,
    depth: usize,
    group: usize,
    steps: *const f32,
    sums: *const f32,
    finish: Finish,
}

impl Kernel for ByteProduct<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        #[inline(always)]
        unsafe fn block<V: Lanes, const R: usize>(product: &ByteProduct<'_>, row: usize, column: usize) {
            // SAFETY: the block lies within the rows, the panel within the matrix.
            unsafe {
                let panel = product.panels.add(column * product.depth);
                let groups = product.depth / product.group;
                if groups == 1 {
                    byte_group::<V, R>(product, row, column, 0, panel, |r, column, sum| {
                        product.finish.store(row + r, column, sum);
                    });
                    return;
                }
                // In memory: the registers hold the sums of one group.
                let mut all = [[0.0_f32; 32]; R];
                for group in 0..groups {
                    let panel = panel.add(group * product.group * 2 * V::N);
                    byte_group::<V, R>(product, row, column, group, panel, |r, at, sum| {
                        let before = all[r].as_mut_ptr().add(at - column);
                        sum.add(V::load(before)).store(before);
                    });
                }
                for (r, sums) in all.iter().enumerate() {
                    for c in 0..2 {
                        let sum = V::load(sums.as_ptr().add(c * V::N));
                        product.finish.store(row + r, column + c * V::N, sum);
                    }
                }
            }
        }
        for column in (0..self.finish.outputs).step_by(2 * V::N) {
            for (row, size) in blocks(self.count, V::ROWS) {
                // SAFETY: as above.
                unsafe { with_rows!(V, size, block(&self, row, column)) };
            }
        }
    }
}

/// Calls `each` with the rows, columns and sums of a tile of products of one group of inputs.
///
/// # Safety
/// The tile and the group lie within the product, and `panel` is where the weights of both begin.
#[inline(always)]
unsafe fn byte_group<V: Lanes, const R: usize>(
    product: &ByteProduct<'_>,
    row: usize,
    column: usize,
    group: usize,
    mut panel: *const i8,
    mut each: impl FnMut(usize, usize, V),
) {
    let (stride, steps) = (product.depth / V::GROUP, product.group / V::GROUP);
    let groups = product.depth / product.group;
    // SAFETY: as the caller promises.
    unsafe {
        let first = product.words.add(row * stride + group * steps);
        let words: [*const u32; R] = std::array::from_fn(|r| first.add(r * stride));
        let mut sums = [[V::no_sums(); 2]; R];
        for at in 0..steps {
            for (words, sums) in words.iter().zip(&mut sums) {
                let word = *words.add(at);
                sums[0] = V::dot(sums[0], word, panel);
                sums[1] = V::dot(sums[1], word, panel.add(V::N * V::GROUP));
            }
            panel = panel.add(2 * V::N * V::GROUP);
        }
        let ranges = product.ranges.as_ptr().add(row * groups + group);
        for c in 0..2 {
            let of_output = group * product.finish.outputs + column + c * V::N;
            let step = V::load(product.steps.add(of_output));
            let in_all = V::load(product.sums.add(of_output));
            for (r, sums) in sums.iter().enumerate() {
                let range = *ranges.add(r * groups);
                let sum = V::from_sums(sums[c]).mul(V::splat(range.step));
                each(r, column + c * V::N, in_all.fma(V::splat(range.least), sum).mul(step));
            }
        }
    }
}
