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
fn a_closed_stdout_is_refused_before_anything_runs() {
    let of_jobs: [&[&str]; 4] = [
        &["run", "jobs.yaml"],
        &["map", "--", "touch", "ran", ":::", "a"],
        &["map", "--dry-run", "--", "touch", "ran", ":::", "a"],
        &["runs", "list"],
    ];
    // Help that nobody can see is no loss.
    let talkative = TALKATIVE
        .into_iter()
        .filter(|words| !words.contains(&"--help"));
    for words in talkative.chain(of_jobs) {
        let call = Ratchet::within(&folder()).args(words);
        let ended = call.by_shell("exec \"$@\" >&-").run().with_code(2);
        let said = ended.stderr();
        assert!(said.contains("stdout is closed"), "{words:?}: {said}");
        assert!(!ended.folder.at("ran").exists());
    }
}

#[test]
fn a_closed_stdout_is_not_needed_where_results_go_to_a_file() {
    let words = ["map", "-o", "out", "--", "echo", "{}", ":::", "a"];
    let call = Ratchet::new().args(words).by_shell("exec \"$@\" >&-");
    let ended = call.run().with_code(0);
    let out = std::fs::read_to_string(ended.folder.at("out"));
    assert_eq!(out.expect("it was written"), "a\n");
}

#[test]
fn a_resumed_run_needs_its_stdout_too() {
    let folder = Folder::new();
    let call = |words: &[&str]| Ratchet::within(&folder).args(words);
    let _ = call(&["map", "-q", "--", "test", "-e", ":::", "there"])
        .run()
        .with_code(100);
    let refused = call(&["resume"])
        .by_shell("exec \"$@\" >&-")
        .run()
        .with_code(2);
    assert!(refused.stderr().contains("stdout is closed"));
    let folder = folder.file("there", "");
    let resumed = Ratchet::within(&folder).args(["resume", "-q", "-o", "out"]);
    let _ = resumed.by_shell("exec \"$@\" >&-").run().with_code(0);
}

#[test]
fn a_closed_stdin_is_refused_only_where_it_would_be_read() {
    for words in [
        &["map", "--", "echo", "{}"][..],
        &["map", "-a", "-", "--", "echo", "{}"],
        &["map", "--pipe", "--", "cat"],
        &["run"],
        &["run", "-"],
    ] {
        let call = Ratchet::new().args(words).by_shell("exec \"$@\" <&-");
        let said = call.run().with_code(2).stderr();
        assert!(said.contains("stdin is closed"), "{words:?}: {said}");
    }
    let call = Ratchet::new().args(["map", "-q", "--", "echo", "{}", ":::", "a"]);
    let ended = call.by_shell("exec \"$@\" <&-").run().with_code(0);
    assert_eq!(ended.stdout(), "a\n");
}

#[test]
fn a_run_without_a_stderr_goes_on_and_keeps_what_its_commands_print_there() {
    let words = [
        "map",
        "--format",
        "jsonl",
        "--",
        "sh",
        "-c",
        "echo {} >&2",
        ":::",
        "a",
    ];
    let call = Ratchet::new().args(words).by_shell("exec \"$@\" 2>&-");
    let ended = call.run().with_code(0);
    assert!(
        ended.stdout().contains("\"stderr\":\"a\\n\""),
        "{}",
        ended.stdout()
    );
}

#[test]
fn a_full_disk_is_reported_as_an_error() {
    for words in [
        &["schema"][..],
        &["completions", "bash"],
        &["man"],
        &["config", "show"],
        &["check", "jobs.yaml"],
        &["--help"],
        &["run", "-h"],
        &["--version"],
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
