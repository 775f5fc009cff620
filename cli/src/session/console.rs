//! Stderr, which progress, the log and all messages to people share.
//!
//! ```text
//! the loop --on, say, log--> State --thread `console`--> terminal <--write_aside-- thread `results`
//! ```
//!
//! Writing to a terminal whose reader is stuck blocks. So during a run the loop only queues its messages here, and a
//! thread of its own writes them and draws the progress.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ratchet_runtime::Sink;
use ratchet_runtime::event::EventRecord;
use ratchet_runtime::process::working_now;
use tokio::sync::oneshot;

use crate::error::CliError;
use crate::progress::{Progress, ProgressDisplay, ProgressFrame, ProgressMode};
use crate::style::Style;

/// How often the display is redrawn.
const TICK: Duration = Duration::from_millis(100);

/// How long the thread may take to hide the bars before this process is stopped. A terminal that accepts no output must
/// not keep the process from being stopped.
const HIDE_LIMIT: Duration = Duration::from_millis(200);

/// How many bytes of messages may be queued. Messages of the log and of progress beyond that are counted and dropped.
const WAITING_BYTES: usize = 1 << 20;

/// The stderr of this process. Clones are the same console.
#[derive(Clone)]
pub(crate) struct Console(Arc<Shared>);

/// The part that the clones and the thread of a console share.
struct Shared {
    /// The messages and frames to write. The lock is held only for moments, because the loop takes it.
    state: Mutex<State>,
    /// Wakes the thread when there is something to write, and when the run is over.
    changed: Condvar,
    /// The progress display. The holder of this lock may wait for a reader, so the loop never takes it during a run.
    display: Mutex<ProgressDisplay>,
    /// How long the thread waits if nothing has to be drawn.
    tick: Duration,
}

/// The text to write, and the stage of the display.
struct State {
    progress: Progress,
    /// The messages that are queued.
    text: Vec<u8>,
    /// How many messages were dropped.
    dropped: u64,
    /// Whether the thread writes the messages.
    has_thread: bool,
    visibility: Visibility,
    /// The stage of the run, which decides what is drawn.
    stage: Stage,
}

/// Whether the bars are shown. They are hidden before this process is stopped and a shell gets the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Visibility {
    /// The bars may be drawn.
    Shown,
    /// The thread has been asked to hide the bars.
    HideRequested,
    /// The bars are hidden, and nothing is written.
    Hidden,
}

/// The stage of the display on the way to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Bars are drawn, and messages are written above them.
    Drawing,
    /// The bars are removed; messages are still written.
    MessagesOnly,
    /// The thread ends when all messages are written.
    Ending,
}

/// The next text and frame for the thread.
struct Update {
    /// The messages, in the order in which they came.
    text: Vec<u8>,
    /// The frame to draw; `None` once the run is over.
    frame: Option<ProgressFrame>,
    /// Whether this is the last update.
    is_over: bool,
    /// Whether the bars are to be hidden first.
    hides: bool,
}

impl Console {
    /// Makes a console. With `tells_failures`, progress reports failed jobs, because no results are shown on the terminal.
    pub(crate) fn new(mode: ProgressMode, style: Style, tells_failures: bool) -> Self {
        let now = now();
        Self(Arc::new(Shared {
            state: Mutex::new(State {
                progress: Progress::new(mode, style, tells_failures, now),
                text: Vec::new(),
                dropped: 0,
                has_thread: false,
                visibility: Visibility::Shown,
                stage: Stage::Drawing,
            }),
            changed: Condvar::new(),
            display: Mutex::new(ProgressDisplay::new(mode, now)),
            tick: match mode {
                ProgressMode::None => Duration::MAX,
                ProgressMode::Bars | ProgressMode::Lines => TICK,
            },
        }))
    }

    /// Starts the thread. From now on only [`write_aside`](Self::write_aside) and `Write` wait for a reader.
    pub(super) fn start_thread(&self) -> Result<ConsoleThread, CliError> {
        let (send, ended) = oneshot::channel();
        let console = self.clone();
        self.0.state().has_thread = true;
        std::thread::Builder::new()
            .name("console".to_owned())
            .spawn(move || {
                console.0.run_thread();
                // After a third signal, the receiver is dropped.
                let _ = send.send(());
            })
            .map_err(|error| {
                CliError::internal("the thread for messages cannot be started").because(error)
            })?;
        let console = self.clone();
        Ok(ConsoleThread { console, ended })
    }

    /// Tells the progress display how many jobs there will be.
    pub(crate) fn announce(&self, total: u64) {
        self.0.state().progress.announce(total);
    }

    /// Prints a message, above the bars if there are any. Once the thread runs, the message is only queued.
    pub(crate) fn say(&self, text: &str) {
        self.print(text.as_bytes(), usize::MAX);
    }

    /// Prints a message, or drops it if too many are queued.
    fn log(&self, text: &[u8]) {
        self.print(text, WAITING_BYTES);
    }

    fn print(&self, text: &[u8], limit: usize) {
        let mut state = self.0.state();
        if state.has_thread {
            state.push(text, limit);
            drop(state);
            self.0.changed.notify_all();
        } else {
            drop(state);
            // If stderr is closed, the message is lost.
            let _ = self.write_now(text);
        }
    }

    /// Writes to the same terminal while the bars are hidden. It may wait for a reader.
    ///
    /// `ends_line` says whether all that is written so far ends with a newline.
    pub(crate) fn write_aside<T>(&self, ends_line: bool, write: impl FnOnce() -> T) -> T {
        self.0.display().with_bars_hidden(ends_line, write)
    }

    /// Performs an action while the terminal is as it was before the run, such as stopping this process. The bars are
    /// drawn again afterwards.
    pub(super) fn while_hidden(&self, action: impl FnOnce()) {
        let mut state = self.0.state();
        if state.has_thread {
            state.visibility = Visibility::HideRequested;
            self.0.changed.notify_all();
            let is_requested = |state: &mut State| state.visibility == Visibility::HideRequested;
            let waited = self
                .0
                .changed
                .wait_timeout_while(state, HIDE_LIMIT, is_requested);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        // The thread waits for a change of the state and not for the lock, so the lock is not held during the action.
        drop(state);
        action();
        self.0.state().visibility = Visibility::Shown;
        self.0.changed.notify_all();
    }

    /// Writes to stderr at once. It may wait for a reader.
    fn write_now(&self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.write_aside(bytes.ends_with(b"\n"), || io::stderr().write_all(bytes))
    }

    /// Removes the bars, because the run has ended.
    pub(crate) fn end_display(&self) {
        self.0.enter(Stage::MessagesOnly);
    }
}

/// The thread that writes messages and draws progress.
pub(super) struct ConsoleThread {
    console: Console,
    /// Resolves when the thread has written everything.
    ended: oneshot::Receiver<()>,
}

impl ConsoleThread {
    /// Waits until all messages are written.
    pub(super) async fn end(self) {
        self.console.0.enter(Stage::Ending);
        // A thread that has panicked writes nothing more either.
        let _ = self.ended.await;
    }
}

impl State {
    /// Queues a message, or counts it as dropped if the queue would be longer than the limit.
    fn push(&mut self, text: &[u8], limit: usize) {
        if self.text.len().saturating_add(text.len()) > limit {
            self.dropped += 1;
        } else {
            self.text.extend_from_slice(text);
        }
    }

    /// Takes the next update. Returns `None` when the thread has to end.
    fn next_update(&mut self, now: Instant) -> Option<Update> {
        if self.dropped > 0 {
            let dropped = std::mem::take(&mut self.dropped);
            let text = format!(
                "ratchet: {dropped} messages were left out, because earlier ones were not read in time\n"
            );
            self.text.extend_from_slice(text.as_bytes());
        }
        if self.stage == Stage::Ending && self.text.is_empty() {
            self.has_thread = false;
            return None;
        }
        let is_over = self.stage != Stage::Drawing;
        Some(Update {
            text: std::mem::take(&mut self.text),
            frame: self.progress.frame(now).filter(|_| !is_over),
            is_over,
            hides: self.visibility == Visibility::HideRequested,
        })
    }
}

impl Shared {
    /// Writes and draws until the thread has to end.
    fn run_thread(&self) {
        while let Some(update) = self.wait_for_update() {
            let mut display = self.display();
            if update.hides {
                // All that a shell writes in the meantime ends with the newline of the command that continues this
                // process.
                display.with_bars_hidden(true, || self.stay_hidden());
            }
            if update.is_over {
                display.clear();
            }
            if !update.text.is_empty() {
                let ends_line = update.text.ends_with(b"\n");
                // If stderr is closed, the messages are lost.
                let _ =
                    display.with_bars_hidden(ends_line, || io::stderr().write_all(&update.text));
            }
            if let Some(frame) = update.frame {
                display.draw(frame, now());
            }
        }
        self.display().clear();
    }

    /// Confirms that the bars are hidden, and waits until they may be shown again.
    fn stay_hidden(&self) {
        let mut state = self.state();
        if state.visibility == Visibility::HideRequested {
            state.visibility = Visibility::Hidden;
            self.changed.notify_all();
        }
        let is_hidden = |state: &mut State| state.visibility == Visibility::Hidden;
        drop(self.changed.wait_while(state, is_hidden));
    }

    /// Waits until there is something to write, but no longer than until the next redraw.
    fn wait_for_update(&self) -> Option<Update> {
        let is_idle = |state: &mut State| {
            state.text.is_empty()
                && state.stage != Stage::Ending
                && state.visibility != Visibility::HideRequested
        };
        let waited = self
            .changed
            .wait_timeout_while(self.state(), self.tick, is_idle);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.next_update(now())
    }

    /// Moves the display to another stage, and wakes the thread.
    fn enter(&self, stage: Stage) {
        self.state().stage = stage;
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn display(&self) -> MutexGuard<'_, ProgressDisplay> {
        self.display.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now() -> Instant {
    working_now()
}

impl Sink for Console {
    fn on(&mut self, record: &EventRecord) {
        let mut state = self.0.state();
        if let Some(text) = state.progress.observe(&record.event, now()) {
            state.push(text.as_bytes(), WAITING_BYTES);
            drop(state);
            self.0.changed.notify_all();
        }
    }

    fn name(&self) -> &'static str {
        "progress"
    }
}

/// Writes to stderr while the bars are hidden. Nothing is dropped, and a write may wait for a reader.
impl Write for Console {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_now(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes the log to the console. Lines are dropped if too many are queued.
pub(super) struct LogWriter(pub(super) Console);

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.log(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_messages_are_bounded_and_the_dropped_ones_are_counted() {
        let console = Console::new(ProgressMode::None, Style::PLAIN, true);
        let mut state = console.0.state();
        state.push(&vec![b'a'; WAITING_BYTES], WAITING_BYTES);
        state.push(b"b", WAITING_BYTES);
        state.push(b"c", usize::MAX);
        let update = state.next_update(now()).unwrap();
        let text = String::from_utf8(update.text).unwrap();
        assert!(
            text.trim_start_matches('a')
                .starts_with("cratchet: 1 messages were left out"),
            "{}",
            &text[WAITING_BYTES..]
        );
        state.stage = Stage::Ending;
        assert!(state.next_update(now()).is_none());
    }
}
