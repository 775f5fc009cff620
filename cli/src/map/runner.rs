//! Runs the commands of a map, and keeps what they print until their jobs have ended.
//!
//! A result line has room for text; what a command prints is bytes, and as many as it likes. So the
//! output takes its own way: the runner puts it on a shelf under the job's id, and whoever hears of the
//! outcome takes it from there. A failed attempt's output is replaced by the next one's.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use ratchet_runtime::process::{
    CommandEnd, CommandLimits, CommandRunner, Exit, OutputSink, ProcessConfig, StopCause, Stream,
    Tail,
};
use ratchet_runtime::{Attempt, Class, Context, Failure, JobKey, Payload, Runner, Work};

use super::items::Item;
use super::print::tagged_lines;
use super::printout::Printout;
use super::spool::Spool;

/// How much of the end of stderr goes with a failure.
const STDERR_BYTES: usize = 16 * 1024;

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

    /// The item that a job was made of, until the job has ended.
    pub(crate) fn item(&self, id: &JobKey) -> Option<Vec<u8>> {
        self.label(id).map(|(_, item)| item.joined())
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
            item: Arc::clone(&item),
            keeps: self.keeps || self.live.is_none(),
            tells: self.tells,
            kept: Mutex::default(),
        });
        let (started, start) = ((self.clock)(), tokio::time::Instant::now());
        let result = self
            .commands
            .run_into(
                config,
                limits,
                context.cancelled(),
                Arc::<MapSink>::clone(&sink) as _,
            )
            .await;
        let ran = start.elapsed();
        let kept = finish(sink).await?;
        let exit = match &result {
            Ok(end) => end.ended.exit,
            // As shells have it.
            Err(_) => Exit::Code(127),
        };
        self.shelf.put(
            &job.id,
            Printed {
                number,
                item,
                command: words(config),
                started,
                ran,
                exit,
                stdout: kept.stdout,
                stderr: kept.stderr,
            },
        );
        match result {
            Ok(end) => judge(&end, ran, &kept.printout, kept.tail.as_ref()),
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

fn judge(
    end: &CommandEnd,
    ran: Duration,
    printout: &Printout,
    tail: Option<&Tail>,
) -> Result<Payload, Failure> {
    let exit = end.ended.exit;
    let failure = match end.stopped {
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
    };
    Err(failure.stderr(tail.map(Tail::to_text).unwrap_or_default()))
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
    tail: Option<Tail>,
    /// The beginnings of lines whose ends have not come yet.
    begun: [Vec<u8>; 2],
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
    /// Whether the last line of a stream is still to be written.
    fn has_rest(&self) -> bool {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        self.live.is_some() && kept.begun.iter().any(|begun| !begun.is_empty())
    }

    fn finish(&self) -> Gathered {
        let mut kept =
            std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(live) = &self.live {
            for (stream, begun) in [Stream::Stdout, Stream::Stderr]
                .into_iter()
                .zip(&mut kept.begun)
            {
                if !begun.is_empty() {
                    // Without a newline, the next command's line would go on where it ended.
                    begun.push(b'\n');
                    // What cannot be written is known to `Live`, which says so at the end.
                    let _ = live.write(stream, begun, &self.item);
                }
            }
        }
        kept
    }
}

impl OutputSink for MapSink {
    fn receive(&self, stream: Stream, bytes: &[u8]) -> ControlFlow<()> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if stream == Stream::Stderr {
            kept.tail
                .get_or_insert_with(|| Tail::new(STDERR_BYTES))
                .push(bytes);
        }
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
        let begun = &mut kept.begun[usize::from(stream == Stream::Stderr)];
        let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') else {
            begun.extend_from_slice(bytes);
            return ControlFlow::Continue(());
        };
        let (whole, rest) = bytes.split_at(end + 1);
        begun.extend_from_slice(whole);
        let flow = live.write(stream, begun, &self.item);
        begun.clear();
        begun.extend_from_slice(rest);
        flow
    }
}

/// Where lines go as they come: one writer at a time, whole lines only.
pub(crate) struct Live {
    tag: bool,
    out: Mutex<Ends>,
}

struct Ends {
    stdout: Box<dyn Write + Send>,
    stderr: Box<dyn Write + Send>,
    /// Why nothing more can be written to stdout.
    broken: Option<io::Error>,
}

impl Live {
    pub(crate) fn new(
        tag: bool,
        stdout: Box<dyn Write + Send>,
        stderr: Box<dyn Write + Send>,
    ) -> Self {
        let out = Mutex::new(Ends {
            stdout,
            stderr,
            broken: None,
        });
        Self { tag, out }
    }

    /// Something that is said of an output.
    pub(super) fn note(&self, text: &[u8]) {
        // There is nobody left to tell where stderr is closed.
        let _ = self.lock().stderr.write_all(text);
    }

    /// Why stdout could not be written any more, if it could not.
    pub(crate) fn broken(&self) -> Option<io::Error> {
        self.lock().broken.take()
    }

    /// Writes lines of an item, unless stdout takes no more.
    pub(super) fn write(&self, stream: Stream, lines: &[u8], item: &Item) -> ControlFlow<()> {
        let mut ends = self.lock();
        if stream == Stream::Stdout && ends.broken.is_some() {
            return ControlFlow::Break(());
        }
        let end: &mut dyn Write = match stream {
            Stream::Stdout => &mut ends.stdout,
            Stream::Stderr => &mut ends.stderr,
        };
        let written = if self.tag {
            tagged_lines(&item.joined(), lines, true, end)
        } else {
            end.write_all(lines)
        };
        match written.and_then(|()| end.flush()) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                if stream == Stream::Stdout {
                    ends.broken = Some(error);
                }
                ControlFlow::Break(())
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Ends> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
