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

mod end;
mod input_feed;
mod memory;
mod output_run;
mod program;
mod run;
mod threads;
mod via_manager;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

pub use self::end::{CommandEnd, CommandOutput, StopCause};
use self::input_feed::InputRest;
pub use self::memory::MemoryLimits;
use self::memory::{Measured, MemoryWatch};
use self::program::{Program, ProgramRun};
use self::run::CommandRun;
use self::threads::{ThreadRun, Threads};
use super::output::Capture;
use super::program_input::OpenedInput;
use super::shortage::RunningProcesses;
use super::start::PreparedProcess;
use super::{Keeper, OutputSink, ProcessConfig, ProcessError, ProcessManager};
use crate::suspension::working_now;

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
        let measured = Measured::Group(Arc::clone(&program));
        let memory = self.memory.watch(limits.memory, measured, None);
        let run = CommandRun::new(program, replied, limits, memory, start);
        run.finish(cancel).await
    }
}
