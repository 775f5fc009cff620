#![cfg_attr(docsrs, feature(doc_cfg))]
//! A queue of jobs that many submitters and many nodes share, with the limits of `ratchet-runtime` exact over all of them.
//!
//! One executor with other hosts serves most people, and needs no server. This crate is for those who have several
//! submitters, nodes that come and go, or limits that must hold over everything that runs anywhere.
//!
//! - An [`Engine`] is the queue: jobs are [submitted](Engine::submit), nodes [join](Engine::join) and
//!   [claim](Engine::claim) what they may start, and tell how it [ended](Engine::finish).
//! - Whoever looks after it can [pause](Engine::pause) it, [list](Engine::list) its jobs, ask [why one waits](Engine::explain),
//!   and see its [nodes](Engine::nodes).
//! - A [`NodeRunner`] is the loop of a node: it claims, has a [`Performer`] do the work, renews the session, and ends all that
//!   runs before the session could be over.
//! - [`MemoryEngine`] keeps the queue in this process. It is the reference, around the scheduler of the runtime.
#![cfg_attr(
    feature = "redis",
    doc = "- [`RedisEngine`] keeps it on Redis or Valkey, where every step is one script."
)]
//!
//! # What an engine promises
//!
//! - **All or nothing.** What a job claims (the lock of its host, the global lock, units of limits and resources, tokens of
//!   rates) is taken in one step with its place on a node, by the clock of the queue. A job that waits holds nothing.
//! - **Order.** A claim gets the job that is first by priority and arrival, of all that this node can do and that lack
//!   nothing. Waiting makes up for priority ([`Ageing`](ratchet_runtime::Ageing)), and a job that falls due keeps what it
//!   needs, so nothing starves. A retry keeps its place.
//! - **One end.** Executing is at least once; the end of a job is recorded once. Each attempt has a [`Fence`], and only the
//!   latest one of a job can end it. A job that did not succeed can be [asked for again](Engine::requeue), and then ends again.
//! - **Nodes may die.** A node that does not renew its session in time is lost. Its jobs go to others. Before that
//!   moment, the node itself must have ended what it runs: [`Engine::renew`] says how long it may go on.
//!
//! # Example
//!
//! ```
//! use ratchet_queue::{AttemptEnd, Cursor, Engine, Finish, JobSpec, MemoryEngine, NodeSpec, QueueSettings};
//! use ratchet_queue::{EventKind, FinalStatus};
//! use ratchet_runtime::ParallelizationHint;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), ratchet_queue::Error> {
//! let queue = MemoryEngine::new(QueueSettings::default())?;
//! let upgrade = |name: &str| JobSpec {
//!     hint: ParallelizationHint::HostExclusive,
//!     host: Some("db1".into()),
//!     ..JobSpec::new(name.parse().expect("a valid name"), "apt")
//! };
//! queue.submit(&[upgrade("tables"), upgrade("indices")]).await?;
//!
//! let node = queue.join(&NodeSpec::new("worker-1", 8)).await?.node;
//! // Both are on one host, so there is one to start.
//! let claims = queue.claim(node, 8, 8).await?.claims;
//! assert_eq!(claims.len(), 1);
//!
//! let end = AttemptEnd::Over { status: FinalStatus::Succeeded, result: b"done".as_slice().into() };
//! queue.finish(node, &[Finish { job: claims[0].job.clone(), fence: claims[0].fence, end }]).await?;
//! assert_eq!(queue.claim(node, 8, 8).await?.claims[0].job.as_str(), "indices");
//!
//! let events = queue.events(Cursor::START, 100).await?;
//! assert!(events.iter().any(|event| matches!(&event.kind, EventKind::Ended { job, .. } if job.as_str() == "tables")));
//! # Ok(())
//! # }
//! ```

/// The README, whose example is a test.
#[cfg(all(doctest, feature = "redis"))]
#[doc = include_str!("../README.md")]
struct Readme;

mod clock;
mod engine;
mod error;
mod event;
mod inspect;
mod job;
mod memory;
mod names;
mod node;
mod rates;
#[cfg(feature = "redis")]
mod redis;
mod runner;

pub use clock::{DrivenClock, Moment};
pub use engine::{Engine, QueueSettings};
pub use error::{BoxError, Error};
pub use event::{Cursor, Event, EventKind};
pub use inspect::{ExplainedState, Explanation, JobPage, NodeInfo, NodeLack, WaitReason};
pub use job::{
    Cancelled, Declaration, FinalStatus, JobSpec, JobState, Purged, QueueStatus, Refusal, Requeued,
    Submitted,
};
pub use memory::MemoryEngine;
pub use names::{InvalidName, JobName, Label, NodeId};
pub use node::{
    AttemptEnd, Claim, Claims, Fence, Finish, FinishResult, Membership, NodeSpec, Renewal, Share,
};
#[cfg(feature = "redis")]
pub use redis::{Password, RedisConfig, RedisEngine};
pub use runner::{Attempt, NodeReport, NodeRunner, Performer};
