use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::{AbortHandle, JoinHandle};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Phase, PhaseClock, TaskEnding, TaskReport};

/// What the coordinator and its handles have in common.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Wakes the coordinator when the last task has ended.
    pub(super) tracker: TaskTracker,
    begun: Begun,
}

/// One token for each phase that can begin.
#[derive(Debug, Default)]
struct Begun {
    draining: CancellationToken,
    cancelling: CancellationToken,
    killing: CancellationToken,
}

#[derive(Debug)]
struct State {
    clock: PhaseClock,
    alive: HashMap<u64, Task>,
    next_id: u64,
    /// Those that ended since draining began; what ends before is nobody's business.
    ended: Vec<TaskReport>,
}

#[derive(Debug)]
struct Task {
    name: String,
    /// None until the runtime has given it, right after the start.
    abort: Option<AbortHandle>,
}

impl Shared {
    pub(super) fn new(clock: PhaseClock) -> Self {
        let state = State {
            clock,
            alive: HashMap::new(),
            next_id: 0,
            ended: Vec::new(),
        };
        Self {
            state: Mutex::new(state),
            tracker: TaskTracker::new(),
            begun: Begun::default(),
        }
    }

    /// No code of a caller runs while it is locked, and every state in between is a sound one.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn clock(&self) -> PhaseClock {
        self.lock().clock
    }

    /// Cancelled when the phase begins; none for running, which has begun.
    pub(super) fn begun(&self, phase: Phase) -> Option<&CancellationToken> {
        match phase {
            Phase::Running => None,
            Phase::Draining => Some(&self.begun.draining),
            Phase::Cancelling => Some(&self.begun.cancelling),
            Phase::Killing => Some(&self.begun.killing),
        }
    }

    /// Moves the clock, and tells everybody if that begins a phase.
    pub(super) fn turn(&self, turn: impl FnOnce(&mut PhaseClock) -> Option<Phase>) {
        let (phase, doomed) = {
            let mut state = self.lock();
            let Some(phase) = turn(&mut state.clock) else {
                return;
            };
            let doomed: Vec<_> = match phase {
                Phase::Killing => state
                    .alive
                    .values()
                    .filter_map(|task| task.abort.clone())
                    .collect(),
                _ => Vec::new(),
            };
            (phase, doomed)
        };
        tracing::info!(%phase, "shutdown");
        for passed in [Phase::Draining, Phase::Cancelling, Phase::Killing] {
            if let Some(token) = self.begun(passed).filter(|_| passed <= phase) {
                token.cancel();
            }
        }
        // Outside the lock: a task that is dropped here takes it to say so.
        doomed.iter().for_each(AbortHandle::abort);
    }

    /// Enters a task before it runs. Its guard says how it ended, wherever it is dropped.
    pub(super) fn register(self: &Arc<Self>, name: String) -> Guard {
        let mut state = self.lock();
        let id = state.next_id;
        state.next_id += 1;
        state.alive.insert(id, Task { name, abort: None });
        Guard {
            shared: Arc::clone(self),
            id,
            returned: false,
        }
    }

    /// Keeps the means to abort a task, or uses it if killing began while the task started.
    pub(super) fn adopt<T>(&self, id: u64, handle: &JoinHandle<T>) {
        let mut state = self.lock();
        if let Some(task) = state.alive.get_mut(&id) {
            task.abort = Some(handle.abort_handle());
        }
        let too_late = state.clock.phase() == Phase::Killing;
        drop(state);
        if too_late {
            handle.abort();
        }
    }

    /// The reports so far; those still alive did not answer.
    pub(super) fn take_reports(&self) -> Vec<TaskReport> {
        let mut state = self.lock();
        let mut reports = std::mem::take(&mut state.ended);
        let mut left: Vec<_> = state.alive.iter().collect();
        left.sort_by_key(|(id, _)| **id);
        reports.extend(left.into_iter().map(|(_, task)| TaskReport {
            name: task.name.clone(),
            ending: TaskEnding::Unanswered,
        }));
        reports
    }
}

/// Lives inside a task and reports its end: its return, its panic, or its being dropped.
#[derive(Debug)]
pub(super) struct Guard {
    shared: Arc<Shared>,
    pub(super) id: u64,
    returned: bool,
}

impl Guard {
    pub(super) fn returned(mut self) {
        self.returned = true;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        let Some(task) = state.alive.remove(&self.id) else {
            return;
        };
        let ending = match state.clock.phase() {
            Phase::Running => return,
            _ if !self.returned && std::thread::panicking() => TaskEnding::Panicked,
            Phase::Draining if self.returned => TaskEnding::Finished,
            Phase::Killing if !self.returned => TaskEnding::Killed,
            _ => TaskEnding::Cancelled,
        };
        state.ended.push(TaskReport {
            name: task.name,
            ending,
        });
    }
}
