//! The contract of a queue, whatever keeps it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ratchet_runtime::Ageing;

use crate::error::Error;
use crate::event::{Cursor, Event};
use crate::inspect::{Explanation, JobPage, NodeInfo};
use crate::job::{
    Cancelled, Declaration, JobSpec, JobState, Purged, QueueStatus, Requeued, Submitted,
};
use crate::names::{JobName, NodeId};
use crate::node::{Claims, Fence, Finish, FinishResult, Membership, NodeSpec, Renewal};

/// The settings of a queue. Whoever comes first makes the queue with his own; those who come later get its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueSettings {
    /// How long the session of a node is valid without being renewed.
    pub session: Duration,
    /// How long the ends of jobs and the events of the queue are kept.
    pub retention: Duration,
    /// How many jobs may wait and run. More are answered with [`Submitted::Full`].
    pub capacity: u64,
    /// How many bytes the payload or the result of a job may have. Whoever has more puts it elsewhere and names the place.
    pub max_payload: u64,
    /// How waiting makes up for priority.
    pub ageing: Ageing,
}

impl Default for QueueSettings {
    /// Returns sessions of 15 seconds, ends that are kept for a day, room for a million jobs, and payloads of up to 16 MiB.
    fn default() -> Self {
        Self {
            session: Duration::from_secs(15),
            retention: Duration::from_hours(24),
            capacity: 1_000_000,
            max_payload: 16 << 20,
            ageing: Ageing::default(),
        }
    }
}

impl QueueSettings {
    /// Refuses settings with which a queue could do nothing.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let refuse = |setting, reason| Err(Error::InvalidSetting { setting, reason });
        if self.session < Duration::from_millis(1) {
            return refuse(
                "session",
                "is shorter than a millisecond, so no node could keep it",
            );
        }
        if self.retention < self.session {
            return refuse(
                "retention",
                "is shorter than a session, so the end of a job could be gone before it is told again",
            );
        }
        if self.capacity == 0 {
            return refuse("capacity", "of 0 would never let anything in");
        }
        if self.max_payload > LARGEST {
            return refuse(
                "max_payload",
                "is more than 256 MiB, of which a server can hardly move one at a time",
            );
        }
        Ok(())
    }

    /// Refuses jobs whose payloads are too large.
    pub(crate) fn check_payloads(&self, jobs: &[JobSpec]) -> Result<(), Error> {
        for job in jobs {
            let size = job.payload.len() as u64;
            if size > self.max_payload {
                return Err(Error::TooLarge {
                    job: job.name.clone(),
                    size,
                    most: self.max_payload,
                });
            }
        }
        Ok(())
    }

    /// Whether the result in the end of an attempt, or what it hands over, is too large.
    pub(crate) fn is_too_large(&self, end: &Finish) -> bool {
        end.result_len() as u64 > self.max_payload
    }
}

/// The greatest limit of payloads.
const LARGEST: u64 = 256 << 20;

/// A queue that many submitters and nodes share.
///
/// All calls take and return many values at once, because each can be a round trip to a server. Every call first lets the
/// clock of the queue do what is due by then: sessions end, delays pass, tokens come.
///
/// Only [`wait`](Self::wait) waits for a change. Whoever has got no claims waits, at most until [`Claims::ask_again`] is over,
/// and asks again.
///
/// An engine behaves as [`MemoryEngine`](crate::MemoryEngine) does. The conformance suite in this crate's `tests` folder
/// runs on every engine, and so does a property test that compares their answers.
#[async_trait]
pub trait Engine: Send + Sync {
    /// Declares limits and resources that jobs can name. All of them are taken, or none.
    async fn declare(&self, declarations: &[Declaration]) -> Result<(), Error>;

    /// Adds jobs, with one answer for each. A job can need those before it in the same call.
    ///
    /// It is an error, and no job is added, if one of them would be refused by every queue, or has too large a payload for
    /// this one ([`QueueSettings::max_payload`]).
    async fn submit(&self, jobs: &[JobSpec]) -> Result<Vec<Submitted>, Error>;

    /// Opens a session for a node.
    async fn join(&self, node: &NodeSpec) -> Result<Membership, Error>;

    /// Takes attempts for a node: at most `most`, which fill at most `slots` slots together.
    async fn claim(&self, node: NodeId, slots: u32, most: usize) -> Result<Claims, Error>;

    /// Tells how attempts have ended, and takes others for what is free then: [`finish`](Self::finish) and
    /// [`claim`](Self::claim), which an engine may do in one step.
    ///
    /// After an error nobody knows whether the ends are recorded, and they can be told again.
    async fn exchange(
        &self,
        node: NodeId,
        ends: &[Finish],
        slots: u32,
        most: usize,
    ) -> Result<(Vec<FinishResult>, Claims), Error> {
        let results = self.finish(node, ends).await?;
        Ok((results, self.claim(node, slots, most).await?))
    }

    /// Waits until there may be something for a node whose last claim left it slots, at most this long. It may return for
    /// nothing, and in rare cases return late, so whoever calls it bounds the time.
    ///
    /// An engine that cannot tell waits for a tenth of a second.
    async fn wait(&self, node: NodeId, most: Duration) -> Result<(), Error> {
        let _unused_by_such_an_engine = node;
        tokio::time::sleep(most.min(Duration::from_millis(100))).await;
        Ok(())
    }

    /// Renews the session of a node, which lists all attempts that it holds.
    ///
    /// Attempts that the queue has given the node and that are not listed go back uncounted: the answer to a claim was lost on
    /// its way. So a node must not renew while one of its claims is under way.
    async fn renew(&self, node: NodeId, held: &[(JobName, Fence)]) -> Result<Renewal, Error>;

    /// Tells how attempts have ended. Each answer says whether that was recorded.
    async fn finish(&self, node: NodeId, ends: &[Finish]) -> Result<Vec<FinishResult>, Error>;

    /// Tells how far attempts are, for those who follow the queue. What comes from an attempt that was replaced is dropped.
    async fn progress(
        &self,
        node: NodeId,
        reports: &[(JobName, Fence, Arc<[u8]>)],
    ) -> Result<(), Error>;

    /// Cancels jobs. Those that run are stopped by their nodes.
    async fn cancel(&self, jobs: &[JobName]) -> Result<Vec<Cancelled>, Error>;

    /// Ends the session of a node that runs nothing any more. Attempts that it still holds go back uncounted.
    async fn leave(&self, node: NodeId) -> Result<(), Error>;

    /// Returns the events after a cursor, at most this many.
    async fn events(&self, after: Cursor, most: usize) -> Result<Vec<Event>, Error>;

    /// Returns the place of the latest event, after which a follower hears what comes from now on.
    async fn latest(&self) -> Result<Cursor, Error>;

    /// Returns where jobs are; `None` for those that the queue does not know, or no longer.
    async fn states(&self, jobs: &[JobName]) -> Result<Vec<Option<JobState>>, Error>;

    /// Returns how many jobs and nodes there are.
    async fn status(&self) -> Result<QueueStatus, Error>;

    /// Lets no job start until the queue is resumed. What runs goes on, and jobs can be submitted.
    async fn pause(&self) -> Result<(), Error>;

    /// Lets jobs start again.
    async fn resume(&self) -> Result<(), Error>;

    /// Lets jobs that have ended without success wait again, as if they came now, with their attempts counted anew.
    ///
    /// Jobs that such a job needs and that did not succeed wait again with it.
    async fn requeue(&self, jobs: &[JobName]) -> Result<Vec<Requeued>, Error>;

    /// Forgets jobs that have ended, with their results. Their names are free again.
    ///
    /// The events of their last ends go, too, so those who follow the queue and have not read them miss them.
    async fn purge(&self, jobs: &[JobName]) -> Result<Vec<Purged>, Error>;

    /// Returns the nodes that have a session, in the order in which they joined.
    async fn nodes(&self) -> Result<Vec<NodeInfo>, Error>;

    /// Returns where a job is and why; `None` if the queue does not know it, or no longer.
    async fn explain(&self, job: &JobName) -> Result<Option<Explanation>, Error>;

    /// Returns the jobs whose names begin like this and come after a name, at most this many, in the order of their names.
    ///
    /// An engine may return fewer than asked for, and says in [`JobPage::next`] whether more follow. Jobs that come between two
    /// pages may be missing.
    async fn list(
        &self,
        prefix: &str,
        after: Option<&JobName>,
        most: usize,
    ) -> Result<JobPage, Error>;
}
