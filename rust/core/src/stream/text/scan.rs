//! Where fragments may end: sentences, list items, headings, paragraphs, blocks of code.
//!
//! A small subset of CommonMark, decided character by character without looking ahead: fences (also
//! inside list items), list items and headings of one line, rows of tables, blank lines. Quotes and
//! indented code are paragraphs.

use sentence::Sentence;

pub(super) mod sentence;

/// Deeper indentation is code, except inside a list item.
const FENCE_INDENT: usize = 3;

/// What a line was, for the block it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Blank,
    Heading,
    Item,
    Row,
    FenceOpen,
    InFence,
    Other,
}

#[derive(Debug, Clone, Copy)]
struct Fence {
    /// Where its line starts.
    start: usize,
    mark: char,
    length: usize,
    indent: usize,
    /// Whether any line stands inside.
    has_code: bool,
    after_blank: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum Kind {
    /// Nothing but blanks so far.
    #[default]
    Blank,
    Digits(usize),
    /// A list marker that still needs its blank.
    Marker,
    Item,
    /// Of a table.
    Row,
    Hashes(usize),
    Heading,
    FenceRun(char, usize),
    FenceInfo(char, usize),
    /// Blanks behind the marks that close a fence.
    FenceTail(usize),
    Plain,
}

#[derive(Debug, Clone, Copy, Default)]
struct Line {
    start: usize,
    indent: usize,
    kind: Kind,
}

/// The state between two characters.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Scan {
    fence: Option<Fence>,
    line: Line,
    /// Column of the text of the list item above, 0 without one.
    item_indent: usize,
    sentence: Sentence,
}

impl Scan {
    /// The state at the start of a line outside any fence.
    pub(super) fn at(start: usize) -> Self {
        Self { line: Line { start, ..Line::default() }, ..Self::default() }
    }

    /// Where the line starts.
    pub(super) fn line_start(&self) -> usize {
        self.line.start
    }

    /// Columns of blanks with which the line starts.
    pub(super) fn line_indent(&self) -> usize {
        self.line.indent
    }

    /// Whether `c`, which comes next, is the first character of a line outside any fence that is no blank.
    pub(super) fn opens_line(&self, c: char) -> bool {
        self.fence.is_none() && self.line.kind == Kind::Blank && !c.is_whitespace()
    }

    /// Where the fence starts that is open, if one is.
    pub(super) fn fence_start(&self) -> Option<usize> {
        self.fence.map(|fence| fence.start)
    }

    /// Whether `c`, which comes next, begins a block of code in a fence: behind a blank line, as far left as the fence.
    pub(super) fn opens_code(&self, c: char) -> bool {
        let blank = self.line.kind == Kind::Blank && !c.is_whitespace();
        self.fence.is_some_and(|fence| {
            blank
                && c != fence.mark
                && fence.has_code
                && fence.after_blank
                && self.line.indent <= fence.indent
        })
    }

    /// Whether a fence is open, nothing stands in it, and its next line has not begun.
    pub(super) fn in_empty_fence(&self) -> bool {
        self.line.kind == Kind::Blank && self.fence.is_some_and(|fence| !fence.has_code)
    }

    /// Whether `line` consists of the marks of the open fence, and then whether there are enough to close it.
    pub(super) fn closing_marks(&self, line: &str) -> Option<bool> {
        let (fence, marks) = (self.fence?, line.trim());
        marks.chars().all(|c| c == fence.mark).then_some(marks.len() >= fence.length)
    }

    /// What the line is, as far as it is there.
    pub(super) fn mark(&self) -> Mark {
        match self.line.kind {
            _ if self.fence.is_some() => Mark::InFence,
            Kind::Blank => Mark::Blank,
            Kind::Item => Mark::Item,
            Kind::Row => Mark::Row,
            Kind::Heading | Kind::Hashes(1..=6) => Mark::Heading,
            Kind::FenceRun(_, 3..) | Kind::FenceInfo(..) => Mark::FenceOpen,
            _ => Mark::Other,
        }
    }

    /// Takes the character at `at`; gives the end of a fragment, if one ended.
    pub(super) fn step(&mut self, c: char, at: usize) -> Option<usize> {
        match (c, self.fence) {
            ('\n', _) => {
                let cut = self.end_line(at);
                self.line = Line { start: at + 1, ..Line::default() };
                self.sentence = Sentence::default();
                cut
            }
            (_, Some(fence)) => {
                self.in_fence(c, fence);
                None
            }
            (_, None) => self.in_prose(c, at),
        }
    }

    fn end_line(&mut self, at: usize) -> Option<usize> {
        if self.fence.is_some() {
            return self.end_code_line(at);
        }
        match self.line.kind {
            Kind::Blank | Kind::Item | Kind::Heading | Kind::Row => Some(at + 1),
            Kind::Hashes(1..=6) => Some(at + 1),
            Kind::FenceRun(mark, length @ 3..) | Kind::FenceInfo(mark, length) => {
                let Line { start, indent, .. } = self.line;
                self.fence = Some(Fence { start, mark, length, indent, has_code: false, after_blank: false });
                Some(start)
            }
            _ => self.sentence.ended().then_some(at + 1),
        }
    }

    fn end_code_line(&mut self, at: usize) -> Option<usize> {
        let fence = self.fence.as_mut()?;
        match self.line.kind {
            Kind::FenceRun(_, length) | Kind::FenceTail(length) if length >= fence.length => {
                self.fence = None;
                return Some(at + 1);
            }
            Kind::Blank => fence.after_blank = true,
            _ => {
                fence.after_blank = false;
                fence.has_code = true;
            }
        }
        None
    }

    fn in_fence(&mut self, c: char, fence: Fence) {
        match self.line.kind {
            Kind::Blank if c.is_whitespace() => self.indent(c),
            Kind::Blank if c == fence.mark && self.line.indent <= fence.indent + FENCE_INDENT => {
                self.line.kind = Kind::FenceRun(c, 1);
            }
            Kind::FenceRun(mark, n) if c == mark => self.line.kind = Kind::FenceRun(mark, n + 1),
            Kind::FenceRun(_, n) | Kind::FenceTail(n) if c.is_whitespace() => {
                self.line.kind = Kind::FenceTail(n);
            }
            _ => self.line.kind = Kind::Plain,
        }
    }

    fn in_prose(&mut self, c: char, at: usize) -> Option<usize> {
        self.line.kind = match (self.line.kind, c) {
            (Kind::Plain | Kind::Item, _) => return self.sentence.step(c, at),
            (Kind::Heading, _) => Kind::Heading,
            (Kind::Row, _) => Kind::Row,
            (Kind::Blank, _) if c.is_whitespace() => {
                self.indent(c);
                Kind::Blank
            }
            (Kind::Blank, _) => self.open_line(c),
            (Kind::Digits(n @ 1..9), '0'..='9') => Kind::Digits(n + 1),
            (Kind::Digits(_), '.' | ')') => Kind::Marker,
            (Kind::Marker, ' ' | '\t') => {
                self.item_indent = at + 1 - self.line.start;
                Kind::Item
            }
            (Kind::Hashes(n), '#') => Kind::Hashes(n + 1),
            (Kind::Hashes(1..=6), ' ' | '\t') => Kind::Heading,
            (Kind::FenceRun(mark, n), _) if c == mark => Kind::FenceRun(mark, n + 1),
            (Kind::FenceRun(mark, n @ 3..), _) => Kind::FenceInfo(mark, n),
            (Kind::FenceInfo(mark, n), _) if mark != '`' || c != '`' => Kind::FenceInfo(mark, n),
            _ => Kind::Plain,
        };
        match self.line.kind {
            Kind::Plain => self.sentence.step(c, at),
            _ => None,
        }
    }

    /// What the first character of a line says about it.
    fn open_line(&mut self, c: char) -> Kind {
        let kind = match c {
            '-' | '*' | '+' => return Kind::Marker,
            '0'..='9' => return Kind::Digits(1),
            '`' | '~' if self.indent_fits() => Kind::FenceRun(c, 1),
            '#' if self.indent_fits() => Kind::Hashes(1),
            '|' => Kind::Row,
            _ => Kind::Plain,
        };
        if self.line.indent < self.item_indent {
            self.item_indent = 0;
        }
        kind
    }

    fn indent_fits(&self) -> bool {
        self.line.indent <= FENCE_INDENT
            || (self.item_indent > 0 && self.line.indent <= self.item_indent + FENCE_INDENT)
    }

    fn indent(&mut self, c: char) {
        self.line.indent += if c == '\t' { 4 - self.line.indent % 4 } else { 1 };
    }
}
