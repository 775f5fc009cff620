//! Warns of jobs that are slow, while they run.

use std::time::Duration;

use ratchet_runtime::event::{EventRecord, RunEvent};
use ratchet_runtime::{EventFilter, Sink};

use super::console::Console;
use crate::readable::{duration, job_name};

/// Prints a line for each job that runs for longer than its terms call slow.
pub(super) struct SlowWarnings(Console);

impl SlowWarnings {
    /// Makes warnings that are printed to this console.
    pub(super) fn to(console: Console) -> Self {
        Self(console)
    }
}

impl Sink for SlowWarnings {
    fn on(&mut self, record: &EventRecord) {
        if let RunEvent::JobSlow {
            id, item, after_ms, ..
        } = &record.event
        {
            let name = job_name(id, item.as_ref());
            let ran = duration(Duration::from_millis(*after_ms));
            self.0.say(&format!(
                "ratchet: slow: {name} has been running for {ran}\n"
            ));
        }
    }

    fn event_filter(&self) -> EventFilter {
        EventFilter::Run
    }

    fn name(&self) -> &'static str {
        "warnings of slow jobs"
    }
}
