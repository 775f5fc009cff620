//! The heartbeat of a connection, and what it measures of the host at the other end.

use std::time::{Duration, Instant};

use crate::monitor::Reading;

/// How many unanswered beats are remembered. A host that leaves more of them unanswered is lost.
const MAX_UNANSWERED: usize = 16;

/// The weight of a new round trip is one part in this many, so that a single slow one changes little.
const PARTS: u32 = 4;

/// What the heartbeat measures of a host.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct HostHealth {
    /// How long a message takes to the host and back, as an average in which the most recent ones count most.
    pub round_trip: Option<Duration>,
    /// The last reading of memory and load, where [`measures_machine`](super::RemoteConfig::measures_machine) asks for
    /// it. For the processors it has only the load.
    pub machine: Option<Reading>,
}

/// The beats that were sent and not answered yet, and the average round trip of the others.
#[derive(Debug, Default)]
pub(super) struct Heartbeats {
    last: u64,
    sent: Vec<(u64, Instant)>,
    average: Option<Duration>,
}

impl Heartbeats {
    /// Returns the number of the beat that is sent now.
    pub(super) fn send(&mut self, now: Instant) -> u64 {
        self.last += 1;
        if self.sent.len() == MAX_UNANSWERED {
            self.sent.remove(0);
        }
        self.sent.push((self.last, now));
        self.last
    }

    /// Handles the answer to a beat. Returns the average of the round trips.
    pub(super) fn answered(&mut self, number: u64, now: Instant) -> Option<Duration> {
        // A host could answer a beat that was never sent.
        if let Some(at) = self.sent.iter().position(|(sent, _)| *sent == number) {
            let (_, sent) = self.sent.remove(at);
            let taken = now.saturating_duration_since(sent);
            self.average = Some(match self.average {
                None => taken,
                Some(average) => (average * (PARTS - 1) + taken) / PARTS,
            });
        }
        self.average
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    #[test]
    fn the_average_of_round_trips_follows_the_last_ones() {
        let begin = tokio::time::Instant::now().into_std();
        let mut beats = Heartbeats::default();
        let first = beats.send(begin);
        let second = beats.send(begin + 100 * MILLISECOND);
        assert_eq!(beats.answered(7, begin), None, "that was not asked");
        let average = beats.answered(first, begin + 8 * MILLISECOND);
        assert_eq!(average, Some(8 * MILLISECOND));
        let average = beats.answered(second, begin + 120 * MILLISECOND);
        assert_eq!(average, Some(11 * MILLISECOND));
        let again = beats.answered(second, begin + 900 * MILLISECOND);
        assert_eq!(again, average, "it was answered before");
    }

    #[test]
    fn a_host_that_answers_nothing_does_not_fill_the_memory() {
        let begin = tokio::time::Instant::now().into_std();
        let mut beats = Heartbeats::default();
        for _ in 0..1000 {
            beats.send(begin);
        }
        assert_eq!(beats.sent.len(), MAX_UNANSWERED);
    }
}
