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
//! - A [`Balancer`] chooses the worker, a [`ModuleRegistry`] knows each module's hint.
//!
//! **When not to use it.** For a number of slots and nothing else, a semaphore is enough. Between
//! processes or machines, limits need a shared store; these live in one process.
//!
//! ```
//! use ratchet_runtime::{Decision, ParallelizationHint, Request, Scheduler, Settings};
//!
//! # #[expect(clippy::disallowed_methods, reason = "an example outside tokio")]
//! let now = std::time::Instant::now();
//! let mut scheduler = Scheduler::new(Settings { slots: 2, ..Settings::default() }, now)?;
//! let install = Request {
//!     hint: &ParallelizationHint::HostExclusive,
//!     host: Some("web1"),
//!     ..Request::new("apt")
//! };
//! let first = scheduler.push(install, now)?;
//! let second = scheduler.push(install, now)?;
//! assert_eq!(scheduler.pop(now), Decision::Start(first));
//! assert_eq!(scheduler.pop(now), Decision::Idle);
//! scheduler.finish(first)?;
//! assert_eq!(scheduler.pop(now), Decision::Start(second));
//! # Ok::<(), ratchet_runtime::Error>(())
//! ```

mod error;
mod scheduling;

pub use error::Error;
pub use scheduling::{
    Affinity, Ageing, Balance, Balancer, Cancelled, Candidate, Decision, KeyState, Kind,
    LeastLoaded, Limit, LimitId, LimitState, Load, Module, ModuleRegistry, ParallelizationHint,
    PowerOfTwo, Priority, Quota, Rate, Request, RoundRobin, Scheduler, Settings, Ticket,
    TokenBucket, Weighted, WorkerNumber, Workers, order_by_needs,
};
