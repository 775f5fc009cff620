//! One program, from its start until it is reaped, on a thread of its own.

use std::io::{self, PipeReader, Read};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::process::group::ProcessGroup;
use crate::process::spawn::number;
use crate::process::system::exit_notice;
use crate::process::{Exit, Keeper, OutputSink, Stream};

/// How long a program that has ended may still be heard, if somebody holds its pipes.
const DRAIN_LIMIT: Duration = Duration::from_millis(200);

/// What is to be run, where its output goes, and who waits for its end.
pub(super) struct Order {
    pub(super) command: Command,
    pub(super) keeper: Option<Keeper>,
    pub(super) program: Arc<Program>,
    pub(super) sink: Arc<dyn OutputSink>,
    pub(super) reply: oneshot::Sender<io::Result<Reaped>>,
}

/// What is left of a program.
pub(super) struct Reaped {
    pub(super) exit: Exit,
    /// Its group, if somebody in it lives on.
    pub(super) left: Option<ProcessGroup>,
}

/// A program as both sides know it: who waits for it signals it, the thread reaps it.
///
/// The lock is what keeps a signal from meeting another process: the number of one that is reaped is
/// free to be given to the next.
#[derive(Debug, Default)]
pub(super) struct Program(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// There while it runs.
    group: Option<ProcessGroup>,
    /// What it is to get at its start, if that comes later.
    asked: bool,
    killed: bool,
}

impl Program {
    pub(super) fn ask(&self) {
        self.with(|state| {
            state.asked = true;
            if let Some(group) = &state.group {
                group.terminate();
            }
        });
    }

    pub(super) fn kill(&self) {
        self.with(|state| {
            state.killed = true;
            if let Some(group) = &state.group {
                group.kill();
            }
        });
    }

    /// Its number, while it runs.
    pub(super) fn number(&self) -> Option<u32> {
        self.with(|state| state.group.as_ref().map(ProcessGroup::number))
    }

    fn is_killed(&self) -> bool {
        self.with(|state| state.killed)
    }

    fn begin(&self, group: ProcessGroup) {
        self.with(|state| {
            if state.killed {
                group.kill();
            } else if state.asked {
                group.terminate();
            }
            state.group = Some(group);
        });
    }

    /// Reaps a child that has ended.
    fn reap(&self, child: &mut Child) -> Reaped {
        self.with(|state| {
            let exit = child.wait().map_or(Exit::Unknown, Exit::from);
            let left = state.group.take().and_then(ProcessGroup::unless_empty);
            Reaped { exit, left }
        })
    }

    fn with<T>(&self, action: impl FnOnce(&mut State) -> T) -> T {
        action(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Order {
    /// Runs it to its end; `chunk` is for reading into.
    pub(super) fn carry_out(mut self, chunk: &mut [u8]) {
        let result = self.run(chunk);
        // Who has stopped waiting has killed it, and dropping what is left kills that too.
        let _ = self.reply.send(result);
    }

    fn run(&mut self, chunk: &mut [u8]) -> io::Result<Reaped> {
        if self.program.is_killed() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let child = self.command.spawn()?;
        // A process that was just started has a number, and one that the system calls take.
        let leader = number(child.id()).ok_or(io::ErrorKind::InvalidData)?;
        self.program
            .begin(ProcessGroup::led_by(leader, self.keeper.take()));
        let mut ward = Ward {
            program: &self.program,
            child,
            reaped: false,
        };
        // Without descriptors it cannot be watched.
        let ended = exit_notice(leader)?;
        let mut outputs = [
            Output::of(Stream::Stdout, ward.child.stdout.take().map(OwnedFd::from)),
            Output::of(Stream::Stderr, ward.child.stderr.take().map(OwnedFd::from)),
        ];
        while !hear(&mut outputs, Some(&ended), None, &*self.sink, chunk) {}
        // Its end is what counts; but what it has printed is still in the pipes, and somebody that it
        // has started may hold them.
        let deadline = Instant::now() + DRAIN_LIMIT;
        while outputs.iter().any(|output| output.pipe.is_some()) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            hear(&mut outputs, None, Some(left), &*self.sink, chunk);
        }
        Ok(ward.reap())
    }
}

/// A child that runs. Dropped before its end, as when a sink panics, it is killed and reaped: nobody would do so later.
struct Ward<'a> {
    program: &'a Program,
    child: Child,
    reaped: bool,
}

impl Ward<'_> {
    fn reap(&mut self) -> Reaped {
        self.reaped = true;
        self.program.reap(&mut self.child)
    }
}

impl Drop for Ward<'_> {
    fn drop(&mut self) {
        if !self.reaped {
            self.program.kill();
            // Whoever else is in its group was killed with it.
            drop(self.reap());
        }
    }
}

/// One of the two pipes that a program prints into.
struct Output {
    stream: Stream,
    pipe: Option<PipeReader>,
}

impl Output {
    fn of(stream: Stream, pipe: Option<OwnedFd>) -> Self {
        Self {
            stream,
            pipe: pipe.map(PipeReader::from),
        }
    }

    /// Reads once, which does not block once the pipe was found readable.
    fn read(&mut self, sink: &dyn OutputSink, chunk: &mut [u8]) {
        let Some(pipe) = &mut self.pipe else { return };
        let flow = match pipe.read(chunk) {
            Ok(0) => ControlFlow::Break(()),
            Ok(bytes) => sink.receive(self.stream, &chunk[..bytes]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => ControlFlow::Continue(()),
            // A pipe that cannot be read has no more to say than one that has ended.
            Err(_) => ControlFlow::Break(()),
        };
        if flow.is_break() {
            self.pipe = None;
        }
    }
}

/// Waits until there is something to read, reads it, and says whether the program has ended.
fn hear(
    outputs: &mut [Output; 2],
    ended: Option<&OwnedFd>,
    limit: Option<Duration>,
    sink: &dyn OutputSink,
    chunk: &mut [u8],
) -> bool {
    let pipes = outputs.each_ref().map(|output| output.pipe.as_ref());
    let watched = [
        pipes[0].map(AsFd::as_fd),
        pipes[1].map(AsFd::as_fd),
        ended.map(AsFd::as_fd),
    ];
    let [from_stdout, from_stderr, has_ended] = news(watched, limit);
    for (output, has_news) in outputs.iter_mut().zip([from_stdout, from_stderr]) {
        if has_news {
            output.read(sink, chunk);
        }
    }
    has_ended
}

/// Waits until one of these has something to say, and tells which have.
fn news(watched: [Option<BorrowedFd<'_>>; 3], limit: Option<Duration>) -> [bool; 3] {
    let mut list: Vec<PollFd<'_>> = watched
        .iter()
        .flatten()
        .map(|descriptor| PollFd::from_borrowed_fd(*descriptor, PollFlags::IN))
        .collect();
    let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
    if poll(&mut list, limit.as_ref()).is_err() {
        // Interrupted, or the kernel is out of memory for a moment: the caller asks again.
        return [false; 3];
    }
    let mut polled = list.iter().map(|one| !one.revents().is_empty());
    watched.map(|one| one.is_some() && polled.next().unwrap_or(false))
}
