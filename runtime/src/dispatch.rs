//! The contract between the executor's loop and the performers of attempts.
//!
//! ```text
//! loop --Order------> connection     an attempt to perform, or how one is to stop
//! loop --Demand-----> supervisor     how much work is left for a pool
//! loop <--Report----- connection     what became of an attempt
//! loop <--Report----- supervisor     which workers there are
//! ```
//!
//! **Seats.** A worker that takes attempts is offered to the loop by [`Report::Offered`], with a [`WorkerLink`] to its
//! connection. From then on the loop alone decides what that worker gets, until [`Report::Withdrawn`]. So a seat has one
//! owner, and nobody has to keep two counts in step.
//!
//! **Too late.** A worker can stop taking attempts while one is on its way to it. The connection then returns the attempt
//! by [`Report::Returned`], uncharged, and the loop gives it to another worker.
//!
//! **Ahead of time.** An assignment sent `ahead` lies in its worker's pipe, holds no slot and has not begun. It begins in
//! the place of one that has just ended, which [`Report::Ended`] and [`Report::Returned`] say by `next`: the slot passes
//! from one to the other in one step. Where it cannot come to that, it comes back by [`Report::Returned`].

mod assignment;
mod report;
mod reporter;
mod stop_failure;

pub(crate) use assignment::{
    Assignment, AttemptKey, FilterChange, FilterState, Kill, Offer, Order, ReplyTo, WorkerLink,
    WorkerNumber,
};
pub use assignment::{Reply, Retirement};
pub(crate) use report::{Demand, Introduction, PoolKey, Report, StopRequest};
pub(crate) use reporter::{ReportReceiver, Reporter};

pub(crate) use crate::stop_clock::{StopAction, StopClock, StopMethod, StopReason};
