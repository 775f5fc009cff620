//! Single-flight: one caller computes, and the others wait for its outcome.
//!
//! A flight is one computation of one key. It ends in exactly one of four ways, of which every waiter is notified:
//!
//! ```text
//! Running -> Completed(outcome)   the leader is done: every waiter has the outcome
//!         -> AlreadyStored(hit)   there was nothing to compute: the waiters whose policy accepts the entry have it
//!         -> Abandoned            the leader was cancelled or panicked: the waiters begin anew, and one of them leads
//!         -> NotShareable         only the leader may use the outcome: each waiter computes for itself
//! ```
//!
//! A flight never runs again: a new leader starts a new flight. So no waiter is chosen and woken to take over, and a
//! waiter that is dropped has no effect on the others.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::sync::watch;

use crate::entry::Labels;
use crate::invalidation::Selector;
use crate::key::Key;
use crate::task_cache::outcome::{ComputeResult, Hit};

/// The id of a flight. Callers that want a fresh result do not join the flights of those that accept a stored one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct FlightId {
    /// The key of the result.
    pub(super) key: Key,
    /// Whether the flight replaces an existing result. A normal lookup must not wait for such a flight.
    pub(super) is_refresh: bool,
}

/// The state of a flight. All states but `Running` are final.
#[derive(Debug, Clone)]
pub(super) enum FlightState {
    /// The computation is running.
    Running,
    /// The computation ended with this outcome, which those who wait share.
    Completed(ComputeResult),
    /// The result was stored by somebody else meanwhile.
    AlreadyStored(Hit),
    /// The computation was dropped, so a new one has to start.
    Abandoned,
    /// The outcome must not be shared, so each waiter computes for itself.
    NotShareable,
}

/// A computation that several callers may wait for.
#[derive(Debug)]
struct Flight {
    state: watch::Sender<FlightState>,
    /// The labels of the result, by which an invalidation finds the flight.
    labels: Labels,
    /// When the flight began. An invalidation takes this as the time of its result.
    begun: SystemTime,
    /// Whether an invalidation that selects its result took place while it ran. It is set under the lock of the table,
    /// and read without that lock before the result is stored, so it uses Acquire and Release.
    is_invalidated: AtomicBool,
}

/// All flights whose results may be stored.
#[derive(Debug, Default)]
pub(super) struct Flights {
    table: Mutex<FlightTable>,
}

/// The flights that an invalidation has to find.
#[derive(Debug, Default)]
struct FlightTable {
    /// The flights that can be joined.
    joinable: HashMap<FlightId, Arc<Flight>>,
    /// The flights that cannot be joined: each waiter of a flight that could not be shared has one.
    private: Vec<(FlightId, Arc<Flight>)>,
}

/// The role of a caller in a flight.
pub(super) enum Role {
    /// The caller computes the result.
    Leader(Leader),
    /// The caller waits for the end of the flight.
    Waiter(watch::Receiver<FlightState>),
}

impl Flights {
    /// Joins the flight with this id, or starts it.
    pub(super) fn join_or_start(
        self: &Arc<Self>,
        id: FlightId,
        labels: &Labels,
        now: SystemTime,
    ) -> Role {
        let mut table = self.table();
        if let Some(flight) = table.joinable.get(&id) {
            return Role::Waiter(flight.state.subscribe());
        }
        let leader = self.start_untracked(id, labels, now);
        table.joinable.insert(id, Arc::clone(&leader.flight));
        Role::Leader(leader)
    }

    /// Starts a flight that no other caller can join.
    pub(super) fn start_private(
        self: &Arc<Self>,
        id: FlightId,
        labels: &Labels,
        now: SystemTime,
    ) -> Leader {
        let leader = self.start_untracked(id, labels, now);
        let flight = Arc::clone(&leader.flight);
        self.table().private.push((id, flight));
        leader
    }

    /// Starts a flight that no other caller can join and whose result is not stored, so that no invalidation has to
    /// find it.
    pub(super) fn start_untracked(
        self: &Arc<Self>,
        id: FlightId,
        labels: &Labels,
        now: SystemTime,
    ) -> Leader {
        let flight = Flight {
            state: watch::Sender::new(FlightState::Running),
            labels: labels.clone(),
            begun: now,
            is_invalidated: AtomicBool::new(false),
        };
        Leader {
            flights: Arc::clone(self),
            flight: Arc::new(flight),
            id,
        }
    }

    /// Marks the flights whose results the selector would drop. Their results are not stored, and no caller joins them
    /// any more.
    pub(super) fn invalidate(&self, selector: &Selector) {
        let mut table = self.table();
        let stays = |id: &FlightId, flight: &Flight| {
            let is_selected = selector.matches(&id.key, &flight.labels, flight.begun);
            if is_selected {
                flight.is_invalidated.store(true, Ordering::Release);
            }
            !is_selected
        };
        table.joinable.retain(|id, flight| stays(id, flight));
        table.private.retain(|(id, flight)| stays(id, flight));
    }

    fn table(&self) -> MutexGuard<'_, FlightTable> {
        // The table is consistent between any two statements, so a panic of another thread does no harm.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the number of computations in progress.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        let table = self.table();
        table.joinable.len() + table.private.len()
    }
}

/// The caller that computes a shared result, and has to end the flight.
///
/// Dropping it before the end abandons the flight, so that a leader that is cancelled or panics never leaves its
/// waiters hanging.
#[derive(Debug)]
pub(super) struct Leader {
    flights: Arc<Flights>,
    flight: Arc<Flight>,
    id: FlightId,
}

impl Leader {
    /// Gives the outcome to everyone who waits, or joins before the leader is dropped.
    pub(super) fn complete(&self, outcome: &ComputeResult) {
        let state = FlightState::Completed(outcome.clone());
        self.flight.state.send_replace(state);
    }

    /// Passes the entry that was found in the store to every caller that waits.
    pub(super) fn found_stored(&self, hit: &Hit) {
        let state = FlightState::AlreadyStored(hit.clone());
        self.flight.state.send_replace(state);
    }

    /// Ends the flight without a result, so that each waiting caller computes for itself.
    pub(super) fn refuse_to_share(self) {
        // The flight leaves the table first, so that no caller joins it after its end.
        self.leave_table();
        self.flight.state.send_replace(FlightState::NotShareable);
    }

    /// Returns a receiver of the end of the flight.
    pub(super) fn subscribe(&self) -> watch::Receiver<FlightState> {
        self.flight.state.subscribe()
    }

    /// Returns the key and the mode of the computation.
    pub(super) fn id(&self) -> FlightId {
        self.id
    }

    /// Returns when the computation began.
    pub(super) fn begun(&self) -> SystemTime {
        self.flight.begun
    }

    /// Whether the result was invalidated while it was being computed, so that it must not be stored.
    pub(super) fn is_invalidated(&self) -> bool {
        self.flight.is_invalidated.load(Ordering::Acquire)
    }

    /// Removes the flight from the table, so that no caller joins it.
    fn leave_table(&self) {
        let mut table = self.flights.table();
        // After an invalidation, the table may contain another flight with this id.
        if table
            .joinable
            .get(&self.id)
            .is_some_and(|flight| Arc::ptr_eq(flight, &self.flight))
        {
            table.joinable.remove(&self.id);
        } else if let Some(index) = table
            .private
            .iter()
            .position(|(_, flight)| Arc::ptr_eq(flight, &self.flight))
        {
            table.private.swap_remove(index);
        }
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.leave_table();
        self.flight.state.send_if_modified(|state| {
            let is_abandoned = matches!(state, FlightState::Running);
            if is_abandoned {
                *state = FlightState::Abandoned;
            }
            is_abandoned
        });
    }
}
