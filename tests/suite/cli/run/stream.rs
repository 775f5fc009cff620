//! Jobs as lines on stdin.

use std::io::Write;

use ratchet_tests::{Ratchet, Signal};
use serde_json::Value;

use super::{results, statuses, worker};

/// Makes a stream of this many jobs.
fn lines(count: u32) -> Vec<u8> {
    let mut lines = Vec::new();
    for number in 1..=count {
        writeln!(lines, "{{\"task\":\"echo\",\"input\":{number}}}").expect("there is room");
    }
    lines
}

#[test]
fn each_line_from_stdin_is_a_job_with_a_result() {
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
fn an_invalid_line_is_a_failed_result_or_with_strict_the_end_of_the_run() {
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
fn a_stream_line_of_100_mb_is_refused_and_the_next_is_done() {
    let mut lines = br#"{"task":"echo","input":""#.to_vec();
    lines.resize(100 << 20, b'x');
    lines.extend_from_slice(b"\"}\n{\"task\":\"echo\",\"input\":2}\n");
    let call = Ratchet::new().args(["run", "-q", "-w", &worker()]);
    let ended = call.stdin(lines).run().with_code(100);
    assert_eq!(statuses(&ended), ["1 failed", "2 succeeded"]);
}

#[test]
fn a_run_whose_reader_has_gone_exits_141_and_names_the_command_that_resumes_it() {
    let lines = lines(20_000);
    let call = Ratchet::new().args(["run", "-q", "-w", &worker()]);
    let script = "{ \"$@\"; echo $? > code; } | head -n 1";
    let ended = call.stdin(lines).by_shell(script).run().with_code(0);
    assert_eq!(ended.stdout().lines().count(), 1);
    let code = std::fs::read_to_string(ended.folder.at("code"));
    assert_eq!(code.expect("it has ended"), "141\n");
    let said = ended.stderr();
    let told =
        "ratchet: stopped: the reader of stdout has closed it; to resume it: ratchet resume ";
    assert!(
        said.starts_with(told) && said.lines().count() == 1,
        "{said}"
    );
}

#[test]
fn waiting_for_the_hello_of_an_undeclared_filter_is_reported() {
    for filter in ["cat -u", "sed -u s/.*/done/"] {
        let call = Ratchet::new().args(["run", "-w", filter]);
        let mut running = call.stdin_open().start();
        let written = running.stdin().write_all(b"{\"task\":\"t\"}\n");
        written.expect("it reads");
        running.wait_for_stderr(
            "printed a line that is not an answer; if it is a filter, set its protocol to `lines`",
        );
        for told in ["no new jobs", "are asked to stop", "are killed"] {
            running.signal(Signal::Terminate);
            running.wait_for_stderr(told);
        }
        let said = running.wait().with_code(143).stderr();
        assert_eq!(said.matches("is not an answer").count(), 1, "{said}");
    }
}
