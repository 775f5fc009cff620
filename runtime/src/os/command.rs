//! Runs a program once and returns its output.
//!
//! ```text
//! run() --ProgramRun--> a thread of its own --bytes--> OutputSink
//!   | asks, kills          | starts it, reads, reaps
//!   '------> Program <-----'
//! ```
//!
//! Starting a process blocks the thread that does it until the program is loaded, so programs that run at the same time
//! are started on separate threads. A thread stays with its program: it needs no registration with an event loop, and a
//! sink may block it for as long as it likes. What has to happen in time, which is asking and killing, does not happen
//! on this thread.
//!
//! A runner can also start its programs through a [`ProcessManager`], for example on another host (`via_manager.rs`).
//! The thread of a program then only passes its output on.

mod input_feed;
mod memory;
mod output_run;
mod program;
mod threads;
mod via_manager;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use self::input_feed::InputRest;
pub use self::memory::MemoryLimits;
use self::memory::{Measured, MemoryWatch, WatchedMemory, exceeded};
use self::program::{Program, ProgramRun, Reaped};
use self::threads::{ThreadRun, Threads};
use super::output::Capture;
use super::program_input::OpenedInput;
use super::shortage::RunningProcesses;
use super::start::PreparedProcess;
use super::terminal::pass_on_interrupt;
use super::{
    Captured, Ended, Ending, Exit, Keeper, OutputSink, ProcessConfig, ProcessCost, ProcessError,
    ProcessManager,
};
use crate::stop_clock::{StopAction, StopClock, StopLimits, StopMethod, StopReason};
use crate::suspension::{until, working_now};

/// How long a killed process may take until it can be reaped. Only the kernel can delay it.
const REAP_LIMIT: Duration = Duration::from_secs(2);

/// The limits of one run of a program: its time, and how much of its output is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandLimits {
    /// How long the program may run before it is asked to end.
    pub soft: Option<Duration>,
    /// How long the program may run before it is killed.
    pub hard: Option<Duration>,
    /// How long the program may take to end once it was asked.
    pub grace: Duration,
    /// How many bytes to keep of each of stdout and stderr.
    pub capture_bytes: usize,
    /// How much memory the program may use together with all that it has started.
    pub memory: MemoryLimits,
}

impl Default for CommandLimits {
    fn default() -> Self {
        Self {
            soft: None,
            hard: None,
            grace: Duration::from_secs(10),
            capture_bytes: 16 * 1024 * 1024,
            memory: MemoryLimits::default(),
        }
    }
}

/// The reason for which a program was made to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopCause {
    /// The program ran for longer than its soft or hard limit.
    Timeout,
    /// The run of the program was cancelled.
    Cancelled,
    /// The program used more memory than its soft or hard limit allows, together with all that it had started.
    Memory {
        /// How many bytes were used.
        used: u64,
        /// The limit that was exceeded.
        limit: u64,
    },
    /// The system stopped the program because it read from the terminal or changed it in the background, so it was
    /// killed.
    Terminal,
    /// The file for its stdin could not be read to the end, so it was killed.
    InputFailed(std::io::ErrorKind),
}

impl From<StopReason> for StopCause {
    fn from(reason: StopReason) -> Self {
        match reason {
            StopReason::Time(_) | StopReason::Silence(_) => Self::Timeout,
            StopReason::Unwanted => Self::Cancelled,
        }
    }
}

/// How a program ended, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandEnd {
    /// How the process ended.
    pub ended: Ended,
    /// The reason for which the program was made to end, if it was.
    pub stopped: Option<StopCause>,
    /// What the program has cost; `None` if it was not reaped here, or the system does not report it.
    pub cost: Option<ProcessCost>,
}

impl StopCause {
    /// The failure message for a program that the terminal stopped.
    pub const WANTED_TERMINAL: &str = "it was stopped because it wants the terminal (/dev/tty), which jobs do not get, \
         and was killed: give it what it asks for by an option, a variable or a file, or give it the terminal (--tty)";
}

impl CommandEnd {
    /// Makes the end of a program that was cancelled while it waited for its start.
    fn never_started() -> Self {
        Self {
            ended: Ended {
                exit: Exit::Unknown,
                ending: Ending::Asked,
                left_behind: false,
                survivors: Vec::new(),
            },
            stopped: Some(StopCause::Cancelled),
            cost: None,
        }
    }

    /// Whether the program ended by itself, with exit code 0.
    pub fn is_success(&self) -> bool {
        self.ended.exit.is_success() && self.stopped.is_none()
    }
}

/// The end of a program, and its output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOutput {
    /// How the process ended.
    pub ended: Ended,
    /// The reason for which the program was made to end, if it was.
    pub stopped: Option<StopCause>,
    /// The beginning of the program's stdout.
    pub stdout: Captured,
    /// The beginning of the program's stderr.
    pub stderr: Captured,
}

impl CommandOutput {
    /// Whether the program ended by itself, with exit code 0.
    pub fn is_success(&self) -> bool {
        self.ended.exit.is_success() && self.stopped.is_none()
    }
}

/// Runs programs until they end, each on a thread of its own.
///
/// A program's stdin is empty, unless it has an [input](ProcessConfig::stdin). Processes that it leaves running in its
/// group are killed when it ends. Dropping the future of a run kills the program.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use ratchet_runtime::process::{CommandLimits, CommandRunner, ProcessConfig};
///
/// let runner = CommandRunner::new(None);
/// let hello = ProcessConfig::new("echo").arg("hello");
/// let output = runner.run(&hello, CommandLimits::default(), &Default::default()).await?;
/// assert!(output.is_success());
/// assert_eq!(output.stdout.to_text(), "hello\n");
/// # Ok::<(), ratchet_runtime::process::ProcessError>(())
/// # }).unwrap();
/// ```
///
/// Cheap to clone; all clones share their threads. A thread that has had no program to run for a while ends.
#[derive(Clone)]
pub struct CommandRunner {
    /// The manager that starts the programs; `None` if the threads start them.
    manager: Option<Arc<dyn ProcessManager>>,
    keeper: Option<Keeper>,
    threads: Arc<Threads>,
    /// Notifies a start that failed because of a shortage when a process of this runner has ended.
    starts: Arc<RunningProcesses>,
    /// Measures the programs that have memory limits.
    memory: Arc<MemoryWatch>,
}

impl fmt::Debug for CommandRunner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandRunner")
            .field("is_through_manager", &self.manager.is_some())
            .field("keeper", &self.keeper)
            .finish_non_exhaustive()
    }
}

impl CommandRunner {
    /// Makes a runner. If this process is killed, the keeper kills the programs that run.
    pub fn new(keeper: Option<Keeper>) -> Self {
        Self {
            manager: None,
            keeper,
            threads: Arc::default(),
            starts: Arc::default(),
            memory: Arc::default(),
        }
    }

    /// Makes a runner that starts its programs through a process manager, which may be that of another host.
    ///
    /// If the programs run on this system, [`new`](Self::new) is faster. A program with the
    /// [terminal](super::ProgramInput::Terminal) is refused.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use std::sync::Arc;
    /// use ratchet_runtime::process::{CommandLimits, CommandRunner, LocalProcesses, ProcessConfig};
    ///
    /// let runner = CommandRunner::through(Arc::new(LocalProcesses::start()));
    /// let hello = ProcessConfig::new("echo").arg("hello");
    /// let output = runner.run(&hello, CommandLimits::default(), &Default::default()).await?;
    /// assert_eq!(output.stdout.to_text(), "hello\n");
    /// # Ok::<(), ratchet_runtime::process::ProcessError>(())
    /// # }).unwrap();
    /// ```
    pub fn through(manager: Arc<dyn ProcessManager>) -> Self {
        Self {
            manager: Some(manager),
            ..Self::new(None)
        }
    }

    /// Runs a program until it ends, and keeps its output up to a limit.
    pub async fn run(
        &self,
        config: &ProcessConfig,
        limits: CommandLimits,
        cancel: &CancellationToken,
    ) -> Result<CommandOutput, ProcessError> {
        let capture = Arc::new(Capture::new(limits.capture_bytes));
        let sink = Arc::<Capture>::clone(&capture);
        let CommandEnd { ended, stopped, .. } = self.run_into(config, limits, cancel, sink).await?;
        let [stdout, stderr] = capture.take();
        Ok(CommandOutput {
            ended,
            stopped,
            stdout,
            stderr,
        })
    }

    /// Runs a program until it ends, and passes its output to a sink as it comes, without a limit.
    ///
    /// The sink has received everything when this returns.
    ///
    /// If the system is short of descriptors, processes or memory, or the program is just being written, this waits and
    /// tries again, and the limits count from the attempt that succeeds. Only a shortage that lasts is an error.
    ///
    /// [Files](ProcessConfig::files) are pushed before the program starts, and pulled when it has succeeded. The limits
    /// cover both, too: large files do not prolong an attempt. Files that cannot be transferred are an error, and so is
    /// a program that has not made a file that is to be pulled.
    pub async fn run_into(
        &self,
        config: &ProcessConfig,
        limits: CommandLimits,
        cancel: &CancellationToken,
        sink: Arc<dyn OutputSink>,
    ) -> Result<CommandEnd, ProcessError> {
        if let Some(manager) = &self.manager {
            return self
                .run_through(manager, config, limits, cancel, sink)
                .await;
        }
        if let Some(files) = &config.files {
            files.check_pushed()?;
        }
        let mut retry = self.starts.retry();
        loop {
            let opened = config.stdin.open();
            let is_open = opened.is_ok();
            let tried = match opened {
                Ok(input) => {
                    let sink = Arc::clone(&sink);
                    self.try_run(config, input, limits, cancel, sink).await
                }
                Err(source) => Err(source),
            };
            let source = match tried {
                Ok(end) => {
                    if let Some(files) = config.files.as_ref().filter(|_| end.is_success()) {
                        files.check_pulled()?;
                    }
                    return Ok(end);
                }
                Err(source) => source,
            };
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(CommandEnd::never_started()),
                is_worth_it = retry.wait(&source) => if !is_worth_it {
                    return Err(if is_open {
                        ProcessError::spawn(config, source)
                    } else {
                        ProcessError::input(&config.stdin, source)
                    });
                },
            }
        }
    }

    /// Runs a program until it ends. An error means that it was not started.
    async fn try_run(
        &self,
        config: &ProcessConfig,
        input: OpenedInput,
        limits: CommandLimits,
        cancel: &CancellationToken,
        sink: Arc<dyn OutputSink>,
    ) -> std::io::Result<CommandEnd> {
        let start = working_now();
        let terminal = matches!(input, OpenedInput::Terminal);
        let (stdin, input) = InputRest::of(input);
        let (reply, replied) = oneshot::channel();
        let program = Arc::new(Program::default());
        let run = ProgramRun {
            process: PreparedProcess::new(config, stdin)?,
            input,
            terminal,
            keeper: self.keeper.clone(),
            starts: Arc::clone(&self.starts),
            program: Arc::clone(&program),
            sink,
            reply,
        };
        self.threads.take(ThreadRun::Program(run))?;
        let run = CommandRun {
            clock: StopClock::new(start),
            limits: StopLimits {
                soft: limits.soft,
                hard: limits.hard,
                idle: None,
            },
            grace: limits.grace,
            memory: self
                .memory
                .watch(limits.memory, Measured::Group(Arc::clone(&program)), None),
            program,
            replied,
            waited_for_start: false,
            stopped: None,
            ending: Ending::ByItself,
        };
        run.finish(cancel).await
    }
}

/// A program that runs on its thread. Dropping this kills the program.
struct CommandRun {
    /// The time between the request to stop the program and its kill.
    grace: Duration,
    /// Reports too much memory; `None` without limits.
    memory: Option<WatchedMemory>,
    /// The state that is shared with the thread, by which the program is signalled.
    program: Arc<Program>,
    /// Receives the exit of the program, or the error for which it did not start.
    replied: oneshot::Receiver<std::io::Result<Reaped>>,
    /// Decides when the limits of the program are reached, by the clock of work, which does not run during a
    /// suspension.
    clock: StopClock,
    limits: StopLimits,
    /// A limit was over before the program was known to have started, so the limits count again from the start.
    waited_for_start: bool,
    /// The first reason for which the program was asked to stop.
    stopped: Option<StopCause>,
    /// How the program was made to end: not at all, asked, or killed.
    ending: Ending,
}

impl CommandRun {
    /// Waits for the end of the program, and asks or kills it when its limits or a cancellation require that.
    async fn finish(mut self, cancel: &CancellationToken) -> std::io::Result<CommandEnd> {
        let reaped = loop {
            let next = self.clock.next(self.limits, StopMethod::Signalled);
            let mut excess = None;
            let due = tokio::select! {
                biased;
                reply = &mut self.replied => break reply.ok(),
                () = until(next.map(|(at, _)| at)) => next.map(|(_, due)| due),
                () = cancel.cancelled(), if self.ending == Ending::ByItself => {
                    Some(StopAction::Ask(StopReason::Unwanted))
                }
                over = exceeded(&mut self.memory) => {
                    excess = Some(over);
                    match over.kills {
                        true => Some(StopAction::Kill(StopReason::Unwanted)),
                        false if self.ending == Ending::ByItself => {
                            Some(StopAction::Ask(StopReason::Unwanted))
                        }
                        false => None,
                    }
                }
            };
            // `began` is read before `has_ended`: nothing is known about the end of a program that was not known to
            // have started at that point.
            let began = self.program.began();
            // The system is asked, after the time was over. So no program that ended in time counts as timed out,
            // however late this check is, and whatever its thread has noticed so far.
            if self.program.has_ended() {
                break (&mut self.replied).await.ok();
            }
            if self.count_from_start(began) {
                continue;
            }
            let is_cancelled = matches!(due, Some(StopAction::Ask(StopReason::Unwanted)));
            if began.is_none() && !is_cancelled && !self.waited_for_start {
                // The thread of the program may have been stopped before it could report that it has started the
                // program. The start is given up only if it takes as long as the whole limit.
                self.waited_for_start = true;
                self.clock = StopClock::new(working_now());
                continue;
            }
            if let Some(excess) = excess {
                let (used, limit) = (excess.used, excess.limit);
                self.stopped
                    .get_or_insert(StopCause::Memory { used, limit });
                self.memory.iter_mut().for_each(WatchedMemory::asked);
            }
            match due {
                Some(StopAction::Ask(why)) => self.ask(why),
                Some(StopAction::Kill(why)) => {
                    self.stopped.get_or_insert(why.into());
                    self.ending = Ending::Killed;
                    self.program.kill();
                    break tokio::select! {
                        biased;
                        reply = &mut self.replied => reply.ok(),
                        () = until(Some(working_now() + REAP_LIMIT)) => None,
                    };
                }
                None => {}
            }
        };
        let mut ended = Ended {
            exit: Exit::Unknown,
            ending: self.ending,
            left_behind: false,
            survivors: Vec::new(),
        };
        let mut known_cost = None;
        if let Some(reaped) = reaped {
            let Reaped {
                exit,
                cost,
                left,
                wanted_terminal,
                input_error,
                interrupted,
            } = reaped?;
            if interrupted {
                pass_on_interrupt().await;
            }
            ended.exit = exit;
            known_cost = cost;
            if wanted_terminal && self.stopped.is_none() {
                self.stopped = Some(StopCause::Terminal);
                ended.ending = Ending::Killed;
            }
            if let (Some(kind), None) = (input_error, self.stopped) {
                self.stopped = Some(StopCause::InputFailed(kind));
                ended.ending = Ending::Killed;
            }
            if let Some(group) = left {
                (ended.left_behind, ended.survivors) = group.clear().await;
            }
        } else {
            // The program was killed. Either the kernel has not released it within the limit, or its thread is gone
            // because the sink has panicked.
            ended.ending = Ending::Killed;
            ended.survivors.extend(self.program.number());
        }
        Ok(CommandEnd {
            ended,
            stopped: self.stopped,
            cost: known_cost,
        })
    }

    /// Makes the clock count from the start of the program, which may have waited for a thread or a processor. Returns
    /// whether that moved the clock.
    fn count_from_start(&mut self, began: Option<Instant>) -> bool {
        let began =
            began.filter(|began| *began != self.clock.started() && self.clock.asked().is_none());
        self.clock = began.map_or(self.clock, StopClock::new);
        began.is_some()
    }

    /// Asks the program to end, and sets the time of its kill to the end of the grace.
    fn ask(&mut self, why: StopReason) {
        self.stopped.get_or_insert(why.into());
        self.ending = Ending::Asked;
        let now = working_now();
        self.clock
            .ask(why, self.limits, StopMethod::Signalled, self.grace, now);
        self.program.ask();
    }
}

impl Drop for CommandRun {
    fn drop(&mut self) {
        self.program.kill();
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;
    use std::sync::Mutex;
    use std::sync::mpsc;

    use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

    use super::*;
    use crate::os::Stream;

    struct Fragile;

    impl OutputSink for Fragile {
        fn receive(&self, _: Stream, _: &[u8]) -> ControlFlow<()> {
            panic!("too much for this sink")
        }
    }

    #[tokio::test]
    async fn a_program_whose_sink_panics_is_killed_and_reaped() {
        let runner = CommandRunner::new(None);
        let talks = ProcessConfig::new("sh").args(["-c", "echo hello; exec sleep 600"]);
        let end = runner
            .run_into(
                &talks,
                CommandLimits::default(),
                &CancellationToken::new(),
                Arc::new(Fragile),
            )
            .await
            .unwrap();
        assert!(!end.is_success());
        assert_eq!(end.ended.ending, Ending::Killed);
        assert!(end.ended.survivors.is_empty(), "{:?}", end.ended);
    }

    /// A sink that blocks the thread of a program once the program, which prints its process id, has ended.
    struct Slow {
        has_ended: Mutex<Option<oneshot::Sender<()>>>,
        go_on: Mutex<mpsc::Receiver<()>>,
    }

    impl OutputSink for Slow {
        fn receive(&self, _: Stream, bytes: &[u8]) -> ControlFlow<()> {
            let number = std::str::from_utf8(bytes).unwrap().trim().parse().unwrap();
            let program = Pid::from_raw(number).unwrap();
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            waitid(WaitId::Pid(program), options).unwrap();
            let has_ended = self.has_ended.lock().unwrap().take().unwrap();
            has_ended.send(()).unwrap();
            self.go_on.lock().unwrap().recv().unwrap();
            ControlFlow::Continue(())
        }
    }

    /// Makes a program end by itself, does `meanwhile` before its waiter notices the end, and returns the end that is
    /// reported.
    async fn end_while_unnoticed(
        limits: CommandLimits,
        meanwhile: impl FnOnce(&CancellationToken),
    ) {
        let (tell_ended, has_ended) = oneshot::channel();
        let (let_go_on, go_on) = mpsc::channel();
        let sink = Slow {
            has_ended: Mutex::new(Some(tell_ended)),
            go_on: Mutex::new(go_on),
        };
        let cancel = CancellationToken::new();
        let run = tokio::spawn({
            let (config, cancel) = (
                ProcessConfig::new("sh").args(["-c", "echo $$"]),
                cancel.clone(),
            );
            async move {
                let runner = CommandRunner::new(None);
                runner
                    .run_into(&config, limits, &cancel, Arc::new(sink))
                    .await
            }
        });
        has_ended.await.unwrap();
        tokio::time::pause();
        meanwhile(&cancel);
        // This is longer than any limit and any wait for a program that was killed.
        tokio::time::sleep(Duration::from_hours(2)).await;
        assert!(!run.is_finished());
        tokio::time::resume();
        let_go_on.send(()).unwrap();
        let end = run.await.unwrap().unwrap();
        assert!(end.is_success(), "{end:?}");
        assert_eq!(end.ended.ending, Ending::ByItself);
    }

    #[tokio::test]
    async fn a_program_that_ended_in_time_has_not_timed_out_however_late_that_is_heard() {
        let hour = Some(Duration::from_hours(1));
        for (soft, hard) in [(hour, None), (None, hour)] {
            let limits = CommandLimits {
                soft,
                hard,
                ..CommandLimits::default()
            };
            end_while_unnoticed(limits, |_| {}).await;
        }
    }

    /// Reports the end of a program whose start was not known before, this long after the start was ordered, with a
    /// limit of an hour.
    async fn end_after(time: Duration) -> CommandEnd {
        let (reply, replied) = oneshot::channel();
        let run = CommandRun {
            memory: None,
            grace: Duration::from_hours(10),
            program: Arc::default(),
            replied,
            clock: StopClock::new(working_now()),
            limits: StopLimits {
                soft: Some(Duration::from_hours(1)),
                ..StopLimits::default()
            },
            waited_for_start: false,
            stopped: None,
            ending: Ending::ByItself,
        };
        let run = tokio::spawn(async move { run.finish(&CancellationToken::new()).await });
        tokio::time::sleep(time).await;
        let reaped = Reaped {
            exit: Exit::Code(0),
            cost: None,
            left: None,
            wanted_terminal: false,
            input_error: None,
            interrupted: false,
        };
        assert!(reply.send(Ok(reaped)).is_ok(), "it is waited for");
        run.await.unwrap().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_program_that_is_not_known_to_have_started_times_out_only_after_twice_its_limit() {
        assert!(end_after(Duration::from_mins(119)).await.is_success());
        let end = end_after(Duration::from_mins(121)).await;
        assert_eq!(end.stopped, Some(StopCause::Timeout), "{end:?}");
    }

    #[tokio::test]
    async fn a_program_that_has_ended_is_not_cancelled() {
        end_while_unnoticed(CommandLimits::default(), CancellationToken::cancel).await;
    }
}
