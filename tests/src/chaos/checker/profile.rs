//! How high a limit was at which time, at most.

use super::super::notes::{Fact, Note};

/// From each moment on, the highest value that may have held.
#[derive(Debug)]
pub(super) struct Profile(Vec<(u64, u32)>);

impl Profile {
    /// What held in a life of the host that began like this.
    pub(super) fn of(notes: &[Note], life: u32, limit: u32, initial: u32) -> Self {
        let mut steps = vec![(0, initial)];
        let mut holds = initial;
        for note in notes.iter().filter(|note| note.life == life) {
            match note.fact {
                // From now on it may be the one or the other.
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

    /// The highest value between two moments.
    pub(super) fn most(&self, from: u64, to: u64) -> u32 {
        let first = self.0.partition_point(|(at, _)| *at <= from).max(1) - 1;
        let steps = self.0.iter().skip(first).take_while(|(at, _)| *at <= to);
        steps.map(|(_, value)| *value).max().unwrap_or_default()
    }

    /// As a rate a second: how much it comes to by then, in thousand-millionths.
    pub(super) fn sum(&self, to: u64) -> u128 {
        let ends = self.0.iter().skip(1).map(|(at, _)| *at).chain([u64::MAX]);
        let spans = self.0.iter().zip(ends).map(|((from, value), end)| {
            u128::from(end.min(to).saturating_sub(*from)) * u128::from(*value)
        });
        spans.sum()
    }
}
