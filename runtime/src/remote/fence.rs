//! The fence: the processes of a host end there when the dispatcher has granted them no more time, whatever has
//! happened to the agent and the network.
//!
//! ```text
//!   keeper   asks at t -------> may run until t + fence_after
//!                \             /
//!   agent         \           /        passes on what both say, or is stopped, or gone
//!                  \         /
//!   dispatcher      answers at s -----> counts it as ended at s + fence_after + margin
//! ```
//!
//! An answer cannot be sent before its question, so the keeper's time is over first, however long a message took and
//! whichever were lost. The two clocks are never compared. The margin allows for clocks that run at different speeds,
//! and for the time that the keeper takes to kill.
//!
//! While the dispatcher is stopped by Ctrl-Z it answers nothing. It announces that, and the keeper stops all groups and
//! suspends the fence. The groups continue only after an answer to a question that was asked later: the message to
//! continue may have been in the network until after the dispatcher had given the host up.
//!
//! Both sides are plain values that are given the time and do no I/O.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::os::boot_time;

/// How many questions are asked within the time that one answer grants.
const QUESTIONS: u32 = 6;

/// A time by the clock of a host, which also counts while the host sleeps. It means nothing on another host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct BootTime(u64);

impl BootTime {
    /// Returns the current time of this host.
    pub(super) fn now() -> Self {
        Self::at(boot_time())
    }

    /// Makes the time that is this long after the start of the host.
    pub(super) fn at(since_start: Duration) -> Self {
        Self(u64::try_from(since_start.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Returns how long after the start of the host this is.
    pub(super) fn since_start(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    /// Returns the time that is this much later. A sum out of range is the last time.
    pub(super) fn after(self, time: Duration) -> Self {
        Self::at(self.since_start().saturating_add(time))
    }
}

/// The time for which the processes of a host may run, as its keeper knows it.
#[derive(Debug)]
pub(super) struct GrantedTime {
    fence_after: Duration,
    /// When everything is killed.
    until: BootTime,
    /// When the next question is asked.
    asks_at: BootTime,
    stage: Stage,
}

/// Whether the groups run, and whether the fence counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// They run.
    Running,
    /// They are stopped, and the fence is suspended.
    Suspended,
    /// They are stopped until the answer to a question of this time or later.
    Resuming(BootTime),
}

/// What a keeper has to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FenceStep {
    /// Kill the agent and all groups. There is no further step.
    Kill,
    /// Ask the dispatcher for an answer to a question of this time.
    Ask(BootTime),
    /// Wait until this time, or until a message comes.
    Wait(Option<BootTime>),
}

impl GrantedTime {
    /// Makes the time that is granted by the answer to a question of this time.
    pub(super) fn new(fence_after: Duration, asked_at: BootTime) -> Self {
        Self {
            fence_after,
            until: asked_at.after(fence_after),
            asks_at: asked_at,
            stage: Stage::Running,
        }
    }

    /// Returns what to do. Call it again after each step, and after each message.
    pub(super) fn step(&mut self, now: BootTime) -> FenceStep {
        if self.stage == Stage::Suspended {
            return FenceStep::Wait(None);
        }
        if now >= self.until {
            return FenceStep::Kill;
        }
        if now >= self.asks_at {
            self.asks_at = now.after(self.fence_after / QUESTIONS);
            return FenceStep::Ask(now);
        }
        FenceStep::Wait(Some(self.asks_at.min(self.until)))
    }

    /// Handles the answer to a question that was asked at this time. Returns whether the groups may continue now.
    pub(super) fn granted(&mut self, asked_at: BootTime, now: BootTime) -> bool {
        let until = asked_at.after(self.fence_after);
        // A question of the future cannot have been answered, and an answer may come after the time that it grants.
        if asked_at > now || now >= until {
            return false;
        }
        match self.stage {
            Stage::Running => {
                self.until = self.until.max(until);
                false
            }
            // An answer to a question from before the suspension would grant next to no time.
            Stage::Resuming(since) if asked_at >= since => {
                self.until = until;
                self.stage = Stage::Running;
                true
            }
            Stage::Suspended | Stage::Resuming(_) => false,
        }
    }

    /// Suspends the fence. The caller has stopped all groups.
    pub(super) fn suspend(&mut self) {
        self.stage = Stage::Suspended;
    }

    /// Asks for an answer that lets the groups continue. Without one they are killed when the time is over, as if they
    /// ran.
    pub(super) fn resume(&mut self, now: BootTime) {
        if self.stage == Stage::Suspended {
            self.stage = Stage::Resuming(now);
            self.until = now.after(self.fence_after);
            self.asks_at = now;
        }
    }
}

/// The answers that a dispatcher has sent to a host.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grants {
    last: Instant,
}

impl Grants {
    /// Makes the record of a host whose keeper was started before this time, as if a question had been answered then.
    pub(super) fn started_before(now: Instant) -> Self {
        Self { last: now }
    }

    /// Records that a question has come and is answered.
    pub(super) fn grant(&mut self, now: Instant) {
        self.last = now;
    }

    /// Returns the time from which nothing runs on the host any more, if no further question is answered.
    pub(super) fn over_by(&self, fence_after: Duration, margin: Duration) -> Instant {
        self.last + fence_after + margin
    }
}

#[cfg(test)]
mod tests;
