//! Collects the output of one command, and writes its lines as they come if that is wanted.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use ratchet_runtime::process::{OutputSink, Stream};
use ratchet_runtime::{Class, Context, Failure};

use super::captured_output::CapturedOutput;
use super::item::Item;
use super::live::{LiveOutput, OutputPiece};
use crate::spool::Spool;

/// How many bytes of a line that has not ended are held back. A longer line is written in pieces.
pub(super) const HELD_LINE_BYTES: usize = 256 * 1024;

/// The receiver of the output of one command.
///
/// Two threads may call it at once: the one that reads the pipes of the command, and the executor's loop, which drops
/// the attempt when it kills the command. The first one may hold the lock while it waits for a slow reader of stdout.
/// So the loop must never wait for the lock: it calls only `cut_off`, which gives up if the lock is taken.
pub(super) struct OutputCollector {
    /// The output to which lines are written as they come, with `--line-buffer`.
    pub(super) live: Option<Arc<LiveOutput>>,
    /// The context of the attempt, which keeps the excerpt of the output for the message of a failure.
    pub(super) context: Context,
    /// The number of the job.
    pub(super) number: u64,
    /// The item that the command runs for.
    pub(super) item: Arc<Item>,
    /// Whether the whole output is kept.
    pub(super) keeps: bool,
    /// How many bytes of stdout, and of stderr, become part of the result.
    pub(super) result_bytes: usize,
    /// What the command has printed so far.
    pub(super) collected: Mutex<CollectedOutput>,
}

/// What a command has printed so far.
#[derive(Default)]
pub(super) struct CollectedOutput {
    /// The whole stdout, if it is kept.
    pub(super) stdout: Spool,
    /// The whole stderr, if it is kept.
    pub(super) stderr: Spool,
    /// The beginning of the output, which becomes part of the result.
    pub(super) captured: CapturedOutput,
    /// The lines of stdout and stderr that have not ended.
    pub(super) lines: [PartialLine; 2],
    /// Whether further output is refused. The last line was ended with a newline then, and what a killed command still
    /// prints must not follow it.
    is_closed: bool,
}

/// The line of a stream that has not ended.
#[derive(Default)]
pub(super) struct PartialLine {
    /// The bytes that have not been written.
    pub(super) unwritten: Vec<u8>,
    /// Whether the beginning of the line has been written.
    is_begun: bool,
}

impl PartialLine {
    fn is_open(&self) -> bool {
        self.is_begun || !self.unwritten.is_empty()
    }
}

/// Where a piece of output ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PieceEnd {
    /// It ends with a whole line.
    AtNewline,
    /// Inside a line that is too long to be held back.
    InsideLine,
}

impl OutputCollector {
    /// Ends the last lines, and returns what was printed. With `--line-buffer` this may wait for the reader of stdout
    /// or stderr.
    pub(super) fn finish(&self) -> CollectedOutput {
        let mut collected = self.lock();
        collected.is_closed = true;
        if let Some(live) = &self.live {
            for stream in [Stream::Stdout, Stream::Stderr] {
                let line = &mut collected.lines[index(stream)];
                if line.is_open() {
                    // Without a newline, the next command's line would continue this one.
                    line.unwritten.push(b'\n');
                    // `LiveOutput` remembers an error of stdout and reports it at the end.
                    let _ = self.write(live, stream, &mut collected.lines, PieceEnd::AtNewline);
                }
            }
        }
        std::mem::replace(
            &mut *collected,
            CollectedOutput {
                is_closed: true,
                ..CollectedOutput::default()
            },
        )
    }

    /// Calls `finish` on a thread of the runtime that may block, if it may have to wait.
    pub(super) async fn finish_without_blocking(
        self: Arc<Self>,
    ) -> Result<CollectedOutput, Failure> {
        if !self.has_open_line() {
            return Ok(self.finish());
        }
        let finished = tokio::task::spawn_blocking(move || self.finish());
        finished
            .await
            .map_err(|error| Failure::new(Class::Crash, error.to_string()))
    }

    /// Whether the last line of a stream may still have to be ended. If the lock is taken, nobody can tell, so this is
    /// true.
    fn has_open_line(&self) -> bool {
        self.live.is_some()
            && match self.collected.try_lock() {
                Ok(collected) => collected.lines.iter().any(PartialLine::is_open),
                Err(_) => true,
            }
    }

    /// Takes the output so far of a command that is killed, without waiting. Returns nothing if the output is being
    /// written at this moment.
    pub(super) fn cut_off(&self) -> Option<CollectedOutput> {
        let mut collected = match self.collected.try_lock() {
            Ok(collected) => collected,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        collected.is_closed = true;
        Some(CollectedOutput {
            stdout: std::mem::take(&mut collected.stdout),
            stderr: std::mem::take(&mut collected.stderr),
            ..CollectedOutput::default()
        })
    }

    /// Writes the unwritten bytes of a stream's line.
    fn write(
        &self,
        live: &LiveOutput,
        stream: Stream,
        lines: &mut [PartialLine; 2],
        end: PieceEnd,
    ) -> ControlFlow<()> {
        let [stdout, stderr] = lines;
        let (current, other) = match stream {
            Stream::Stdout => (stdout, stderr),
            Stream::Stderr => (stderr, stdout),
        };
        let flow = live.write(&OutputPiece {
            stream,
            bytes: &current.unwritten,
            number: self.number,
            item: &self.item,
            starts_line: !current.is_begun,
            leaves_line_open: end == PieceEnd::InsideLine || other.is_begun,
        });
        current.unwritten.clear();
        current.unwritten.shrink_to(2 * HELD_LINE_BYTES);
        current.is_begun = end == PieceEnd::InsideLine;
        flow
    }

    /// Locks the output. This may wait for a slow reader.
    pub(super) fn lock(&self) -> MutexGuard<'_, CollectedOutput> {
        self.collected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl OutputSink for OutputCollector {
    fn receive(&self, stream: Stream, bytes: &[u8]) -> ControlFlow<()> {
        let mut collected = self.lock();
        if collected.is_closed {
            return ControlFlow::Break(());
        }
        self.context.printed(stream, bytes);
        collected.captured.push(stream, bytes, self.result_bytes);
        if self.keeps {
            match stream {
                Stream::Stdout => collected.stdout.push(bytes),
                Stream::Stderr => collected.stderr.push(bytes),
            }
        }
        let Some(live) = &self.live else {
            return ControlFlow::Continue(());
        };
        let end = bytes.iter().rposition(|byte| *byte == b'\n');
        let (whole, rest) = bytes.split_at(end.map_or(0, |end| end + 1));
        let index = index(stream);
        if !whole.is_empty() {
            collected.lines[index].unwritten.extend_from_slice(whole);
            let flow = self.write(live, stream, &mut collected.lines, PieceEnd::AtNewline);
            if flow.is_break() {
                return flow;
            }
        }
        collected.lines[index].unwritten.extend_from_slice(rest);
        if collected.lines[index].unwritten.len() < HELD_LINE_BYTES {
            return ControlFlow::Continue(());
        }
        self.write(live, stream, &mut collected.lines, PieceEnd::InsideLine)
    }
}

fn index(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}
