//! The page on which one of several runs is chosen.

use std::time::Duration;

use ratatui::Frame;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::key::Key;
use super::page::{Flow, Input, Page};
use super::palette::{Palette, Tone};
use super::text::fit;

/// A list of runs, one of which is chosen.
#[derive(Debug)]
pub(super) struct Chooser {
    /// What is told of each run.
    runs: Vec<String>,
    at: usize,
    palette: Palette,
}

impl Chooser {
    /// Makes the page for these runs, the first of which is chosen.
    pub(super) fn new(runs: Vec<String>, palette: Palette) -> Self {
        Self {
            runs,
            at: 0,
            palette,
        }
    }
}

impl Page for Chooser {
    /// The index of the chosen run; nothing if none was chosen.
    type End = Option<usize>;

    fn draw(&self, frame: &mut Frame<'_>) {
        let area = frame.area();
        let (width, height) = (usize::from(area.width), usize::from(area.height));
        let styled =
            |text: &str, tone| Line::from(Span::styled(fit(text, width), self.palette.style(tone)));
        let mut lines = vec![styled(
            "Which run? Up, Down and Enter choose one; q quits.",
            Tone::Title,
        )];
        let room = height.saturating_sub(1);
        let first = self.at.saturating_sub(room.saturating_sub(1));
        for (at, run) in self.runs.iter().enumerate().skip(first).take(room) {
            lines.push(if at == self.at {
                styled(&format!("> {run}"), Tone::Chosen)
            } else {
                styled(&format!("  {run}"), Tone::Usual)
            });
        }
        frame.render_widget(Paragraph::new(lines), area);
    }

    fn take(&mut self, input: Input, _: Duration) -> Flow<Self::End> {
        let last = self.runs.len().saturating_sub(1);
        match input {
            Input::Key(Key::Up | Key::Char('k')) => self.at = self.at.saturating_sub(1),
            Input::Key(Key::Down | Key::Char('j')) => self.at = (self.at + 1).min(last),
            Input::Key(Key::Home) => self.at = 0,
            Input::Key(Key::End) => self.at = last,
            Input::Key(Key::Enter) => return Flow::End(Some(self.at)),
            Input::Key(Key::Char('q') | Key::Escape | Key::Interrupt) => return Flow::End(None),
            Input::Key(Key::Suspend) => return Flow::Suspend,
            Input::Key(Key::Redraw) => return Flow::Redraw,
            Input::Key(_) | Input::News(_) | Input::Tick => {}
        }
        Flow::Stay
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    fn drawn(page: &Chooser, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(60, height)).unwrap();
        terminal.draw(|frame| page.draw(frame)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn keys_choose_a_run_of_a_list_that_may_be_longer_than_the_terminal() {
        let runs = (1..=5).map(|number| format!("run {number}")).collect();
        let mut page = Chooser::new(runs, Palette::new(false));
        let mut press = |key| page.take(Input::Key(key), Duration::ZERO);
        assert_eq!(press(Key::Up), Flow::Stay);
        for _ in 0..9 {
            assert_eq!(press(Key::Down), Flow::Stay);
        }
        assert_eq!(press(Key::Up), Flow::Stay);
        assert_eq!(press(Key::Enter), Flow::End(Some(3)));
        assert_eq!(press(Key::Char('q')), Flow::End(None));
        insta::assert_snapshot!(drawn(&page, 7));
        let short = drawn(&page, 3);
        assert!(
            short.contains("> run 4") && !short.contains("run 1"),
            "{short}"
        );
    }
}
