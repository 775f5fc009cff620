//! The numbers of slots.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::ids::SlotNumber;

/// Gives out the lowest free slot number, from 1 on.
///
/// If `n` numbers are held and one more is taken, it is one of the first `n + 1`. So as long as no more slots are taken
/// than there are, no number is greater than the number of slots.
#[derive(Debug, Default)]
pub(crate) struct SlotNumbers {
    /// Numbers that were given back.
    free: BinaryHeap<Reverse<u32>>,
    /// How many numbers have ever been held at once: greater ones are free.
    used: u32,
}

impl SlotNumbers {
    /// Takes the lowest number that is free.
    pub(crate) fn take(&mut self) -> SlotNumber {
        let number = self.free.pop().map(|Reverse(number)| number);
        let number = number.unwrap_or_else(|| {
            self.used += 1;
            self.used
        });
        #[expect(clippy::expect_used, reason = "numbers begin with 1")]
        SlotNumber::new(number).expect("a number is at least 1")
    }

    /// Frees a number that was taken.
    pub(crate) fn give_back(&mut self, number: SlotNumber) {
        debug_assert!(
            number.get() <= self.used,
            "only a number that was taken is given back"
        );
        self.free.push(Reverse(number.get()));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_number_is_the_lowest_that_nobody_holds(
            steps in prop::collection::vec(prop::option::of(any::<prop::sample::Index>()), 0..200),
        ) {
            let mut numbers = SlotNumbers::default();
            let mut held: BTreeSet<u32> = BTreeSet::new();
            for step in steps {
                match step {
                    Some(which) if !held.is_empty() => {
                        let number = *which.get(&held.iter().copied().collect::<Vec<_>>());
                        held.remove(&number);
                        numbers.give_back(SlotNumber::new(number).unwrap());
                    }
                    _ => {
                        let lowest = (1..=u32::MAX)
                            .find(|number| !held.contains(number))
                            .unwrap();
                        prop_assert_eq!(numbers.take().get(), lowest);
                        held.insert(lowest);
                    }
                }
            }
        }
    }
}
