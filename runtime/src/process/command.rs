//! Runs a program once and gives back what it printed.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Child;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::group::ProcessGroup;
use super::output::Captured;
use super::spawn::spawn;
use super::{Ended, Ending, Exit, Keeper, ProcessConfig, ProcessError};

/// How long a program that has ended may still be heard, if somebody holds its pipes.
const DRAIN_LIMIT: Duration = Duration::from_millis(200);

/// How long a killed process may take to be reaped. Only the kernel can hold it up.
const REAP_LIMIT: Duration = Duration::from_secs(2);

/// How much one read takes.
const READ_BYTES: usize = 8 * 1024;

/// What a run of a program is limited to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandLimits {
    /// When to ask it to end.
    pub soft: Option<Duration>,
    /// When to kill it.
    pub hard: Option<Duration>,
    /// How long it may take to end once it was asked.
    pub grace: Duration,
    /// How many bytes to keep of its stdout, and of its stderr.
    pub capture_bytes: usize,
}

impl Default for CommandLimits {
    fn default() -> Self {
        Self {
            soft: None,
            hard: None,
            grace: Duration::from_secs(10),
            capture_bytes: 16 * 1024 * 1024,
        }
    }
}

/// Why a program was made to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopCause {
    /// It ran beyond its soft or hard limit.
    Timeout,
    /// Nobody wants its output any more.
    Cancelled,
}

/// What came of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOutput {
    /// How it ended.
    pub ended: Ended,
    /// Why it was made to end, if it was.
    pub stopped: Option<StopCause>,
    /// What it printed to stdout.
    pub stdout: Captured,
    /// What it printed to stderr.
    pub stderr: Captured,
}

impl CommandOutput {
    /// Whether it ended well and by itself.
    pub fn is_success(&self) -> bool {
        self.ended.exit.is_success() && self.stopped.is_none()
    }
}

/// Runs programs.
///
/// A program's stdin is empty. What it leaves running in its group is killed when it ends. Dropping the
/// future of a run kills the program.
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
#[derive(Debug, Clone)]
pub struct CommandRunner {
    keeper: Option<Keeper>,
}

impl CommandRunner {
    /// A runner whose programs this keeper kills, should this process be killed.
    pub fn new(keeper: Option<Keeper>) -> Self {
        Self { keeper }
    }

    /// Runs a program to its end.
    pub async fn run(
        &self,
        config: &ProcessConfig,
        limits: CommandLimits,
        cancel: &CancellationToken,
    ) -> Result<CommandOutput, ProcessError> {
        let start = Instant::now();
        let (child, group) = spawn(config, Stdio::null(), self.keeper.as_ref())?;
        let run = Run {
            ask_at: limits.soft.and_then(|soft| start.checked_add(soft)),
            kill_at: limits.hard.and_then(|hard| start.checked_add(hard)),
            limits,
            child,
            group,
            stopped: None,
            ending: Ending::ByItself,
        };
        Ok(run.finish(cancel).await)
    }
}

/// A program that runs.
struct Run {
    limits: CommandLimits,
    child: Child,
    group: ProcessGroup,
    ask_at: Option<Instant>,
    kill_at: Option<Instant>,
    stopped: Option<StopCause>,
    ending: Ending,
}

impl Run {
    async fn finish(mut self, cancel: &CancellationToken) -> CommandOutput {
        let mut stdout = Output::of(self.child.stdout.take(), self.limits.capture_bytes);
        let mut stderr = Output::of(self.child.stderr.take(), self.limits.capture_bytes);
        let exit = loop {
            tokio::select! {
                () = stdout.read(), if stdout.is_open() => {}
                () = stderr.read(), if stderr.is_open() => {}
                status = self.child.wait() => break status.map_or(Exit::Unknown, Exit::from),
                () = until(self.ask_at) => self.ask(StopCause::Timeout),
                () = until(self.kill_at) => break self.kill().await,
                () = cancel.cancelled(), if self.ending == Ending::ByItself => {
                    self.ask(StopCause::Cancelled);
                }
            }
        };
        // Its end is what counts; but what it has printed is still in the pipes, and somebody that it
        // has started may hold them.
        let drain = async { tokio::join!(stdout.read_all(), stderr.read_all()) };
        let _ = timeout(DRAIN_LIMIT, drain).await;
        let (left_behind, survivors) = self.group.clear().await;
        CommandOutput {
            ended: Ended {
                exit,
                ending: self.ending,
                left_behind,
                survivors,
            },
            stopped: self.stopped,
            stdout: stdout.captured,
            stderr: stderr.captured,
        }
    }

    /// Asks it to end, and sees that it is killed when the grace is over.
    fn ask(&mut self, why: StopCause) {
        self.stopped.get_or_insert(why);
        self.ending = Ending::Asked;
        self.ask_at = None;
        let end_of_grace = Instant::now().checked_add(self.limits.grace);
        self.kill_at = [self.kill_at, end_of_grace].into_iter().flatten().min();
        self.group.terminate();
    }

    async fn kill(&mut self) -> Exit {
        self.stopped.get_or_insert(StopCause::Timeout);
        self.ending = Ending::Killed;
        self.group.kill();
        let status = timeout(REAP_LIMIT, self.child.wait()).await;
        status.map_or(Exit::Unknown, |status| {
            status.map_or(Exit::Unknown, Exit::from)
        })
    }
}

/// One of the two pipes that a program prints into.
struct Output<R> {
    pipe: Option<R>,
    captured: Captured,
    limit: usize,
    chunk: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Output<R> {
    fn of(pipe: Option<R>, limit: usize) -> Self {
        Self {
            pipe,
            captured: Captured::default(),
            limit,
            chunk: Vec::new(),
        }
    }

    fn is_open(&self) -> bool {
        self.pipe.is_some()
    }

    /// Reads once; cancel safe.
    async fn read(&mut self) {
        let Some(pipe) = &mut self.pipe else { return };
        self.chunk.clear();
        self.chunk.reserve(READ_BYTES);
        match pipe.read_buf(&mut self.chunk).await {
            Ok(1..) => self.captured.push(&self.chunk, self.limit),
            // A pipe that cannot be read has no more to say than one that has ended.
            Ok(0) | Err(_) => self.pipe = None,
        }
    }

    async fn read_all(&mut self) {
        while self.is_open() {
            self.read().await;
        }
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
