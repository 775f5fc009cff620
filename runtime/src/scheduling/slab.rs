//! Storage under small integers, so that the hot path follows indices and hashes nothing.

use std::ops::{Index, IndexMut};

/// An empty slab with fewer slots than this keeps its memory, since it will soon be used again.
const KEEP: usize = 16_384;

/// Values under small integers, which are reused once they are free.
#[derive(Debug)]
pub(super) struct Slab<T> {
    /// The values; free slots hold the default.
    slots: Vec<T>,
    /// The free slots; the one that was freed last is at the end.
    free: Vec<u32>,
}

impl<T: Default> Slab<T> {
    /// Makes a slab without values. It allocates nothing before the first value.
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Stores a value, and returns the number under which it is found.
    #[expect(
        clippy::expect_used,
        reason = "the queue's capacity is below four thousand million, and nothing outnumbers the jobs"
    )]
    pub(super) fn insert(&mut self, value: T) -> u32 {
        if let Some(id) = self.free.pop() {
            self[id] = value;
            return id;
        }
        let id = self.slots.len();
        self.slots.push(value);
        u32::try_from(id).expect("a slab's values are counted by a u32")
    }

    /// Frees a slot, and frees the memory of a large slab when it becomes empty.
    pub(super) fn remove(&mut self, id: u32) -> T {
        let value = std::mem::take(&mut self[id]);
        self.free.push(id);
        if self.free.len() == self.slots.len() && self.slots.len() > KEEP {
            self.slots = Vec::new();
            self.free = Vec::new();
        }
        value
    }

    /// Returns the value of a number; for a free one that is the default.
    pub(super) fn get(&self, id: u32) -> Option<&T> {
        self.slots.get(id as usize)
    }

    /// Returns the number above all ids, free ones included.
    pub(super) fn capacity(&self) -> u32 {
        #[expect(clippy::expect_used, reason = "`insert` gives ids that are a u32")]
        u32::try_from(self.slots.len()).expect("a slab's values are counted by a u32")
    }

    /// Returns how many values are stored.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

impl<T> Index<u32> for Slab<T> {
    type Output = T;

    fn index(&self, id: u32) -> &T {
        &self.slots[id as usize]
    }
}

impl<T> IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, id: u32) -> &mut T {
        &mut self.slots[id as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freed_slot_is_used_again_and_memory_comes_back() {
        let mut slab = Slab::new();
        let first = slab.insert(7);
        assert_eq!(slab.remove(first), 7);
        assert_eq!(slab.insert(8), first);
        assert_eq!(slab.len(), 1);
        slab.remove(first);

        let ids: Vec<u32> = (0..50_000).map(|n| slab.insert(n)).collect();
        for id in ids {
            slab.remove(id);
        }
        assert_eq!((slab.len(), slab.slots.capacity()), (0, 0));
    }
}
