//! The schemas of the lines that ratchet writes: results and events.

use ratchet_runtime::event::EventRecord;
use ratchet_runtime::{BreakerState, Class, Outcome, Status};
use serde_json::{Map, Value, json};

use super::DRAFT;

/// Returns the schema of a line of results.
pub(crate) fn results() -> Value {
    let mut schema = result();
    if let Value::Object(schema) = &mut schema {
        schema.insert("$schema".to_owned(), DRAFT.into());
        schema.insert("title".to_owned(), "A ratchet result line".into());
    }
    schema
}

fn result() -> Value {
    let failed: Vec<_> = Status::ALL
        .into_iter()
        .filter(|status| *status != Status::Succeeded)
        .map(Status::as_str)
        .collect();
    let text = json!({"type": "string"});
    let milliseconds = json!({"type": "number", "minimum": 0});
    json!({
        "type": "object",
        "properties": {
            "v": {"const": Outcome::VERSION, "description": "The version of the line."},
            "id": {"type": "string", "description": "The job's id."},
            "item": {"type": "string", "description": "The item of `ratchet map` that the job is for."},
            "status": {"enum": Status::ALL.map(Status::as_str)},
            "result": {"description": "What the job gave; only if it succeeded."},
            "error": error(),
            "attempts": {"type": "integer", "minimum": 0, "description": "How many were charged to it."},
            "cached": {"type": "boolean", "description": "Whether the result is an earlier one."},
            "flaky": {"const": true, "description": "Only where the job succeeded after an attempt had failed."},
            "unrecorded": {"const": true, "description": "Only where the result could not be recorded, so that `ratchet resume` does the job again."},
            "host": text,
            "task": text,
            "worker": {"type": "string", "description": "Who did it, as in resize/2."},
            "place": place(),
            "queued_ms": milliseconds,
            "duration_ms": milliseconds,
            "slot": slot(),
            "started_at": moment("When the first attempt began."),
            "ended_at": moment("When the job ended."),
            "waited": {
                "type": "object",
                "description": "Milliseconds that the job waited, by what it waited for. Where several things held, the first of this order is charged.",
                "properties": waited(&milliseconds),
                "patternProperties": {"^(limit|resource):": milliseconds},
            },
            "cpu_ms": cpu(),
            "max_rss": max_rss(),
            "output_bytes": output_bytes(),
            "attempts_detail": {
                "type": "array",
                "description": "The attempts one by one, of very many the first and the last ones.",
                "items": attempt(),
            },
            "attempts_left_out": {
                "type": "object",
                "description": "The attempts that are not told one by one.",
                "properties": {
                    "after": {"type": "integer", "minimum": 0, "description": "How many of those that are told came before them."},
                    "count": {"type": "integer", "minimum": 1},
                    "duration_ms": {"type": "number", "minimum": 0, "description": "How long they ran together."},
                },
                "required": ["after", "count", "duration_ms"],
            },
        },
        "required": ["v", "id", "status", "attempts", "cached", "task", "queued_ms", "duration_ms"],
        "oneOf": [
            {"properties": {"status": {"const": "succeeded"}}, "required": ["result"], "not": {"required": ["error"]}},
            {"properties": {"status": {"enum": failed}}, "required": ["error"], "not": {"required": ["result"]}},
        ],
    })
}

/// The failure of a job, or of an attempt.
fn error() -> Value {
    let text = json!({"type": "string"});
    let milliseconds = json!({"type": "number", "minimum": 0});
    json!({
        "type": "object",
        "properties": {
            "class": {"enum": Class::ALL.map(Class::as_str), "description": "What kind of failure."},
            "code": {"type": "string", "description": "The worker's own word for it."},
            "message": text,
            "retryable": {"type": "boolean", "description": "Whether another attempt may go better."},
            "retry_after_ms": milliseconds,
            "data": {"description": "What the worker says beyond that."},
            "stdout": {"type": "string", "description": "The beginning and the end of what was printed to stdout."},
            "stdout_dropped": {"type": "integer", "minimum": 1, "description": "How many bytes between them were dropped."},
            "stdout_gap_at": {"type": "integer", "minimum": 0, "description": "How many bytes of the text stand before those that were dropped."},
            "stderr": {"type": "string", "description": "The beginning and the end of what was printed to stderr; of a worker only the end."},
            "stderr_dropped": {"type": "integer", "minimum": 1, "description": "How many bytes between them were dropped."},
            "stderr_gap_at": {"type": "integer", "minimum": 0, "description": "How many bytes of the text stand before those that were dropped."},
        },
        "required": ["class", "message", "retryable"],
    })
}

fn slot() -> Value {
    json!({"type": "integer", "minimum": 1, "description": "The number of the slot that the attempt held, or the first of them."})
}

fn place() -> Value {
    json!({"type": "string", "description": "The host where it ran, if that was another machine."})
}

fn cpu() -> Value {
    json!({"type": "number", "minimum": 0, "description": "The processor time in milliseconds of the last attempt's program and of those that it waited for; absent where it is not known."})
}

fn max_rss() -> Value {
    json!({"type": "integer", "minimum": 1, "description": "The peak memory in bytes of the largest process of the last attempt; absent where it is not known, as where it is less than ratchet's own."})
}

fn output_bytes() -> Value {
    json!({"type": "integer", "minimum": 0, "description": "How many bytes the last attempt's program printed; absent where it is not known."})
}

fn moment(description: &str) -> Value {
    json!({"type": "string", "format": "date-time", "description": description})
}

/// Returns what a job can wait for besides named limits, in the order in which it is charged.
fn waited(milliseconds: &Value) -> Value {
    let words = [
        "needs",
        "retry",
        "paused",
        "breaker",
        "cache",
        "connect",
        "host",
        "global",
        "rate",
        "admission",
        "worker",
        "slot",
    ];
    let properties = words.map(|word| (word.to_owned(), milliseconds.clone()));
    Value::Object(properties.into_iter().collect())
}

fn attempt() -> Value {
    let ends: Vec<_> = Status::ALL
        .into_iter()
        .map(Status::as_str)
        .chain(["returned"])
        .collect();
    json!({
        "type": "object",
        "properties": {
            "number": {"type": "integer", "minimum": 1},
            "slot": slot(),
            "worker": {"type": "string"},
            "place": place(),
            "started_at": moment("When the attempt began."),
            "ended_at": moment("When the attempt ended."),
            "duration_ms": {"type": "number", "minimum": 0},
            "cpu_ms": cpu(),
            "max_rss": max_rss(),
            "output_bytes": output_bytes(),
            "status": {"enum": ends, "description": "How the attempt ended; one that is returned never began on its worker."},
            "class": {"enum": Class::ALL.map(Class::as_str), "description": "What kind of failure it was, if it was one."},
            "charged": {"const": false, "description": "Only where the attempt does not count as one of its job."},
            "error": {"allOf": [error()], "description": "Its failure with what had been printed, if another attempt followed."},
        },
        "required": ["number", "started_at", "ended_at", "duration_ms", "status"],
    })
}

/// Returns the schema of a line of an event log. Readers have to ignore events and fields that they do not know.
pub(crate) fn events() -> Value {
    let kinds: Vec<_> = of_jobs()
        .into_iter()
        .chain(of_runs())
        .chain(of_workers())
        .collect();
    json!({
        "$schema": DRAFT,
        "title": "A line of a ratchet event log",
        "type": "object",
        "properties": {
            "v": {"const": EventRecord::VERSION},
            "at_ms": {"type": "integer", "minimum": 0, "description": "Milliseconds since the Unix epoch."},
        },
        "required": ["v", "at_ms", "event"],
        "oneOf": kinds,
    })
}

fn text() -> Value {
    json!({"type": "string"})
}

/// Returns a hint: its name, or an object with the name as the key of its settings.
fn hint() -> Value {
    json!({"type": ["string", "object"], "description": "A hint, as job files write it."})
}

fn count() -> Value {
    json!({"type": "integer", "minimum": 0})
}

fn number() -> Value {
    json!({"type": "number"})
}

fn of_runs() -> [Value; 8] {
    let phase = json!({"enum": ["draining", "cancelling", "killing"]});
    let state = json!({"enum": BreakerState::ALL.map(BreakerState::as_str)});
    [
        kind("run_started", &[], [("total", count())]),
        kind(
            "run_stopping",
            &["phase", "reason"],
            [("phase", phase), ("reason", text())],
        ),
        kind(
            "run_ended",
            &["total", "succeeded"],
            [("total", count()), ("succeeded", count())],
        ),
        kind(
            "breaker_changed",
            &[
                "name",
                "state",
                "reason",
                "opened",
                "open_ms",
                "first_opened_at_ms",
            ],
            [
                ("name", text()),
                ("host", text()),
                ("state", state),
                ("reason", text()),
                ("opened", count()),
                ("open_ms", count()),
                ("first_opened_at_ms", count()),
            ],
        ),
        kind(
            "limit_changed",
            &["name", "limit"],
            [("name", text()), ("limit", text())],
        ),
        kind(
            "hints_declared",
            &["hints"],
            [(
                "hints",
                json!({"type": "object", "additionalProperties": hint()}),
            )],
        ),
        kind("admission", &[], [("held", text())]),
        kind(
            "resource_warning",
            &["resource", "percent"],
            [("resource", text()), ("percent", number())],
        ),
    ]
}

fn of_jobs() -> [Value; 7] {
    let level = json!({"enum": ["trace", "debug", "info", "warn", "error"]});
    let class = json!({"enum": Class::ALL.map(Class::as_str)});
    [
        kind(
            "job_queued",
            &["id", "task"],
            [("id", text()), ("task", text()), ("hint", hint())],
        ),
        kind(
            "attempt_started",
            &["id", "attempt"],
            [
                ("id", text()),
                ("item", text()),
                ("attempt", count()),
                ("slot", slot()),
                ("worker", text()),
                ("place", place()),
            ],
        ),
        kind(
            "attempt_progress",
            &["id"],
            [
                ("id", text()),
                ("done", number()),
                ("total", number()),
                ("message", text()),
            ],
        ),
        kind(
            "attempt_failed",
            &["id", "attempt", "class", "message", "retry_in_ms"],
            [
                ("id", text()),
                ("attempt", count()),
                ("class", class),
                ("message", text()),
                ("retry_in_ms", count()),
            ],
        ),
        kind(
            "job_slow",
            &["id", "attempt", "after_ms"],
            [
                ("id", text()),
                ("item", text()),
                ("attempt", count()),
                ("after_ms", count()),
            ],
        ),
        kind("job_ended", &["outcome"], [("outcome", result())]),
        kind(
            "log",
            &["level", "message"],
            [
                ("id", text()),
                ("worker", text()),
                ("level", level),
                ("message", text()),
            ],
        ),
    ]
}

fn of_workers() -> [Value; 5] {
    let delay = json!({"type": "object", "properties": {"secs": count(), "nanos": count()}, "required": ["secs", "nanos"]});
    let unexpected = json!({"type": "boolean"});
    [
        news(
            "started",
            &["worker"],
            [("worker", text()), ("system_id", count())],
        ),
        news(
            "ready",
            &["worker", "after_ms"],
            [("worker", text()), ("after_ms", count())],
        ),
        news(
            "ended",
            &["worker", "cause", "unexpected"],
            [
                ("worker", text()),
                ("cause", text()),
                ("unexpected", unexpected),
            ],
        ),
        news(
            "waiting",
            &["kind", "delay"],
            [("kind", text()), ("delay", delay)],
        ),
        news(
            "broken",
            &["kind", "reason"],
            [("kind", text()), ("reason", text())],
        ),
    ]
}

fn kind<const N: usize>(name: &str, required: &[&str], fields: [(&str, Value); N]) -> Value {
    let mut properties: Map<_, _> = fields
        .into_iter()
        .map(|(name, schema)| (name.to_owned(), schema))
        .collect();
    properties.insert("event".to_owned(), json!({"const": name}));
    let required: Vec<_> = ["event"].iter().chain(required).collect();
    json!({"properties": properties, "required": required})
}

/// Returns the schema of an event of a worker.
fn news<const N: usize>(name: &str, required: &[&str], fields: [(&str, Value); N]) -> Value {
    let required: Vec<_> = ["news"].iter().chain(required).copied().collect();
    let mut schema = kind("worker", &required, fields);
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert("news".to_owned(), json!({"const": name}));
    }
    schema
}
