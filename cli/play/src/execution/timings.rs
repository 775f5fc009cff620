//! Timings of plays: the slowest tasks, and how long tasks waited for locks and limits.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use ratchet_runtime::{Blocker, Outcome};

/// The times of the tasks of plays.
#[derive(Debug, Clone, Default)]
pub struct Timings {
    /// The tasks in the order in which each ended for the first time.
    tasks: Vec<TaskTimes>,
    /// The index of each task by its name.
    indices: HashMap<String, usize>,
}

/// The times of one task on all of its hosts.
#[derive(Debug, Clone)]
pub struct TaskTimes {
    /// The name of the task.
    pub name: String,
    /// The longest time that it ran on a host, or for an item.
    pub longest: Duration,
    /// The host on which it ran longest.
    pub host: String,
    /// How long its jobs waited for each lock or limit, by its name.
    pub waits: BTreeMap<String, Duration>,
}

impl Timings {
    /// Adds the times of a job of a task.
    pub(super) fn add(&mut self, name: &str, host: &str, outcome: &Outcome) {
        let known = self.indices.get(name).copied();
        let index = known.unwrap_or_else(|| {
            self.tasks.push(TaskTimes {
                name: name.to_owned(),
                longest: Duration::ZERO,
                host: host.to_owned(),
                waits: BTreeMap::new(),
            });
            self.indices.insert(name.to_owned(), self.tasks.len() - 1);
            self.tasks.len() - 1
        });
        let task = &mut self.tasks[index];
        if outcome.duration > task.longest {
            task.longest = outcome.duration;
            host.clone_into(&mut task.host);
        }
        for (word, time) in lock_waits(outcome) {
            *task.waits.entry(word).or_default() += time;
        }
    }

    /// Returns the tasks that ran longest on one host, the slowest first, if they took at least `least`.
    pub fn slowest(&self, most: usize, least: Duration) -> Vec<&TaskTimes> {
        let mut tasks: Vec<_> = self
            .tasks
            .iter()
            .filter(|task| task.longest >= least)
            .collect();
        tasks.sort_by_key(|task| std::cmp::Reverse(task.longest));
        tasks.truncate(most);
        tasks
    }

    /// Returns the tasks whose jobs waited for one lock or limit for at least `least` in total, with its name, the
    /// longest wait first.
    pub fn waits(&self, most: usize, least: Duration) -> Vec<(&str, &str, Duration)> {
        let mut waits: Vec<_> = self
            .tasks
            .iter()
            .flat_map(|task| {
                let waits = task.waits.iter();
                waits.map(|(word, time)| (task.name.as_str(), word.as_str(), *time))
            })
            .filter(|(_, _, time)| *time >= least)
            .collect();
        waits.sort_by_key(|(_, _, time)| std::cmp::Reverse(*time));
        waits.truncate(most);
        waits
    }
}

/// Returns how long a job waited for each lock or limit, by its name.
pub(super) fn lock_waits(outcome: &Outcome) -> Vec<(String, Duration)> {
    let waits = outcome.waits.iter();
    waits
        .filter(|(blocker, _)| is_lock(blocker))
        .map(|(blocker, time)| (blocker.word().into_owned(), time))
        .collect()
}

/// Whether a job waits because of another job: for a lock or limit that the other one holds, or for a rate that it used
/// up.
fn is_lock(blocker: &Blocker) -> bool {
    matches!(
        blocker,
        Blocker::Host | Blocker::Global | Blocker::Limit(_) | Blocker::Rate
    )
}
