use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use ratchet_runtime::event::{EventRecord, RunEvent, WorkerNews};
use ratchet_runtime::worker::WorkerName;
use ratchet_runtime::{
    AttemptDetail, AttemptEnd, Attempts, Blocker, Class, Failure, Outcome, Payload, PlaceName,
    SlotNumber, Timestamp,
};
use serde_json::{Value, json};

use super::*;
use crate::document::{FromNode, Section, json_node};
use crate::job_file::PlanOptions;
use crate::job_file::spec::{
    CacheSpec, DefaultRetrySpec, DefaultsSpec, HintSpec, LimitSpec, MemorySpec, RateSpec,
    RestartSpec, RetrySpec, SizeSpec, TermsSpec, TimeoutSpec, WorkerSpec,
};

/// Checks schemas against the meta-schema of their draft, and values against the schemas.
const VALIDATOR: &str = "
import json, sys
try:
    from jsonschema import Draft202012Validator
except ImportError:
    sys.exit(42)
for line in sys.stdin:
    schema, values = json.loads(line)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    print(json.dumps([validator.is_valid(value) for value in values]))
";

/// Checks by the `jsonschema` package of Python whether each value is valid.
///
/// The package is not part of this workspace, so that where it is missing nothing is checked: then this gives
/// nothing, and says so.
fn are_valid(asked: &[(Value, Vec<Value>)]) -> Option<Vec<Vec<bool>>> {
    let python = std::env::var_os("PYTHON_WITH_JSONSCHEMA").unwrap_or_else(|| "python3".into());
    let child = Command::new(python)
        .args(["-c", VALIDATOR])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => return skipped(&error.to_string()),
    };
    let mut input = child.stdin.take().unwrap();
    let lines: String = asked
        .iter()
        .map(|asked| serde_json::to_string(asked).unwrap() + "\n")
        .collect();
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let written = writer.join().unwrap();
    if output.status.code() == Some(42) {
        return skipped("python3 has no package `jsonschema`");
    }
    written.unwrap();
    assert!(output.status.success(), "{}", output.status);
    let answers = String::from_utf8(output.stdout).unwrap();
    let answers = answers
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let answers: Vec<_> = answers.collect();
    assert_eq!(answers.len(), asked.len());
    Some(answers)
}

fn skipped<T>(why: &str) -> Option<T> {
    eprintln!("SKIPPED: the JSON Schemas are not checked, because {why}; pip install jsonschema");
    None
}

/// Asserts which values are valid.
fn assert_validity(schema: &Value, good: Vec<Value>, bad: Vec<Value>) {
    let asked = [(schema.clone(), good), (schema.clone(), bad)];
    let Some(answers) = are_valid(&asked) else {
        return;
    };
    for (is_good, ((_, values), answers)) in
        [true, false].into_iter().zip(asked.iter().zip(answers))
    {
        for (value, answer) in values.iter().zip(answers) {
            assert_eq!(answer, is_good, "{value}");
        }
    }
}

/// Whether a value is read without an error.
fn is_read<T: FromNode>(value: &Value) -> bool {
    let text = value.to_string();
    let mut problems = Vec::new();
    let node = json_node(&text, &mut problems).unwrap();
    let read = T::from_node(node, &mut problems);
    read.is_some() && problems.is_empty()
}

/// Returns sample values of each type that somebody might write, and words of all kinds.
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
        json!({"budget": "20%"}),
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
        "64k",
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

/// Makes sample values of each key of a section, with the keys that the section requires, and returns whether each is read.
fn tries<T: Section + FromNode>(rest: &Value) -> ((Value, Vec<Value>), Vec<bool>) {
    let mut schema = document_schema::<T>("one section");
    // What jobs say together is checked when a job is made of what was read.
    if let Some(job) = schema
        .pointer_mut("/$defs/a-job")
        .and_then(Value::as_object_mut)
    {
        job.remove("oneOf");
        job.remove("dependentRequired");
    }
    let mut values = vec![rest.clone()];
    for key in T::keys() {
        values.extend(samples().into_iter().map(|sample| {
            let mut value = rest.clone();
            value[key] = sample;
            value
        }));
    }
    let mut unknown = rest.clone();
    unknown["no such key"] = json!(1);
    values.push(unknown);
    let read = values.iter().map(is_read::<T>).collect();
    ((schema, values), read)
}

#[test]
fn a_value_is_read_exactly_where_the_schema_allows_it() {
    let all = [
        tries::<FileSpec>(&json!({})),
        tries::<HeaderSpec>(&json!({})),
        tries::<JobSpec>(&json!({})),
        tries::<LimitSpec>(&json!({})),
        tries::<WorkerSpec>(&json!({"command": "cat"})),
        tries::<SizeSpec>(&json!({"max": 3})),
        tries::<MemorySpec>(&json!({})),
        tries::<RestartSpec>(&json!({})),
        tries::<TermsSpec>(&json!({})),
        tries::<HintSpec>(&json!({"rate_limited": {"requests_per_second": 5}})),
        tries::<RateSpec>(&json!({"requests_per_second": 5})),
        tries::<TimeoutSpec>(&json!({})),
        tries::<RetrySpec>(&json!({})),
        tries::<DefaultRetrySpec>(&json!({})),
        tries::<DefaultsSpec>(&json!({})),
        tries::<CacheSpec>(&json!({})),
        tries::<SettingsSpec>(&json!({})),
    ];
    let (asked, read): (Vec<_>, Vec<_>) = all.into_iter().unzip();
    let Some(answers) = are_valid(&asked) else {
        return;
    };
    let mut tried = 0;
    for (((schema, values), read), answers) in asked.iter().zip(read).zip(answers) {
        for ((value, is_read), is_valid) in values.iter().zip(read).zip(answers) {
            assert_eq!(is_read, is_valid, "{}: {value}", schema["$ref"]);
            tried += 1;
        }
    }
    assert!(tried > 5000, "{tried}");
}

/// Returns a retry policy with this key.
fn retry_with(key: &str) -> Value {
    let mut retry = json!({"max": 3});
    retry[key] = match key {
        "max" => json!(4),
        "backoff" => json!("fibonacci"),
        "base" | "cap" | "within" => json!("1h"),
        "factor" => json!(3),
        "step" => json!("1s"),
        "jitter" => json!("none"),
        "on" => json!(["timeout"]),
        "budget" => json!("20%"),
        "memory" => json!(2),
        key => panic!("no value is known for `{key}`"),
    };
    if key == "step" {
        retry["backoff"] = json!("linear");
    }
    if key == "base" {
        retry["cap"] = json!("2h");
    }
    retry
}

/// The whole way of a file is compared here, since what its sections say can also be refused after they were read.
#[test]
fn a_job_file_is_taken_exactly_where_the_schema_allows_its_keys_of_retry() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.json");
    let (mut files, mut taken) = (Vec::new(), Vec::new());
    for key in DefaultRetrySpec::keys() {
        let retry = retry_with(key);
        for part in ["jobs", "workers", "defaults"] {
            let mut file = json!({"jobs": [{"run": "true"}]});
            match part {
                "jobs" => file["jobs"][0]["retry"] = retry.clone(),
                "workers" => file[part] = json!({"w": {"command": "cat", "retry": retry}}),
                _ => file[part] = json!({"retry": retry}),
            }
            std::fs::write(&path, file.to_string()).unwrap();
            taken.push(crate::job_file::open(&path, &PlanOptions::default()).is_ok());
            files.push(file);
        }
    }
    assert!(taken.contains(&false), "`budget` has one place only");
    let Some(valid) = are_valid(&[(jobs(), files.clone())]) else {
        return;
    };
    for ((file, taken), valid) in files.iter().zip(taken).zip(&valid[0]) {
        assert_eq!(taken, *valid, "{file}");
    }
}

#[test]
fn examples_of_job_files_are_valid() {
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
    assert_validity(
        &jobs(),
        vec![example],
        vec![
            json!({"jobs": [{"task": "a", "run": "b"}]}),
            json!({"jobs": [{"id": "a"}]}),
            json!({"jobs": [{"task": "a", "env": {"A": "b"}}]}),
            json!({"jobs": [{"run": "a", "input": 1}]}),
            json!([]),
        ],
    );
    assert_validity(
        &job_lines(),
        vec![
            json!({"task": "echo", "input": {"n": 1}}),
            json!({"version": 1, "workers": {}}),
        ],
        vec![json!({"jobs": []})],
    );
}

fn outcome(result: Result<Payload, Failure>) -> Outcome {
    Outcome {
        host: Some("web1".into()),
        attempts: 2,
        queued: Duration::from_micros(400),
        duration: Duration::from_millis(12),
        ..Outcome::new("a", "resize", result)
    }
}

/// Makes an outcome in which every field is set.
fn told_in_full() -> Outcome {
    let at = Timestamp::from_millis(1_790_000_000_123);
    let mut attempts = Attempts::default();
    let ends = [AttemptEnd::Returned, AttemptEnd::Succeeded];
    let ends = ends.into_iter().chain(Class::ALL.map(AttemptEnd::Failed));
    for (number, end) in (1..).zip(ends.cycle().take(40)) {
        attempts.push(AttemptDetail {
            number,
            slot: SlotNumber::new(2),
            place: Some(PlaceName::new("web1")),
            worker: Some(WorkerName::new("w", 1)),
            started: at,
            duration: Duration::from_micros(1_500),
            usage: None,
            end,
            failure: end
                .class()
                .map(|class| Box::new(Failure::new(class, "no").stdout("x".to_owned()))),
        });
    }
    let blockers = [
        Blocker::Needs,
        Blocker::Retry,
        Blocker::Paused,
        Blocker::Breaker,
        Blocker::Cache,
        Blocker::Host,
        Blocker::Global,
        Blocker::Limit("db".into()),
        Blocker::Rate,
        Blocker::Admission,
        Blocker::Worker,
        Blocker::Slot,
    ];
    Outcome {
        worker: Some(WorkerName::new("w", 1)),
        slot: SlotNumber::new(1),
        place: Some(PlaceName::new("web1")),
        started: Some(at),
        ended: Some(at),
        waits: blockers
            .map(|blocker| (blocker, Duration::from_millis(1)))
            .into_iter()
            .collect(),
        several: Some(Box::new(attempts)),
        ..outcome(Ok(Payload::null()))
    }
}

/// The schema knows each word that a line may have, so that none is only allowed because it is unknown.
#[test]
fn the_schema_of_results_names_every_field_and_every_blocker() {
    let line = serde_json::to_value(told_in_full()).unwrap();
    let schema = results();
    let names =
        |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    let known = names(&schema["properties"]);
    for name in names(&line) {
        assert!(known.contains(&name), "{name}");
    }
    let known = names(&schema["properties"]["waited"]["properties"]);
    for word in names(&line["waited"]) {
        assert!(word == "limit:db" || known.contains(&word), "{word}");
    }
    let known = names(&schema["properties"]["attempts_detail"]["items"]["properties"]);
    for attempt in line["attempts_detail"].as_array().unwrap() {
        for name in names(attempt) {
            assert!(known.contains(&name), "{name}");
        }
    }
}

#[test]
fn results_as_they_are_written_are_valid() {
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
    lines.push(told_in_full());
    let good: Vec<_> = lines
        .iter()
        .map(|line| serde_json::to_value(line).unwrap())
        .collect();
    let mut bad = Vec::new();
    for line in &good {
        for field in ["v", "id", "status", "attempts", "task"] {
            let mut broken = line.clone();
            broken.as_object_mut().unwrap().remove(field);
            bad.push(broken);
        }
    }
    let mut both = good[0].clone();
    both["error"] = good[1]["error"].clone();
    bad.push(both);
    assert_validity(&results(), good, bad);
}

#[test]
fn events_as_they_are_written_are_valid() {
    let text = || "x".to_owned();
    let all = [
        RunEvent::RunStarted { total: Some(3) },
        RunEvent::RunStarted { total: None },
        RunEvent::RunStopping {
            phase: "draining".into(),
            reason: text(),
        },
        RunEvent::RunEnded {
            total: 3,
            succeeded: 2,
        },
        RunEvent::JobQueued {
            id: "a".into(),
            task: "t".into(),
            hint: Some(ratchet_runtime::ParallelizationHint::rate_limited(4.0)),
        },
        RunEvent::HintsDeclared {
            hints: [("t".to_owned(), ratchet_runtime::ParallelizationHint::HostExclusive)].into(),
        },
        RunEvent::AttemptStarted {
            id: "a".into(),
            item: Some(ratchet_runtime::ItemName::new("a.png")),
            attempt: 1,
            slot: SlotNumber::new(3),
            place: Some(PlaceName::new("web1")),
            worker: None,
        },
        RunEvent::AttemptProgress {
            id: "a".into(),
            done: Some(0.5),
            total: None,
            message: None,
        },
        RunEvent::AttemptFailed {
            id: "a".into(),
            attempt: 1,
            class: Class::Exit,
            message: text(),
            retry_in_ms: 5,
        },
        RunEvent::JobSlow {
            id: "a".into(),
            item: None,
            attempt: 1,
            after_ms: 30_000,
        },
        RunEvent::JobEnded {
            outcome: std::sync::Arc::new(outcome(Ok(Payload::null()))),
        },
        RunEvent::Log {
            id: None,
            worker: None,
            level: ratchet_ipc::LogLevel::Info,
            message: text(),
        },
        RunEvent::Worker(WorkerNews::Broken {
            kind: text(),
            reason: text(),
        }),
        RunEvent::Worker(WorkerNews::Waiting {
            kind: text(),
            delay: Duration::from_secs(1),
        }),
        RunEvent::BreakerChanged(
            serde_json::from_value(json!({
                "name": "api", "host": "web1", "state": "half_open", "reason": "too many attempts were slow",
                "opened": 2, "open_ms": 1500, "first_opened_at_ms": 1,
            }))
            .unwrap(),
        ),
        RunEvent::LimitChanged {
            name: text(),
            limit: text(),
        },
        RunEvent::Admission { held: None },
        RunEvent::ResourceWarning {
            resource: "memory".into(),
            percent: 93.5,
        },
    ];
    let record = |event| EventRecord {
        v: EventRecord::VERSION,
        at_ms: 1,
        event,
    };
    let lines = all.map(|event| serde_json::to_value(record(event)).unwrap());
    assert_validity(
        &events(),
        lines.into(),
        vec![
            json!({"v": 1, "at_ms": 1, "event": "nonsense"}),
            json!({"v": 1, "at_ms": 1, "event": "run_ended"}),
        ],
    );
}
