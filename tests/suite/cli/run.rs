//! `ratchet run`.

use std::io::Write;

use ratchet_tests::{Ended, Folder, Ratchet, Shown, Signal};
use serde_json::Value;

/// The built-in worker, as a command.
fn worker() -> String {
    format!("{} worker", Ratchet::program().display())
}

/// A job file whose tasks the built-in worker does.
fn file(jobs: &str) -> Folder {
    let program = Ratchet::program().display();
    let text = format!(
        "version: 1\nworkers:\n  w: {{ command: [\"{program}\", worker], tasks: [echo, sleep, fail, flaky, burn] }}\n{jobs}"
    );
    Folder::new().file("jobs.yaml", text)
}

/// As many jobs, a line each.
fn lines(count: u32) -> Vec<u8> {
    let mut lines = Vec::new();
    for number in 1..=count {
        writeln!(lines, "{{\"task\":\"echo\",\"input\":{number}}}").expect("there is room");
    }
    lines
}

fn run(folder: &Folder, words: &[&str]) -> Ended {
    let call = Ratchet::within(folder).args(["run", "jobs.yaml", "-q"]);
    call.args(words).run()
}

/// The results, by their ids, in the order of the lines.
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
fn lines_from_stdin_are_jobs_and_each_has_its_result() {
    let lines = lines(1_000);
    let call = Ratchet::new().args(["run", "-q", "-k", "-w", &worker()]);
    let ended = call.stdin(lines).run().with_code(0).quiet();
    let results = results(&ended);
    assert_eq!(results.len(), 1_000);
    for (number, (id, line)) in (1..).zip(&results) {
        assert_eq!(id, &number.to_string());
        assert_eq!(line["result"], Value::from(number));
        assert_eq!((&line["v"], &line["attempts"]), (&1.into(), &1.into()));
    }
}

#[test]
fn a_result_comes_while_stdin_is_still_open() {
    let call = Ratchet::new().args(["run", "-q", "-w", &worker()]);
    let mut running = call.stdin_open().start();
    for number in 1..=3 {
        let line = format!("{{\"task\":\"echo\",\"input\":\"job {number}\"}}\n");
        let written = running.stdin().write_all(line.as_bytes());
        written.expect("it reads");
        running.wait_for_stdout(&format!("\"result\":\"job {number}\""));
    }
    running.close_stdin();
    assert_eq!(running.wait().with_code(0).stdout().lines().count(), 3);
}

#[test]
fn needs_order_and_failures_skip_what_needs_them() {
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
fn a_line_that_is_no_job_is_a_result_or_the_end() {
    let lines = "{\"task\":\"echo\"}\n{\"task\":\n{\"task\":\"echo\"}\n";
    let call = |strict: &[&str]| {
        let call = Ratchet::new().args(["run", "-q", "-w", &worker()]);
        call.args(strict).stdin(lines).run()
    };
    let ended = call(&[]).with_code(100);
    assert_eq!(statuses(&ended), ["1 succeeded", "2 failed", "3 succeeded"]);
    let (_, bad) = results(&ended)
        .into_iter()
        .find(|(id, _)| id == "2")
        .expect("its result");
    let message = bad["error"]["message"].as_str().expect("a message");
    assert!(message.starts_with("line 2, column 9: "), "{message}");
    let said = call(&["--strict"]).with_code(2).stderr();
    assert!(said.contains("<stdin>:2:9"), "{said}");
}

#[test]
fn flags_hold_for_jobs_that_say_nothing() {
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
fn one_at_a_time_is_one_at_a_time() {
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
fn rules_end_a_run_early() {
    let folder = file(
        "jobs:
  - { id: a, task: fail, input: {} }
  - { id: b, task: echo, needs: [c] }
  - { id: c, task: sleep, input: { ms: 200 } }
",
    );
    let ended = run(&folder, &["-j1", "--max-fail", "1"]).with_code(101);
    assert_eq!(statuses(&ended), ["a failed", "b cancelled", "c cancelled"]);
    let ended = run(&folder, &["--max-fail", "0"]).with_code(100);
    assert_eq!(statuses(&ended), ["a failed", "b succeeded", "c succeeded"]);
    let slow = file("jobs:\n  - { id: a, task: sleep, input: { ms: 60000 } }\n");
    let ended = run(&slow, &["--deadline", "300ms"]).with_code(101);
    assert_eq!(statuses(&ended), ["a cancelled"]);
}

#[test]
fn results_go_into_a_file_in_each_format() {
    let folder = file("jobs:\n  - { id: a, task: echo }\n  - { id: b, task: fail, input: {} }\n");
    for (format, beginning) in [
        ("jsonl", "{\"v\":1,\"id\":\"a\",\"status\":\"succeeded\""),
        ("json", "{\"v\":1,\"results\":[\n"),
        (
            "junit",
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>",
        ),
        ("human", "succeeded a  echo"),
    ] {
        let words = ["-k", "--format", format, "-o", "results"];
        let ended = run(&folder, &words).with_code(100).quiet();
        assert!(ended.stdout.is_empty());
        let written = std::fs::read_to_string(folder.at("results")).expect("a file");
        assert!(written.starts_with(beginning), "{format}: {written}");
    }
    let ended = run(&folder, &["-o", "no/such/folder"]).with_code(2);
    assert!(
        ended
            .stderr()
            .starts_with("ratchet: `no/such/folder` cannot be written\n")
    );
}

#[test]
fn order_is_kept_where_it_is_wanted() {
    let folder = file(
        "jobs:
  - { id: slow, task: sleep, input: { ms: 300 } }
  - { id: quick, task: echo }
",
    );
    let ended = run(&folder, &["-j2", "--workers", "2"]).with_code(0);
    assert_eq!(ids(&ended), ["quick", "slow"]);
    let ended = run(&folder, &["-j2", "--workers", "2", "-k"]).with_code(0);
    assert_eq!(ids(&ended), ["slow", "quick"]);
}

#[test]
fn a_result_is_used_again_where_that_is_asked_for() {
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
fn nothing_runs_where_something_is_wrong() {
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
    let said = call(&["run", "--memory-free", "100000TB", "-w", "x", "lines.jsonl"]);
    assert_eq!(said.code, Some(2));
}

#[test]
fn a_machine_that_is_short_holds_jobs_back_and_one_that_is_not_does_not() {
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
    let call = Ratchet::within(&folder).args(["run", "jobs.yaml", "--memory-free", "1MB"]);
    let short = call
        .args(["--load", "0.000001", "--deadline", "1s", "-q"])
        .run();
    // Of a machine that does nothing at all the load may be 0.
    assert!(matches!(short.code, Some(0 | 101)), "{short:?}");
}

#[test]
fn prefetch_and_workers_are_as_they_are_said() {
    let folder = file("jobs:\n  - { task: echo }\n  - { task: echo }\n  - { task: echo }\n");
    for prefetch in ["0", "64", "auto"] {
        let ended = run(&folder, &["--prefetch", prefetch, "--workers", "1"]).with_code(0);
        for (_, line) in results(&ended) {
            assert_eq!(line["worker"], "w/1");
        }
    }
}

#[test]
fn the_end_is_told_on_stderr_and_quiet_is_quiet() {
    let folder = file(
        "jobs:\n  - { id: a, task: echo }\n  - { id: b, task: fail, input: { message: why } }\n",
    );
    let call = Ratchet::within(&folder).args(["run", "jobs.yaml", "--progress", "always"]);
    let said = call.run().with_code(100).stderr();
    assert!(said.contains("1 x task: why  b\n"), "{said}");
    assert!(said.contains("1 succeeded, 1 failed in "), "{said}");
    assert!(
        said.contains("run again what did not succeed: ratchet resume "),
        "{said}"
    );
    assert!(!said.contains("queue time:"), "{said}");
    let call = Ratchet::within(&folder).args(["run", "jobs.yaml", "-v"]);
    let said = call.run().with_code(100).stderr();
    assert!(
        said.contains("queue time: min ") && said.contains("peak concurrency "),
        "{said}"
    );
    assert!(run(&folder, &[]).stderr.is_empty());
    let call = Ratchet::within(&folder).args(["run", "jobs.yaml", "--no-record"]);
    let said = call.run().with_code(100).stderr();
    assert!(!said.contains("ratchet resume"), "{said}");
}

#[test]
fn the_log_goes_to_stderr_or_into_a_file() {
    let folder = file("jobs:\n  - { id: a, task: echo }\n");
    let call = Ratchet::within(&folder).args(["run", "jobs.yaml", "-vvv", "--log-file", "log"]);
    let ended = call.run().with_code(0);
    assert_eq!(ended.stdout().lines().count(), 1);
    let logged = std::fs::read_to_string(folder.at("log")).expect("a log");
    assert!(
        logged.contains("DEBUG") || logged.contains("TRACE"),
        "{logged}"
    );
    let call = Ratchet::within(&folder).args(["run", "jobs.yaml"]);
    let ended = run(&folder, &["--log-file", "no/such/folder"]).with_code(2);
    assert!(
        ended
            .stderr()
            .starts_with("ratchet: `no/such/folder` cannot be written\n")
    );
    let said = call.env("RUST_LOG", "a=b=c").run().with_code(2).stderr();
    assert!(said.contains("RUST_LOG"), "{said}");
}

#[test]
fn a_terminal_shows_how_far_it_is_and_is_left_clean() {
    let folder = file("jobs:\n  - { id: a, task: sleep, input: { ms: 1000 } }\n");
    let call = Ratchet::within(&folder).args(["run", "jobs.yaml"]);
    let running = call.on_terminal(80, 24, Shown::Everything).start();
    running.wait_for_screen("0/1");
    running.resize(40, 10);
    let screen = running.wait().with_code(0).screen();
    assert!(screen.contains("1 succeeded\u{1b}[0m in "), "{screen}");
    assert!(screen.contains("\u{1b}[32m"), "it has colours: {screen}");
}

#[test]
fn signals_drain_then_cancel_then_kill() {
    let folder = file(
        "jobs:\n  - { id: a, run: [sh, -c, \"trap '' TERM; echo; sleep 1000\"] }\n  - { id: b, task: echo, needs: [a] }\n",
    );
    let call = Ratchet::within(&folder).args(["run", "jobs.yaml", "--grace", "100s"]);
    let running = call.start();
    running.until("its run is recorded", || {
        folder.at(".local/state/ratchet/runs").exists()
    });
    for (signal, said) in [
        (Signal::Interrupt, "SIGINT: no new jobs"),
        (Signal::Interrupt, "SIGINT: what runs is asked to stop"),
        (Signal::Terminate, "SIGTERM: what runs is killed"),
    ] {
        running.signal(signal);
        running.wait_for_stderr(said);
    }
    let ended = running.wait().with_code(130);
    assert_eq!(statuses(&ended), ["a cancelled", "b cancelled"]);
    assert!(
        ended
            .stderr()
            .contains("interrupted; go on with: ratchet resume "),
        "{}",
        ended.stderr()
    );
}

#[test]
fn sigterm_has_a_code_of_its_own() {
    let folder = file("jobs:\n  - { id: a, task: sleep, input: { ms: 60000 } }\n");
    let call = Ratchet::within(&folder).args(["run", "jobs.yaml", "--grace", "0s"]);
    let running = call.start();
    running.until("its run is recorded", || {
        folder.at(".local/state/ratchet/runs").exists()
    });
    running.signal(Signal::Terminate);
    let ended = running.wait().with_code(143);
    assert_eq!(statuses(&ended), ["a cancelled"]);
}

#[test]
fn a_signal_ends_the_wait_for_another_attempt() {
    let folder = file(
        "jobs:
  - { id: a, run: [sh, -c, \"touch ran; exit 1\"], retry: { max: 9, backoff: fixed, base: 1000s, cap: 1000s } }
",
    );
    let call = Ratchet::within(&folder).args(["run", "jobs.yaml", "-q"]);
    let running = call.start();
    running.until("its job ran", || folder.at("ran").exists());
    running.signal(Signal::Interrupt);
    let ended = running.wait().with_code(130);
    assert_eq!(results(&ended).len(), 1);
}

#[test]
fn between_attempts_or_in_one_that_hears_nothing_the_end_is_the_same() {
    let folder = file(
        "jobs:
  - { id: deaf, run: [sh, -c, \"test -e tried || { touch tried; exit 1; }; trap '' TERM INT; echo $$ > deaf; sleep 1000\"], retry: { max: 9, backoff: fixed, base: 1ms, cap: 1ms } }
  - { id: waits, run: [sh, -c, \"touch ran; exit 1\"], retry: { max: 9, backoff: fixed, base: 1000s, cap: 1000s } }
",
    );
    let call = Ratchet::within(&folder).args(["run", "jobs.yaml", "-j2"]);
    let running = call.start();
    let deaf = || std::fs::read_to_string(folder.at("deaf")).unwrap_or_default();
    running.until("one waits and one is deaf", || {
        folder.at("ran").exists() && deaf().ends_with('\n')
    });
    for said in ["no new jobs", "is asked to stop", "is killed"] {
        running.signal(Signal::Terminate);
        running.wait_for_stderr(said);
    }
    let ended = running.wait().with_code(143);
    let lines = results(&ended);
    for (id, line) in &lines {
        let (attempts, statuses) = match id.as_str() {
            "deaf" => (2, &["cancelled"][..]),
            // The signal may come while its first attempt is about to end: then it has failed, and nothing waits.
            _ => (1, &["cancelled", "failed"][..]),
        };
        assert_eq!(line["attempts"], attempts, "{id}");
        let status = line["status"].as_str().expect("a status");
        assert!(statuses.contains(&status), "{id}: {status}");
    }
    assert_eq!(lines.len(), 2);
    let process = format!("/proc/{}", deaf().trim());
    assert!(!std::path::Path::new(&process).exists(), "{process} lives");
}

#[test]
fn a_line_of_100_mb_is_refused_and_the_next_is_done() {
    let mut lines = br#"{"task":"echo","input":""#.to_vec();
    lines.resize(100 << 20, b'x');
    lines.extend_from_slice(b"\"}\n{\"task\":\"echo\",\"input\":2}\n");
    let call = Ratchet::new().args(["run", "-q", "-w", &worker()]);
    let ended = call.stdin(lines).run().with_code(100);
    assert_eq!(statuses(&ended), ["1 failed", "2 succeeded"]);
}

#[test]
fn a_reader_that_has_enough_ends_it_quietly() {
    let lines = lines(20_000);
    let call = Ratchet::new().args(["run", "-w", &worker()]).stdin(lines);
    let ended = call
        .by_shell("\"$@\" | head -n 1")
        .run()
        .with_code(0)
        .quiet();
    assert_eq!(ended.stdout().lines().count(), 1);
}
