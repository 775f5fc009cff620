//! Puts items into random order.

use std::hash::{BuildHasher, RandomState};

/// Shuffles a list. Each order is equally likely.
pub(super) fn shuffle<T>(list: &mut [T]) {
    shuffle_by(list, RandomState::new().hash_one(0_u64));
}

/// Shuffles a list with the random numbers of a seed, by the method of Fisher and Yates.
fn shuffle_by<T>(list: &mut [T], seed: u64) {
    let mut random = SplitMix(seed);
    for last in (1..list.len()).rev() {
        list.swap(last, random.below(last + 1));
    }
}

/// The random number generator `SplitMix64`, which is good enough for an order.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Returns a random number below a bound.
    fn below(&mut self, bound: usize) -> usize {
        // The high half of the product is below the bound, and as evenly spread as 64 bits allow.
        let product = u128::from(self.next()) * bound as u128;
        usize::try_from(product >> 64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_comes_and_nothing_is_lost() {
        let mut orders = std::collections::HashMap::new();
        for seed in 0..6000 {
            let mut list = [1, 2, 3];
            shuffle_by(&mut list, seed);
            *orders.entry(list).or_insert(0) += 1;
        }
        assert_eq!(orders.len(), 6);
        assert!(
            orders.values().all(|count| (800..1200).contains(count)),
            "{orders:?}"
        );
        let mut none: [u8; 0] = [];
        shuffle(&mut none);
    }
}
