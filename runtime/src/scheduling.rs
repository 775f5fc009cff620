//! Decides which job runs next, on which worker, and in which order.
//!
//! The types that users write are in `hints`, `limits`, `rate`, `priority` and `needs`; `claims` is the request of a
//! job. The `scheduler` decides which job starts; the documentation of [`Scheduler`] states its promises and rules. It
//! is built from `queue` (jobs, in lanes), `gates` (what they can wait at), `bucket` (rates), and two containers,
//! `heap` and `slab`. The `manager` wraps it for callers who only want a guard. The `balancer` comes after the
//! scheduler: it chooses the worker for a job that was started.

mod acquisitions;
mod balancer;
mod bucket;
mod claims;
mod clocks;
mod gates;
mod heap;
mod hints;
mod limits;
mod manager;
mod needs;
mod priority;
mod queue;
mod rate;
mod resources;
mod scheduler;
mod slab;
mod slots;
mod suggestion;
mod waits;

pub(crate) use acquisitions::{Acquisition, AcquisitionChange, are_traced};
pub use balancer::{
    Affinity, Balance, Balancer, Candidate, LeastLoaded, PowerOfTwo, RoundRobin, Weighted,
    WorkerNumber,
};
pub use bucket::TokenBucket;
pub use claims::{Kind, LimitId, SchedulerRequest};
pub use hints::ParallelizationHint;
pub use limits::{Limit, Quota};
pub use manager::{
    Acquire, ParallelizationGuard, ParallelizationManager, ParallelizationStats, RateLimiterState,
    WaitTimes,
};
pub use needs::order_by_needs;
pub(crate) use priority::Rank;
pub use priority::{Ageing, Priority};
pub use rate::Rate;
pub(crate) use resources::{HeldUnits, ResourcePool};
pub use resources::{Resource, ResourceId, ResourceShare, check_resource_name, resource_variable};
pub use scheduler::{
    AfterAttempt, CancelResult, Decision, KeyState, LimitState, Scheduler, SchedulerLoad,
    SchedulerSettings, Workers,
};
pub(crate) use slots::SlotNumbers;
pub use suggestion::closest;
pub use waits::{Blocker, Waits};
