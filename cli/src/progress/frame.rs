//! The content of the progress display at one time, and how it differs from the content before.

use std::time::Instant;

use super::view::View;

/// The text of the progress display at one time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ProgressFrame {
    ended: u64,
    total: u64,
    /// The line of figures, such as the throughput and the remaining time.
    pub(super) figures: String,
    /// The lines of running jobs.
    lines: Vec<String>,
}

/// A part of the display that has to be drawn again.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change<'a> {
    /// The number of all jobs.
    Total(u64),
    /// The number of jobs that have ended.
    Ended(u64),
    /// The line of figures.
    Figures(&'a str),
    /// The line of a running job, with its position.
    Line(usize, &'a str),
}

impl ProgressFrame {
    /// Makes the frame of a view at this time.
    pub(super) fn of(view: &View, now: Instant) -> Self {
        let (ended, total) = view.position(now);
        Self {
            ended,
            total,
            figures: view.figures(now),
            lines: view.running(now),
        }
    }

    /// Returns the differences from the frame before. A line that is gone becomes an empty one.
    pub(super) fn changes<'a>(&'a self, before: &Self) -> Vec<Change<'a>> {
        let mut changes = Vec::new();
        if self.total != before.total {
            changes.push(Change::Total(self.total));
        }
        if self.ended != before.ended {
            changes.push(Change::Ended(self.ended));
        }
        if self.figures != before.figures {
            changes.push(Change::Figures(&self.figures));
        }
        for index in 0..self.lines.len().max(before.lines.len()) {
            let (line, seen) = (self.lines.get(index), before.lines.get(index));
            if line != seen {
                changes.push(Change::Line(index, line.map_or("", String::as_str)));
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(ended: u64, figures: &str, lines: &[&str]) -> ProgressFrame {
        ProgressFrame {
            ended,
            total: 9,
            figures: figures.to_owned(),
            lines: lines.iter().map(|line| (*line).to_owned()).collect(),
        }
    }

    #[test]
    fn only_what_changed_is_shown_anew() {
        let before = frame(1, "1/9", &["a  1 s", "b  1 s"]);
        assert_eq!(before.changes(&before), []);
        assert_eq!(
            frame(1, "1/9", &["a  1 s", "b  2 s"]).changes(&before),
            [Change::Line(1, "b  2 s")]
        );
        assert_eq!(
            frame(2, "2/9", &["b  1 s"]).changes(&before),
            [
                Change::Ended(2),
                Change::Figures("2/9"),
                Change::Line(0, "b  1 s"),
                Change::Line(1, "")
            ]
        );
        assert_eq!(
            frame(1, "1/9", &["a  1 s", "b  1 s", "c"]).changes(&before),
            [Change::Line(2, "c")]
        );
        assert_eq!(
            before.changes(&ProgressFrame::default()),
            [
                Change::Total(9),
                Change::Ended(1),
                Change::Figures("1/9"),
                Change::Line(0, "a  1 s"),
                Change::Line(1, "b  1 s")
            ]
        );
    }
}
