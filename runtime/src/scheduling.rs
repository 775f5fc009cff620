//! Who may run now, on which worker, and in which order.
//!
//! What people write is in `hints`, `limits`, `rate`, `priority` and `needs`; `claims`
//! is what a job asks with. The `scheduler` decides; the documentation of [`Scheduler`] states its promises and rules. It
//! is built from `queue` (jobs, in lanes), `gates` (what they can wait at), `bucket` (rates), and
//! two containers, `heap` and `slab`. The `manager` wraps it for callers who only want a guard, and
//! the `balancer` comes after it: who runs is decided, where is not.

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
pub use priority::{Ageing, Priority};
pub use rate::Rate;
pub use resources::{Resource, ResourceId, ResourceShare, check_resource_name, resource_variable};
pub use scheduler::{
    AfterAttempt, CancelResult, Decision, KeyState, LimitState, Scheduler, SchedulerLoad,
    SchedulerSettings, Workers,
};
pub(crate) use slots::SlotNumbers;
pub use suggestion::closest;
pub use waits::{Blocker, Waits};
