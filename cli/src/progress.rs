//! Shows the progress of a run.
//!
//! ```text
//! events --observe(now)--> View (a plain value) --> ProgressFrame --draw(now)--> Bars on a terminal, or LineDisplay
//! ```
//!
//! The view decides what is shown; bars and lines only show it. A terminal is redrawn a few times per second, however
//! many events there are; elsewhere a line is printed every few seconds. Only `draw` may wait for a reader.

mod bars;
mod canvas;
mod frame;
mod lines;
mod view;

use std::io;
use std::time::Instant;

use ratchet_runtime::event::RunEvent;
use ratchet_runtime::{BreakerReport, BreakerState};

use crate::escape::plain;
use crate::report::describe;
use crate::style::{Style, When};
use bars::Bars;
use lines::{LineDisplay, is_reported_at_once};
use view::View;

pub(crate) use frame::ProgressFrame;

/// The form in which progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProgressMode {
    /// No progress is shown.
    None,
    /// Progress is shown as bars, which are redrawn in place.
    Bars,
    /// Progress is shown as a line every few seconds, for logs.
    Lines,
}

impl ProgressMode {
    /// Chooses bars on a terminal that can draw them, and lines elsewhere if progress was asked for.
    pub(crate) fn decide(when: When, quiet: bool, is_terminal: bool, is_dumb: bool) -> Self {
        match when {
            When::Auto | When::Always if quiet => Self::None,
            When::Auto | When::Always if is_terminal && !is_dumb => Self::Bars,
            When::Always => Self::Lines,
            When::Auto if is_terminal => Self::Lines,
            When::Auto | When::Never => Self::None,
        }
    }
}

/// Computes the progress of a run from its events.
pub(crate) struct Progress {
    view: View,
    mode: ProgressMode,
    style: Style,
    /// Whether each failure is reported by a message as it happens.
    tells_failures: bool,
    /// Whether the run has begun. Nothing is drawn before.
    has_begun: bool,
}

impl Progress {
    /// Makes the progress of a run. With `tells_failures`, failed jobs are reported, because no results are shown on the terminal.
    pub(crate) fn new(
        mode: ProgressMode,
        style: Style,
        tells_failures: bool,
        now: Instant,
    ) -> Self {
        Self {
            view: View::new(now),
            mode,
            // Lines often go to a file, where colours would be noise.
            style: match mode {
                ProgressMode::Lines => Style::PLAIN,
                ProgressMode::Bars | ProgressMode::None => style,
            },
            tells_failures,
            has_begun: false,
        }
    }

    /// Sets how many jobs there will be, once that is known.
    pub(crate) fn announce(&mut self, total: u64) {
        self.view.announce(total);
    }

    /// Handles an event. Returns a message that has to be printed at once, if there is one.
    pub(crate) fn observe(&mut self, event: &RunEvent, now: Instant) -> Option<String> {
        if self.mode == ProgressMode::None {
            return None;
        }
        self.has_begun = true;
        self.view.observe(event, now);
        match event {
            RunEvent::JobEnded { outcome }
                if self.tells_failures && is_reported_at_once(outcome.status()) =>
            {
                Some(describe(outcome, self.style))
            }
            RunEvent::BreakerChanged(report) => changed(report),
            _ => None,
        }
    }

    /// Returns the frame to show now, or `None` before the first event.
    pub(crate) fn frame(&self, now: Instant) -> Option<ProgressFrame> {
        self.has_begun.then(|| ProgressFrame::of(&self.view, now))
    }
}

/// Returns the message for the user: why jobs wait, or that they continue.
fn changed(report: &BreakerReport) -> Option<String> {
    let on = report
        .host
        .as_ref()
        .map_or_else(String::new, |host| format!(" on {host}"));
    let what = match report.state {
        BreakerState::Open => format!("is open: {}", report.reason),
        BreakerState::Closed => "is closed again".to_owned(),
        // Probes come and go. Their result, open or closed, is printed.
        BreakerState::HalfOpen | BreakerState::Ramping => return None,
    };
    let said = format!("ratchet: the breaker of {}{on} {what}", report.name);
    Some(format!("{}\n", plain(&said)))
}

/// The place where progress is drawn.
pub(crate) enum ProgressDisplay {
    /// Progress is not shown.
    None,
    /// Progress is drawn as bars.
    Bars(Bars),
    /// Progress is printed as a line every few seconds.
    Lines(LineDisplay),
}

impl ProgressDisplay {
    /// Makes the display of a run that begins now.
    pub(crate) fn new(mode: ProgressMode, now: Instant) -> Self {
        match mode {
            ProgressMode::None => Self::None,
            ProgressMode::Bars => Self::Bars(Bars::on_stderr()),
            ProgressMode::Lines => Self::Lines(LineDisplay::new(Box::new(io::stderr()), now)),
        }
    }

    /// Draws a frame. The caller calls it several times per second.
    pub(crate) fn draw(&mut self, frame: ProgressFrame, now: Instant) {
        match self {
            Self::None => {}
            Self::Bars(bars) => bars.draw(frame, now),
            Self::Lines(lines) => lines.draw(&frame, now),
        }
    }

    /// Writes to the same terminal while the bars are hidden.
    ///
    /// `ends_line` says whether the written text ends with a newline. If it does not, no bars are drawn until a later
    /// text ends the line, because they would overwrite it.
    pub(crate) fn with_bars_hidden<T>(&mut self, ends_line: bool, write: impl FnOnce() -> T) -> T {
        match self {
            Self::Bars(bars) => bars.with_bars_hidden(ends_line, write),
            Self::None | Self::Lines(_) => write(),
        }
    }

    /// Removes the bars, because the run has ended.
    pub(crate) fn clear(&mut self) {
        if let Self::Bars(bars) = self {
            bars.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_suits_the_terminal() {
        let decide = ProgressMode::decide;
        assert_eq!(decide(When::Auto, false, true, false), ProgressMode::Bars);
        assert_eq!(decide(When::Auto, false, false, false), ProgressMode::None);
        assert_eq!(decide(When::Auto, false, true, true), ProgressMode::Lines);
        assert_eq!(
            decide(When::Always, false, false, false),
            ProgressMode::Lines
        );
        assert_eq!(decide(When::Always, false, true, false), ProgressMode::Bars);
        assert_eq!(decide(When::Never, false, true, false), ProgressMode::None);
        assert_eq!(decide(When::Always, true, true, false), ProgressMode::None);
    }
}
