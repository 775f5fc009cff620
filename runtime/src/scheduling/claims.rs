//! The request of a job to the scheduler, and the claims that follow from it.

use super::hints::ParallelizationHint;
use super::limits::Quota;
use super::priority::Priority;
use super::resources::ResourceId;
use crate::Error;

/// A kind of worker, as a small number that the caller hands out.
///
/// A job runs on a worker of its kind. Kinds are independent: a kind without a free worker holds up only its own jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(pub u16);

/// A named limit, as a small number from [`Scheduler::limit`](super::Scheduler::limit).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LimitId(pub(super) u32);

/// The global lock is the first limit of every scheduler; users' limits come after it.
pub(super) const GLOBAL: LimitId = LimitId(0);

/// What a job asks of the scheduler.
///
/// The scheduler reads only what the job's hint needs: the host and the task of a fully parallel job are never hashed.
///
/// ```
/// use ratchet_runtime::{ParallelizationHint, Priority, SchedulerRequest};
///
/// let request = SchedulerRequest {
///     hint: &ParallelizationHint::HostExclusive,
///     host: Some("web1"),
///     priority: Priority::High,
///     ..SchedulerRequest::new("apt")
/// };
/// assert_eq!(request.slots, 1);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct SchedulerRequest<'a> {
    /// The name of the task: the rate key of a rate-limited job that names no key.
    pub task: &'a str,
    /// The kind of worker that the job needs.
    pub kind: Kind,
    /// How urgent the job is.
    pub priority: Priority,
    /// How many slots the job fills while it runs.
    pub slots: u32,
    /// How parallel it may be.
    pub hint: &'a ParallelizationHint,
    /// The host on which the job runs. All jobs that name no host are on one host, the local one.
    pub host: Option<&'a str>,
    /// The named limits that the job counts against.
    pub limits: &'a [LimitId],
    /// The resources that the job takes while it runs, each with the number of units.
    pub resources: &'a [(ResourceId, u64)],
}

impl<'a> SchedulerRequest<'a> {
    /// Makes a request for one slot, fully parallel, of normal priority.
    pub fn new(task: &'a str) -> Self {
        Self {
            task,
            kind: Kind(0),
            priority: Priority::Normal,
            slots: 1,
            hint: &ParallelizationHint::FullyParallel,
            host: None,
            limits: &[],
            resources: &[],
        }
    }

    /// Returns what the hint claims in addition to slots and named limits.
    pub(super) fn private_claim(&self) -> Result<PrivateClaim<'a>, Error> {
        Ok(match self.hint {
            ParallelizationHint::FullyParallel | ParallelizationHint::Alone => {
                PrivateClaim::Nothing
            }
            ParallelizationHint::HostExclusive | ParallelizationHint::GlobalExclusive => {
                PrivateClaim::Host(self.host.unwrap_or_default())
            }
            ParallelizationHint::RateLimited { key, .. } => match self.hint.quota()? {
                Some(quota) => PrivateClaim::Key(key.as_deref().unwrap_or(self.task), quota),
                None => PrivateClaim::Nothing,
            },
        })
    }

    /// Whether the job takes the global lock.
    pub(super) fn global(&self) -> bool {
        *self.hint == ParallelizationHint::GlobalExclusive
    }

    /// Whether the job runs only while no other job does.
    pub(super) fn alone(&self) -> bool {
        *self.hint == ParallelizationHint::Alone
    }
}

/// The one claim of a hint that has a name: a host's lock, or a token of a key's bucket.
#[derive(Clone, Copy, Debug)]
pub(super) enum PrivateClaim<'a> {
    /// The hint claims nothing with a name.
    Nothing,
    /// The lock of this host.
    Host(&'a str),
    /// A token of the bucket of this key, which has this quota.
    Key(&'a str, Quota),
}
