//! The attempts of jobs that several nodes have made.

use std::path::Path;

use ratchet_tests::{Folder, Ratchet, Signal};
use serde_json::Value;

use super::{Queue, leave, lines};

/// Returns number, place, status and failure of each attempt of the only result.
fn attempts(stdout: &str) -> Vec<(u64, String, String, String)> {
    let result: Value = serde_json::from_str(stdout.trim()).expect("one result");
    let detail = result["attempts_detail"].as_array().expect("several");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let attempt = |one: &Value| {
        let number = one["number"].as_u64().expect("a number");
        let why = text(&one["class"]);
        (number, text(&one["place"]), text(&one["status"]), why)
    };
    detail.iter().map(attempt).collect()
}

#[test]
fn a_result_lists_the_attempts_on_all_nodes_that_failed_or_were_lost() {
    let script = "echo $RATCHET_ATTEMPT >> log; echo oops $RATCHET_ATTEMPT >&2; case $RATCHET_ATTEMPT in 1) exit 3;; 2) sleep 600;; esac";
    let folder = Folder::new().file(
        "jobs.yaml",
        format!("jobs: [{{ id: a, run: [sh, -c, '{script}'], retry: {{ max: 4, base: 1ms, backoff: fixed }} }}]\n"),
    );
    let Some(queue) = Queue::start(folder) else {
        return;
    };
    let lost = queue.node("n1", &["-j", "1"]);
    let run = queue.call(["run", "jobs.yaml", "-v"]).start();
    run.until("the second attempt runs", || {
        lines(&queue.folder, "log").len() == 2
    });
    lost.signal(Signal::Kill);
    let _killed = lost.wait();
    let node = queue.node("n2", &["-j", "1"]);
    let ended = run.wait().with_code(0);
    let expected = [
        (1, "n1", "failed", "exit"),
        (2, "n1", "crashed", "host"),
        (3, "n2", "succeeded", ""),
    ];
    let expected = expected.map(|(number, place, status, why)| {
        (number, place.to_owned(), status.to_owned(), why.to_owned())
    });
    assert_eq!(attempts(&ended.stdout()), expected);
    assert!(ended.stdout().contains("oops 1"), "{}", ended.stdout());
    // The record has them as well.
    let runs = Ratchet::within(&queue.folder)
        .args(["runs"])
        .run()
        .with_code(0);
    let runs = runs.stdout();
    let id = runs.lines().find_map(|line| {
        let id = line.split_whitespace().next()?;
        id.starts_with(|first: char| first.is_ascii_digit())
            .then_some(id)
    });
    let explained = Ratchet::within(&queue.folder)
        .args(["runs", "explain", id.expect("the run is listed"), "a"])
        .run()
        .with_code(0);
    let parts = [
        ("attempt 1 ran", "failed (exit)"),
        ("attempt 2 ran", "failed (host)"),
        ("attempt 3 ran", "succeeded"),
    ];
    for (begin, end) in parts {
        let explained = explained.stdout();
        let mut lines = explained.lines().map(str::trim);
        assert!(
            lines.any(|line| line.starts_with(begin) && line.ends_with(end)),
            "{begin}: {explained}"
        );
    }
    leave(node);
}

/// A worker that dies of its only task.
const DYING: &str = r#"
import os
from ratchet_worker import Worker
worker = Worker("dying")
@worker.task
def die(call):
    with open("log", "a") as log:
        log.write("died\n")
    os._exit(9)
worker.run()
"#;

#[test]
fn a_job_that_crashes_workers_of_several_nodes_fails_as_poison() {
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ipc/sdk/python");
    let workers = format!(
        "workers:\n  dying: {{ command: [python3, worker.py], tasks: [die], size: 1, env: {{ PYTHONPATH: {} }} }}\n",
        sdk.display()
    );
    let folder = Folder::new()
        .file("worker.py", DYING)
        .file("workers.yaml", workers)
        .file("jobs.yaml", "jobs: [{ id: a, task: die, retry: { max: 9, base: 4s, backoff: fixed, jitter: none } }]\n");
    let Some(queue) = Queue::start(folder) else {
        return;
    };
    let config = ["-j", "1", "--config", "workers.yaml"];
    let first = queue.node("n1", &config);
    let run = queue
        .call(["run", "jobs.yaml", "--no-record", "-v"])
        .start();
    run.until("a worker has died", || {
        !lines(&queue.folder, "log").is_empty()
    });
    leave(first);
    let second = queue.node("n2", &config);
    let ended = run.wait().with_code(100);
    let result: Value = serde_json::from_str(ended.stdout().trim()).expect("one result");
    assert_eq!(
        (&result["error"]["class"], &result["attempts"]),
        (&"poison".into(), &3.into()),
        "{result}"
    );
    let attempts = attempts(&ended.stdout());
    let places: Vec<&str> = attempts.iter().map(|one| &*one.1).collect();
    assert_eq!((places[0], places[2]), ("n1", "n2"));
    assert_eq!(lines(&queue.folder, "log").len(), 3);
    leave(second);
}
