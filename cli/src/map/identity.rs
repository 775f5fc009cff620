//! The identity by which a resumed run recognises a job of a map: its command, its item, and how many equal items came
//! before it. The number of the job is not part of it, because a line that is inserted at the top of a list would
//! change all numbers.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use ratchet_runtime::JobIdentity;

use super::item::Item;

/// The number of bits of the Bloom filter, which take 8 MiB. Lists may have any length, so the items themselves are not
/// kept.
const FILTER_BITS: u32 = 1 << 26;

/// How many repeated items are counted.
const MAX_COUNTED: usize = 1 << 18;

/// Assigns identities to the jobs of a map, in the order of the list.
pub(super) struct Identities {
    /// The digest of the command, which is part of each identity.
    command: [u8; 16],
    /// A Bloom filter of the items so far. The vector is empty until the first item.
    filter: Vec<u64>,
    /// How many equal items came before the last one, for each item that the filter took for a repeated one. If the
    /// filter was wrong, the count is too high, which does no harm: equal items still get different counts.
    counts: HashMap<[u8; 16], u64>,
}

impl Identities {
    /// Makes the identities of the jobs of a command, before the first item.
    pub(super) fn of_command(words: &[OsString]) -> Self {
        let words = words.iter().map(|word| word.as_bytes());
        Self {
            command: JobIdentity::new(words, 0).to_bytes(),
            filter: Vec::new(),
            counts: HashMap::new(),
        }
    }

    /// Returns the identity of the job of the next item. The job has this number.
    pub(super) fn next(&mut self, item: &Item, number: u64) -> JobIdentity {
        let command = self.command;
        let parts = || std::iter::once(&command[..]).chain(item.columns());
        let first = JobIdentity::new(parts(), 0);
        match self.earlier(first.to_bytes(), number) {
            0 => first,
            earlier => JobIdentity::new(parts(), earlier),
        }
    }

    /// Returns how many equal items came before.
    fn earlier(&mut self, item: [u8; 16], number: u64) -> u64 {
        if self.is_new(item) {
            return 0;
        }
        if let Some(count) = self.counts.get_mut(&item) {
            *count += 1;
            return *count;
        }
        if self.counts.len() >= MAX_COUNTED {
            // To keep memory bounded, further repeated items are told apart by their numbers. If the list changes
            // before them, they are run again. The highest bit keeps these numbers apart from counts.
            return 1 << 63 | number;
        }
        self.counts.insert(item, 1);
        1
    }

    /// Adds the item to the filter, and returns whether it is certainly new.
    fn is_new(&mut self, item: [u8; 16]) -> bool {
        if self.filter.is_empty() {
            // The system provides pages of zeros only when they are written, so a short list uses little memory.
            self.filter = vec![0_u64; (FILTER_BITS / 64) as usize];
        }
        let mut is_new = false;
        for part in item.as_chunks::<4>().0 {
            let bit = u32::from_le_bytes(*part) % FILTER_BITS;
            let word = &mut self.filter[(bit / 64) as usize];
            let mask = 1 << (bit % 64);
            is_new |= *word & mask == 0;
            *word |= mask;
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn identities(items: &[&str]) -> Vec<JobIdentity> {
        let mut identities = Identities::of_command(&["gzip".into()]);
        (1..)
            .zip(items)
            .map(|(number, item)| identities.next(&Item::from(*item), number))
            .collect()
    }

    #[test]
    fn an_identity_is_the_same_wherever_its_item_stands() {
        let before = identities(&["a", "b", "a", "c", "a"]);
        let after = identities(&["new", "a", "a", "b", "c", "a"]);
        assert_eq!(
            [after[1], after[2], after[5]],
            [before[0], before[2], before[4]]
        );
        assert_eq!([after[3], after[4]], [before[1], before[3]]);
        assert!(!before.contains(&after[0]));
    }

    #[test]
    fn another_command_or_another_cut_into_columns_is_another_identity() {
        let of = |words: &[&str], item: &Item| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            Identities::of_command(&words).next(item, 1)
        };
        let all = [
            of(&["a"], &Item::from("bc")),
            of(&["ab"], &Item::from("c")),
            of(&["a", "b"], &Item::from("c")),
            of(&["a"], &Item::from_columns([b"b".as_slice(), b"c"])),
        ];
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
    }

    #[test]
    fn a_million_repeated_items_have_identities_of_their_own_in_bounded_memory() {
        let mut identities = Identities::of_command(&["gzip".into()]);
        let mut seen = HashSet::new();
        for number in 0..1_000_000_u64 {
            let item = Item::from((number / 2).to_string().as_str());
            assert!(seen.insert(identities.next(&item, number)), "{number}");
        }
        assert!(identities.counts.len() <= MAX_COUNTED);
    }
}
