//! The text of one chunk: fragments, blocks, control lines, truncation.
//!
//! Text is passed on at once; only a line that may still become a control line waits, and the marker of what may be
//! a further list item. A label in front of a control line, and a fence that holds nothing else, are taken back when
//! the line is known. Fragments tile the
//! text: each starts where the one before ended and includes the one blank that ended it, further blanks
//! open the next. A fragment never consists of blanks, so that blanks at the very end may stay outside of
//! any. A boundary may lie before text that was already passed on: a fence is known only when its line
//! ends. A fragment has at most [`FRAGMENT_LIMIT`] code points, unless more than half of them are leading
//! blanks.

mod block;
mod control;
mod error;
mod fenced;
mod open;
mod scan;

use block::{Blocks, is_item};
use control::{LEAD_LIMIT, Matcher, Order, Step, is_label};
use fenced::{Fenced, Outcome};
use open::Open;
use scan::Scan;

pub use block::{Block, BlockKind};
pub use error::TextError;
pub use open::FRAGMENT_LIMIT;

/// Distance of the states kept for [`ChunkText::truncate`], in code points.
const CHECKPOINT: usize = 1024;

/// What [`ChunkText`] found, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// Text to show.
    Text {
        /// Its first code point; what was shown from there on is taken back.
        start: usize,
        /// The text.
        text: String,
    },
    /// A fragment closed.
    Boundary {
        /// From 1, never reused in a chunk.
        number: u64,
        /// First code point.
        start: usize,
        /// Behind the last code point.
        end: usize,
        /// Whether it was cut only because it was long.
        forced: bool,
        /// Whether the code goes on in its fence.
        in_code: bool,
    },
    /// A block closed, and what follows begins the next one.
    Block(Block),
    /// A control line; not part of the text.
    Control {
        /// One of the given verbs.
        verb: String,
        /// The rest of the line, trimmed.
        rest: String,
    },
}

#[derive(Debug, Clone)]
struct Checkpoint {
    chars: usize,
    bytes: usize,
    scan: Scan,
    blocks: Blocks,
}

/// A piece that was inserted whole, in code points and bytes.
#[derive(Debug, Clone, Copy)]
struct Opaque {
    start: usize,
    end: usize,
    bytes: usize,
}

/// Cuts the text of one chunk.
#[derive(Debug, Clone)]
pub struct ChunkText {
    control: Matcher,
    fenced: Option<Fenced>,
    /// What may be the marker of a list item.
    marker: String,
    text: String,
    chars: usize,
    scan: Scan,
    open: Open,
    blocks: Blocks,
    ends: Vec<usize>,
    block_ends: Vec<usize>,
    opaque: Vec<Opaque>,
    last_number: u64,
    checkpoints: Vec<Checkpoint>,
}

/// Segments found by one call; text up to `bytes` is in them.
struct Found {
    segments: Vec<Segment>,
    bytes: usize,
    chars: usize,
}

impl ChunkText {
    /// A chunk whose control lines are `@@<nonce> <verb> ...`.
    ///
    /// # Errors
    /// When the nonce or a verb is empty or holds a blank.
    pub fn new(nonce: &str, verbs: impl IntoIterator<Item = String>) -> Result<Self, TextError> {
        Ok(Self {
            control: Matcher::new(nonce, verbs.into_iter().collect())?,
            fenced: None,
            marker: String::new(),
            text: String::new(),
            chars: 0,
            scan: Scan::default(),
            open: Open::default(),
            blocks: Blocks::default(),
            ends: Vec::new(),
            block_ends: Vec::new(),
            opaque: Vec::new(),
            last_number: 0,
            checkpoints: Vec::new(),
        })
    }

    /// The text passed on so far.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its length in code points.
    #[must_use]
    pub fn len(&self) -> usize {
        self.chars
    }

    /// Whether no text was passed on.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chars == 0
    }

    /// The line that opened the fence which is open at the end of the text, if one is.
    #[must_use]
    pub fn open_fence(&self) -> Option<&str> {
        let start = self.scan.fence_start()?;
        let byte = self.text.char_indices().nth(start).map(|(byte, _)| byte)?;
        self.text[byte..].lines().next()
    }

    /// Takes what the model wrote.
    pub fn feed(&mut self, input: &str) -> Vec<Segment> {
        let mut found = self.begin();
        for c in input.chars() {
            if self.marker.is_empty() && !self.blocks.awaits_item(c, &self.scan) {
                self.take(c, false, &mut found);
                continue;
            }
            self.marker.push(c);
            if let Some(item) = is_item(&self.marker) {
                self.take_marker(item, &mut found);
            }
        }
        self.end(found)
    }

    /// Closes the last fragment and the last block, and lets go of held text.
    pub fn flush(&mut self) -> Vec<Segment> {
        let mut found = self.begin();
        self.let_go(&mut found);
        self.close(self.chars, false, &mut found);
        let last = self.blocks.line_ended(self.scan.mark(), self.scan.line_start());
        self.close_block(last, &mut found);
        let last = self.blocks.close(self.chars);
        self.close_block(last, &mut found);
        self.end(found)
    }

    /// Adds a piece of whole lines that is neither searched nor ever cut: one fragment and one block.
    ///
    /// # Errors
    /// When it does not end with a line end.
    pub fn insert(&mut self, piece: &str) -> Result<Vec<Segment>, TextError> {
        if !piece.ends_with('\n') || piece.trim().is_empty() {
            return Err(TextError::NoLines);
        }
        let mut segments = self.flush();
        let (start, mut found) = (self.chars, self.begin());
        self.text.push_str(piece);
        self.chars += piece.chars().count();
        self.pass_on(&mut found);
        self.opaque.push(Opaque { start, end: self.chars, bytes: piece.len() });
        self.cut_at(self.open.start(), self.chars, false, &mut found);
        let block = Block { start: self.blocks.start(), body: start, end: self.chars, kind: BlockKind::Code };
        self.close_block(Some(block), &mut found);
        self.scan = Scan::at(self.chars);
        self.open = Open::at(self.chars);
        self.blocks = Blocks::at(self.chars);
        segments.extend(self.end(found));
        Ok(segments)
    }

    /// Cuts the text to `keep` code points, as if no more had been fed. Fragments and blocks that end within
    /// them stay closed, later ones are forgotten, held text is dropped.
    ///
    /// # Errors
    /// When the text is shorter than that, or that is within an inserted piece.
    pub fn truncate(&mut self, keep: usize) -> Result<(), TextError> {
        if keep > self.chars {
            return Err(TextError::TooLong { keep, length: self.chars });
        }
        if self.opaque.iter().any(|piece| piece.start < keep && keep < piece.end) {
            return Err(TextError::Inside { keep });
        }
        self.control.reset();
        self.fenced = None;
        self.marker.clear();
        self.ends.truncate(self.ends.partition_point(|end| *end <= keep));
        self.block_ends.truncate(self.block_ends.partition_point(|end| *end <= keep));
        self.opaque.retain(|piece| piece.end <= keep);
        self.rescan(keep);
        Ok(())
    }

    /// Restores the state at `keep` from the last checkpoint before the open fragment.
    fn rescan(&mut self, keep: usize) {
        let start = self.ends.last().copied().unwrap_or(0);
        let usable = self.checkpoints.partition_point(|checkpoint| checkpoint.chars <= start);
        let origin = usable.checked_sub(1).and_then(|last| self.checkpoints.get(last)).cloned();
        let origin = origin.unwrap_or(Checkpoint {
            chars: 0,
            bytes: 0,
            scan: Scan::default(),
            blocks: Blocks::default(),
        });
        self.checkpoints.truncate(self.checkpoints.partition_point(|checkpoint| checkpoint.chars < keep));
        self.scan = origin.scan;
        self.blocks = origin.blocks;
        self.open = Open::at(start);
        self.chars = origin.chars;
        let mut bytes = origin.bytes;
        while self.chars < keep {
            if let Some(piece) = self.opaque.iter().find(|piece| piece.start == self.chars) {
                (self.chars, bytes) = (piece.end, bytes + piece.bytes);
                self.scan = Scan::at(self.chars);
                self.blocks = Blocks::at(self.chars);
                continue;
            }
            let Some(c) = self.text[bytes..].chars().next() else { break };
            if self.chars >= start {
                self.open.see(c, self.chars);
            }
            let _ = self.blocks.before(c, &self.scan, false);
            self.step(c);
            self.chars += 1;
            bytes += c.len_utf8();
        }
        self.text.truncate(bytes);
        let closed = self.block_ends.last().copied().unwrap_or(0);
        if self.blocks.start() < closed {
            self.blocks = Blocks::at(closed);
        }
    }

    /// Takes a character; `item` says whether it begins a further item of a list.
    fn take(&mut self, c: char, item: bool, found: &mut Found) {
        if let Some(fenced) = &mut self.fenced {
            let outcome = fenced.step(c, &mut self.control, &self.scan);
            self.leave_fence(outcome, found);
            return;
        }
        if self.control.is_idle() && !(c == '@' && self.may_order()) {
            self.visible(c, item, found);
            return;
        }
        if self.control.is_idle() && self.scan.in_empty_fence() {
            let mut fenced = Fenced::default();
            let outcome = fenced.step(c, &mut self.control, &self.scan);
            self.fenced = Some(fenced);
            self.leave_fence(outcome, found);
            return;
        }
        let step = self.control.step(c);
        self.after_step(step, found);
    }

    /// Whether a control line may begin here: nothing of its line is closed, and what stands in front of it is a label;
    /// or it is the first of a fence.
    fn may_order(&self) -> bool {
        if self.scan.fence_start().is_some() {
            return self.scan.in_empty_fence();
        }
        let line = self.scan.line_start();
        let lead = self.chars - line;
        if lead > LEAD_LIMIT || self.ends.last().is_some_and(|end| *end > line) {
            return false;
        }
        let label: Vec<char> = self.text.chars().rev().take(lead).collect();
        is_label(&label.iter().rev().collect::<String>())
    }

    fn after_step(&mut self, step: Step, found: &mut Found) {
        match step {
            Step::Held => {}
            Step::Complete(order) => {
                self.take_back(self.scan.line_start(), found);
                self.found_control(order, found);
            }
            Step::Text(held) => held.chars().for_each(|c| self.visible(c, false, found)),
        }
    }

    fn leave_fence(&mut self, outcome: Outcome, found: &mut Found) {
        match outcome {
            Outcome::Held => {}
            Outcome::Orders(orders) => {
                self.fenced = None;
                self.take_back(self.scan.fence_start().unwrap_or(self.chars), found);
                orders.into_iter().for_each(|order| self.found_control(order, found));
            }
            Outcome::Code(held) => {
                self.fenced = None;
                held.chars().for_each(|c| self.visible(c, false, found));
            }
        }
    }

    fn take_marker(&mut self, item: bool, found: &mut Found) {
        for c in std::mem::take(&mut self.marker).chars() {
            self.take(c, item, found);
        }
    }

    /// Lets go of all that is held: this is the end of the text.
    fn let_go(&mut self, found: &mut Found) {
        self.take_marker(false, found);
        if let Some(mut fenced) = self.fenced.take() {
            let outcome = fenced.end(&mut self.control, &self.scan);
            self.leave_fence(outcome, found);
        }
        let step = self.control.end();
        self.after_step(step, found);
    }

    /// Takes what was shown of the line back to `start`; no fragment ends behind it.
    fn take_back(&mut self, start: usize, found: &mut Found) {
        if start < self.chars {
            self.rescan(start);
        }
        self.pass_on(found);
    }

    fn visible(&mut self, c: char, item: bool, found: &mut Found) {
        let at = self.chars;
        if at.is_multiple_of(CHECKPOINT) && at > 0 {
            let (bytes, scan, blocks) = (self.text.len(), self.scan, self.blocks);
            self.checkpoints.push(Checkpoint { chars: at, bytes, scan, blocks });
        }
        let closed = self.blocks.before(c, &self.scan, item);
        self.close_block(closed, found);
        if self.scan.opens_code(c) {
            self.close(self.scan.line_start(), false, found);
        }
        self.text.push(c);
        self.open.see(c, at);
        let (end, block) = self.step(c);
        self.chars += 1;
        if let Some(end) = end {
            self.close(end, false, found);
        }
        self.close_block(block, found);
        if let Some(end) = self.open.forced(at) {
            self.close(end, true, found);
        }
    }

    /// Takes the character behind the text; gives the end of a fragment and the block that ended.
    fn step(&mut self, c: char) -> (Option<usize>, Option<Block>) {
        let (mark, line) = (self.scan.mark(), self.scan.line_start());
        let end = self.scan.step(c, self.chars);
        (end, (c == '\n').then(|| self.blocks.line_ended(mark, line)).flatten())
    }

    fn close(&mut self, end: usize, forced: bool, found: &mut Found) {
        if let Some(start) = self.open.cut(end, self.chars) {
            self.pass_on(found);
            self.cut_at(start, end, forced, found);
        }
    }

    fn cut_at(&mut self, start: usize, end: usize, forced: bool, found: &mut Found) {
        self.last_number += 1;
        self.ends.push(end);
        let in_code = self.scan.fence_start().is_some_and(|fence| fence < end);
        found.segments.push(Segment::Boundary { number: self.last_number, start, end, forced, in_code });
    }

    fn close_block(&mut self, block: Option<Block>, found: &mut Found) {
        if let Some(block) = block {
            self.pass_on(found);
            self.block_ends.push(block.end);
            found.segments.push(Segment::Block(block));
        }
    }

    fn found_control(&mut self, order: Order, found: &mut Found) {
        self.pass_on(found);
        found.segments.push(Segment::Control { verb: order.verb, rest: order.rest });
    }

    fn begin(&self) -> Found {
        Found { segments: Vec::new(), bytes: self.text.len(), chars: self.chars }
    }

    fn pass_on(&self, found: &mut Found) {
        if found.bytes > self.text.len() {
            found.segments.push(Segment::Text { start: self.chars, text: String::new() });
        } else if found.bytes < self.text.len() {
            let text = self.text[found.bytes..].to_owned();
            found.segments.push(Segment::Text { start: found.chars, text });
        }
        (found.bytes, found.chars) = (self.text.len(), self.chars);
    }

    fn end(&self, mut found: Found) -> Vec<Segment> {
        self.pass_on(&mut found);
        found.segments
    }
}

#[cfg(test)]
mod tests;
