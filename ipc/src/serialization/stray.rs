//! Output that is not a message: its consequence, and the rate at which it is passed on.

use std::time::{Duration, Instant};

/// How many bytes of a line are kept.
const EXCERPT_BYTES: usize = 4 * 1024;

/// The consequence of output that is not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StrayMode {
    /// The output is logged. Prints of a library are not a reason to lose work.
    #[default]
    Log,
    /// The job that the worker is working on fails.
    Fail,
    /// The worker is killed.
    Kill,
}

/// A line that is not a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StrayLine {
    /// The beginning of the line. Bytes that are not UTF-8 are replaced.
    pub text: String,
    /// Whether the line was longer.
    pub truncated: bool,
    /// The number of lines that were dropped before this one, because there were too many. At the end of the stream, a
    /// line without text reports the last dropped ones.
    pub suppressed: u64,
    /// The consequence of the line.
    pub mode: StrayMode,
}

/// Limits the rate at which stray lines are passed on.
///
/// Otherwise a worker that prints without end would fill every log. Lines that fail a job or kill a worker are always
/// passed on.
pub(super) struct StrayLimiter {
    mode: StrayMode,
    per_second: u32,
    /// The start of the current second.
    second: Option<Instant>,
    /// How many lines were passed on in this second.
    passed: u32,
    /// How many lines were dropped since the last line that was passed on.
    suppressed: u64,
}

impl StrayLimiter {
    /// Makes a limiter that passes on this many lines per second.
    pub(super) fn new(mode: StrayMode, per_second: u32) -> Self {
        Self {
            mode,
            per_second,
            second: None,
            passed: 0,
            suppressed: 0,
        }
    }

    /// Returns the line if it is passed on; otherwise counts it as dropped.
    pub(super) fn pass(&mut self, line: &[u8], now: Instant) -> Option<StrayLine> {
        if self.mode == StrayMode::Log && !self.has_room(now) {
            return None;
        }
        Some(self.stray_line(line))
    }

    /// Whether one more line may be passed on. If not, it is counted as dropped.
    pub(super) fn has_room(&mut self, now: Instant) -> bool {
        let is_same_second = self
            .second
            .is_some_and(|second| now.saturating_duration_since(second) < Duration::from_secs(1));
        if !is_same_second {
            self.second = Some(now);
            self.passed = 0;
        }
        let has_room = self.passed < self.per_second;
        self.passed += u32::from(has_room);
        self.suppressed += u64::from(!has_room);
        has_room
    }

    /// Returns a line without text that reports the dropped lines; `None` if all of them were reported by other lines.
    pub(super) fn report_dropped(&mut self) -> Option<StrayLine> {
        (self.suppressed > 0).then(|| self.stray_line(b""))
    }

    /// Makes a line that also reports the lines dropped before it.
    fn stray_line(&mut self, line: &[u8]) -> StrayLine {
        let (text, truncated) = excerpt(line);
        let suppressed = std::mem::take(&mut self.suppressed);
        StrayLine {
            text,
            truncated,
            suppressed,
            mode: self.mode,
        }
    }
}

/// Returns the beginning of a line as text, and whether the line was longer.
pub(super) fn excerpt(line: &[u8]) -> (String, bool) {
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
    fn a_limiter_passes_so_many_lines_a_second_and_counts_the_rest() {
        let mut limiter = StrayLimiter::new(StrayMode::Log, 2);
        let start = now();
        let passed: Vec<bool> = (0..5)
            .map(|_| limiter.pass(b"x", start).is_some())
            .collect();
        assert_eq!(passed, [true, true, false, false, false]);

        let later = limiter.pass(b"y", start + Duration::from_secs(1)).unwrap();
        assert_eq!((later.text.as_str(), later.suppressed), ("y", 3));
        let next = limiter.pass(b"z", start + Duration::from_secs(1)).unwrap();
        assert_eq!(next.suppressed, 0);
    }

    #[test]
    fn a_line_with_a_consequence_is_always_passed_on() {
        for mode in [StrayMode::Fail, StrayMode::Kill] {
            let mut limiter = StrayLimiter::new(mode, 1);
            let start = now();
            assert!((0..10).all(|_| limiter.pass(b"x", start).unwrap().mode == mode));
        }
    }

    #[test]
    fn a_long_line_is_cut_to_its_beginning() {
        let line = StrayLimiter::new(StrayMode::Log, 1)
            .pass(&[b'x'; 10_000], now())
            .unwrap();
        assert_eq!((line.text.len(), line.truncated), (4096, true));
        assert_eq!(excerpt(b"\xff\x00a"), ("\u{fffd}\0a".to_owned(), false));
    }
}
