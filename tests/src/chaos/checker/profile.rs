//! The highest value that a limit may have had at each time.

use super::super::notes::{Fact, Note};

/// The highest value that a limit may have had, as a list of times from which each value counts.
#[derive(Debug)]
pub(super) struct Profile(Vec<(u64, u32)>);

impl Profile {
    /// Makes the profile of a limit in a life of the host that began with the value `initial`.
    pub(super) fn of(notes: &[Note], life: u32, limit: u32, initial: u32) -> Self {
        let mut steps = vec![(0, initial)];
        let mut holds = initial;
        for note in notes.iter().filter(|note| note.life == life) {
            match note.fact {
                // Until the change is confirmed, the old or the new value may be in effect, so the higher one counts.
                Fact::Changing(which, value) if which == limit => {
                    steps.push((note.at, holds.max(value)));
                }
                Fact::Changed(which, value) if which == limit => {
                    steps.push((note.at, value));
                    holds = value;
                }
                _ => {}
            }
        }
        Self(steps)
    }

    /// Returns the highest value between two moments.
    pub(super) fn most(&self, from: u64, to: u64) -> u32 {
        let first = self.0.partition_point(|(at, _)| *at <= from).max(1) - 1;
        let steps = self.0.iter().skip(first).take_while(|(at, _)| *at <= to);
        steps.map(|(_, value)| *value).max().unwrap_or_default()
    }

    /// Adds up the value as a rate per second until this time, in units of a billionth.
    pub(super) fn sum(&self, to: u64) -> u128 {
        let ends = self.0.iter().skip(1).map(|(at, _)| *at).chain([u64::MAX]);
        let spans = self.0.iter().zip(ends).map(|((from, value), end)| {
            u128::from(end.min(to).saturating_sub(*from)) * u128::from(*value)
        });
        spans.sum()
    }
}
