//! Where in a journal each job's last record is, in forty bytes a job.
//!
//! A map from ids to outcomes of ten million jobs would not fit into the memory of a laptop. Ids are kept
//! as 128-bit digests, in one sorted list; the rest of a record stays in the file.

use super::content::Content;
use crate::outcome::Status;

/// A job's last record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    id: [u8; 16],
    content: Content,
    /// The record's offset, and its status in the lowest three bits.
    place: u64,
}

impl Entry {
    pub(super) fn new(id: [u8; 16], content: Content, status: Status, offset: u64) -> Self {
        let status = Status::ALL.iter().position(|other| *other == status);
        Self {
            id,
            content,
            place: offset << 3 | status.unwrap_or_default() as u64,
        }
    }

    /// Its result may be wrong, so it counts as failed.
    pub(super) fn suspect(&mut self) {
        if self.status() == Status::Succeeded {
            *self = Self::new(self.id, self.content, Status::Failed, self.offset());
        }
    }

    pub(super) fn content(&self) -> Content {
        self.content
    }

    pub(super) fn offset(&self) -> u64 {
        self.place >> 3
    }

    pub(super) fn status(&self) -> Status {
        let place = usize::try_from(self.place & 7).unwrap_or_default();
        Status::ALL.get(place).copied().unwrap_or(Status::Failed)
    }
}

/// The first this many bits of an id, at the most, are looked up in a table of 256 KiB.
const PREFIX: u32 = 16;

/// Entries by id.
#[derive(Debug)]
pub(super) struct Index {
    entries: Vec<Entry>,
    /// Where the entries begin whose ids begin with these bits, and where the last of them end.
    begins: Vec<u32>,
    /// How many of the first sixteen bits are not used: few entries need a small table.
    shift: u32,
}

impl Index {
    /// Keeps the last entry of each id.
    pub(super) fn new(mut entries: Vec<Entry>) -> Self {
        // The later one of two first, because the first one stays.
        entries.sort_unstable_by_key(|entry| (entry.id, std::cmp::Reverse(entry.offset())));
        entries.dedup_by_key(|entry| entry.id);
        entries.shrink_to_fit();
        let bits = entries.len().checked_ilog2().unwrap_or(0).min(PREFIX);
        let shift = PREFIX - bits;
        let mut begins = vec![0; (1 << bits) + 1];
        for entry in &entries {
            begins[prefix(entry.id, shift) + 1] += 1;
        }
        let mut sum = 0;
        for begin in &mut begins {
            sum += *begin;
            *begin = sum;
        }
        Self {
            entries,
            begins,
            shift,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The number and the entry of an id.
    pub(super) fn find(&self, id: [u8; 16]) -> Option<(usize, &Entry)> {
        let prefix = prefix(id, self.shift);
        let (begin, end) = (*self.begins.get(prefix)?, *self.begins.get(prefix + 1)?);
        let part = self.entries.get(begin as usize..end as usize)?;
        let found = part.binary_search_by_key(&id, |entry| entry.id).ok()?;
        Some((begin as usize + found, part.get(found)?))
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

fn prefix(id: [u8; 16], shift: u32) -> usize {
    (u32::from(u16::from_be_bytes([id[0], id[1]])) >> shift) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::job::Job;

    #[test]
    fn an_entry_is_forty_bytes_and_keeps_its_parts() {
        assert_eq!(size_of::<Entry>(), 40);
        let content = Content::of(&Job::task("a", "t", ratchet_ipc::Payload::null()));
        for status in Status::ALL {
            let entry = Entry::new([7; 16], content, status, 1 << 50);
            assert_eq!((entry.status(), entry.offset()), (status, 1 << 50));
        }
    }

    proptest! {
        #[test]
        fn the_last_of_each_id_is_found(ids in prop::collection::vec((any::<u8>(), 0_u8..3), 0..200)) {
            let content = Content::of(&Job::task("a", "t", ratchet_ipc::Payload::null()));
            let mut expected = HashMap::new();
            let mut entries = Vec::new();
            for (offset, (first, last)) in ids.into_iter().enumerate() {
                let mut id = [0; 16];
                (id[0], id[15]) = (first, last);
                expected.insert(id, offset as u64);
                entries.push(Entry::new(id, content, Status::Succeeded, offset as u64));
            }
            let index = Index::new(entries);
            prop_assert_eq!(index.len(), expected.len());
            for (id, offset) in expected {
                let (number, entry) = index.find(id).unwrap();
                prop_assert_eq!(entry.offset(), offset);
                prop_assert_eq!(&index.entries()[number], entry);
            }
            prop_assert!(index.find([255; 16]).is_none());
        }
    }
}
