//! Priorities: how long a job lets later jobs pass.
//!
//! A fixed order of classes starves the lowest class as long as there is work in the others. So a priority is not a
//! class here but a span of time: a job is *due* one span after it was pushed, and the queue is ordered by due time,
//! then by arrival. Within one priority that is first in, first out. Between two priorities the higher goes first
//! unless the lower has waited longer by more than the difference of their spans.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How urgent a job is.
///
/// The greater priority is the more urgent one:
///
/// ```
/// use ratchet_runtime::Priority::{Critical, High, Low, Normal};
///
/// assert!(Critical > High && High > Normal && Normal > Low);
/// ```
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// The job goes after normal ones.
    Low,
    /// The job has no priority of its own.
    #[default]
    Normal,
    /// The job goes before normal ones.
    High,
    /// The job goes before all others.
    Critical,
}

impl Priority {
    /// All priorities, most urgent first.
    pub const ALL: [Self; 4] = [Self::Critical, Self::High, Self::Normal, Self::Low];

    /// Returns the name that it has in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }

    /// Returns the number of the priority, 0 for the most urgent.
    pub(super) const fn level(self) -> usize {
        match self {
            Self::Critical => 0,
            Self::High => 1,
            Self::Normal => 2,
            Self::Low => 3,
        }
    }
}

/// How fast a waiting job gains on those of higher priority.
///
/// A job is due after one step if it is critical, two if high, three if normal, four if low. A job that is pushed after
/// another one is due cannot pass that one by priority, and a due job that is held up by its claims keeps others from
/// taking them (see [`Scheduler`](super::Scheduler)).
///
/// ```
/// use ratchet_runtime::{Ageing, Priority};
/// use std::time::Duration;
///
/// let ageing = Ageing { step: Duration::from_secs(10) };
/// assert_eq!(ageing.span(Priority::Critical), Duration::from_secs(10));
/// assert_eq!(ageing.span(Priority::Low), Duration::from_secs(40));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ageing {
    /// The span of a critical job, and the difference between two neighbouring priorities.
    pub step: Duration,
}

impl Ageing {
    /// Returns the time from the push of a job of this priority until it is due.
    pub fn span(&self, priority: Priority) -> Duration {
        let steps = [1, 2, 3, 4][priority.level()];
        self.step.saturating_mul(steps)
    }
}

impl Default for Ageing {
    /// Returns steps of half a minute: long compared to most jobs, short compared to a person's patience.
    fn default() -> Self {
        Self {
            step: Duration::from_secs(30),
        }
    }
}

/// A place in the queue, fixed at the push and kept through retries.
///
/// Due times are nanoseconds since the scheduler's start. The timers' heaps order by the same
/// pair, with their own time in `due`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    /// The moment from which the job is due, or at which a timer is.
    pub(super) due: u64,
    /// The arrival number, which orders jobs that are due at the same moment.
    pub(super) seq: u64,
}
