//! What each job of the soak over hosts asks for.

use std::time::Duration;

use crate::chaos::Plan;

/// How many slots this machine and each host have.
pub(super) const SLOTS: u32 = 3;

/// How many jobs with the limit may run at once, over all places.
pub(super) const DB: usize = 2;

/// How many identities the resource `device` has at each place.
pub(super) const DEVICES: u32 = 2;

/// How many concerns there are.
const CONCERNS: u32 = 8;

/// The plan of a soak over this many hosts.
#[derive(Debug, Clone, Copy)]
pub struct HostPlan {
    /// The seed and the number of jobs.
    pub plan: Plan,
    /// How many hosts there are besides this machine. Their numbers begin with 1.
    pub hosts: u32,
}

/// A claim of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    Nothing,
    /// The concern of the job, which it claims for itself.
    Concern(u32),
    /// The whole run.
    Global,
    /// A permit of the limit `db`, of which there are few.
    Db,
}

/// Where a job may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Where {
    Anywhere,
    /// On the host with this number, or on this machine.
    At(u32),
}

/// What a job asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct HostJob {
    pub(super) concern: u32,
    pub(super) claim: Claim,
    pub(super) place: Where,
    /// How many devices of its place it takes.
    pub(super) devices: u32,
    /// How long an attempt takes.
    pub(super) work: Duration,
    /// Whether about half of its attempts fail by themselves.
    pub(super) is_flaky: bool,
}

impl HostPlan {
    /// Returns what a job asks for.
    pub(super) fn job(&self, number: u32) -> HostJob {
        let roll = |salt: u64, below: u64| {
            let rolled = self.plan.roll(number, 100 + salt, below);
            u32::try_from(rolled).unwrap_or_default()
        };
        let concern = roll(0, CONCERNS.into());
        HostJob {
            concern,
            claim: match roll(1, 100) {
                0..25 => Claim::Concern(concern),
                25..27 => Claim::Global,
                27..40 => Claim::Db,
                _ => Claim::Nothing,
            },
            place: match roll(2, 10) {
                0..3 => Where::At(roll(3, u64::from(self.hosts) + 1)),
                _ => Where::Anywhere,
            },
            devices: match roll(8, 20) {
                0 => 2,
                1..5 => 1,
                _ => 0,
            },
            // Some take longer than it takes to notice that a host is lost and to release its claims.
            work: Duration::from_millis(match roll(4, 100) {
                0..6 => 2700,
                _ => 1 + u64::from(roll(5, 30)),
            }),
            is_flaky: roll(6, 20) == 0,
        }
    }

    /// Whether an attempt at a flaky job fails, which differs from process to process.
    pub(super) fn fails(&self, process: u32) -> bool {
        self.plan.roll(process, 107, 2) == 0
    }
}
