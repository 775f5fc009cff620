//! `ratchet worker`, as it is called from a shell.
#![expect(
    clippy::expect_used,
    reason = "a test fails when what has to happen does not"
)]

use std::io::Write;
use std::process::{Command, Output, Stdio};

fn ratchet(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ratchet"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    stdin
        .write_all(input.as_bytes())
        .expect("it takes its input");
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

#[test]
fn answers_what_is_asked_and_ends_with_its_input() {
    let request = r#"{"type":"request","id":1,"task":"echo","input":"hello"}"#;
    let output = ratchet(&["worker"], &format!("{request}\n"));
    assert!(output.status.success());
    let said = String::from_utf8(output.stdout).expect("it says UTF-8");
    let (hello, answer) = said.split_once('\n').expect("it says two lines");
    assert!(hello.contains(r#""event":"hello""#), "{hello}");
    assert_eq!(
        answer,
        "{\"type\":\"response\",\"id\":1,\"result\":\"hello\"}\n"
    );
}

#[test]
fn offers_the_tasks_it_is_told_to() {
    let request = r#"{"type":"request","id":1,"task":"sleep","input":{"ms":0}}"#;
    let output = ratchet(
        &[
            "worker",
            "--task",
            "echo",
            "--task",
            "fail",
            "--concurrency",
            "3",
        ],
        request,
    );
    let said = String::from_utf8(output.stdout).expect("it says UTF-8");
    assert!(said.contains(r#""concurrency":3"#), "{said}");
    assert!(
        said.contains("there is no task `sleep` here; known: echo, fail"),
        "{said}"
    );
}

#[test]
fn refuses_an_unknown_task_with_a_suggestion() {
    let output = ratchet(&["worker", "--task", "ech"], "");
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    let said = String::from_utf8(output.stderr).expect("it says UTF-8");
    assert!(said.contains("a similar value exists: 'echo'"), "{said}");
}

#[test]
fn a_host_that_reads_no_more_is_an_error_that_says_so() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = Command::new(env!("CARGO_BIN_EXE_ratchet"))
        .arg("worker")
        .stdin(Stdio::null())
        .stdout(writer)
        .output()
        .expect("it starts");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).expect("it says UTF-8");
    assert!(
        said.starts_with("ratchet: the built-in worker could not go on\n"),
        "{said}"
    );
    assert!(
        said.contains("writing to the peer failed\n  because: Broken pipe"),
        "{said}"
    );
}
