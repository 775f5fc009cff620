//! The permit to compute, and the wait for another caller that computes.

use std::sync::atomic::Ordering;

use tokio::sync::watch;

use crate::key::Key;
use crate::task_cache::TaskCache;
use crate::task_cache::flights::{FlightId, FlightState, Leader};
use crate::task_cache::outcome::{ComputeResult, Hit};
use crate::task_cache::policy::Policy;

/// The result of [`TaskCache::begin`](crate::TaskCache::begin): an outcome, or what the caller has to do to get one.
#[derive(Debug)]
pub enum Begin {
    /// The outcome is stored: use it.
    Hit(Hit),
    /// Nobody computes the result, so the caller has to do it and [`commit`](crate::TaskCache::commit) the outcome.
    Lead(ComputePermit),
    /// Another caller computes: wait.
    Wait(Waiter),
}

/// How a wait ended.
#[derive(Debug)]
pub enum WaitResult {
    /// The other caller has computed this outcome.
    Done(ComputeResult),
    /// The outcome turned out to be stored.
    Hit(Hit),
    /// The other caller went away, or only that caller may use its outcome: compute, and commit.
    Lead(ComputePermit),
}

/// The right and the duty to compute one key.
///
/// Dropping it, by cancellation or by a panic, passes the duty to one of the waiting callers.
#[derive(Debug)]
#[must_use = "dropping a permit hands the computation to another caller"]
pub struct ComputePermit {
    /// The flight that this permit computes for.
    pub(super) leader: Leader,
    /// How the result is stored.
    pub(super) policy: Box<Policy>,
}

impl ComputePermit {
    /// Returns the key to compute.
    pub fn key(&self) -> Key {
        self.leader.id().key
    }

    /// Replaces the policy by which the outcome is stored, because another job with the same key computes it now. Jobs
    /// with one key can differ in what is not part of it, such as the time to live.
    pub fn with_policy(self, policy: Policy) -> Self {
        Self {
            policy: Box::new(policy),
            ..self
        }
    }
}

/// A caller that waits while another one computes.
#[derive(Debug)]
pub struct Waiter {
    /// The cache in which the flight is.
    pub(super) cache: TaskCache,
    /// The state of the flight, which changes when it ends.
    pub(super) state: watch::Receiver<FlightState>,
    /// The flight that is waited for.
    pub(super) id: FlightId,
    /// How the result is stored, if this waiter has to compute it.
    pub(super) policy: Box<Policy>,
}

impl Waiter {
    /// Waits for the outcome, or for the permit to compute it. Cancel safe: dropping the future affects no other
    /// caller.
    pub async fn wait(mut self) -> WaitResult {
        loop {
            let ended = match self
                .state
                .wait_for(|state| !matches!(state, FlightState::Running))
                .await
            {
                Ok(state) => state.clone(),
                // A leader ends its flight when it is dropped, before its sender is dropped. So the state is final, and
                // this case would cost no more than another lookup.
                Err(_) => FlightState::Abandoned,
            };
            let core = &self.cache.core;
            match ended {
                FlightState::Completed(outcome) => {
                    core.shared.fetch_add(1, Ordering::Relaxed);
                    return WaitResult::Done(outcome);
                }
                FlightState::NotShareable => {
                    let leader =
                        core.flights
                            .start_private(self.id, &self.policy.labels, core.clock.now());
                    return WaitResult::Lead(ComputePermit {
                        leader,
                        policy: self.policy,
                    });
                }
                FlightState::AlreadyStored(hit)
                    if self.policy.accepts(hit.entry.metadata(), core.clock.now()) =>
                {
                    return WaitResult::Hit(hit);
                }
                FlightState::Running | FlightState::Abandoned | FlightState::AlreadyStored(_) => {
                    match self.cache.begin(&self.id.key, &self.policy).await {
                        Begin::Hit(hit) => return WaitResult::Hit(hit),
                        Begin::Lead(permit) => return WaitResult::Lead(permit),
                        Begin::Wait(next) => self = next,
                    }
                }
            }
        }
    }
}
