//! `ratchet map`.

use std::os::unix::ffi::OsStringExt;

use ratchet_tests::{Ended, Folder, Ratchet};
use serde_json::Value;

fn map(folder: &Folder, words: &[&str], stdin: &str) -> Ended {
    let call = Ratchet::within(folder).args(["map", "-q"]);
    call.args(words).stdin(stdin).run()
}

/// Runs `ratchet map` with lines on stdin, and returns what it prints.
fn printed(words: &[&str], stdin: &str) -> String {
    map(&Folder::new(), words, stdin)
        .with_code(0)
        .quiet()
        .stdout()
}

#[test]
fn items_come_from_arguments_files_and_stdin() {
    assert_eq!(printed(&["-k", "--", "echo"], "a b\n\nc\n"), "a b\nc\n");
    assert_eq!(
        printed(&["-k", "-0", "--", "printf", "<%s>"], "a\nb\0c\0"),
        "<a\nb><c>"
    );
    assert_eq!(
        printed(
            &[
                "-k", "--", "echo", "{1}-{2}", ":::", "a", "b", ":::", "1", "2"
            ],
            ""
        ),
        "a-1\na-2\nb-1\nb-2\n"
    );
    assert_eq!(
        printed(
            &["-k", "--csv", "--header", "--", "echo", "{who}/{2}"],
            "who,what\n\"x,y\",1\nz,2\n"
        ),
        "x,y/1\nz/2\n"
    );
    let folder = Folder::new().file("items", "one\ntwo\n");
    let ended = map(&folder, &["-k", "-a", "items", "--", "echo", "{#}:{}"], "").with_code(0);
    assert_eq!(ended.stdout(), "1:one\n2:two\n");
}

#[test]
fn an_item_that_is_not_utf_8_reaches_its_command_unchanged() {
    let item = std::ffi::OsString::from_vec(vec![b'a', 0xff, b' ']);
    let call = Ratchet::new().args(["map", "-q", "--", "printf", "%s", ":::"]);
    let ended = call.args([item]).run().with_code(0);
    assert_eq!(ended.stdout, [b'a', 0xff, b' ']);
}

#[test]
fn outputs_of_a_map_are_whole_tagged_and_in_order() {
    // With two slots, `c` starts when `b` has ended, and `a` ends after `c` has begun.
    let script = "echo $0
        case $0 in
            a) touch said; until [ -e go ]; do sleep 0.01; done ;;
            b) until [ -e said ]; do sleep 0.01; done ;;
            c) touch go ;;
        esac
        echo $0";
    let printed = |flags: &[&str]| {
        let call = Ratchet::new().args(["map", "-q", "-j2"]).args(flags);
        let call = call.args(["--", "sh", "-c", script, ":::", "a", "b", "c"]);
        call.run().with_code(0).stdout()
    };
    let whole = printed(&[]);
    let expected = ["b\nb\na\na\nc\nc\n", "b\nb\nc\nc\na\na\n"];
    assert!(expected.contains(&whole.as_str()), "{whole}");
    assert_eq!(printed(&["-k"]), "a\na\nb\nb\nc\nc\n");
    assert_eq!(
        printed(&["-k", "--tag"]),
        "a\ta\na\ta\nb\tb\nb\tb\nc\tc\nc\tc\n"
    );
    let live = printed(&["--line-buffer"]);
    let at = |word| live.find(word).expect("it is printed");
    assert!(at("a") < at("c"), "before the job ends: {live}");
}

#[test]
fn a_warm_filter_answers_line_by_line() {
    let words = ["--warm", "-k", "--tag", "--", "sed", "-u", "s/$/!/"];
    assert_eq!(printed(&words, "a\nb\n"), "a\ta!\nb\tb!\n");
}

#[test]
fn map_runs_a_shell_line_with_its_shell_flag() {
    assert_eq!(
        printed(&["--shell", "--", "echo {} | tr a-z A-Z"], "a;b\n"),
        "A;B\n"
    );
    assert_eq!(
        printed(&["--dry-run", "--", "echo", "{}"], "a;b\n"),
        "echo 'a;b'\n"
    );
}

#[test]
fn failures_of_a_map_set_the_exit_code_and_are_in_the_joblog() {
    let folder = Folder::new();
    let words = [
        "-k",
        "--joblog",
        "log",
        "--results",
        "out",
        "--",
        "sh",
        "-c",
        "echo $0; echo oops >&2; exit $0",
        ":::",
        "0",
        "3",
    ];
    let ended = map(&folder, &words, "").with_code(100);
    assert_eq!(ended.stdout(), "0\n3\n");
    assert_eq!(ended.stderr(), "oops\noops\n");
    let log = std::fs::read_to_string(folder.at("log")).expect("a log");
    let codes: Vec<&str> = log
        .lines()
        .skip(1)
        .filter_map(|line| line.split('\t').nth(6))
        .collect();
    assert_eq!(codes, ["0", "3"], "{log}");
    let kept = std::fs::read_to_string(folder.at("out/1/3/stdout"));
    assert_eq!(kept.expect("a result"), "3\n");
}

#[test]
fn halt_rules_end_a_map_early() {
    let halted = |rule: &str, items: &[&str]| {
        let words = ["-j1", "--halt", rule, "--", "sh", "-c", "exit $0", ":::"];
        map(&Folder::new(), &[&words[..], items].concat(), "").code
    };
    assert_eq!(halted("soon,fail=1", &["1", "0"]), Some(102));
    assert_eq!(halted("now,success=1", &["0", "1", "1"]), Some(0));
    assert_eq!(halted("never", &["1", "0"]), Some(100));
    // The last job reaches the limit, so nothing is left that could be stopped.
    assert_eq!(halted("soon,fail=1", &["0", "1"]), Some(100));
}

#[test]
fn a_limit_or_goal_that_the_last_job_reaches_leaves_a_finished_run() {
    for (flags, items, code) in [
        (["--max-fail", "1"], ["0", "1"], 100),
        (["--halt", "soon,success=1"], ["1", "0"], 0),
    ] {
        let folder = Folder::new();
        let words = ["-j1", "--", "sh", "-c", "exit {}", ":::"];
        let ended = map(&folder, &[&flags[..], &words[..], &items[..]].concat(), "");
        let said = ended.with_code(code).stderr();
        assert!(!said.contains("stopped early"), "{said}");
        let listed = Ratchet::within(&folder).args(["runs"]).run().with_code(0);
        let listed = listed.stdout();
        assert!(listed.contains("\tfinished\t"), "{flags:?}: {listed}");
    }
}

#[test]
fn no_job_that_lies_ahead_of_a_fast_worker_fails_beyond_the_limit() {
    let items = "item\n".repeat(200);
    for most in ["2", "20"] {
        let folder = Folder::new();
        let worker = format!("{} worker", Ratchet::program().display());
        let words = [
            "-j1",
            "--format",
            "json",
            "--max-fail",
            most,
            "--task",
            "fail",
        ];
        let words = [&words[..], &["--worker", &worker]].concat();
        let ended = map(&folder, &words, &items).with_code(102);
        let document: Value = serde_json::from_str(&ended.stdout()).expect("a document");
        assert_eq!(document["summary"]["failed"].to_string(), most);
    }
}

#[test]
fn map_takes_the_terms_that_run_takes() {
    let words = ["--timeout", "200ms", "--", "sleep", "60"];
    let ended = map(
        &Folder::new(),
        &[&["--format", "jsonl"], &words[..], &[":::", "1"]].concat(),
        "",
    );
    assert!(
        ended
            .with_code(100)
            .stdout()
            .contains("\"status\":\"timed_out\"")
    );
    let folder = Folder::new();
    let script = "test -e seen || { touch seen; exit 1; }";
    let words = ["--retries", "1", "--", "sh", "-c", script, ":::", "1"];
    let _ = map(&folder, &words, "").with_code(0);
}

#[test]
fn map_writes_line_buffered_output_to_a_file() {
    let folder = Folder::new();
    let words = [
        "--line-buffer",
        "--tag",
        "-o",
        "lines",
        "--",
        "echo",
        "{}",
        ":::",
        "a",
    ];
    let ended = map(&folder, &words, "").with_code(0).quiet();
    assert!(ended.stdout.is_empty());
    let lines = std::fs::read_to_string(folder.at("lines"));
    assert_eq!(lines.expect("a file"), "a\ta\n");
}

#[test]
fn a_command_that_is_stopped_by_its_timeout_can_still_print() {
    let script = "trap 'echo bye; exit 1' TERM; echo here; sleep 1000 & wait";
    let words = ["--timeout", "300ms", "--", "sh", "-c", script, ":::", "a"];
    let ended = map(&Folder::new(), &words, "").with_code(100);
    assert_eq!(ended.stdout(), "here\nbye\n");
}

#[test]
fn a_map_without_items_has_an_exit_code_of_its_own() {
    let ended = map(&Folder::new(), &["--", "echo"], "");
    assert!(ended.with_code(4).quiet().stdout.is_empty());
    for words in [
        &["map", "--", "echo"][..],
        &["map", "--dry-run", "--", "echo"],
    ] {
        let ended = Ratchet::new().args(words).stdin("").run().with_code(4);
        assert_eq!(
            ended.stderr(),
            "ratchet: there are no items: nothing to do\n"
        );
    }
    let said = map(&Folder::new(), &["--warm", "--", "cat", "{}"], "a\n")
        .with_code(2)
        .stderr();
    assert!(said.contains("leave out --warm"), "{said}");
}

#[test]
fn a_program_that_does_not_exist_is_reported_once_before_anything_runs() {
    for words in [
        &["--", "no-such-program"][..],
        &["--warm", "--", "no-such-program"],
    ] {
        let ended = map(&Folder::new(), words, "a\nb\n").with_code(2);
        assert_eq!(
            ended.stderr(),
            "ratchet: there is no program `no-such-program` in PATH\n"
        );
    }
    let said = map(&Folder::new(), &["--", "echo hi | wc"], "a\n").with_code(2);
    assert!(said.stderr().contains("--shell"), "{}", said.stderr());
    // The program may depend on the item.
    let ended = map(&Folder::new(), &["--", "{}"], "true\nno-such-program\n");
    assert!(ended.with_code(100).stdout.is_empty());
}

#[test]
fn an_invalid_halt_rule_is_refused_with_valid_examples() {
    let said = map(&Folder::new(), &["--halt", "now", "--", "echo"], "a\n").with_code(2);
    assert!(
        said.stderr()
            .contains("write one like soon,fail=3, now,fail=10%, now,success=1, or never"),
        "{}",
        said.stderr()
    );
}

#[test]
fn with_quiet_a_map_still_reports_items_that_never_ran_or_were_stopped() {
    let call = |words: &[&str], items: &str| {
        let call = Ratchet::new().args(["map", "-q"]).args(words);
        call.stdin(items).run().with_code(100)
    };
    let said = call(&["--", "./no{}", ":::", "a"], "").stderr();
    assert!(said.contains("spawn: ") && said.contains("./noa"), "{said}");
    let said = call(
        &["--csv", "--header", "--", "echo", "{id}"],
        "id,note\n1\n2,\"b\n",
    )
    .stderr();
    for reason in [
        "line 2 of stdin has another number of columns (1)",
        "the quote that opens on line 3",
    ] {
        assert!(said.contains(reason), "{said}");
    }
    let said = call(&["--timeout", "100ms", "--", "sleep", ":::", "60"], "").stderr();
    assert!(said.contains("timeout: "), "{said}");
    // A command that ended by itself has said what it had to say.
    assert_eq!(call(&["--", "false", ":::", "a"], "").stderr(), "");
}

#[test]
fn the_joblog_has_results_that_were_taken_from_the_cache() {
    let folder = Folder::new();
    let log = || {
        let call = Ratchet::within(&folder).args(["map", "-q", "--cache", "--joblog", "-"]);
        let ended = call.args(["-o", "printed", "--", "echo", ":::", "a"]).run();
        ended.with_code(0).stdout()
    };
    let (ran, taken) = (log(), log());
    for log in [&ran, &taken] {
        let line = log.lines().nth(1).expect("a line behind the columns");
        let fields: Vec<&str> = line.split('\t').collect();
        assert_eq!(fields[8], "echo a", "{log}");
        assert!(!fields[2].starts_with("0."), "{log}");
    }
    assert!(!folder.at("-").exists());
}

#[test]
fn two_outputs_to_one_file_are_refused() {
    for (one, other) in [("x", "x"), ("x", "./x"), ("there", "link")] {
        let folder = Folder::new().file("there", "kept");
        std::fs::hard_link(folder.at("there"), folder.at("link")).expect("a link");
        let call = Ratchet::within(&folder).args(["map", "--joblog", one, "-o", other]);
        let said = call.args(["--", "echo", ":::", "a"]).run().with_code(2);
        assert!(
            said.stderr().contains("name the same file"),
            "{one} {other}"
        );
        let kept = std::fs::read_to_string(folder.at("there"));
        assert_eq!(kept.expect("it is there"), "kept");
    }
}

#[test]
fn a_dry_run_refuses_what_the_run_would() {
    for (words, reason) in [
        (&["--warm"][..], "cannot be used with"),
        (&["--format", "json"], "a dry run has no results"),
        (&["-o", "x"], "a dry run has no results"),
    ] {
        let call = Ratchet::new().args(["map", "--dry-run"]).args(words);
        let said = call
            .args(["--", "cat", ":::", "1"])
            .run()
            .with_code(2)
            .stderr();
        assert!(said.contains(reason), "{words:?}: {said}");
    }
    let call = Ratchet::new().args(["map", "--dry-run", "--", "./nothing", ":::", "1"]);
    let said = call.run().with_code(2).stderr();
    assert!(said.contains("./nothing"), "{said}");
}
