//! The engine in memory: the reference for all others, around the scheduler of the runtime.
//!
//! The scheduler decides which job starts, with its hints, limits, rates, resources, order and retries. This is what it does
//! not know, and where it stands instead:
//!
//! - **Nodes.** The scheduler has one number of slots. Here each node says at each claim how many it has. So jobs are sorted
//!   into *classes* (task, labels and slots), a class is a kind of worker for the scheduler, and a claim tells it how many
//!   such workers this node is. All jobs fill one slot of the scheduler, which has more than enough (`classes`).
//! - **Jobs that nobody can do.** A due job of the scheduler keeps what it needs, and one that no living node can do would
//!   keep it for ever. So such jobs wait outside of the scheduler, and are pushed late (`Scheduler::push_late`).
//! - **Jobs that fill several slots** could be passed for ever on nodes that are never empty enough. When such a job is due
//!   and lacks only slots, it reserves one node, which gets nothing else until the job has started.
//! - **Needs and fences** (`state`), the **ends** of jobs, which are kept for a time (`ends`), **sessions** (`sessions`) and **events**.

mod classes;
mod ends;
mod events;
mod inspect;
mod node;
mod sessions;
mod state;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::clock::{DrivenClock, Moment};
use crate::engine::{Engine, QueueSettings};
use crate::error::Error;
use crate::event::{Cursor, Event};
use crate::inspect::{Explanation, JobPage, NodeInfo};
use crate::job::{
    Cancelled, Declaration, JobSpec, JobState, Purged, QueueStatus, Requeued, Submitted,
};
use crate::names::{JobName, NodeId};
use crate::node::{Claims, Fence, Finish, FinishResult, Membership, NodeSpec, Renewal};
use state::State;

/// A queue in the memory of this process.
///
/// It serves submitters and nodes of one process, such as tests of code that uses an [`Engine`]. It ends with the process.
#[derive(Debug)]
pub struct MemoryEngine {
    /// What there is. No call waits while it holds the lock.
    state: Mutex<State>,
    /// The number of the latest change that may let a job start.
    changes: watch::Sender<u64>,
    /// Where the time comes from.
    clock: Clock,
}

/// Where a queue in memory has its time from.
#[derive(Debug)]
enum Clock {
    /// The monotonic clock of the system, from this moment on.
    System(Instant),
    /// A test.
    Driven(DrivenClock),
}

impl MemoryEngine {
    /// Makes an empty queue that goes by the clock of the system.
    pub fn new(settings: QueueSettings) -> Result<Self, Error> {
        Self::of(settings, Clock::System(Instant::now()))
    }

    /// Makes an empty queue that goes by a clock which a test drives.
    pub fn driven(settings: QueueSettings, clock: DrivenClock) -> Result<Self, Error> {
        Self::of(settings, Clock::Driven(clock))
    }

    fn of(settings: QueueSettings, clock: Clock) -> Result<Self, Error> {
        settings.check()?;
        Ok(Self {
            state: Mutex::new(State::new(settings, Instant::now().into_std())?),
            changes: watch::Sender::new(0),
            clock,
        })
    }

    /// Lets the clock do what is due, and then a step.
    fn step<T>(&self, step: impl FnOnce(&mut State) -> T) -> T {
        let now = match &self.clock {
            Clock::System(start) => Moment::default().after(start.elapsed()),
            Clock::Driven(clock) => clock.now(),
        };
        // A step that panicked is a bug in this crate, and the panic has told it already.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.advance(now);
        let answer = step(&mut state);
        let change = state.change;
        // While the state is locked, so that numbers only grow.
        self.changes.send_if_modified(|last| {
            let is_new = *last != change;
            *last = change;
            is_new
        });
        answer
    }
}

#[async_trait]
impl Engine for MemoryEngine {
    async fn declare(&self, declarations: &[Declaration]) -> Result<(), Error> {
        (declarations.iter()).try_for_each(Declaration::check)?;
        self.step(|state| state.declare(declarations))
    }

    async fn submit(&self, jobs: &[JobSpec]) -> Result<Vec<Submitted>, Error> {
        jobs.iter().try_for_each(JobSpec::check)?;
        self.step(|state| {
            state.settings.check_payloads(jobs)?;
            jobs.iter().map(|job| state.submit(job)).collect()
        })
    }

    async fn join(&self, node: &NodeSpec) -> Result<Membership, Error> {
        node.check()?;
        Ok(self.step(|state| state.join(node)))
    }

    async fn claim(&self, node: NodeId, slots: u32, most: usize) -> Result<Claims, Error> {
        self.step(|state| state.claim(node, slots, most))
    }

    async fn wait(&self, node: NodeId, most: Duration) -> Result<(), Error> {
        let Some(seen) = self.step(|state| state.seen_by(node)) else {
            return Err(Error::NodeLost { node });
        };
        let mut changes = self.changes.subscribe();
        let _over_or_changed = timeout(most, changes.wait_for(|last| *last > seen)).await;
        Ok(())
    }

    async fn renew(&self, node: NodeId, held: &[(JobName, Fence)]) -> Result<Renewal, Error> {
        Ok(self.step(|state| state.renew(node, held)))
    }

    async fn finish(&self, _node: NodeId, ends: &[Finish]) -> Result<Vec<FinishResult>, Error> {
        Ok(self.step(|state| ends.iter().map(|end| state.finish(end)).collect()))
    }

    async fn progress(
        &self,
        _node: NodeId,
        reports: &[(JobName, Fence, Arc<[u8]>)],
    ) -> Result<(), Error> {
        self.step(|state| state.progress(reports));
        Ok(())
    }

    async fn cancel(&self, jobs: &[JobName]) -> Result<Vec<Cancelled>, Error> {
        Ok(self.step(|state| jobs.iter().map(|job| state.cancel(job)).collect()))
    }

    async fn leave(&self, node: NodeId) -> Result<(), Error> {
        self.step(|state| state.leave(node));
        Ok(())
    }

    async fn events(&self, after: Cursor, most: usize) -> Result<Vec<Event>, Error> {
        self.step(|state| state.events.after(after, most))
    }

    async fn latest(&self) -> Result<Cursor, Error> {
        Ok(self.step(|state| state.events.latest()))
    }

    async fn states(&self, jobs: &[JobName]) -> Result<Vec<Option<JobState>>, Error> {
        Ok(self.step(|state| jobs.iter().map(|job| state.state_of(job)).collect()))
    }

    async fn status(&self) -> Result<QueueStatus, Error> {
        Ok(self.step(|state| state.status()))
    }

    async fn pause(&self) -> Result<(), Error> {
        self.step(|state| state.set_paused(true));
        Ok(())
    }

    async fn resume(&self) -> Result<(), Error> {
        self.step(|state| state.set_paused(false));
        Ok(())
    }

    async fn requeue(&self, jobs: &[JobName]) -> Result<Vec<Requeued>, Error> {
        Ok(self.step(|state| jobs.iter().map(|job| state.requeue(job)).collect()))
    }

    async fn purge(&self, jobs: &[JobName]) -> Result<Vec<Purged>, Error> {
        Ok(self.step(|state| jobs.iter().map(|job| state.purge(job)).collect()))
    }

    async fn nodes(&self) -> Result<Vec<NodeInfo>, Error> {
        Ok(self.step(|state| state.node_infos()))
    }

    async fn explain(&self, job: &JobName) -> Result<Option<Explanation>, Error> {
        Ok(self.step(|state| state.explain(job)))
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&JobName>,
        most: usize,
    ) -> Result<JobPage, Error> {
        Ok(self.step(|state| state.list(prefix, after, most)))
    }
}
