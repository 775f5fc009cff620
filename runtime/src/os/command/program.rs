//! Runs one program on a thread of its own, from its start until it is reaped.

use std::io::{self, PipeReader, Read};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};
use tokio::sync::oneshot;

use super::input_feed::{InputFeed, InputRest};
use crate::os::exit::reap_with_cost;
use crate::os::group::ProcessGroup;
use crate::os::platform;
use crate::os::shortage::RunningProcesses;
use crate::os::start::{PreparedProcess, StartedProcess};
use crate::os::terminal::{
    STOP_CHECK_INTERVAL, TerminalCheck, TerminalGuard, is_stopped_by_terminal,
};
use crate::os::{Exit, Keeper, OutputSink, ProcessCost, Stream, groups};
use crate::suspension::working_now;

/// How long the pipes of a program that has ended are read if a descendant still holds them open.
const DRAIN_LIMIT: Duration = Duration::from_millis(200);

/// How often a program that has the terminal is checked for a stop. A user who has typed Ctrl-Z waits for this check.
const TERMINAL_CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// One run of a program, as its thread gets it: what to start, where the output goes, and where to report the end.
pub(super) struct ProgramRun {
    /// The program to start, with everything that was allocated for it.
    pub(super) process: PreparedProcess,
    /// The input that is written to its stdin.
    pub(super) input: Option<InputRest>,
    /// Whether the program gets the terminal.
    pub(super) terminal: bool,
    /// The keeper that lists the program's group.
    pub(super) keeper: Option<Keeper>,
    /// The count of running processes. A start that fails because of a shortage waits for their ends.
    pub(super) starts: Arc<RunningProcesses>,
    /// The state of the program, through which its waiter signals it.
    pub(super) program: Arc<Program>,
    /// The receiver of the output.
    pub(super) sink: Arc<dyn OutputSink>,
    /// Sends the end of the program, or the error of its start.
    pub(super) reply: oneshot::Sender<io::Result<Reaped>>,
}

/// The result of a program that was reaped.
pub(super) struct Reaped {
    /// The exit code or the signal.
    pub(super) exit: Exit,
    /// What it has cost, if the system reports that.
    pub(super) cost: Option<ProcessCost>,
    /// The program's group, if a member of it lives on.
    pub(super) left: Option<ProcessGroup>,
    /// The program was killed because the terminal had stopped it.
    pub(super) wanted_terminal: bool,
    /// The program was killed because reading the file for its stdin failed with this error.
    pub(super) input_error: Option<io::ErrorKind>,
    /// The program had the terminal, and Ctrl-C ended it.
    pub(super) interrupted: bool,
}

/// The state of a running program that two threads share: the thread that waits for it signals it, and its own thread
/// reaps it.
///
/// The lock keeps a signal from reaching another process: once a process is reaped, the system can give its number to a
/// new one.
#[derive(Debug, Default)]
pub(super) struct Program(Mutex<ProgramState>);

/// The group of a program, and the requests that came before it had one.
#[derive(Debug, Default)]
struct ProgramState {
    /// The group while the program runs.
    group: Option<ProcessGroup>,
    /// When the program was started, by the clock of work.
    began: Option<Instant>,
    /// The program was asked to end. If it has not started yet, it gets the signal at its start.
    asked: bool,
    /// The program was killed. If it has not started yet, it is not started, or is killed at its start.
    killed: bool,
    /// The program has ended and was reaped.
    reaped: bool,
}

impl Program {
    /// Asks the program to end, now or at its start.
    pub(super) fn ask(&self) {
        self.with(|state| {
            state.asked = true;
            if let Some(group) = &state.group {
                group.terminate();
            }
        });
    }

    /// Kills the program, now or at its start.
    pub(super) fn kill(&self) {
        self.with(|state| {
            state.killed = true;
            if let Some(group) = &state.group {
                group.kill();
            }
        });
    }

    /// Returns the process id of the program while it runs.
    pub(super) fn number(&self) -> Option<u32> {
        self.with(|state| state.group.as_ref().map(ProcessGroup::number))
    }

    /// Whether the program has ended, even if its thread has not noticed yet.
    pub(super) fn has_ended(&self) -> bool {
        self.with(|state| {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            // The program is not reaped, so its process id is still its own.
            let has_ended = |group: &ProcessGroup| {
                matches!(waitid(WaitId::Pid(group.leader()), options), Ok(Some(_)))
            };
            state.reaped || state.group.as_ref().is_some_and(has_ended)
        })
    }

    fn is_killed(&self) -> bool {
        self.with(|state| state.killed)
    }

    /// Sets the group of the program that was just started, and sends it the signals that were requested before.
    fn begin(&self, group: ProcessGroup) {
        self.with(|state| {
            if state.killed {
                group.kill();
            } else if state.asked {
                group.terminate();
            }
            state.group = Some(group);
            state.began = Some(working_now());
        });
    }

    /// Returns when the program was started, by the clock of work.
    pub(super) fn began(&self) -> Option<Instant> {
        self.with(|state| state.began)
    }

    /// Reaps a child that has ended.
    fn reap(&self, child: Pid) -> Reaped {
        self.with(|state| {
            let (exit, cost) = reap_with_cost(child);
            state.reaped = true;
            let left = state.group.take().and_then(ProcessGroup::unless_empty);
            Reaped {
                exit,
                cost,
                left,
                wanted_terminal: false,
                input_error: None,
                interrupted: false,
            }
        })
    }

    fn with<T>(&self, action: impl FnOnce(&mut ProgramState) -> T) -> T {
        action(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ProgramRun {
    /// Runs the program to its end. `chunk` is the buffer to read into. Returns whether the program was started.
    pub(super) fn carry_out(mut self, chunk: &mut [u8]) -> bool {
        let result = self.run(chunk);
        let was_started = result.is_ok();
        // An error means that the run is not awaited any more. The waiter has killed the program then, and dropping the
        // rest kills what the program has left behind.
        let _ = self.reply.send(result);
        was_started
    }

    /// Starts the program, feeds its stdin, passes its output to the sink, and reaps it.
    fn run(&mut self, chunk: &mut [u8]) -> io::Result<Reaped> {
        // The terminal is given back after the program was reaped: locals are dropped in reverse order.
        let mut terminal = TerminalWatch::new(self.terminal)?;
        let start = groups::begin_start();
        if self.program.is_killed() {
            // The program may have been killed while it waited for the terminal, or for the end of a suspension.
            return Err(io::ErrorKind::Interrupted.into());
        }
        let started = self.process.start(self.keeper.as_ref())?;
        let StartedProcess {
            leader,
            ended,
            listing,
            ..
        } = started;
        self.program.begin(ProcessGroup::led_by(leader, listing));
        drop(start);
        terminal.begin(leader);
        self.starts.started();
        let mut guard = ReapGuard {
            program: &self.program,
            starts: &self.starts,
            child: leader,
            reaped: false,
        };
        let mut outputs = [
            OutputStream::of(Stream::Stdout, started.stdout),
            OutputStream::of(Stream::Stderr, started.stderr),
        ];
        let mut input_error = None;
        let mut taken = |fed: io::Result<Option<InputFeed>>| {
            fed.unwrap_or_else(|error| {
                input_error = Some(error.kind());
                self.program.kill();
                None
            })
        };
        let mut feed = match (started.stdin, self.input.take()) {
            (Some(pipe), Some(input)) => taken(InputFeed::begin(pipe, input)),
            _ => None,
        };
        loop {
            let watched = [
                Some((ended.as_fd(), PollFlags::IN)),
                feed.as_ref().map(|feed| (feed.as_fd(), PollFlags::OUT)),
            ];
            let [has_ended, takes_input] =
                read_outputs(&mut outputs, watched, terminal.interval, &*self.sink, chunk);
            if has_ended {
                break;
            }
            if takes_input && let Some(waiting) = feed {
                feed = taken(waiting.write());
            }
            if terminal.has_stopped(leader) {
                self.program.kill();
            }
        }
        drain_outputs(&mut outputs, &*self.sink, chunk);
        let reaped = guard.reap();
        Ok(Reaped {
            wanted_terminal: terminal.was_wanted,
            input_error,
            interrupted: terminal.guard.is_some()
                && reaped.exit == Exit::Signal(Signal::INT.as_raw()),
            ..reaped
        })
    }
}

/// Reads what is left in the pipes of a program that has ended. A descendant can hold them open, so they are read for a
/// limited time.
fn drain_outputs(outputs: &mut [OutputStream; 2], sink: &dyn OutputSink, chunk: &mut [u8]) {
    let deadline = working_now() + DRAIN_LIMIT;
    while outputs.iter().any(|output| output.pipe.is_some()) {
        let left = deadline.saturating_duration_since(working_now());
        if left.is_zero() {
            break;
        }
        read_outputs(outputs, [None; 2], Some(left), sink, chunk);
    }
    // This thread may come late, because its sink has blocked it or this process was stopped. What is in the pipes
    // was printed before that, and counts.
    for output in outputs {
        output.read_rest(sink, chunk);
    }
}

/// Checks from time to time whether the terminal has stopped a program.
struct TerminalWatch {
    /// Gives the terminal back; `None` for a program that did not get it.
    guard: Option<TerminalGuard>,
    /// How often to check; `None` without a terminal, which then stops nothing.
    interval: Option<Duration>,
    checked: Instant,
    /// Whether the terminal has stopped the program, because the program wanted it.
    was_wanted: bool,
}

impl TerminalWatch {
    /// Prepares the watch of a program, which gets the terminal or not.
    fn new(gets_terminal: bool) -> io::Result<Self> {
        let guard = gets_terminal.then(TerminalGuard::take).transpose()?;
        let interval = if gets_terminal {
            TERMINAL_CHECK_INTERVAL
        } else {
            STOP_CHECK_INTERVAL
        };
        Ok(Self {
            guard,
            interval: platform::has_terminal().then_some(interval),
            checked: working_now(),
            was_wanted: false,
        })
    }

    /// Gives the program, which has just started, the terminal if it is to get it.
    fn begin(&mut self, leader: Pid) {
        if let Some(guard) = &mut self.guard {
            guard.begin(leader);
        }
        self.checked = working_now();
    }

    /// Checks, if a check is due, whether the program has been stopped. Returns whether that is so for the first time.
    fn has_stopped(&mut self, leader: Pid) -> bool {
        let since = working_now().saturating_duration_since(self.checked);
        if self.was_wanted || self.interval.is_none_or(|interval| since < interval) {
            return false;
        }
        self.checked = working_now();
        self.was_wanted = match &mut self.guard {
            Some(guard) => guard.check(leader) == TerminalCheck::Lost,
            None => is_stopped_by_terminal(leader),
        };
        self.was_wanted
    }
}

/// Makes sure that a child is reaped. If it is dropped before the child has ended, as when a sink panics, it kills and
/// reaps the child, because nothing else would.
struct ReapGuard<'a> {
    program: &'a Program,
    /// Notified of the end, so that starts that failed because of a shortage are retried.
    starts: &'a RunningProcesses,
    child: Pid,
    /// The child was reaped, so its number may belong to another process.
    reaped: bool,
}

impl ReapGuard<'_> {
    fn reap(&mut self) -> Reaped {
        self.reaped = true;
        self.program.reap(self.child)
    }
}

impl Drop for ReapGuard<'_> {
    fn drop(&mut self) {
        if !self.reaped {
            self.program.kill();
            // The other members of its group were killed with it.
            drop(self.reap());
        }
        self.starts.ended();
    }
}

/// One of the two output pipes of a program.
struct OutputStream {
    stream: Stream,
    /// The pipe; `None` once it has ended or the sink wants no more.
    pipe: Option<PipeReader>,
}

impl OutputStream {
    fn of(stream: Stream, pipe: OwnedFd) -> Self {
        Self {
            stream,
            pipe: Some(pipe.into()),
        }
    }

    /// Reads once, and returns the number of bytes. The caller has found the pipe readable, so this does not block.
    fn read(&mut self, sink: &dyn OutputSink, chunk: &mut [u8]) -> usize {
        let Some(pipe) = &mut self.pipe else { return 0 };
        let (bytes, flow) = match pipe.read(chunk) {
            Ok(0) => (0, ControlFlow::Break(())),
            Ok(bytes) => (bytes, sink.receive(self.stream, &chunk[..bytes])),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                (0, ControlFlow::Continue(()))
            }
            // A pipe that cannot be read is treated like one that has ended.
            Err(_) => (0, ControlFlow::Break(())),
        };
        if flow.is_break() {
            self.pipe = None;
        }
        bytes
    }

    /// Reads what is in the pipe now, and no more: a descendant of the program may print forever.
    fn read_rest(&mut self, sink: &dyn OutputSink, chunk: &mut [u8]) {
        let Some(pipe) = &self.pipe else { return };
        // An error means that nothing can be read.
        let mut left = rustix::io::ioctl_fionread(pipe).unwrap_or(0);
        while left > 0 && self.pipe.is_some() {
            left = left.saturating_sub(self.read(sink, chunk) as u64);
        }
    }
}

/// Waits until there is something to read or one of the other descriptors is ready, then reads. Returns which others
/// are ready.
fn read_outputs(
    outputs: &mut [OutputStream; 2],
    others: [Option<(BorrowedFd<'_>, PollFlags)>; 2],
    limit: Option<Duration>,
    sink: &dyn OutputSink,
    chunk: &mut [u8],
) -> [bool; 2] {
    let [stdout, stderr] = outputs.each_ref().map(|output| {
        let pipe = output.pipe.as_ref();
        pipe.map(|pipe| (pipe.as_fd(), PollFlags::IN))
    });
    let [first, second] = others;
    let [from_stdout, from_stderr, first, second] = news([stdout, stderr, first, second], limit);
    for (output, has_news) in outputs.iter_mut().zip([from_stdout, from_stderr]) {
        if has_news {
            output.read(sink, chunk);
        }
    }
    [first, second]
}

/// Waits until one of these descriptors is ready, and returns which are.
fn news(watched: [Option<(BorrowedFd<'_>, PollFlags)>; 4], limit: Option<Duration>) -> [bool; 4] {
    let mut list: Vec<PollFd<'_>> = watched
        .iter()
        .flatten()
        .map(|(descriptor, flags)| PollFd::from_borrowed_fd(*descriptor, *flags))
        .collect();
    let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
    if poll(&mut list, limit.as_ref()).is_err() {
        // The call was interrupted, or the kernel is out of memory for a moment. The caller tries again.
        return [false; 4];
    }
    let mut polled = list.iter().map(|one| !one.revents().is_empty());
    watched.map(|one| one.is_some() && polled.next().unwrap_or(false))
}
