//! Where output goes, and what becomes of it where that takes no more.

use std::fs::OpenOptions;

use ratchet_tests::{Folder, Ratchet};

/// A command line for each verb that prints something.
const TALKATIVE: [&[&str]; 8] = [
    &["--help"],
    &["schema"],
    &["completions", "zsh"],
    &["man"],
    &["config", "show"],
    &["config", "show", "--json"],
    &["check", "jobs.yaml"],
    &["runs", "--help"],
];

fn folder() -> Folder {
    Folder::new().file("jobs.yaml", "jobs: [{ run: ls }]\n")
}

#[test]
fn a_command_whose_reader_has_gone_exits_141_without_a_message() {
    for words in TALKATIVE {
        let call = Ratchet::within(&folder()).args(words).unread();
        let _ = call.run().with_code(141).quiet();
    }
}

#[test]
fn a_pipe_into_head_ends_without_an_error() {
    for words in TALKATIVE {
        // The exit code is that of ratchet, not that of the pipeline.
        let script = "{ \"$@\"; echo $? > code; } | head -n 1";
        let call = Ratchet::within(&folder()).args(words).by_shell(script);
        let ended = call.run().with_code(0).quiet();
        assert_eq!(ended.stdout().lines().count(), 1, "{words:?}");
        let code = std::fs::read_to_string(ended.folder.at("code"));
        // The output may fit into the pipe, so that ratchet has ended before `head` has.
        let code = code.expect("it has ended");
        assert!(matches!(&*code, "0\n" | "141\n"), "{words:?}: {code}");
    }
}

#[test]
fn a_closed_stdout_is_no_error() {
    for words in TALKATIVE {
        let call = Ratchet::within(&folder()).args(words);
        let ended = call.by_shell("exec \"$@\" >&-").run();
        let _ = ended.with_code(0).quiet();
    }
}

#[test]
fn a_full_disk_is_reported_as_an_error() {
    for words in [
        &["schema"][..],
        &["completions", "bash"],
        &["man"],
        &["config", "show"],
        &["check", "jobs.yaml"],
    ] {
        let full = OpenOptions::new().write(true).open("/dev/full");
        let full = full.expect("it is always full");
        let call = Ratchet::within(&folder()).args(words).stdout_to(full);
        let said = call.run().with_code(1).stderr();
        assert!(
            said.starts_with("ratchet: stdout cannot be written\n  because: No space left"),
            "{words:?}: {said}"
        );
    }
}

#[test]
fn without_a_stderr_the_exit_code_still_reports_the_error() {
    let call = Ratchet::new().args(["check", "nothing.yaml"]);
    let ended = call.by_shell("exec \"$@\" 2>&-").run().with_code(2);
    assert!(ended.stdout.is_empty() && ended.stderr.is_empty());
    let full = OpenOptions::new().write(true).open("/dev/full");
    let call = Ratchet::new().args(["check", "nothing.yaml"]);
    let _ = call
        .stderr_to(full.expect("it is always full"))
        .run()
        .with_code(2);
}
