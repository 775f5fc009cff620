//! What a node hands over to the next attempt at a job, which may be on another node: how the attempts before it ended.

use ratchet_runtime::{Class, ExecutorBuilder, Failure, Outcome};
use serde::{Deserialize, Serialize};

/// The attempts at a job that have failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Handover {
    /// How many workers the job has crashed, on all nodes.
    crashes: u32,
    /// How the last attempt ended, with those before it.
    pub(crate) outcome: Outcome,
}

impl Handover {
    /// Reads what was handed over; `None` if nothing was, or if it cannot be read.
    pub(crate) fn read(handover: &[u8]) -> Option<Self> {
        if handover.is_empty() {
            return None;
        }
        let read = serde_json::from_slice(handover);
        // A node of another version may hand something else over. The job goes on without it.
        read.inspect_err(
            |error| tracing::warn!(%error, "the earlier attempts of a job cannot be read"),
        )
        .ok()
    }

    /// Puts the attempts before those of an outcome on this node, and counts the crashes of both.
    ///
    /// A worker that has died is a crash; a command has none. If the job has crashed too many workers, its failure becomes one
    /// of class `poison`.
    pub(crate) fn after(earlier: Option<Self>, mut outcome: Outcome, has_worker: bool) -> Self {
        let mut crashes = 0;
        if let Some(earlier) = earlier {
            crashes = earlier.crashes;
            outcome.continue_from(&earlier.outcome);
        }
        if let Err(failure) = &mut outcome.result
            && has_worker
            && matches!(failure.class, Class::Crash | Class::Memory)
        {
            crashes += 1;
            if crashes >= ExecutorBuilder::CRASH_LIMIT {
                let message = format!("it crashed {crashes} workers: {}", failure.message);
                **failure = Failure {
                    class: Class::Poison,
                    message,
                    retryable: false,
                    ..(**failure).clone()
                };
            }
        }
        Self { crashes, outcome }
    }

    /// Writes it for the queue.
    #[expect(
        clippy::expect_used,
        reason = "serialising an outcome as JSON cannot fail, since its keys are texts"
    )]
    pub(crate) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an outcome can be written as JSON")
    }
}

#[cfg(test)]
mod tests {
    use ratchet_runtime::Timestamp;

    use super::*;

    fn failed(number: u32, class: Class) -> Outcome {
        Outcome {
            attempts: number,
            started: Some(Timestamp::from_millis(number.into())),
            ..Outcome::new("a", "t", Err(Failure::new(class, "why")))
        }
    }

    #[test]
    fn crashes_count_over_nodes_and_the_last_one_is_poison() {
        let mut handover = None;
        for (number, class) in [(1, Class::Crash), (2, Class::Task), (3, Class::Memory)] {
            let next = Handover::after(handover, failed(number, class), true);
            assert_eq!(next.outcome.failure().unwrap().class, class);
            handover = Handover::read(&next.encode());
        }
        let last = Handover::after(handover, failed(4, Class::Crash), true);
        let failure = last.outcome.failure().unwrap();
        assert_eq!((failure.class, failure.retryable), (Class::Poison, false));
        assert_eq!(failure.message, "it crashed 3 workers: why");
        let numbers: Vec<u32> = (last.outcome.attempts_detail().listed().iter())
            .map(|attempt| attempt.number)
            .collect();
        assert_eq!(numbers, [1, 2, 3, 4]);
    }

    #[test]
    fn a_command_crashes_no_worker() {
        let mut handover = None;
        for number in 1..=4 {
            handover = Some(Handover::after(
                handover,
                failed(number, Class::Memory),
                false,
            ));
        }
        assert_eq!(handover.unwrap().crashes, 0);
    }
}
