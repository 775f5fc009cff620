//! The states of a worker, and every legal move between them.
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

/// The state of a worker, as its supervisor knows it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum WorkerState {
    /// Its process was asked for, or has not said yet that it takes work.
    Starting { since: Instant },
    /// It takes work and has none.
    Idle { since: Instant },
    /// It has work.
    Busy { since: Instant },
    /// It finishes what it has and gets nothing new.
    Draining { why: Retirement },
    /// It was asked to end.
    Stopping { why: Retirement },
    /// Its process has ended.
    Dead,
}

/// Something that happens to a worker.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Move {
    /// It takes work from now on.
    Readied,
    /// It was given work.
    Began,
    /// It has nothing left to do.
    Emptied,
    /// It is to end when it has finished what it has.
    Retire(Retirement),
    /// Its process has ended.
    Died,
}

/// A move that a worker cannot make from its state.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
#[error("a worker in state {from:?} cannot make the move {to:?}")]
pub(crate) struct IllegalMove {
    from: WorkerState,
    to: Move,
}

impl WorkerState {
    /// The state after a move; every move that is not legal is refused.
    #[expect(
        clippy::match_same_arms,
        reason = "the arms stand in the order of the states that they are for"
    )]
    pub(crate) fn after(self, to: Move, now: Instant) -> Result<Self, IllegalMove> {
        let illegal = Err(IllegalMove { from: self, to });
        Ok(match (self, to) {
            (Self::Dead, _) => return illegal,
            (_, Move::Died) => Self::Dead,
            (Self::Starting { .. }, Move::Readied) => Self::Idle { since: now },
            (Self::Starting { .. } | Self::Idle { .. }, Move::Retire(why)) => {
                Self::Stopping { why }
            }
            (Self::Idle { .. }, Move::Began) => Self::Busy { since: now },
            (Self::Busy { .. }, Move::Emptied) => Self::Idle { since: now },
            (Self::Busy { .. }, Move::Retire(why)) => Self::Draining { why },
            (Self::Draining { why }, Move::Emptied) => Self::Stopping { why },
            // What was sent before the worker was asked to end may reach it after that.
            (Self::Busy { .. } | Self::Draining { .. } | Self::Stopping { .. }, Move::Began)
            | (Self::Idle { .. } | Self::Stopping { .. }, Move::Emptied)
            // Asked twice, it ends for the first reason.
            | (Self::Draining { .. } | Self::Stopping { .. }, Move::Retire(_)) => self,
            (Self::Starting { .. }, Move::Began | Move::Emptied)
            | (
                Self::Idle { .. }
                | Self::Busy { .. }
                | Self::Draining { .. }
                | Self::Stopping { .. },
                Move::Readied,
            ) => return illegal,
        })
    }

    /// Whether it takes work.
    pub(crate) fn takes_work(self) -> bool {
        matches!(self, Self::Idle { .. } | Self::Busy { .. })
    }

    /// Whether it has work.
    pub(crate) fn is_busy(self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Draining { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(moves: &[Move]) -> Result<WorkerState, IllegalMove> {
        let now = tokio::time::Instant::now().into_std();
        moves
            .iter()
            .try_fold(WorkerState::Starting { since: now }, |state, to| {
                state.after(*to, now)
            })
    }

    #[test]
    fn a_life_is_a_chain_of_legal_moves() {
        use Move::{Began, Died, Emptied, Readied, Retire};
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
        use Move::{Began, Emptied, Readied, Retire};
        let stopping = walk(&[Readied, Retire(Retirement::Idle), Began, Emptied]).unwrap();
        assert_eq!(
            stopping,
            WorkerState::Stopping {
                why: Retirement::Idle
            }
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        use Move::{Began, Died, Emptied, Readied, Retire};
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
