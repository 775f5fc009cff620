//! What a command printed before it failed is never lost, whatever the format and however it ended.

use ratchet_tests::{Ended, Folder, Ratchet};
use serde_json::Value;

/// A script that prints to both streams and fails.
const FAILS: &str = "echo 1 failed, 3 passed; echo oh no >&2; exit 3";

fn run(script: &str, job: &str, words: &[&str]) -> (Folder, Ended) {
    let folder = Folder::new().file("fails.sh", script).file(
        "jobs.yaml",
        format!("jobs: [{{ id: a, run: [sh, fails.sh]{job} }}]\n"),
    );
    let call = Ratchet::within(&folder).args(["run", "jobs.yaml", "-q"]);
    let ended = call.args(words).run();
    (folder, ended)
}

fn map(script: &str, words: &[&str]) -> (Folder, Ended) {
    let folder = Folder::new();
    let call = Ratchet::within(&folder).args(["map", "-q"]).args(words);
    let ended = call.args(["--", "sh", "-c", script, ":::", "a"]).run();
    (folder, ended)
}

fn error(text: &str) -> Value {
    let line: Value = serde_json::from_str(text).expect("a line of JSON");
    line["error"].clone()
}

/// Runs a script by `ratchet run` and by `ratchet map`, and returns both ends.
fn run_both_ways(script: &str, job: &str, words: &[&str]) -> [(Folder, Ended); 2] {
    [run(script, job, words), map(script, words)]
}

#[test]
fn stdout_and_stderr_of_a_failed_command_are_in_every_format() {
    let words = |format| ["--format", format];
    for (_, ended) in run_both_ways(FAILS, "", &words("jsonl")) {
        let error = error(&ended.with_code(100).quiet().stdout());
        assert_eq!(error["stdout"], "1 failed, 3 passed\n");
        assert_eq!(error["stderr"], "oh no\n");
        assert_eq!(error.get("stdout_dropped"), None);
    }
    for (_, ended) in run_both_ways(FAILS, "", &words("json")) {
        let document: Value =
            serde_json::from_str(&ended.with_code(100).stdout()).expect("a document");
        let error = &document["results"][0]["error"];
        assert_eq!(error["stdout"], "1 failed, 3 passed\n");
    }
    for (_, ended) in run_both_ways(FAILS, "", &words("human")) {
        let shown = ended.with_code(100).stdout();
        assert!(shown.contains("\n  > 1 failed, 3 passed\n"), "{shown}");
        assert!(shown.contains("\n  | oh no\n"), "{shown}");
    }
    for (_, ended) in run_both_ways(FAILS, "", &words("junit")) {
        let report = ended.with_code(100).stdout();
        let expected = "<system-out>1 failed, 3 passed\n</system-out><system-err>oh no\n</system-err></testcase>";
        assert!(report.contains(expected), "{report}");
    }
}

#[test]
fn runs_show_has_the_outputs_of_failed_commands() {
    for (folder, ended) in run_both_ways(FAILS, "", &[]) {
        let _ = ended.with_code(100);
        let runs = Ratchet::within(&folder).args(["runs", "list"]).run();
        let listed = runs.with_code(0).stdout();
        let id = listed.split('\t').next().expect("an id").to_owned();
        let show = |format| {
            let call = Ratchet::within(&folder).args(["runs", "show", &id]);
            call.args(["--format", format]).run().with_code(0).stdout()
        };
        assert_eq!(error(&show("jsonl"))["stdout"], "1 failed, 3 passed\n");
        let shown = show("human");
        assert!(shown.contains("  > 1 failed, 3 passed\n"), "{shown}");
        let report = show("junit");
        assert!(report.contains("<system-out>1 failed"), "{report}");
    }
}

#[test]
fn a_junit_report_has_the_outputs_of_commands_that_succeeded() {
    for (_, ended) in run_both_ways("echo all well; echo hm >&2", "", &["--format", "junit"]) {
        let report = ended.with_code(0).stdout();
        let expected =
            "<system-out>all well\n</system-out><system-err>hm\n</system-err></testcase>";
        assert!(report.contains(expected), "{report}");
    }
}

#[test]
fn a_long_output_keeps_its_head_and_its_tail_and_counts_what_was_dropped() {
    let script = "seq 1 200000; exit 1";
    let printed: usize = (1..=200_000)
        .map(|number: u32| number.to_string().len() + 1)
        .sum();
    for (_, ended) in run_both_ways(script, "", &["--format", "jsonl"]) {
        let error = error(&ended.with_code(100).stdout());
        let text = error["stdout"].as_str().expect("a text");
        assert!(text.starts_with("1\n2\n") && text.ends_with("\n199999\n200000\n"));
        assert!(text.len() < 64 * 1024, "{}", text.len());
        let dropped = error["stdout_dropped"].as_u64().expect("a count");
        assert_eq!(text.len() as u64 + dropped, printed as u64);
        // Nothing was put into the text, and the gap is where two numbers do not follow each other.
        let gap = error["stdout_gap_at"].as_u64().expect("a place");
        let gap = usize::try_from(gap).expect("it fits");
        let numbers = |text: &str| -> Vec<u32> {
            let lines = text.lines();
            lines.map(|line| line.parse().expect("a number")).collect()
        };
        let (head, tail) = (numbers(&text[..gap]), numbers(&text[gap..]));
        for part in [&head, &tail] {
            assert!(part.windows(2).all(|pair| pair[0] + 1 == pair[1]));
        }
        assert!(head.last() < tail.first());
    }
    for (_, ended) in run_both_ways(script, "", &["--format", "junit"]) {
        let report = ended.with_code(100).stdout();
        assert!(
            report.contains("<properties><property name=\"stdout_dropped\" value=\""),
            "{}",
            &report[..2000]
        );
    }
}

#[test]
fn a_command_that_takes_too_long_or_is_killed_keeps_what_it_printed() {
    let asked = "echo begun; echo hm >&2; exec sleep 1000";
    let stubborn = "trap '' TERM INT; echo begun; echo hm >&2; while :; do sleep 0.1; done";
    let cases: [(&str, &[&str], i32, &str); 4] = [
        (asked, &["--timeout", "300ms"], 100, "timed_out"),
        (
            stubborn,
            &["--timeout", "300ms", "--grace", "100ms"],
            100,
            "timed_out",
        ),
        // The whole run has a deadline: its jobs are cancelled, and killed where they do not stop.
        (asked, &["--deadline", "300ms"], 102, "cancelled"),
        (
            stubborn,
            &["--deadline", "300ms", "--grace", "100ms"],
            102,
            "cancelled",
        ),
    ];
    for (script, words, code, status) in cases {
        for (_, ended) in run_both_ways(script, "", &[words, &["--format", "jsonl"]].concat()) {
            let text = ended.with_code(code).stdout();
            let line: Value = serde_json::from_str(&text).expect("a line of JSON");
            assert_eq!(line["status"], status, "{line}");
            assert_eq!(line["error"]["stdout"], "begun\n", "{line}");
            assert_eq!(line["error"]["stderr"], "hm\n", "{line}");
        }
    }
}

#[test]
fn map_prints_and_logs_the_outputs_of_killed_commands() {
    let script = "trap '' TERM INT; echo begun; while :; do sleep 0.1; done";
    let words = ["--deadline", "300ms", "--grace", "100ms", "--joblog", "log"];
    let (folder, ended) = map(script, &words);
    assert_eq!(ended.with_code(102).stdout(), "begun\n");
    let log = std::fs::read_to_string(folder.at("log")).expect("a log");
    let line = log.lines().nth(1).expect("a line");
    assert_eq!(line.split('\t').nth(7), Some("9"), "{line}");
}

#[test]
fn the_summary_of_failures_quotes_the_last_line_of_stderr_or_stdout() {
    let folder = Folder::new().file(
        "jobs.yaml",
        "jobs: [{ id: a, run: [sh, -c, \"echo 1 failed; exit 1\"] }]\n",
    );
    let call = Ratchet::within(&folder).args(["run", "jobs.yaml", "--format", "jsonl"]);
    let said = call.run().with_code(100).stderr();
    assert!(said.contains("\n         | 1 failed\n"), "{said}");
}

#[test]
fn a_crash_of_a_worker_reports_how_much_stderr_was_dropped() {
    let folder = Folder::new()
        .file("dies.sh", "read line; seq 1 200000 >&2; exit 7\n")
        .file(
            "jobs.yaml",
            "workers: { w: { command: [sh, dies.sh], protocol: lines } }\njobs: [{ task: w }]\n",
        );
    let call = Ratchet::within(&folder).args(["run", "jobs.yaml", "-q", "--format", "jsonl"]);
    let error = error(&call.run().with_code(100).stdout());
    let text = error["stderr"].as_str().expect("a text");
    assert!(
        !text.contains("dropped") && text.ends_with("200000\n"),
        "{text:.100}"
    );
    assert!(error["stderr_dropped"].as_u64() > Some(0));
}

#[test]
fn what_earlier_attempts_printed_is_in_the_record_and_in_every_format_that_lists_them() {
    let script =
        "echo out $RATCHET_ATTEMPT; echo err $RATCHET_ATTEMPT >&2; test $RATCHET_ATTEMPT = ";
    for (last, code) in [("3", 0), ("4", 100)] {
        let job = ", retry: { max: 2, base: 1ms }";
        let (folder, ended) = run(&format!("{script}{last}"), job, &["--format", "json"]);
        let show = |format| {
            let call = Ratchet::within(&folder).args(["runs", "show", "--format", format]);
            call.run().with_code(0).stdout()
        };
        for line in [ended.with_code(code).stdout(), show("json")] {
            let line: Value = serde_json::from_str(&line).expect("a document");
            let line = &line["results"][0];
            let attempts = line["attempts_detail"]
                .as_array()
                .expect("several attempts");
            for (number, attempt) in (1..).zip(&attempts[..2]) {
                let error = &attempt["error"];
                assert_eq!(error["stdout"], format!("out {number}\n"), "{attempt}");
                assert_eq!(error["stderr"], format!("err {number}\n"), "{attempt}");
                assert_eq!(error["message"], "it ended with exit code 1");
            }
            assert_eq!(attempts[2].get("error"), None, "its failure is the job's");
        }
        let shown = show("human");
        let first = "exit after";
        assert!(shown.contains(first), "{shown}");
        for number in [1, 2] {
            let printed = format!("    > out {number}\n    | err {number}\n");
            assert!(shown.contains(&printed), "{shown}");
        }
        let report = show("junit");
        let element = if code == 0 {
            "flakyFailure"
        } else {
            "rerunFailure"
        };
        let printed = "<system-out>out 2\n</system-out><system-err>err 2\n</system-err>";
        let printed = format!("{printed}</{element}>");
        assert!(report.contains(&printed), "{report}");
    }
}
