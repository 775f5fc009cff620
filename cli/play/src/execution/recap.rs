//! How many tasks ended in which way on each host.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::result::TaskStatus;

/// The counts of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct HostCounts {
    /// Tasks that succeeded, whether they changed something or not.
    pub ok: u64,
    /// Tasks that changed something.
    pub changed: u64,
    /// How often the host could not be reached.
    pub unreachable: u64,
    /// Tasks that failed, without those that were rescued or ignored.
    pub failed: u64,
    /// Tasks whose condition did not hold.
    pub skipped: u64,
    /// Tasks whose failure was handled by a `rescue` section.
    pub rescued: u64,
    /// Tasks whose failure was ignored.
    pub ignored: u64,
}

/// The counts of all hosts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct Recap {
    hosts: BTreeMap<String, HostCounts>,
}

impl Recap {
    /// Returns the hosts on which something was done, in alphabetical order.
    pub fn hosts(&self) -> impl Iterator<Item = (&str, &HostCounts)> {
        self.hosts
            .iter()
            .map(|(name, counts)| (name.as_str(), counts))
    }

    /// Counts a task that has ended on a host.
    pub(super) fn count(&mut self, host: &str, status: TaskStatus, has_changed: bool) {
        let counts = self.hosts.entry(host.to_owned()).or_default();
        match status {
            TaskStatus::Ok => counts.ok += 1,
            TaskStatus::Changed => {
                counts.ok += 1;
                counts.changed += 1;
            }
            TaskStatus::Failed => counts.failed += 1,
            TaskStatus::Skipped => counts.skipped += 1,
            TaskStatus::Unreachable => counts.unreachable += 1,
            TaskStatus::Rescued => counts.rescued += 1,
            TaskStatus::Ignored => {
                counts.ok += 1;
                counts.ignored += 1;
                counts.changed += u64::from(has_changed);
            }
        }
    }
}
