//! Stderr, which progress, the log and all that is said to people share.
//!
//! ```text
//! the loop --on, say, tell--> Wanted --thread `screen`--> terminal <--aside-- thread `results`
//! ```
//!
//! A terminal that nobody reads takes nothing more, and whoever writes to it waits. So while a run goes on,
//! its loop only leaves what it has to say, and a thread of its own writes it and draws.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ratchet_runtime::Sink;
use ratchet_runtime::event::Record;
use tokio::sync::oneshot;

use crate::error::CliError;
use crate::progress::{Display, Picture, Progress, Stage};
use crate::report::Style;

/// How often the display is looked after.
const TICK: Duration = Duration::from_millis(100);

/// How long the bars may take to be hidden before this process is stopped: a terminal that takes nothing must not keep it
/// from that.
const HIDE_LIMIT: Duration = Duration::from_millis(200);

/// How many bytes may wait to be written: of what is told beyond, only how much it was is told.
const MOST_WAITING: usize = 1 << 20;

/// What people see. Clones are the same screen.
#[derive(Clone)]
pub(crate) struct Screen(Arc<Shared>);

struct Shared {
    /// Held for moments only, by the loop among others.
    wanted: Mutex<Wanted>,
    changed: Condvar,
    /// Whoever has it may wait for a reader: never the loop, while a run goes on.
    terminal: Mutex<Stage>,
    /// How long nothing has to be drawn.
    tick: Duration,
}

/// What is to be seen.
struct Wanted {
    progress: Progress,
    text: Vec<u8>,
    /// How many texts found no room.
    left_out: u64,
    /// A thread writes.
    showing: bool,
    hiding: Hiding,
    phase: Phase,
}

/// Whether the bars are out of the way of a shell, to which the terminal goes while this process is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hiding {
    Shown,
    /// The thread that draws is to hide them.
    Asked,
    /// Hidden, and nothing is written.
    Hidden,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// Nothing is drawn any more.
    Over,
    /// Nothing more is said.
    End,
}

/// What is written and drawn next.
struct Frame {
    text: Vec<u8>,
    /// Nothing once the run is over.
    picture: Option<Picture>,
    is_over: bool,
    /// The bars are to be hidden first.
    hides: bool,
}

impl Screen {
    /// `tells_failures` if nothing else does on the same terminal.
    pub(crate) fn new(display: Display, style: Style, tells_failures: bool) -> Self {
        let now = now();
        Self(Arc::new(Shared {
            wanted: Mutex::new(Wanted {
                progress: Progress::new(display, style, tells_failures, now),
                text: Vec::new(),
                left_out: 0,
                showing: false,
                hiding: Hiding::Shown,
                phase: Phase::Running,
            }),
            changed: Condvar::new(),
            terminal: Mutex::new(Stage::new(display, now)),
            tick: match display {
                Display::None => Duration::MAX,
                Display::Bars | Display::Lines => TICK,
            },
        }))
    }

    /// From now on nobody waits for a reader, but for those who write themselves.
    pub(super) fn begin(&self) -> Result<Showing, CliError> {
        let (tell, ended) = oneshot::channel();
        let screen = self.clone();
        self.0.wanted().showing = true;
        std::thread::Builder::new()
            .name("screen".to_owned())
            .spawn(move || {
                screen.0.show();
                // Whoever did not want to wait for it has gone.
                let _ = tell.send(());
            })
            .map_err(|error| CliError::Internal(format!("no thread for the screen: {error}")))?;
        let screen = self.clone();
        Ok(Showing { screen, ended })
    }

    /// It has become known how many jobs there will be.
    pub(crate) fn announce(&self, total: u64) {
        self.0.wanted().progress.announce(total);
    }

    /// Says something to people: above the bars, if there are any.
    pub(crate) fn say(&self, text: &str) {
        self.leave(text.as_bytes(), usize::MAX);
    }

    /// Says something that people can do without, where they do not read.
    pub(super) fn tell(&self, text: &[u8]) {
        self.leave(text, MOST_WAITING);
    }

    fn leave(&self, text: &[u8], most: usize) {
        let mut wanted = self.0.wanted();
        if wanted.showing {
            wanted.leave(text, most);
            drop(wanted);
            self.0.changed.notify_all();
        } else {
            drop(wanted);
            // There is nobody left to tell where stderr is closed.
            let _ = self.write_err(text);
        }
    }

    /// Writes somewhere on the same terminal, without the bars in the way. It may have to wait for a reader.
    /// `ends_line` says whether all that is written so far ends with a newline.
    pub(crate) fn aside<T>(&self, ends_line: bool, write: impl FnOnce() -> T) -> T {
        self.0.terminal().suspend(ends_line, write)
    }

    /// Performs an action for which the terminal is to be as it was before the run, as it is while this process is
    /// stopped; the bars are drawn again afterwards.
    pub(super) fn hidden_while(&self, action: impl FnOnce()) {
        let mut wanted = self.0.wanted();
        if wanted.showing {
            wanted.hiding = Hiding::Asked;
            self.0.changed.notify_all();
            let is_asked = |wanted: &mut Wanted| wanted.hiding == Hiding::Asked;
            let hidden = self
                .0
                .changed
                .wait_timeout_while(wanted, HIDE_LIMIT, is_asked);
            (wanted, _) = hidden.unwrap_or_else(PoisonError::into_inner);
        }
        // The thread that draws waits for the end of this and not for the lock.
        drop(wanted);
        action();
        self.0.wanted().hiding = Hiding::Shown;
        self.0.changed.notify_all();
    }

    fn write_err(&self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.aside(bytes.ends_with(b"\n"), || io::stderr().write_all(bytes))
    }

    /// The run has ended: bars are taken away.
    pub(crate) fn finish(&self) {
        self.0.enter(Phase::Over);
    }
}

/// What is said and drawn while a run goes on.
pub(super) struct Showing {
    screen: Screen,
    ended: oneshot::Receiver<()>,
}

impl Showing {
    /// Nothing more is said: waits until all of it is written.
    pub(super) async fn end(self) {
        self.screen.0.enter(Phase::End);
        // A thread that has panicked writes no more either.
        let _ = self.ended.await;
    }
}

impl Wanted {
    fn leave(&mut self, text: &[u8], most: usize) {
        if self.text.len().saturating_add(text.len()) > most {
            self.left_out += 1;
        } else {
            self.text.extend_from_slice(text);
        }
    }

    /// Nothing if all was said.
    fn frame(&mut self, now: Instant) -> Option<Frame> {
        if self.left_out > 0 {
            let left_out = std::mem::take(&mut self.left_out);
            let text = format!("ratchet: {left_out} messages were left out: nobody read them\n");
            self.text.extend_from_slice(text.as_bytes());
        }
        if self.phase == Phase::End && self.text.is_empty() {
            self.showing = false;
            return None;
        }
        let is_over = self.phase != Phase::Running;
        Some(Frame {
            text: std::mem::take(&mut self.text),
            picture: self.progress.picture(now).filter(|_| !is_over),
            is_over,
            hides: self.hiding == Hiding::Asked,
        })
    }
}

impl Shared {
    /// Writes and draws until nothing more is said.
    fn show(&self) {
        while let Some(frame) = self.next() {
            let mut terminal = self.terminal();
            if frame.hides {
                // Whatever a shell writes meanwhile ends with the newline of the command that continues this process.
                terminal.suspend(true, || self.stay_hidden());
            }
            if frame.is_over {
                terminal.clear();
            }
            if !frame.text.is_empty() {
                // There is nobody left to tell where stderr is closed.
                let ends_line = frame.text.ends_with(b"\n");
                let _ = terminal.suspend(ends_line, || io::stderr().write_all(&frame.text));
            }
            if let Some(picture) = frame.picture {
                terminal.draw(picture, now());
            }
        }
        self.terminal().clear();
    }

    /// Tells that the bars are hidden, and waits until they may be seen again.
    fn stay_hidden(&self) {
        let mut wanted = self.wanted();
        if wanted.hiding == Hiding::Asked {
            wanted.hiding = Hiding::Hidden;
            self.changed.notify_all();
        }
        let is_hidden = |wanted: &mut Wanted| wanted.hiding == Hiding::Hidden;
        drop(self.changed.wait_while(wanted, is_hidden));
    }

    fn next(&self) -> Option<Frame> {
        let rests = |wanted: &mut Wanted| {
            wanted.text.is_empty() && wanted.phase != Phase::End && wanted.hiding != Hiding::Asked
        };
        let waited = self
            .changed
            .wait_timeout_while(self.wanted(), self.tick, rests);
        let (mut next, _) = waited.unwrap_or_else(PoisonError::into_inner);
        next.frame(now())
    }

    fn enter(&self, phase: Phase) {
        self.wanted().phase = phase;
        self.changed.notify_all();
    }

    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn terminal(&self) -> MutexGuard<'_, Stage> {
        self.terminal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Sink for Screen {
    fn on(&mut self, record: &Record) {
        let mut wanted = self.0.wanted();
        if let Some(text) = wanted.progress.observe(&record.event, now()) {
            wanted.leave(text.as_bytes(), MOST_WAITING);
            drop(wanted);
            self.0.changed.notify_all();
        }
    }

    fn name(&self) -> &'static str {
        "progress"
    }
}

/// Whoever writes to stderr through it does not disturb the bars, and loses nothing: it may have to wait.
impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_err(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The log, which people can do without.
pub(super) struct Log(pub(super) Screen);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.tell(bytes);
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
    fn what_waits_is_bounded_and_what_is_left_out_is_told() {
        let screen = Screen::new(Display::None, Style::PLAIN, true);
        let mut wanted = screen.0.wanted();
        wanted.leave(&vec![b'a'; MOST_WAITING], MOST_WAITING);
        wanted.leave(b"b", MOST_WAITING);
        wanted.leave(b"c", usize::MAX);
        let frame = wanted.frame(now()).unwrap();
        let text = String::from_utf8(frame.text).unwrap();
        assert!(
            text.trim_start_matches('a')
                .starts_with("cratchet: 1 messages were left out"),
            "{}",
            &text[MOST_WAITING..]
        );
        wanted.phase = Phase::End;
        assert!(wanted.frame(now()).is_none());
    }
}
