//! What happens to each element or row between the matrix products: GELU, softmax, layer norm, quantisation.

use super::simd::{Kernel, Lanes};

/// `e^x` for x of at most 0; what is below -87 counts as -87, which is nothing.
///
/// Halves of ln 2 as in Cephes' `expf`, and its polynomial: within 2 ulp.
///
/// # Safety
/// The processor has the instructions of `V`.
#[inline(always)]
unsafe fn exp<V: Lanes>(x: V) -> V {
    const SERIES: [f32; 6] =
        [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];
    // SAFETY: as the caller promises.
    unsafe {
        let x = x.max(V::splat(-87.0));
        let twos = x.mul(V::splat(std::f32::consts::LOG2_E)).round();
        let rest = twos.fma(V::splat(-0.693_359_4), x);
        let rest = twos.fma(V::splat(2.121_944_4e-4), rest);
        let mut sum = V::splat(SERIES[0]);
        for factor in &SERIES[1..] {
            sum = sum.fma(rest, V::splat(*factor));
        }
        sum.fma(rest.mul(rest), rest.add(V::splat(1.0))).scale2(twos)
    }
}

/// The activation between the two layers of a feed-forward block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activation {
    /// `x/2 (1 + erf(x/sqrt 2))`.
    Gelu,
    /// The same with tanh: `gelu_new`, `gelu_pytorch_tanh`.
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
}

impl Activation {
    /// # Safety
    /// The processor has the instructions of `V`.
    #[inline(always)]
    pub(super) unsafe fn apply<V: Lanes>(self, x: V) -> V {
        // SAFETY: as the caller promises.
        unsafe {
            match self {
                Self::Gelu => gelu(x),
                Self::GeluTanh => gelu_tanh(x),
                Self::Relu => x.max(V::splat(0.0)),
            }
        }
    }
}

/// GELU by a rational function for erf(x/sqrt 2) = x P(x²)/Q(x²), for x up to 5.5, where it is 1.
///
/// The coefficients are a least-squares fit of our own over 20,001 points, weighted again until its largest
/// errors were level (Lawson): 1.4e-8 before rounding, 4e-7 in single precision.
///
/// # Safety
/// The processor has the instructions of `V`.
#[inline(always)]
unsafe fn gelu<V: Lanes>(x: V) -> V {
    const P: [f32; 6] =
        [4.549_958_8e-8, 1.270_395_6e-5, 3.376_301e-4, 9.354_394e-3, 6.770_336e-2, 7.978_845e-1];
    const Q: [f32; 6] = [1.197_505_8e-6, 7.364_371_4e-5, 1.884_386e-3, 2.864_530_6e-2, 2.515_195e-1, 1.0];
    // SAFETY: as the caller promises.
    unsafe {
        let held = x.min(V::splat(5.5)).max(V::splat(-5.5));
        let square = held.mul(held);
        let (mut above, mut below) = (V::splat(P[0]), V::splat(Q[0]));
        for (p, q) in P[1..].iter().zip(&Q[1..]) {
            above = above.fma(square, V::splat(*p));
            below = below.fma(square, V::splat(*q));
        }
        let half = x.mul(V::splat(0.5));
        half.fma(held.mul(above).div(below), half)
    }
}

/// # Safety
/// The processor has the instructions of `V`.
#[inline(always)]
unsafe fn gelu_tanh<V: Lanes>(x: V) -> V {
    // SAFETY: as the caller promises.
    unsafe {
        // x/2 (1 + tanh y) = x / (1 + e^-2y), and with |y| the power is never large.
        let cube = x.mul(x).fma(V::splat(0.044_715), V::splat(1.0));
        let y = x.mul(cube).mul(V::splat(0.797_884_6));
        let opposite = V::splat(0.0).sub(y);
        let power = exp(y.min(opposite).mul(V::splat(2.0)));
        let ratio = power.add(V::splat(1.0));
        // For negative y the numerator is the power itself: min(e^2y, 1).
        let numerator = exp(y.min(V::splat(0.0)).mul(V::splat(2.0)));
        x.mul(numerator).div(ratio)
    }
}

/// Turns a row of scores into `e^(scale (score - largest))` and gives the sum; `padded` is a multiple of the lanes,
/// and what lies behind `count` becomes 0 or near.
///
/// # Safety
/// `padded` floats lie at `row`; the processor has the instructions of `V`.
#[inline(always)]
pub(super) unsafe fn softmax<V: Lanes>(row: *mut f32, count: usize, padded: usize, scale: f32) -> f32 {
    // SAFETY: as the caller promises.
    unsafe {
        for at in count..padded {
            row.add(at).write(f32::MIN);
        }
        let mut largest = V::splat(f32::MIN);
        for at in (0..padded).step_by(V::N) {
            largest = largest.max(V::load(row.add(at)));
        }
        let (offset, scale) = (V::splat(-largest.largest() * scale), V::splat(scale));
        let mut sum = V::splat(0.0);
        for at in (0..padded).step_by(V::N) {
            let power = exp(V::load(row.add(at)).fma(scale, offset));
            power.store(row.add(at));
            sum = sum.add(power);
        }
        sum.sum()
    }
}

/// Normalises rows: `(x - mean) / sqrt(variance + epsilon) * gain + bias`.
pub(super) struct LayerNorm<'a> {
    /// Rows of `gain.len()` floats.
    pub(super) rows: &'a mut [f32],
    pub(super) gain: &'a [f32],
    pub(super) bias: &'a [f32],
    pub(super) epsilon: f32,
    /// Where the rows go in bytes as well: `(x - mean) / sqrt(variance + epsilon)` times a gain of their own, without
    /// the bias, as each layer that multiplies them was packed for it.
    pub(super) quantised: &'a mut [(&'a [f32], Quantising<'a>)],
}

/// Rows that become bytes between 0 and 255, each group of them with a range of its own: `x = step * byte + least`.
pub(super) struct Quantising<'a> {
    /// Floats that share a range.
    pub(super) group: usize,
    /// Four or two bytes each, as the kernel multiplies them.
    pub(super) words: &'a mut [u32],
    /// One for each group of each row.
    pub(super) ranges: &'a mut [Range],
}

/// What the bytes of a group mean.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Range {
    pub(super) step: f32,
    pub(super) least: f32,
}

impl Kernel for LayerNorm<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        let width = self.gain.len();
        assert!(
            width.is_multiple_of(2 * V::N) && self.bias.len() == width,
            "a width the kernels do not take"
        );
        #[allow(clippy::cast_precision_loss)]
        let count = width as f32;
        let (gain, bias) = (self.gain.as_ptr(), self.bias.as_ptr());
        for (number, row) in self.rows.chunks_exact_mut(width).enumerate() {
            let row = row.as_mut_ptr();
            // SAFETY: all three have `width` floats, a multiple of the lanes.
            unsafe {
                let (mut sum, mut squares) = (V::splat(0.0), V::splat(0.0));
                for at in (0..width).step_by(V::N) {
                    sum = sum.add(V::load(row.add(at)));
                }
                let mean = sum.sum() / count;
                for at in (0..width).step_by(V::N) {
                    let distance = V::load(row.add(at)).sub(V::splat(mean));
                    squares = distance.fma(distance, squares);
                }
                let factor = 1.0 / (squares.sum() / count + self.epsilon).sqrt();
                let (mean, factor) = (V::splat(mean), V::splat(factor));
                for (gain, to) in self.quantised.iter_mut() {
                    assert!(
                        gain.len() == width && width.is_multiple_of(to.group),
                        "a gain that does not fit"
                    );
                    let (gain, groups) = (gain.as_ptr(), width / to.group);
                    for group in 0..groups {
                        let first = group * to.group;
                        to.group(number * groups + group, |at| {
                            let unit = V::load(row.add(first + at)).sub(mean).mul(factor);
                            unit.mul(V::load(gain.add(first + at)))
                        });
                    }
                }
                for at in (0..width).step_by(V::N) {
                    let unit = V::load(row.add(at)).sub(mean).mul(factor);
                    unit.fma(V::load(gain.add(at)), V::load(bias.add(at))).store(row.add(at));
                }
            }
        }
    }
}

impl Quantising<'_> {
    /// Writes the group `number`, whose values `load` gives a register at a time.
    ///
    /// # Safety
    /// `load` may be called for every multiple of the lanes below the size of the group; the processor has the
    /// instructions of `V`.
    #[inline(always)]
    unsafe fn group<V: Lanes>(&mut self, number: usize, load: impl Fn(usize) -> V) {
        let words = self.group / V::GROUP;
        assert!(self.group.is_multiple_of(2 * V::N), "a group the kernels do not take");
        let to = self.words[number * words..][..words].as_mut_ptr();
        // SAFETY: as the caller promises; there is room for the bytes of the group.
        unsafe {
            let (mut low, mut high) = ([load(0); 2], [load(0); 2]);
            for at in (0..self.group).step_by(2 * V::N) {
                for half in 0..2 {
                    let values = load(at + half * V::N);
                    low[half] = low[half].min(values);
                    high[half] = high[half].max(values);
                }
            }
            let least = low[0].min(low[1]).smallest();
            let step = ((high[0].max(high[1]).largest() - least) / 255.0).max(f32::MIN_POSITIVE);
            self.ranges[number] = Range { step, least };
            let (per_step, offset) = (V::splat(1.0 / step), V::splat(-least / step));
            for at in (0..self.group).step_by(V::N) {
                load(at).fma(per_step, offset).store_words(to.add(at / V::GROUP));
            }
        }
    }
}

/// Turns rows of floats into bytes.
pub(super) struct Quantise<'a> {
    pub(super) rows: &'a [f32],
    pub(super) to: Quantising<'a>,
}

impl Kernel for Quantise<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Lanes>(mut self) {
        for (number, group) in self.rows.chunks_exact(self.to.group).enumerate() {
            // SAFETY: the group has as many floats as it says.
            unsafe { self.to.group(number, |at| V::load(group.as_ptr().add(at))) };
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::simd::{Isa, on};
    use super::*;

    /// Applies a function to values, a multiple of the lanes.
    struct Each<'a, F>(&'a mut [f32], F);

    trait Apply {
        unsafe fn apply<V: Lanes>(&self, value: V) -> V;
    }

    impl<F: Apply> Kernel for Each<'_, F> {
        type Output = ();

        unsafe fn run<V: Lanes>(self) {
            for part in self.0.chunks_exact_mut(V::N) {
                // SAFETY: the part has as many floats as a register.
                unsafe { self.1.apply(V::load(part.as_ptr())).store(part.as_mut_ptr()) };
            }
        }
    }

    #[derive(Clone, Copy)]
    struct Exp;
    impl Apply for Exp {
        unsafe fn apply<V: Lanes>(&self, value: V) -> V {
            // SAFETY: as the caller promises.
            unsafe { exp(value) }
        }
    }

    impl Apply for Activation {
        unsafe fn apply<V: Lanes>(&self, value: V) -> V {
            // SAFETY: as the caller promises.
            unsafe { (*self).apply(value) }
        }
    }

    fn values(from: f32, to: f32) -> Vec<f32> {
        const COUNT: u16 = 1 << 14;
        (0..COUNT).map(|at| from + (to - from) * f32::from(at) / f32::from(COUNT)).collect()
    }

    /// erf by its series, in double precision; enough terms for |x| up to 6.
    fn erf(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        (sum * 2.0 / std::f64::consts::PI.sqrt()).clamp(-1.0, 1.0)
    }

    fn check(function: impl Apply + Copy, inputs: &[f32], tolerance: f64, exact: impl Fn(f64) -> f64) {
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            let mut outputs = inputs.to_vec();
            // SAFETY: the set is available.
            unsafe { on(isa, Each(&mut outputs, function)) };
            for (input, output) in inputs.iter().zip(outputs) {
                let exact = exact(f64::from(*input));
                let error = (f64::from(output) - exact).abs() / exact.abs().max(1.0);
                assert!(error < tolerance, "{isa}: f({input}) = {output}, not {exact}");
            }
        }
    }

    #[test]
    fn exponentials() {
        check(Exp, &values(-86.9, 0.0), 3e-7, f64::exp);
        check(Exp, &values(-2.0, 0.0), 3e-7, f64::exp);
        check(Exp, &[f32::MIN; 16], 1e-30, |_| 0.0);
    }

    #[test]
    fn activations() {
        let gelu = |x: f64| x / 2.0 * (1.0 + erf(x / std::f64::consts::SQRT_2));
        check(Activation::Gelu, &values(-5.5, 5.5), 1e-6, gelu);
        check(Activation::Gelu, &values(5.5, 1e6), 1e-6, |x| x);
        check(Activation::Gelu, &values(-100.0, -5.5), 1e-5, |_| 0.0);
        let tanh = |x: f64| x / 2.0 * (1.0 + (0.797_884_560_8 * (x + 0.044_715 * x * x * x)).tanh());
        check(Activation::GeluTanh, &values(-50.0, 50.0), 1e-6, tanh);
        check(Activation::Relu, &values(-5.0, 5.0), 1e-9, |x| x.max(0.0));
    }
}
