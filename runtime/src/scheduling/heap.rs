//! A heap whose entries know their positions, so that any of them can move or leave in logarithmic time.

use super::priority::Rank;

/// The position of an entry that is in no heap.
pub(super) const NOWHERE: u32 = u32::MAX;

/// The number of children of a node. Four halve the depth, and with it the positions that are written on the way.
const ARITY: usize = 4;

/// A min-heap of ids by rank.
///
/// The owner of the ids also keeps their positions. Every operation reports the new position of each entry that it
/// moves through `position(id, moved)`; removed entries are not reported, since the owner knows of them.
#[derive(Debug, Default)]
pub(super) struct Heap {
    /// The heap as an array: the children of the entry at `n` begin at `n * ARITY + 1`.
    entries: Vec<(Rank, u32)>,
}

impl Heap {
    /// Returns the first id and its rank.
    pub(super) fn top(&self) -> Option<(Rank, u32)> {
        self.entries.first().copied()
    }

    /// Returns the rank of the id at this position.
    pub(super) fn rank_at(&self, at: u32) -> Rank {
        self.entries[at as usize].0
    }

    /// Adds an id.
    pub(super) fn push(&mut self, rank: Rank, id: u32, mut moved: impl FnMut(u32, u32)) {
        self.entries.push((rank, id));
        self.rise(self.entries.len() - 1, &mut moved);
    }

    /// Removes the id at this position.
    pub(super) fn remove(&mut self, at: u32, mut moved: impl FnMut(u32, u32)) {
        let at = at as usize;
        self.entries.swap_remove(at);
        if at < self.entries.len() {
            self.settle(at, &mut moved);
        }
    }

    /// Gives the id at this position another rank.
    pub(super) fn rerank(&mut self, at: u32, rank: Rank, mut moved: impl FnMut(u32, u32)) {
        self.entries[at as usize].0 = rank;
        self.settle(at as usize, &mut moved);
    }

    /// Moves an entry up or down to where its rank belongs.
    fn settle(&mut self, at: usize, moved: &mut impl FnMut(u32, u32)) {
        if at > 0 && self.entries[at].0 < self.entries[(at - 1) / ARITY].0 {
            self.rise(at, moved);
        } else {
            self.sink(at, moved);
        }
    }

    /// Moves an entry up, as far as its parents rank behind it.
    fn rise(&mut self, mut at: usize, moved: &mut impl FnMut(u32, u32)) {
        let entry = self.entries[at];
        while at > 0 {
            let parent = (at - 1) / ARITY;
            if self.entries[parent].0 <= entry.0 {
                break;
            }
            self.place(at, self.entries[parent], moved);
            at = parent;
        }
        self.place(at, entry, moved);
    }

    /// Moves an entry down, as far as one of its children ranks before it.
    fn sink(&mut self, mut at: usize, moved: &mut impl FnMut(u32, u32)) {
        let entry = self.entries[at];
        loop {
            let first = at * ARITY + 1;
            let last = self.entries.len().min(first + ARITY);
            let Some(child) = (first..last).min_by_key(|&child| self.entries[child].0) else {
                break;
            };
            if entry.0 <= self.entries[child].0 {
                break;
            }
            self.place(at, self.entries[child], moved);
            at = child;
        }
        self.place(at, entry, moved);
    }

    /// Puts an entry at a position, and reports the position.
    fn place(&mut self, at: usize, entry: (Rank, u32), moved: &mut impl FnMut(u32, u32)) {
        self.entries[at] = entry;
        // The ids are u32, so there are no more positions than a u32 holds.
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a heap holds each u32 id once"
        )]
        moved(entry.1, at as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn behaves_as_a_sorted_map_whose_entries_know_their_position(
            steps in prop::collection::vec((0u32..40, 0u64..100, 0u8..3), 0..200),
        ) {
            let mut heap = Heap::default();
            let mut positions = [NOWHERE; 40];
            let mut model: BTreeMap<u32, Rank> = BTreeMap::new();
            for (seq, (id, due, action)) in (0u64..).zip(steps) {
                let rank = Rank { due, seq };
                let at = positions[id as usize];
                match (action, at) {
                    (0, NOWHERE) => {
                        heap.push(rank, id, |id, at| positions[id as usize] = at);
                        model.insert(id, rank);
                    }
                    (1, at) if at != NOWHERE => {
                        heap.remove(at, |id, at| positions[id as usize] = at);
                        positions[id as usize] = NOWHERE;
                        model.remove(&id);
                    }
                    (2, at) if at != NOWHERE => {
                        heap.rerank(at, rank, |id, at| positions[id as usize] = at);
                        model.insert(id, rank);
                    }
                    _ => {}
                }
                let best = model.iter().min_by_key(|(_, rank)| **rank).map(|(id, rank)| (*rank, *id));
                prop_assert_eq!(heap.top(), best);
                prop_assert_eq!(heap.entries.len(), model.len());
                for (id, rank) in &model {
                    prop_assert_eq!(heap.rank_at(positions[*id as usize]), *rank);
                }
            }
        }
    }
}
