//! `--otlp`: spans and metrics that a collector gets, and collectors that take nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::time::Duration;

use ratchet_tests::{Collector, Ended, Folder, Manner, Ratchet};
use serde_json::Value;
use tokio::time::Instant;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const PARENT_TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT_SPAN: &str = "00f067aa0ba902b7";

/// Returns the value of an attribute, as text.
fn attribute(of: &Value, name: &str) -> Option<String> {
    let list = of["attributes"].as_array().expect("attributes are a list");
    let found = list.iter().find(|one| one["key"] == name)?;
    let value = found["value"].as_object().expect("a value is an object");
    let value = value.values().next().expect("a value has one member");
    Some(
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned),
    )
}

fn text<'a>(of: &'a Value, name: &str) -> &'a str {
    let text = of[name].as_str();
    assert!(text.is_some(), "`{name}` is no text in {of}");
    text.unwrap_or_default()
}

fn nanos(of: &Value, name: &str) -> u64 {
    text(of, name).parse().expect("a time is a number as text")
}

/// The spans of a run: its own, those of its jobs by id, and those of the attempts of each job in their order.
struct Spans {
    run: Value,
    jobs: BTreeMap<String, Value>,
    attempts: BTreeMap<String, Vec<Value>>,
}

impl Spans {
    /// Sorts the spans, and checks what holds for all of them.
    fn of(collector: &Collector) -> Self {
        let all = collector.spans();
        let (mut run, mut jobs, mut attempts) = (None, BTreeMap::new(), BTreeMap::new());
        for span in &all {
            let job = attribute(span, "ratchet.job.id");
            match (job, attribute(span, "ratchet.attempt")) {
                (None, _) => run = Some(span.clone()),
                (Some(job), None) => drop(jobs.insert(job, span.clone())),
                (Some(job), Some(_)) => {
                    attempts
                        .entry(job)
                        .or_insert_with(Vec::new)
                        .push(span.clone());
                }
            }
        }
        let run = run.expect("there is a span of the run");
        let ids: BTreeSet<&str> = all.iter().map(|span| text(span, "spanId")).collect();
        assert_eq!(ids.len(), all.len(), "two spans have one id");
        for span in &all {
            assert_eq!(span["traceId"], run["traceId"]);
            assert_eq!(
                (text(span, "traceId").len(), text(span, "spanId").len()),
                (32, 16)
            );
            assert!(nanos(span, "startTimeUnixNano") <= nanos(span, "endTimeUnixNano"));
            assert_eq!(span["flags"].as_u64().expect("flags are a number") & 1, 1);
        }
        for (id, job) in &jobs {
            assert_within(job, &run);
            for attempt in attempts.get(id).into_iter().flatten() {
                assert_within(attempt, job);
            }
        }
        Self {
            run,
            jobs,
            attempts,
        }
    }
}

fn assert_within(span: &Value, parent: &Value) {
    assert_eq!(span["parentSpanId"], parent["spanId"]);
    let [begins, began] = [span, parent].map(|one| nanos(one, "startTimeUnixNano"));
    let [ends, ended] = [span, parent].map(|one| nanos(one, "endTimeUnixNano"));
    // The end of a job is recorded to the millisecond, and that of an attempt follows from its duration.
    assert!(
        began <= begins && ends <= ended + 2_000_000,
        "{span} is not within {parent}"
    );
}

fn run_file(collector: &Collector, jobs: &str) -> Ratchet {
    let folder = Folder::new().file("jobs.yaml", jobs);
    let call = Ratchet::within(&folder).args(["run", "-q", "jobs.yaml", "--format", "jsonl"]);
    call.args(["--otlp", &collector.url()])
}

fn results(ended: &Ended) -> Vec<Value> {
    let lines = ended.stdout();
    let parsed = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("it is JSON"));
    parsed.collect()
}

#[test]
fn a_collector_gets_spans_of_the_run_its_jobs_and_their_attempts() {
    let collector = Collector::start(Manner::Takes);
    let jobs = "jobs:
  - { id: good, host: web1, hint: host_exclusive, run: [echo, hi] }
  - { id: bad, run: [sh, -c, 'echo no >&2; exit 3'], needs: [good] }
  - { id: never, run: ['true'], needs: [bad] }
  - id: again
    run: [sh, -c, '[ $RATCHET_ATTEMPT = 3 ]']
    retry: { max: 2, base: 20ms }
";
    let _ = run_file(&collector, jobs).run().with_code(100).quiet();
    let spans = Spans::of(&collector);
    let run = &spans.run;
    assert_eq!(text(run, "name"), "ratchet run");
    assert!(run.get("parentSpanId").is_none(), "{run}");
    assert_eq!(run["status"]["code"], 2);
    assert_eq!(
        text(&run["status"], "message"),
        "2 of 4 jobs did not succeed"
    );
    let good = &spans.jobs["good"];
    assert!(good.get("status").is_none(), "{good}");
    for (name, value) in [
        ("ratchet.task", "echo"),
        ("ratchet.kind", "command"),
        ("ratchet.host", "web1"),
        ("ratchet.hint", "host_exclusive"),
        ("ratchet.job.status", "succeeded"),
        ("ratchet.job.attempts", "1"),
    ] {
        assert_eq!(attribute(good, name).as_deref(), Some(value), "{name}");
    }
    let [attempt] = &spans.attempts["good"][..] else {
        panic!("it had one attempt");
    };
    for (name, value) in [
        ("ratchet.attempt", "1"),
        ("ratchet.place", "local"),
        ("process.exit.code", "0"),
        ("ratchet.output_bytes", "3"),
    ] {
        assert_eq!(attribute(attempt, name).as_deref(), Some(value), "{name}");
    }
    assert!(attribute(attempt, "ratchet.slot").is_some());
    for bad in [&spans.jobs["bad"], &spans.attempts["bad"][0]] {
        assert_eq!(bad["status"]["code"], 2);
        assert_eq!(text(&bad["status"], "message"), "it ended with exit code 3");
        assert_eq!(attribute(bad, "error.type").as_deref(), Some("exit"));
    }
    let code = attribute(&spans.attempts["bad"][0], "process.exit.code");
    assert_eq!(code.as_deref(), Some("3"));
    assert!(attribute(&spans.jobs["bad"], "ratchet.wait.needs").is_some());
    let skipped = attribute(&spans.jobs["never"], "ratchet.job.status");
    assert_eq!(skipped.as_deref(), Some("skipped"));
    assert!(!spans.attempts.contains_key("never"));

    let again = &spans.jobs["again"];
    assert_eq!(
        attribute(again, "ratchet.job.flaky").as_deref(),
        Some("true")
    );
    let events = again["events"].as_array().unwrap();
    let delays: Vec<_> = events
        .iter()
        .map(|event| (text(event, "name"), attribute(event, "error.type").unwrap()))
        .collect();
    let retry = ("retry", "exit".to_owned());
    assert_eq!(delays, [retry.clone(), retry]);
    assert!(attribute(&events[0], "ratchet.retry.delay").is_some());
    let attempts = &spans.attempts["again"];
    let ends: Vec<_> = attempts
        .iter()
        .map(|one| attribute(one, "ratchet.attempt.end").unwrap())
        .collect();
    assert_eq!(ends, ["failed", "failed", "succeeded"]);
    for pair in attempts.windows(2) {
        let ended = nanos(&pair[0], "endTimeUnixNano");
        // A start is recorded to the millisecond.
        assert!(ended <= nanos(&pair[1], "startTimeUnixNano") + 1_000_000);
    }
}

#[test]
fn metrics_tell_jobs_attempts_waits_and_durations() {
    let collector = Collector::start(Manner::Takes);
    let jobs = "jobs:
  - { id: a, run: ['true'] }
  - { id: b, run: ['false'], needs: [a], retry: { max: 1, base: 1ms } }
";
    let _ = run_file(&collector, jobs).run().with_code(100).quiet();
    let metrics = collector.metrics();
    let points = |name: &str, kind: &str| {
        let mut all = metrics.iter().rev();
        let metric = all
            .find(|metric| metric["name"] == name)
            .expect("it is sent");
        metric[kind]["dataPoints"].as_array().unwrap().clone()
    };
    let sums = |name: &str, by: &str| -> BTreeMap<String, String> {
        let points = points(name, "sum");
        let told = points.iter().map(|point| {
            let value = point.get("asInt").or(point.get("asDouble")).unwrap();
            (
                attribute(point, by).unwrap(),
                value.as_str().unwrap_or("").to_owned(),
            )
        });
        told.collect()
    };
    let one = |name: &str| (name.to_owned(), "1".to_owned());
    assert_eq!(
        sums("ratchet.jobs", "ratchet.job.status"),
        [one("succeeded"), one("failed")].into()
    );
    assert_eq!(
        sums("ratchet.attempts", "ratchet.attempt.end"),
        [one("succeeded"), ("failed".to_owned(), "2".to_owned())].into()
    );
    let waits = sums("ratchet.wait.time", "ratchet.wait.cause");
    assert!(
        waits.contains_key("needs") && waits.contains_key("retry"),
        "{waits:?}"
    );
    let durations = points("ratchet.attempt.duration", "histogram");
    let counted = durations.iter().map(|point| text(point, "count"));
    assert_eq!(counted.collect::<Vec<_>>(), ["2", "1"]);
    assert_eq!(points("ratchet.jobs.running", "gauge")[0]["asInt"], "0");
}

#[test]
fn the_run_is_a_child_of_the_span_that_started_it_and_commands_of_their_attempts() {
    let collector = Collector::start(Manner::Takes);
    let script = "echo $TRACEPARENT $TRACESTATE";
    let jobs = format!("jobs: [{{ id: a, run: [sh, -c, '{script}'] }}]");
    let call = run_file(&collector, &jobs);
    let call = call
        .env("TRACEPARENT", PARENT)
        .env("TRACESTATE", "vendor=x");
    let results = results(&call.run().with_code(0).quiet());
    let spans = Spans::of(&collector);
    assert_eq!(text(&spans.run, "traceId"), PARENT_TRACE);
    assert_eq!(text(&spans.run, "parentSpanId"), PARENT_SPAN);
    assert_eq!(text(&spans.run, "traceState"), "vendor=x");
    let attempt = text(&spans.attempts["a"][0], "spanId");
    let told = format!("00-{PARENT_TRACE}-{attempt}-01 vendor=x\n");
    assert_eq!(results[0]["result"]["stdout"], told);
}

#[test]
fn a_trace_that_is_not_recorded_is_passed_on_and_no_spans_are_sent() {
    let collector = Collector::start(Manner::Takes);
    let jobs = "jobs: [{ id: a, run: [sh, -c, 'echo $TRACEPARENT'] }]";
    let unsampled = PARENT.replace("-01", "-00");
    let call = run_file(&collector, jobs).env("TRACEPARENT", &unsampled);
    let results = results(&call.run().with_code(0).quiet());
    let told = results[0]["result"]["stdout"].as_str().unwrap().trim();
    assert!(
        told.starts_with(&format!("00-{PARENT_TRACE}-")) && told.ends_with("-00"),
        "{told}"
    );
    assert_ne!(told, unsampled);
    assert!(collector.spans().is_empty());
    assert!(!collector.metrics().is_empty());
}

#[test]
fn a_malformed_parent_is_told_once_and_passed_over() {
    let collector = Collector::start(Manner::Takes);
    let jobs = "jobs: [{ id: a, run: [sh, -c, 'echo $TRACEPARENT:$TRACESTATE'] }]";
    let call = run_file(&collector, jobs);
    let call = call
        .env("TRACEPARENT", "00-xyz")
        .env("TRACESTATE", "vendor=x");
    let ended = call.run().with_code(0);
    let said = ended.stderr();
    assert_eq!(
        said.matches("TRACEPARENT is passed over").count(),
        1,
        "{said}"
    );
    assert!(said.contains("`00-xyz`"), "{said}");
    let spans = Spans::of(&collector);
    assert!(spans.run.get("parentSpanId").is_none());
    let told = results(&ended)[0]["result"]["stdout"]
        .as_str()
        .unwrap()
        .to_owned();
    let (trace, attempt) = (
        text(&spans.run, "traceId"),
        text(&spans.attempts["a"][0], "spanId"),
    );
    assert_eq!(told, format!("00-{trace}-{attempt}-01:\n"));
}

#[test]
fn without_the_flag_nothing_is_sent_and_commands_inherit_the_span_of_the_caller() {
    let collector = Collector::start(Manner::Takes);
    let jobs = "jobs: [{ id: a, run: [sh, -c, 'echo $TRACEPARENT'] }]";
    let folder = Folder::new().file("jobs.yaml", jobs);
    let call = Ratchet::within(&folder).args(["run", "-q", "jobs.yaml", "--format", "jsonl"]);
    let call = call.env("TRACEPARENT", PARENT);
    let call = call.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url());
    let results = results(&call.run().with_code(0).quiet());
    assert_eq!(results[0]["result"]["stdout"], format!("{PARENT}\n"));
    assert!(collector.requests().is_empty());
}

#[test]
fn a_worker_finds_the_span_of_the_attempt_in_its_request() {
    let collector = Collector::start(Manner::Takes);
    // It answers with what it is told.
    let worker = r#"while read -r line; do
        id=${line#*'"id":'}; id=${id%%,*}
        parent=${line#*'"traceparent":'}; parent=${parent%%,*}
        echo "{\"type\":\"response\",\"id\":$id,\"result\":$parent}"
    done"#;
    let folder = Folder::new().file("worker.sh", worker);
    let call = Ratchet::within(&folder).args(["run", "-q", "-", "-j2", "--format", "jsonl"]);
    let call = call.args(["--worker", "sh worker.sh", "--otlp", &collector.url()]);
    let jobs: Vec<String> = (0..50)
        .map(|job| format!("{{\"id\":\"j{job}\",\"task\":\"t\"}}\n"))
        .collect();
    let jobs = jobs.concat();
    let results = results(&call.stdin(jobs).run().with_code(0));
    let spans = Spans::of(&collector);
    let trace = text(&spans.run, "traceId");
    for result in &results {
        let id = text(result, "id");
        let attempt = &spans.attempts[id][0];
        let told = format!("00-{trace}-{}-01", text(attempt, "spanId"));
        assert_eq!(text(result, "result"), told);
        let worker = attribute(attempt, "ratchet.worker").unwrap();
        assert_eq!(worker, text(result, "worker"));
        let kind = attribute(attempt, "ratchet.kind").unwrap();
        assert_eq!(worker.split_once('/').map(|(kind, _)| kind), Some(&*kind));
    }
    assert_eq!((results.len(), spans.jobs.len()), (50, 50));
}

#[test]
fn a_worker_that_dies_is_an_event_of_the_run_and_its_hint_an_attribute_of_its_jobs() {
    let collector = Collector::start(Manner::Takes);
    let worker = r#"echo '{"type":"event","event":"hello","protocol":[1],"name":"w","version":"1","concurrency":1,"capabilities":[],"tasks":{"t":{"hint":"host_exclusive"}}}'
    while read -r line; do
        case $line in *'"attempt":1'*) kill -9 $$;; esac
        id=${line#*'"id":'}; id=${id%%,*}
        echo "{\"type\":\"response\",\"id\":$id,\"result\":1}"
    done"#;
    let jobs = "workers: { t: { command: [sh, worker.sh], size: 1 } }
jobs: [{ id: a, task: t, host: web1, retry: { max: 1, base: 1ms } }]
";
    let folder = Folder::new()
        .file("jobs.yaml", jobs)
        .file("worker.sh", worker);
    let call = Ratchet::within(&folder).args(["run", "-q", "jobs.yaml"]);
    let _ = call.args(["--otlp", &collector.url()]).run().with_code(0);
    let spans = Spans::of(&collector);
    let events = spans.run["events"].as_array().unwrap();
    assert!(
        events.iter().any(|event| event["name"] == "worker restart"),
        "{events:?}"
    );
    let hint = attribute(&spans.jobs["a"], "ratchet.hint");
    assert_eq!(hint.as_deref(), Some("host_exclusive"));
    let crash = attribute(&spans.attempts["a"][0], "error.type");
    assert_eq!(crash.as_deref(), Some("crash"));
}

#[test]
fn map_names_the_item_and_a_resumed_run_is_sent_where_the_flag_says() {
    let collector = Collector::start(Manner::Takes);
    let folder = Folder::new();
    let call = Ratchet::within(&folder).args(["map", "-q", "--shell", "--otlp", &collector.url()]);
    let call = call.args(["--", "[ {} = good ] || [ -e there ]", ":::", "good", "bad"]);
    let _ = call.run().with_code(100);
    let spans = Spans::of(&collector);
    assert_eq!(text(&spans.run, "name"), "ratchet map");
    let items: Vec<_> = spans
        .jobs
        .values()
        .map(|job| attribute(job, "ratchet.job.item").unwrap())
        .collect();
    assert_eq!(items, ["good", "bad"]);

    let folder = folder.file("there", "");
    let other = Collector::start(Manner::Takes);
    let call = Ratchet::within(&folder).args(["resume", "-q", "--otlp", &other.url()]);
    let _ = call.run().with_code(0);
    let resumed = Spans::of(&other);
    assert_ne!(resumed.run["traceId"], spans.run["traceId"]);
    assert_eq!(resumed.attempts.len(), 1);
    assert!(resumed.attempts.contains_key("2"));
}

#[test]
fn the_environment_of_opentelemetry_names_the_collector_its_headers_and_the_service() {
    let collector = Collector::start(Manner::Takes);
    let call = Ratchet::new().args(["map", "-q", "--otlp", "env", "--", "true", ":::", "a"]);
    let call = call.env(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        format!("{}/", collector.url()),
    );
    let call = call.env("OTEL_EXPORTER_OTLP_HEADERS", "api-key=secret%20one");
    let call = call.env("OTEL_SERVICE_NAME", "builds");
    let call = call.env("OTEL_RESOURCE_ATTRIBUTES", "team=core,service.name=other");
    let _ = call.run().with_code(0).quiet();
    let requests = collector.requests();
    let paths: BTreeSet<&str> = requests.iter().map(|request| &*request.path).collect();
    assert_eq!(paths, ["/v1/metrics", "/v1/traces"].into());
    for request in &requests {
        assert_eq!(request.headers["api-key"], "secret one");
        assert_eq!(request.headers["content-type"], "application/json");
    }
    let spans = requests
        .iter()
        .find(|request| request.path == "/v1/traces")
        .unwrap();
    let resource = &spans.body["resourceSpans"][0]["resource"];
    assert_eq!(
        attribute(resource, "service.name").as_deref(),
        Some("builds")
    );
    assert_eq!(attribute(resource, "team").as_deref(), Some("core"));
    assert!(attribute(resource, "host.name").is_some());
}

#[test]
fn a_wrong_url_or_variable_is_refused_before_anything_runs() {
    let call =
        |url: &str| Ratchet::new().args(["map", "--otlp", url, "--", "touch", "ran", ":::", "a"]);
    let refused = call("localhost:4318").run().with_code(2).stderr();
    assert!(refused.contains("beginning with http://"), "{refused}");
    let call = call("env").env("OTEL_EXPORTER_OTLP_HEADERS", "secret");
    let refused = call.run().with_code(2).stderr();
    assert!(
        refused.contains("OTEL_EXPORTER_OTLP_HEADERS") && !refused.contains("secret"),
        "{refused}"
    );
}

/// Runs some jobs with telemetry for this URL. Returns what was said, and how long it took.
fn run_beside(url: &str) -> (String, Duration) {
    // The program may have to be built first.
    Ratchet::program();
    let began = Instant::now();
    let items = (0..200).map(|item| item.to_string());
    let call = Ratchet::new().args(["map", "-q", "--otlp", url, "--", "true", ":::"]);
    let ended = call.args(items).run().with_code(0);
    (ended.stderr(), began.elapsed())
}

#[test]
fn a_collector_that_is_not_there_is_told_once_and_costs_no_wait() {
    // The port was free a moment ago, and nobody listens on it.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let (said, _) = run_beside(&format!("http://127.0.0.1:{port}"));
    assert_eq!(
        said.matches("does not take the telemetry").count(),
        1,
        "{said}"
    );
    assert!(
        said.contains("401 spans of this run were not taken"),
        "{said}"
    );
}

#[test]
fn a_collector_that_refuses_or_dies_is_told_once() {
    for (manner, cause) in [
        (Manner::Refuses(400), "status 400"),
        (Manner::Refuses(503), "status 503"),
        (Manner::Dies, ""),
    ] {
        let collector = Collector::start(manner);
        let (said, _) = run_beside(&collector.url());
        assert_eq!(
            said.matches("does not take the telemetry").count(),
            1,
            "{said}"
        );
        assert!(said.contains(cause), "{said}");
    }
}

#[test]
fn a_collector_that_hangs_holds_up_the_end_for_no_longer_than_is_said() {
    let collector = Collector::start(Manner::Hangs);
    let (said, took) = run_beside(&collector.url());
    assert!(
        said.contains("401 spans of this run were not taken"),
        "{said}"
    );
    assert!(said.contains("up to 5.0 s"), "{said}");
    // The rest is for the jobs of a machine that is busy.
    assert!(took < Duration::from_mins(1), "{took:?}");
}

#[test]
fn spans_of_a_collector_that_was_away_for_a_moment_are_sent_again() {
    let collector = Collector::start(Manner::Refuses(503));
    let folder = Folder::new();
    let script = "until [ -e go ]; do sleep 0.02; done";
    let call =
        Ratchet::within(&folder).args(["map", "-q", "--shell", "-j2", "--otlp", &collector.url()]);
    let call = call.args([
        "--",
        &format!("[ {{}} = a ] || {{ {script}; }}"),
        ":::",
        "a",
        "b",
    ]);
    let running = call.start();
    running.wait_for_stderr("does not take the telemetry");
    collector.behave(Manner::Takes);
    std::fs::write(folder.path().join("go"), "").unwrap();
    let said = running.wait().with_code(0).stderr();
    assert!(!said.contains("not taken"), "{said}");
    assert_eq!(Spans::of(&collector).jobs.len(), 2);
}
