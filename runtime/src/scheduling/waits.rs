//! How long jobs waited, by the reason.

use std::borrow::Cow;
use std::time::Duration;

use smol_str::SmolStr;

use super::limits::Limit;

/// The reason why a job does not run yet.
///
/// If there are several, the first one counts, in the order of the variants.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Blocker {
    /// A job that has to succeed first has not ended.
    Needs,
    /// The delay before another attempt.
    Retry,
    /// The run is paused. A time for which the whole process is suspended, as by Ctrl-Z, is not part of any job's age.
    Paused,
    /// A breaker lets no attempt through.
    Breaker,
    /// The cache looks for an earlier result, or waits for that of an equal job.
    Cache,
    /// No connection to a host: none of the hosts on which it may run can be reached yet, or again.
    Connect,
    /// The lock of its host.
    Host,
    /// The global lock.
    Global,
    /// A unit, or a token, of the limit of this name.
    Limit(SmolStr),
    /// A token of the rate of its own hint, or of the rate at which the jobs of the whole run start.
    Rate,
    /// Units of the resource of this name.
    Resource(SmolStr),
    /// New jobs are held back, because the machine is short of memory or busy.
    Admission,
    /// A worker that is ready for it, and the way to that worker and back.
    Worker,
    /// A slot, or its turn to take one.
    Slot,
}

impl Blocker {
    /// The prefix of the word of a named limit.
    const LIMIT: &str = "limit:";
    /// The prefix of the word of a resource.
    const RESOURCE: &str = "resource:";

    /// Returns the blocker of the limit of this name.
    pub(crate) fn of_limit(name: &str) -> Self {
        match name {
            Limit::RATE_OF_STARTS => Self::Rate,
            name => Self::Limit(name.into()),
        }
    }

    /// Returns the word in result lines, as in `needs` or `limit:db`.
    pub fn word(&self) -> Cow<'_, str> {
        Cow::Borrowed(match self {
            Self::Limit(name) => return Cow::Owned(format!("{}{name}", Self::LIMIT)),
            Self::Resource(name) => return Cow::Owned(format!("{}{name}", Self::RESOURCE)),
            Self::Needs => "needs",
            Self::Retry => "retry",
            Self::Paused => "paused",
            Self::Breaker => "breaker",
            Self::Cache => "cache",
            Self::Connect => "connect",
            Self::Host => "host",
            Self::Global => "global",
            Self::Rate => "rate",
            Self::Admission => "admission",
            Self::Worker => "worker",
            Self::Slot => "slot",
        })
    }

    /// Returns the blocker of this word; `None` for words of later versions.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        if let Some(name) = word.strip_prefix(Self::LIMIT) {
            return Some(Self::Limit(name.into()));
        }
        if let Some(name) = word.strip_prefix(Self::RESOURCE) {
            return Some(Self::Resource(name.into()));
        }
        let plain = [
            Self::Needs,
            Self::Retry,
            Self::Paused,
            Self::Breaker,
            Self::Cache,
            Self::Connect,
            Self::Host,
            Self::Global,
            Self::Rate,
            Self::Admission,
            Self::Worker,
            Self::Slot,
        ];
        plain.into_iter().find(|blocker| blocker.word() == word)
    }
}

/// How long a job waited, by blocker.
///
/// Most jobs wait only for a worker and a slot, for which nothing is allocated.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Waits {
    /// Times for all but the last two blockers, in the order of the blockers.
    others: Vec<(Blocker, Duration)>,
    /// The time for [`Blocker::Worker`].
    worker: Duration,
    /// The time for [`Blocker::Slot`].
    slot: Duration,
}

impl Waits {
    /// Adds time that a job waited.
    pub fn add(&mut self, blocker: Blocker, time: Duration) {
        if time.is_zero() {
            return;
        }
        match blocker {
            Blocker::Worker => self.worker += time,
            Blocker::Slot => self.slot += time,
            other => match self.others.binary_search_by(|(known, _)| known.cmp(&other)) {
                Ok(at) => self.others[at].1 += time,
                Err(at) => self.others.insert(at, (other, time)),
            },
        }
    }

    /// Adds all the time of another job, or of another part of the same one.
    pub fn add_all(&mut self, other: &Self) {
        for (blocker, time) in other.iter() {
            self.add(blocker.clone(), time);
        }
    }

    /// Subtracts time that proved not to be waiting, from the last blockers first.
    pub(crate) fn take_back(&mut self, mut time: Duration) {
        let mut take = |from: &mut Duration| {
            let taken = time.min(*from);
            *from -= taken;
            time -= taken;
        };
        take(&mut self.slot);
        take(&mut self.worker);
        for (_, other) in self.others.iter_mut().rev() {
            take(other);
        }
        self.others.retain(|(_, time)| !time.is_zero());
    }

    /// Iterates over the blockers, in their order, each with its time.
    pub fn iter(&self) -> impl Iterator<Item = (&Blocker, Duration)> {
        static WORKER: Blocker = Blocker::Worker;
        static SLOT: Blocker = Blocker::Slot;
        let others = self.others.iter().map(|(blocker, time)| (blocker, *time));
        let last = [(&WORKER, self.worker), (&SLOT, self.slot)];
        others.chain(last.into_iter().filter(|(_, time)| !time.is_zero()))
    }

    /// Returns how long the job waited for this.
    pub fn of(&self, blocker: &Blocker) -> Duration {
        let mut times = self.iter();
        let found = times.find(|(known, _)| *known == blocker);
        found.map_or(Duration::ZERO, |(_, time)| time)
    }

    /// Returns how long the job waited in all.
    pub fn total(&self) -> Duration {
        self.iter().map(|(_, time)| time).sum()
    }

    /// Whether the job did not wait at all.
    pub fn is_empty(&self) -> bool {
        self.others.is_empty() && self.worker.is_zero() && self.slot.is_zero()
    }
}

impl FromIterator<(Blocker, Duration)> for Waits {
    fn from_iter<I: IntoIterator<Item = (Blocker, Duration)>>(times: I) -> Self {
        let mut waits = Self::default();
        for (blocker, time) in times {
            waits.add(blocker, time);
        }
        waits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    #[test]
    fn times_are_added_up_and_stand_in_the_order_of_the_blockers() {
        let waits: Waits = [
            (Blocker::Slot, 2 * MILLISECOND),
            (Blocker::Limit("db".into()), MILLISECOND),
            (Blocker::Needs, MILLISECOND),
            (Blocker::Rate, Duration::ZERO),
            (Blocker::Slot, MILLISECOND),
            (Blocker::Resource("gpu".into()), MILLISECOND),
        ]
        .into_iter()
        .collect();
        let words: Vec<_> = waits.iter().map(|(blocker, _)| blocker.word()).collect();
        assert_eq!(words, ["needs", "limit:db", "resource:gpu", "slot"]);
        assert_eq!(waits.of(&Blocker::Slot), 3 * MILLISECOND);
        assert_eq!(waits.total(), 6 * MILLISECOND);
        for word in words {
            let blocker = Blocker::from_word(&word).unwrap();
            assert_eq!(blocker.word(), word);
        }
        assert_eq!(Blocker::from_word("connect"), Some(Blocker::Connect));
        assert_eq!(Blocker::from_word("luck"), None);
    }

    #[test]
    fn only_waiting_for_a_limit_that_somebody_named_is_told_by_its_name() {
        assert_eq!(Blocker::of_limit("db"), Blocker::Limit("db".into()));
        assert_eq!(Blocker::of_limit(Limit::RATE_OF_STARTS), Blocker::Rate);
    }

    #[test]
    fn what_is_taken_back_goes_from_the_last_blockers_first() {
        let mut waits: Waits = [
            (Blocker::Needs, 3 * MILLISECOND),
            (Blocker::Worker, 2 * MILLISECOND),
            (Blocker::Slot, 2 * MILLISECOND),
        ]
        .into_iter()
        .collect();
        waits.take_back(3 * MILLISECOND);
        assert_eq!(waits.of(&Blocker::Worker), MILLISECOND);
        assert_eq!(waits.of(&Blocker::Slot), Duration::ZERO);
        waits.take_back(9 * MILLISECOND);
        assert!(waits.is_empty());
    }
}
