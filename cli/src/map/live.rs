//! Writes the lines of running commands as they come. Only one job writes at a time, and no line has text of two jobs.
//!
//! With an order, only the job whose outcome comes next writes as its lines come. The lines of later jobs are held until
//! it is their turn.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use ratchet_runtime::process::Stream;

use super::item::Item;
use super::line_tag::LineTag;
use super::print::tagged_lines;
use crate::spool::Spool;

/// Stdout and stderr of this process, which the running commands share.
///
/// A line that is too long to be held back is written in pieces. Until it has ended, no other job writes to either
/// stream, since both may be the same terminal. Meanwhile the threads of the other jobs wait, as they do for a slow
/// reader.
pub(crate) struct LiveOutput {
    /// What stands before each line.
    tag: LineTag,
    /// Both streams under one lock, since both may be the same terminal.
    streams: Mutex<Streams>,
    /// Notified when no job is inside a line any more.
    released: Condvar,
}

/// Both streams, and what is known of them.
struct Streams {
    stdout: Box<dyn Write + Send>,
    stderr: Box<dyn Write + Send>,
    /// The number of the job that is inside a line.
    line_owner: Option<u64>,
    /// The error that ended writing to stdout, until somebody takes it.
    error: Option<io::Error>,
    /// Whether nothing more is written to stdout.
    is_closed: bool,
    /// Whose turn it is, if jobs write in their order; `None` if each writes when it has a line.
    order: Option<LineOrder>,
}

/// Whose lines are written now, and the lines of jobs whose turn is later.
#[derive(Default)]
struct LineOrder {
    /// The number of the last job whose outcome was reported. Those after it write next.
    reported: u64,
    /// What the jobs after the next one have printed.
    held: BTreeMap<u64, HeldLines>,
}

/// Lines with their tags that wait for the turn of their job.
#[derive(Default)]
struct HeldLines {
    stdout: Spool,
    stderr: Spool,
    /// Whether the job is inside a line, on one of the two streams.
    is_line_open: bool,
}

/// Bytes of a job that are written in one go.
pub(super) struct OutputPiece<'a> {
    /// The stream of the command.
    pub(super) stream: Stream,
    /// The bytes. They end with a newline, unless the line is too long to be held back.
    pub(super) bytes: &'a [u8],
    /// The number of the job.
    pub(super) number: u64,
    /// The item that the command runs for.
    pub(super) item: &'a Item,
    /// Whether the bytes begin at the start of a line.
    pub(super) starts_line: bool,
    /// Whether the job is inside a line afterwards, on one of the two streams.
    pub(super) leaves_line_open: bool,
}

impl LiveOutput {
    /// Makes the output of a map whose lines have this tag.
    pub(crate) fn new(
        tag: LineTag,
        stdout: Box<dyn Write + Send>,
        stderr: Box<dyn Write + Send>,
    ) -> Self {
        let streams = Mutex::new(Streams {
            stdout,
            stderr,
            line_owner: None,
            error: None,
            is_closed: false,
            order: None,
        });
        Self {
            tag,
            streams,
            released: Condvar::new(),
        }
    }

    /// Makes jobs write in the order of their numbers.
    #[must_use]
    pub(crate) fn in_order(mut self) -> Self {
        let streams = self.streams.get_mut();
        streams.unwrap_or_else(PoisonError::into_inner).order = Some(LineOrder::default());
        self
    }

    /// Gives a job its turn, and writes what it has printed before. Its outcome is about to be reported.
    pub(super) fn begin_turn(&self, number: u64) {
        self.turn_to(number.saturating_sub(1));
    }

    /// Gives the job after this one its turn.
    pub(super) fn end_turn(&self, number: u64) {
        self.turn_to(number);
    }

    /// Notes that the outcomes up to this job are reported, and writes the held lines of the next job.
    fn turn_to(&self, reported: u64) {
        let mut streams = self.lock();
        let Some(order) = &mut streams.order else {
            return;
        };
        order.reported = order.reported.max(reported);
        let next = order.reported + 1;
        // What earlier jobs have left is written, too: a command that is killed may print after its outcome.
        let later = order.held.split_off(&(next + 1));
        let due = std::mem::replace(&mut order.held, later);
        for (number, lines) in due {
            streams.write_held(number, &lines);
        }
        self.released.notify_all();
    }

    /// Writes a message of ratchet to stderr.
    pub(super) fn note(&self, text: &[u8]) {
        // If stderr is closed, there is no place left for a message.
        let _ = self.wait_for_turn(None).stderr.write_all(text);
    }

    /// Takes the error that ended writing to stdout.
    pub(crate) fn take_error(&self) -> Option<io::Error> {
        self.lock().error.take()
    }

    /// Writes whole lines of an item. Breaks if its stream takes no more.
    pub(super) fn write_lines(
        &self,
        stream: Stream,
        lines: &[u8],
        number: u64,
        item: &Item,
    ) -> ControlFlow<()> {
        self.write(&OutputPiece {
            stream,
            bytes: lines,
            number,
            item,
            starts_line: true,
            leaves_line_open: false,
        })
    }

    /// Waits until no other job is inside a line, and writes a piece. Breaks if its stream takes no more.
    pub(super) fn write(&self, piece: &OutputPiece<'_>) -> ControlFlow<()> {
        let mut streams = self.lock();
        if let Some(order) = &mut streams.order
            && piece.number > order.reported + 1
        {
            let held = order.held.entry(piece.number).or_default();
            return held.take(piece, self.tag.of(piece.item, piece.number).as_deref());
        }
        drop(streams);
        let mut streams = self.wait_for_turn(Some(piece.number));
        // The owner is cleared before anything is written, because a job whose line cannot be written must not hold up
        // the others.
        streams.line_owner = None;
        if piece.stream == Stream::Stdout && streams.is_closed {
            self.released.notify_all();
            return ControlFlow::Break(());
        }
        let out: &mut dyn Write = match piece.stream {
            Stream::Stdout => &mut streams.stdout,
            Stream::Stderr => &mut streams.stderr,
        };
        let written = match self.tag.of(piece.item, piece.number) {
            Some(tag) => tagged_lines(&tag, piece.bytes, piece.starts_line, out),
            None => out.write_all(piece.bytes),
        };
        let written = written.and_then(|()| out.flush());
        if written.is_ok() && piece.leaves_line_open {
            streams.line_owner = Some(piece.number);
        } else {
            self.released.notify_all();
        }
        streams.noted(piece.stream, written)
    }

    /// Waits until no job but this one is inside a line.
    fn wait_for_turn(&self, number: Option<u64>) -> MutexGuard<'_, Streams> {
        let is_taken = |streams: &mut Streams| {
            let owner = streams.line_owner;
            owner.is_some() && owner != number
        };
        self.released
            .wait_while(self.lock(), is_taken)
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Streams {
    /// Writes the lines of a job that has got its turn.
    fn write_held(&mut self, number: u64, lines: &HeldLines) {
        self.line_owner = lines.is_line_open.then_some(number);
        if !self.is_closed {
            let written = lines.stdout.write_to(&mut self.stdout);
            let written = written.and_then(|()| self.stdout.flush());
            // The job hears of the error with its next line, and the report at its end.
            let _ = self.noted(Stream::Stdout, written);
        }
        let written = lines.stderr.write_to(&mut self.stderr);
        let written = written.and_then(|()| self.stderr.flush());
        let _ = self.noted(Stream::Stderr, written);
    }

    /// Notes an error of stdout, after which nothing more is written there. Breaks if nothing could be written.
    fn noted(&mut self, stream: Stream, written: io::Result<()>) -> ControlFlow<()> {
        match written {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                if stream == Stream::Stdout {
                    self.error = Some(error);
                    self.is_closed = true;
                }
                ControlFlow::Break(())
            }
        }
    }
}

impl HeldLines {
    /// Holds a piece of the output of a job.
    fn take(&mut self, piece: &OutputPiece<'_>, tag: Option<&[u8]>) -> ControlFlow<()> {
        self.is_line_open = piece.leaves_line_open;
        let spool = match piece.stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        match tag {
            Some(tag) => {
                let mut lines = Vec::new();
                if tagged_lines(tag, piece.bytes, piece.starts_line, &mut lines).is_err() {
                    return ControlFlow::Break(());
                }
                spool.push(&lines);
            }
            None => spool.push(piece.bytes),
        }
        ControlFlow::Continue(())
    }
}
