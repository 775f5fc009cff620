//! Selects the entries to drop.

use std::time::{Duration, SystemTime};

use crate::entry::Labels;
use crate::key::Key;

/// Selects the entries that meet all of its conditions.
///
/// ```
/// use ratchet_caching::Selector;
/// use std::time::{Duration, SystemTime};
///
/// # let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
/// let everything = Selector::all();
/// let stale_thumbnails = Selector::task("resize").and_tag("thumbnail").and_older_than(Duration::from_secs(3600), now);
/// let old_results_of_one_worker = Selector::older_than(Duration::from_secs(3600), now).and_worker("resize/1");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    key: Option<Key>,
    task: Option<String>,
    worker: Option<String>,
    tags: Vec<String>,
    created_before: Option<SystemTime>,
}

impl Selector {
    /// Selects every entry.
    pub fn all() -> Self {
        Self::default()
    }

    /// Selects the entry with this key.
    pub fn key(key: Key) -> Self {
        Self {
            key: Some(key),
            ..Self::default()
        }
    }

    /// Selects the entries of a task.
    pub fn task(task: impl Into<String>) -> Self {
        Self::all().and_task(task)
    }

    /// Selects the entries that a worker made.
    pub fn worker(worker: impl Into<String>) -> Self {
        Self::all().and_worker(worker)
    }

    /// Selects the entries with a tag.
    pub fn tag(tag: impl Into<String>) -> Self {
        Self::all().and_tag(tag)
    }

    /// Selects the entries that were made longer than `age` before `now`.
    pub fn older_than(age: Duration, now: SystemTime) -> Self {
        Self::all().and_older_than(age, now)
    }

    /// Narrows the selection to the entries of a task.
    #[must_use]
    pub fn and_task(mut self, task: impl Into<String>) -> Self {
        self.task = Some(task.into());
        self
    }

    /// Narrows the selection to the entries that a worker made.
    #[must_use]
    pub fn and_worker(mut self, worker: impl Into<String>) -> Self {
        self.worker = Some(worker.into());
        self
    }

    /// Narrows the selection to the entries with a tag. Called twice, it selects the entries with both tags.
    #[must_use]
    pub fn and_tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Narrows the selection to the entries that were made longer than `age` before `now`.
    #[must_use]
    pub fn and_older_than(mut self, age: Duration, now: SystemTime) -> Self {
        // No entry was made before 1970, so an age that reaches back further selects nothing.
        self.created_before = Some(now.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH));
        self
    }

    /// Whether an entry with this key, these labels and this creation time is selected.
    pub fn matches(&self, key: &Key, labels: &Labels, created: SystemTime) -> bool {
        self.key.is_none_or(|wanted| wanted == *key)
            && self.task.as_ref().is_none_or(|task| *task == labels.task)
            && self
                .worker
                .as_ref()
                .is_none_or(|worker| *worker == labels.worker)
            && self.tags.iter().all(|tag| labels.tags.contains(tag))
            && self.created_before.is_none_or(|time| created < time)
    }

    /// Returns the key if only one entry can be selected, so that a store does not have to search the others.
    pub fn single_key(&self) -> Option<&Key> {
        self.key.as_ref()
    }

    /// Whether every entry is selected, so that a store may drop everything at once.
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    #[test]
    fn every_condition_has_to_hold() {
        let later = NOW + Duration::from_secs(100);
        let key = Key::of(b"k");
        let labels = Labels {
            task: "resize".into(),
            worker: "w".into(),
            tags: vec!["a".into(), "b".into()],
        };
        let yes = [
            Selector::all(),
            Selector::key(key),
            Selector::task("resize")
                .and_worker("w")
                .and_tag("a")
                .and_tag("b"),
            Selector::older_than(Duration::from_secs(99), later),
        ];
        let no = [
            Selector::key(Key::of(b"other")),
            Selector::task("other").and_worker("w"),
            Selector::task("resize").and_worker("other"),
            Selector::tag("a").and_tag("c"),
            Selector::older_than(Duration::from_secs(100), later),
            Selector::older_than(Duration::MAX, later),
        ];
        for selector in yes {
            assert!(selector.matches(&key, &labels, NOW), "{selector:?}");
        }
        assert!(Selector::all().is_all() && !Selector::tag("a").is_all());
        assert_eq!(Selector::key(key).and_task("t").single_key(), Some(&key));
        for selector in no {
            assert!(!selector.matches(&key, &labels, NOW), "{selector:?}");
        }
    }
}
