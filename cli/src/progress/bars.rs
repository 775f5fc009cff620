//! Progress on a terminal.

use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::picture::{Change, Picture};

/// How often what is to be seen is put together; asked more often, nothing happens.
const EVERY: Duration = Duration::from_millis(100);

/// How often a second the terminal may be written to: as often as something is changed, which [`EVERY`] bounds.
/// A change that were held back here would not be seen until the next one.
const REDRAWS: u8 = u8::MAX;

/// A bar for the run, and a line a running job below it.
pub(crate) struct Bars {
    all: MultiProgress,
    run: ProgressBar,
    running: Vec<ProgressBar>,
    last: Option<Instant>,
    seen: Picture,
}

impl Bars {
    pub(super) fn on_stderr() -> Self {
        Self::on(ProgressDrawTarget::stderr_with_hz(REDRAWS))
    }

    fn on(target: ProgressDrawTarget) -> Self {
        let all = MultiProgress::with_draw_target(target);
        let run = all.add(ProgressBar::new(1));
        // Templates of our own are right, and a plain bar is no reason to end a run.
        if let Ok(template) = ProgressStyle::with_template("[{bar:24}] {msg}") {
            run.set_style(template.progress_chars("=> "));
        }
        Self {
            all,
            run,
            running: Vec::new(),
            last: None,
            seen: Picture::default(),
        }
    }

    pub(super) fn draw(&mut self, picture: Picture, now: Instant) {
        let is_early = |last: Instant| now.saturating_duration_since(last) < EVERY;
        if self.last.is_some_and(is_early) {
            return;
        }
        self.last = Some(now);
        for change in picture.changes(&self.seen) {
            match change {
                // Of nothing, everything is done; a bar that is full at first would say the wrong thing.
                Change::Total(total) => self.run.set_length(total.max(1)),
                Change::Ended(ended) => self.run.set_position(ended),
                Change::Figures(figures) => self.run.set_message(figures.to_owned()),
                Change::Line(index, line) => self.line(index).set_message(line.to_owned()),
            }
        }
        self.seen = picture;
    }

    /// The bar of a line. Lines are added when needed and emptied when not: a display that shrinks and grows
    /// flickers.
    fn line(&mut self, index: usize) -> &ProgressBar {
        while self.running.len() <= index {
            let bar = self.all.add(ProgressBar::no_length());
            if let Ok(template) = ProgressStyle::with_template("  {wide_msg}") {
                bar.set_style(template);
            }
            self.running.push(bar);
        }
        &self.running[index]
    }

    pub(super) fn suspend<T>(&mut self, write: impl FnOnce() -> T) -> T {
        self.all.suspend(write)
    }

    pub(super) fn clear(&mut self) {
        for bar in self.running.drain(..) {
            bar.finish_and_clear();
        }
        self.run.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use indicatif::{InMemoryTerm, TermLike};
    use ratchet_runtime::event::Event;

    use crate::progress::view::{LINES, View};

    use super::*;

    fn started(id: &str) -> Event {
        Event::AttemptStarted {
            id: id.into(),
            item: None,
            attempt: 1,
            worker: None,
        }
    }

    #[test]
    fn shows_the_run_its_jobs_and_what_is_said_above() {
        let term = InMemoryTerm::new(20, 80);
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(term.clone()), 250);
        let begin = tokio::time::Instant::now().into_std();
        let (mut bars, mut view) = (Bars::on(target), View::new(begin));
        view.observe(&Event::RunStarted { total: Some(4) }, begin);
        for id in ["a", "b\x1b[2J"] {
            view.observe(&started(id), begin);
        }
        let later = begin + Duration::from_secs(3);
        view.observe(
            &Event::AttemptProgress {
                id: "a".into(),
                done: Some(1.0),
                total: Some(4.0),
                message: Some("reading\nmore".into()),
            },
            later,
        );
        bars.draw(Picture::of(&view, later), later);
        let shown = term.contents();
        assert!(shown.contains("0/4  2 running  3 s"), "{shown}");
        assert!(shown.contains("  a  3 s  25%  reading"), "{shown}");
        assert!(shown.contains("b\\u{1b}[2J"), "{shown}");

        bars.suspend(|| term.write_line("failed    a"))
            .expect("it takes everything");
        let shown = term.contents();
        let (failure, bar) = (shown.find("failed    a"), shown.find("0/4  2 running"));
        assert!(failure.is_some() && failure < bar, "{shown}");

        bars.clear();
        let left = term.contents();
        assert!(
            left.contains("failed    a") && !left.contains("running"),
            "{left}"
        );
    }

    #[test]
    fn nothing_is_written_where_nothing_changed() {
        let term = InMemoryTerm::new(20, 80);
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(term.clone()), REDRAWS);
        let begin = tokio::time::Instant::now().into_std();
        let (mut bars, mut view) = (Bars::on(target), View::new(begin));
        view.observe(&Event::RunStarted { total: Some(4) }, begin);
        view.observe(&started("a"), begin);
        bars.draw(Picture::of(&view, begin), begin);
        assert_ne!(term.moves_since_last_check(), "");
        for tenth in 1..10 {
            bars.draw(
                Picture::of(&view, begin + Duration::from_millis(tenth * 100)),
                begin + Duration::from_millis(tenth * 100),
            );
        }
        assert_eq!(term.moves_since_last_check(), "");
        bars.draw(
            Picture::of(&view, begin + Duration::from_secs(1)),
            begin + Duration::from_secs(1),
        );
        assert!(term.contents().contains("  a  1 s"), "{}", term.contents());
    }

    #[test]
    fn a_bar_is_empty_before_anything_is_known() {
        let term = InMemoryTerm::new(20, 80);
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(term.clone()), 250);
        let begin = tokio::time::Instant::now().into_std();
        let (mut bars, view) = (Bars::on(target), View::new(begin));
        bars.draw(Picture::of(&view, begin), begin);
        let shown = term.contents();
        assert!(shown.contains("] 0/0") && !shown.contains('='), "{shown}");
    }

    #[test]
    fn many_running_jobs_are_a_number() {
        let term = InMemoryTerm::new(20, 80);
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(term.clone()), 250);
        let begin = tokio::time::Instant::now().into_std();
        let (mut bars, mut view) = (Bars::on(target), View::new(begin));
        for number in 0..=LINES {
            view.observe(&started(&format!("job-{number}")), begin);
        }
        bars.draw(Picture::of(&view, begin), begin);
        let shown = term.contents();
        assert!(
            shown.contains("9 running") && !shown.contains("job-"),
            "{shown}"
        );
    }
}
