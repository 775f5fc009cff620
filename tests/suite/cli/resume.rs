//! `ratchet resume`.

use ratchet_tests::{Folder, Ratchet, Signal};

/// Three jobs: each says that it ran, and the second waits until it may go on.
fn folder() -> Folder {
    Folder::new().file(
        "jobs.yaml",
        r#"jobs:
  - { id: a, run: [sh, -c, "echo a >> ran"] }
  - { id: b, run: [sh, -c, "echo b >> ran; test -e go || sleep 1000"], needs: [a] }
  - { id: c, run: [sh, -c, "echo c >> ran"], needs: [b] }
"#,
    )
}

fn ran(folder: &Folder) -> String {
    std::fs::read_to_string(folder.at("ran")).unwrap_or_default()
}

#[test]
fn a_run_that_was_killed_goes_on_where_it_was() {
    let folder = folder();
    let call = Ratchet::within(&folder).args(["run", "jobs.yaml"]);
    let running = call.start();
    running.until("two jobs ran", || ran(&folder) == "a\nb\n");
    running.signal(Signal::Kill);
    assert_eq!(running.wait().code, None);

    let folder = folder.file("go", "");
    let call = Ratchet::within(&folder).args(["resume", "--format", "human"]);
    let ended = call.run().with_code(0);
    assert_eq!(ran(&folder), "a\nb\nb\nc\n");
    let said = ended.stderr();
    assert!(said.contains("1 had succeeded before"), "{said}");
    let lines = ended.stdout();
    let results: Vec<&str> = lines.lines().map(|line| &line[..11]).collect();
    assert_eq!(results, ["succeeded a", "succeeded b", "succeeded c"]);
    // All is done: nothing is run again.
    let _ = Ratchet::within(&folder).args(["resume"]).run().with_code(0);
    assert_eq!(ran(&folder), "a\nb\nb\nc\n");
}

#[test]
fn what_changed_is_run_again_and_what_is_gone_is_said() {
    let folder = Folder::new().file(
        "jobs.yaml",
        "jobs:\n  - { id: same, run: [echo, 1] }\n  - { id: other, run: [echo, 1] }\n  - { id: gone, run: [echo, 1] }\n",
    );
    let _ = Ratchet::within(&folder)
        .args(["run", "jobs.yaml"])
        .run()
        .with_code(0);
    let folder = folder.file(
        "jobs.yaml",
        "jobs:\n  - { id: same, run: [echo, 1] }\n  - { id: other, run: [echo, 2] }\n  - { id: more, run: [echo, 1] }\n",
    );
    let said = Ratchet::within(&folder)
        .args(["resume"])
        .run()
        .with_code(0)
        .stderr();
    let expected = "resumed: 1 had succeeded before, 1 changed since, 1 new, 1 no longer there\n";
    assert!(said.contains(expected), "{said}");
}

#[test]
fn flags_of_now_come_before_those_of_then() {
    let folder = Folder::new();
    let call =
        Ratchet::within(&folder).args(["map", "-q", "--state-dir", "state", "--timeout", "100ms"]);
    let _ = call
        .args(["--", "sleep", "{}", ":::", "0.3"])
        .run()
        .with_code(100);
    let call = Ratchet::within(&folder).args(["resume", "--state-dir", "state", "-q"]);
    let _ = call.args(["--timeout", "60s"]).run().with_code(0);
}

#[test]
fn a_rule_of_failures_that_is_typed_now_takes_the_place_of_the_one_of_then() {
    let folder = Folder::new();
    let call = |words: &[&str]| Ratchet::within(&folder).args(words).run();
    let failing = ["map", "-q", "-j1", "--halt", "now,fail=1"];
    let items = [
        "--",
        "sh",
        "-c",
        "echo {} >> ran; exit 1",
        ":::",
        "1",
        "2",
        "3",
    ];
    let _ = call(&[&failing[..], &items[..]].concat()).with_code(101);
    assert_eq!(ran(&folder), "1\n");
    let _ = call(&["resume", "-q", "-j1"]).with_code(101);
    assert_eq!(ran(&folder), "1\n1\n");
    let _ = call(&["resume", "-q", "-j1", "--max-fail", "0"]).with_code(100);
    assert_eq!(ran(&folder), "1\n1\n1\n2\n3\n");
}

#[test]
fn a_run_that_could_not_begin_is_nothing_to_go_on_with() {
    let folder = folder().file("go", "");
    let call = |words: &[&str]| Ratchet::within(&folder).args(words).run();
    let said = call(&["run", "jobs.yaml", "--memory-free", "100000TB"])
        .with_code(2)
        .stderr();
    assert!(said.contains("no job would ever start"), "{said}");
    let listed = call(&["runs"]).stdout();
    assert!(!listed.contains("interrupted"), "{listed}");
    let said = call(&["resume"]).with_code(2).stderr();
    assert!(said.contains("there is no run to go on with"), "{said}");
    // What was begun before is still there to be gone on with.
    let _ = call(&["run", "-q", "jobs.yaml"]).with_code(0);
    let _ = call(&["resume", "--memory-free", "100000TB"]).with_code(2);
    let _ = call(&["resume", "-q"]).with_code(0);
    assert_eq!(ran(&folder), "a\nb\nc\n");
}

#[test]
fn jobs_from_stdin_are_given_once_more() {
    let folder = Folder::new();
    let lines = "{\"run\":[\"sh\",\"-c\",\"echo a >> ran\"]}\n{\"run\":[\"sh\",\"-c\",\"echo b >> ran; test -e go\"]}\n";
    let call = |words: &[&str]| Ratchet::within(&folder).args(words).stdin(lines).run();
    let _ = call(&["run", "-q", "-j1"]).with_code(100);
    let folder = folder.clone().file("go", "");
    let _ = call(&["resume", "-q"]).with_code(0);
    assert_eq!(ran(&folder), "a\nb\nb\n");
}

#[test]
fn fewer_items_or_none_leave_what_is_recorded() {
    let folder = Folder::new();
    let call =
        |words: &[&str], items: &str| Ratchet::within(&folder).args(words).stdin(items).run();
    let command = ["--", "sh", "-c", "echo {} >> ran; test -e go"];
    let ended = call(&[&["map", "-j1"][..], &command[..]].concat(), "1\n2\n3\n").with_code(100);
    let said = ended.stderr();
    assert!(
        said.contains("ratchet resume ") && said.contains(" < items\n"),
        "{said}"
    );
    let folder = folder.clone().file("go", "");
    let _ = call(&["resume", "-q"], "").with_code(4);
    let _ = call(&["resume", "-q"], "1\n").with_code(0);
    assert_eq!(ran(&folder), "1\n2\n3\n1\n");
    let listed = call(&["runs"], "").with_code(0).stdout();
    assert!(listed.contains("\tinterrupted\t"), "{listed}");
    let _ = call(&["resume", "-q"], "1\n2\n3\n").with_code(0);
    assert_eq!(ran(&folder), "1\n2\n3\n1\n2\n3\n");
    let listed = call(&["runs"], "").with_code(0).stdout();
    assert!(listed.contains("\tfinished\t3\t3\t0\t"), "{listed}");
}

#[test]
fn what_cannot_be_gone_on_with_is_said() {
    let folder = Folder::new();
    let said = Ratchet::within(&folder)
        .args(["resume"])
        .run()
        .with_code(2)
        .stderr();
    assert!(
        said.starts_with("ratchet: there is no run to go on with\n"),
        "{said}"
    );
    let _ = Ratchet::within(&folder)
        .args(["resume", "1zzzzzz"])
        .run()
        .with_code(2);
}
