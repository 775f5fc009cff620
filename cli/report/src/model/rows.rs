//! Assigns each attempt to a row of a timeline.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use ratchet_runtime::worker::WorkerName;
use ratchet_runtime::{PlaceName, SlotNumber};

use super::{AttemptFacts, Row, SHORTEST, count};

/// By how much a recorded start may be too early: starts are recorded to the millisecond.
pub(crate) const ROUNDING: u64 = 1_000;

/// The greatest number of parts of a row. Further attempts that overlap are put on the last of them.
const MAX_PARTS: usize = 64;

/// Assigns attempts to rows.
#[derive(Debug, Default)]
pub(super) struct RowTable {
    rows: Vec<Row>,
    slots: HashMap<(Option<PlaceName>, u32), u32, RandomState>,
    workers: HashMap<WorkerName, u32, RandomState>,
}

impl RowTable {
    /// Returns the row of an attempt that ran on this worker, or in this slot of a place.
    pub(super) fn of(
        &mut self,
        worker: Option<&WorkerName>,
        place: Option<&PlaceName>,
        slot: Option<SlotNumber>,
    ) -> u32 {
        let next = count(self.rows.len());
        if let Some(worker) = worker {
            if let Some(row) = self.workers.get(worker) {
                return *row;
            }
            let text = worker.as_str();
            let (kind, number) = text.rsplit_once('/').unwrap_or((text, ""));
            self.rows.push(Row {
                group: kind.to_owned(),
                name: text.to_owned(),
                number: number.parse().unwrap_or_default(),
                part: 0,
            });
            self.workers.insert(worker.clone(), next);
            return next;
        }
        let number = slot.map_or(0, SlotNumber::get);
        let key = (place.cloned(), number);
        if let Some(row) = self.slots.get(&key) {
            return *row;
        }
        self.rows.push(Row {
            group: place.map_or("local", PlaceName::as_str).to_owned(),
            name: match number {
                0 => "no slot".to_owned(),
                number => format!("slot {number}"),
            },
            number,
            part: 0,
        });
        self.slots.insert(key, next);
        next
    }

    /// Moves attempts that overlap to rows of their own, corrects overlaps that come from rounding, and sorts the rows.
    ///
    /// Attempts are in the order in which their jobs ended. The sort is stable, so attempts on one row that began in
    /// the same millisecond stay in that order.
    pub(super) fn arrange(self, attempts: &mut [AttemptFacts]) -> Vec<Row> {
        let mut rows = self.rows;
        let mut order: Vec<u32> = (0..count(attempts.len())).collect();
        order.sort_by_key(|index| {
            let attempt = &attempts[*index as usize];
            (attempt.row, attempt.began)
        });
        // The rows of the parts of the current row, each with the end of the last attempt on it.
        let mut parts: Vec<(u32, u64)> = Vec::new();
        let mut current = u32::MAX;
        for index in order {
            let attempt = &mut attempts[index as usize];
            if attempt.row != current {
                current = attempt.row;
                parts.clear();
                parts.push((current, 0));
            }
            let is_free = |(_, end): &(u32, u64)| *end < attempt.began + ROUNDING;
            let part = match parts.iter().position(is_free) {
                Some(part) => part,
                None if parts.len() < MAX_PARTS => {
                    let row = Row {
                        part: count(parts.len()),
                        ..rows[current as usize].clone()
                    };
                    parts.push((count(rows.len()), 0));
                    rows.push(row);
                    parts.len() - 1
                }
                None => parts.len() - 1,
            };
            let (row, end) = &mut parts[part];
            attempt.row = *row;
            // The start was rounded down to the millisecond, and the attempt cannot have begun before the last one had
            // ended.
            attempt.began = attempt.began.max((*end).min(attempt.began + ROUNDING - 1));
            *end = (*end).max(attempt.began + attempt.ran.max(SHORTEST));
        }
        sorted(&rows, attempts)
    }
}

/// Sorts rows by their groups and numbers, and gives attempts the new indices.
fn sorted(rows: &[Row], attempts: &mut [AttemptFacts]) -> Vec<Row> {
    let mut order: Vec<&Row> = rows.iter().collect();
    order.sort_by_key(|row| {
        let is_elsewhere = row.group != "local";
        (is_elsewhere, &row.group, row.number, &row.name, row.part)
    });
    let mut places: HashMap<&Row, u32, RandomState> = HashMap::default();
    for (place, row) in order.iter().enumerate() {
        places.insert(row, count(place));
    }
    for attempt in attempts {
        attempt.row = places[&rows[attempt.row as usize]];
    }
    order.into_iter().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(row: u32, began: u64, ran: u64) -> AttemptFacts {
        AttemptFacts {
            job: 0,
            row,
            began,
            ran,
            slot: 1,
            class: None,
            returned: false,
            cpu: None,
            max_rss: None,
        }
    }

    #[test]
    fn what_overlaps_by_rounding_stands_one_after_the_other() {
        let mut table = RowTable::default();
        let row = table.of(None, None, SlotNumber::new(1));
        // Both began within one millisecond, and are recorded at its beginning.
        let mut attempts = [attempt(row, 5_000, 400), attempt(row, 5_000, 300)];
        let rows = table.arrange(&mut attempts);
        assert_eq!(rows.len(), 1);
        assert_eq!(attempts[0].row, attempts[1].row);
        assert_eq!(attempts[1].began, attempts[0].ended());

        // One that took less than a microsecond has a place of its own.
        let mut attempts = [attempt(0, 5_000, 0), attempt(0, 5_000, 300)];
        let mut table = RowTable::default();
        table.of(None, None, SlotNumber::new(1));
        table.arrange(&mut attempts);
        assert_eq!(attempts[1].began, attempts[0].began + 1);
    }

    #[test]
    fn what_ran_at_once_on_one_worker_stands_on_rows_of_its_own() {
        let mut table = RowTable::default();
        let worker = WorkerName::new("resize", 2);
        let row = table.of(Some(&worker), None, SlotNumber::new(1));
        let mut attempts = [attempt(row, 0, 50_000), attempt(row, 10_000, 5_000)];
        let rows = table.arrange(&mut attempts);
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].part, rows[1].part), (0, 1));
        assert_eq!(rows[1].name, "resize/2");
        assert_ne!(attempts[0].row, attempts[1].row);
    }
}
