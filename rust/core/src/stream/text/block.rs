//! Where blocks end: paragraphs, lists, tables, fenced code. A heading belongs to the block behind it.
//!
//! A block has closed when the first character of the next one is there, so that nobody is stopped who has ended.
//! Only a list needs to see more: whether the line behind a blank one is a further item.

use super::scan::{Mark, Scan};

/// What a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockKind {
    /// A heading that nothing follows.
    Heading,
    /// A paragraph.
    Prose,
    /// List items, with what stands indented under them.
    List,
    /// A table.
    Table,
    /// Fenced code.
    Code,
}

/// A block that closed; positions are code points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Where it starts: behind the block before.
    pub start: usize,
    /// Where what is no heading starts in it; its end when there is nothing else.
    pub body: usize,
    /// Behind its last blank line.
    pub end: usize,
    /// What it is.
    pub kind: BlockKind,
}

/// Less indentation than this does not continue a list item behind a blank line.
const ITEM_INDENT: usize = 2;
/// Most digits of the number of a list item.
const ITEM_DIGITS: usize = 9;

/// The block that is being written.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Blocks {
    start: usize,
    body: Option<usize>,
    kind: Option<BlockKind>,
    /// Whether a blank line came since the last one that was not.
    after_blank: bool,
}

impl Blocks {
    /// A block that starts there.
    pub(super) fn at(start: usize) -> Self {
        Self { start, ..Self::default() }
    }

    pub(super) fn start(&self) -> usize {
        self.start
    }

    /// Whether `c`, the first character of a line that is no blank, may begin a further item of the list.
    pub(super) fn awaits_item(&self, c: char, scan: &Scan) -> bool {
        self.kind == Some(BlockKind::List)
            && self.after_blank
            && scan.opens_line(c)
            && scan.line_indent() < ITEM_INDENT
            && (is_bullet(c) || c.is_ascii_digit())
    }

    /// Takes `c`, which comes next; gives the block that it closes. `item` says whether its line is a list item.
    pub(super) fn before(&mut self, c: char, scan: &Scan, item: bool) -> Option<Block> {
        if !scan.opens_line(c) {
            return None;
        }
        let after_blank = std::mem::take(&mut self.after_blank);
        let closes = match self.kind {
            None | Some(BlockKind::Heading) => false,
            Some(BlockKind::Code) => true,
            Some(BlockKind::List) => after_blank && !item && scan.line_indent() < ITEM_INDENT,
            Some(BlockKind::Prose | BlockKind::Table) => after_blank,
        };
        closes.then(|| self.close(scan.line_start())).flatten()
    }

    /// Takes the end of a line: what it was, and where it started; gives the block that the fence which it opens closes.
    pub(super) fn line_ended(&mut self, mark: Mark, start: usize) -> Option<Block> {
        use BlockKind::{Code, Heading, List, Prose, Table};
        if mark == Mark::Blank {
            self.after_blank = true;
            return None;
        }
        let opens = mark == Mark::FenceOpen && !matches!(self.kind, None | Some(Heading));
        let closed = opens.then(|| self.close(start)).flatten();
        self.kind = Some(match (mark, self.kind) {
            (Mark::Heading, kind) => kind.unwrap_or(Heading),
            (Mark::FenceOpen | Mark::InFence, _) => Code,
            (Mark::Item, None | Some(Heading | Prose)) => List,
            (Mark::Row, None | Some(Heading | Prose)) => Table,
            (_, None | Some(Heading)) => Prose,
            (_, Some(kind)) => kind,
        });
        if mark != Mark::Heading {
            self.body.get_or_insert(start);
        }
        closed
    }

    /// Closes the block at `end`, if anything stands in it.
    pub(super) fn close(&mut self, end: usize) -> Option<Block> {
        let Self { start, body, kind, .. } = *self;
        let block = kind.map(|kind| Block { start, body: body.unwrap_or(end), end, kind })?;
        *self = Self::at(end);
        Some(block)
    }
}

/// Whether a line that begins with `head` is a list item; `None`: that is not known yet.
pub(super) fn is_item(head: &str) -> Option<bool> {
    let digits = head.chars().take_while(char::is_ascii_digit).count();
    let rest = &head[digits..];
    let mut behind = rest.chars();
    match behind.next() {
        None => (digits > ITEM_DIGITS).then_some(false),
        Some(c) if (digits == 0 && is_bullet(c)) || (digits > 0 && matches!(c, '.' | ')')) => {
            behind.next().map(char::is_whitespace)
        }
        Some(_) => Some(false),
    }
}

fn is_bullet(c: char) -> bool {
    matches!(c, '-' | '*' | '+')
}
