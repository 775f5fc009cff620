//! The states of a worker, and every legal transition between them.
//!
//! ```text
//! Starting --ready--> Idle <--began, emptied--> Busy
//!     |                |                         |
//!     |             retire                    retire
//!     |                v                         v
//!     +---------->  Stopping  <---emptied---  Draining
//!     |                |                         |
//!     +------ died ----+------------> Dead <-----+       (from every state)
//! ```

use std::time::Instant;

use thiserror::Error;

use crate::dispatch::Retirement;

/// The state of a worker in the records of its supervisor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum WorkerState {
    /// The process is being started, or has not shown yet that it takes work.
    Starting { since: Instant },
    /// The worker takes work and has none.
    Idle { since: Instant },
    /// The worker has work.
    Busy { since: Instant },
    /// The worker finishes its work and gets nothing new.
    Draining { why: Retirement },
    /// The worker was asked to end and has nothing left to finish.
    Stopping { why: Retirement },
    /// The process has ended.
    Dead,
}

/// A change of a worker's state.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Transition {
    /// The worker takes work from now on.
    Readied,
    /// The worker was given work.
    Began,
    /// The worker has no work left.
    Emptied,
    /// The worker is to end when it has finished its work.
    Retire(Retirement),
    /// The process has ended.
    Died,
}

/// A transition that is not legal from the state of the worker.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
#[error("a worker in state {from:?} cannot make the transition {to:?}")]
pub(crate) struct IllegalTransition {
    from: WorkerState,
    to: Transition,
}

impl WorkerState {
    /// Returns the state after a transition; refuses every transition that is not legal.
    #[expect(
        clippy::match_same_arms,
        reason = "the arms are in the order of the states"
    )]
    pub(crate) fn after(self, to: Transition, now: Instant) -> Result<Self, IllegalTransition> {
        let illegal = Err(IllegalTransition { from: self, to });
        Ok(match (self, to) {
            (Self::Dead, _) => return illegal,
            (_, Transition::Died) => Self::Dead,
            (Self::Starting { .. }, Transition::Readied) => Self::Idle { since: now },
            (Self::Starting { .. } | Self::Idle { .. }, Transition::Retire(why)) => {
                Self::Stopping { why }
            }
            (Self::Idle { .. }, Transition::Began) => Self::Busy { since: now },
            (Self::Busy { .. }, Transition::Emptied) => Self::Idle { since: now },
            (Self::Busy { .. }, Transition::Retire(why)) => Self::Draining { why },
            (Self::Draining { why }, Transition::Emptied) => Self::Stopping { why },
            // An attempt that was sent before the worker was asked to end may reach it after that.
            (Self::Busy { .. } | Self::Draining { .. } | Self::Stopping { .. }, Transition::Began)
            | (Self::Idle { .. } | Self::Stopping { .. }, Transition::Emptied)
            // A worker that is asked twice ends for the first reason.
            | (Self::Draining { .. } | Self::Stopping { .. }, Transition::Retire(_)) => self,
            (Self::Starting { .. }, Transition::Began | Transition::Emptied)
            | (
                Self::Idle { .. }
                | Self::Busy { .. }
                | Self::Draining { .. }
                | Self::Stopping { .. },
                Transition::Readied,
            ) => return illegal,
        })
    }

    /// Whether the worker takes work.
    pub(crate) fn takes_work(self) -> bool {
        matches!(self, Self::Idle { .. } | Self::Busy { .. })
    }

    /// Whether the worker has work.
    pub(crate) fn is_busy(self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Draining { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(moves: &[Transition]) -> Result<WorkerState, IllegalTransition> {
        let now = tokio::time::Instant::now().into_std();
        moves
            .iter()
            .try_fold(WorkerState::Starting { since: now }, |state, to| {
                state.after(*to, now)
            })
    }

    #[test]
    fn a_worker_passes_through_its_states_by_legal_transitions() {
        use Transition::{Began, Died, Emptied, Readied, Retire};
        assert!(matches!(walk(&[Readied]), Ok(WorkerState::Idle { .. })));
        let busy = walk(&[Readied, Began, Began]).unwrap();
        assert!(busy.is_busy() && busy.takes_work());
        let draining = walk(&[Readied, Began, Retire(Retirement::Age)]).unwrap();
        assert!(draining.is_busy() && !draining.takes_work());
        let moves = [
            Readied,
            Began,
            Retire(Retirement::Age),
            Retire(Retirement::Idle),
            Emptied,
        ];
        assert_eq!(
            walk(&moves),
            Ok(WorkerState::Stopping {
                why: Retirement::Age
            })
        );
        assert_eq!(walk(&[Died]), Ok(WorkerState::Dead));
    }

    #[test]
    fn an_attempt_that_crosses_the_request_to_end_changes_nothing() {
        use Transition::{Began, Emptied, Readied, Retire};
        let stopping = walk(&[Readied, Retire(Retirement::Idle), Began, Emptied]).unwrap();
        assert_eq!(
            stopping,
            WorkerState::Stopping {
                why: Retirement::Idle
            }
        );
    }

    #[test]
    fn illegal_transitions_are_refused() {
        use Transition::{Began, Died, Emptied, Readied, Retire};
        for moves in [
            &[Began][..],
            &[Emptied],
            &[Readied, Readied],
            &[Readied, Began, Readied],
            &[Readied, Retire(Retirement::Age), Readied],
            &[Died, Died],
            &[Died, Readied],
        ] {
            assert!(walk(moves).is_err(), "{moves:?}");
        }
    }
}
