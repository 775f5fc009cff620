//! `ratchet map` without a command: each item is one.

use ratchet_tests::{Ended, Folder, Ratchet};

fn map(words: &[&str], stdin: &str) -> Ended {
    let call = Ratchet::new().args(["map", "-q", "-k"]);
    call.args(words).stdin(stdin).run()
}

#[test]
fn each_line_is_a_command_that_is_split_as_a_shell_does() {
    let ended = map(
        &[],
        "echo 'a  b' c\n\n  # a comment\nprintf '%s\\n' {} \"d e\"\n",
    )
    .with_code(0);
    assert_eq!(ended.stdout(), "a  b c\n{}\nd e\n");
    let ended = map(&[":::", "echo a", "echo b"], "").with_code(0);
    assert_eq!(ended.stdout(), "a\nb\n");
    let dry = map(&["--dry-run", "--", ":::", "echo 'a b'"], "").with_code(0);
    assert_eq!(dry.stdout(), "echo 'a b'\n");
}

#[test]
fn a_shell_runs_each_line_if_it_is_asked_to() {
    let ended = map(&["--shell"], "echo a | tr a b\nX=c; echo $X\n").with_code(0);
    assert_eq!(ended.stdout(), "b\nc\n");
}

#[test]
fn a_line_for_a_shell_fails_without_one_and_the_others_go_on() {
    let ended = map(&[], "echo a | tr a b\necho c\nno-such-program-here\n").with_code(100);
    assert_eq!(ended.stdout(), "c\n");
    let told = ended.stderr();
    assert!(told.contains("`|`") && told.contains("--shell"), "{told}");
    assert!(told.contains("no-such-program-here"), "{told}");
}

#[test]
fn what_needs_a_command_is_refused_without_one() {
    for option in ["-n2", "--warm", "--pipe", "--csv", "--each-host"] {
        let ended = map(&[option], "echo a\n").with_code(2);
        assert!(
            ended.stderr().contains("needs a command"),
            "{option}: {}",
            ended.stderr()
        );
    }
}

#[test]
fn a_resumed_run_goes_on_with_the_lines_that_failed() {
    let folder = Folder::new();
    let lines = "echo a\ntest -e fixed\n";
    let call = Ratchet::within(&folder).args(["map", "-q"]);
    let _ = call.stdin(lines).run().with_code(100);
    let folder = folder.file("fixed", "");
    let resumed = Ratchet::within(&folder).args(["resume", "-q"]);
    let _ = resumed.stdin(lines).run().with_code(0);
}
