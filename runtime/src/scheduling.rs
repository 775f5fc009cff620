//! Who may run now, on which worker, and in which order.

mod balancer;
mod bucket;
mod claims;
mod gates;
mod heap;
mod hints;
mod limits;
mod manager;
mod needs;
mod priority;
mod queue;
mod rate;
mod registry;
mod scheduler;
mod slab;
mod suggestion;

pub use balancer::{
    Affinity, Balance, Balancer, Candidate, LeastLoaded, PowerOfTwo, RoundRobin, Weighted,
    WorkerNumber,
};
pub use bucket::TokenBucket;
pub use claims::{Kind, LimitId, Request};
pub use hints::ParallelizationHint;
pub use limits::{Limit, Quota};
pub use manager::{
    Acquire, ParallelizationGuard, ParallelizationManager, ParallelizationStats, RateLimiterState,
    WaitTimes,
};
pub use needs::order_by_needs;
pub use priority::{Ageing, Priority};
pub use rate::Rate;
pub use registry::{Module, ModuleRegistry};
pub use scheduler::{
    Cancelled, Decision, KeyState, LimitState, Load, Scheduler, Settings, Ticket, Workers,
};
