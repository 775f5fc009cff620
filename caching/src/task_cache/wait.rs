//! Computing for others, and waiting for others.

use std::sync::atomic::Ordering;

use tokio::sync::watch;

use crate::key::Key;
use crate::task_cache::TaskCache;
use crate::task_cache::answer::{Begin, Hit};
use crate::task_cache::flights::{FlightName, Lead, Phase};
use crate::task_cache::policy::{Outcome, Policy};

/// What became of waiting.
#[derive(Debug)]
pub enum Waited {
    /// The outcome of the one who computed.
    Done(Outcome),
    /// An outcome that turned out to be stored.
    Hit(Hit),
    /// The one who computed went away, or has an outcome that is good for nobody else: compute, and commit.
    Lead(Permit),
}

/// The right and the duty to compute one key.
///
/// Dropping it, by cancellation or by a panic, hands the duty to one of those who wait.
#[derive(Debug)]
#[must_use = "dropping a permit hands the computation to someone else"]
pub struct Permit {
    pub(super) lead: Lead,
    pub(super) policy: Box<Policy>,
}

impl Permit {
    /// The key to compute.
    pub fn key(&self) -> Key {
        self.lead.name().key
    }
}

/// The place of one who waits for another's computation.
#[derive(Debug)]
pub struct Waiter {
    pub(super) cache: TaskCache,
    pub(super) phase: watch::Receiver<Phase>,
    pub(super) name: FlightName,
    pub(super) policy: Box<Policy>,
}

impl Waiter {
    /// Waits for the outcome, or for the duty to compute it. Cancel safe: giving up strands nobody.
    pub async fn wait(mut self) -> Waited {
        loop {
            let ended = match self
                .phase
                .wait_for(|phase| !matches!(phase, Phase::Running))
                .await
            {
                Ok(phase) => phase.clone(),
                // A flight ends before its sender goes away; a flight that is gone is lost.
                Err(_) => Phase::Lost,
            };
            let core = &self.cache.core;
            match ended {
                Phase::Landed(outcome) => {
                    core.shared.fetch_add(1, Ordering::Relaxed);
                    return Waited::Done(outcome);
                }
                Phase::Dissolved => {
                    let lead = core
                        .flights
                        .alone(self.name, &self.policy.labels, core.clock.now());
                    return Waited::Lead(Permit {
                        lead,
                        policy: self.policy,
                    });
                }
                Phase::Found(hit)
                    if self.policy.accepts(hit.entry.metadata(), core.clock.now()) =>
                {
                    return Waited::Hit(hit);
                }
                Phase::Running | Phase::Lost | Phase::Found(_) => {
                    match self.cache.begin(&self.name.key, &self.policy).await {
                        Begin::Hit(hit) => return Waited::Hit(hit),
                        Begin::Lead(permit) => return Waited::Lead(permit),
                        Begin::Wait(next) => self = next,
                    }
                }
            }
        }
    }
}
