//! Single-flight: who computes, and who waits for whom.
//!
//! A flight is one computation of one key. It ends in exactly one of four ways, and every waiter hears of it:
//!
//! ```text
//! Running -> Landed(outcome)   the leader is done: everyone has the outcome
//!         -> Found(hit)        there was nothing to do: everyone whose policy accepts it has what is stored
//!         -> Lost              the leader was cancelled or panicked: those who wait begin anew, and one of them leads
//!         -> Dissolved         the outcome is the leader's alone: everyone else computes, too
//! ```
//!
//! A flight never goes back to running: a new leader means a new flight. So no waiter has to be chosen, woken and then
//! trusted to take over, and there is nothing that a waiter which goes away could take with it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::sync::watch;

use crate::cache::Labels;
use crate::invalidation::Selector;
use crate::key::Key;
use crate::task_cache::answer::Hit;
use crate::task_cache::policy::Outcome;

/// What a flight is known by. Those who ask for a fresh result do not join those who take a stored one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct FlightName {
    pub(super) key: Key,
    pub(super) refresh: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Phase {
    Running,
    Landed(Outcome),
    Found(Hit),
    Lost,
    Dissolved,
}

#[derive(Debug)]
struct Flight {
    phase: watch::Sender<Phase>,
    labels: Labels,
    begun: SystemTime,
    /// Results like it were dropped while it ran. Written under the table's lock; Acquire and Release, because whoever
    /// stores the result looks at it without that lock.
    invalidated: AtomicBool,
}

/// All flights whose results may be stored.
#[derive(Debug, Default)]
pub(super) struct Flights {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// Those that can be joined.
    open: HashMap<FlightName, Arc<Flight>>,
    /// Those that cannot: after a flight was dissolved, each of its waiters has one of these.
    closed: Vec<(FlightName, Arc<Flight>)>,
}

/// Either lead a flight or wait for one.
pub(super) enum Boarding {
    Lead(Lead),
    Join(watch::Receiver<Phase>),
}

impl Flights {
    /// Joins the flight of this name, or begins it.
    pub(super) fn board(
        self: &Arc<Self>,
        name: FlightName,
        labels: &Labels,
        now: SystemTime,
    ) -> Boarding {
        let mut table = self.table();
        if let Some(flight) = table.open.get(&name) {
            return Boarding::Join(flight.phase.subscribe());
        }
        let lead = self.untracked(name, labels, now);
        table.open.insert(name, Arc::clone(&lead.flight));
        Boarding::Lead(lead)
    }

    /// Begins a flight that nobody can join.
    pub(super) fn alone(
        self: &Arc<Self>,
        name: FlightName,
        labels: &Labels,
        now: SystemTime,
    ) -> Lead {
        let lead = self.untracked(name, labels, now);
        self.table().closed.push((name, Arc::clone(&lead.flight)));
        lead
    }

    /// Begins a flight that nobody can join and whose result is not stored, so that no invalidation has to find it.
    pub(super) fn untracked(
        self: &Arc<Self>,
        name: FlightName,
        labels: &Labels,
        now: SystemTime,
    ) -> Lead {
        let flight = Flight {
            phase: watch::Sender::new(Phase::Running),
            labels: labels.clone(),
            begun: now,
            invalidated: AtomicBool::new(false),
        };
        Lead {
            flights: Arc::clone(self),
            flight: Arc::new(flight),
            name,
        }
    }

    /// Marks the flights whose results the selector would drop, so that they are not stored, and lets nobody else join
    /// them.
    pub(super) fn invalidate(&self, selector: &Selector) {
        let mut table = self.table();
        let stays = |name: &FlightName, flight: &Flight| {
            let selected = selector.matches(&name.key, &flight.labels, flight.begun);
            if selected {
                flight.invalidated.store(true, Ordering::Release);
            }
            !selected
        };
        table.open.retain(|name, flight| stays(name, flight));
        table.closed.retain(|(name, flight)| stays(name, flight));
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // The table is whole between any two statements, so a panic elsewhere spoils nothing.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        let table = self.table();
        table.open.len() + table.closed.len()
    }
}

/// The duty to end a flight. Dropping it before the flight has ended loses it, so that a cancelled or panicking leader
/// strands nobody.
#[derive(Debug)]
pub(super) struct Lead {
    flights: Arc<Flights>,
    flight: Arc<Flight>,
    name: FlightName,
}

impl Lead {
    /// Gives everyone who waits, or joins before the lead is dropped, the outcome.
    pub(super) fn land(&self, outcome: &Outcome) {
        self.flight
            .phase
            .send_replace(Phase::Landed(outcome.clone()));
    }

    /// Tells everyone who waits what was found in the store.
    pub(super) fn found(&self, hit: &Hit) {
        self.flight.phase.send_replace(Phase::Found(hit.clone()));
    }

    /// Sends everyone who waits to compute, too.
    pub(super) fn dissolve(self) {
        self.leave_table();
        self.flight.phase.send_replace(Phase::Dissolved);
    }

    pub(super) fn name(&self) -> FlightName {
        self.name
    }

    pub(super) fn begun(&self) -> SystemTime {
        self.flight.begun
    }

    pub(super) fn is_invalidated(&self) -> bool {
        self.flight.invalidated.load(Ordering::Acquire)
    }

    fn leave_table(&self) {
        let mut table = self.flights.table();
        // After an invalidation, another flight of this name may be in the air.
        if table
            .open
            .get(&self.name)
            .is_some_and(|flight| Arc::ptr_eq(flight, &self.flight))
        {
            table.open.remove(&self.name);
        } else if let Some(index) = table
            .closed
            .iter()
            .position(|(_, flight)| Arc::ptr_eq(flight, &self.flight))
        {
            table.closed.swap_remove(index);
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.leave_table();
        self.flight.phase.send_if_modified(|phase| {
            let lost = matches!(phase, Phase::Running);
            if lost {
                *phase = Phase::Lost;
            }
            lost
        });
    }
}
