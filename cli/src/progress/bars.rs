//! Draws progress as bars on a terminal.

use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

use super::canvas::Canvas;
use super::frame::{Change, ProgressFrame};

/// How often a frame is drawn; frames that come sooner are skipped.
const REDRAW_INTERVAL: Duration = Duration::from_millis(100);

/// The redraws per second that `indicatif` may make. [`REDRAW_INTERVAL`] bounds them already, and a redraw that
/// `indicatif` held back would not be made up before the next frame.
const REDRAWS: u8 = u8::MAX;

/// The width below which the bar leaves no room for the figures.
const NARROW: u16 = 60;

/// The bar of the run, and a line for each running job below it.
pub(crate) struct Bars {
    canvas: Canvas,
    /// The group of all bars, which `indicatif` draws as one block.
    all: MultiProgress,
    /// The bar of the whole run.
    run: ProgressBar,
    /// Whether the bar is left out; `None` before the first frame.
    is_narrow: Option<bool>,
    /// A line for each running job, as far as there is room.
    running: Vec<ProgressBar>,
    /// When the bars were last drawn, so that they are not drawn too often.
    last: Option<Instant>,
    /// The frame that was drawn last. Only what differs from it is drawn.
    seen: ProgressFrame,
}

impl Bars {
    /// Makes bars on the terminal of stderr.
    pub(super) fn on_stderr() -> Self {
        Self::on(Canvas::on_stderr())
    }

    fn on(canvas: Canvas) -> Self {
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(canvas.clone()), REDRAWS);
        let all = MultiProgress::with_draw_target(target);
        let run = all.add(ProgressBar::new(1));
        Self {
            canvas,
            all,
            run,
            is_narrow: None,
            running: Vec::new(),
            last: None,
            seen: ProgressFrame::default(),
        }
    }

    /// Draws what has changed since the last frame.
    pub(super) fn draw(&mut self, frame: ProgressFrame, now: Instant) {
        let is_early = |last: Instant| now.saturating_duration_since(last) < REDRAW_INTERVAL;
        if self.last.is_some_and(is_early) {
            return;
        }
        self.last = Some(now);
        self.fit_width();
        for change in frame.changes(&self.seen) {
            match change {
                // `indicatif` draws a bar of length 0 as full.
                Change::Total(total) => self.run.set_length(total.max(1)),
                Change::Ended(ended) => self.run.set_position(ended),
                Change::Figures(figures) => self.run.set_message(figures.to_owned()),
                Change::Line(index, line) => self.line(index).set_message(line.to_owned()),
            }
        }
        self.seen = frame;
    }

    /// Leaves out the bar on a narrow terminal, so that the figures fit.
    fn fit_width(&mut self) {
        let is_narrow = self.canvas.width() < NARROW;
        if self.is_narrow == Some(is_narrow) {
            return;
        }
        self.is_narrow = Some(is_narrow);
        let template = if is_narrow {
            "{wide_msg}"
        } else {
            "[{bar:24}] {wide_msg}"
        };
        // A template is refused only if it is malformed. A plain bar is better than a run that ends.
        if let Ok(template) = ProgressStyle::with_template(template) {
            self.run.set_style(template.progress_chars("=> "));
        }
    }

    /// Returns the line of a running job. Lines are added on demand and emptied instead of removed, because a display
    /// that shrinks and grows flickers.
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

    /// Erases the bars, writes other text, and draws the bars again.
    pub(super) fn with_bars_hidden<T>(&mut self, ends_line: bool, write: impl FnOnce() -> T) -> T {
        self.all.suspend(|| {
            self.canvas.output_ends_line(ends_line);
            write()
        })
    }

    /// Erases the bars.
    pub(super) fn clear(&mut self) {
        for bar in self.running.drain(..) {
            bar.finish_and_clear();
        }
        self.run.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};

    use indicatif::InMemoryTerm;
    use ratchet_runtime::event::RunEvent;

    use crate::progress::view::{LINES, View};

    use super::*;

    /// Writes to a terminal in memory.
    struct To(InMemoryTerm);

    impl Write for To {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let text = std::str::from_utf8(bytes).map_err(io::Error::other)?;
            self.0.write_str(text)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            self.0.flush()
        }
    }

    fn bars_on(term: &InMemoryTerm) -> Bars {
        let size = term.clone();
        let size = move || (size.width(), size.height());
        Bars::on(Canvas::new(Box::new(To(term.clone())), size))
    }

    fn started(id: &str) -> RunEvent {
        RunEvent::AttemptStarted {
            id: id.into(),
            item: None,
            attempt: 1,
            slot: None,
            place: None,
            worker: None,
        }
    }

    #[test]
    fn shows_the_run_its_jobs_and_what_is_said_above() {
        let term = InMemoryTerm::new(20, 80);
        let begin = tokio::time::Instant::now().into_std();
        let (mut bars, mut view) = (bars_on(&term), View::new(begin));
        view.observe(&RunEvent::RunStarted { total: Some(4) }, begin);
        for id in ["a", "b\x1b[2J"] {
            view.observe(&started(id), begin);
        }
        let later = begin + Duration::from_secs(3);
        view.observe(
            &RunEvent::AttemptProgress {
                id: "a".into(),
                done: Some(1.0),
                total: Some(4.0),
                message: Some("reading\nmore".into()),
            },
            later,
        );
        bars.draw(ProgressFrame::of(&view, later), later);
        let shown = term.contents();
        assert!(shown.contains("0/4  2 running  3 s"), "{shown}");
        assert!(shown.contains("  a  3 s  25%  reading"), "{shown}");
        assert!(shown.contains("b\\u{1b}[2J"), "{shown}");

        bars.with_bars_hidden(true, || term.write_str("failed    a\r\n"))
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
        let begin = tokio::time::Instant::now().into_std();
        let (mut bars, mut view) = (bars_on(&term), View::new(begin));
        view.observe(&RunEvent::RunStarted { total: Some(4) }, begin);
        view.observe(&started("a"), begin);
        bars.draw(ProgressFrame::of(&view, begin), begin);
        assert_ne!(term.moves_since_last_check(), "");
        for tenth in 1..10 {
            bars.draw(
                ProgressFrame::of(&view, begin + Duration::from_millis(tenth * 100)),
                begin + Duration::from_millis(tenth * 100),
            );
        }
        assert_eq!(term.moves_since_last_check(), "");
        bars.draw(
            ProgressFrame::of(&view, begin + Duration::from_secs(1)),
            begin + Duration::from_secs(1),
        );
        assert!(term.contents().contains("  a  1 s"), "{}", term.contents());
    }

    #[test]
    fn a_bar_is_empty_before_anything_is_known() {
        let term = InMemoryTerm::new(20, 80);
        let begin = tokio::time::Instant::now().into_std();
        let (mut bars, view) = (bars_on(&term), View::new(begin));
        bars.draw(ProgressFrame::of(&view, begin), begin);
        let shown = term.contents();
        assert!(shown.contains("] 0/0") && !shown.contains('='), "{shown}");
    }

    #[test]
    fn of_many_running_jobs_the_longest_running_have_rows_and_the_others_are_counted() {
        let term = InMemoryTerm::new(20, 80);
        let begin = tokio::time::Instant::now().into_std();
        let (mut bars, mut view) = (bars_on(&term), View::new(begin));
        for number in 0..LINES + 4 {
            let later = begin + Duration::from_millis(number as u64);
            view.observe(&started(&format!("job-{number}")), later);
        }
        bars.draw(ProgressFrame::of(&view, begin), begin);
        let shown = term.contents();
        assert!(shown.contains("12 running"), "{shown}");
        assert!(shown.contains("  job-0  0 s\n"), "{shown}");
        assert!(shown.contains("  job-6  0 s\n  and 5 more"), "{shown}");
        assert!(!shown.contains("job-7"), "{shown}");
    }

    #[test]
    fn output_without_a_newline_at_its_end_is_not_overwritten() {
        let term = InMemoryTerm::new(20, 80);
        let begin = tokio::time::Instant::now().into_std();
        let (mut bars, mut view) = (bars_on(&term), View::new(begin));
        view.observe(&started("a"), begin);
        bars.draw(ProgressFrame::of(&view, begin), begin);
        bars.with_bars_hidden(false, || term.write_str("half a "))
            .unwrap();
        let later = begin + Duration::from_secs(1);
        bars.draw(ProgressFrame::of(&view, later), later);
        assert_eq!(term.contents(), "half a");
        bars.with_bars_hidden(true, || term.write_str("line\r\n"))
            .unwrap();
        let shown = term.contents();
        assert!(shown.starts_with("half a line\n["), "{shown}");
        bars.clear();
        assert_eq!(term.contents(), "half a line");
    }

    /// A terminal that rewraps its lines when its width changes, as most do.
    #[derive(Clone)]
    struct Reflowing(std::sync::Arc<std::sync::Mutex<Model>>);

    struct Model {
        columns: usize,
        /// Lines as they were written, however many rows each takes.
        lines: Vec<Vec<char>>,
        /// The line of the cursor, and its position in the line.
        cursor: (usize, usize),
    }

    impl Model {
        /// Returns the first row of a line, counted from the first row of all.
        fn first_row(&self, line: usize) -> usize {
            let rows = |line: &Vec<char>| line.len().div_ceil(self.columns).max(1);
            self.lines[..line].iter().map(rows).sum()
        }

        fn up(&mut self, rows: usize) {
            let row = self.first_row(self.cursor.0) + self.cursor.1 / self.columns;
            let row = row.saturating_sub(rows);
            let line = (0..self.lines.len())
                .rev()
                .find(|line| self.first_row(*line) <= row)
                .unwrap_or(0);
            let column = self.cursor.1 % self.columns;
            let before = (row - self.first_row(line)) * self.columns;
            self.cursor = (line, before + column);
        }

        fn print(&mut self, character: char) {
            let (line, at) = self.cursor;
            let line = &mut self.lines[line];
            if line.len() <= at {
                line.resize(at + 1, ' ');
            }
            line[at] = character;
            self.cursor.1 += 1;
        }

        fn take(&mut self, text: &str) {
            let mut rest = text.chars();
            while let Some(character) = rest.next() {
                match character {
                    '\r' => self.cursor.1 -= self.cursor.1 % self.columns,
                    '\n' => {
                        let (line, at) = self.cursor;
                        if self.lines[line].len() > (at / self.columns + 1) * self.columns {
                            self.cursor.1 += self.columns;
                        } else {
                            self.cursor = (line + 1, at % self.columns);
                            if self.lines.len() == line + 1 {
                                self.lines.push(Vec::new());
                            }
                        }
                    }
                    '\x1b' => {
                        assert_eq!(rest.next(), Some('['));
                        let mut number = String::new();
                        let what = rest.find(|c| {
                            number.push(*c);
                            c.is_ascii_alphabetic()
                        });
                        let number = number[..number.len() - 1].parse().unwrap_or(1);
                        let (line, at) = self.cursor;
                        match what {
                            Some('A') => self.up(number),
                            Some('K') => self.lines[line].truncate(at),
                            Some('J') => {
                                self.lines[line].truncate(at);
                                self.lines.truncate(line + 1);
                            }
                            other => panic!("{other:?}"),
                        }
                    }
                    character => self.print(character),
                }
            }
        }
    }

    impl Reflowing {
        fn model(&self) -> std::sync::MutexGuard<'_, Model> {
            self.0.lock().unwrap()
        }

        fn text(&self) -> String {
            let model = self.model();
            let lines = model.lines.iter();
            let lines: Vec<String> = lines.map(|line| line.iter().collect()).collect();
            lines.join("\n")
        }
    }

    impl Write for Reflowing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let text = std::str::from_utf8(bytes).map_err(io::Error::other)?;
            self.model().take(text);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_terminal_that_changes_its_width_loses_no_line_that_was_printed() {
        let mut term = Reflowing(std::sync::Arc::new(std::sync::Mutex::new(Model {
            columns: 80,
            lines: vec![Vec::new()],
            cursor: (0, 0),
        })));
        let size = term.clone();
        let size = move || (u16::try_from(size.model().columns).unwrap(), 24);
        let begin = tokio::time::Instant::now().into_std();
        let canvas = Canvas::new(Box::new(term.clone()), size);
        let (mut bars, mut view) = (Bars::on(canvas), View::new(begin));
        for id in ["a", "b", "c"] {
            view.observe(
                &started(&format!("{id}{}", "-with-a-long-name".repeat(4))),
                begin,
            );
        }
        let mut printed = String::new();
        for (second, columns) in (0..).zip([80, 40, 80, 23, 120, 40, 80]) {
            term.model().columns = columns;
            let now = begin + Duration::from_secs(second);
            bars.draw(ProgressFrame::of(&view, now), now);
            let line = format!("line {second}");
            bars.with_bars_hidden(true, || term.write_all(format!("{line}\r\n").as_bytes()))
                .unwrap();
            printed.push_str(&line);
            printed.push('\n');
            let shown = term.text();
            assert!(shown.starts_with(&printed), "at {columns}:\n{shown}");
            assert_eq!(
                shown.matches("3 running").count(),
                1,
                "at {columns}:\n{shown}"
            );
        }
        bars.clear();
        assert_eq!(term.text(), printed);
    }
}
