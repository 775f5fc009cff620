//! Decides who may run now, on which worker, and in which order.
//!
//! A queue, a semaphore for the slots and a few locks are quickly written, and go wrong in the same
//! ways every time: jobs that wait for one busy host fill all slots; a job that needs two locks is
//! passed for ever by jobs that need one; a rate limiter lets twice its rate through in the first
//! second; the last of a million jobs costs a thousand times what the first did. This crate is that
//! part, done once: a [`Scheduler`] that takes all a job needs in one step or none of it, starts
//! the first that can run, starves nobody, and says why its promises hold.
//!
//! - A [`ParallelizationHint`] says how parallel a job may be, a [`Limit`] what it shares.
//! - The [`Scheduler`] is a plain value: it is told what happens and when, and decides. It does no
//!   I/O, has no clock and no thread, and is for whoever has a loop of their own.
//! - The [`ParallelizationManager`] is for everybody else: `acquire`, work, drop the guard.
//! - A [`Balancer`] chooses the worker, a [`ModuleRegistry`] knows each module's hint.
//!
//! The [built-in worker](worker::builtin) is here too: of use for trying things out, for tests and for
//! measuring.
//!
//! **When not to use it.** For a number of slots and nothing else, a semaphore is enough. Between
//! processes or machines, limits need a shared store; these live in one process.
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

mod error;
pub mod event;
mod executor;
mod job;
pub mod journal;
mod outcome;
pub mod process;
mod scheduling;
pub mod summary;
mod table;
pub mod worker;

pub use error::Error;
pub use executor::{
    Attempt, Context, Dependencies, Executor, ExecutorBuilder, ExecutorStatus, Halt, Ledger,
    MaxFailures, Ordering, Pace, Progress, ProgressMeter, ProgressWatch, Run, RunHandle, RunStatus,
    Runner, Service, Sink, Step, Stopped, Submitter, monitor,
};
pub use job::{Answering, CacheTerms, Closure, Job, Terms, Timeouts, Work};
pub use journal::{Content, Durability, History, Journal, JournalError, Resume, RunId, RunStore};
pub use outcome::{Class, Failure, Outcome, Status};
pub use ratchet_ipc::{HostName, JobKey, Payload, TaskName};
pub use scheduling::{
    Acquire, Affinity, Ageing, Balance, Balancer, Cancelled, Candidate, Decision, End, KeyState,
    Kind, LeastLoaded, Limit, LimitId, LimitState, Load, Module, ModuleRegistry,
    ParallelizationGuard, ParallelizationHint, ParallelizationManager, ParallelizationStats,
    PowerOfTwo, Priority, Quota, Rate, RateLimiterState, Request, RoundRobin, Scheduler, Settings,
    Ticket, TokenBucket, WaitTimes, Weighted, WorkerNumber, Workers, order_by_needs,
};
pub use summary::{ExecutionStats, Results, Summary};

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
    pub use crate::process::MockProcessManager;
}
