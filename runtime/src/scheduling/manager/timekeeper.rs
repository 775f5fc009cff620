//! The task that dispatches again when time alone lets a request start.
//!
//! There is at most one such task, and only while a request waits for a moment. If every waiter had a timer of its own,
//! all of them would wake for each token. The task lives in the runtime of the waiter that started it; if that runtime
//! ends, another waiter starts the next one in its own.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::{Shared, now, wake};

/// Whether a timekeeper runs, and the way to wake it.
#[derive(Default)]
pub(super) struct Timekeeper {
    /// Whether there is such a task, or a pending one. Its guard resets this when it ends.
    running: bool,
    /// Notified when the next moment has changed.
    alarm: Arc<Notify>,
}

impl Timekeeper {
    /// Whether there is no timekeeper.
    pub(super) fn is_missing(&self) -> bool {
        !self.running
    }

    /// Wakes the timekeeper, if there is one, because the next moment has changed.
    pub(super) fn wake(&self) {
        if self.running {
            self.alarm.notify_one();
        }
    }

    /// Makes a timekeeper, unless there is one. The caller has to [`start`](PendingTimekeeper::start) it.
    pub(super) fn ensure(&mut self, shared: &Arc<Mutex<Shared>>) -> Option<PendingTimekeeper> {
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
/// Neither start nor drop it while the manager is locked: a runtime that is shutting down drops a task as soon as it is
/// spawned, and a timekeeper locks the manager when it is dropped.
#[must_use = "nobody else starts a timekeeper until this one is gone"]
pub(super) struct PendingTimekeeper {
    /// Resets [`Timekeeper::running`] when it is dropped.
    presence: TimekeeperGuard,
    /// Notified when the next moment has changed.
    alarm: Arc<Notify>,
}

impl PendingTimekeeper {
    /// Runs the timekeeper in the runtime of the caller. Returns false if the caller is in no runtime with time.
    pub(super) fn start(self) -> bool {
        let Some(runtime) = runtime_with_time() else {
            return false;
        };
        let mut task = runtime.spawn(keep_time(self.presence, self.alarm));
        let looked = Pin::new(&mut task).poll(&mut Context::from_waker(Waker::noop()));
        !matches!(looked, Poll::Ready(Err(_)))
    }
}

/// Returns the runtime of the caller, if its time is enabled. The only way to find that out is to try.
pub(super) fn runtime_with_time() -> Option<Handle> {
    let runtime = Handle::try_current().ok()?;
    let tried = std::panic::catch_unwind(|| drop(tokio::time::sleep(Duration::ZERO)));
    tried.is_ok().then_some(runtime)
}

/// Resets [`Timekeeper::running`] when it is dropped, however the task ended.
struct TimekeeperGuard(Weak<Mutex<Shared>>);

impl Drop for TimekeeperGuard {
    fn drop(&mut self) {
        let Some(shared) = self.0.upgrade() else {
            return;
        };
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.timekeeper.running = false;
        // Wakes a waiter that starts the next timekeeper, if there is a moment to wait for.
        let woken = shared.dispatch(now());
        drop(shared);
        wake(woken);
    }
}

/// Dispatches whenever time may let a request start, until there is no such moment or the manager is dropped.
async fn keep_time(presence: TimekeeperGuard, alarm: Arc<Notify>) {
    loop {
        let Some(shared) = presence.0.upgrade() else {
            return;
        };
        let (woken, next) = {
            let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
            (shared.dispatch(now()), shared.next)
        };
        // Not kept: the manager may be dropped while this task sleeps.
        drop(shared);
        wake(woken);
        let Some(next) = next else { return };
        tokio::select! {
            () = tokio::time::sleep_until(next.into()) => {}
            () = alarm.notified() => {}
        }
    }
}
