//! The order in which outcomes leave a run.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::outcome::Outcome;

/// The order in which a run gives its outcomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutcomeOrder {
    /// Outcomes come as jobs end.
    #[default]
    Completion,
    /// Outcomes come in the order of the jobs. An outcome waits for those of all earlier jobs. So if one job of a
    /// stream takes much longer than its neighbours, the window fills up and the source waits.
    Submission,
}

/// The final outcomes that were not delivered yet, in the order in which they leave.
#[derive(Debug)]
pub(super) struct Outgoing {
    ordering: OutcomeOrder,
    /// The outcomes that may leave now.
    ready: VecDeque<Arc<Outcome>>,
    /// The outcomes that wait for earlier ones. The element at index 0 belongs to the job at position `next`.
    early: VecDeque<Option<Arc<Outcome>>>,
    /// The position of the job whose outcome has to leave next.
    next: u64,
    /// How many outcomes are in `early`. It has gaps, so this is not its length.
    held: usize,
}

impl Outgoing {
    /// Makes an order that holds no outcome.
    pub(super) fn new(ordering: OutcomeOrder) -> Self {
        Self {
            ordering,
            ready: VecDeque::new(),
            early: VecDeque::new(),
            next: 0,
            held: 0,
        }
    }

    /// Adds the outcome of the job at this position.
    pub(super) fn push(&mut self, position: u64, outcome: Arc<Outcome>) {
        if self.ordering == OutcomeOrder::Completion {
            self.ready.push_back(outcome);
            return;
        }
        #[expect(
            clippy::expect_used,
            reason = "a job has one outcome, and the unfinished jobs of a run fit into memory"
        )]
        let at = (position.checked_sub(self.next))
            .and_then(|at| usize::try_from(at).ok())
            .expect("no outcome comes for a position that has left");
        if at >= self.early.len() {
            self.early.resize(at + 1, None);
        }
        self.early[at] = Some(outcome);
        self.held += 1;
        while let Some(Some(_)) = self.early.front() {
            self.ready.extend(self.early.pop_front().flatten());
            self.next += 1;
            self.held -= 1;
        }
    }

    /// Takes the next outcome that may leave.
    pub(super) fn pop(&mut self) -> Option<Arc<Outcome>> {
        self.ready.pop_front()
    }

    /// Whether an outcome may leave now.
    pub(super) fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Returns how many outcomes may leave now.
    pub(super) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Returns how many outcomes wait for earlier ones.
    pub(super) fn held_count(&self) -> usize {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ratchet_ipc::Payload;

    use super::*;

    fn outcome(number: u64) -> Arc<Outcome> {
        Arc::new(Outcome::new(number.to_string(), "t", Ok(Payload::null())))
    }

    proptest! {
        #[test]
        fn each_leaves_once_in_the_order_that_was_asked_for(
            (count, order) in (0_u64..60).prop_flat_map(|count| {
                (Just(count), Just((0..count).collect::<Vec<_>>()).prop_shuffle())
            }),
            by_submission in any::<bool>(),
        ) {
            let ordering = if by_submission { OutcomeOrder::Submission } else { OutcomeOrder::Completion };
            let mut outgoing = Outgoing::new(ordering);
            let mut left = Vec::new();
            for (pushed, &number) in order.iter().enumerate() {
                outgoing.push(number, outcome(number));
                prop_assert_eq!(left.len() + outgoing.ready() + outgoing.held_count(), pushed + 1);
                while let Some(outcome) = outgoing.pop() {
                    left.push(outcome.id.as_str().parse::<u64>().unwrap());
                }
            }
            let expected: Vec<u64> = if by_submission { (0..count).collect() } else { order };
            prop_assert_eq!(left, expected);
            prop_assert!(!outgoing.is_ready() && outgoing.held_count() == 0);
        }
    }
}
