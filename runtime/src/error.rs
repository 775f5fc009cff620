//! What this crate refuses, and why.

use crate::ids::Ticket;

/// What this crate refuses, and why.
///
/// Everything here is about a setting or a call. That a job fails is an outcome, not an error.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The queue holds as many jobs as it may; push again after one has ended.
    #[error("the queue is full: {capacity} jobs are waiting")]
    QueueFull {
        /// How many may wait.
        capacity: usize,
    },
    /// The ticket is of no job that waits or runs: it ended, or came from another scheduler.
    #[error("{ticket} is neither waiting nor running")]
    UnknownTicket {
        /// The ticket.
        ticket: Ticket,
    },
    /// Only a running job can end or be retried.
    #[error("{ticket} is not running")]
    NotRunning {
        /// Its ticket.
        ticket: Ticket,
    },
    /// Only a job that was sent ahead can begin in another's place, or come back.
    #[error("{ticket} was not sent ahead")]
    NotAhead {
        /// Its ticket.
        ticket: Ticket,
    },
    /// Only a job that waits for its turn or for its not-before time can be postponed.
    #[error("{ticket} does not wait for its turn")]
    NotWaiting {
        /// Its ticket.
        ticket: Ticket,
    },
    /// The system starts no thread for work without which nothing must begin.
    #[error("the thread that {purpose} cannot be started: {reason}")]
    NoThread {
        /// What the thread is for, as in `writes outcomes`.
        purpose: &'static str,
        /// What the system says.
        reason: String,
    },
    /// The loop of a run has ended before its jobs had their outcomes, which is a bug in this crate.
    #[error("the run broke off, which is a bug in ratchet: {reason}")]
    RunBroke {
        /// The message of the panic.
        reason: String,
    },
    /// A run has the pool, and another one asks for it.
    #[error("the pool `{pool}` is in use: a run has it until that run has ended or was dropped")]
    PoolInUse {
        /// The pool.
        pool: String,
    },
    /// A weight that can never be met, or no weight at all.
    #[error("a job of {asked} slots can never run with {total} in total")]
    ImpossibleSlots {
        /// The weight.
        asked: u32,
        /// All slots there are.
        total: u32,
    },
    /// A hint that does not exist.
    #[error("unknown hint `{name}`{}", did_you_mean(.suggestion.as_ref()))]
    UnknownHint {
        /// What was written.
        name: String,
        /// What may have been meant.
        suggestion: Option<String>,
    },
    /// A limit that nobody declared.
    #[error("unknown limit `{name}`{}", did_you_mean(.suggestion.as_ref()))]
    UnknownLimit {
        /// What was written.
        name: String,
        /// What may have been meant.
        suggestion: Option<String>,
    },
    /// A module that nobody registered.
    #[error("unknown module `{name}`{}", did_you_mean(.suggestion.as_ref()))]
    UnknownModule {
        /// What was written.
        name: String,
        /// What may have been meant.
        suggestion: Option<String>,
    },
    /// A need that names no job.
    #[error("job `{job}` needs `{need}`, which does not exist{}", did_you_mean(.suggestion.as_ref()))]
    UnknownNeed {
        /// Who needs it.
        job: String,
        /// What was written.
        need: String,
        /// What may have been meant.
        suggestion: Option<String>,
    },
    /// Jobs that wait for each other in a circle.
    #[error("these jobs wait for each other for ever: {}", .names.join(" -> "))]
    NeedCircle {
        /// Each needs the next; the first is named again at the end.
        names: Vec<String>,
    },
    /// A rate that makes no sense.
    #[error("rate {rate} {reason}")]
    InvalidRate {
        /// The rate as it was written.
        rate: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A limit that makes no sense.
    #[error("{reason}")]
    InvalidLimit {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Two jobs declare one rate key differently.
    #[error("rate key `{key}` is declared twice: {first}, and {second}")]
    RateConflict {
        /// The key.
        key: String,
        /// What holds.
        first: String,
        /// What was refused.
        second: String,
    },
    /// A name has two limits, or a running limit would change from a max to a rate or back.
    #[error("limit `{name}` is declared twice: {first}, and {second}")]
    LimitConflict {
        /// The name.
        name: String,
        /// What holds.
        first: String,
        /// What was refused.
        second: String,
    },
    /// A name has two modules.
    #[error("module `{name}` is declared twice: {first}, and {second}")]
    ModuleConflict {
        /// The name.
        name: String,
        /// What holds.
        first: String,
        /// What was refused.
        second: String,
    },
    /// A pool that could never work.
    #[error("worker `{pool}` {reason}")]
    InvalidPool {
        /// Its name.
        pool: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Whoever owned the workers is gone.
    #[error("the workers' supervisor has ended")]
    SupervisorEnded,
    /// A rate limit or a timeout has to wait where nothing can wake it.
    #[error(
        "rate limits and timeouts can only wait inside a running tokio runtime whose time is enabled"
    )]
    NoTimer,
    /// No job is taken after a shutdown has begun.
    #[error("pool is shutting down")]
    ShuttingDown,
    /// A run of jobs that were given as a whole takes no others, and there is one run at a time.
    #[error("pool is running")]
    AlreadyRunning,
    /// A shutdown happens once.
    #[error("pool already shut down")]
    AlreadyShutDown,
    /// The shutdown took longer than it was given; what was left has been killed.
    #[error("shutdown timeout")]
    ShutdownTimeout,
    /// A job without a name.
    #[error("task must have a cluster name")]
    NoName,
    /// A job that nobody here can do.
    #[error("task must have an execute function")]
    NoWork,
    /// Two jobs of one name.
    #[error("job `{id}` is there twice")]
    DuplicateJob {
        /// The name.
        id: String,
    },
    /// A setting that makes no sense.
    #[error("{setting} {reason}")]
    InvalidSetting {
        /// Which.
        setting: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The run has ended, so there is nothing to change.
    #[error("the run has ended")]
    RunEnded,
    /// An executor works inside a runtime.
    #[error("an executor can only run inside a running tokio runtime whose time is enabled")]
    NoRuntime,
    /// `acquire_timeout` gave up.
    #[error("`{task}` on `{host}` could not start within {waited:?}")]
    AcquireTimeout {
        /// Whose task.
        task: String,
        /// Where.
        host: String,
        /// How long it waited.
        waited: std::time::Duration,
    },
}

fn did_you_mean(suggestion: Option<&String>) -> String {
    suggestion.map_or_else(String::new, |name| format!(", did you mean `{name}`?"))
}

/// The message of an error and those of its causes, from the outermost to the innermost, with colons between them.
///
/// The message of an error does not repeat that of its cause: "the file cannot be written" is one thing, "the disk is
/// full" another. Where only one line can be shown, this is that line.
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
