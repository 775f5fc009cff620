//! The task that lets waiters through when time alone does.
//!
//! There is one at most, and only while somebody waits for a moment. If every waiter had a timer
//! of its own, all of them would wake for each token. The task lives in the runtime of the waiter
//! that started it; should that runtime end, another waiter starts the next one in its own.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::{Shared, now, wake};

/// Knows whether a task keeps the time of a manager.
#[derive(Default)]
pub(super) struct Timekeeper {
    /// There is such a task, or one is appointed. It says here when it ends.
    running: bool,
    /// The next moment has changed.
    alarm: Arc<Notify>,
}

impl Timekeeper {
    /// Whether there is no such task.
    pub(super) fn is_missing(&self) -> bool {
        !self.running
    }

    /// Tells the timekeeper, if there is one, that the next moment is another one.
    pub(super) fn wake(&self) {
        if self.running {
            self.alarm.notify_one();
        }
    }

    /// Appoints a timekeeper, unless there is one. Who gets it has to [`start`](PendingTimekeeper::start) it.
    pub(super) fn appoint(&mut self, shared: &Arc<Mutex<Shared>>) -> Option<PendingTimekeeper> {
        if self.running {
            return None;
        }
        self.running = true;
        Some(PendingTimekeeper {
            presence: TimekeeperGuard(Arc::downgrade(shared)),
            alarm: Arc::clone(&self.alarm),
        })
    }
}

/// A timekeeper that does not run yet.
///
/// Neither start nor drop it while the manager is locked: a runtime that is shutting down drops a
/// task as soon as it is spawned, and a timekeeper that goes locks the manager to say so.
#[must_use = "nobody else starts a timekeeper until this one is gone"]
pub(super) struct PendingTimekeeper {
    /// Tells, by being dropped, that the task has ended.
    presence: TimekeeperGuard,
    /// Tells that the next moment has changed.
    alarm: Arc<Notify>,
}

impl PendingTimekeeper {
    /// Runs the timekeeper in the runtime of the caller. Returns false if there is none that can.
    pub(super) fn start(self) -> bool {
        let Some(runtime) = runtime_with_time() else {
            return false;
        };
        let mut task = runtime.spawn(keep_time(self.presence, self.alarm));
        let looked = Pin::new(&mut task).poll(&mut Context::from_waker(Waker::noop()));
        !matches!(looked, Poll::Ready(Err(_)))
    }
}

/// The runtime that this is called in, if its time is enabled. There is no way to ask but to try.
pub(super) fn runtime_with_time() -> Option<Handle> {
    let runtime = Handle::try_current().ok()?;
    let tried = std::panic::catch_unwind(|| drop(tokio::time::sleep(Duration::ZERO)));
    tried.is_ok().then_some(runtime)
}

/// Tells the manager when the task is gone, however it goes.
struct TimekeeperGuard(Weak<Mutex<Shared>>);

impl Drop for TimekeeperGuard {
    fn drop(&mut self) {
        let Some(shared) = self.0.upgrade() else {
            return;
        };
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.timekeeper.running = false;
        // Wakes a waiter to start the next one, if there is a moment to wait for.
        let woken = shared.dispatch(now());
        drop(shared);
        wake(woken);
    }
}

/// Asks the scheduler whenever time may let somebody go on, until there is no such moment or no manager.
async fn keep_time(presence: TimekeeperGuard, alarm: Arc<Notify>) {
    loop {
        let Some(shared) = presence.0.upgrade() else {
            return;
        };
        let (woken, next) = {
            let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
            (shared.dispatch(now()), shared.next)
        };
        // Kept no longer: the manager may be dropped while this task sleeps.
        drop(shared);
        wake(woken);
        let Some(next) = next else { return };
        tokio::select! {
            () = tokio::time::sleep_until(next.into()) => {}
            () = alarm.notified() => {}
        }
    }
}
