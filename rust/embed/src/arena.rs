//! The memory that holds the packed weights of a model, in large pages where the system has them.
//!
//! A short text reads all weights once and computes little with each: with pages of 4 KiB, finding them takes a
//! seventh of its time.

/// A cache line.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Line([u8; LINE]);

const LINE: usize = 64;
/// A large page of x86-64 and of most 64-bit ARM systems.
const PAGE: usize = 2 << 20;

/// Memory that is filled from its beginning, in pieces that begin at a cache line.
pub(super) struct Arena {
    lines: Vec<Line>,
    /// Lines before the first large page.
    first: usize,
    used: usize,
}

/// Where a piece lies in its arena.
#[derive(Clone, Copy)]
pub(super) struct Piece {
    first: usize,
    bytes: usize,
}

impl Arena {
    /// Memory for pieces of `bytes` in all.
    pub(super) fn new(pieces: impl Iterator<Item = usize>) -> Self {
        let count = pieces.map(|bytes| bytes.div_ceil(LINE)).sum::<usize>();
        let mut lines: Vec<Line> = Vec::with_capacity(count + PAGE / LINE);
        let first = lines.as_ptr().align_offset(PAGE).min(PAGE / LINE);
        ask_for_large_pages(lines.spare_capacity_mut());
        // Written only now: pages are given when they are touched.
        lines.resize(first + count, Line([0; LINE]));
        Self { lines, first, used: 0 }
    }

    /// The next piece, all zero, and what it is called.
    ///
    /// # Panics
    /// When the memory that was asked for is used up.
    pub(super) fn take(&mut self, bytes: usize) -> (Piece, &mut [u8]) {
        let piece = Piece { first: self.first + self.used, bytes };
        self.used += bytes.div_ceil(LINE);
        let lines = &mut self.lines[piece.first..self.first + self.used];
        // SAFETY: lines are bytes without padding.
        let all =
            unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast::<u8>(), lines.len() * LINE) };
        (piece, &mut all[..bytes])
    }

    /// A piece that was taken from this arena.
    pub(super) fn get(&self, piece: Piece) -> &[u8] {
        let lines = &self.lines[piece.first..][..piece.bytes.div_ceil(LINE)];
        // SAFETY: as above.
        let all = unsafe { std::slice::from_raw_parts(lines.as_ptr().cast::<u8>(), lines.len() * LINE) };
        &all[..piece.bytes]
    }
}

#[cfg(target_os = "linux")]
fn ask_for_large_pages(memory: &mut [std::mem::MaybeUninit<Line>]) {
    let (start, bytes) = (memory.as_mut_ptr().cast::<u8>(), std::mem::size_of_val(memory));
    let before = start.align_offset(PAGE);
    if before < bytes {
        // SAFETY: the range lies within the memory. It is advice: a system that does not take it goes on with small
        // pages, which is what there would be without it.
        unsafe { libc::madvise(start.add(before).cast(), bytes - before, libc::MADV_HUGEPAGE) };
    }
}

#[cfg(not(target_os = "linux"))]
fn ask_for_large_pages(_: &mut [std::mem::MaybeUninit<Line>]) {}
