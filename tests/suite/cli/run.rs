//! `ratchet run`.

mod inspection;
mod reading;
mod stopping;
mod stream;
mod telling;
mod unread;

use ratchet_runtime::monitor::{Probe, Sampler};
use ratchet_tests::{Ended, Folder, Ratchet};
use serde_json::Value;

/// Returns the command line of the built-in worker.
fn worker() -> String {
    format!("{} worker", Ratchet::program().display())
}

/// Makes a job file whose tasks the built-in worker performs.
fn file(jobs: &str) -> Folder {
    let program = Ratchet::program().display();
    let text = format!(
        "version: 1\nworkers:\n  w: {{ command: [\"{program}\", worker], tasks: [echo, sleep, fail, flaky, burn] }}\n{jobs}"
    );
    Folder::new().file("jobs.yaml", text)
}

fn run(folder: &Folder, words: &[&str]) -> Ended {
    let call = Ratchet::within(folder).args(["run", "jobs.yaml", "-q"]);
    call.args(words).run()
}

/// Reads the results, with their ids, in the order of the lines.
fn results(ended: &Ended) -> Vec<(String, Value)> {
    let stdout = ended.stdout();
    let lines = stdout.lines().map(|line| {
        let line: Value = serde_json::from_str(line).expect("a line of JSON");
        (line["id"].as_str().expect("an id").to_owned(), line)
    });
    lines.collect()
}

fn ids(ended: &Ended) -> Vec<String> {
    results(ended).into_iter().map(|(id, _)| id).collect()
}

fn statuses(ended: &Ended) -> Vec<String> {
    let mut lines: Vec<String> = results(ended)
        .into_iter()
        .map(|(id, line)| format!("{id} {}", line["status"].as_str().expect("a status")))
        .collect();
    lines.sort();
    lines
}

#[test]
fn needs_order_jobs_and_a_failure_skips_its_dependents() {
    let folder = file(
        "jobs:
  - { id: last, task: echo, input: 3, needs: [first] }
  - { id: lost, task: echo, needs: [bad] }
  - { id: first, task: echo, input: 1 }
  - { id: bad, task: fail, input: { message: \"no such thing\", code: gone } }
",
    );
    let ended = run(&folder, &[]).with_code(100);
    assert_eq!(
        statuses(&ended),
        [
            "bad failed",
            "first succeeded",
            "last succeeded",
            "lost skipped"
        ]
    );
    let error = &results(&ended)
        .into_iter()
        .find(|(id, _)| id == "bad")
        .expect("its result")
        .1["error"];
    assert_eq!(
        (&error["class"], &error["code"], &error["message"]),
        (&"task".into(), &"gone".into(), &"no such thing".into())
    );
}

#[test]
fn flags_apply_to_jobs_that_set_nothing_themselves() {
    let folder = file(
        "jobs:
  - { id: slow, task: sleep, input: { ms: 60000 } }
  - { id: own, task: sleep, input: { ms: 100 }, timeout: 50s }
  - { id: flaky, task: flaky, input: { failures: 1 } }
",
    );
    let ended = run(&folder, &["--timeout", "1s"]).with_code(100);
    assert_eq!(
        statuses(&ended),
        ["flaky failed", "own succeeded", "slow timed_out"]
    );
    let ended = run(&folder, &["--timeout", "300ms", "--retries", "1"]).with_code(100);
    let attempts: Vec<u64> = ["flaky", "own", "slow"]
        .into_iter()
        .map(|id| {
            let found = results(&ended).into_iter().find(|(known, _)| known == id);
            found.expect("its result").1["attempts"]
                .as_u64()
                .expect("a number")
        })
        .collect();
    assert_eq!(attempts, [2, 1, 2]);
}

#[test]
fn global_exclusive_jobs_run_one_at_a_time() {
    let folder = file(
        "jobs:
  - { task: sleep, input: { ms: 30 } }
  - { task: sleep, input: { ms: 30 } }
  - { task: sleep, input: { ms: 30 } }
",
    );
    let words = ["-j", "3", "--hint", "global_exclusive", "--format", "json"];
    let ended = run(&folder, &words).with_code(0);
    let document: Value = serde_json::from_str(&ended.stdout()).expect("a document");
    assert_eq!(document["summary"]["peak_concurrency"], 1);
    assert_eq!(document["summary"]["succeeded"], 3);
    assert_eq!(document["results"].as_array().map(Vec::len), Some(3));
}

#[test]
fn a_cached_result_is_used_again_if_the_job_asks_for_it() {
    let folder = file("jobs:\n  - { id: a, task: echo, input: { x: 1.50 } }\n");
    let cached = |words: &[&str]| {
        let ended = run(&folder, words).with_code(0);
        results(&ended)[0].1["cached"].as_bool().expect("a word")
    };
    assert!(!cached(&[]));
    assert!(!cached(&["--cache"]));
    assert!(cached(&["--cache"]));
    assert!(!cached(&["--cache=refresh"]));
    assert!(!cached(&["--cache=off"]));
    assert!(cached(&["--cache"]));
}

#[test]
fn no_job_runs_if_the_file_has_an_error() {
    let call = |words: &[&str]| {
        Ratchet::within(&file("jobs:\n  - { task: ecko }\n"))
            .args(words)
            .run()
    };
    let said = call(&["run", "jobs.yaml"]).with_code(2).stderr();
    assert!(said.contains("did you mean `echo`?"), "{said}");
    let said = call(&["run", "job.yaml"]).with_code(2).stderr();
    assert!(said.contains("did you mean"), "{said}");
    let said = call(&["run"]).with_code(4).stderr();
    assert!(said.contains("has no jobs"), "{said}");
    let said = call(&["run", "-w", "no-such-program"]).with_code(2);
    assert_eq!(
        said.stderr(),
        "ratchet: the worker cannot start: there is no program `no-such-program` in PATH\n"
    );
    let said = call(&["run", "--memory-free", "100000TB", "-w", "x", "lines.jsonl"]);
    assert_eq!(said.code, Some(2));
}

#[test]
fn jobs_are_held_back_only_while_the_machine_is_short() {
    let folder = file("jobs:\n  - { id: a, task: echo }\n");
    let plenty = [
        "--memory-free",
        "1MB",
        "--load",
        "100000",
        "--memory-limit",
        "1TB",
    ];
    assert_eq!(
        statuses(&run(&folder, &plenty).with_code(0)),
        ["a succeeded"]
    );
    let said = run(&folder, &["--memory-free", "100000TB"])
        .with_code(2)
        .stderr();
    assert!(said.contains("no job would ever start"), "{said}");
    // Something of the machine's memory is always in use, if only by the tests.
    let mut machine = Sampler::new().expect("this machine can be watched");
    let nearly_all = format!("{}B", machine.read().memory_total - 1);
    let short = run(&folder, &["--memory-free", &nearly_all, "--deadline", "1s"]).with_code(102);
    assert_eq!(statuses(&short), ["a cancelled"]);
}

#[test]
fn prefetch_and_worker_counts_are_those_of_flags_and_file() {
    let folder = file("jobs:\n  - { task: echo }\n  - { task: echo }\n  - { task: echo }\n");
    for prefetch in ["0", "64", "auto"] {
        let ended = run(&folder, &["--prefetch", prefetch, "--workers", "1"]).with_code(0);
        for (_, line) in results(&ended) {
            assert_eq!(line["worker"], "w/1");
        }
    }
}
