//! Things that come in any order, given out in the order of their numbers.

use std::collections::BTreeMap;

/// Holds back what comes before its turn.
#[derive(Debug)]
pub(crate) struct InOrder<T> {
    next: u64,
    held: BTreeMap<u64, T>,
}

impl<T> InOrder<T> {
    /// The first number.
    pub(crate) fn from(first: u64) -> Self {
        Self {
            next: first,
            held: BTreeMap::new(),
        }
    }

    pub(crate) fn put(&mut self, number: u64, thing: T) {
        self.held.insert(number, thing);
    }

    /// The next in line, if it is here.
    pub(crate) fn next(&mut self) -> Option<T> {
        let thing = self.held.remove(&self.next)?;
        self.next += 1;
        Some(thing)
    }

    /// All that is still held, in order; for the end, when nothing more comes to fill the gaps.
    pub(crate) fn into_rest(self) -> impl Iterator<Item = T> {
        self.held.into_values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_for_gaps_until_the_end() {
        let mut order = InOrder::from(1);
        order.put(2, 'b');
        assert_eq!(order.next(), None);
        order.put(1, 'a');
        assert_eq!(
            (order.next(), order.next(), order.next()),
            (Some('a'), Some('b'), None)
        );
        order.put(5, 'e');
        order.put(4, 'd');
        assert_eq!(order.next(), None);
        assert_eq!(order.into_rest().collect::<String>(), "de");
    }
}
