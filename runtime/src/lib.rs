#![cfg_attr(docsrs, feature(doc_cfg))]
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
//! use ratchet_runtime::{Executor, Job, ParallelizationHint, Terms};
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
//!     Job::closure("report", |_context| async { Ok("all altered") })
//!         .needs(["tables-db1", "indices-db1", "tables-db2"]),
//! ];
//!
//! let outcomes = Executor::builder().slots(4).build()?.run_all(jobs).await?;
//! assert_eq!(outcomes[3].read::<String>()?, "all altered");
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
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(feature = "executor"),
    expect(
        dead_code,
        unused_imports,
        reason = "only the executor uses some parts of the modules below it"
    )
)]
#![doc = include_str!("../ARCHITECTURE.md")]

/// The README, whose example is a test.
#[cfg(all(doctest, feature = "executor"))]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(feature = "pool")]
mod blocking;
#[cfg(feature = "pool")]
mod breaker;
#[cfg(feature = "pool")]
pub mod builtin;
#[cfg(feature = "pool")]
mod context;
#[cfg(feature = "pool")]
mod dispatch;
mod error;
#[cfg(feature = "pool")]
pub mod event;
#[cfg(feature = "executor")]
mod executor;
mod ids;
#[cfg(feature = "pool")]
mod item;
#[cfg(feature = "pool")]
mod job;
#[cfg(feature = "journal")]
pub mod journal;
#[cfg(all(feature = "executor", any(test, feature = "mock")))]
pub mod mock;
#[cfg(any(feature = "pool", feature = "monitor"))]
pub mod monitor;
#[cfg(feature = "pool")]
mod os;
#[cfg(feature = "pool")]
mod outcome;
#[cfg(feature = "pool")]
mod place;
#[cfg(feature = "pool")]
pub mod process;
#[cfg(feature = "pool")]
pub mod remote;
mod scheduling;
mod status;
#[cfg(feature = "pool")]
mod stop_clock;
#[cfg(feature = "executor")]
pub mod summary;
#[cfg(feature = "pool")]
mod suspension;
mod table;
#[cfg(feature = "pool")]
mod timestamp;
#[cfg(feature = "pool")]
mod trace_context;
#[cfg(feature = "pool")]
pub mod worker;

#[cfg(feature = "pool")]
pub use breaker::{BreakerConfig, BreakerReport, BreakerState, BreakerWindow, SlowAttempts};
#[cfg(feature = "pool")]
pub use context::{ATTEMPT_VARIABLES, Context, RUN_ID_VARIABLE, Step};
pub use error::Error;
#[cfg(feature = "executor")]
pub use executor::{
    Attempt, Cancellation, Dependencies, EventFilter, Execute, Executor, ExecutorBuilder,
    ExecutorStatus, Halt, JobOutput, JobState, Ledger, MaxFailures, NoCacheKey, OutcomeOrder,
    ProgressInterval, ProgressMeter, ProgressWatch, Run, RunHandle, RunProgress, RunStatus, Runner,
    RunningJob, SESSION_VARIABLES, Service, Sink, Snapshot, Stopped, Submitter, SuccessGoal,
    WaitCause, WaitingJob, command_failure, start_failure,
};
pub use ids::{PlaceName, SlotNumber, Ticket};
#[cfg(feature = "pool")]
pub use item::{ItemName, JobIdentity, JobItem};
#[cfg(feature = "pool")]
pub use job::{
    CacheTerms, Closure, ClosureFuture, ClosureResult, Granted, Job, Placement, ResourceNeed,
    Terms, Timeouts, Work,
};
#[cfg(feature = "journal")]
pub use journal::{Content, Durability, History, Journal, JournalError, Resume, RunId, RunStore};
#[cfg(feature = "pool")]
pub use os::OutputExcerpt;
#[cfg(feature = "pool")]
pub use outcome::{
    AttemptDetail, AttemptEnd, AttemptUsage, Attempts, AttemptsShown, Class, CommandResult,
    Failure, LeftOut, Outcome,
};
#[cfg(feature = "pool")]
pub use place::{Place, PlaceState};
#[cfg(feature = "pool")]
pub use ratchet_ipc::{HostName, JobKey, Payload, TaskName, error_chain};
pub use scheduling::{
    Acquire, Affinity, AfterAttempt, Ageing, Balance, Balancer, Blocker, CancelResult, Candidate,
    Decision, KeyState, Kind, LeastLoaded, Limit, LimitId, LimitState, ParallelizationGuard,
    ParallelizationHint, ParallelizationManager, ParallelizationStats, PowerOfTwo, Priority, Quota,
    Rate, RateLimiterState, Resource, ResourceId, ResourceShare, RoundRobin, Scheduler,
    SchedulerLoad, SchedulerRequest, SchedulerSettings, TokenBucket, WaitTimes, Waits, Weighted,
    WorkerNumber, Workers, check_resource_name, closest, order_by_needs, resource_variable,
};
pub use status::Status;
#[cfg(feature = "executor")]
pub use summary::{ExecutionStats, Results, Summary};
#[cfg(feature = "pool")]
pub use timestamp::{InvalidTimestamp, Timestamp};
#[cfg(feature = "pool")]
pub use trace_context::{
    InvalidTraceParent, RunTrace, SpanId, TRACE_PARENT_VARIABLE, TraceId, TraceParent,
};
