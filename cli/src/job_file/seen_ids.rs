//! The ids that a stream has used, in constant memory, since a stream may be endless.

use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};

use foldhash::quality::RandomState;

/// How many ids are remembered at least. At most, it is twice as many. This is the most that fits into a hash table of
/// 2^19 places, of which one in eight stays free. Each of the two tables takes nine bytes a place, so both take less
/// than 10 MiB.
const WINDOW: usize = (1 << 19) / 8 * 7;

/// The ids of a stream. The last 458,752 are remembered exactly.
///
/// The id of a line without one is its number. These numbers are kept as a range, which needs no memory.
pub(super) struct SeenIds {
    /// Makes the digests, which have to differ for different ids: two ids with the same digest count as the same.
    hasher: RandomState,
    young: Digests,
    old: Digests,
    /// Whether ids were forgotten, so that an unknown id may have been used.
    forgot: bool,
    /// The numbers of the first and the last line without an id.
    numbered: Option<(u64, u64)>,
}

/// A set of digests, which are used as their own hashes.
type Digests = HashSet<u64, BuildHasherDefault<IdentityHasher>>;

/// A hasher that takes a digest as its own hash.
#[derive(Default)]
struct IdentityHasher(u64);

impl Hasher for IdentityHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, digest: u64) {
        self.0 = digest;
    }
}

impl SeenIds {
    /// Makes a set without ids.
    pub(super) fn new() -> Self {
        Self {
            hasher: RandomState::default(),
            young: Digests::default(),
            old: Digests::default(),
            forgot: false,
            numbered: None,
        }
    }

    /// Adds an id, or returns why it is refused.
    pub(super) fn add(&mut self, id: &str) -> Result<(), String> {
        if let (Some(number), Some((first, last))) = (as_number(id), self.numbered)
            && (first..=last).contains(&number)
        {
            return Err(format!(
                "id `{id}` is the number of an earlier line, and a line without an id has its number as id"
            ));
        }
        if self.insert(id) {
            return Ok(());
        }
        Err(format!("id `{id}` is used twice"))
    }

    /// Adds a line without an id, or returns why its number is refused.
    pub(super) fn number(&mut self, number: u64) -> Result<(), String> {
        let first = self.numbered.map_or(number, |(first, _)| first);
        self.numbered = Some((first, number));
        let taken = !(self.young.is_empty() && self.old.is_empty()) && {
            let digest = self.hasher.hash_one(number.to_string().as_str());
            self.has(digest)
        };
        if taken {
            return Err(format!(
                "this line has no id, and its number {number} is the id of an earlier one"
            ));
        }
        Ok(())
    }

    /// Whether there is certainly no earlier job with this id.
    pub(super) fn lacks(&self, id: &str) -> bool {
        let numbered = self.numbered.zip(as_number(id));
        let is_number = numbered.is_some_and(|((first, last), id)| (first..=last).contains(&id));
        !self.forgot && !is_number && !self.has(self.hasher.hash_one(id))
    }

    fn has(&self, digest: u64) -> bool {
        self.young.contains(&digest) || self.old.contains(&digest)
    }

    fn insert(&mut self, id: &str) -> bool {
        let digest = self.hasher.hash_one(id);
        if self.has(digest) {
            return false;
        }
        if self.young.len() == WINDOW {
            self.forgot |= !self.old.is_empty();
            // The older table is cleared and filled again. A new table would have to grow from nothing each time.
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(digest)
    }
}

/// Returns the number that an id spells, if it is the usual spelling of a number.
fn as_number(id: &str) -> Option<u64> {
    let number: u64 = id.parse().ok()?;
    (number.to_string() == id).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_used_once() {
        let mut ids = SeenIds::new();
        assert_eq!(ids.add("a"), Ok(()));
        assert!(ids.add("a").unwrap_err().contains("twice"));
        assert!(ids.lacks("b") && !ids.lacks("a"));
    }

    #[test]
    fn numbers_and_ids_do_not_clash() {
        let mut ids = SeenIds::new();
        assert_eq!(ids.add("3"), Ok(()));
        assert_eq!(ids.number(2), Ok(()));
        assert!(ids.number(3).unwrap_err().contains("its number 3"));
        assert_eq!(ids.number(4), Ok(()));
        assert!(ids.add("4").unwrap_err().contains("an earlier line"));
        assert_eq!(ids.add("04"), Ok(()), "not the same text");
        assert!(!ids.lacks("2") && ids.lacks("5"));
    }

    #[test]
    fn memory_is_bounded_and_the_recent_ones_are_exact() {
        let mut ids = SeenIds::new();
        for number in 0..3 * WINDOW {
            assert_eq!(ids.add(&format!("job-{number}")), Ok(()));
        }
        for digests in [&ids.young, &ids.old] {
            assert_eq!(digests.capacity(), WINDOW, "a full table, and none larger");
        }
        assert!(ids.add(&format!("job-{}", 2 * WINDOW + 1)).is_err());
        assert!(!ids.lacks("job-0"), "it may have been forgotten");
    }
}
