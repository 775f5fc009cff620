//! The sink that makes telemetry of the events of a run.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use ratchet_ipc::JobKey;
use ratchet_runtime::event::{EventRecord, RunEvent, WorkerNews};
use ratchet_runtime::process::working_now;
use ratchet_runtime::{EventFilter, RunTrace, Sink};

use crate::attribute::{Attribute, attribute};
use crate::exporter::{Exporter, now_nanos};
use crate::http::Client;
use crate::otlp::Encoder;
use crate::queue::Queue;
use crate::settings::Settings;
use crate::span::{self, JobNotes, PlannedRetry, Span, SpanEvent, nanos_of_millis, shortened};

/// How many events the span of a run has at most.
const MOST_EVENTS: usize = 1_000;

/// What telemetry tells of a run besides its events.
#[derive(Debug, Clone)]
pub struct RunFacts {
    /// The verb of the call, as in `map`.
    pub verb: &'static str,
    /// The id of the run, if it is recorded.
    pub run_id: Option<String>,
    /// How many jobs may run at once.
    pub slots: u32,
    /// The version of the program.
    pub version: String,
    /// The state of the trace, as whoever started the run has given it.
    pub trace_state: Option<String>,
}

/// Makes spans and figures of the events of one run, and gives them to the thread that sends them.
pub struct Telemetry {
    trace: RunTrace,
    facts: RunFacts,
    queue: Arc<Queue>,
    /// When the run began, in nanoseconds since the Unix epoch.
    began: u64,
    /// What is told of jobs before they end. Only jobs with a hint of their own or with retries have notes.
    notes: HashMap<JobKey, JobNotes>,
    /// The hints of the tasks whose jobs name none.
    hints: HashMap<String, String>,
    /// The events of the span of the run.
    events: Vec<SpanEvent>,
    dropped_events: u32,
}

impl Telemetry {
    /// Starts the thread that sends telemetry, and returns it with the sink of the run. The thread calls `complain` once, with a
    /// text for people, if the collector does not take what it is sent.
    pub fn start(
        settings: Settings,
        trace: RunTrace,
        facts: RunFacts,
        complain: impl FnOnce(String) + Send + 'static,
    ) -> io::Result<(Self, Exporter)> {
        let began = now_nanos();
        let resource = settings.resource.clone();
        let encoder = Encoder::new(resource, &facts.version, began, facts.trace_state.clone());
        let queue = Arc::new(Queue::default());
        let client = Client::new(settings);
        let exporter = Exporter::start(client, encoder, Arc::clone(&queue), Box::new(complain))?;
        Ok((Self::new(trace, facts, queue, began), exporter))
    }

    fn new(trace: RunTrace, facts: RunFacts, queue: Arc<Queue>, began: u64) -> Self {
        Self {
            trace,
            facts,
            queue,
            began,
            notes: HashMap::new(),
            hints: HashMap::new(),
            events: Vec::new(),
            dropped_events: 0,
        }
    }

    /// Notes an event of the span of the run, as far as there is room.
    fn note(&mut self, at_ms: u64, name: &'static str, attributes: Vec<Attribute>) {
        if self.events.len() < MOST_EVENTS {
            let at = nanos_of_millis(at_ms);
            self.events.push(SpanEvent {
                name,
                at,
                attributes,
            });
        } else {
            self.dropped_events += 1;
        }
    }

    /// Makes the span of the run.
    fn of_run(&mut self, at_ms: u64, total: u64, succeeded: u64) -> Span {
        let failed = total.saturating_sub(succeeded);
        let mut attributes = vec![
            attribute("ratchet.verb", self.facts.verb),
            attribute("ratchet.slots", self.facts.slots),
            attribute("ratchet.run.jobs", total),
            attribute("ratchet.run.succeeded", succeeded),
        ];
        let id = self.facts.run_id.as_deref();
        attributes.extend(id.map(|id| attribute("ratchet.run.id", id)));
        Span {
            own: self.trace.run(),
            parent: self.trace.parent(),
            is_parent_remote: self.trace.parent().is_some(),
            name: format!("ratchet {}", self.facts.verb),
            start: self.began,
            end: nanos_of_millis(at_ms).max(self.began),
            error: (failed > 0).then(|| format!("{failed} of {total} jobs did not succeed")),
            attributes,
            events: std::mem::take(&mut self.events),
            dropped_events: self.dropped_events,
        }
    }
}

impl Sink for Telemetry {
    fn on(&mut self, record: &EventRecord) {
        let at_ms = record.at_ms;
        match &record.event {
            RunEvent::RunStarted { .. } => self.began = nanos_of_millis(at_ms),
            RunEvent::HintsDeclared { hints } => {
                let told = hints.iter();
                self.hints
                    .extend(told.map(|(task, hint)| (task.clone(), hint.to_string())));
            }
            RunEvent::JobQueued {
                id,
                hint: Some(hint),
                ..
            } => {
                self.notes.entry(id.clone()).or_default().hint = Some(hint.to_string());
            }
            RunEvent::AttemptFailed {
                id,
                attempt,
                message,
                retry_in_ms,
                ..
            } => {
                let notes = self.notes.entry(id.clone()).or_default();
                notes.retries.push(PlannedRetry {
                    attempt: *attempt,
                    message: shortened(message),
                    delay_ms: *retry_in_ms,
                });
            }
            // A resumed run also delivers what had ended before it.
            RunEvent::JobEnded { outcome }
                if (outcome.ended)
                    .is_some_and(|at| nanos_of_millis(at.as_millis()) < self.began) => {}
            RunEvent::JobEnded { outcome } => {
                let mut notes = self.notes.remove(&outcome.id).unwrap_or_default();
                self.queue.count(|figures| figures.job(outcome));
                if self.trace.run().is_sampled() {
                    if notes.hint.is_none() {
                        notes.hint = self.hints.get(outcome.task.as_str()).cloned();
                    }
                    let spans = span::of_job(&self.trace, self.began, outcome, &notes);
                    self.queue.push(spans);
                }
            }
            RunEvent::RunEnded { total, succeeded } => {
                let span = self.of_run(at_ms, *total, *succeeded);
                let is_sampled = self.trace.run().is_sampled();
                self.queue.close(is_sampled.then_some(span), working_now());
            }
            other => self.note_event(at_ms, other),
        }
    }

    fn event_filter(&self) -> EventFilter {
        // What is bounded is the queue of spans. Figures would be wrong if an event were missed.
        EventFilter::Complete
    }

    fn name(&self) -> &'static str {
        "--otlp"
    }
}

impl Telemetry {
    /// Notes what happens to the run itself as an event of its span.
    fn note_event(&mut self, at_ms: u64, event: &RunEvent) {
        match event {
            RunEvent::Worker(WorkerNews::Ended {
                worker,
                cause,
                unexpected: true,
            }) => {
                self.queue.count(|figures| figures.restarts += 1);
                let told = vec![
                    attribute("ratchet.worker", worker.as_str()),
                    attribute("ratchet.cause", shortened(cause)),
                ];
                self.note(at_ms, "worker restart", told);
            }
            RunEvent::Worker(WorkerNews::Broken { kind, reason }) => {
                let told = vec![
                    attribute("ratchet.kind", kind.as_str()),
                    attribute("ratchet.cause", shortened(reason)),
                ];
                self.note(at_ms, "workers given up", told);
            }
            RunEvent::BreakerChanged(report) => {
                let told = vec![
                    attribute("ratchet.breaker", report.name.as_str()),
                    attribute("ratchet.breaker.state", report.state.as_str()),
                ];
                self.note(at_ms, "breaker", told);
            }
            RunEvent::Admission { held: Some(held) } => {
                let told = vec![attribute("ratchet.cause", held.as_str())];
                self.note(at_ms, "held back", told);
            }
            RunEvent::RunStopping { phase, reason } => {
                let told = vec![
                    attribute("ratchet.phase", phase.as_str()),
                    attribute("ratchet.cause", shortened(reason)),
                ];
                self.note(at_ms, "stopping", told);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use ratchet_ipc::Payload;
    use ratchet_runtime::{Outcome, ParallelizationHint, Timestamp};

    use super::*;
    use crate::attribute::Value;

    fn telemetry(parent: Option<&str>) -> (Telemetry, Arc<Queue>) {
        let queue = Arc::new(Queue::default());
        let facts = RunFacts {
            verb: "map",
            run_id: Some("1v7k3m0".to_owned()),
            slots: 4,
            version: "1.2.3".to_owned(),
            trace_state: None,
        };
        let trace = RunTrace::begin(parent.map(|parent| parent.parse().unwrap()));
        let telemetry = Telemetry::new(trace, facts, Arc::clone(&queue), 0);
        (telemetry, queue)
    }

    fn tell(telemetry: &mut Telemetry, at_ms: u64, event: RunEvent) {
        let v = EventRecord::VERSION;
        telemetry.on(&EventRecord { v, at_ms, event });
    }

    fn run(telemetry: &mut Telemetry) {
        tell(telemetry, 1_000, RunEvent::RunStarted { total: None });
        let hints = [("t".to_owned(), ParallelizationHint::HostExclusive)].into();
        tell(telemetry, 1_000, RunEvent::HintsDeclared { hints });
        let ended = |id: &str| RunEvent::JobEnded {
            outcome: Arc::new(Outcome {
                attempts: 1,
                started: Some(Timestamp::from_millis(1_500)),
                ended: Some(Timestamp::from_millis(2_500)),
                duration: Duration::from_secs(1),
                ..Outcome::new(id, "t", Ok(Payload::null()))
            }),
        };
        let queued = RunEvent::JobQueued {
            id: "a".into(),
            task: "t".into(),
            hint: Some(ParallelizationHint::Alone),
        };
        tell(telemetry, 1_000, queued);
        tell(telemetry, 2_500, ended("a"));
        tell(telemetry, 2_500, ended("b"));
        let end = RunEvent::Worker(WorkerNews::Ended {
            worker: ratchet_runtime::worker::WorkerName::new("w", 1),
            cause: "was killed".to_owned(),
            unexpected: true,
        });
        tell(telemetry, 2_600, end);
        let (total, succeeded) = (3, 2);
        tell(telemetry, 3_000, RunEvent::RunEnded { total, succeeded });
    }

    fn hint(span: &Span) -> Option<&Value> {
        let found = span
            .attributes
            .iter()
            .find(|one| one.name == "ratchet.hint");
        found.map(|one| &one.value)
    }

    #[test]
    fn the_span_of_the_run_comes_last_and_holds_the_others() {
        let (mut telemetry, queue) = telemetry(None);
        run(&mut telemetry);
        let spans = queue.next(Duration::ZERO).spans;
        assert_eq!(spans.len(), 5);
        let run = &spans[4];
        assert_eq!((run.own, run.parent), (telemetry.trace.run(), None));
        assert_eq!((run.start, run.end), (1_000_000_000, 3_000_000_000));
        assert_eq!(run.name, "ratchet map");
        assert_eq!(run.error.as_deref(), Some("1 of 3 jobs did not succeed"));
        assert_eq!(run.events[0].name, "worker restart");
        for span in &spans {
            assert_eq!(span.own.trace(), run.own.trace());
            assert!(span.start >= run.start && span.end <= run.end);
        }
        assert_eq!(queue.figures().restarts, 1);
        assert!(telemetry.notes.is_empty());
    }

    #[test]
    fn the_hint_of_a_job_comes_before_that_of_its_task() {
        let (mut telemetry, queue) = telemetry(None);
        run(&mut telemetry);
        let spans = queue.next(Duration::ZERO).spans;
        assert_eq!(hint(&spans[0]), Some(&"alone".into()));
        assert_eq!(hint(&spans[2]), Some(&"host_exclusive".into()));
    }

    #[test]
    fn what_had_ended_before_the_run_is_not_of_it() {
        let (mut telemetry, queue) = telemetry(None);
        tell(&mut telemetry, 1_000, RunEvent::RunStarted { total: None });
        let outcome = Outcome {
            ended: Some(Timestamp::from_millis(999)),
            ..Outcome::new("a", "t", Ok(Payload::null()))
        };
        let outcome = Arc::new(outcome);
        tell(&mut telemetry, 1_001, RunEvent::JobEnded { outcome });
        assert_eq!((queue.waiting(), queue.figures().jobs.len()), (0, 0));
    }

    #[test]
    fn a_run_within_a_trace_that_is_not_recorded_has_figures_and_no_spans() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
        let (mut telemetry, queue) = telemetry(Some(parent));
        run(&mut telemetry);
        let next = queue.next(Duration::ZERO);
        assert!(next.spans.is_empty() && next.closed.is_some());
        assert_eq!(queue.figures().jobs["succeeded"], 2);
    }
}
