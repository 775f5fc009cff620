//! Prints progress as a line every few seconds, where bars cannot be redrawn.

use std::io::Write;
use std::time::{Duration, Instant};

use ratchet_runtime::Status;

use super::frame::ProgressFrame;

/// How often a line is printed: often enough to show that the run is alive, seldom enough for a log.
const INTERVAL: Duration = Duration::from_secs(5);

/// Prints progress as a line every few seconds, if stderr is not a terminal.
pub(crate) struct LineDisplay {
    err: Box<dyn Write + Send>,
    /// When the last line was printed.
    last: Instant,
}

impl LineDisplay {
    /// Makes a display that prints its first line after the interval.
    pub(super) fn new(err: Box<dyn Write + Send>, now: Instant) -> Self {
        Self { err, last: now }
    }

    /// Prints a line, if the interval has passed since the last one.
    pub(super) fn draw(&mut self, frame: &ProgressFrame, now: Instant) {
        if now.saturating_duration_since(self.last) >= INTERVAL {
            self.last = now;
            // Progress that cannot be seen is no reason to end a run.
            let _ = writeln!(self.err, "ratchet: {}", frame.figures);
        }
    }
}

/// Whether an outcome is reported as soon as its job has ended. A cancelled or skipped job is the consequence of
/// another event, which was reported.
pub(super) fn is_reported_at_once(status: Status) -> bool {
    matches!(status, Status::Failed | Status::TimedOut | Status::Crashed)
}

#[cfg(test)]
mod tests {
    use ratchet_runtime::event::RunEvent;

    use super::*;
    use crate::progress::view::View;
    use crate::shared_buffer::SharedBuffer;

    #[test]
    fn a_line_every_few_seconds_however_often_it_is_asked() {
        let begin = tokio::time::Instant::now().into_std();
        let seen = SharedBuffer::default();
        let (mut lines, mut view) = (
            LineDisplay::new(Box::new(seen.clone()), begin),
            View::new(begin),
        );
        view.observe(&RunEvent::RunStarted { total: Some(3) }, begin);
        for tenth in 0..=120 {
            let now = begin + Duration::from_millis(tenth * 100);
            lines.draw(&ProgressFrame::of(&view, now), now);
        }
        assert_eq!(
            seen.text(),
            "ratchet: 0/3  0 running  5 s\nratchet: 0/3  0 running  10 s\n"
        );
    }
}
