//! The events of a queue in memory, for as long as they are kept.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::clock::Moment;
use crate::error::Error;
use crate::event::{Cursor, Event, EventKind};
use crate::names::JobName;

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

    /// Returns the result of a job that has ended, if its end is still kept.
    pub(super) fn result_of(&self, name: &JobName) -> Option<Arc<[u8]>> {
        self.kept.iter().rev().find_map(|event| match &event.kind {
            EventKind::Ended { job, result, .. } if job == name => Some(Arc::clone(result)),
            _ => None,
        })
    }

    /// Drops the latest end of a job.
    pub(super) fn remove_end(&mut self, name: &JobName) {
        let is_end =
            |event: &Event| matches!(&event.kind, EventKind::Ended { job, .. } if job == name);
        if let Some(at) = self.kept.iter().rposition(is_end) {
            self.kept.remove(at);
        }
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
