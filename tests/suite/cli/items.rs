//! Jobs of `ratchet map` are known by their items: to people, to programs, and when a run goes on.

use ratchet_tests::{Folder, Ratchet, Shown};
use serde_json::Value;

fn lines(text: &str) -> Vec<Value> {
    let read = |line| serde_json::from_str(line).expect("a line of JSON");
    text.lines().map(read).collect()
}

fn run_id(folder: &Folder) -> String {
    let listed = Ratchet::within(folder).args(["runs", "list"]).run();
    let listed = listed.with_code(0).stdout();
    listed.split('\t').next().expect("an id").to_owned()
}

#[test]
fn what_the_job_of_an_item_has_printed_is_shown_by_its_id_and_by_its_item() {
    let folder = Folder::new();
    let words = ["map", "--", "sh", "-c", "echo out of $0", ":::", "x", "y"];
    let ended = Ratchet::within(&folder).args(words).run();
    let _ = ended.with_code(0);
    let id = run_id(&folder);
    let tail = |job: &str| {
        Ratchet::within(&folder)
            .args(["runs", "tail", &id, job])
            .run()
    };
    for job in ["2", "y"] {
        assert_eq!(tail(job).with_code(0).stdout(), "out of y\n", "{job}");
    }
    let refused = tail("9").with_code(2).stderr();
    assert!(refused.contains("no job 9 has ended in run"), "{refused}");
}

#[test]
fn the_item_of_a_job_is_in_results_junit_the_summary_and_runs_show() {
    let folder = Folder::new();
    let call = |words: &[&str]| {
        let call = Ratchet::within(&folder).args(["map"]).args(words);
        let call = call.args(["--", "sh", "-c", "test \"$0\" = a.png", ":::"]);
        call.args(["a.png", "b.png"]).run().with_code(100)
    };
    let ended = call(&["--format", "jsonl", "-k"]);
    let results = lines(&ended.stdout());
    assert_eq!(
        (&results[0]["id"], &results[0]["item"]),
        (&"1".into(), &"a.png".into())
    );
    assert_eq!(
        (&results[1]["id"], &results[1]["item"]),
        (&"2".into(), &"b.png".into())
    );
    assert!(
        ended.stderr().contains("  2 (b.png)\n"),
        "{}",
        ended.stderr()
    );

    let report = call(&["--format", "junit"]).stdout();
    assert!(
        report.contains("<testcase name=\"b.png\" classname=\"sh\""),
        "{report}"
    );

    let shown = Ratchet::within(&folder).args(["runs", "show", &run_id(&folder)]);
    let shown = shown
        .args(["--format", "human"])
        .run()
        .with_code(0)
        .stdout();
    assert!(shown.contains("failed    2 (b.png)  sh"), "{shown}");
}

#[test]
fn the_item_of_a_job_is_on_its_progress_bar() {
    let folder = Folder::new();
    let call = Ratchet::within(&folder).args(["map", "--", "sh", "-c"]);
    let script = "until test -e go; do sleep 0.05; done";
    let call = call.args([script, ":::", "a.png"]);
    let running = call.on_terminal(100, 40, Shown::Stderr).start();
    let screen = running.wait_for_screen("1 (a.png)");
    std::fs::write(folder.at("go"), "").expect("a file");
    assert!(!screen.is_empty());
    let _ = running.wait().with_code(0);
}

/// A script that writes each item that it is run for into a file, and fails for some items.
const NOTES: &str = "echo \"$0\" >> ran; case $0 in bad*) exit 1;; esac; echo out \"$0\"";

fn ran(folder: &Folder) -> Vec<String> {
    let ran = std::fs::read_to_string(folder.at("ran")).unwrap_or_default();
    let _ = std::fs::remove_file(folder.at("ran"));
    let mut items: Vec<String> = ran.lines().map(str::to_owned).collect();
    items.sort_unstable();
    items
}

#[test]
fn a_line_put_at_the_top_of_a_list_reruns_one_job_and_not_all() {
    let list = |items: &[&str]| items.join("\n") + "\n";
    let folder = Folder::new().file("list", list(&["a", "b", "bad", "c", "a", "d"]));
    let call = Ratchet::within(&folder).args(["map", "-a", "list", "--", "sh", "-c", NOTES]);
    let _ = call.run().with_code(100);
    assert_eq!(ran(&folder), ["a", "a", "b", "bad", "c", "d"]);

    let folder = folder.file("list", list(&["new", "a", "b", "bad", "c", "a", "d", "a"]));
    let resume = || {
        let call = Ratchet::within(&folder).args(["resume", "--format", "jsonl", "-k"]);
        call.run().with_code(100)
    };
    let ended = resume();
    // The third `a` is another item than the two that were done.
    assert_eq!(ran(&folder), ["a", "bad", "new"]);
    assert!(
        ended
            .stderr()
            .contains("resumed: 5 had succeeded before, 1 had failed, 2 new\n"),
        "{}",
        ended.stderr()
    );
    let expected = [
        ("1", "new"),
        ("2", "a"),
        ("3", "b"),
        ("4", "bad"),
        ("5", "c"),
        ("6", "a"),
        ("7", "d"),
        ("8", "a"),
    ];
    let told = |text: &str| -> Vec<(String, String)> {
        let text_of = |value: &Value| value.as_str().expect("a text").to_owned();
        let mut told: Vec<_> = lines(text)
            .iter()
            .map(|line| (text_of(&line["id"]), text_of(&line["item"])))
            .collect();
        told.sort_unstable();
        told
    };
    let expected: Vec<_> = expected
        .map(|(id, item)| (id.to_owned(), item.to_owned()))
        .into();
    assert_eq!(told(&ended.stdout()), expected);
    // The journal knows the new numbers.
    let call =
        Ratchet::within(&folder).args(["runs", "show", &run_id(&folder), "--format", "jsonl"]);
    assert_eq!(told(&call.run().with_code(0).stdout()), expected);

    // The other way round: a list in another order is done already, and what is gone is told.
    let folder = folder.file("list", list(&["d", "c", "bad", "b", "a", "new"]));
    let call = Ratchet::within(&folder).args(["resume", "--format", "jsonl"]);
    let ended = call.run().with_code(100);
    assert_eq!(ran(&folder), ["bad"]);
    assert!(
        ended.stderr().contains("2 no longer there"),
        "{}",
        ended.stderr()
    );
}

#[test]
fn a_map_with_a_warm_filter_is_resumed_by_items() {
    let folder = Folder::new().file("list", "a\nb\n").file(
        "filter.sh",
        "while read -r item; do echo \"$item\" >> ran; echo \"out $item\"; done\n",
    );
    let words = [
        "map",
        "-q",
        "--warm",
        "-j1",
        "-a",
        "list",
        "--",
        "sh",
        "filter.sh",
    ];
    let _ = Ratchet::within(&folder).args(words).run().with_code(0);
    assert_eq!(ran(&folder), ["a", "b"]);
    let folder = folder.file("list", "new\na\nb\n");
    let ended = Ratchet::within(&folder).args(["resume", "-q", "-k"]).run();
    assert_eq!(ended.with_code(0).stdout(), "out new\nout a\nout b\n");
    assert_eq!(ran(&folder), ["new"]);
}

#[test]
fn a_command_with_the_job_number_changes_when_its_item_moves() {
    let folder = Folder::new().file("list", "a\n");
    let script = "echo {#} >> ran";
    let call = Ratchet::within(&folder).args(["map", "-a", "list", "--", "sh", "-c", script, "{}"]);
    let _ = call.run().with_code(0);
    let folder = folder.file("list", "new\na\n");
    let ended = Ratchet::within(&folder).args(["resume"]).run().with_code(0);
    assert!(
        ended.stderr().contains("1 changed since, 1 new"),
        "{}",
        ended.stderr()
    );
    assert_eq!(ran(&folder), ["1", "1", "2"]);
}

#[test]
fn items_with_the_same_beginning_have_result_folders_of_their_own() {
    let folder = Folder::new();
    let long = "x".repeat(255);
    let items = [long.clone(), format!("{long}stdout"), format!("{long}2")];
    let call =
        Ratchet::within(&folder).args(["map", "-q", "--results", "kept", "--", "echo", ":::"]);
    let _ = call.args(&items).run().with_code(0);
    let read = |below: &str| {
        let path = folder.at(&format!("kept/1/{long}{below}/stdout"));
        std::fs::read_to_string(path).expect("a file")
    };
    assert_eq!(read(""), format!("{}\n", items[0]));
    assert_eq!(read("/+-stdout"), format!("{}\n", items[1]));
    assert_eq!(read("/+-2"), format!("{}\n", items[2]));
}

/// Returns the greatest amount of memory that a process has had so far, in KiB.
fn peak(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    peak.unwrap_or_default()
}

#[test]
fn a_line_of_any_length_passes_through_in_bounded_memory() {
    const LENGTH: u64 = 100_000_000;
    let folder = Folder::new();
    let script = format!(
        "echo begin; head -c {LENGTH} /dev/zero | tr '\\0' x; echo; echo end; until test -e go; do sleep 0.05; done"
    );
    let out = std::fs::File::create(folder.at("out")).expect("a file");
    let call = Ratchet::within(&folder).args([
        "map",
        "-q",
        "--line-buffer",
        "--",
        "sh",
        "-c",
        &script,
        ":::",
        "a",
    ]);
    let running = call.stdout_to(out).start();
    running.until("all of it is written", || {
        let written = std::fs::metadata(folder.at("out"));
        written.is_ok_and(|written| written.len() == LENGTH + 11)
    });
    let peak = peak(running.id());
    std::fs::write(folder.at("go"), "").expect("a file");
    let _ = running.wait().with_code(0);
    assert!(0 < peak && peak < 80 * 1024, "{peak} KiB");
}

#[test]
fn the_mark_at_the_beginning_of_a_text_is_no_part_of_the_first_item() {
    let folder = Folder::new().file("items", "\u{feff}a\nb\n").file(
        "jobs.yaml",
        "jobs: [{ for_each: items, run: [printf, '<%s>', '{}'] }]\n",
    );
    let call = |words: &[&str]| {
        let call = Ratchet::within(&folder).args(words).stdin("\u{feff}a\nb\n");
        call.run().with_code(0).stdout()
    };
    let printed = call(&[
        "map", "-q", "-k", "-a", "-", "-a", "items", "--", "printf", "<%s>",
    ]);
    assert_eq!(printed, "<a><b><a><b>");
    let results = call(&["run", "-q", "-k", "jobs.yaml"]);
    assert!(results.contains("<a>"), "{results}");
    // Items that do not end with a newline are taken as they are.
    assert_eq!(
        call(&["map", "-q", "-0", "--", "printf", "%s"]),
        "\u{feff}a\nb\n"
    );
}
