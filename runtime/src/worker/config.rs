//! What the workers of a kind speak, how they are started, and how the pool of them is kept.

use std::num::NonZeroU32;
use std::time::Duration;

use ratchet_ipc::{HandshakeMode, Limits, LineFormat};

use crate::Error;
use crate::os::ProcessConfig;
use crate::scheduling::Balance;

/// A kind of worker, and how its pool is kept.
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
    /// The name of the kind: its workers are `name/1`, `name/2` and so on.
    pub name: String,
    /// What to start.
    pub process: ProcessConfig,
    /// What its workers speak.
    pub language: Language,
    /// How many lines a filter prints before it answers anything: its banner, which is passed over.
    pub skip_lines: u64,
    /// What a conversation is limited to.
    pub limits: Limits,
    /// Whether a worker has to introduce itself.
    pub handshake: HandshakeMode,
    /// How long a hello is waited for. One that comes later still counts, though not for jobs that were given to
    /// workers before it.
    pub handshake_wait: Duration,
    /// How long a worker may take to be ready.
    pub start_timeout: Duration,
    /// How many workers there are.
    pub size: Size,
    /// How many requests a worker works on at once, if that is not left to what it says.
    pub concurrency: Option<NonZeroU32>,
    /// How many requests lie in its pipe beyond that.
    pub prefetch: Prefetch,
    /// Which worker gets the next job, where several have room.
    pub balance: Balance,
    /// When a worker is replaced though nothing is wrong with it.
    pub recycling: Recycling,
    /// When a worker is killed for its memory, and that of all it has started, in bytes.
    pub hard_memory: Option<u64>,
    /// How often workers may fail before the kind is given up.
    pub restart: RestartPolicy,
    /// How often a worker that can answer is asked whether it lives, and how long it has.
    pub ping: Option<Duration>,
    /// How long a worker that is asked to stop, or to end, has for each step.
    pub grace: Duration,
    /// How much of a worker's stderr is kept for its obituary, in bytes.
    pub stderr_bytes: usize,
}

impl PoolConfig {
    /// One worker, with settings that suit most.
    pub fn new(name: impl Into<String>, process: ProcessConfig) -> Self {
        Self {
            name: name.into(),
            process,
            language: Language::Native,
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

    /// Refuses what can never work.
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
        if matches!(self.language, Language::Lines { .. })
            && self.handshake == HandshakeMode::Required
        {
            return refuse("speaks lines, which have no hello, so none can be required");
        }
        if self.language == Language::Native && self.skip_lines > 0 {
            return refuse("speaks the worker protocol, in which skip_lines means nothing");
        }
        Ok(())
    }
}

/// What workers speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Language {
    /// The worker protocol: one JSON object a line.
    #[default]
    Native,
    /// Filters: a line in, a line out. Lines carry no ids, so an answer is given out once the next one has come, or
    /// the filter was quiet for 50 ms after it.
    Lines {
        /// How an input becomes a line.
        input: LineFormat,
        /// How a line becomes a result.
        output: LineFormat,
    },
}

/// How many workers a pool has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// At least; 0 is fine, and the first job starts the first worker. Where only executors use the pool, there may be
    /// fewer once they have nothing left to do: a worker that ends then is not replaced until there is something.
    pub min: u32,
    /// At most.
    pub max: u32,
    /// How old the oldest waiting job has to be for another worker to be started.
    pub grow_after: Duration,
}

impl Size {
    /// So many.
    pub fn fixed(workers: u32) -> Self {
        Self::between(workers, workers)
    }

    /// As many as there is work for, within bounds.
    pub fn between(min: u32, max: u32) -> Self {
        Self {
            min,
            max,
            grow_after: Duration::from_millis(50),
        }
    }
}

/// How many requests lie in a worker's pipe beyond what it works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Prefetch {
    /// A few milliseconds of work, by how long jobs have taken.
    #[default]
    Auto,
    /// So many.
    Fixed(u32),
}

/// When a worker is replaced though nothing is wrong with it. Its successor is ready before it leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recycling {
    /// After about so many jobs; a few more or less, so that not all workers leave at once.
    pub max_jobs: Option<u64>,
    /// At this age.
    pub ttl: Option<Duration>,
    /// After so long without a job; the pool shrinks, but not below its least size.
    pub idle_ttl: Option<Duration>,
    /// When a job has left it, and all that it has started, with more memory than this, in bytes.
    pub soft_memory: Option<u64>,
}

/// How often workers may fail before their kind is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartPolicy {
    /// This many failures..
    pub intensity: u32,
    /// ..within this time are too many.
    pub period: Duration,
    /// How long to wait after a failed start; doubled for each that follows.
    pub base: Duration,
    /// How long to wait at most.
    pub cap: Duration,
}

impl Default for RestartPolicy {
    /// Five failed starts within ten seconds are too many.
    fn default() -> Self {
        Self {
            intensity: 5,
            period: Duration::from_secs(10),
            base: Duration::from_millis(50),
            cap: Duration::from_secs(5),
        }
    }
}
