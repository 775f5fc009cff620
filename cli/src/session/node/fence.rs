//! Ends all that a node runs before its session is over.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ratchet_queue::{
    Cancelled, Claims, Cursor, Declaration, Engine, Error, Event, Explanation, Fence, Finish,
    FinishResult, JobName, JobPage, JobSpec, JobState, Membership, NodeId, NodeInfo, NodeSpec,
    Purged, QueueStatus, Renewal, Requeued, Submitted,
};
use ratchet_runtime::remote::{FenceMoment, SelfFence};
use tokio::sync::watch;
use tokio::time::Instant;

use super::runs::NodeRuns;

/// Watches until when the session of a node is surely valid, and kills what runs before it may be over.
#[derive(Clone)]
pub(super) struct SessionFence {
    own: SelfFence,
    runs: Arc<NodeRuns>,
    /// When all must be killed; `None` without a session.
    kill_at: Arc<watch::Sender<Option<Instant>>>,
}

impl SessionFence {
    /// Starts the watch. There is no session yet.
    pub(super) fn start(own: SelfFence, runs: Arc<NodeRuns>) -> Self {
        let (kill_at, watched) = watch::channel(None);
        let fence = Self {
            own,
            runs,
            kill_at: Arc::new(kill_at),
        };
        tokio::spawn(fence.clone().watch(watched));
        fence
    }

    /// Records that the session is valid for this long after it was asked for.
    fn granted(&self, (asked, moment): (Instant, FenceMoment), valid_for: Duration) {
        self.own.grant(moment, valid_for * 9 / 10);
        self.kill_at.send_replace(Some(asked + valid_for * 4 / 5));
    }

    /// Kills all that runs, and returns when nothing runs any more. Then there is nothing to fence until the next session.
    async fn end_session(&self) {
        self.kill_at.send_replace(None);
        self.runs.kill().await;
        self.own.suspend();
    }

    /// Ends each session whose time is over.
    async fn watch(self, mut watched: watch::Receiver<Option<Instant>>) {
        loop {
            let kill_at = *watched.borrow_and_update();
            let over = async {
                match kill_at {
                    Some(moment) => tokio::time::sleep_until(moment).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over => {
                    // The loop of the node begins no other session before its attempts have ended, and joins through
                    // the engine below, which waits for this as well.
                    self.end_session().await;
                }
                changed = watched.changed() => if changed.is_err() {
                    return;
                }
            }
        }
    }
}

/// An engine whose sessions are fenced.
pub(super) struct FencedEngine {
    inner: Arc<dyn Engine>,
    fence: SessionFence,
    /// The latest session.
    node: Mutex<Option<NodeId>>,
}

impl FencedEngine {
    /// Fences the sessions that are opened through it.
    pub(super) fn new(inner: Arc<dyn Engine>, fence: SessionFence) -> Self {
        Self {
            inner,
            fence,
            node: Mutex::new(None),
        }
    }

    /// Returns the latest session of the node, if it has joined.
    pub(super) fn node(&self) -> Option<NodeId> {
        *self.node.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns this moment by both clocks: that of the loop, and that of the keeper.
fn now() -> (Instant, FenceMoment) {
    // The keeper's comes first, so that its time is never the later one.
    let moment = FenceMoment::now();
    (Instant::now(), moment)
}

#[async_trait]
impl Engine for FencedEngine {
    async fn declare(&self, declarations: &[Declaration]) -> Result<(), Error> {
        self.inner.declare(declarations).await
    }

    async fn submit(&self, jobs: &[JobSpec]) -> Result<Vec<Submitted>, Error> {
        self.inner.submit(jobs).await
    }

    async fn join(&self, node: &NodeSpec) -> Result<Membership, Error> {
        // Nothing of an earlier session may run on in this one.
        self.fence.end_session().await;
        let asked = now();
        let membership = self.inner.join(node).await?;
        self.fence.granted(asked, membership.valid_for);
        *self.node.lock().unwrap_or_else(PoisonError::into_inner) = Some(membership.node);
        Ok(membership)
    }

    async fn claim(&self, node: NodeId, slots: u32, most: usize) -> Result<Claims, Error> {
        self.inner.claim(node, slots, most).await
    }

    async fn renew(&self, node: NodeId, held: &[(JobName, Fence)]) -> Result<Renewal, Error> {
        let asked = now();
        let renewal = self.inner.renew(node, held).await?;
        if let Renewal::Valid { valid_for, .. } = &renewal {
            self.fence.granted(asked, *valid_for);
        }
        Ok(renewal)
    }

    async fn finish(&self, node: NodeId, ends: &[Finish]) -> Result<Vec<FinishResult>, Error> {
        self.inner.finish(node, ends).await
    }

    async fn exchange(
        &self,
        node: NodeId,
        ends: &[Finish],
        slots: u32,
        most: usize,
    ) -> Result<(Vec<FinishResult>, Claims), Error> {
        self.inner.exchange(node, ends, slots, most).await
    }

    async fn progress(
        &self,
        node: NodeId,
        reports: &[(JobName, Fence, Arc<[u8]>)],
    ) -> Result<(), Error> {
        self.inner.progress(node, reports).await
    }

    async fn cancel(&self, jobs: &[JobName]) -> Result<Vec<Cancelled>, Error> {
        self.inner.cancel(jobs).await
    }

    async fn leave(&self, node: NodeId) -> Result<(), Error> {
        self.fence.end_session().await;
        self.inner.leave(node).await
    }

    async fn events(&self, after: Cursor, most: usize) -> Result<Vec<Event>, Error> {
        self.inner.events(after, most).await
    }

    async fn latest(&self) -> Result<Cursor, Error> {
        self.inner.latest().await
    }

    async fn states(&self, jobs: &[JobName]) -> Result<Vec<Option<JobState>>, Error> {
        self.inner.states(jobs).await
    }

    async fn status(&self) -> Result<QueueStatus, Error> {
        self.inner.status().await
    }

    async fn pause(&self) -> Result<(), Error> {
        self.inner.pause().await
    }

    async fn resume(&self) -> Result<(), Error> {
        self.inner.resume().await
    }

    async fn requeue(&self, jobs: &[JobName]) -> Result<Vec<Requeued>, Error> {
        self.inner.requeue(jobs).await
    }

    async fn purge(&self, jobs: &[JobName]) -> Result<Vec<Purged>, Error> {
        self.inner.purge(jobs).await
    }

    async fn nodes(&self) -> Result<Vec<NodeInfo>, Error> {
        self.inner.nodes().await
    }

    async fn explain(&self, job: &JobName) -> Result<Option<Explanation>, Error> {
        self.inner.explain(job).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&JobName>,
        most: usize,
    ) -> Result<JobPage, Error> {
        self.inner.list(prefix, after, most).await
    }
}
