//! How far a run is, for people who watch.
//!
//! ```text
//! events --observe(now)--> View (a plain value) --lines(now)--> Bars on a terminal, or Lines elsewhere
//! ```
//!
//! The view decides what is to be seen; bars and lines only show it. On a terminal it is redrawn a few
//! times a second, however many events there are; elsewhere a line is printed every few seconds.

mod bars;
mod lines;
mod picture;
mod view;

use std::io;
use std::time::Instant;

use ratchet_runtime::event::Event;

use crate::args::display::When;
use crate::report::Style;
use bars::Bars;
use lines::Lines;
use view::View;

/// Where progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Display {
    None,
    Bars,
    Lines,
}

impl Display {
    /// Bars on a terminal that can draw them; lines elsewhere, but only if asked for.
    pub(crate) fn decide(asked: When, quiet: bool, terminal: bool, dumb: bool) -> Self {
        match asked {
            When::Auto | When::Always if quiet => Self::None,
            When::Auto | When::Always if terminal && !dumb => Self::Bars,
            When::Always => Self::Lines,
            When::Auto if terminal => Self::Lines,
            When::Auto | When::Never => Self::None,
        }
    }
}

/// Shows how far a run is: a sink of its events.
pub(crate) struct Progress {
    view: View,
    shown: Shown,
    tells_failures: bool,
}

enum Shown {
    Nothing,
    Bars(Bars),
    Lines(Lines),
}

impl Progress {
    /// `tells_failures` if nothing else does on the same terminal.
    pub(crate) fn new(display: Display, style: Style, tells_failures: bool, now: Instant) -> Self {
        let shown = match display {
            Display::None => Shown::Nothing,
            Display::Bars => Shown::Bars(Bars::on_stderr(style)),
            Display::Lines => Shown::Lines(Lines::new(Box::new(io::stderr()), now)),
        };
        Self {
            view: View::new(now),
            shown,
            tells_failures,
        }
    }

    /// Something has happened.
    pub(crate) fn observe(&mut self, event: &Event, now: Instant) {
        if matches!(self.shown, Shown::Nothing) {
            return;
        }
        self.view.observe(event, now);
        if !self.tells_failures {
            return;
        }
        match (&mut self.shown, event) {
            (Shown::Bars(bars), Event::JobEnded { outcome }) => bars.ended(outcome),
            (Shown::Lines(lines), Event::JobEnded { outcome }) => lines.ended(outcome),
            _ => {}
        }
    }

    /// Time has passed: to be called several times a second.
    pub(crate) fn tick(&mut self, now: Instant) {
        match &mut self.shown {
            Shown::Nothing => {}
            Shown::Bars(bars) => bars.draw(&self.view, now),
            Shown::Lines(lines) => lines.tick(&self.view, now),
        }
    }

    /// Writes to the terminal without the bars in the way, as a report on the same terminal has to.
    pub(crate) fn suspend<T>(&mut self, write: impl FnOnce() -> T) -> T {
        match &mut self.shown {
            Shown::Bars(bars) => bars.suspend(write),
            Shown::Nothing | Shown::Lines(_) => write(),
        }
    }

    /// The run has ended: bars are taken away.
    pub(crate) fn finish(&mut self) {
        if let Shown::Bars(bars) = &mut self.shown {
            bars.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_display_suits_the_terminal() {
        let decide = Display::decide;
        assert_eq!(decide(When::Auto, false, true, false), Display::Bars);
        assert_eq!(decide(When::Auto, false, false, false), Display::None);
        assert_eq!(decide(When::Auto, false, true, true), Display::Lines);
        assert_eq!(decide(When::Always, false, false, false), Display::Lines);
        assert_eq!(decide(When::Always, false, true, false), Display::Bars);
        assert_eq!(decide(When::Never, false, true, false), Display::None);
        assert_eq!(decide(When::Always, true, true, false), Display::None);
    }
}
