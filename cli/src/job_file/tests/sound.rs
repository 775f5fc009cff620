//! What a sound file comes to.

use std::sync::Arc;
use std::time::Duration;

use ratchet_resilience::Rng;
use ratchet_resilience::retry::{Fault, RetryDecision, RetryHistory};
use ratchet_runtime::process::{Prefetch, Size, WorkerProtocol};
use ratchet_runtime::{CacheTerms, Limit, ParallelizationHint, Priority, Timeouts, Work};

use super::*;

const YAML: &str = "\
version: 1
workers:
  resize: { command: [cat, workers/resize.py], size: 4, hint: host_exclusive, cache: true }
  count:  { command: [cat, -c], protocol: lines, output: json }
limits:
  api: { rate: 10/s, burst: 2 }
  db:  { max: 4 }
defaults: { timeout: 30s, retry: { max: 3, backoff: exponential, base: 100ms, cap: 30s } }
jobs:
  - { id: a, task: resize, host: web1, input: { path: a.png }, priority: high }
  - { id: b, task: count, input: [1, 2, 3], needs: [a], limits: [api] }
  - { id: c, run: [convert, a.png, b.png], host: web1, hint: host_exclusive, timeout: { soft: 10s, hard: 20s } }
";

const JSON: &str = r#"{"version": 1,
"workers": {"resize": {"command": ["cat", "workers/resize.py"], "size": 4, "hint": "host_exclusive", "cache": true},
 "count": {"command": ["cat", "-c"], "protocol": "lines", "output": "json"}},
"limits": {"api": {"rate": "10/s", "burst": 2}, "db": {"max": 4}},
"defaults": {"timeout": "30s", "retry": {"max": 3, "backoff": "exponential", "base": "100ms", "cap": "30s"}},
"jobs": [{"id": "a", "task": "resize", "host": "web1", "input": {"path":"a.png"}, "priority": "high"},
 {"id": "b", "task": "count", "input": [1,2,3], "needs": ["a"], "limits": ["api"]},
 {"id": "c", "run": ["convert", "a.png", "b.png"], "host": "web1", "hint": "host_exclusive", "timeout": {"soft": "10s", "hard": "20s"}}]}
"#;

const TOML: &str = r#"
version = 1
[workers]
resize = { command = ["cat", "workers/resize.py"], size = 4, hint = "host_exclusive", cache = true }
count = { command = ["cat", "-c"], protocol = "lines", output = "json" }
[limits]
api = { rate = "10/s", burst = 2 }
db = { max = 4 }
[defaults]
timeout = "30s"
retry = { max = 3, backoff = "exponential", base = "100ms", cap = "30s" }
[[jobs]]
id = "a"
task = "resize"
host = "web1"
input = { path = "a.png" }
priority = "high"
[[jobs]]
id = "b"
task = "count"
input = [1, 2, 3]
needs = ["a"]
limits = ["api"]
[[jobs]]
id = "c"
run = ["convert", "a.png", "b.png"]
host = "web1"
hint = "host_exclusive"
timeout = { soft = "10s", hard = "20s" }
"#;

#[test]
fn every_format_says_the_same() {
    let shown = |name, text: &str| {
        let file = write(name, text);
        let plan = file.open().unwrap();
        let text = format!("{:?} {:?} {:?}", plan.workers, plan.limits, plan.jobs);
        text.replace(&file.path().display().to_string(), "FOLDER")
    };
    let yaml = shown("jobs.yaml", YAML);
    assert_eq!(shown("jobs.json", JSON), yaml);
    assert_eq!(shown("jobs.toml", TOML), yaml);
    assert_eq!(shown("jobs.yaml", &format!("\u{feff}{YAML}")), yaml);
    assert_eq!(shown("jobs.yml", &YAML.replace('\n', "\r\n")), yaml);
}

#[test]
fn every_key_of_the_contract_arrives() {
    let file = write("jobs.yaml", YAML);
    let plan = file.open().unwrap();
    let resize = &plan.workers[0];
    assert_eq!(resize.pool.size, Size::fixed(4));
    assert_eq!(
        resize.pool.process.working_dir.as_deref(),
        Some(file.path())
    );
    assert_eq!(resize.serves, ServedTasks::Named(vec!["resize".into()]));
    assert!(matches!(
        plan.workers[1].pool.language,
        WorkerProtocol::Lines { .. }
    ));
    assert_eq!(plan.limits[1], ("db".to_owned(), Limit::max(4).unwrap()));

    let jobs = listed(plan);
    let [a, b, c] = &jobs[..] else {
        panic!("three jobs")
    };
    assert_eq!((a.id.as_str(), a.task_name()), ("a", "resize"));
    assert_eq!(a.terms.priority, Priority::High);
    assert_eq!(
        a.terms.hint,
        Some(ParallelizationHint::HostExclusive),
        "its worker's"
    );
    assert!(
        matches!(a.terms.cache, Some(CacheTerms::On { .. })),
        "its worker's"
    );
    assert_eq!(a.terms.timeouts, Timeouts::after(Duration::from_secs(30)));
    let Work::Task { input, .. } = &a.work else {
        panic!("a task")
    };
    assert_eq!(input.as_str(), r#"{"path":"a.png"}"#);
    assert_eq!(b.needs, ["a".into()]);
    assert_eq!(b.terms.limits, ["api"]);
    assert_eq!(c.terms.timeouts.hard, Some(Duration::from_secs(20)));
    let Work::Command(run) = &c.work else {
        panic!("a command")
    };
    assert_eq!(run.to_string(), "convert a.png b.png");
    assert_eq!(run.working_dir.as_deref(), Some(file.path()));
}

#[test]
fn retries_come_after_the_first_attempt() {
    let jobs = listed(
        write(
            "jobs.yaml",
            "jobs: [{run: ls, retry: 2}, {run: ls, retry: 0}, {run: ls}]",
        )
        .open()
        .unwrap(),
    );
    assert!(jobs[1].terms.retry.is_none() && jobs[2].terms.retry.is_none());
    let policy = jobs[0].terms.retry.as_ref().unwrap();
    let error = Fault::transient("no");
    let start = now();
    let mut history = RetryHistory::new(start);
    let mut rng = Rng::seeded(1);
    let mut attempts = 1;
    while let RetryDecision::Retry { .. } =
        history.record_failure(&**policy, &error, start, &mut rng)
    {
        attempts += 1;
    }
    assert_eq!(attempts, 3);
}

#[test]
fn who_says_more_wins() {
    let text = "\
workers: { w: { command: cat, timeout: 2s, retry: { base: 2s } }, v: { command: cat } }
defaults: { timeout: 4s, retry: { max: 1, base: 4s }, priority: low }
jobs: [{ task: w, timeout: 1s }, { task: w }, { task: v }, { run: ls }]
";
    let file = write("jobs.yaml", text);
    let seconds = |options: &PlanOptions| -> Vec<u64> {
        let jobs = listed(file.open_with(options).unwrap());
        jobs.iter()
            .map(|job| job.terms.timeouts.soft.unwrap().as_secs())
            .collect()
    };
    assert_eq!(seconds(&PlanOptions::default()), [1, 2, 4, 4]);
    let timeouts = |seconds| PartialTerms {
        timeouts: Some(Timeouts::after(Duration::from_secs(seconds))),
        ..PartialTerms::default()
    };
    let options = PlanOptions {
        flags: timeouts(3),
        settings: timeouts(5),
        ..PlanOptions::default()
    };
    assert_eq!(seconds(&options), [1, 2, 3, 3]);
    let options = PlanOptions {
        settings: timeouts(5),
        ..PlanOptions::default()
    };
    assert_eq!(seconds(&options), [1, 2, 4, 4]);
}

#[test]
fn equal_terms_are_one() {
    let text = "jobs: [{run: ls}, {run: ls}, {run: ls, slots: 2}, {run: ls, slots: 2}]";
    let jobs = listed(write("jobs.yaml", text).open().unwrap());
    assert!(Arc::ptr_eq(&jobs[0].terms, &jobs[1].terms));
    assert!(Arc::ptr_eq(&jobs[2].terms, &jobs[3].terms));
    assert!(!Arc::ptr_eq(&jobs[0].terms, &jobs[2].terms));
}

#[test]
fn paths_are_relative_to_the_file() {
    let text = "\
jobs:
  - { run: ./tool -x, cwd: sub, cache: { inputs: [a.txt, /b.txt], env: [HOME], ttl: 1h } }
  - { run: ls, env: { PORT: 8080, ON: true, NAME: no } }
";
    let file = write("jobs.yaml", text);
    let jobs = listed(file.open().unwrap());
    let Work::Command(tool) = &jobs[0].work else {
        panic!("a command")
    };
    assert_eq!(tool.command, file.path().join("./tool"));
    assert_eq!(tool.working_dir, Some(file.path().join("sub")));
    let cache = Some(CacheTerms::On {
        inputs: vec![file.path().join("a.txt"), "/b.txt".into()],
        env: vec!["HOME".into()],
        ttl: Some(Duration::from_hours(1)),
    });
    assert_eq!(jobs[0].terms.cache, cache);
    let Work::Command(ls) = &jobs[1].work else {
        panic!("a command")
    };
    let env: Vec<_> = ls
        .env
        .declared()
        .map(|(name, value)| format!("{}={}", name.display(), value.display()))
        .collect();
    assert_eq!(env, ["NAME=no", "ON=true", "PORT=8080"]);
}

#[test]
fn a_pool_can_be_set_up_in_plain_words() {
    let text = "\
workers:
  w:
    command: cat
    tasks: [x, y]
    size: { min: 1, max: 3, grow_after: 1s }
    prefetch: 7
    concurrency: 2
    balance: affinity
    handshake: required
    handshake_wait: 1s
    start_timeout: 2s
    max_jobs: 100
    ttl: 1h
    idle_ttl: 1m
    memory: { soft: 1GiB, hard: 2GiB }
    restart: { max: 9, within: 1m, base: 1s, cap: 2s }
    ping: false
    grace: 3s
    stray: kill
    max_message: 1MiB
    stderr: 1KiB
jobs: [{ task: x }, { task: y }]
";
    let plan = write("jobs.yaml", text).open().unwrap();
    let mut pool = plan.workers[0].pool.clone();
    pool.process.working_dir = None;
    insta::assert_snapshot!(format!("{pool:#?}"));
    assert_eq!(pool.prefetch, Prefetch::Fixed(7));
}

#[test]
fn needs_may_point_forward() {
    let text =
        "jobs: [{id: a, run: ls, needs: [c, c]}, {id: b, run: ls}, {id: c, run: ls, needs: [b]}]";
    let plan = write("jobs.yaml", text).open().unwrap();
    let Jobs::Listed { jobs, order, .. } = plan.jobs else {
        panic!("a list")
    };
    assert_eq!(jobs[0].id.as_str(), "a");
    assert_eq!(jobs[0].needs.len(), 1);
    assert_eq!(order, [1, 2, 0]);
}

#[test]
fn what_looks_like_a_shell_is_warned_of() {
    let file = write(
        "jobs.yaml",
        "jobs: [{run: 'cat a | wc -l'}, {run: [sh, -c, 'a | b']}]",
    );
    let plan = file.open().unwrap();
    let shown = plan.warnings.render(Style::PLAIN);
    insta::assert_snapshot!(shown.replace(&format!("{}/", file.path().display()), ""));
    let Work::Command(cat) = &listed(plan)[0].work.clone() else {
        panic!("a command")
    };
    assert_eq!(cat.to_string(), "cat a | wc -l");
}

#[test]
fn a_program_that_is_not_there_is_warned_of_once_unless_another_job_may_bring_it() {
    let file = write(
        "jobs.yaml",
        "\
jobs:
  - { run: [ratchet-made-this, --now], needs: [2] }
  - { run: [no-such-program, a] }
  - { run: [no-such-program, b] }
  - { run: ./not-here.sh }
  - { run: ls }
  - { run: [ratchet-made-this] , env: { PATH: /nowhere } }
",
    );
    let plan = file.open().unwrap();
    let shown = plan.warnings.render(Style::PLAIN);
    insta::assert_snapshot!(shown.replace(&format!("{}/", file.path().display()), ""));
}
