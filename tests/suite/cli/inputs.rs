//! Input that is no text, too long, or not to be read at all.

use std::os::unix::fs::symlink;

use ratchet_tests::{Ended, Folder, Ratchet};
use serde_json::Value;

/// Two names: one that is not UTF-8, one with a character that steers terminals.
const NAMES: &[u8] = b"a\xff b\nc\x07\xfed\n";

fn map(folder: &Folder, words: &[&str], stdin: &[u8]) -> Ended {
    let call = Ratchet::within(folder).args(["map", "-q", "-k"]);
    call.args(words).stdin(stdin).run()
}

fn printed(words: &[&str], stdin: &[u8]) -> Vec<u8> {
    map(&Folder::new(), words, stdin)
        .with_code(0)
        .quiet()
        .stdout
}

#[test]
fn file_names_that_are_not_utf_8_reach_commands_unchanged_from_every_source() {
    let print = ["--", "printf", "%s\\n", "{}"];
    assert_eq!(printed(&print, NAMES), NAMES);
    let with = |words: &[&'static str]| [words, &print].concat();
    let nul: Vec<u8> = NAMES
        .iter()
        .map(|byte| if *byte == b'\n' { 0 } else { *byte })
        .collect();
    assert_eq!(printed(&with(&["-0"]), &nul), NAMES);
    assert_eq!(printed(&with(&["--csv"]), NAMES), NAMES);
    assert_eq!(
        printed(&["--shell", "--", "printf '%s\\n' {}"], NAMES),
        NAMES
    );
    let folder = Folder::new().file("names", NAMES);
    let ended = map(&folder, &with(&["-a", "names"]), b"").with_code(0);
    assert_eq!(ended.stdout, NAMES);
    let ended = map(&folder, &with(&["--tag"]), b"a\xff\n").with_code(0);
    assert_eq!(ended.stdout, b"a\xff\ta\xff\n");
    // A shell that is given what --dry-run prints does the same.
    let dry = printed(&with(&["--dry-run"]), NAMES);
    let folder = folder.file("dry", dry);
    let shell = std::process::Command::new("sh")
        .arg(folder.at("dry"))
        .output();
    assert_eq!(shell.expect("there is a shell").stdout, NAMES);
}

#[test]
fn a_file_name_that_is_not_utf_8_fails_as_an_item_of_a_filter() {
    let words = ["--warm", "--", "cat"];
    let ended = map(&Folder::new(), &words, b"good\na\xff\nlast\n").with_code(100);
    assert_eq!(ended.stdout(), "good\nlast\n");
    let call = Ratchet::new().args(["map", "-k", "--format", "jsonl"]);
    let ended = call.args(words).stdin(b"a\xff\n").run().with_code(100);
    assert!(
        ended.stdout().contains("`a\\\\xff` is not UTF-8"),
        "{}",
        ended.stdout()
    );
}

#[test]
fn a_line_of_100_mb_fails_only_its_own_item() {
    let mut lines = vec![b'x'; 100 << 20];
    lines.extend_from_slice(b"\ntwo\n");
    for words in [
        &["--", "printf", "%s\\n", "{}"][..],
        &["--warm", "--", "cat"],
    ] {
        let ended = map(&Folder::new(), words, &lines).with_code(100);
        assert_eq!(ended.stdout(), "two\n", "{words:?}");
    }
}

#[test]
fn an_input_that_cannot_be_read_is_named_after_the_items_before_it_are_done() {
    let folder = Folder::new().file("names", "one\n");
    // Opens, and then fails, for whoever runs the tests.
    for name in ["failing", "failing.jsonl"] {
        symlink("/proc/self/mem", folder.at(name)).expect("it is made");
    }
    let call = |words: &[&str]| Ratchet::within(&folder).args(words).run();
    for (name, said) in [
        (".", "ratchet: `.` cannot be read\n"),
        ("nothing", "ratchet: `nothing` cannot be read\n"),
    ] {
        let ended = call(&["map", "-a", name, "--", "echo"]).with_code(2);
        assert!(ended.stdout.is_empty());
        assert!(ended.stderr().starts_with(said), "{}", ended.stderr());
    }
    let ended = call(&["map", "-k", "-a", "names", "-a", "failing", "--", "echo"]);
    let ended = ended.with_code(100);
    assert_eq!(ended.stdout(), "one\n");
    let said = ended.stderr();
    assert!(
        said.contains("`failing` cannot be read further: Input/output error"),
        "{said}"
    );
    let said = call(&["run", "failing.jsonl"]).with_code(2).stderr();
    assert!(
        said.starts_with("ratchet: `failing.jsonl` cannot be read\n  because: Input/output error"),
        "{said}"
    );
}

#[test]
fn each_invalid_line_of_a_stream_is_a_failed_result_and_valid_lines_are_done() {
    let mut noise: Vec<u8> = (0..=255_u8)
        .map(|byte| byte.wrapping_mul(7))
        .cycle()
        .take(2_000)
        .collect();
    noise.extend_from_slice(b"\n{\"id\":\"good\",\"run\":[\"true\"]}\n");
    let bad = noise.split(|byte| *byte == b'\n').count() - 2;
    let ended = Ratchet::new().args(["run"]).stdin(noise).run();
    let ended = ended.with_code(100);
    let (said, stdout) = (ended.stderr(), ended.stdout());
    assert!(!said.contains(['\x07', '\x1b']), "{said:?}");
    let lines: Vec<Value> = stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect();
    let of = |status: &str| lines.iter().filter(|line| line["status"] == status).count();
    assert_eq!((of("succeeded"), of("failed")), (1, bad));
    assert!(
        lines
            .iter()
            .all(|line| line["status"] == "succeeded" || line["error"]["class"] == "input")
    );
}

#[test]
fn an_output_file_that_is_also_the_input_is_refused() {
    let folder = Folder::new()
        .file("items", "one\n")
        .file("jobs.jsonl", "{\"run\":[\"true\"]}\n");
    symlink(folder.at("items"), folder.at("other")).expect("it is made");
    for (words, what) in [
        (
            &["map", "-a", "items", "-o", "items", "--", "echo"][..],
            "--output would overwrite `items`",
        ),
        (
            &["map", "-a", "items", "-o", "other", "--", "echo"],
            "--output would overwrite `items`",
        ),
        (
            &["map", "-o", "items", "--", "echo"],
            "--output would overwrite stdin",
        ),
        (
            &["map", "-o", "items", "--", "echo", "::::", "items"],
            "--output would overwrite `items`",
        ),
        (
            &["map", "-a", "items", "--joblog", "items", "--", "echo"],
            "--joblog would overwrite `items`",
        ),
        (
            &["run", "jobs.jsonl", "-o", "./jobs.jsonl"],
            "--output would overwrite `jobs.jsonl`",
        ),
    ] {
        let stdin = std::fs::File::open(folder.at("items")).expect("it is there");
        let call = Ratchet::within(&folder).args(words).stdin_from(stdin);
        let said = call.run().with_code(2).stderr();
        assert!(
            said.starts_with(&format!("ratchet: {what} while it is read\n")),
            "{said}"
        );
        let read = |name: &str| std::fs::read_to_string(folder.at(name)).expect("it is there");
        assert_eq!(read("items"), "one\n");
        assert_eq!(read("jobs.jsonl"), "{\"run\":[\"true\"]}\n");
    }
    // After `:::`, nothing is read.
    let words = ["map", "-q", "-o", "items", "--", "echo", ":::", "two"];
    let stdin = std::fs::File::open(folder.at("items")).expect("it is there");
    let call = Ratchet::within(&folder).args(words).stdin_from(stdin);
    let _ = call.run().with_code(0);
}
