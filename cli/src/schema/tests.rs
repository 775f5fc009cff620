use std::time::Duration;

use ratchet_runtime::event::{Event, Record, WorkerNews};
use ratchet_runtime::{Class, Failure, Outcome, Payload};
use serde_json::{Value, json};

use super::validator::is_valid;
use super::*;
use crate::diagnostic::Source;
use crate::document::{Format, Section, check};

/// Whether the checker has nothing to say.
fn is_sound(shape: &Shape, value: &Value) -> bool {
    let source = Source::new("f", value.to_string());
    let node = Format::Json.read(&source).unwrap().unwrap();
    let mut problems = Vec::new();
    check(&node, shape, &mut problems);
    problems.is_empty()
}

/// One value of each sort that somebody might write, and words of all kinds.
fn samples() -> Vec<Value> {
    let mut samples = vec![
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(1),
        json!(2),
        json!(-1),
        json!(1.5),
        json!(0.5),
        json!(4_294_967_295_u32),
        json!(4_294_967_296_u64),
        json!([]),
        json!([1]),
        json!(["x"]),
        json!([""]),
        json!([null]),
        json!({}),
        json!({"x": "y"}),
        json!({"x": null}),
        json!({"": 1}),
        json!({"rate_limited": {"requests_per_second": 5}}),
        json!({"max": 3}),
        json!({"min": 1, "max": 3}),
        json!({"soft": "2GiB"}),
        json!({"ttl": "5s"}),
        json!({"max": 0}),
        json!({"soft": "5s", "hard": "6s"}),
        json!({"w": {"command": "cat"}}),
        json!([{"run": "ls"}]),
    ];
    let words = [
        "",
        " ",
        "x",
        "auto",
        "7",
        "0",
        "10%",
        "101%",
        "100%",
        "30",
        "30s",
        "0s",
        "1m30s",
        "5 s",
        "-5s",
        "1.5h",
        "2GiB",
        "2 GiB",
        "0B",
        "2gib",
        "500",
        "10/s",
        "0/s",
        "1/15m",
        "10",
        "10/",
        "ratchet",
        "lines",
        "json",
        "text",
        "host_exclusive",
        "rate_limited",
        "high",
        "full",
        "log",
        "none",
        "required",
        "exponential",
        "task",
        "never",
        "human",
        "batch",
        "on",
        "off",
    ];
    samples.extend(words.map(Value::from));
    samples
}

/// All sections that can be reached from one.
fn sections(section: &'static Section, found: &mut Vec<&'static Section>) {
    fn inside(shape: &Shape, found: &mut Vec<&'static Section>) {
        match shape {
            Shape::Section(section) => sections(section, found),
            Shape::List(of) | Shape::Map(of) => inside(of, found),
            Shape::Either(shapes) => shapes.iter().for_each(|shape| inside(shape, found)),
            _ => {}
        }
    }
    if found.iter().any(|known| std::ptr::eq(*known, section)) {
        return;
    }
    found.push(section);
    for key in section.keys {
        inside(&key.shape, found);
    }
}

/// What its section wants besides the key that is tried.
fn rest(section: &Section) -> serde_json::Map<String, Value> {
    let pairs = match section.name {
        "a worker" => vec![("command", json!("cat"))],
        "a size" => vec![("max", json!(3))],
        "a hint" => vec![("rate_limited", json!({"requests_per_second": 5}))],
        "rate_limited" => vec![("requests_per_second", json!(5))],
        _ => Vec::new(),
    };
    pairs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

#[test]
fn the_schema_and_the_check_agree_on_every_key() {
    let mut all = Vec::new();
    sections(&FILE, &mut all);
    sections(&HEADER, &mut all);
    sections(&SETTINGS, &mut all);
    assert!(all.len() >= 14, "{}", all.len());
    let mut tried = 0;
    for section in all {
        let shape = Shape::Section(section);
        let mut schema = shapes::document("one section", &shape);
        // What jobs say together is not for the check of their keys.
        if let Some(job) = schema
            .pointer_mut("/$defs/a-job")
            .and_then(Value::as_object_mut)
        {
            job.remove("oneOf");
            job.remove("dependentRequired");
        }
        for key in section.keys {
            for sample in samples() {
                let mut value = rest(section);
                value.insert(key.name.to_owned(), sample);
                let value = Value::Object(value);
                assert_eq!(
                    is_valid(&schema, &value),
                    is_sound(&shape, &value),
                    "{}: {value}",
                    section.name
                );
                tried += 1;
            }
        }
        assert!(!is_valid(&schema, &json!({"no such key": 1})));
    }
    assert!(tried > 5000, "{tried}");
}

#[test]
fn examples_of_job_files_are_valid() {
    let schema = jobs();
    let example = json!({
        "version": 1,
        "workers": {
            "resize": {"command": ["python3", "workers/resize.py"], "size": 4, "hint": "host_exclusive", "cache": true},
            "count": {"command": ["jq", "-c", "--unbuffered", "length"], "protocol": "lines", "output": "json"},
        },
        "limits": {"api": {"rate": "10/s", "burst": 2}, "db": {"max": 4}},
        "defaults": {"timeout": "30s", "retry": {"max": 3, "backoff": "exponential", "base": "100ms", "cap": "30s"}},
        "jobs": [
            {"id": "a", "task": "resize", "host": "web1", "input": {"path": "a.png"}, "priority": "high"},
            {"id": "b", "task": "count", "input": [1, 2, 3], "needs": ["a"], "limits": ["api"]},
            {"id": "c", "run": ["convert", "a.png", "b.png"], "host": "web1", "hint": "host_exclusive", "timeout": {"soft": "10s", "hard": "20s"}},
        ],
    });
    assert!(is_valid(&schema, &example));
    for bad in [
        json!({"jobs": [{"task": "a", "run": "b"}]}),
        json!({"jobs": [{"id": "a"}]}),
        json!({"jobs": [{"task": "a", "env": {"A": "b"}}]}),
        json!({"jobs": [{"run": "a", "input": 1}]}),
        json!([]),
    ] {
        assert!(!is_valid(&schema, &bad), "{bad}");
    }
    assert!(is_valid(
        &job_lines(),
        &json!({"task": "echo", "input": {"n": 1}})
    ));
    assert!(is_valid(
        &job_lines(),
        &json!({"version": 1, "workers": {}})
    ));
    assert!(!is_valid(&job_lines(), &json!({"jobs": []})));
}

fn outcome(result: Result<Payload, Failure>) -> Outcome {
    Outcome {
        id: "a".into(),
        item: None,
        task: "resize".into(),
        host: Some("web1".into()),
        result: result.map_err(Box::new),
        attempts: 2,
        cached: false,
        worker: None,
        queued: Duration::from_micros(400),
        duration: Duration::from_millis(12),
    }
}

#[test]
fn results_as_they_are_written_are_valid() {
    let schema = results();
    let mut lines = vec![outcome(Ok(Payload::null()))];
    for class in Class::ALL {
        let mut failure = Failure::new(class, "no")
            .code("not_found")
            .stdout("oh")
            .stderr("oh");
        failure.retry_after = Some(Duration::from_millis(1500));
        failure.data = Some(Payload::null());
        lines.push(outcome(Err(failure)));
    }
    for line in &lines {
        let line = serde_json::to_value(line).unwrap();
        assert!(is_valid(&schema, &line), "{line}");
        for field in ["v", "id", "status", "attempts", "task"] {
            let mut broken = line.clone();
            broken.as_object_mut().unwrap().remove(field);
            assert!(!is_valid(&schema, &broken), "{broken}");
        }
    }
    let mut both = serde_json::to_value(&lines[0]).unwrap();
    both["error"] = serde_json::to_value(&lines[1]).unwrap()["error"].clone();
    assert!(!is_valid(&schema, &both));
}

#[test]
fn events_as_they_are_written_are_valid() {
    let schema = events();
    let text = || "x".to_owned();
    let all = [
        Event::RunStarted { total: Some(3) },
        Event::RunStarted { total: None },
        Event::RunStopping {
            phase: "draining".into(),
            reason: text(),
        },
        Event::RunEnded {
            total: 3,
            succeeded: 2,
        },
        Event::JobQueued {
            id: "a".into(),
            task: "t".into(),
        },
        Event::AttemptStarted {
            id: "a".into(),
            item: Some(ratchet_runtime::ItemName::new("a.png")),
            attempt: 1,
            worker: None,
        },
        Event::AttemptProgress {
            id: "a".into(),
            done: Some(0.5),
            total: None,
            message: None,
        },
        Event::AttemptFailed {
            id: "a".into(),
            attempt: 1,
            class: Class::Exit,
            message: text(),
            retry_in_ms: 5,
        },
        Event::JobEnded {
            outcome: std::sync::Arc::new(outcome(Ok(Payload::null()))),
        },
        Event::Log {
            id: None,
            worker: None,
            level: ratchet_ipc::LogLevel::Info,
            message: text(),
        },
        Event::Worker(WorkerNews::Broken {
            kind: text(),
            reason: text(),
        }),
        Event::Worker(WorkerNews::Waiting {
            kind: text(),
            delay: Duration::from_secs(1),
        }),
        Event::BreakerChanged {
            name: text(),
            state: "open".into(),
        },
        Event::LimitChanged {
            name: text(),
            limit: text(),
        },
        Event::Admission { held: None },
        Event::ResourceWarning {
            resource: "memory".into(),
            percent: 93.5,
        },
    ];
    for event in all {
        let record = Record {
            v: Record::VERSION,
            at_ms: 1,
            event,
        };
        let line = serde_json::to_value(&record).unwrap();
        assert!(is_valid(&schema, &line), "{line}");
    }
    assert!(!is_valid(
        &schema,
        &json!({"v": 1, "at_ms": 1, "event": "nonsense"})
    ));
    assert!(!is_valid(
        &schema,
        &json!({"v": 1, "at_ms": 1, "event": "run_ended"})
    ));
}
