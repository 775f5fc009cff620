//! Jobs are added to a run that goes on.

use std::fs;

use ratchet_tests::{Ended, Folder, Ratchet, Running, Signal};
use serde_json::Value;

/// A job that notes that it has begun, and ends when the test says so.
const HOLDS: &str =
    "{ id: holds, run: [sh, -c, \"touch begun; until test -e go; do sleep 0.05; done\"] }";

/// A worker that answers each request with its input.
const WORKER: &str = "import json, sys
for line in sys.stdin:
    request = json.loads(line)
    print(json.dumps({'type': 'response', 'id': request['id'], 'result': request['input']}), flush=True)
";

fn folder(jobs: &str) -> Folder {
    let sections = "version: 1\nlimits: { db: { max: 1 } }\nworkers: { w: { command: [python3, worker.py] } }\n";
    Folder::new()
        .file("worker.py", WORKER)
        .file("jobs.yaml", format!("{sections}jobs:\n  - {HOLDS}\n{jobs}"))
}

/// Starts the run, and waits until its first job holds it.
fn start(folder: &Folder, args: &[&str]) -> Running {
    let running = Ratchet::within(folder).args(args).start();
    running.until("its job runs", || folder.at("begun").exists());
    running
}

fn add(folder: &Folder, text: &str) -> Ended {
    fs::create_dir_all(folder.at("more")).expect("it is made");
    fs::write(folder.at("more/jobs.yaml"), text).expect("it is written");
    Ratchet::within(folder)
        .args(["runs", "add", "more/jobs.yaml"])
        .run()
}

fn go(folder: &Folder) {
    fs::write(folder.at("go"), "").expect("it is written");
}

/// Returns the ids and ends of all jobs, in the order of their ids.
fn ends(ended: &Ended) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("it is a text").to_owned();
    let lines = ended.stdout();
    let lines = lines.lines().map(|line| {
        let line: Value = serde_json::from_str(line).expect("it is JSON");
        (text(&line["id"]), text(&line["status"]))
    });
    let mut ends: Vec<_> = lines.collect();
    ends.sort();
    ends
}

fn all_succeeded(ended: &Ended, ids: &[&str]) {
    let expected = ids
        .iter()
        .map(|id| ((*id).to_owned(), "succeeded".to_owned()));
    assert_eq!(ends(ended), expected.collect::<Vec<_>>());
}

#[test]
fn added_jobs_run_with_the_sections_of_the_run_and_in_their_own_folder() {
    let folder = folder("  - { id: t, task: w, input: 1 }\n");
    let running = start(&folder, &["run", "-j2", "jobs.yaml"]);
    running.wait_for_stdout("\"t\"");
    let text = "\
jobs:
  - { id: last, needs: [first, holds], run: [sh, -c, 'test -e here'] }
  - { id: first, needs: [t], limits: [db], run: [sh, -c, 'touch here'] }
  - { task: w, input: {a: 1} }
";
    let told = add(&folder, text).with_code(0).quiet();
    let told = told.stdout();
    assert!(told.starts_with("3 jobs added to run "), "{told}");
    assert!(told.ends_with(": first, last, added-1-3\n"), "{told}");
    let call = Ratchet::within(&folder).args(["runs", "add", "-"]);
    let told = call
        .stdin("{\"run\":[\"test\",\"-e\",\"jobs.yaml\"]}\n")
        .run();
    assert!(told.with_code(0).stdout().ends_with(": added-2-1\n"));
    // They run although the job that holds the run has not ended.
    running.wait_for_stdout("added-2-1");
    running.wait_for_stdout("\"first\"");
    go(&folder);
    let ended = running.wait().with_code(0);
    assert!(folder.at("more/here").exists());
    all_succeeded(
        &ended,
        &["added-1-3", "added-2-1", "first", "holds", "last", "t"],
    );
}

#[test]
fn resume_knows_the_jobs_that_were_added() {
    for args in [
        &["run", "-j2", "jobs.yaml"][..],
        &["run", "-j2", "jobs.jsonl"],
    ] {
        let lines = "{\"id\":\"holds\",\"run\":[\"sh\",\"-c\",\"touch begun; until test -e go; do sleep 0.05; done\"]}\n";
        let folder = folder("").file("jobs.jsonl", lines);
        let running = start(&folder, args);
        let text = "\
jobs:
  - { id: done, run: [sh, -c, 'echo done >>../done'] }
  - { id: waits, needs: [done, holds], run: [echo] }
";
        let _ = add(&folder, text).with_code(0);
        running.wait_for_stdout("\"done\"");
        running.signal(Signal::Kill);
        let _ = running.wait();
        go(&folder);
        let resumed = Ratchet::within(&folder)
            .args(["resume", "-v"])
            .run()
            .with_code(0);
        all_succeeded(&resumed, &["done", "holds", "waits"]);
        assert_eq!(
            fs::read_to_string(folder.at("done")).expect("it is there"),
            "done\n"
        );
    }
}

#[test]
fn what_cannot_be_added_is_refused_with_its_place_and_nothing_is_added() {
    let folder = folder("  - { id: ok, run: [echo] }\n  - { id: bad, run: ['false'] }\n");
    let running = start(&folder, &["run", "-j2", "jobs.yaml"]);
    running.wait_for_stdout("\"ok\"");
    running.wait_for_stdout("\"bad\"");
    for (text, why) in [
        (
            "jobs: [{ id: good, run: [echo] }, { run: [echo], limits: [dv] }]\n",
            "more/jobs.yaml:1:59",
        ),
        (
            "jobs: [{ id: good, run: [echo] }, { run: [echo], limits: [dv] }]\n",
            "did you mean `db`?",
        ),
        (
            "jobs: [{ id: good, run: [echo] }, { id: ok, run: [echo] }]\n",
            "the run has a job `ok` already",
        ),
        (
            "jobs: [{ id: good, run: [echo] }, { id: holds, run: [echo] }]\n",
            "the run has a job `holds` already",
        ),
        (
            "jobs: [{ id: good, run: [echo], needs: [bad] }]\n",
            "needs `bad`, which has failed",
        ),
        (
            "jobs: [{ id: good, run: [echo], needs: [nobody] }]\n",
            "needs `nobody`, which the run does not know",
        ),
        (
            "jobs: [{ id: good, task: w }]\n",
            "has not started the worker of `w`",
        ),
        (
            "limits: { a: { max: 1 } }\njobs: [{ id: good, run: [echo] }]\n",
            "`limits` cannot be added",
        ),
        ("jobs: []\n", "there are no jobs"),
        ("jobs: [\n", "more/jobs.yaml:"),
    ] {
        let refused = add(&folder, text).with_code(2);
        assert!(
            refused.stderr().contains(why),
            "{text}: {}",
            refused.stderr()
        );
        assert_eq!(refused.stdout(), "");
    }
    let add = |words: &[&str]| {
        let words = ["runs", "add"].iter().chain(words);
        Ratchet::within(&folder)
            .args(words)
            .run()
            .with_code(2)
            .stderr()
    };
    assert!(add(&["job.yaml"]).contains("did you mean `jobs.yaml`?"));
    assert!(add(&["zzz", "jobs.yaml"]).contains("zzz"));
    assert!(add(&["worker.py"]).contains("the format of `worker.py` cannot be told from its name"));
    go(&folder);
    let ended = running.wait();
    assert_eq!(ends(&ended).len(), 3, "{}", ended.stdout());
    assert!(add(&["jobs.yaml"]).contains("no run is in progress"));
}

#[test]
fn a_map_and_a_run_that_repeats_its_jobs_take_no_more_jobs() {
    let script = "touch begun; until test -e go; do sleep 0.05; done";
    for args in [
        &["map", "--", "sh", "-c", script, ":::", "a"][..],
        &["run", "--repeat", "2", "jobs.yaml"],
    ] {
        let folder = folder("");
        let running = start(&folder, args);
        let refused = add(&folder, "jobs: [{ run: [echo] }]\n").with_code(2);
        assert!(
            refused.stderr().contains("takes no more jobs"),
            "{}",
            refused.stderr()
        );
        go(&folder);
        let _ = running.wait().with_code(0);
    }
}
