//! What those who follow a queue hear of jobs before they end.

use std::path::Path;

use ratchet_tests::Folder;
use serde_json::Value;

use super::{Queue, leave, lines};

/// A worker that reports its progress a thousand times, and ends when the file `go` is there.
const CHATTY: &str = r#"
import os, time
from ratchet_worker import Worker
worker = Worker("chatty")
@worker.task
def talk(call):
    for number in range(1000):
        call.progress(number, 1000, f"step {number}")
    while not os.path.exists("go"):
        time.sleep(0.01)
    return "done"
worker.run()
"#;

#[test]
fn progress_of_workers_reaches_followers_at_a_bounded_rate() {
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ipc/sdk/python");
    let workers = format!(
        "workers:\n  chatty: {{ command: [python3, worker.py], tasks: [talk], env: {{ PYTHONPATH: {} }} }}\n",
        sdk.display()
    );
    let folder = Folder::new()
        .file("worker.py", CHATTY)
        .file("workers.yaml", workers)
        .file("jobs.yaml", "jobs: [{ id: a, task: talk }]\n");
    let Some(queue) = Queue::start(folder) else {
        return;
    };
    let node = queue.node("n1", &["-j", "1", "--config", "workers.yaml"]);
    let run = queue
        .call([
            "run",
            "jobs.yaml",
            "--events",
            "events.jsonl",
            "--no-record",
        ])
        .start();
    let reports = || {
        let events = lines(&queue.folder, "events.jsonl").into_iter();
        let events = events.filter_map(|line| serde_json::from_str::<Value>(&line).ok());
        events
            .filter(|event| event["event"] == "attempt_progress")
            .collect::<Vec<Value>>()
    };
    run.until("the latest report is there", || {
        reports().last().is_some_and(|last| last["done"] == 999.0)
    });
    std::fs::write(queue.folder.at("go"), "").expect("it can be written");
    let ended = run.wait().with_code(0);
    assert!(
        ended.stdout().contains(r#""result":"done""#),
        "{}",
        ended.stdout()
    );
    let reports = reports();
    let last = reports.last().expect("a report");
    assert_eq!(
        (&last["id"], &last["total"], &last["message"]),
        (&"a".into(), &1000.0.into(), &"step 999".into())
    );
    // A report a second, however many the worker makes.
    assert!(reports.len() < 100, "{} of 1000 reports", reports.len());
    leave(node);
}
