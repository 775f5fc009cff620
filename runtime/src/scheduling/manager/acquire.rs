//! One caller who waits.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use super::{ParallelizationGuard, ParallelizationManager, now, wake};
use crate::Error;
use crate::scheduling::{Request, Ticket};

/// The future of [`ParallelizationManager::acquire`].
///
/// It takes its place in the queue when it is first polled. Dropping it at any time leaves the
/// queue, or gives back what it was just granted.
#[derive(Debug)]
#[must_use = "it does nothing unless awaited"]
pub struct Acquire<'a> {
    manager: ParallelizationManager,
    stage: Stage<'a>,
}

#[derive(Debug)]
enum Stage<'a> {
    Asking(Request<'a>),
    Waiting { ticket: Ticket, since: Instant },
    Over,
}

impl<'a> Acquire<'a> {
    pub(super) fn new(manager: ParallelizationManager, request: Request<'a>) -> Self {
        Self {
            manager,
            stage: Stage::Asking(request),
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
        let (ticket, since) = match this.stage {
            Stage::Waiting { ticket, since } => (ticket, since),
            Stage::Asking(request) => {
                let ticket = match shared.scheduler.push(request, now) {
                    Ok(ticket) => ticket,
                    Err(refused) => {
                        this.stage = Stage::Over;
                        return Poll::Ready(Err(refused));
                    }
                };
                this.stage = Stage::Waiting { ticket, since: now };
                shared.reserve(ticket);
                woken = shared.dispatch(now);
                (ticket, now)
            }
            // As with every future, polling it after it is done means nothing.
            Stage::Over => return Poll::Pending,
        };

        let answer = if shared.collect(ticket) {
            shared.waits.record(now.saturating_duration_since(since));
            this.stage = Stage::Over;
            Poll::Ready(Ok(ticket))
        } else if shared.next.is_some() && !shared.timekeeper.ensure(&this.manager.shared) {
            this.stage = Stage::Over;
            shared.withdraw(ticket);
            woken.extend(shared.dispatch(now));
            Poll::Ready(Err(Error::NoTimer))
        } else {
            let waker = &mut shared.desks[ticket.index()].waker;
            match waker {
                Some(waker) => waker.clone_from(context.waker()),
                None => *waker = Some(context.waker().clone()),
            }
            Poll::Pending
        };
        drop(shared);
        wake(woken);
        answer.map_ok(|ticket| ParallelizationGuard::new(this.manager.clone(), ticket))
    }
}

impl Drop for Acquire<'_> {
    fn drop(&mut self) {
        if let Stage::Waiting { ticket, .. } = self.stage {
            let mut shared = self.manager.lock();
            shared.withdraw(ticket);
            let woken = shared.dispatch(now());
            drop(shared);
            wake(woken);
        }
    }
}
