//! Makes random steps for a scheduler.

use std::collections::BTreeMap;

use proptest::prelude::*;
use ratchet_runtime::{Priority, Workers};

pub(crate) const KINDS: u16 = 3;

/// The number of limits: two with a max, then two with a rate.
const LIMITS: u8 = 4;

/// How many units each resource has. The first one has identities.
pub(crate) const UNITS: [u64; 2] = [3, 5];

#[derive(Clone, Debug)]
pub(crate) enum Hint {
    Parallel,
    Host(u8),
    Key(u8),
    Global(u8),
    Alone,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Push {
        hint: Hint,
        kind: u16,
        priority: Priority,
        slots: u32,
        limits: Vec<u8>,
        resources: BTreeMap<u8, u64>,
    },
    /// A waiting job takes these units from now on, instead of its own.
    Resources(prop::sample::Index, BTreeMap<u8, u64>),
    Pop(u8),
    /// This many jobs are refused for this delay, and the next one starts.
    PopRefusing(u8, u64),
    /// A waiting job may not start before this delay is over.
    Postpone(prop::sample::Index, u64),
    Finish(prop::sample::Index),
    Retry(prop::sample::Index, u64),
    /// Jobs of this kind are sent ahead, up to this number.
    Ahead(u16, u8),
    /// A running job ends, or is to run again after a delay, and one that was sent ahead begins in its place.
    Pass(prop::sample::Index, Ending, prop::sample::Index),
    PutBack(prop::sample::Index),
    Cancel(prop::sample::Index),
    Advance(u64),
    Workers(u16, Workers),
    Max(u8, u32),
    Slots(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Over,
    Again(u64),
}

fn hint() -> impl Strategy<Value = Hint> {
    prop_oneof![
        4 => Just(Hint::Parallel),
        4 => (0u8..4).prop_map(Hint::Host),
        3 => (0u8..2).prop_map(Hint::Key),
        1 => (0u8..4).prop_map(Hint::Global),
        1 => Just(Hint::Alone),
    ]
}

fn workers() -> impl Strategy<Value = Workers> {
    prop_oneof![
        2 => Just(Workers::Unlimited),
        3 => (0u32..3).prop_map(Workers::Free),
    ]
}

fn ending() -> impl Strategy<Value = Ending> {
    prop_oneof![
        5 => Just(Ending::Over),
        1 => (0u64..200).prop_map(Ending::Again),
    ]
}

/// Makes units of some resources. Some are more than a resource has, or 0.
fn resources() -> impl Strategy<Value = BTreeMap<u8, u64>> {
    prop::collection::btree_map(
        0u8..2,
        prop_oneof![30 => 1u64..=3, 6 => 1u64..=5, 1 => Just(0u64)],
        1..3,
    )
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    let push = (
        hint(),
        0..KINDS,
        prop::sample::select(&Priority::ALL),
        prop_oneof![4 => Just(1u32), 1 => 2u32..5],
        prop_oneof![3 => Just(Vec::new()), 2 => prop::collection::vec(0..LIMITS, 1..4)],
        prop_oneof![2 => Just(BTreeMap::new()), 2 => resources()],
    );
    prop_oneof![
        8 => push.prop_map(|(hint, kind, priority, slots, limits, resources)| {
            Step::Push { hint, kind, priority, slots, limits, resources }
        }),
        1 => (index(), resources()).prop_map(|(job, units)| Step::Resources(job, units)),
        6 => (1u8..5).prop_map(Step::Pop),
        2 => (1u8..4, 0u64..200).prop_map(|(refused, delay)| Step::PopRefusing(refused, delay)),
        1 => (index(), 0u64..200).prop_map(|(job, delay)| Step::Postpone(job, delay)),
        6 => index().prop_map(Step::Finish),
        1 => (index(), 0u64..200).prop_map(|(job, delay)| Step::Retry(job, delay)),
        4 => (0..KINDS, 1u8..4).prop_map(|(kind, times)| Step::Ahead(kind, times)),
        4 => (index(), ending(), index()).prop_map(|(ended, end, next)| Step::Pass(ended, end, next)),
        1 => index().prop_map(Step::PutBack),
        1 => index().prop_map(Step::Cancel),
        3 => (0u64..150).prop_map(Step::Advance),
        1 => (0..KINDS, workers()).prop_map(|(kind, workers)| Step::Workers(kind, workers)),
        1 => (0u8..2, 1u32..4).prop_map(|(limit, max)| Step::Max(limit, max)),
        1 => (1u32..6).prop_map(Step::Slots),
    ]
}
