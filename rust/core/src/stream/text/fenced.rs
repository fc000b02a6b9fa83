//! Control lines that stand alone in a fence: models put what they were shown as code into one.
//!
//! All is held until the fence closes. Anything else in it makes all of it text.

use super::control::{Matcher, Order, Step};
use super::scan::Scan;

/// More control lines than this in one fence are text.
const LINES: usize = 64;

/// What became of the fence.
pub(super) enum Outcome {
    Held,
    /// It holds these and nothing else.
    Orders(Vec<Order>),
    /// It is code, and this is what was held of it.
    Code(String),
}

/// The inside of a fence that began with a control line.
#[derive(Debug, Clone, Default)]
pub(super) struct Fenced {
    raw: String,
    /// Where in `raw` its last line starts.
    line: usize,
    orders: Vec<Order>,
}

impl Fenced {
    pub(super) fn step(&mut self, c: char, control: &mut Matcher, scan: &Scan) -> Outcome {
        self.raw.push(c);
        let line = &self.raw[self.line..];
        if line.trim_start().starts_with('@') {
            return match control.step(c) {
                Step::Held => Outcome::Held,
                Step::Complete(order) if self.orders.len() < LINES => {
                    self.orders.push(order);
                    self.line = self.raw.len();
                    Outcome::Held
                }
                _ => self.let_go(control),
            };
        }
        let blank = line.trim().is_empty();
        match scan.closing_marks(line) {
            _ if blank && c != '\n' => Outcome::Held,
            _ if blank => {
                self.line = self.raw.len();
                Outcome::Held
            }
            Some(true) if c == '\n' => Outcome::Orders(std::mem::take(&mut self.orders)),
            Some(_) if c != '\n' => Outcome::Held,
            _ => self.let_go(control),
        }
    }

    /// The end of the text: the fence needs no end there.
    pub(super) fn end(&mut self, control: &mut Matcher, scan: &Scan) -> Outcome {
        if let Step::Complete(order) = control.end() {
            self.orders.push(order);
            self.line = self.raw.len();
        }
        let line = &self.raw[self.line..];
        let over = line.trim().is_empty() || scan.closing_marks(line) == Some(true);
        if over && control.is_idle() {
            Outcome::Orders(std::mem::take(&mut self.orders))
        } else {
            self.let_go(control)
        }
    }

    fn let_go(&mut self, control: &mut Matcher) -> Outcome {
        control.reset();
        Outcome::Code(std::mem::take(&mut self.raw))
    }
}
