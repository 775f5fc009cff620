//! What commands of a map print, and where it is to be found again.

use std::os::unix::ffi::OsStringExt;

use ratchet_tests::{Ended, Folder, Ratchet};
use serde_json::Value;

/// A script that prints its item, which is not UTF-8, and writes to stderr.
const SCRIPT: &str = "printf '%s\\n' \"$0\"; echo said >&2; echo >> ran";

fn map(folder: &Folder, words: &[&str]) -> Ended {
    let item = std::ffi::OsString::from_vec(b"a\xff".to_vec());
    let call = Ratchet::within(folder).args(["map", "-q"]).args(words);
    call.args(["--", "sh", "-c", SCRIPT, ":::"])
        .args([item])
        .run()
}

fn ran(folder: &Folder) -> usize {
    let ran = std::fs::read_to_string(folder.at("ran"));
    ran.unwrap_or_default().lines().count()
}

#[test]
fn a_cached_output_is_printed_byte_for_byte() {
    let folder = Folder::new();
    for times in 0..3 {
        let ended = map(&folder, &["--cache"]).with_code(0);
        assert_eq!(ended.stdout, b"a\xff\n", "{times}");
        assert_eq!(ended.stderr(), "said\n", "{times}");
    }
    let ended = map(&folder, &["--cache", "--line-buffer", "--tag"]).with_code(0);
    assert_eq!(ended.stdout, b"a\xff\ta\xff\n");
    let ended = map(&folder, &["--cache", "--results", "kept"]).with_code(0);
    assert_eq!(ended.stdout, b"a\xff\n");
    let name = std::ffi::OsString::from_vec(b"kept/1/a\xff/stdout".to_vec());
    let kept = std::fs::read(folder.path().join(name));
    assert_eq!(kept.expect("a file"), b"a\xff\n");
    assert_eq!(ran(&folder), 1);
}

#[test]
fn with_a_format_the_output_of_commands_is_in_the_results() {
    let folder = Folder::new();
    let ended = map(&folder, &["--format", "jsonl"]).with_code(0).quiet();
    let line: Value = serde_json::from_str(&ended.stdout()).expect("a line of JSON");
    assert_eq!(
        line["result"],
        serde_json::json!({
            "exit_code": 0, "stdout": "a\u{fffd}\n", "stdout_hex": "61ff0a", "stderr": "said\n"
        })
    );
}

#[test]
fn line_buffered_output_is_also_written_to_the_results_folder() {
    let folder = Folder::new();
    let words = ["map", "-q", "--line-buffer", "--results", "kept"];
    let call = Ratchet::within(&folder).args(words);
    let call = call.args(["--joblog", "log", "--", "echo", ":::", "a"]);
    assert_eq!(call.run().with_code(0).stdout(), "a\n");
    let kept = std::fs::read_to_string(folder.at("kept/1/a/stdout"));
    assert_eq!(kept.expect("a file"), "a\n");
    let log = std::fs::read_to_string(folder.at("log")).expect("a log");
    let line = log.lines().nth(1).expect("a line");
    assert_eq!(line.split('\t').nth(5), Some("2"), "{line}");
}

#[test]
fn in_order_the_lines_of_the_first_command_come_at_once_and_those_of_later_ones_wait() {
    let folder = Folder::new();
    let script = "echo $0 begins; echo $0 fails >&2; touch $0; until [ -e go-$0 ]; do sleep 0.02; done; echo $0 ends";
    let words = ["map", "-q", "-j3", "-k", "--line-buffer", "--tag", "--"];
    let running = Ratchet::within(&folder)
        .args(words)
        .args(["sh", "-c", script, ":::", "a", "b", "c"])
        .start();
    running.wait_for_stdout("a\ta begins\n");
    running.until("all have printed", || {
        folder.at("b").exists() && folder.at("c").exists()
    });
    // The last one ends first, and prints nothing before the others have ended.
    std::fs::write(folder.at("go-c"), "").expect("it is written");
    std::fs::write(folder.at("go-a"), "").expect("it is written");
    let printed = running.wait_for_stdout("b\tb begins\n");
    assert_eq!(printed, "a\ta begins\na\ta ends\nb\tb begins\n");
    std::fs::write(folder.at("go-b"), "").expect("it is written");
    let ended = running.wait().with_code(0);
    let lines = |item: &str| format!("{item}\t{item} begins\n{item}\t{item} ends\n");
    assert_eq!(ended.stdout(), ["a", "b", "c"].map(lines).concat());
    assert_eq!(ended.stderr(), "a\ta fails\nb\tb fails\nc\tc fails\n");
}

#[test]
fn a_resumed_map_prints_the_outputs_of_both_runs() {
    let folder = Folder::new();
    let script = "echo \"$0\" >> ran; echo out \"$0\"; test \"$0\" = a || test -e go";
    let words = ["map", "-q", "-k", "--joblog", "log", "--", "sh", "-c"];
    let call = Ratchet::within(&folder).args(words);
    let call = call.args([script, ":::", "a", "b"]);
    assert_eq!(call.run().with_code(100).stdout(), "out a\nout b\n");
    let folder = folder.file("go", "");
    let ended = Ratchet::within(&folder).args(["resume", "-q"]).run();
    let ended = ended.with_code(0).quiet();
    assert_eq!(ended.stdout(), "out a\nout b\n");
    assert_eq!(ran(&folder), 3);
    // Jobs that were done before were logged before.
    let log = std::fs::read_to_string(folder.at("log")).expect("a log");
    let numbers: Vec<&str> = log.lines().skip(1).map(|line| &line[..1]).collect();
    assert_eq!(numbers, ["1", "2", "2"], "{log}");
}

#[test]
fn an_output_too_long_to_keep_is_reported_and_printed_whole() {
    let folder = Folder::new();
    let script = "head -c 100000 /dev/zero; test \"$0\" = a";
    let words = ["map", "-q", "-k", "--", "sh", "-c", script, ":::", "a", "b"];
    let ended = Ratchet::within(&folder).args(words).run().with_code(100);
    assert_eq!(ended.stdout.len(), 200_000);
    let ended = Ratchet::within(&folder).args(["resume", "-q"]).run();
    let ended = ended.with_code(100);
    assert_eq!(ended.stdout.len(), 100_000);
    assert_eq!(
        ended.stderr(),
        "ratchet: the earlier output of `a` was too long to be kept, so it is not printed again\n"
    );
}
