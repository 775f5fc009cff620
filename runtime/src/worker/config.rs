//! The settings of a kind of worker and its pool.

use std::num::NonZeroU32;
use std::time::Duration;

use ratchet_ipc::{HandshakeMode, Limits, LineFormat};

use crate::Error;
use crate::os::ProcessConfig;
use crate::scheduling::Balance;

/// The settings of a kind of worker and its pool: the program, its protocol, and the number of workers.
///
/// ```
/// use ratchet_runtime::process::{PoolConfig, ProcessConfig, Size};
///
/// let config = PoolConfig {
///     size: Size::between(1, 4),
///     ..PoolConfig::new("resize", ProcessConfig::new("python3").arg("resize.py"))
/// };
/// config.check()?;
/// # Ok::<(), ratchet_runtime::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct PoolConfig {
    /// The name of the kind. Its workers are called `name/1`, `name/2` and so on.
    pub name: String,
    /// The program of the workers.
    pub process: ProcessConfig,
    /// The protocol that the workers speak.
    pub language: WorkerProtocol,
    /// How many lines a filter prints before its first answer. They are skipped as its banner.
    pub skip_lines: u64,
    /// The limits of the conversation with a worker, such as the size of a message.
    pub limits: Limits,
    /// Whether a worker has to say hello.
    pub handshake: HandshakeMode,
    /// How long to wait for a hello before jobs are sent. A later hello still counts, but not for jobs that were sent
    /// before.
    pub handshake_wait: Duration,
    /// How long a worker may take to become ready.
    pub start_timeout: Duration,
    /// The number of workers in the pool.
    pub size: Size,
    /// How many requests a worker works on at once. Without a setting, the number in the worker's hello counts.
    pub concurrency: Option<NonZeroU32>,
    /// How many requests are sent to a worker beyond those that it works on.
    pub prefetch: Prefetch,
    /// How a worker is chosen for the next job if several have room.
    pub balance: Balance,
    /// When a worker is replaced although nothing is wrong with it.
    pub recycling: Recycling,
    /// How many bytes of memory a worker and its children may use together before the worker is killed.
    pub hard_memory: Option<u64>,
    /// How often workers may fail before the pool is given up.
    pub restart: RestartPolicy,
    /// The interval at which a worker with the capability `ping` is pinged, and the time that it has to answer.
    pub ping: Option<Duration>,
    /// How long a worker has for each step when it is asked to stop an attempt, or to end.
    pub grace: Duration,
    /// How many bytes of a worker's stderr are kept for the failures of attempts that end with the worker.
    pub stderr_bytes: usize,
}

impl PoolConfig {
    /// Makes the settings of a pool with one worker, and defaults for everything else.
    pub fn new(name: impl Into<String>, process: ProcessConfig) -> Self {
        Self {
            name: name.into(),
            process,
            language: WorkerProtocol::Native,
            skip_lines: 0,
            limits: Limits::default(),
            handshake: HandshakeMode::Auto,
            handshake_wait: Duration::from_millis(250),
            start_timeout: Duration::from_mins(1),
            size: Size::fixed(1),
            concurrency: None,
            prefetch: Prefetch::Auto,
            balance: Balance::default(),
            recycling: Recycling::default(),
            hard_memory: None,
            restart: RestartPolicy::default(),
            ping: Some(Duration::from_secs(30)),
            grace: Duration::from_secs(5),
            stderr_bytes: 16 * 1024,
        }
    }

    /// Checks that the settings can work. The error names the setting that is wrong.
    pub fn check(&self) -> Result<(), Error> {
        let refuse = |reason| {
            Err(Error::InvalidPool {
                pool: self.name.clone(),
                reason,
            })
        };
        if self.name.is_empty() {
            return refuse("needs a name");
        }
        if self.process.command.as_os_str().is_empty() {
            return refuse("needs a command");
        }
        if self.size.max == 0 {
            return refuse("would have no worker: its size has to be at least 1");
        }
        if self.size.min > self.size.max {
            return refuse("cannot have more workers at least than at most");
        }
        if self.start_timeout.is_zero() {
            return refuse("gives its workers no time to start");
        }
        if self.recycling.max_jobs == Some(0) {
            return refuse(
                "would replace each worker before its first job: max_jobs has to be at least 1",
            );
        }
        if self.hard_memory == Some(0) || self.recycling.soft_memory == Some(0) {
            return refuse("leaves its workers no memory");
        }
        if matches!((self.recycling.soft_memory, self.hard_memory), (Some(soft), Some(hard)) if soft > hard)
        {
            return refuse(
                "would kill its workers before it replaces them: soft_memory is above hard_memory",
            );
        }
        let is_filter = matches!(self.language, WorkerProtocol::Lines { .. });
        if is_filter && self.handshake == HandshakeMode::Required {
            return refuse("speaks lines, which have no hello, so none can be required");
        }
        if is_filter
            && self
                .concurrency
                .is_some_and(|several| several > NonZeroU32::MIN)
        {
            return refuse(
                "speaks lines, which are answered one after another, so concurrency has to be 1",
            );
        }
        if matches!(self.language, WorkerProtocol::BazelJson { .. })
            && self.handshake == HandshakeMode::Required
        {
            return refuse("speaks Bazel's protocol, which has no hello, so none can be required");
        }
        if !is_filter && self.skip_lines > 0 {
            return refuse("does not speak lines, so skip_lines has no effect");
        }
        Ok(())
    }
}

/// The protocol that workers speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WorkerProtocol {
    /// The worker protocol, in which each line is a JSON object.
    #[default]
    Native,
    /// The lines of a filter, which answers each line with a line. Lines carry no ids. So an answer is delivered only
    /// when the next one has come, or the filter was quiet for 50 ms after it.
    Lines {
        /// How an input is written as a line.
        input: LineFormat,
        /// How a result is read from a line.
        output: LineFormat,
    },
    /// JSON-RPC 2.0 as servers of the Model Context Protocol (MCP) speak it. Each tool of the server is a task.
    Mcp,
    /// The JSON of Bazel's persistent workers. With a `concurrency` above 1 they are multiplex workers.
    BazelJson {
        /// The workers understand requests to cancel another one.
        understands_cancel: bool,
    },
}

/// How many workers a pool has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// The least number of workers. With 0, the first job starts the first worker. If only executors use the pool,
    /// there may be fewer once they have nothing left to do, because a worker that ends then is not replaced before
    /// there is work.
    pub min: u32,
    /// The greatest number of workers.
    pub max: u32,
    /// How long the oldest waiting job has to have waited before another worker is started.
    pub grow_after: Duration,
}

impl Size {
    /// Makes the size of a pool that always has this many workers.
    pub fn fixed(workers: u32) -> Self {
        Self::between(workers, workers)
    }

    /// Makes the size of a pool that grows and shrinks with its work, within these bounds.
    pub fn between(min: u32, max: u32) -> Self {
        Self {
            min,
            max,
            grow_after: Duration::from_millis(50),
        }
    }
}

/// How many requests are sent to a worker beyond those that it works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Prefetch {
    /// The pool sends ahead as many as make a few milliseconds of work, estimated from the durations of earlier jobs.
    #[default]
    Auto,
    /// The pool sends this many ahead.
    Fixed(u32),
}

/// The rules for replacing a worker although nothing is wrong with it. Its successor is ready before it leaves, but for
/// workers that have done their last job by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recycling {
    /// How many jobs a worker does at most before it is replaced. For some workers it is up to a seventh less, so that not
    /// all leave at once.
    pub max_jobs: Option<u64>,
    /// The age at which a worker is replaced.
    pub ttl: Option<Duration>,
    /// The time without a job after which a worker ends, as long as the pool stays above its least size.
    pub idle_ttl: Option<Duration>,
    /// The bytes of memory at which a worker is replaced, if it and its children use more than this after a job.
    pub soft_memory: Option<u64>,
}

/// How often workers may fail before their kind is given up, and how long each restart is delayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartPolicy {
    /// The number of failures within `period` after which the kind is given up.
    pub intensity: u32,
    /// The time within which failures count together. As long as no worker does a job, the length of failed starts and the
    /// delays between them do not count.
    pub period: Duration,
    /// The delay after a failed start. It is doubled for each further failure.
    pub base: Duration,
    /// The longest delay.
    pub cap: Duration,
}

impl Default for RestartPolicy {
    /// Gives a kind up after five failures within ten seconds.
    fn default() -> Self {
        Self {
            intensity: 5,
            period: Duration::from_secs(10),
            base: Duration::from_millis(50),
            cap: Duration::from_secs(5),
        }
    }
}
