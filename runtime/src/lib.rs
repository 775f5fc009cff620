//! An executor that runs jobs in parallel on supervised worker processes and gives exactly one outcome for each.
//!
//! A queue, some tasks and a semaphore are quickly written, but they go wrong in the same ways every time. Jobs that wait for
//! one busy host fill all slots. A worker dies and its job with it, or a worker hangs and takes a slot for ever. A killed
//! program leaves its children behind. The last of a million jobs costs a thousand times what the first one did. After a crash
//! everything begins again. This crate solves these problems once.
//!
//! - An [`Executor`] takes [`Job`]s and gives one [`Outcome`] for each. Retries, timeouts, needs, limits, a cache and a deadline
//!   are optional.
//! - Jobs are performed by closures, by [commands](process::CommandRunner), by a [`Runner`] of your own, or by a
//!   [pool](process::ProcessPool) of worker processes that stay alive between jobs.
//! - A [`Journal`] records outcomes on disk, and [`Resume`] continues an interrupted run from it.
//! - [Events](event) report what happens in a run, a [summary](summary) holds its figures, and a [monitor] watches the machine.
//! - Jobs run on this machine or on other [hosts](remote), over one connection to each; a [`Place`] is a machine with its slots.
//! - Some parts can be used alone: the [`Scheduler`], a plain value that decides which job may start; the
//!   [`ParallelizationManager`] around it, from which code acquires a guard before it works; and the [processes](process), which
//!   are started in groups and ended with all that they have started.
//!
//! **When not to use it.** For a thousand calls that take a microsecond each, a loop is faster. For a number of slots and nothing
//! else, a semaphore is enough. If several programs on several machines
//! submit jobs, you need a queue with a server: an executor of this crate is one process, which can start jobs on other hosts.
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//!
//! use ratchet_runtime::process::ProcessConfig;
//! use ratchet_runtime::{Executor, Job, ParallelizationHint, Payload, Terms};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // One at a time on each host, whatever else runs.
//! let careful = Arc::new(Terms {
//!     hint: Some(ParallelizationHint::HostExclusive),
//!     ..Terms::default()
//! });
//! let alter = |id: &str, host: &str| {
//!     Job::command(id, ProcessConfig::new("echo").arg("altering"))
//!         .on_host(host)
//!         .terms(Arc::clone(&careful))
//! };
//! let jobs = [
//!     alter("tables-db1", "db1"),
//!     alter("indices-db1", "db1"),
//!     alter("tables-db2", "db2"),
//!     Job::closure("report", |_context| async { Ok(Payload::from_text("all altered")) })
//!         .needs(["tables-db1", "indices-db1", "tables-db2"]),
//! ];
//!
//! let outcomes = Executor::builder().slots(4).build()?.run_all(jobs).await?;
//! let report = outcomes[3].result.as_ref().map_err(|failure| failure.to_string())?;
//! assert_eq!(report.as_str(), r#""all altered""#);
//! # Ok(())
//! # }
//! ```
//!
//! Code that only needs to limit its own tasks can use the scheduler through a manager:
//!
//! ```
//! use ratchet_runtime::{ParallelizationHint, ParallelizationManager};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let manager = ParallelizationManager::new();
//! let mut tasks = Vec::new();
//! for (host, package) in [("web1", "nginx"), ("web1", "redis"), ("web2", "nginx")] {
//!     let manager = manager.clone();
//!     tasks.push(tokio::spawn(async move {
//!         // One installation a host at a time, however many are asked for.
//!         let hint = ParallelizationHint::HostExclusive;
//!         let guard = manager.acquire(&hint, host, "apt").await?;
//!         let line = format!("{package} on {host}");
//!         drop(guard);
//!         Ok::<_, ratchet_runtime::Error>(line)
//!     }));
//! }
//! for task in tasks {
//!     let line = task.await.expect("no task panics").expect("the hint is possible");
//!     assert!(line.contains(" on web"));
//! }
//! assert!(manager.stats().host_locks.is_empty());
//! # }
//! ```
//!
#![doc = include_str!("../ARCHITECTURE.md")]

mod blocking;
mod breaker;
pub mod builtin;
mod context;
mod dispatch;
mod error;
pub mod event;
mod executor;
mod ids;
mod item;
mod job;
pub mod journal;
pub mod monitor;
mod os;
mod outcome;
mod place;
pub mod process;
pub mod remote;
mod scheduling;
mod stop_clock;
pub mod summary;
mod suspension;
mod table;
mod timestamp;
pub mod worker;

pub use breaker::{BreakerConfig, BreakerReport, BreakerState, BreakerWindow, SlowAttempts};
pub use context::{ATTEMPT_VARIABLES, Context, RUN_ID_VARIABLE, Step};
pub use error::Error;
pub use executor::{
    Attempt, Cancellation, Dependencies, Executor, ExecutorBuilder, ExecutorStatus, Halt, Interest,
    JobOutput, JobState, Ledger, MaxFailures, NoCacheKey, Ordering, Progress, ProgressInterval,
    ProgressMeter, ProgressWatch, Run, RunHandle, RunStatus, Runner, RunningJob, SESSION_VARIABLES,
    Service, Sink, Snapshot, Stopped, Submitter, WaitCause, WaitingJob, command_failure,
    start_failure,
};
pub use ids::{PlaceName, SlotNumber, Ticket};
pub use item::{ItemName, JobIdentity, JobItem};
pub use job::{
    CacheTerms, Closure, ClosureFuture, Job, Placement, ResourceNeed, Terms, Timeouts, Work,
};
pub use journal::{Content, Durability, History, Journal, JournalError, Resume, RunId, RunStore};
pub use os::OutputExcerpt;
pub use outcome::{
    AttemptDetail, AttemptEnd, AttemptUsage, Attempts, AttemptsShown, Class, CommandResult,
    Failure, LeftOut, Outcome, Status,
};
pub use place::{Place, PlaceState};
pub use ratchet_ipc::{HostName, JobKey, Payload, TaskName, error_chain};
pub use scheduling::{
    Acquire, Affinity, AfterAttempt, Ageing, Balance, Balancer, Blocker, CancelResult, Candidate,
    Decision, KeyState, Kind, LeastLoaded, Limit, LimitId, LimitState, ParallelizationGuard,
    ParallelizationHint, ParallelizationManager, ParallelizationStats, PowerOfTwo, Priority, Quota,
    Rate, RateLimiterState, Resource, ResourceId, ResourceShare, RoundRobin, Scheduler,
    SchedulerLoad, SchedulerRequest, SchedulerSettings, TokenBucket, WaitTimes, Waits, Weighted,
    WorkerNumber, Workers, check_resource_name, closest, order_by_needs, resource_variable,
};
pub use summary::{ExecutionStats, Results, Summary};
pub use timestamp::{InvalidTimestamp, Timestamp};

/// Mocks of the traits of this crate, for tests of one's own code.
///
/// Code that runs jobs is tested without whoever does them, by a [`MockRunner`](mock::MockRunner):
///
/// ```
/// use ratchet_runtime::mock::MockRunner;
/// use ratchet_runtime::summary::Results;
/// use ratchet_runtime::{Class, Error, Executor, Failure, Job, Payload, Runner};
///
/// /// The code under test: resizes pictures, and says which could not be.
/// async fn resize(runner: impl Runner + 'static, paths: &[&str]) -> Result<Vec<String>, Error> {
///     let jobs: Vec<Job> = paths
///         .iter()
///         .map(|path| Job::task(*path, "resize", Payload::from_text(path)))
///         .collect();
///     let outcomes = Executor::builder().runner(runner).build()?.run_all(jobs).await?;
///     Ok(outcomes.filter_failed().map(|failed| failed.id.to_string()).collect())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// let mut runner = MockRunner::new();
/// runner.expect_run().times(2).returning(|attempt, _context| {
///     if attempt.job.id.as_str().ends_with(".txt") {
///         return Err(Failure::new(Class::Task, "not a picture"));
///     }
///     Ok(Payload::null())
/// });
/// assert_eq!(resize(runner, &["a.png", "b.txt"]).await?, ["b.txt"]);
/// # Ok(())
/// # }
/// ```
///
/// Code that has a pool is tested without processes, by a [`MockProcessManager`](mock::MockProcessManager)
/// whose processes are pipes in memory:
///
/// ```
/// use std::sync::Arc;
/// use ratchet_runtime::mock::MockProcessManager;
/// use ratchet_runtime::process::{
///     Ended, Ending, Exit, ExitWatch, PoolConfig, ProcessConfig, ProcessHandle, ProcessId,
///     ProcessPool,
/// };
/// use ratchet_runtime::{Job, Payload};
/// use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, duplex, empty};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut manager = MockProcessManager::new();
/// manager.expect_spawn_process().returning(|_config| {
///     let (stdin, requests) = duplex(1 << 16);
///     let (stdout, mut answers) = duplex(1 << 16);
///     let (notice, exit) = ExitWatch::channel();
///     // The worker: it answers each request with a 7, until its stdin ends.
///     tokio::spawn(async move {
///         let mut requests = BufReader::new(requests).lines();
///         while let Ok(Some(request)) = requests.next_line().await {
///             let Some((_, rest)) = request.split_once(r#""id":""#) else { continue };
///             let id = rest.split('"').next().unwrap_or_default();
///             let answer = format!("{{\"type\":\"response\",\"id\":\"{id}\",\"result\":7}}\n");
///             answers.write_all(answer.as_bytes()).await.unwrap();
///         }
///         notice.send(Ended {
///             exit: Exit::Code(0),
///             ending: Ending::Asked,
///             left_behind: false,
///             survivors: Vec::new(),
///         });
///     });
///     let pipes = (Box::new(stdin) as _, Box::new(stdout) as _, Box::new(empty()) as _);
///     Ok(ProcessHandle::new(ProcessId::new(1), pipes, exit))
/// });
/// manager.expect_terminate_process().returning(|_process, _grace| Ok(()));
///
/// let config = PoolConfig::new("seven", ProcessConfig::new("seven"));
/// let pool = ProcessPool::new(Arc::new(manager), config).await?;
/// let reply = pool.run(Job::task("a", "any", Payload::null())).await;
/// assert_eq!(reply.result.unwrap().as_str(), "7");
/// # Ok(())
/// # }
/// ```
#[cfg(any(test, feature = "mock"))]
pub mod mock {
    pub use crate::executor::MockRunner;
    pub use crate::os::MockProcessManager;
}
