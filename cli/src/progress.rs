//! How far a run is, for people who watch.
//!
//! ```text
//! events --observe(now)--> View (a plain value) --> Picture --draw(now)--> Bars on a terminal, or Lines elsewhere
//! ```
//!
//! The view decides what is to be seen; bars and lines only show it. On a terminal it is redrawn a few
//! times a second, however many events there are; elsewhere a line is printed every few seconds. Only
//! who draws may have to wait for whoever reads it.

mod bars;
mod canvas;
mod lines;
mod picture;
mod view;

use std::io;
use std::time::Instant;

use ratchet_runtime::event::Event;

use crate::args::display::When;
use crate::report::{Style, describe};
use bars::Bars;
use lines::{Lines, is_news};
use view::View;

pub(crate) use picture::Picture;

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

/// Knows how far a run is, from its events.
pub(crate) struct Progress {
    view: View,
    display: Display,
    style: Style,
    tells_failures: bool,
    begun: bool,
}

impl Progress {
    /// `tells_failures` if nothing else does on the same terminal.
    pub(crate) fn new(display: Display, style: Style, tells_failures: bool, now: Instant) -> Self {
        Self {
            view: View::new(now),
            display,
            // What stands in a log has no colours.
            style: match display {
                Display::Lines => Style::PLAIN,
                Display::Bars | Display::None => style,
            },
            tells_failures,
            begun: false,
        }
    }

    /// It has become known how many jobs there will be.
    pub(crate) fn announce(&mut self, total: u64) {
        self.view.announce(total);
    }

    /// Something has happened; gives what is to be told of it at once.
    pub(crate) fn observe(&mut self, event: &Event, now: Instant) -> Option<String> {
        if self.display == Display::None {
            return None;
        }
        self.begun = true;
        self.view.observe(event, now);
        match event {
            Event::JobEnded { outcome } if self.tells_failures && is_news(outcome.status()) => {
                Some(describe(outcome, self.style))
            }
            _ => None,
        }
    }

    /// What is to be seen now, once there is something to be seen.
    pub(crate) fn picture(&self, now: Instant) -> Option<Picture> {
        self.begun.then(|| Picture::of(&self.view, now))
    }
}

/// Where it is seen.
pub(crate) enum Stage {
    Empty,
    Bars(Bars),
    Lines(Lines),
}

impl Stage {
    pub(crate) fn new(display: Display, now: Instant) -> Self {
        match display {
            Display::None => Self::Empty,
            Display::Bars => Self::Bars(Bars::on_stderr()),
            Display::Lines => Self::Lines(Lines::new(Box::new(io::stderr()), now)),
        }
    }

    /// To be called several times a second.
    pub(crate) fn draw(&mut self, picture: Picture, now: Instant) {
        match self {
            Self::Empty => {}
            Self::Bars(bars) => bars.draw(picture, now),
            Self::Lines(lines) => lines.draw(&picture, now),
        }
    }

    /// Writes to the terminal without the bars in the way, as a report on the same terminal has to. What is written
    /// may end without a newline if `ends_line` says so: then there are no bars until something ends the line.
    pub(crate) fn suspend<T>(&mut self, ends_line: bool, write: impl FnOnce() -> T) -> T {
        match self {
            Self::Bars(bars) => bars.suspend(ends_line, write),
            Self::Empty | Self::Lines(_) => write(),
        }
    }

    /// The run has ended: bars are taken away.
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
