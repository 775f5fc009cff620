//! The contract between the executor's loop and the performers of attempts.
//!
//! ```text
//! loop --Order------> connection     an attempt to perform, or how to stop one
//! loop --Demand-----> supervisor     how much work is left for a pool
//! loop <--Report----- connection     the outcome of an attempt
//! loop <--Report----- supervisor     which workers there are
//! ```
//!
//! **Seats.** A worker that takes attempts is offered to the loop by [`Report::Offered`], with a [`WorkerLink`] to its
//! connection. From then on the loop alone decides what that worker gets, until [`Report::Withdrawn`]. So each seat has
//! one owner, and no two counts have to be kept in step.
//!
//! **Too late.** A worker can stop taking attempts while one is on its way to it. The connection then returns the
//! attempt by [`Report::Returned`], uncharged, and the loop gives it to another worker.
//!
//! **Ahead of time.** An assignment sent `ahead` waits in its worker's pipe: it holds no slot and has not begun. It
//! begins in the place of one that has just ended, and [`Report::Ended`] or [`Report::Returned`] names it in `next`, so
//! the slot passes from one to the other in one step. An assignment that can no longer begin comes back by
//! [`Report::Returned`].

mod assignment;
mod report;
mod reporter;
mod stop_failure;

pub(crate) use assignment::{
    Assignment, AttemptKey, FilterChange, FilterState, Kill, Offer, Order, ReplyTo, WorkerLink,
    WorkerNumber,
};
pub use assignment::{Reply, Retirement};
pub(crate) use report::{DeclaredTask, Demand, PoolKey, Report, StopRequest};
pub(crate) use reporter::{ReportReceiver, Reporter};

pub(crate) use crate::stop_clock::{StopAction, StopClock, StopMethod, StopReason};
