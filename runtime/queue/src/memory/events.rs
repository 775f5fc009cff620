//! The events of a queue in memory, for as long as they are kept.

use std::collections::VecDeque;

use crate::clock::Moment;
use crate::error::Error;
use crate::event::{Cursor, Event, EventKind};

/// The latest events of a queue.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// The events, oldest first.
    kept: VecDeque<Event>,
    /// The place of the latest event.
    last: Cursor,
    /// The millisecond before which events were dropped.
    dropped_before: u64,
}

impl Events {
    /// Adds an event.
    pub(super) fn add(&mut self, kind: EventKind, now: Moment) {
        let millis = now.as_micros() / 1000;
        let number = if millis == self.last.millis {
            self.last.number + 1
        } else {
            0
        };
        self.last = Cursor { millis, number };
        self.kept.push_back(Event {
            cursor: self.last,
            kind,
        });
    }

    /// Returns events after a cursor.
    pub(super) fn after(&self, after: Cursor, most: usize) -> Result<Vec<Event>, Error> {
        if after != Cursor::START && after.millis < self.dropped_before {
            return Err(Error::EventsExpired);
        }
        let first = self.kept.partition_point(|event| event.cursor <= after);
        Ok(self.kept.range(first..).take(most).cloned().collect())
    }

    /// Returns the place of the latest event, or the one before which events were dropped.
    pub(super) fn latest(&self) -> Cursor {
        self.last.max(Cursor {
            millis: self.dropped_before,
            number: 0,
        })
    }

    /// Drops the events before a moment.
    pub(super) fn drop_before(&mut self, moment: Moment) {
        let millis = moment.as_micros() / 1000;
        let count = (self.kept).partition_point(|event| event.cursor.millis < millis);
        if count > 0 {
            self.kept.drain(..count);
            self.dropped_before = millis;
        }
    }
}
