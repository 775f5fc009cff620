//! Compares random steps of a scheduler with the model.
//!
//! `PROPTEST_CASES=100000 cargo test --release -p ratchet-runtime --test scheduler` runs many cases.

use proptest::prelude::*;

use crate::life::Life;
use crate::steps::step;

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn every_step_is_the_models(
        slots in 1u32..6,
        // All jobs are due at once, some become due, or none ever does.
        ageing in prop::sample::select(vec![0u64, 30, 150, 1_000_000_000_000]),
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut life = Life::new(slots, ageing);
        for step in steps {
            life.take(step);
        }
        life.drain();
    }
}
