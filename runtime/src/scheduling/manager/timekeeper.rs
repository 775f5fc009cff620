//! The task that lets waiters through when time alone does.
//!
//! There is one at most, and only while somebody waits for a moment. If every waiter had a timer
//! of its own, all of them would wake for each token. The task lives in the runtime of the waiter
//! that started it; should that runtime end, another waiter starts the next one in its own.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::{Shared, now, wake};

#[derive(Default)]
pub(super) struct Timekeeper {
    state: State,
    /// The next moment has changed.
    alarm: Arc<Notify>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Missing,
    Running,
    /// It panicked, because the runtime's time is not enabled.
    Broken,
}

impl Timekeeper {
    pub(super) fn is_missing(&self) -> bool {
        self.state == State::Missing
    }

    /// The next moment is another one.
    pub(super) fn tell(&self) {
        if self.state == State::Running {
            self.alarm.notify_one();
        }
    }

    /// See to it that a timekeeper runs. Says whether one does.
    pub(super) fn ensure(&mut self, shared: &Arc<Mutex<Shared>>) -> bool {
        match self.state {
            State::Running => true,
            State::Missing | State::Broken => match Handle::try_current() {
                Ok(runtime) if self.state == State::Missing => {
                    self.state = State::Running;
                    let presence = Presence(Arc::downgrade(shared));
                    runtime.spawn(keep_time(presence, Arc::clone(&self.alarm)));
                    true
                }
                _ => {
                    // The next waiter may be in a runtime that can.
                    self.state = State::Missing;
                    false
                }
            },
        }
    }
}

/// Tells the manager when the task is gone, however it goes.
struct Presence(Weak<Mutex<Shared>>);

impl Drop for Presence {
    fn drop(&mut self) {
        let Some(shared) = self.0.upgrade() else {
            return;
        };
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        let mut woken = Vec::new();
        if std::thread::panicking() {
            shared.timekeeper.state = State::Broken;
            // One of them learns it, and its going tells the next.
            woken.extend(shared.desks.iter_mut().find_map(|desk| desk.waker.take()));
        } else {
            shared.timekeeper.state = State::Missing;
            woken.extend(shared.dispatch(now()));
        }
        drop(shared);
        wake(woken);
    }
}

async fn keep_time(presence: Presence, alarm: Arc<Notify>) {
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
