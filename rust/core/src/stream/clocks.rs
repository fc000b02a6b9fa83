//! The four clocks of one stream, without a timer: the owner asks when and calls when.
//!
//! `connect` runs until the connection stands, `first_content` from there to the first content (so it
//! covers a head that comes late), `between_content` from one content to the next, `total` over
//! everything. Comments, empty deltas and role chunks reset nothing, as a proxy sends them for a model
//! that hangs. Content and reasoning both count, and so does work that is no text. While the reader is
//! paused by its own back-pressure only `total` runs.

use super::error::{ErrorCode, StreamError};

/// How long usage, `[DONE]` or, where the reason was premature, more content may follow the finish reason.
const ENDING: Seconds = 10.0;
/// How long the explanation of a refusal may take.
const EXPLAINING: Seconds = 5.0;
/// The longest any clock may run: four months, far from where instants overflow.
pub const LONGEST: Seconds = 1e7;

/// Seconds on whatever clock the owner uses.
pub type Seconds = f64;

/// How long each clock may run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timeouts {
    /// Until the connection stands.
    pub connect: Seconds,
    /// From the connection to the first content.
    pub first_content: Seconds,
    /// From one content to the next.
    pub between_content: Seconds,
    /// From the start to the end.
    pub total: Seconds,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: 5.0, first_content: 60.0, between_content: 30.0, total: 600.0 }
    }
}

impl Timeouts {
    /// Checks that every clock is positive and at most [`LONGEST`].
    ///
    /// # Errors
    /// The first clock that is not.
    pub fn validated(self) -> Result<Self, InvalidTimeouts> {
        let all = [
            ("connect", self.connect),
            ("first_content", self.first_content),
            ("between_content", self.between_content),
            ("total", self.total),
        ];
        match all.into_iter().find(|(_, value)| !(*value > 0.0 && *value <= LONGEST)) {
            None => Ok(self),
            Some((name, value)) => Err(InvalidTimeouts { name, value }),
        }
    }
}

/// Timeouts that are not positive or too long.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("timeout {name}={value:?} must be positive and at most {} s", LONGEST)]
pub struct InvalidTimeouts {
    /// Which clock.
    pub name: &'static str,
    /// What was given.
    pub value: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    Connecting,
    Waiting,
    Flowing,
    Ending,
    Refused,
}

/// The running clocks.
#[derive(Debug, Clone)]
pub struct Clocks {
    timeouts: Timeouts,
    phase: Phase,
    started: Seconds,
    since: Seconds,
    paused: Option<Seconds>,
}

impl Clocks {
    /// Starts the connect and total clocks.
    #[must_use]
    pub fn new(timeouts: Timeouts, now: Seconds) -> Self {
        Self { timeouts, phase: Phase::Connecting, started: now, since: now, paused: None }
    }

    /// The connection stands. Does nothing the second time.
    pub fn connected(&mut self, now: Seconds) {
        if self.phase == Phase::Connecting {
            self.phase = Phase::Waiting;
            self.since = now;
        }
    }

    /// Whether the connection stands.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.phase != Phase::Connecting
    }

    /// Content or reasoning arrived.
    pub fn content(&mut self, now: Seconds) {
        self.phase = Phase::Flowing;
        self.since = now;
    }

    /// The status of the response says no.
    pub fn refused(&mut self, now: Seconds) {
        self.phase = Phase::Refused;
        self.since = now;
    }

    /// The finish reason arrived; as a rule only usage and the end follow.
    pub fn ending(&mut self, now: Seconds) {
        if self.phase != Phase::Ending {
            self.phase = Phase::Ending;
            self.since = now;
        }
    }

    /// The reader stops reading of its own will.
    pub fn pause(&mut self, now: Seconds) {
        self.paused.get_or_insert(now);
    }

    /// The reader reads again.
    pub fn resume(&mut self, now: Seconds) {
        if let Some(paused) = self.paused.take() {
            self.since += (now - paused).max(0.0);
        }
    }

    /// When [`Self::expired`] would next say something.
    #[must_use]
    pub fn deadline(&self) -> Seconds {
        let total = self.started + self.timeouts.total;
        if self.paused.is_some() { total } else { total.min(self.since + self.limit()) }
    }

    /// The clock that has run out by `now`, as an error.
    #[must_use]
    pub fn expired(&self, now: Seconds) -> Option<StreamError> {
        if now >= self.started + self.timeouts.total {
            let message = format!("the response took longer than {} s", self.timeouts.total);
            return Some(StreamError::new(ErrorCode::TotalTimeout, message));
        }
        if self.paused.is_some() || now < self.since + self.limit() {
            return None;
        }
        let limit = self.limit();
        let (code, message) = match self.phase {
            Phase::Connecting => (ErrorCode::ConnectTimeout, format!("no connection within {limit} s")),
            Phase::Waiting => (ErrorCode::FirstContentTimeout, format!("no content within {limit} s")),
            Phase::Flowing | Phase::Ending | Phase::Refused => {
                (ErrorCode::StallTimeout, format!("no further content within {limit} s"))
            }
        };
        Some(StreamError::new(code, message))
    }

    fn limit(&self) -> Seconds {
        match self.phase {
            Phase::Connecting => self.timeouts.connect,
            Phase::Waiting => self.timeouts.first_content,
            Phase::Flowing => self.timeouts.between_content,
            Phase::Ending => self.timeouts.between_content.min(ENDING),
            Phase::Refused => self.timeouts.between_content.min(EXPLAINING),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clocks() -> Clocks {
        Clocks::new(Timeouts { connect: 1.0, first_content: 10.0, between_content: 2.0, total: 100.0 }, 0.0)
    }

    fn code(clocks: &Clocks, now: Seconds) -> Option<ErrorCode> {
        clocks.expired(now).map(|error| error.code)
    }

    #[test]
    fn each_phase_has_its_clock() {
        let mut c = clocks();
        assert_eq!(c.deadline(), 1.0);
        assert_eq!(code(&c, 1.0), Some(ErrorCode::ConnectTimeout));
        c.connected(0.5);
        c.connected(3.0);
        assert_eq!(c.deadline(), 10.5);
        assert_eq!(code(&c, 10.5), Some(ErrorCode::FirstContentTimeout));
        c.content(6.0);
        assert_eq!(code(&c, 7.9), None);
        assert_eq!(code(&c, 8.0), Some(ErrorCode::StallTimeout));
        c.content(99.0);
        assert_eq!(code(&c, 100.0), Some(ErrorCode::TotalTimeout));
    }

    #[test]
    fn a_pause_stops_only_the_stall_clock() {
        let mut c = clocks();
        c.connected(0.0);
        c.content(1.0);
        c.pause(2.0);
        assert_eq!(code(&c, 50.0), None);
        assert_eq!(c.deadline(), 100.0);
        assert_eq!(code(&c, 100.0), Some(ErrorCode::TotalTimeout));
        c.resume(50.0);
        assert_eq!(c.deadline(), 51.0);
    }

    #[test]
    fn timeouts_must_be_positive_and_bounded() {
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e19, LONGEST * 1.01] {
            assert!(Timeouts { total: bad, ..Timeouts::default() }.validated().is_err());
        }
    }
}
