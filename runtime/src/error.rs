//! The errors of this crate.

use std::any::Any;

use crate::ids::Ticket;

/// The errors of this crate.
///
/// Each is about a setting or a call. The failure of a job is an outcome, not an error.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The queue is full. Push again after a job has ended.
    #[error("the queue is full: {capacity} jobs are waiting")]
    QueueFull {
        /// The highest number of jobs that may wait.
        capacity: usize,
    },
    /// No job with this ticket waits or runs. It has ended, or the ticket is of another scheduler.
    #[error("{ticket} is neither waiting nor running")]
    UnknownTicket {
        /// The ticket.
        ticket: Ticket,
    },
    /// The call needs a running job: only such a job can end or be retried.
    #[error("{ticket} is not running")]
    NotRunning {
        /// The ticket of the job.
        ticket: Ticket,
    },
    /// The call needs a job that was sent ahead: only such a job can begin in the place of another, or come back.
    #[error("{ticket} was not sent ahead")]
    NotAhead {
        /// The ticket of the job.
        ticket: Ticket,
    },
    /// The call needs a waiting job: only a job that waits for its turn or for its not-before time can be postponed.
    #[error("{ticket} does not wait for its turn")]
    NotWaiting {
        /// The ticket of the job.
        ticket: Ticket,
    },
    /// The system cannot start a thread that the run needs.
    #[error("the thread that {purpose} cannot be started: {reason}")]
    NoThread {
        /// The purpose of the thread, as in `writes outcomes`.
        purpose: &'static str,
        /// The error of the system.
        reason: String,
    },
    /// The loop of a run has ended before its jobs had their outcomes, which is a bug in this crate.
    #[error("the run broke off, which is a bug in ratchet: {reason}")]
    RunBroke {
        /// The message of the panic.
        reason: String,
    },
    /// Another run uses the pool. A pool serves one run at a time.
    #[error("the pool `{pool}` is in use by a run, until that run has ended or is dropped")]
    PoolInUse {
        /// The name of the pool.
        pool: String,
    },
    /// A job asks for more slots than there are, or for none.
    #[error("a job of {asked} slots can never run with {total} in total")]
    ImpossibleSlots {
        /// How many slots the job asks for.
        asked: u32,
        /// How many slots there are.
        total: u32,
    },
    /// There is no hint with this name.
    #[error("unknown hint `{name}`{}", did_you_mean(.suggestion.as_ref()))]
    UnknownHint {
        /// The name that was given.
        name: String,
        /// A similar name that exists.
        suggestion: Option<String>,
    },
    /// No limit with this name is declared.
    #[error("unknown limit `{name}`{}", did_you_mean(.suggestion.as_ref()))]
    UnknownLimit {
        /// The name that was given.
        name: String,
        /// A similar name that exists.
        suggestion: Option<String>,
    },
    /// No module with this name is registered.
    #[error("unknown module `{name}`{}", did_you_mean(.suggestion.as_ref()))]
    UnknownModule {
        /// The name that was given.
        name: String,
        /// A similar name that exists.
        suggestion: Option<String>,
    },
    /// A job needs another one that does not exist.
    #[error("job `{job}` needs `{need}`, which does not exist{}", did_you_mean(.suggestion.as_ref()))]
    UnknownNeed {
        /// The id of the job with the need.
        job: String,
        /// The id that it needs.
        need: String,
        /// A similar id that exists.
        suggestion: Option<String>,
    },
    /// Jobs need each other in a circle, so none of them could ever start.
    #[error("these jobs wait for each other for ever: {}", .names.join(" -> "))]
    NeedCircle {
        /// The ids of the circle. Each job needs the next one, and the first one stands again at the end.
        names: Vec<String>,
    },
    /// A rate is not valid.
    #[error("rate {rate} {reason}")]
    InvalidRate {
        /// The rate as it was given.
        rate: String,
        /// What is wrong with the rate.
        reason: &'static str,
    },
    /// A limit is not valid.
    #[error("{reason}")]
    InvalidLimit {
        /// What is wrong with the limit.
        reason: &'static str,
    },
    /// Two jobs declare different rates for one key.
    #[error("rate key `{key}` is declared twice: {first}, and {second}")]
    RateConflict {
        /// The key.
        key: String,
        /// The rate that was declared first, which holds.
        first: String,
        /// The rate that was declared later and refused.
        second: String,
    },
    /// Two limits have one name, or a limit in use would change from a number to a rate or back.
    #[error("limit `{name}` is declared twice: {first}, and {second}")]
    LimitConflict {
        /// The name of the limit.
        name: String,
        /// The limit that was declared first, which holds.
        first: String,
        /// The limit that was declared later and refused.
        second: String,
    },
    /// No resource with this name is declared.
    #[error("unknown resource `{name}`{}", did_you_mean(.suggestion.as_ref()))]
    UnknownResource {
        /// The name that was given.
        name: String,
        /// A similar name that exists.
        suggestion: Option<String>,
    },
    /// A job asks for more of a resource than there is, or for none.
    #[error("a job that takes {asked} of resource `{name}` can never run with {total} in total")]
    ImpossibleResource {
        /// The name of the resource.
        name: String,
        /// How much the job asks for.
        asked: String,
        /// How much there is.
        total: String,
    },
    /// A resource is not valid.
    #[error("{reason}")]
    InvalidResource {
        /// What is wrong with the resource.
        reason: String,
    },
    /// Two resources have one name.
    #[error("resource `{name}` is declared twice: {first}, and {second}")]
    ResourceConflict {
        /// The name of the resource.
        name: String,
        /// The resource that was declared first, which holds.
        first: String,
        /// The resource that was declared later and refused.
        second: String,
    },
    /// Two modules have one name.
    #[error("module `{name}` is declared twice: {first}, and {second}")]
    ModuleConflict {
        /// The name of the module.
        name: String,
        /// The module that was registered first, which holds.
        first: String,
        /// The module that was registered later and refused.
        second: String,
    },
    /// The settings of a pool can never work.
    #[error("worker `{pool}` {reason}")]
    InvalidPool {
        /// The name of the pool.
        pool: String,
        /// What is wrong with the settings.
        reason: &'static str,
    },
    /// The supervisor that owned the workers has ended.
    #[error("the workers' supervisor has ended")]
    SupervisorEnded,
    /// A rate limit or a timeout has to wait, and there is no tokio runtime with a timer to wake it.
    #[error(
        "rate limits and timeouts can only wait inside a running tokio runtime whose time is enabled"
    )]
    NoTimer,
    /// A shutdown has begun, so no more jobs are taken.
    #[error("pool is shutting down")]
    ShuttingDown,
    /// A run goes on. It takes no more jobs this way, and an executor does one run at a time.
    #[error("pool is running")]
    AlreadyRunning,
    /// The pool was already shut down.
    #[error("pool already shut down")]
    AlreadyShutDown,
    /// The shutdown took longer than it may, and the jobs that still ran were killed.
    #[error("shutdown timeout")]
    ShutdownTimeout,
    /// A job has no name.
    #[error("task must have a cluster name")]
    NoName,
    /// A job has no work to do.
    #[error("task must have an execute function")]
    NoWork,
    /// Two jobs have one id.
    #[error("job `{id}` is there twice")]
    DuplicateJob {
        /// The id.
        id: String,
    },
    /// A job has no result to read, because it did not succeed.
    #[error("job `{job}` has no result: {reason}")]
    NoResult {
        /// The id of the job.
        job: String,
        /// Why there is no result.
        reason: String,
    },
    /// The result of a job is not a value of the requested type.
    #[error("the result of job `{job}` is not of the requested type: {reason}")]
    UnreadableResult {
        /// The id of the job.
        job: String,
        /// What is wrong with the result.
        reason: String,
    },
    /// A setting is not valid.
    #[error("{setting} {reason}")]
    InvalidSetting {
        /// The name of the setting.
        setting: &'static str,
        /// What is wrong with its value.
        reason: String,
    },
    /// The run has ended, so there is nothing to change.
    #[error("the run has ended")]
    RunEnded,
    /// There is no tokio runtime with a timer, which an executor needs.
    #[error("an executor can only run inside a running tokio runtime whose time is enabled")]
    NoRuntime,
    /// A call of `acquire_timeout` ended without a guard, because its timeout has passed.
    #[error("`{task}` on `{host}` could not start within {waited:?}")]
    AcquireTimeout {
        /// The task that wanted to start.
        task: String,
        /// The host on which it wanted to start.
        host: String,
        /// How long the call waited.
        waited: std::time::Duration,
    },
}

fn did_you_mean(suggestion: Option<&String>) -> String {
    suggestion.map_or_else(String::new, |name| format!(", did you mean `{name}`?"))
}

/// Returns the message of a panic, if it is text.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("something that is not text")
}
