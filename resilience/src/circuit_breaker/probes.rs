use std::time::{Duration, Instant};

use crate::time::saturating_add;

/// The slots for probes of a half-open breaker.
///
/// Each slot takes one probe, and a success keeps its slot. So there are never more probes in progress and successes
/// together than slots. A probe that does not return loses its slot when its lease ends.
#[derive(Debug)]
pub(super) struct Probes {
    slots: Box<[Slot]>,
    /// The number of the next lease. Numbers are not used twice.
    next_lease: u64,
}

#[derive(Debug, Clone, Copy)]
enum Slot {
    /// The slot is available to a probe.
    Free,
    /// A probe is in progress, and loses the slot if it has not returned by `until`.
    Leased { lease: u64, until: Instant },
    /// A probe has succeeded. The breaker closes when this is true of all slots.
    Succeeded,
}

/// One probe: its slot, and the number of its lease. The slot may belong to another probe by now, with another number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Probe {
    slot: usize,
    lease: u64,
}

impl Probes {
    /// Makes this many free slots.
    pub(super) fn new(slots: u32) -> Self {
        Self {
            slots: (0..slots).map(|_| Slot::Free).collect(),
            next_lease: 0,
        }
    }

    /// Takes a free slot, or returns when the earliest lease ends.
    pub(super) fn take(&mut self, now: Instant, lease: Duration) -> Result<Probe, Option<Instant>> {
        let mut earliest: Option<Instant> = None;
        for (index, slot) in self.slots.iter_mut().enumerate() {
            match *slot {
                Slot::Succeeded => continue,
                Slot::Leased { until, .. } if until > now => {
                    earliest = Some(earliest.map_or(until, |earliest| earliest.min(until)));
                    continue;
                }
                Slot::Free | Slot::Leased { .. } => {}
            }
            let probe = Probe {
                slot: index,
                lease: self.next_lease,
            };
            self.next_lease += 1;
            *slot = Slot::Leased {
                lease: probe.lease,
                until: saturating_add(now, lease),
            };
            return Ok(probe);
        }
        Err(earliest)
    }

    /// Frees the slot, and returns when its lease ends; `None` if another probe holds the slot.
    pub(super) fn give_back(&mut self, probe: Probe) -> Option<Instant> {
        let slot = self.slots.get_mut(probe.slot)?;
        match *slot {
            Slot::Leased { lease, until } if lease == probe.lease => {
                *slot = Slot::Free;
                Some(until)
            }
            _ => None,
        }
    }

    /// Marks the slot as succeeded, and returns whether all slots are.
    pub(super) fn succeed(&mut self, probe: Probe) -> bool {
        if let Some(slot) = self.slots.get_mut(probe.slot) {
            *slot = Slot::Succeeded;
        }
        self.slots
            .iter()
            .all(|slot| matches!(slot, Slot::Succeeded))
    }

    /// Returns the number of probes that hold a lease now.
    pub(super) fn under_way(&self, now: Instant) -> usize {
        self.slots
            .iter()
            .filter(|slot| matches!(slot, Slot::Leased { until, .. } if *until > now))
            .count()
    }
}
