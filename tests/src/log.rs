//! Listens to the log of ratchet in this process, for errors and for the attempts that it grants.

use std::fmt::Write as _;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// The log target under which an executor reports which attempt may begin.
const GRANTS: &str = "ratchet_runtime::grants";

/// Receives log messages of ratchet in this process.
pub(crate) trait LogListener: Send + Sync + 'static {
    /// Receives an error: ratchet found a bug in itself, or cannot continue.
    fn complaint(&self, complaint: String);

    /// Receives that an attempt at a job was granted this many nanoseconds after its run began, with the greatest
    /// number among its slots.
    fn grant(&self, _job: &str, _after_ns: u64, _last_slot: u64) {}
}

/// Sends the log messages of this process to a listener. Only the first call has an effect.
pub(crate) fn listen(listener: impl LogListener) {
    // It fails only if a subscriber is set already, and then this function has set it.
    let _ = tracing::subscriber::set_global_default(Listener(listener));
}

/// The subscriber that hands errors and grants to a [`LogListener`].
struct Listener<E>(E);

impl<E: LogListener> Subscriber for Listener<E> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR || metadata.target() == GRANTS
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        if event.metadata().target() == GRANTS {
            let mut grant = Grant::default();
            event.record(&mut grant);
            self.0.grant(&grant.job, grant.after_ns, grant.last_slot);
        } else {
            let mut text = Text(String::new());
            event.record(&mut text);
            self.0.complaint(text.0);
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Collects the fields of a log message as text.
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to text cannot fail.
        let _ = write!(self.0, "{field}={value:?} ");
    }
}

/// Collects the fields of a log message about a grant.
#[derive(Default)]
struct Grant {
    job: String,
    after_ns: u64,
    last_slot: u64,
}

impl Visit for Grant {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "job" {
            value.clone_into(&mut self.job);
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "after_ns" => self.after_ns = value,
            "last_slot" => self.last_slot = value,
            _ => {}
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}
