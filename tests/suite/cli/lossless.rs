//! Signals, full disks and closed ends in the middle of the work: nothing that was told is lost.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;

use ratchet_tests::{Ended, Folder, Ratchet, Signal};
use serde_json::Value;

fn worker() -> String {
    format!("{} worker", Ratchet::program().display())
}

/// Makes a stream of this many jobs.
fn lines(count: u64) -> Vec<u8> {
    let mut lines = Vec::new();
    for number in 1..=count {
        writeln!(lines, "{{\"task\":\"echo\",\"input\":{number}}}").expect("there is room");
    }
    lines
}

/// Reads the complete lines of a text as results, by the jobs' numbers. Fails the test if a job has two.
fn results(text: &str) -> BTreeMap<u64, Value> {
    let mut results = BTreeMap::new();
    let (whole, _) = text.rsplit_once('\n').unwrap_or_default();
    for line in whole.lines() {
        let line: Value = serde_json::from_str(line).expect("a line of JSON");
        let id = line["id"].as_str().and_then(|id| id.parse().ok());
        let twice = results.insert(id.expect("a number"), line);
        assert_eq!(twice, None);
    }
    results
}

fn succeeded(text: &str) -> Vec<u64> {
    let results = results(text).into_iter();
    let well = results.filter(|(_, line)| line["status"] == "succeeded");
    well.map(|(number, line)| {
        let (result, id) = (&line["result"], number.to_string());
        let is_own = result.as_u64() == Some(number) || result.as_str() == Some(id.as_str());
        assert!(is_own, "of job {number} it is {result}");
        number
    })
    .collect()
}

fn call(folder: &Folder, words: &[&str]) -> Ratchet {
    Ratchet::within(folder).args(words)
}

#[track_caller]
fn all_succeeded(ended: Ended, count: u64) {
    let ended = ended.with_code(0);
    let all: Vec<u64> = (1..=count).collect();
    assert_eq!(succeeded(&ended.stdout()), all);
}

#[test]
fn a_signal_while_results_go_into_the_cache_leaves_it_sound() {
    const JOBS: u64 = 1_200;
    for (signal, code) in [
        (Signal::Interrupt, Some(130)),
        (Signal::Terminate, Some(143)),
        (Signal::Kill, None),
    ] {
        let folder = Folder::new();
        // A small program: what a result depends on is read, and that is the worker, too.
        let words = ["run", "-q", "--cache", "-w", "cat", "--protocol", "lines"];
        let mut running = call(&folder, &words).stdin_open().start();
        // The rest of its jobs never comes, so it cannot end before the signal.
        let written = running.stdin().write_all(&lines(JOBS / 2));
        written.expect("it reads");
        running.wait_for_stdout("\"id\":\"200\"");
        running.signal(signal);
        let ended = running.wait();
        assert_eq!(ended.code, code, "{}", ended.stderr());
        let told = succeeded(&ended.stdout());
        assert!(!told.is_empty());

        let again = call(&folder, &words).stdin(lines(JOBS)).run();
        let cached = results(&again.stdout());
        let cached = cached.values().filter(|line| line["cached"] == true);
        let cached = cached.count();
        all_succeeded(again, JOBS);
        // A call that is asked to end records what it prints. A call that is killed may have recorded more than it printed, or less.
        if code.is_some() {
            assert_eq!(cached, told.len());
        }
        let stats = call(&folder, &["cache"]).run().with_code(0).quiet();
        assert!(
            stats.stdout().starts_with("echo\t1200\t"),
            "{}",
            stats.stdout()
        );
    }
}

#[test]
fn a_journal_on_a_full_disk_stops_the_run_and_no_result_is_lost() {
    const JOBS: u64 = 3_000;
    let folder = Folder::new();
    let worker = worker();
    let words = ["run", "-w", &worker];
    // No file may become longer than some KiB, which has the effect of a full disk.
    let full = call(&folder, &words).stdin(lines(JOBS));
    let ended = full.by_shell("ulimit -f 64; exec \"$@\"").run();
    let ended = ended.with_code(1);
    let said = ended.stderr();
    assert!(
        said.contains("ratchet: the run was stopped because its results could not be recorded: "),
        "{said}"
    );
    assert!(said.contains("/journal: File too large"), "{said}");
    assert!(
        said.contains("  help: what was recorded is safe: "),
        "{said}"
    );
    let told = succeeded(&ended.stdout());

    let runs = call(&folder, &["runs"]).run().with_code(0).stdout();
    let id = runs.split('\t').next().expect("a run");
    let shown = call(&folder, &["runs", "show", id, "--format", "jsonl"]).run();
    let recorded = succeeded(&shown.with_code(0).stdout());
    assert!(!recorded.is_empty());
    // What was told and is not in the record is marked, and nothing else is.
    let results_told = results(&ended.stdout());
    let mut marked: Vec<u64> = Vec::new();
    for number in &told {
        let is_marked = results_told[number]["unrecorded"] == true;
        assert_eq!(is_marked, !recorded.contains(number), "job {number}");
        marked.extend(is_marked.then_some(*number));
    }
    assert!(recorded.iter().all(|number| told.contains(number)));
    let counted = match marked.len() {
        1 => "; the last result that was printed is not recorded".to_owned(),
        count => format!("; {count} results that were printed are not recorded"),
    };
    let again = ", so `ratchet resume` does their jobs again";
    assert!(said.contains(&format!("{counted}{again}")), "{said}");

    let resumed = call(&folder, &["resume", "-q"]).stdin(lines(JOBS)).run();
    all_succeeded(resumed, JOBS);
}

#[test]
fn a_journal_that_cannot_be_created_is_an_error_before_anything_runs() {
    let folder = Folder::new();
    let words = ["run", "-q"];
    let full = call(&folder, &words).stdin("{\"run\":[\"touch\",\"ran\"]}\n");
    let ended = full.by_shell("ulimit -f 0; exec \"$@\"").run().with_code(2);
    assert!(ended.stdout.is_empty());
    let said = ended.stderr();
    assert!(
        said.starts_with("ratchet: the run cannot be recorded, so nothing was run\n"),
        "{said}"
    );
    assert!(
        said.contains("  help: choose another folder with --state-dir"),
        "{said}"
    );
    assert!(!folder.at("ran").exists());
    let full = call(&folder, &["run", "-q", "--no-record"]);
    let full = full.stdin("{\"run\":[\"mkdir\",\"made\"]}\n");
    let _ = full.by_shell("ulimit -f 0; exec \"$@\"").run().with_code(0);
    assert!(folder.at("made").exists());
}

#[test]
fn results_that_cannot_be_written_stop_the_run_and_are_written_when_it_is_resumed() {
    const JOBS: u64 = 2_000;
    let folder = Folder::new();
    let worker = worker();
    let full = OpenOptions::new().write(true).open("/dev/full");
    let run = call(&folder, &["run", "-q", "-w", &worker]).stdin(lines(JOBS));
    let ended = run.stdout_to(full.expect("it is always full")).run();
    let said = ended.with_code(1).stderr();
    assert!(
        said.starts_with("ratchet: stdout cannot be written\n  because: No space left"),
        "{said}"
    );
    assert!(
        said.contains("`ratchet resume` continues a recorded run"),
        "{said}"
    );
    let resumed = call(&folder, &["resume", "-q"]).stdin(lines(JOBS)).run();
    all_succeeded(resumed, JOBS);
}

#[test]
fn a_run_whose_results_are_dropped_does_and_records_all_jobs() {
    let folder = Folder::new();
    let worker = worker();
    let run = call(&folder, &["run", "-w", &worker, "-q"]).stdin(lines(100));
    let ended = run.by_shell("exec \"$@\" >/dev/null").run();
    let _ = ended.with_code(0).quiet();
    let runs = call(&folder, &["runs"]).run().with_code(0).stdout();
    let id = runs.split('\t').next().expect("a run");
    let shown = call(&folder, &["runs", "show", id, "--format", "jsonl"]).run();
    all_succeeded(shown, 100);
    let map = call(&folder, &["map", "-q", "--", "touch", ":::", "made"]);
    let _ = map
        .by_shell("exec \"$@\" >/dev/null")
        .run()
        .with_code(0)
        .quiet();
    assert!(folder.at("made").exists());
}

#[test]
fn a_hundred_thousand_lines_give_a_hundred_thousand_results() {
    const JOBS: u64 = 100_000;
    let worker = worker();
    let run = call(&Folder::new(), &["run", "-q", "-w", &worker]);
    all_succeeded(run.stdin(lines(JOBS)).run(), JOBS);
}

#[test]
fn a_state_folder_that_is_removed_or_moved_during_a_run_is_told_of() {
    for (command, ends_early) in [("rm -rf state", true), ("mv state moved", false)] {
        let folder = Folder::new();
        let words = ["run", "--state-dir", "state", "-j1", "-k"];
        let jobs = format!("{{\"run\":[\"sh\",\"-c\",\"{command}\"]}}\n{{\"run\":[\"true\"]}}\n");
        let ended = call(&folder, &words).stdin(jobs.into_bytes()).run();
        let ended = ended.with_code(1);
        let said = ended.stderr();
        assert!(
            said.contains("/journal was removed or moved while"),
            "{said}"
        );
        assert_eq!(said.contains("the run was stopped"), ends_early, "{said}");
        if ends_early {
            assert!(
                said.contains("nothing of this run can be resumed"),
                "{said}"
            );
            let first = results(&ended.stdout()).remove(&1).expect("it was told");
            assert_eq!(first["unrecorded"], true);
        }
    }
}
