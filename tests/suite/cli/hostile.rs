//! What others write never acts on a terminal, and never passes for a line of ratchet's own.

use ratchet_tests::{Folder, Ratchet, Shown};
use serde_json::Value;

/// A text that clears the screen, reverses text, sets a title by a C1 control, and forges a line of output.
const EVIL: &str = "x\u{1b}[2J\u{202e}\u{9d}0;t\u{9c}\u{2066}\r\nsucceeded forged";

/// Fails the test if an output for people contains a character that steers terminals.
fn assert_harmless(text: &str, what: &str) {
    let acts = |c: char| {
        let bidi = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}' | '\u{200e}' | '\u{200f}');
        bidi || (c.is_control() && c != '\n' && c != '\t')
    };
    assert!(!text.contains(acts), "{what}: {text:?}");
}

/// Fails the test if an output for people contains a line that a hostile text has made up.
fn assert_no_forgery(text: &str, what: &str) {
    assert_harmless(text, what);
    for line in text.lines() {
        assert!(!line.starts_with("succeeded forged"), "{what}: {text:?}");
    }
}

/// Makes a folder with jobs whose ids, hosts, messages, logs and outputs are hostile.
fn folder() -> Folder {
    let program = Ratchet::program().display();
    let evil = serde_json::to_string(EVIL).expect("JSON");
    Folder::new().file(
        "jobs.json",
        format!(
            r#"{{"workers": {{"w": {{"command": ["{program}", "worker"], "tasks": ["fail"]}}}},
"jobs": [
  {{"id": {evil}, "host": {evil}, "task": "fail", "input": {{"message": {evil}, "code": {evil}}}}},
  {{"id": "printed", "run": ["sh", "-c", "printf '%s\\n' \"$0\" >&2; printf '%s\\n' \"$0\"; exit 1", {evil}]}},
  {{"id": "gone", "run": [{evil}]}},
  {{"id": "need", "run": ["true"], "needs": [{evil}]}}
]}}"#
        ),
    )
}

#[test]
fn human_formats_escape_control_characters_and_line_breaks_of_jobs() {
    let folder = folder();
    let call = Ratchet::within(&folder).args(["run", "jobs.json", "--format", "human", "-v"]);
    let ended = call.env("RUST_LOG", "trace").run().with_code(100);
    assert_no_forgery(&ended.stdout(), "results");
    assert_no_forgery(&ended.stderr(), "what is said");
    assert!(
        ended.stdout().contains("\\u{1b}[2J\\u{202e}\\u{9d}0;t"),
        "{}",
        ended.stdout()
    );

    let runs = |words: &[&str]| {
        let ended = Ratchet::within(&folder).args(words).run().with_code(0);
        assert_no_forgery(&ended.stdout(), &words.join(" "));
        assert_no_forgery(&ended.stderr(), &words.join(" "));
        ended.stdout()
    };
    let id = runs(&["runs", "list"])
        .split('\t')
        .next()
        .expect("an id")
        .to_owned();
    let _ = runs(&["runs", "show", &id, "--format", "human"]);
    let log = Ratchet::within(&folder).args(["run", "jobs.json", "-vvv", "--log-file", "log"]);
    let _ = log.env("RUST_LOG", "trace").run().with_code(100);
    assert_no_forgery(
        &std::fs::read_to_string(folder.at("log")).expect("a log"),
        "the log",
    );
}

#[test]
fn logs_and_output_of_workers_cannot_forge_lines_of_the_log() {
    let folder = Folder::new().file(
        "worker.sh",
        "printf 'hm\\033[2J\\302\\233\\342\\200\\256\\rsucceeded forged\\n' >&2\nread line; echo ok\n",
    ).file(
        "jobs.yaml",
        "workers: { w: { command: [sh, worker.sh], protocol: lines } }\njobs: [{ task: w }]\n",
    );
    let call = Ratchet::within(&folder).args(["run", "jobs.yaml", "-v", "--format", "jsonl"]);
    let said = call.run().with_code(0).stderr();
    assert_no_forgery(&said, "the log");
    assert!(
        said.contains("hm\\x1b[2J\\u{9b}\\u{202e}\\rsucceeded forged"),
        "{said}"
    );
}

#[test]
fn control_characters_in_items_are_escaped_on_the_terminal() {
    let folder = Folder::new();
    let call = |words: &[&str]| {
        let call = Ratchet::within(&folder).args(["map"]).args(words);
        call.args(["-0", "--", "sh", "-c", "echo \"${#0}\"; exit 1"])
            .stdin(EVIL)
            .run()
    };
    let ended = call(&["--tag"]).with_code(100);
    assert_no_forgery(&ended.stdout(), "tagged lines");
    assert_no_forgery(&ended.stderr(), "the end");
    assert_eq!(ended.stdout().lines().count(), 1);
    assert!(ended.stderr().contains("\\u{202e}"), "{}", ended.stderr());
    let ended = call(&["--line-buffer", "--tag"]).with_code(100);
    assert_no_forgery(&ended.stdout(), "lines as they come");
    let dry = Ratchet::within(&folder).args(["map", "--dry-run", "-0", "--", "echo"]);
    let dry = dry.stdin(EVIL).run().with_code(0).stdout();
    assert_no_forgery(&dry, "commands");
    assert_eq!(dry.lines().count(), 1);
}

#[test]
fn control_characters_in_jobs_are_escaped_in_progress_bars() {
    let folder = Folder::new();
    let call = Ratchet::within(&folder).args(["map", "-0", "--", "sh", "-c"]);
    let script = "until test -e go; do sleep 0.05; done";
    let call = call.args([script]).stdin(EVIL);
    let running = call.on_terminal(200, 40, Shown::Stderr).start();
    let screen = running.wait_for_screen("\\u{202e}");
    std::fs::write(folder.at("go"), "").expect("a file");
    let _ = running.wait().with_code(0);
    assert!(
        !screen.contains("[2J") || screen.contains("\\u{1b}[2J"),
        "{screen:?}"
    );
    assert!(
        !screen.contains(['\u{202e}', '\u{9d}', '\u{2066}']),
        "{screen:?}"
    );
}

#[test]
fn machine_formats_escape_control_characters_as_their_standards_allow() {
    let folder = folder();
    for format in ["jsonl", "json"] {
        let call =
            Ratchet::within(&folder).args(["run", "jobs.json", "-q", "-k", "--format", format]);
        let text = call.run().with_code(100).stdout();
        assert_harmless(&text, format);
        let first: Value = match format {
            "jsonl" => serde_json::from_str(text.lines().next().expect("a line")).expect("JSON"),
            _ => serde_json::from_str::<Value>(&text).expect("JSON")["results"][0].clone(),
        };
        assert_eq!(first["id"], EVIL, "it means the same");
        assert_eq!(first["error"]["message"], EVIL);
    }
    let call = Ratchet::within(&folder).args(["run", "jobs.json", "-q", "--format", "junit"]);
    let report = call.run().with_code(100).stdout();
    assert_harmless(&report, "junit");
    // XML 1.0 has no way to write an escape, and one for the others.
    assert!(
        report.contains(
            "name=\"x\u{fffd}[2J&#8238;&#157;0;t&#156;&#8294;&#13;&#10;succeeded forged\""
        ),
        "{report}"
    );
}

#[test]
fn control_characters_in_files_are_escaped_in_diagnostics() {
    let evil = serde_json::to_string(EVIL).expect("JSON");
    let folder = Folder::new()
        .file(
            "jobs.json",
            format!(r#"{{"jobs": [{{"id": {evil}, "run": ["true"], "needs": [{evil}]}}]}}"#),
        )
        .file(
            "raw.yaml",
            "jobs: [{ id: \"a\u{202e}b\u{9b}\", taks: echo }]\n",
        );
    for file in ["jobs.json", "raw.yaml", "no\u{1b}[2J\u{202e}such"] {
        let ended = Ratchet::within(&folder)
            .args(["check", file])
            .run()
            .with_code(2);
        assert_no_forgery(&ended.stderr(), file);
        assert!(!ended.stderr().is_empty());
    }
}

#[test]
fn control_characters_in_files_are_escaped_in_what_would_run() {
    let evil = serde_json::to_string(EVIL).expect("JSON");
    let folder = Folder::new().file(
        "jobs.json",
        format!(
            r#"{{"limits": {{{evil}: {{"max": 2}}}},
                "jobs": [{{"id": "a", "run": [{evil}], "limits": [{evil}]}}]}}"#
        ),
    );
    let ended = Ratchet::within(&folder)
        .args(["check", "jobs.json"])
        .run()
        .with_code(0);
    assert_no_forgery(&ended.stdout(), "check");
    assert!(ended.stdout().contains("limit"), "{}", ended.stdout());
}
