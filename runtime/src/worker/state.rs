//! What state a worker is in, and every legal move between states.
//!
//! ```text
//! Starting --ready--> Ready <--took, gave back--> Busy
//!     |                 |                           |
//!     |              retire                      retire
//!     |                 v                           v
//!     +---------->  Stopping  <---last job-----  Draining
//!     |                 |                           |
//!     +------ died -----+------------> Dead <-------+       (from every state)
//! ```

use std::time::Instant;

use thiserror::Error;

use super::cause::Retirement;

/// What state a worker is in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum WorkerState {
    /// Its process was asked for, or has not said yet that it takes work.
    Starting { since: Instant },
    /// It takes work and has none.
    Ready { since: Instant },
    /// It works on so many jobs; some of them may only lie in its pipe.
    Busy { jobs: u32, since: Instant },
    /// It finishes what it has and gets nothing new.
    Draining { jobs: u32, why: Retirement },
    /// It was asked to end.
    Stopping { why: Retirement },
    /// It is no more.
    Dead,
}

/// Something that happens to a worker.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Move {
    /// It takes work from now on.
    Readied,
    /// It was given a job.
    Took,
    /// So many jobs left it, done or not.
    GaveBack(u32),
    /// It is to end when it has finished what it has.
    Retire(Retirement),
    /// Its process has ended.
    Died,
}

/// A move that no worker can make from where it is.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
#[error("a worker in state {from:?} cannot make the move {to:?}")]
pub(crate) struct IllegalMove {
    from: WorkerState,
    to: Move,
}

impl WorkerState {
    /// Every legal move; all others are refused.
    pub(crate) fn after(self, to: Move, now: Instant) -> Result<Self, IllegalMove> {
        let illegal = Err(IllegalMove { from: self, to });
        Ok(match (self, to) {
            (Self::Dead, _) => return illegal,
            (_, Move::Died) => Self::Dead,
            (Self::Starting { .. }, Move::Readied) => Self::Ready { since: now },
            (Self::Starting { .. } | Self::Ready { .. }, Move::Retire(why)) => {
                Self::Stopping { why }
            }
            (Self::Ready { .. }, Move::Took) => Self::Busy {
                jobs: 1,
                since: now,
            },
            (Self::Busy { jobs, since }, Move::Took) => Self::Busy {
                jobs: jobs + 1,
                since,
            },
            (Self::Busy { jobs, since }, Move::GaveBack(back)) if back < jobs => Self::Busy {
                jobs: jobs - back,
                since,
            },
            (Self::Busy { jobs, .. }, Move::GaveBack(back)) if back == jobs => {
                Self::Ready { since: now }
            }
            (Self::Busy { jobs, .. }, Move::Retire(why)) => Self::Draining { jobs, why },
            (Self::Draining { jobs, why }, Move::GaveBack(back)) if back < jobs => Self::Draining {
                jobs: jobs - back,
                why,
            },
            (Self::Draining { jobs, why }, Move::GaveBack(back)) if back == jobs => {
                Self::Stopping { why }
            }
            // Asked twice, it ends for the first reason.
            (Self::Draining { .. } | Self::Stopping { .. }, Move::Retire(_)) => self,
            (
                Self::Starting { .. }
                | Self::Ready { .. }
                | Self::Busy { .. }
                | Self::Draining { .. }
                | Self::Stopping { .. },
                Move::Readied | Move::Took | Move::GaveBack(_),
            ) => return illegal,
        })
    }

    /// How many jobs it has.
    pub(crate) fn jobs(self) -> u32 {
        match self {
            Self::Busy { jobs, .. } | Self::Draining { jobs, .. } => jobs,
            Self::Starting { .. } | Self::Ready { .. } | Self::Stopping { .. } | Self::Dead => 0,
        }
    }

    /// Whether it can be given a job, if it has room.
    pub(crate) fn takes_work(self) -> bool {
        matches!(self, Self::Ready { .. } | Self::Busy { .. })
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
        use Move::{Died, GaveBack, Readied, Retire, Took};
        assert!(matches!(walk(&[Readied]), Ok(WorkerState::Ready { .. })));
        let busy = walk(&[Readied, Took, Took, GaveBack(1)]).unwrap();
        assert_eq!((busy.jobs(), busy.takes_work()), (1, true));
        let draining = walk(&[Readied, Took, Took, Retire(Retirement::Age), GaveBack(1)]).unwrap();
        assert_eq!((draining.jobs(), draining.takes_work()), (1, false));
        let moves = [
            Readied,
            Took,
            Retire(Retirement::Age),
            Retire(Retirement::Idle),
            GaveBack(1),
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
    fn what_makes_no_sense_is_refused() {
        use Move::{Died, GaveBack, Readied, Retire, Took};
        for moves in [
            &[Took][..],
            &[Readied, Readied],
            &[Readied, GaveBack(1)],
            &[Readied, Took, GaveBack(2)],
            &[Readied, Took, Retire(Retirement::Age), Took],
            &[Readied, Retire(Retirement::Age), Took],
            &[Died, Died],
            &[Died, Readied],
        ] {
            assert!(walk(moves).is_err(), "{moves:?}");
        }
    }
}
