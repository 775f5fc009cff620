//! The JSON of OTLP: how spans and figures are written for a collector.
//!
//! It is the JSON mapping of the messages `ExportTraceServiceRequest` and `ExportMetricsServiceRequest` of
//! opentelemetry-proto: names in lower camel case, ids in hexadecimal, 64-bit numbers as texts.

use serde::Serialize;
use serde::ser::Serializer;
use serde_json::{Value as Json, json};

use crate::attribute::{Attribute, attribute};
use crate::figures::{BOUNDS, Durations, Figures, RunLoad};
use crate::span::{Span, SpanEvent};

/// The status code of a span that did not succeed.
const ERROR: u8 = 2;

/// The kind of a span of work within a program.
const INTERNAL: u8 = 1;

/// The bit of the flags of a span that says whether its parent was recorded elsewhere, and the one that says that this is known.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// Figures are sums since the run began, not since the last export.
const CUMULATIVE: u8 = 2;

/// The process that sends, for all of its spans and metrics.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Resource {
    pub(crate) attributes: Vec<Attribute>,
}

/// What made the spans and metrics.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Scope {
    name: &'static str,
    version: String,
}

/// Writes requests of this process.
#[derive(Debug, Clone)]
pub(crate) struct Encoder {
    resource: Resource,
    scope: Scope,
    /// When the run began, in nanoseconds since the Unix epoch: sums begin there.
    began: u64,
    /// The state of the trace that the caller of the run has given.
    trace_state: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TraceRequest<'a> {
    resource_spans: [ResourceSpans<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans<'a> {
    resource: &'a Resource,
    scope_spans: [ScopeSpans<'a>; 1],
}

#[derive(Serialize)]
struct ScopeSpans<'a> {
    scope: &'a Scope,
    spans: Vec<SpanLine<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SpanLine<'a> {
    trace_id: String,
    span_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_state: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<String>,
    flags: u32,
    name: &'a str,
    kind: u8,
    #[serde(serialize_with = "as_text")]
    start_time_unix_nano: u64,
    #[serde(serialize_with = "as_text")]
    end_time_unix_nano: u64,
    attributes: &'a [Attribute],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    events: Vec<EventLine<'a>>,
    #[serde(skip_serializing_if = "is_zero")]
    dropped_events_count: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<StatusLine<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EventLine<'a> {
    #[serde(serialize_with = "as_text")]
    time_unix_nano: u64,
    name: &'a str,
    attributes: &'a [Attribute],
}

#[derive(Serialize)]
struct StatusLine<'a> {
    code: u8,
    message: &'a str,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes what it may skip by reference"
)]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes what it writes by reference"
)]
fn as_text<S: Serializer>(number: &u64, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(number)
}

impl Encoder {
    /// Makes an encoder for a run that began at this moment, in nanoseconds since the Unix epoch.
    pub(crate) fn new(
        resource: Vec<Attribute>,
        version: &str,
        began: u64,
        trace_state: Option<String>,
    ) -> Self {
        Self {
            resource: Resource {
                attributes: resource,
            },
            scope: Scope {
                name: "ratchet",
                version: version.to_owned(),
            },
            began,
            trace_state,
        }
    }

    /// Writes a request with these spans.
    pub(crate) fn spans(&self, spans: &[Span]) -> serde_json::Result<Vec<u8>> {
        let lines = spans.iter().map(|span| self.line(span));
        serde_json::to_vec(&TraceRequest {
            resource_spans: [ResourceSpans {
                resource: &self.resource,
                scope_spans: [ScopeSpans {
                    scope: &self.scope,
                    spans: lines.collect(),
                }],
            }],
        })
    }

    fn line<'a>(&'a self, span: &'a Span) -> SpanLine<'a> {
        let remote = u32::from(span.is_parent_remote) * IS_REMOTE;
        SpanLine {
            trace_id: span.own.trace().to_string(),
            span_id: span.own.span().to_string(),
            trace_state: self.trace_state.as_deref(),
            parent_span_id: span.parent.map(|parent| parent.span().to_string()),
            flags: u32::from(span.own.is_sampled()) | HAS_IS_REMOTE | remote,
            name: &span.name,
            kind: INTERNAL,
            start_time_unix_nano: span.start,
            end_time_unix_nano: span.end,
            attributes: &span.attributes,
            events: span.events.iter().map(event_line).collect(),
            dropped_events_count: span.dropped_events,
            status: span.error.as_deref().map(|message| StatusLine {
                code: ERROR,
                message,
            }),
        }
    }

    /// Writes a request with these figures, as they are at this moment.
    pub(crate) fn figures(
        &self,
        figures: &Figures,
        load: Option<RunLoad>,
        now: u64,
    ) -> serde_json::Result<Vec<u8>> {
        let mut metrics = self.sums(figures, now);
        let durations = figures.attempts.iter().map(|(end, durations)| {
            let by = [attribute("ratchet.attempt.end", *end)];
            self.point(now, &by, histogram(durations))
        });
        metrics.push(json!({
            "name": "ratchet.attempt.duration",
            "unit": "s",
            "description": "How long attempts ran, by how they ended.",
            "histogram": {
                "aggregationTemporality": CUMULATIVE,
                "dataPoints": durations.collect::<Vec<_>>(),
            },
        }));
        if let Some(load) = load {
            for (name, count, description) in [
                ("ratchet.jobs.running", load.running, "Jobs that run."),
                ("ratchet.jobs.waiting", load.waiting, "Jobs that wait."),
            ] {
                metrics.push(json!({
                    "name": name,
                    "unit": "{job}",
                    "description": description,
                    "gauge": {"dataPoints": [self.whole(now, &[], count)]},
                }));
            }
        }
        serde_json::to_vec(&json!({
            "resourceMetrics": [{
                "resource": self.resource,
                "scopeMetrics": [{"scope": self.scope, "metrics": metrics}],
            }],
        }))
    }

    /// Makes the metrics that count up.
    fn sums(&self, figures: &Figures, now: u64) -> Vec<Json> {
        let jobs = figures.jobs.iter().map(|(status, count)| {
            let by = [attribute("ratchet.job.status", *status)];
            self.whole(now, &by, *count)
        });
        let attempts = figures.attempts.iter().map(|(end, durations)| {
            let by = [attribute("ratchet.attempt.end", *end)];
            self.whole(now, &by, durations.count)
        });
        let waits = figures.waits.iter().map(|(cause, time)| {
            let by = [attribute("ratchet.wait.cause", cause.as_str())];
            self.point(now, &by, json!({"asDouble": time.as_secs_f64()}))
        });
        vec![
            sum(
                "ratchet.jobs",
                "{job}",
                "Jobs that have ended, by their status.",
                jobs,
            ),
            sum(
                "ratchet.jobs.cached",
                "{job}",
                "Jobs whose result was an earlier one.",
                [self.whole(now, &[], figures.cached)],
            ),
            sum(
                "ratchet.attempts",
                "{attempt}",
                "Attempts that have ended, by how they ended.",
                attempts,
            ),
            sum(
                "ratchet.wait.time",
                "s",
                "How long jobs waited, by what they waited for.",
                waits,
            ),
            sum(
                "ratchet.worker.restarts",
                "{restart}",
                "Workers that ended by themselves.",
                [self.whole(now, &[], figures.restarts)],
            ),
        ]
    }

    /// Makes a point of a whole number.
    fn whole(&self, now: u64, attributes: &[Attribute], number: u64) -> Json {
        self.point(now, attributes, json!({"asInt": number.to_string()}))
    }

    /// Makes a point of a metric: the members of `value` with the times and attributes.
    fn point(&self, now: u64, attributes: &[Attribute], value: Json) -> Json {
        let mut point = json!({
            "startTimeUnixNano": self.began.to_string(),
            "timeUnixNano": now.to_string(),
            "attributes": attributes,
        });
        if let (Json::Object(point), Json::Object(value)) = (&mut point, value) {
            point.extend(value);
        }
        point
    }
}

fn event_line(event: &SpanEvent) -> EventLine<'_> {
    EventLine {
        time_unix_nano: event.at,
        name: event.name,
        attributes: &event.attributes,
    }
}

/// Makes a metric that counts up.
fn sum(name: &str, unit: &str, description: &str, points: impl IntoIterator<Item = Json>) -> Json {
    json!({
        "name": name,
        "unit": unit,
        "description": description,
        "sum": {
            "aggregationTemporality": CUMULATIVE,
            "isMonotonic": true,
            "dataPoints": points.into_iter().collect::<Vec<_>>(),
        },
    })
}

fn histogram(durations: &Durations) -> Json {
    let counts = durations.buckets.iter().map(ToString::to_string);
    json!({
        "count": durations.count.to_string(),
        "sum": durations.sum.as_secs_f64(),
        "bucketCounts": counts.collect::<Vec<_>>(),
        "explicitBounds": BOUNDS,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ratchet_runtime::RunTrace;

    use super::*;

    fn encoder() -> Encoder {
        let resource = vec![attribute("service.name", "ratchet")];
        Encoder::new(resource, "1.2.3", 5, Some("a=b".to_owned()))
    }

    fn parsed(request: serde_json::Result<Vec<u8>>) -> Json {
        serde_json::from_slice(&request.unwrap()).unwrap()
    }

    #[test]
    fn a_span_is_written_as_the_protocol_has_it() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let trace = RunTrace::begin(Some(parent.parse().unwrap()));
        let span = Span {
            own: trace.run(),
            parent: trace.parent(),
            is_parent_remote: true,
            name: "ratchet run".to_owned(),
            start: 1_790_000_000_000_000_001,
            end: 1_790_000_000_000_000_002,
            error: Some("1 of 2 jobs did not succeed".to_owned()),
            attributes: vec![attribute("ratchet.run.id", "x")],
            events: vec![SpanEvent {
                name: "retry",
                at: 7,
                attributes: Vec::new(),
            }],
            dropped_events: 3,
        };
        let written = parsed(encoder().spans(&[span]));
        let expected = json!({"resourceSpans": [{
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "ratchet"}}]},
            "scopeSpans": [{
                "scope": {"name": "ratchet", "version": "1.2.3"},
                "spans": [{
                    "traceId": "4bf92f3577b34da6a3ce929d0e0e4736",
                    "spanId": trace.run().span().to_string(),
                    "traceState": "a=b",
                    "parentSpanId": "00f067aa0ba902b7",
                    "flags": 0x301,
                    "name": "ratchet run",
                    "kind": 1,
                    "startTimeUnixNano": "1790000000000000001",
                    "endTimeUnixNano": "1790000000000000002",
                    "attributes": [{"key": "ratchet.run.id", "value": {"stringValue": "x"}}],
                    "events": [{"timeUnixNano": "7", "name": "retry", "attributes": []}],
                    "droppedEventsCount": 3,
                    "status": {"code": 2, "message": "1 of 2 jobs did not succeed"},
                }],
            }],
        }]});
        assert_eq!(written, expected);
    }

    #[test]
    fn figures_are_sums_since_the_beginning_and_a_histogram() {
        let mut figures = Figures::default();
        figures.jobs.insert("succeeded", 4);
        let mut durations = Durations {
            count: 1,
            sum: Duration::from_secs(2),
            ..Durations::default()
        };
        durations.buckets[8] = 1;
        figures.attempts.insert("succeeded", durations);
        let load = RunLoad {
            running: 2,
            waiting: 9,
        };
        let written = parsed(encoder().figures(&figures, Some(load), 11));
        let metrics = written["resourceMetrics"][0]["scopeMetrics"][0]["metrics"].clone();
        let metric = |name: &str| {
            let mut all = metrics.as_array().unwrap().iter();
            all.find(|one| one["name"] == name).unwrap().clone()
        };
        let jobs = &metric("ratchet.jobs")["sum"];
        assert_eq!(
            (&jobs["isMonotonic"], &jobs["aggregationTemporality"]),
            (&json!(true), &json!(2))
        );
        let point = json!({
            "startTimeUnixNano": "5",
            "timeUnixNano": "11",
            "attributes": [{"key": "ratchet.job.status", "value": {"stringValue": "succeeded"}}],
            "asInt": "4",
        });
        assert_eq!(jobs["dataPoints"], json!([point]));
        let histogram = &metric("ratchet.attempt.duration")["histogram"]["dataPoints"][0];
        let (counts, bounds) = (&histogram["bucketCounts"], &histogram["explicitBounds"]);
        let lengths = [counts, bounds].map(|list| list.as_array().unwrap().len());
        assert_eq!(lengths[0], lengths[1] + 1);
        assert_eq!(
            (&histogram["count"], &histogram["sum"]),
            (&json!("1"), &json!(2.0))
        );
        let running = &metric("ratchet.jobs.running")["gauge"]["dataPoints"][0]["asInt"];
        assert_eq!(*running, json!("2"));
    }
}
