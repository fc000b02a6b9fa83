//! Registers of floats and the few things done with them, for each instruction set that the product is run on.
//!
//! A kernel is written once, generic over [`Lanes`] and always inlined, and compiled once for each set inside a
//! function that enables it ([`on`]); which one runs is decided when a model is loaded ([`Isa::best`]).

use std::fmt;

/// The instruction sets that kernels are compiled for, the best one first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isa {
    /// x86-64 with AVX-512 (F, BW, DQ, VL, VNNI): 16 floats, and byte products in one instruction.
    Avx512,
    /// x86-64 with AVX2 and FMA: 8 floats.
    Avx2,
    /// What every processor has, as the compiler vectorises it.
    Portable,
}

impl Isa {
    /// All of them, the best one first.
    pub const ALL: [Self; 3] = [Self::Avx512, Self::Avx2, Self::Portable];

    /// Whether this processor has it.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vnni")
                    && Self::Avx2.is_available()
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx512 | Self::Avx2 => false,
            Self::Portable => true,
        }
    }

    /// The best one that this processor has.
    #[must_use]
    pub fn best() -> Self {
        Self::ALL.into_iter().find(|isa| isa.is_available()).unwrap_or(Self::Portable)
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Avx512 => "AVX-512 VNNI",
            Self::Avx2 => "AVX2",
            Self::Portable => "portable",
        })
    }
}

/// Something to be done on registers.
pub(super) trait Kernel {
    /// What comes out.
    type Output;

    /// Does it.
    ///
    /// # Safety
    /// The processor has the instructions of `V`, and what the kernel says of its own fields holds.
    unsafe fn run<V: Lanes>(self) -> Self::Output;
}

/// Runs a kernel on an instruction set.
///
/// # Safety
/// `isa` is available, and what the kernel says of its own fields holds.
pub(super) unsafe fn on<K: Kernel>(isa: Isa, kernel: K) -> K::Output {
    // SAFETY: the caller promises that the processor has what each of these functions enables.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => x86::on_avx512(kernel),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => x86::on_avx2(kernel),
            _ => kernel.run::<Portable>(),
        }
    }
}

/// A register of floats.
///
/// # Safety of its methods
/// Those that take a pointer need [`Self::N`] elements there, of any alignment; all of them need a processor that
/// has their instructions.
pub(super) trait Lanes: Copy {
    /// Floats in a register.
    const N: usize;
    /// The most rows of a tile that is two registers wide: what the registers hold without spilling.
    const ROWS: usize;
    /// Bytes of a row of activations that are multiplied in one step: a word of [`Self::dot`].
    const GROUP: usize;
    /// A register of 32-bit sums.
    type Sums: Copy;

    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(at: *const f32) -> Self;
    unsafe fn store(self, at: *mut f32);
    /// `self * factor + summand`.
    unsafe fn fma(self, factor: Self, summand: Self) -> Self;
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    unsafe fn mul(self, other: Self) -> Self;
    unsafe fn div(self, other: Self) -> Self;
    unsafe fn max(self, other: Self) -> Self;
    unsafe fn min(self, other: Self) -> Self;
    /// To the nearest integer, as floats.
    unsafe fn round(self) -> Self;
    /// `self * 2^exponent`, for an exponent of integers between -126 and 127.
    unsafe fn scale2(self, exponent: Self) -> Self;
    unsafe fn sum(self) -> f32;
    unsafe fn largest(self) -> f32;
    unsafe fn smallest(self) -> f32;
    /// Writes the lanes, rounded and held between 0 and 255, as `N / GROUP` words of activations.
    unsafe fn store_words(self, at: *mut u32);

    unsafe fn no_sums() -> Self::Sums;
    /// Adds to each sum the products of a word of activations with [`Self::GROUP`] weights; `N * GROUP` of them lie
    /// at `weights`.
    unsafe fn dot(sums: Self::Sums, word: u32, weights: *const i8) -> Self::Sums;
    unsafe fn from_sums(sums: Self::Sums) -> Self;
}

/// As the compiler vectorises it.
#[derive(Clone, Copy)]
pub(super) struct Portable([f32; 8]);

impl Portable {
    #[inline(always)]
    fn zip(self, other: Self, each: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|lane| each(self.0[lane], other.0[lane])))
    }
}

impl Lanes for Portable {
    const N: usize = 8;
    const ROWS: usize = 4;
    const GROUP: usize = 2;
    type Sums = [i32; 8];

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; 8])
    }
    #[inline(always)]
    unsafe fn load(at: *const f32) -> Self {
        // SAFETY: the caller has eight floats there.
        Self(unsafe { at.cast::<[f32; 8]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, at: *mut f32) {
        // SAFETY: the caller has room for eight floats there.
        unsafe { at.cast::<[f32; 8]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn fma(self, factor: Self, summand: Self) -> Self {
        // Not mul_add: without the instruction that is a call for each lane.
        Self(std::array::from_fn(|lane| self.0[lane] * factor.0[lane] + summand.0[lane]))
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    unsafe fn round(self) -> Self {
        // Adding and taking away 1.5 * 2^23 leaves no bits behind the point; the values here are far smaller.
        const ROUNDER: f32 = 12_582_912.0;
        Self(self.0.map(|lane| (lane + ROUNDER) - ROUNDER))
    }
    #[inline(always)]
    unsafe fn scale2(self, exponent: Self) -> Self {
        self.zip(exponent, |lane, exponent| {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let bits = ((exponent as i32 + 127) as u32) << 23;
            lane * f32::from_bits(bits)
        })
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        self.0.iter().sum()
    }
    #[inline(always)]
    unsafe fn largest(self) -> f32 {
        self.0.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
    #[inline(always)]
    unsafe fn smallest(self) -> f32 {
        self.0.into_iter().fold(f32::INFINITY, f32::min)
    }
    #[inline(always)]
    unsafe fn store_words(self, at: *mut u32) {
        // SAFETY: as the caller promises; the rounding is that of the trait.
        unsafe {
            let whole = self.round().0;
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let byte = |lane: usize| u32::from(whole[lane].clamp(0.0, 255.0) as u8);
            for word in 0..4 {
                at.add(word).write(byte(2 * word) | byte(2 * word + 1) << 16);
            }
        }
    }
    #[inline(always)]
    unsafe fn no_sums() -> [i32; 8] {
        [0; 8]
    }
    #[inline(always)]
    unsafe fn dot(sums: [i32; 8], word: u32, weights: *const i8) -> [i32; 8] {
        // SAFETY: the caller has sixteen weights there.
        let weights = unsafe { weights.cast::<[i8; 16]>().read_unaligned() };
        #[allow(clippy::cast_possible_wrap)]
        let (first, second) = ((word & 0xffff) as i32, (word >> 16) as i32);
        std::array::from_fn(|lane| {
            sums[lane] + first * i32::from(weights[2 * lane]) + second * i32::from(weights[2 * lane + 1])
        })
    }
    #[inline(always)]
    unsafe fn from_sums(sums: [i32; 8]) -> Self {
        #[allow(clippy::cast_precision_loss)]
        Self(sums.map(|sum| sum as f32))
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Kernel, Lanes};

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
    pub(super) unsafe fn on_avx512<K: Kernel>(kernel: K) -> K::Output {
        // SAFETY: the caller promises the instructions and what the kernel asks for.
        unsafe { kernel.run::<Avx512>() }
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn on_avx2<K: Kernel>(kernel: K) -> K::Output {
        // SAFETY: as above.
        unsafe { kernel.run::<Avx2>() }
    }

    #[derive(Clone, Copy)]
    pub(super) struct Avx512(__m512);

    // SAFETY of all methods: the caller has the instructions, and room behind each pointer.
    impl Lanes for Avx512 {
        const N: usize = 16;
        const ROWS: usize = 14;
        const GROUP: usize = 4;
        type Sums = __m512i;

        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            unsafe { Self(_mm512_set1_ps(value)) }
        }
        #[inline(always)]
        unsafe fn load(at: *const f32) -> Self {
            unsafe { Self(_mm512_loadu_ps(at)) }
        }
        #[inline(always)]
        unsafe fn store(self, at: *mut f32) {
            unsafe { _mm512_storeu_ps(at, self.0) }
        }
        #[inline(always)]
        unsafe fn fma(self, factor: Self, summand: Self) -> Self {
            unsafe { Self(_mm512_fmadd_ps(self.0, factor.0, summand.0)) }
        }
        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            unsafe { Self(_mm512_add_ps(self.0, other.0)) }
        }
        #[inline(always)]
        unsafe fn sub(self, other: Self) -> Self {
            unsafe { Self(_mm512_sub_ps(self.0, other.0)) }
        }
        #[inline(always)]
        unsafe fn mul(self, other: Self) -> Self {
            unsafe { Self(_mm512_mul_ps(self.0, other.0)) }
        }
        #[inline(always)]
        unsafe fn div(self, other: Self) -> Self {
            unsafe { Self(_mm512_div_ps(self.0, other.0)) }
        }
        #[inline(always)]
        unsafe fn max(self, other: Self) -> Self {
            unsafe { Self(_mm512_max_ps(self.0, other.0)) }
        }
        #[inline(always)]
        unsafe fn min(self, other: Self) -> Self {
            unsafe { Self(_mm512_min_ps(self.0, other.0)) }
        }
        #[inline(always)]
        unsafe fn round(self) -> Self {
            unsafe { Self(_mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0)) }
        }
        #[inline(always)]
        unsafe fn scale2(self, exponent: Self) -> Self {
            unsafe { Self(_mm512_scalef_ps(self.0, exponent.0)) }
        }
        #[inline(always)]
        unsafe fn sum(self) -> f32 {
            unsafe { _mm512_reduce_add_ps(self.0) }
        }
        #[inline(always)]
        unsafe fn largest(self) -> f32 {
            unsafe { _mm512_reduce_max_ps(self.0) }
        }
        #[inline(always)]
        unsafe fn smallest(self) -> f32 {
            unsafe { _mm512_reduce_min_ps(self.0) }
        }
        #[inline(always)]
        unsafe fn store_words(self, at: *mut u32) {
            unsafe {
                let whole = _mm512_max_epi32(_mm512_cvtps_epi32(self.0), _mm512_setzero_si512());
                _mm_storeu_si128(at.cast(), _mm512_cvtusepi32_epi8(whole));
            }
        }
        #[inline(always)]
        unsafe fn no_sums() -> __m512i {
            unsafe { _mm512_setzero_si512() }
        }
        #[inline(always)]
        unsafe fn dot(sums: __m512i, word: u32, weights: *const i8) -> __m512i {
            unsafe {
                let activations = _mm512_set1_epi32(word.cast_signed());
                _mm512_dpbusd_epi32(sums, activations, _mm512_loadu_si512(weights.cast()))
            }
        }
        #[inline(always)]
        unsafe fn from_sums(sums: __m512i) -> Self {
            unsafe { Self(_mm512_cvtepi32_ps(sums)) }
        }
    }

    #[derive(Clone, Copy)]
    pub(super) struct Avx2(__m256);

    impl Avx2 {
        /// The lanes of both halves, folded to four.
        #[inline(always)]
        unsafe fn fold(self, with: impl Fn(__m128, __m128) -> __m128) -> f32 {
            // SAFETY: as for all methods.
            unsafe {
                let four = with(_mm256_castps256_ps128(self.0), _mm256_extractf128_ps::<1>(self.0));
                let two = with(four, _mm_movehl_ps(four, four));
                _mm_cvtss_f32(with(two, _mm_shuffle_ps::<1>(two, two)))
            }
        }
    }

    // SAFETY of all methods: the caller has the instructions, and room behind each pointer.
    impl Lanes for Avx2 {
        const N: usize = 8;
        const ROWS: usize = 6;
        const GROUP: usize = 2;
        type Sums = __m256i;

        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            unsafe { Self(_mm256_set1_ps(value)) }
        }
        #[inline(always)]
        unsafe fn load(at: *const f32) -> Self {
            unsafe { Self(_mm256_loadu_ps(at)) }
        }
        #[inline(always)]
        unsafe fn store(self, at: *mut f32) {
            unsafe { _mm256_storeu_ps(at, self.0) }
        }
        #[inline(always)]
        unsafe fn fma(self, factor: Self, summand: Self) -> Self {
            unsafe { Self(_mm256_fmadd_ps(self.0, factor.0, summand.0)) }
        }
        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            unsafe { Self(_mm256_add_ps(self.0, other.0)) }
        }
        #[inline(always)]
        unsafe fn sub(self, other: Self) -> Self {
            unsafe { Self(_mm256_sub_ps(self.0, other.0)) }
        }
        #[inline(always)]
        unsafe fn mul(self, other: Self) -> Self {
            unsafe { Self(_mm256_mul_ps(self.0, other.0)) }
        }
        #[inline(always)]
        unsafe fn div(self, other: Self) -> Self {
            unsafe { Self(_mm256_div_ps(self.0, other.0)) }
        }
        #[inline(always)]
        unsafe fn max(self, other: Self) -> Self {
            unsafe { Self(_mm256_max_ps(self.0, other.0)) }
        }
        #[inline(always)]
        unsafe fn min(self, other: Self) -> Self {
            unsafe { Self(_mm256_min_ps(self.0, other.0)) }
        }
        #[inline(always)]
        unsafe fn round(self) -> Self {
            unsafe { Self(_mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0)) }
        }
        #[inline(always)]
        unsafe fn scale2(self, exponent: Self) -> Self {
            unsafe {
                let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(exponent.0), _mm256_set1_epi32(127));
                Self(_mm256_mul_ps(self.0, _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent))))
            }
        }
        #[inline(always)]
        unsafe fn sum(self) -> f32 {
            unsafe { self.fold(|a, b| _mm_add_ps(a, b)) }
        }
        #[inline(always)]
        unsafe fn largest(self) -> f32 {
            unsafe { self.fold(|a, b| _mm_max_ps(a, b)) }
        }
        #[inline(always)]
        unsafe fn smallest(self) -> f32 {
            unsafe { self.fold(|a, b| _mm_min_ps(a, b)) }
        }
        #[inline(always)]
        unsafe fn store_words(self, at: *mut u32) {
            unsafe {
                let whole = _mm256_cvtps_epi32(self.0);
                let held =
                    _mm256_min_epi32(_mm256_max_epi32(whole, _mm256_setzero_si256()), _mm256_set1_epi32(255));
                let packed =
                    _mm_packus_epi32(_mm256_castsi256_si128(held), _mm256_extracti128_si256::<1>(held));
                _mm_storeu_si128(at.cast(), packed);
            }
        }
        #[inline(always)]
        unsafe fn no_sums() -> __m256i {
            unsafe { _mm256_setzero_si256() }
        }
        #[inline(always)]
        unsafe fn dot(sums: __m256i, word: u32, weights: *const i8) -> __m256i {
            unsafe {
                // Pairs of 16 bits: products of bytes saturate in the instruction that multiplies those.
                let weights = _mm256_cvtepi8_epi16(_mm_loadu_si128(weights.cast()));
                _mm256_add_epi32(sums, _mm256_madd_epi16(_mm256_set1_epi32(word.cast_signed()), weights))
            }
        }
        #[inline(always)]
        unsafe fn from_sums(sums: __m256i) -> Self {
            unsafe { Self(_mm256_cvtepi32_ps(sums)) }
        }
    }
}
