//! Sinks receive the events of a run and cannot hold it up.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::error::panic_message;
use crate::event::{EventRecord, RunEvent};
use crate::timestamp::Timestamp;

/// How many records may wait for a sink before it misses some. A fast run makes a hundred times as many in a second, so
/// a sink that cannot keep up would not be helped by a longer backlog.
const BACKLOG: usize = 4096;

/// How long the end of a run waits for its sinks to see the remaining records.
const FINISH_LIMIT: Duration = Duration::from_secs(5);

/// Receives the events of runs.
///
/// Each sink has a task and a backlog of its own, so a slow sink holds up nobody. When its backlog is full, the sink
/// misses the oldest record that it does not need to count right (progress, logs, queued jobs, starts), or if there is
/// none, the oldest record. It is told how many it has missed. A sink that panics is named in the log and gets no more
/// records.
pub trait Sink: Send {
    /// Receives an event. It should not block for long, because it runs on a task of the runtime.
    fn on(&mut self, record: &EventRecord);

    /// Tells the sink that it has seen all records for now, so that it can write what it has gathered.
    fn caught_up(&mut self) {}

    /// Tells the sink that this many records were dropped before the next one, because the sink was too slow for them.
    fn events_dropped(&mut self, count: u64) {
        tracing::warn!(
            count,
            sink = self.name(),
            "a sink was too slow and missed some records"
        );
    }

    /// Returns which events the sink wants. It is called once per run.
    fn event_filter(&self) -> EventFilter {
        EventFilter::Current
    }

    /// Returns the name of the sink for logs.
    fn name(&self) -> &str {
        std::any::type_name::<Self>()
    }
}

/// Which events a sink is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EventFilter {
    /// All events. If the sink is too slow, it misses some.
    #[default]
    Current,
    /// All events, without exception. If the sink is too slow, the records that wait for it take memory without limit.
    Complete,
    /// Only the events that do not concern single jobs and attempts. They are few. If no sink of a run wants more, the
    /// other events are not even made.
    Run,
}

/// A sink that several runs use, one after the other.
pub(super) type SharedSink = Arc<Mutex<Box<dyn Sink>>>;

/// The sinks of a run.
pub(super) struct Sinks {
    backlogs: Vec<Arc<Backlog>>,
    /// Whether a sink wants the events of single jobs.
    wants_jobs: bool,
    /// The task of each sink.
    tasks: JoinSet<()>,
}

/// The records that a sink has not seen yet.
struct Backlog {
    event_filter: EventFilter,
    records: Mutex<Records>,
    /// Wakes the task of the sink when there are records, and at the end.
    changed: Notify,
}

/// The records of a backlog, and how many were dropped.
#[derive(Default)]
struct Records {
    /// The records that the sink has not taken, the oldest first.
    waiting: VecDeque<Arc<EventRecord>>,
    /// How many records were dropped since the sink last took some.
    missed: u64,
    /// Whether the run has ended or the sink has panicked, so that no more records come.
    closed: bool,
}

impl Sinks {
    /// Starts a task for each sink, which receives the events of the run from then on.
    pub(super) fn start(sinks: &[SharedSink]) -> Self {
        let mut tasks = JoinSet::new();
        let backlogs = sinks.iter().map(|sink| {
            let event_filter = {
                let sink = sink.lock().unwrap_or_else(PoisonError::into_inner);
                sink.event_filter()
            };
            let backlog = Arc::new(Backlog {
                event_filter,
                records: Mutex::default(),
                changed: Notify::new(),
            });
            tasks.spawn(show(Arc::clone(sink), Arc::clone(&backlog)));
            backlog
        });
        let backlogs: Vec<_> = backlogs.collect();
        let wants_jobs = backlogs
            .iter()
            .any(|backlog| backlog.event_filter != EventFilter::Run);
        Self {
            backlogs,
            wants_jobs,
            tasks,
        }
    }

    /// Whether there is no sink.
    pub(super) fn is_empty(&self) -> bool {
        self.backlogs.is_empty()
    }

    /// Whether any sink wants events about single jobs.
    pub(super) fn want_jobs(&self) -> bool {
        self.wants_jobs
    }

    /// Puts an event into the backlog of each sink. It does not wait.
    pub(super) fn emit(&self, event: RunEvent, at: Timestamp) {
        let record = Arc::new(EventRecord {
            v: EventRecord::VERSION,
            at_ms: at.as_millis(),
            event,
        });
        let is_of_job = is_of_job(&record.event);
        for backlog in &self.backlogs {
            if !is_of_job || backlog.event_filter != EventFilter::Run {
                backlog.push(Arc::clone(&record));
            }
        }
    }

    /// Waits for the sinks to see the remaining records, for a limited time.
    pub(super) async fn finish(mut self) {
        for backlog in &self.backlogs {
            backlog.lock().closed = true;
            backlog.changed.notify_one();
        }
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(FINISH_LIMIT, all).await.is_err() {
            tracing::warn!("a sink is too slow and did not get all events of the run");
        }
    }
}

impl Backlog {
    fn push(&self, record: Arc<EventRecord>) {
        let mut records = self.lock();
        if records.closed {
            return;
        }
        if records.waiting.len() >= BACKLOG && self.event_filter != EventFilter::Complete {
            let expendable = records
                .waiting
                .iter()
                .position(|record| !is_essential(&record.event));
            // If all are essential, the oldest is dropped. The sink is told that it has missed some.
            records.waiting.remove(expendable.unwrap_or(0));
            records.missed += 1;
        }
        records.waiting.push_back(record);
        drop(records);
        self.changed.notify_one();
    }

    /// Locks the records. A poisoned lock is used all the same, because each change under the lock leaves the records
    /// consistent.
    fn lock(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the records since the last call; `None` after the end.
    async fn next(&self) -> Option<(u64, VecDeque<Arc<EventRecord>>)> {
        loop {
            {
                let mut records = self.lock();
                if !records.waiting.is_empty() {
                    let missed = std::mem::take(&mut records.missed);
                    return Some((missed, std::mem::take(&mut records.waiting)));
                }
                if records.closed {
                    return None;
                }
            }
            // A notification that came between the check and here is kept, so none is lost.
            self.changed.notified().await;
        }
    }
}

/// Whether a sink needs the event to count jobs right. Other events are dropped first if a sink is too slow.
fn is_essential(event: &RunEvent) -> bool {
    !matches!(
        event,
        RunEvent::AttemptProgress { .. }
            | RunEvent::Log { .. }
            | RunEvent::AttemptStarted { .. }
            | RunEvent::JobQueued { .. }
    )
}

/// Whether the event is about a single job or attempt.
fn is_of_job(event: &RunEvent) -> bool {
    matches!(
        event,
        RunEvent::JobQueued { .. }
            | RunEvent::AttemptStarted { .. }
            | RunEvent::AttemptProgress { .. }
            | RunEvent::AttemptFailed { .. }
            | RunEvent::JobEnded { .. }
            | RunEvent::Log { .. }
    )
}

async fn show(sink: SharedSink, backlog: Arc<Backlog>) {
    while let Some((missed, records)) = backlog.next().await {
        let shown = catch_unwind(AssertUnwindSafe(|| {
            let mut sink = sink.lock().unwrap_or_else(PoisonError::into_inner);
            if missed > 0 {
                sink.events_dropped(missed);
            }
            for record in &records {
                sink.on(record);
            }
            sink.caught_up();
        }));
        if let Err(panic) = shown {
            let sink = sink.lock().unwrap_or_else(PoisonError::into_inner);
            let (sink, panic) = (sink.name(), panic_message(&*panic));
            tracing::error!(
                sink,
                panic,
                "a sink panicked and gets no more events of the run"
            );
            let mut records = backlog.lock();
            records.closed = true;
            records.waiting = VecDeque::new();
            return;
        }
        // Other tasks get a turn, however many records there are.
        tokio::task::yield_now().await;
    }
}
