//! Output that is no message: what becomes of it, and how much of it anyone has to read.

use std::time::{Duration, Instant};

/// How much of a line is shown.
const EXCERPT_BYTES: usize = 4 * 1024;

/// What output that is no message leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StrayMode {
    /// It is logged; a library's chatter is no reason to lose work.
    #[default]
    Log,
    /// The job that is being worked on fails.
    Fail,
    /// The worker is killed.
    Kill,
}

/// A line that is no message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StrayLine {
    /// How it began; what is not UTF-8 is replaced.
    pub text: String,
    /// Whether there was more of it.
    pub truncated: bool,
    /// How many lines were dropped before it because there were too many. At the end of the stream a
    /// line without text tells of those that no other could tell of.
    pub suppressed: u64,
    /// What it leads to.
    pub mode: StrayMode,
}

/// Decides which stray lines are passed on.
///
/// A worker that prints without end would otherwise fill every log. Lines that fail a job or kill a
/// worker are not chatter and always pass.
pub(crate) struct StrayFilter {
    mode: StrayMode,
    per_second: u32,
    second: Option<Instant>,
    passed: u32,
    suppressed: u64,
}

impl StrayFilter {
    pub(crate) fn new(mode: StrayMode, per_second: u32) -> Self {
        Self {
            mode,
            per_second,
            second: None,
            passed: 0,
            suppressed: 0,
        }
    }

    pub(crate) fn judge(&mut self, line: &[u8], now: Instant) -> Option<StrayLine> {
        if self.mode == StrayMode::Log && !self.admits(now) {
            return None;
        }
        Some(self.line(line))
    }

    /// Whether there is room for one more; if not, it is counted.
    pub(crate) fn admits(&mut self, now: Instant) -> bool {
        let admits = self.has_room(now);
        self.suppressed += u64::from(!admits);
        admits
    }

    /// A line without text that says how many were dropped since the last one, if any were.
    pub(crate) fn last(&mut self) -> Option<StrayLine> {
        (self.suppressed > 0).then(|| self.line(b""))
    }

    fn line(&mut self, line: &[u8]) -> StrayLine {
        let (text, truncated) = excerpt(line);
        let suppressed = std::mem::take(&mut self.suppressed);
        StrayLine {
            text,
            truncated,
            suppressed,
            mode: self.mode,
        }
    }

    fn has_room(&mut self, now: Instant) -> bool {
        let same_second = self
            .second
            .is_some_and(|second| now.saturating_duration_since(second) < Duration::from_secs(1));
        if !same_second {
            self.second = Some(now);
            self.passed = 0;
        }
        let room = self.passed < self.per_second;
        self.passed += u32::from(room);
        room
    }
}

/// The beginning of a line as text, and whether there was more of it.
pub(crate) fn excerpt(line: &[u8]) -> (String, bool) {
    let shown = &line[..line.len().min(EXCERPT_BYTES)];
    (
        String::from_utf8_lossy(shown).into_owned(),
        shown.len() < line.len(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do as a starting point"
    )]
    fn now() -> Instant {
        Instant::now()
    }

    #[test]
    fn passes_so_many_a_second_and_counts_the_rest() {
        let mut filter = StrayFilter::new(StrayMode::Log, 2);
        let start = now();
        let passed: Vec<bool> = (0..5)
            .map(|_| filter.judge(b"x", start).is_some())
            .collect();
        assert_eq!(passed, [true, true, false, false, false]);

        let later = filter.judge(b"y", start + Duration::from_secs(1)).unwrap();
        assert_eq!((later.text.as_str(), later.suppressed), ("y", 3));
        let next = filter.judge(b"z", start + Duration::from_secs(1)).unwrap();
        assert_eq!(next.suppressed, 0);
    }

    #[test]
    fn what_has_consequences_always_passes() {
        for mode in [StrayMode::Fail, StrayMode::Kill] {
            let mut filter = StrayFilter::new(mode, 1);
            let start = now();
            assert!((0..10).all(|_| filter.judge(b"x", start).unwrap().mode == mode));
        }
    }

    #[test]
    fn shows_the_beginning_of_a_long_line() {
        let line = StrayFilter::new(StrayMode::Log, 1)
            .judge(&[b'x'; 10_000], now())
            .unwrap();
        assert_eq!((line.text.len(), line.truncated), (4096, true));
        assert_eq!(excerpt(b"\xff\x00a"), ("\u{fffd}\0a".to_owned(), false));
    }
}
