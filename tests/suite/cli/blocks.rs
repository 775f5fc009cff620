//! Blocks of stdin and parts of files as the stdin of the commands of `ratchet map`.

use ratchet_tests::{Ended, Folder, Ratchet};

fn map(folder: &Folder, words: &[&str], stdin: &str) -> Ended {
    let call = Ratchet::within(folder).args(["map", "-q", "-k"]);
    call.args(words).stdin(stdin).run()
}

fn printed(words: &[&str], stdin: &str) -> String {
    map(&Folder::new(), words, stdin)
        .with_code(0)
        .quiet()
        .stdout()
}

/// Prints what it reads between brackets.
const SHOW: [&str; 4] = ["--", "sh", "-c", "echo \"[$(cat)]\""];

fn shown(options: &[&str], stdin: &str) -> String {
    printed(&[options, &SHOW].concat(), stdin)
}

/// Returns this many lines, each with its number.
fn numbers(count: u32) -> String {
    let lines: Vec<String> = (0..count).map(|number| number.to_string()).collect();
    lines.join("\n") + "\n"
}

#[test]
fn each_command_reads_a_block_of_whole_lines() {
    assert_eq!(
        shown(&["--pipe", "--block", "4"], "a\nb\nc\n"),
        "[a\nb]\n[c]\n"
    );
    assert_eq!(shown(&["--pipe", "-N2"], "a\nb\nc\n"), "[a\nb]\n[c]\n");
    assert_eq!(
        shown(&["--pipe", "-N1", "--header"], "h\na\nb\n"),
        "[h\na]\n[h\nb]\n"
    );
    assert_eq!(
        shown(&["--pipe", "-N1", "--recend", "\\n\\n"], "a\n\nb\nc\n\n"),
        "[a]\n[b\nc]\n"
    );
    assert_eq!(
        shown(&["--pipe", "-N1", "--recstart", ">"], ">a\nx\n>b\n"),
        "[>a\nx]\n[>b]\n"
    );
    let numbered = printed(
        &["--pipe", "-N1", "--tag", "--", "sh", "-c", "echo {#}; cat"],
        "a\nb\n",
    );
    assert_eq!(numbered, "1\t1\n1\ta\n2\t2\n2\tb\n");
}

#[test]
fn expressions_separate_records() {
    let by = |option: &str, expression: &str, text: &str| {
        shown(&["--pipe", "-N1", "--regexp", option, expression], text)
    };
    assert_eq!(
        by("--recend", "\\n\\n+", "a\n\n\nb\nc\n\nd\n"),
        "[a]\n[b\nc]\n[d]\n"
    );
    assert_eq!(
        by("--recstart", "[0-9]+:", "1:a\n22:b\nx\n"),
        "[1:a]\n[22:b\nx]\n"
    );
    let folder = Folder::new().file("in", "a1\nb2\nc\n");
    let parts = ["--pipe-part", "-a", "in", "--block", "1", "--regexp"];
    let words = [&parts[..], &["--recend", "[0-9]\\n"], &SHOW].concat();
    let ended = map(&folder, &words, "").with_code(0);
    assert_eq!(ended.stdout(), "[a1]\n[b2]\n[c]\n");
}

#[test]
fn a_record_has_as_many_lines_as_were_asked_for() {
    let five = "a\nb\nc\nd\ne\n";
    for (options, blocks) in [
        (&["--pipe", "-L2", "-N1"][..], "[a\nb]\n[c\nd]\n[e]\n"),
        (&["--pipe", "-L2", "-N2"], "[a\nb\nc\nd]\n[e]\n"),
        (&["--pipe", "-L2", "--block", "7"], "[a\nb]\n[c\nd]\n[e]\n"),
        (&["--pipe", "-L2"], "[a\nb\nc\nd]\n[e]\n"),
        (&["--pipe", "-L2", "--block", "1"], "[a\nb]\n[c\nd]\n[e]\n"),
        (&["--pipe", "-n2"], "[a\nb]\n[c\nd]\n[e]\n"),
    ] {
        assert_eq!(shown(options, five), blocks, "{options:?}");
    }
}

#[test]
fn nothing_of_a_large_input_is_lost_or_doubled() {
    let text = numbers(200_000);
    for options in [
        &["--pipe"][..],
        &["--pipe", "--block", "10k"],
        &["--pipe", "-N", "1000"],
        &["--pipe", "-L", "7", "--block", "10k"],
        &["--pipe", "--regexp", "--recend", "[05]\n", "--block", "10k"],
    ] {
        assert_eq!(
            printed(&[options, &["--", "cat"]].concat(), &text),
            text,
            "{options:?}"
        );
    }
    let folder = Folder::new().file("text", &text);
    let parts = ["--pipe-part", "-a", "text", "--block", "100k", "--", "cat"];
    assert_eq!(map(&folder, &parts, "").with_code(0).stdout(), text);
    let from_file = ["--pipe", "-a", "text", "--", "cat"];
    assert_eq!(map(&folder, &from_file, "").with_code(0).stdout(), text);
}

#[test]
fn blocks_are_shared_by_as_many_commands_as_there_are_slots() {
    let text = numbers(100_000);
    let share = [
        "-j3",
        "--pipe",
        "--round-robin",
        "--block",
        "10k",
        "--",
        "wc",
        "-l",
    ];
    let counts = printed(&share, &text);
    let counts: Vec<u64> = counts
        .lines()
        .map(|line| line.trim().parse().unwrap())
        .collect();
    assert_eq!(
        (counts.len(), counts.iter().sum()),
        (3, 100_000),
        "{counts:?}"
    );
    let few = ["-j3", "--pipe", "--round-robin", "-N1", "--", "wc", "-l"];
    assert_eq!(printed(&few, "a\nb\n").lines().count(), 2);
}

#[test]
fn a_command_that_reads_no_more_leaves_its_blocks_and_fails_nothing() {
    let text = "x\n".repeat(3_000_000);
    assert_eq!(
        printed(&["--pipe", "--", "head", "-n1"], &text),
        "x\n".repeat(6)
    );
    assert_eq!(printed(&["--pipe", "--", "true"], &text), "");
    let _ = printed(&["-j2", "--pipe", "--round-robin", "--", "true"], &text);
}

#[test]
fn a_failed_block_is_read_again_and_a_resumed_run_reads_the_rest() {
    let folder = Folder::new();
    let script =
        "read line; test $line != b || test -e fixed || { touch fixed; exit 1; }; echo $line";
    let words = ["--pipe", "-N1", "--", "sh", "-c", script];
    let with_retry = [&["--retries", "1"][..], &words].concat();
    assert_eq!(
        map(&folder, &with_retry, "a\nb\n").with_code(0).stdout(),
        "a\nb\n"
    );
    std::fs::remove_file(folder.at("fixed")).unwrap();
    let _ = map(&folder, &words, "a\nb\nc\n").with_code(100);
    let resume = || Ratchet::within(&folder).args(["resume", "-q"]);
    let ended = resume().stdin("a\nb\nx\n").run().with_code(0);
    assert!(
        ended.stdout().contains("b\n") && ended.stdout().contains("x\n"),
        "{}",
        ended.stdout()
    );
    assert!(!folder.at("ran").exists());
}

#[test]
fn a_shared_input_cannot_be_resumed_and_says_so() {
    let folder = Folder::new();
    let _ = map(&folder, &["--pipe", "--round-robin", "--", "false"], "a\n").with_code(100);
    let ended = Ratchet::within(&folder)
        .args(["resume"])
        .stdin("a\n")
        .run()
        .with_code(2);
    assert!(
        ended.stderr().contains("--round-robin cannot be resumed"),
        "{}",
        ended.stderr()
    );
}

#[test]
fn what_makes_no_blocks_is_refused_before_anything_runs() {
    for (words, said) in [
        (
            &["--pipe", "--", "echo", "{}"][..],
            "a block is not an item",
        ),
        (&["--pipe", "--", "echo", "{1}"], "no items here"),
        (&["--pipe", "--", "cat", ":::", "a"], "leave out `:::`"),
        (&["--pipe-part", "--", "cat"], "--arg-file"),
        (
            &["--pipe-part", "-a", "/dev/null", "--", "cat"],
            "not a regular file",
        ),
        (
            &["--pipe", "--recend", "", "--", "cat"],
            "no record would ever end",
        ),
        (
            &["--pipe", "--recend", "\\q", "--", "cat"],
            "the escapes are",
        ),
        (
            &["--pipe", "--recend", "[", "--regexp", "--", "cat"],
            "--recend: this is not a regular expression",
        ),
        (
            &["--pipe", "--regexp", "--", "cat"],
            "--regexp has no effect",
        ),
        (
            &["--pipe", "-L2", "--recend", "x", "--", "cat"],
            "-L counts lines",
        ),
        (&["-L2", "-N2", "--", "echo"], "-L and -N both say"),
        (&["--block", "1k", "--", "cat"], "--pipe"),
        (&["--pipe", "-N0", "--", "cat"], "at least one record"),
        (
            &["--pipe", "--block", "0", "--", "cat"],
            "at least one byte",
        ),
        (&["--pipe", "--warm", "--", "cat"], "--warm"),
        (
            &["--pipe-part", "-a", "x", "--round-robin", "--", "cat"],
            "--round-robin",
        ),
    ] {
        let ended = map(&Folder::new(), words, "a\n").with_code(2);
        assert!(
            ended.stderr().contains(said),
            "{words:?}: {}",
            ended.stderr()
        );
    }
    let _ = map(&Folder::new(), &["--pipe", "--", "cat"], "").with_code(4);
}

#[test]
fn an_endless_record_fails_and_is_no_success() {
    let text = "x".repeat(40 << 20);
    let folder = Folder::new();
    let call = Ratchet::within(&folder).args(["map", "--pipe", "--", "wc", "-c"]);
    let ended = call.stdin(text).run().with_code(100);
    assert!(ended.stderr().contains("--recend"), "{}", ended.stderr());
}

#[test]
fn the_first_line_of_a_file_stands_before_each_of_its_parts() {
    let folder = Folder::new()
        .file("in", "head\n1\n2\n3\n")
        .file("only", "head")
        .file("none", "");
    let parts = |file: &str| {
        let words = [
            "--pipe-part",
            "--header",
            "--block",
            "4",
            "-a",
            file,
            "--",
            "sh",
            "-c",
            "cat; echo .",
        ];
        map(&folder, &words, "")
    };
    assert_eq!(
        parts("in").with_code(0).stdout(),
        "head\n1\n2\n.\nhead\n3\n.\n"
    );
    let _ = parts("only").with_code(4);
    let _ = parts("none").with_code(4);
}

#[test]
fn what_has_no_parts_is_refused_at_once() {
    let folder = Folder::new();
    let made = std::process::Command::new("mkfifo")
        .arg(folder.at("pipe"))
        .status();
    assert!(made.expect("mkfifo is there").success());
    for (file, why) in [
        ("pipe", "is not a regular file"),
        (".", "is not a regular file"),
        ("-", "is stdin"),
        ("/proc/self/status", "has content but reports a length of 0"),
    ] {
        let ended = map(&folder, &["--pipe-part", "-a", file, "--", "cat"], "").with_code(2);
        let error = ended.stderr();
        assert!(
            error.contains(&format!("`{file}` {why}, so it cannot be split into parts")),
            "{error}"
        );
    }
}
