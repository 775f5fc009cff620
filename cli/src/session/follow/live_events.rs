//! What happens to jobs of a queue before they end, for progress and the file of events.
//!
//! The executor of a follower sees jobs only when they have ended. So the follower tells its sinks the rest, and keeps from
//! them what the executor would tell too late: that a job is queued.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use ratchet_caching::{Clock, SystemClock};
use ratchet_runtime::event::{EventRecord, RunEvent};
use ratchet_runtime::{Class, EventFilter, Job, JobKey, PlaceName, Sink};

use crate::queue::QueuedProgress;

/// The sinks that hear what happens to jobs before they end.
#[derive(Default)]
pub(super) struct LiveEvents(Vec<Arc<Mutex<dyn Sink>>>);

impl LiveEvents {
    /// Adds a sink. Returns the same sink for the executor.
    pub(super) fn share<S: Sink + 'static>(&mut self, sink: S) -> SharedSink<S> {
        let sink = Arc::new(Mutex::new(sink));
        self.0.push(Arc::clone(&sink) as Arc<Mutex<dyn Sink>>);
        SharedSink(sink)
    }

    /// Tells that a job is in the queue.
    pub(super) fn queued(&self, job: &Job) {
        self.tell(|| RunEvent::JobQueued {
            id: job.id.clone(),
            task: job.task_name().into(),
            hint: job.terms.hint.clone(),
        });
    }

    /// Tells that an attempt has begun.
    pub(super) fn started(&self, id: JobKey, attempt: u32, place: Option<PlaceName>) {
        self.tell(|| RunEvent::AttemptStarted {
            id,
            item: None,
            attempt,
            slot: None,
            worker: None,
            place,
        });
    }

    /// Tells how far an attempt is.
    pub(super) fn progress(&self, id: JobKey, progress: QueuedProgress) {
        let QueuedProgress {
            done,
            total,
            message,
        } = progress;
        self.tell(|| RunEvent::AttemptProgress {
            id,
            done,
            total,
            message,
        });
    }

    /// Tells that an attempt has failed and another one follows.
    pub(super) fn failed(
        &self,
        (id, attempt): (&JobKey, u32),
        (class, why): (Class, &str),
        delay: Duration,
    ) {
        self.tell(|| RunEvent::AttemptFailed {
            id: id.clone(),
            attempt,
            class,
            message: why.to_owned(),
            retry_in_ms: u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
        });
    }

    fn tell(&self, event: impl FnOnce() -> RunEvent) {
        if self.0.is_empty() {
            return;
        }
        let since = SystemClock.now().duration_since(SystemTime::UNIX_EPOCH);
        let record = EventRecord {
            v: EventRecord::VERSION,
            at_ms: u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX),
            event: event(),
        };
        for sink in &self.0 {
            let mut sink = lock(sink);
            sink.on(&record);
            sink.caught_up();
        }
    }
}

/// A sink that the executor and a follower share.
pub(in crate::session) struct SharedSink<S>(Arc<Mutex<S>>);

impl<S: Sink> Sink for SharedSink<S> {
    fn on(&mut self, record: &EventRecord) {
        if !matches!(record.event, RunEvent::JobQueued { .. }) {
            lock(&self.0).on(record);
        }
    }

    fn caught_up(&mut self) {
        lock(&self.0).caught_up();
    }

    fn events_dropped(&mut self, count: u64) {
        lock(&self.0).events_dropped(count);
    }

    fn event_filter(&self) -> EventFilter {
        lock(&self.0).event_filter()
    }

    fn name(&self) -> &str {
        std::any::type_name::<S>()
    }
}

/// Locks a sink. One that has panicked in another thread shows nothing more.
fn lock<S: ?Sized>(sink: &Mutex<S>) -> std::sync::MutexGuard<'_, S> {
    sink.lock().unwrap_or_else(PoisonError::into_inner)
}
