//! Writes the lines of running commands as they come. Only one job writes at a time, and no line has text of two jobs.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use ratchet_runtime::process::Stream;

use super::item::Item;
use super::line_tag::LineTag;
use super::print::tagged_lines;

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
        });
        Self {
            tag,
            streams,
            released: Condvar::new(),
        }
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
        match written {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                if piece.stream == Stream::Stdout {
                    streams.error = Some(error);
                    streams.is_closed = true;
                }
                ControlFlow::Break(())
            }
        }
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
