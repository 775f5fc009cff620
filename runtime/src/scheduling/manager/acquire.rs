//! The future of a request that waits for permission.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use super::{ParallelizationGuard, ParallelizationManager, now, wake};
use crate::Error;
use crate::ids::Ticket;
use crate::scheduling::SchedulerRequest;
use crate::scheduling::acquisitions::{AcquisitionChange, OwnedAcquisition, are_traced};

/// The future of [`ParallelizationManager::acquire`].
///
/// The request joins the queue when the future is first polled. Dropping the future at any time leaves the queue, or
/// gives back what was just granted.
#[derive(Debug)]
#[must_use = "it does nothing unless awaited"]
pub struct Acquire<'a> {
    /// The manager that grants the request.
    manager: ParallelizationManager,
    /// What the task asks for.
    request: SchedulerRequest<'a>,
    /// The progress of the request.
    stage: Stage,
}

/// The progress of a request.
#[derive(Debug)]
enum Stage {
    /// The request was not sent to the scheduler yet.
    Asking,
    /// The scheduler has the request.
    Waiting { ticket: Ticket, since: Instant },
    /// The claims were granted, or refused.
    Over,
}

impl<'a> Acquire<'a> {
    /// Makes the future of a request. The request joins the queue at the first poll.
    pub(super) fn new(manager: ParallelizationManager, request: SchedulerRequest<'a>) -> Self {
        Self {
            manager,
            request,
            stage: Stage::Asking,
        }
    }
}

impl Future for Acquire<'_> {
    type Output = Result<ParallelizationGuard, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let now = now();
        let mut shared = this.manager.lock();
        let mut woken = Vec::new();
        let mut is_new = false;
        let (ticket, since) = match this.stage {
            Stage::Waiting { ticket, since } => (ticket, since),
            Stage::Asking => {
                let ticket = match shared.scheduler.push(this.request, now) {
                    Ok(ticket) => ticket,
                    Err(refused) => {
                        this.stage = Stage::Over;
                        return Poll::Ready(Err(refused));
                    }
                };
                this.stage = Stage::Waiting { ticket, since: now };
                shared.add_waiter(ticket);
                woken = shared.dispatch(now);
                is_new = true;
                (ticket, now)
            }
            // As with every future, polling it after it is done means nothing.
            Stage::Over => return Poll::Pending,
        };

        let mut appointed = None;
        let mut replaced = None;
        let granted = shared.granted(ticket);
        if granted {
            shared.waits.record(now.saturating_duration_since(since));
            this.stage = Stage::Over;
        } else {
            replaced = shared.call(ticket, context.waker());
            if shared.next.is_some() {
                appointed = shared.timekeeper.ensure(&this.manager.shared);
            }
        }
        drop(shared);
        drop(replaced);
        wake(woken);
        if is_new && !granted && are_traced() {
            this.acquisition().get().tell(AcquisitionChange::Waits);
        }
        if granted {
            let told = are_traced().then(|| Box::new(this.acquisition()));
            let guard = ParallelizationGuard::new(this.manager.clone(), ticket, told);
            return Poll::Ready(Ok(guard));
        }
        if appointed.is_some_and(|appointed| !appointed.start()) {
            this.leave();
            return Poll::Ready(Err(Error::NoTimer));
        }
        Poll::Pending
    }
}

impl Acquire<'_> {
    /// Describes the acquisition, for debug events.
    fn acquisition(&self) -> OwnedAcquisition {
        let SchedulerRequest {
            hint, host, task, ..
        } = self.request;
        OwnedAcquisition::new(hint.name(), host, task)
    }

    /// Withdraws the request, or gives back what was granted and not received yet.
    fn leave(&mut self) {
        if let Stage::Waiting { ticket, .. } = std::mem::replace(&mut self.stage, Stage::Over) {
            self.manager.give_back(ticket);
        }
    }
}

impl Drop for Acquire<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}
