//! Runs the commands of a map, and keeps what they print until their jobs have ended.
//!
//! A result line has room for text; what a command prints is bytes, and as many as it likes. So the
//! output takes its own way: the runner puts it on a shelf under the job's id, and whoever hears of the
//! outcome takes it from there. A failed attempt's output is replaced by the next one's.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use ratchet_runtime::process::{
    CommandEnd, CommandLimits, CommandRunner, Exit, OutputSink, ProcessConfig, StopCause, Stream,
};
use ratchet_runtime::{Attempt, Class, Context, Failure, Job, JobKey, Payload, Runner, Work};

use super::items::Item;
use super::print::tagged_lines;
use super::printout::Printout;
use super::spool::Spool;

/// How much of a line is held back until it ends. A longer one is written in pieces.
const LINE_BYTES: usize = 256 * 1024;

/// SIGKILL, by which an attempt ends that is killed.
const KILLED: i32 = 9;

/// What a job's last attempt printed, and when.
#[derive(Debug)]
pub(crate) struct Printed {
    pub(crate) number: u64,
    pub(crate) item: Arc<Item>,
    pub(crate) command: Vec<OsString>,
    pub(crate) started: SystemTime,
    pub(crate) ran: Duration,
    pub(crate) exit: Exit,
    pub(crate) stdout: Spool,
    pub(crate) stderr: Spool,
}

/// Where outputs wait for the outcomes of their jobs: no more than there are jobs in flight.
#[derive(Debug, Default)]
pub(crate) struct Shelf(Mutex<HashMap<JobKey, Place>>);

#[derive(Debug)]
struct Place {
    number: u64,
    item: Arc<Item>,
    printed: Option<Printed>,
}

/// What lay on the shelf.
pub(super) enum Kept {
    Printed(Box<Printed>),
    Item(u64, Arc<Item>),
}

impl Shelf {
    /// A job was made of an item.
    pub(super) fn expect(&self, id: JobKey, number: u64, item: Item) {
        let place = Place {
            number,
            item: Arc::new(item),
            printed: None,
        };
        self.lock().insert(id, place);
    }

    fn label(&self, id: &JobKey) -> Option<(u64, Arc<Item>)> {
        let places = self.lock();
        let place = places.get(id)?;
        Some((place.number, Arc::clone(&place.item)))
    }

    fn put(&self, id: &JobKey, printed: Printed) {
        let before = match self.lock().get_mut(id) {
            Some(place) => place.printed.replace(printed),
            None => Some(printed),
        };
        // It may have a file to close, which nobody has to wait for.
        drop(before);
    }

    /// The job has ended: what it printed, if it ran as a command, else what it was for.
    pub(super) fn take(&self, id: &JobKey) -> Option<Kept> {
        let place = self.lock().remove(id)?;
        Some(match place.printed {
            Some(printed) => Kept::Printed(Box::new(printed)),
            None => Kept::Item(place.number, place.item),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobKey, Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs commands.
pub(crate) struct MapRunner {
    pub(crate) commands: CommandRunner,
    pub(crate) grace: Duration,
    pub(crate) shelf: Arc<Shelf>,
    /// Lines are written as they come.
    pub(crate) live: Option<Arc<Live>>,
    /// Whether all that is printed is wanted at the end as well.
    pub(crate) keeps: bool,
    /// How much of what is printed becomes part of the result, of stdout and of stderr.
    pub(crate) tells: usize,
    pub(crate) clock: fn() -> SystemTime,
}

#[async_trait]
impl Runner for MapRunner {
    async fn run(&self, attempt: Attempt, context: Context) -> Result<Payload, Failure> {
        let job = &attempt.job;
        let (Work::Command(config), Some((number, item))) = (&job.work, self.shelf.label(&job.id))
        else {
            return Err(Failure::new(Class::Input, "this is no command of a map"));
        };
        let timeouts = job.terms.timeouts;
        let limits = CommandLimits {
            soft: timeouts.soft,
            hard: timeouts.hard_for_asked(),
            grace: self.grace,
            ..CommandLimits::default()
        };
        let sink = Arc::new(MapSink {
            live: self.live.clone(),
            context,
            number,
            item: Arc::clone(&item),
            keeps: self.keeps || self.live.is_none(),
            tells: self.tells,
            kept: Mutex::default(),
        });
        let kill = Kill {
            shelf: &self.shelf,
            job,
            sink: Some(Arc::clone(&sink)),
            command: words(config),
            started: (self.clock)(),
            start: tokio::time::Instant::now(),
        };
        let result = self
            .commands
            .run_into(
                config,
                limits,
                sink.context.cancelled(),
                Arc::<MapSink>::clone(&sink) as _,
            )
            .await;
        let (command, started, ran) = kill.avert();
        let kept = finish(sink).await?;
        let exit = match &result {
            Ok(end) => end.ended.exit,
            // As shells have it.
            Err(_) => Exit::Code(127),
        };
        let Gathered {
            stdout,
            stderr,
            printout,
            ..
        } = kept;
        self.shelf.put(
            &job.id,
            Printed {
                number,
                item,
                command,
                started,
                ran,
                exit,
                stdout,
                stderr,
            },
        );
        match result {
            Ok(end) => judge(&end, ran, &printout),
            Err(error) => Err(Failure::new(Class::Spawn, chain(&error))),
        }
    }
}

fn words(config: &ProcessConfig) -> Vec<OsString> {
    let command = config.command.clone().into_os_string();
    std::iter::once(command)
        .chain(config.args.iter().cloned())
        .collect()
}

/// Puts on the shelf what a command has printed whose attempt is killed, which is by a drop of the future that runs it.
struct Kill<'a> {
    shelf: &'a Shelf,
    job: &'a Job,
    /// Nothing once the command has ended.
    sink: Option<Arc<MapSink>>,
    command: Vec<OsString>,
    started: SystemTime,
    start: tokio::time::Instant,
}

impl Kill<'_> {
    /// The command has ended by itself: what it was, when it started and how long it ran.
    fn avert(mut self) -> (Vec<OsString>, SystemTime, Duration) {
        self.sink = None;
        let command = std::mem::take(&mut self.command);
        (command, self.started, self.start.elapsed())
    }
}

impl Drop for Kill<'_> {
    fn drop(&mut self) {
        let Some(sink) = self.sink.take() else {
            return;
        };
        if let Some(kept) = sink.cut_off() {
            let printed = Printed {
                number: sink.number,
                item: Arc::clone(&sink.item),
                command: std::mem::take(&mut self.command),
                started: self.started,
                ran: self.start.elapsed(),
                exit: Exit::Signal(KILLED),
                stdout: kept.stdout,
                stderr: kept.stderr,
            };
            self.shelf.put(&self.job.id, printed);
        }
        // Whoever ends its last line may have to wait for a reader, and this may be the thread of the executor's loop.
        // Without a runtime the whole program is about to end.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            drop(runtime.spawn_blocking(move || sink.finish()));
        }
    }
}

fn judge(end: &CommandEnd, ran: Duration, printout: &Printout) -> Result<Payload, Failure> {
    let exit = end.ended.exit;
    Err(match end.stopped {
        Some(StopCause::Timeout) => {
            let message = format!(
                "it was stopped after {:.1} s, and {exit}",
                ran.as_secs_f64()
            );
            Failure::new(Class::Timeout, message)
        }
        Some(StopCause::Cancelled) => Failure::new(
            Class::Cancelled,
            format!("it was asked to stop, and {exit}"),
        ),
        Some(StopCause::Terminal) => {
            Failure::new(Class::Exit, StopCause::WANTED_TERMINAL).code("terminal")
        }
        None if exit.is_success() => {
            return printout
                .to_payload()
                .map_err(|error| Failure::new(Class::Protocol, error.to_string()));
        }
        None => {
            let code = match exit {
                Exit::Code(code) => format!("exit_{code}"),
                Exit::Signal(signal) => format!("signal_{signal}"),
                Exit::Unknown => "exit_unknown".to_owned(),
            };
            Failure::new(Class::Exit, format!("it {exit}")).code(code)
        }
    })
}

/// An error with all that lies behind it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Takes what one command prints.
struct MapSink {
    live: Option<Arc<Live>>,
    /// Keeps what goes with a failure.
    context: Context,
    number: u64,
    item: Arc<Item>,
    keeps: bool,
    tells: usize,
    kept: Mutex<Gathered>,
}

#[derive(Default)]
struct Gathered {
    stdout: Spool,
    stderr: Spool,
    printout: Printout,
    /// The lines of stdout and stderr whose ends have not come yet.
    lines: [Line; 2],
    /// Nobody takes more: what a killed command still prints is not written behind the end of its last line.
    is_over: bool,
}

/// A line that has begun.
#[derive(Default)]
struct Line {
    /// What of it has not been written.
    begun: Vec<u8>,
    /// Its beginning is written already.
    is_written: bool,
}

impl Line {
    fn is_open(&self) -> bool {
        self.is_written || !self.begun.is_empty()
    }
}

/// What the command has printed, once the rest of it is written.
async fn finish(sink: Arc<MapSink>) -> Result<Gathered, Failure> {
    if !sink.has_rest() {
        return Ok(sink.finish());
    }
    // Whoever writes it may have to wait for a reader.
    let finished = tokio::task::spawn_blocking(move || sink.finish());
    finished
        .await
        .map_err(|error| Failure::new(Class::Crash, error.to_string()))
}

impl MapSink {
    /// Whether the last line of a stream is still to be written to its end.
    fn has_rest(&self) -> bool {
        // The thread of a command that was killed may still wait for a reader. The executor's loop must not wait for
        // it in turn.
        self.live.is_some()
            && match self.kept.try_lock() {
                Ok(kept) => kept.lines.iter().any(Line::is_open),
                Err(_) => true,
            }
    }

    /// What was printed until now; nothing if it is being written at this moment.
    fn cut_off(&self) -> Option<Gathered> {
        let mut kept = match self.kept.try_lock() {
            Ok(kept) => kept,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        kept.is_over = true;
        Some(Gathered {
            stdout: std::mem::take(&mut kept.stdout),
            stderr: std::mem::take(&mut kept.stderr),
            ..Gathered::default()
        })
    }

    /// Ends the last lines, and gives what was printed.
    fn finish(&self) -> Gathered {
        let mut kept = self.lock();
        kept.is_over = true;
        if let Some(live) = &self.live {
            for stream in [Stream::Stdout, Stream::Stderr] {
                let index = usize::from(stream == Stream::Stderr);
                if kept.lines[index].is_open() {
                    // Without a newline, the next command's line would go on where it ended.
                    kept.lines[index].begun.push(b'\n');
                    // What cannot be written is known to `Live`, which says so at the end.
                    let _ = self.write(live, stream, &mut kept.lines, Ends::Line);
                }
            }
        }
        std::mem::replace(
            &mut *kept,
            Gathered {
                is_over: true,
                ..Gathered::default()
            },
        )
    }

    /// Writes what has come of a stream's lines.
    fn write(
        &self,
        live: &Live,
        stream: Stream,
        lines: &mut [Line; 2],
        ends: Ends,
    ) -> ControlFlow<()> {
        let [stdout, stderr] = lines;
        let (current, other) = match stream {
            Stream::Stdout => (stdout, stderr),
            Stream::Stderr => (stderr, stdout),
        };
        let flow = live.write(&Piece {
            stream,
            bytes: &current.begun,
            number: self.number,
            item: &self.item,
            starts_line: !current.is_written,
            goes_on: ends == Ends::Within || other.is_written,
        });
        current.begun.clear();
        current.begun.shrink_to(2 * LINE_BYTES);
        current.is_written = ends == Ends::Within;
        flow
    }

    fn lock(&self) -> MutexGuard<'_, Gathered> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a piece of output ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// At the end of a line.
    Line,
    /// Within a line that is too long to be held back.
    Within,
}

impl OutputSink for MapSink {
    fn receive(&self, stream: Stream, bytes: &[u8]) -> ControlFlow<()> {
        let mut kept = self.lock();
        if kept.is_over {
            return ControlFlow::Break(());
        }
        self.context.printed(stream, bytes);
        kept.printout.push(stream, bytes, self.tells);
        if self.keeps {
            match stream {
                Stream::Stdout => kept.stdout.push(bytes),
                Stream::Stderr => kept.stderr.push(bytes),
            }
        }
        let Some(live) = &self.live else {
            return ControlFlow::Continue(());
        };
        let index = usize::from(stream == Stream::Stderr);
        let end = bytes.iter().rposition(|byte| *byte == b'\n');
        let (whole, rest) = bytes.split_at(end.map_or(0, |end| end + 1));
        if !whole.is_empty() {
            kept.lines[index].begun.extend_from_slice(whole);
            if self
                .write(live, stream, &mut kept.lines, Ends::Line)
                .is_break()
            {
                return ControlFlow::Break(());
            }
        }
        kept.lines[index].begun.extend_from_slice(rest);
        if kept.lines[index].begun.len() < LINE_BYTES {
            return ControlFlow::Continue(());
        }
        self.write(live, stream, &mut kept.lines, Ends::Within)
    }
}

/// Where lines go as they come: one writer at a time, and lines of different jobs never mixed.
///
/// A line that is too long to be held back is written in pieces. Until it has ended, nobody else writes to either
/// stream, since both may be the same terminal; the other commands wait then, as they do for a slow reader.
pub(crate) struct Live {
    tag: bool,
    out: Mutex<Outlets>,
    /// The job that was in the middle of a line has ended it.
    released: Condvar,
}

struct Outlets {
    stdout: Box<dyn Write + Send>,
    stderr: Box<dyn Write + Send>,
    /// The number of the job that is in the middle of a line.
    holder: Option<u64>,
    /// Why nothing more can be written to stdout.
    broken: Option<io::Error>,
    /// Nothing more is written to stdout.
    is_closed: bool,
}

/// What is written at once.
struct Piece<'a> {
    stream: Stream,
    bytes: &'a [u8],
    /// Whose it is.
    number: u64,
    item: &'a Item,
    /// It begins with a new line.
    starts_line: bool,
    /// The job is in the middle of a line afterwards.
    goes_on: bool,
}

impl Live {
    pub(crate) fn new(
        tag: bool,
        stdout: Box<dyn Write + Send>,
        stderr: Box<dyn Write + Send>,
    ) -> Self {
        let out = Mutex::new(Outlets {
            stdout,
            stderr,
            holder: None,
            broken: None,
            is_closed: false,
        });
        Self {
            tag,
            out,
            released: Condvar::new(),
        }
    }

    /// Something that is said of an output.
    pub(super) fn note(&self, text: &[u8]) {
        // There is nobody left to tell where stderr is closed.
        let _ = self.unheld(None).stderr.write_all(text);
    }

    /// Why stdout could not be written any more, if it could not.
    pub(crate) fn broken(&self) -> Option<io::Error> {
        self.lock().broken.take()
    }

    /// Writes whole lines of an item, unless stdout takes no more.
    pub(super) fn write_lines(
        &self,
        stream: Stream,
        lines: &[u8],
        number: u64,
        item: &Item,
    ) -> ControlFlow<()> {
        self.write(&Piece {
            stream,
            bytes: lines,
            number,
            item,
            starts_line: true,
            goes_on: false,
        })
    }

    fn write(&self, piece: &Piece<'_>) -> ControlFlow<()> {
        let mut outlets = self.unheld(Some(piece.number));
        // Set before anything is written: who is in the middle of a line that cannot be written holds nobody up.
        outlets.holder = None;
        if piece.stream == Stream::Stdout && outlets.is_closed {
            self.released.notify_all();
            return ControlFlow::Break(());
        }
        let outlet: &mut dyn Write = match piece.stream {
            Stream::Stdout => &mut outlets.stdout,
            Stream::Stderr => &mut outlets.stderr,
        };
        let written = if self.tag {
            tagged_lines(&piece.item.tag(), piece.bytes, piece.starts_line, outlet)
        } else {
            outlet.write_all(piece.bytes)
        };
        let written = written.and_then(|()| outlet.flush());
        if written.is_ok() && piece.goes_on {
            outlets.holder = Some(piece.number);
        } else {
            self.released.notify_all();
        }
        match written {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                if piece.stream == Stream::Stdout {
                    outlets.broken = Some(error);
                    outlets.is_closed = true;
                }
                ControlFlow::Break(())
            }
        }
    }

    /// Waits until no job but this one is in the middle of a line.
    fn unheld(&self, number: Option<u64>) -> MutexGuard<'_, Outlets> {
        let held = |outlets: &mut Outlets| {
            let holder = outlets.holder;
            holder.is_some() && holder != number
        };
        self.released
            .wait_while(self.lock(), held)
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Outlets> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
