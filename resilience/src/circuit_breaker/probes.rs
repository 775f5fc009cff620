use std::time::{Duration, Instant};

use crate::clock::later;

/// The places for probes while the breaker is half-open. There are never more probes under way, plus successes, than
/// places; a probe that does not come back loses its place when its lease ends.
#[derive(Debug)]
pub(super) struct Probes {
    places: Box<[Place]>,
    next_lease: u64,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Free,
    Leased { lease: u64, until: Instant },
    Succeeded,
}

/// One probe: a place, and the lease it was taken with. The place may have been let again since.
#[derive(Debug, Clone, Copy)]
pub(super) struct Probe {
    place: usize,
    lease: u64,
}

impl Probes {
    pub(super) fn new(places: u32) -> Self {
        Self {
            places: (0..places).map(|_| Place::Free).collect(),
            next_lease: 0,
        }
    }

    /// Takes a free place, or says when the next lease ends.
    pub(super) fn take(&mut self, now: Instant, lease: Duration) -> Result<Probe, Option<Instant>> {
        let mut earliest: Option<Instant> = None;
        for (index, place) in self.places.iter_mut().enumerate() {
            match *place {
                Place::Succeeded => continue,
                Place::Leased { until, .. } if until > now => {
                    earliest = Some(earliest.map_or(until, |earliest| earliest.min(until)));
                    continue;
                }
                Place::Free | Place::Leased { .. } => {}
            }
            let probe = Probe {
                place: index,
                lease: self.next_lease,
            };
            self.next_lease += 1;
            *place = Place::Leased {
                lease: probe.lease,
                until: later(now, lease),
            };
            return Ok(probe);
        }
        Err(earliest)
    }

    /// Frees the place and says when the lease would have ended, or nothing if the place was let again.
    pub(super) fn give_back(&mut self, probe: Probe) -> Option<Instant> {
        let place = self.places.get_mut(probe.place)?;
        match *place {
            Place::Leased { lease, until } if lease == probe.lease => {
                *place = Place::Free;
                Some(until)
            }
            _ => None,
        }
    }

    /// Marks a place as succeeded and says whether all are.
    pub(super) fn succeed(&mut self, probe: Probe) -> bool {
        if let Some(place) = self.places.get_mut(probe.place) {
            *place = Place::Succeeded;
        }
        self.places
            .iter()
            .all(|place| matches!(place, Place::Succeeded))
    }

    /// Probes that hold a lease now.
    pub(super) fn under_way(&self, now: Instant) -> usize {
        self.places
            .iter()
            .filter(|place| matches!(place, Place::Leased { until, .. } if *until > now))
            .count()
    }
}
