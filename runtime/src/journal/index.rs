//! An index of a journal: where each job's last record begins, in forty bytes per job.
//!
//! A map from ids to the outcomes of ten million jobs would not fit into the memory of a laptop. So the index keeps ids
//! as 128-bit digests in one sorted list, and the rest of a record stays in the file.

use super::content::Content;
use crate::outcome::Status;

/// The position of a job's record, with what a resumed run needs to decide about the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IndexEntry {
    /// The digest of the job's id, or its identity.
    id: [u8; 16],
    content: Content,
    /// The offset of the record, shifted by three bits, and the status of the outcome in the lowest three bits.
    place: u64,
}

impl IndexEntry {
    /// Makes an entry from the parts of a record.
    pub(super) fn new(id: [u8; 16], content: Content, status: Status, offset: u64) -> Self {
        #[expect(clippy::expect_used, reason = "`Status::ALL` has every status")]
        let status = (Status::ALL.iter().position(|other| *other == status))
            .expect("every status is in `Status::ALL`");
        Self {
            id,
            content,
            place: offset << 3 | status as u64,
        }
    }

    /// Makes an outcome that may be wrong count as failed, so that the job is done again.
    pub(super) fn suspect(&mut self) {
        if self.status() == Status::Succeeded {
            *self = Self::new(self.id, self.content, Status::Failed, self.offset());
        }
    }

    /// Returns the digest of what the job did when it was recorded.
    pub(super) fn content(&self) -> Content {
        self.content
    }

    /// Returns the byte at which the record begins.
    pub(super) fn offset(&self) -> u64 {
        self.place >> 3
    }

    /// Returns the status of the outcome.
    pub(super) fn status(&self) -> Status {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "only the lowest three bits are needed"
        )]
        let status = Status::ALL.get(self.place as usize & 7).copied();
        #[expect(
            clippy::expect_used,
            reason = "`new` stores the index of a status in these bits"
        )]
        status.expect("the lowest bits of an entry are an index into `Status::ALL`")
    }
}

/// The highest number of bits of an id that are looked up in a table. With 16 bits the table takes 256 KiB.
const PREFIX: u32 = 16;

/// Finds the entry of a job by the digest of its id.
#[derive(Debug)]
pub(super) struct Index {
    /// Sorted by `id`, with one entry for each job.
    entries: Vec<IndexEntry>,
    /// The position of the first entry for each prefix of ids, and at the end the number of all entries.
    begins: Vec<u32>,
    /// How many of the first sixteen bits are not part of the prefix, so that few entries make a small table.
    shift: u32,
}

impl Index {
    /// Makes an index that has, for each id, the entry with the greatest offset.
    pub(super) fn new(mut entries: Vec<IndexEntry>) -> Self {
        // Of several entries with one id the last one is sorted first, because `dedup_by_key` keeps the first.
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

    /// Returns the number of entries.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Finds the entry of an id, with its position in [`entries`](Self::entries).
    pub(super) fn find(&self, id: [u8; 16]) -> Option<(usize, &IndexEntry)> {
        let prefix = prefix(id, self.shift);
        let (begin, end) = (*self.begins.get(prefix)?, *self.begins.get(prefix + 1)?);
        let part = self.entries.get(begin as usize..end as usize)?;
        let found = part.binary_search_by_key(&id, |entry| entry.id).ok()?;
        Some((begin as usize + found, part.get(found)?))
    }

    /// Returns all entries, sorted by the digests of their ids.
    pub(super) fn entries(&self) -> &[IndexEntry] {
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
    fn an_index_entry_takes_forty_bytes_and_keeps_its_parts() {
        assert_eq!(size_of::<IndexEntry>(), 40);
        let content = Content::of(&Job::task("a", "t", ratchet_ipc::Payload::null()));
        for status in Status::ALL {
            let entry = IndexEntry::new([7; 16], content, status, 1 << 50);
            assert_eq!((entry.status(), entry.offset()), (status, 1 << 50));
        }
    }

    proptest! {
        #[test]
        fn the_index_finds_the_last_entry_of_each_id(ids in prop::collection::vec((any::<u8>(), 0_u8..3), 0..200)) {
            let content = Content::of(&Job::task("a", "t", ratchet_ipc::Payload::null()));
            let mut expected = HashMap::new();
            let mut entries = Vec::new();
            for (offset, (first, last)) in ids.into_iter().enumerate() {
                let mut id = [0; 16];
                (id[0], id[15]) = (first, last);
                expected.insert(id, offset as u64);
                entries.push(IndexEntry::new(id, content, Status::Succeeded, offset as u64));
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
