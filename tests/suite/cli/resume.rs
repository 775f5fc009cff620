//! `ratchet resume`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::time::{Duration, SystemTime};

use ratchet_caching::{Clock, SystemClock};
use ratchet_runtime::{Durability, Payload, RunStore};
use ratchet_tests::{Folder, Ratchet, Signal};

/// Makes a folder with three jobs that each record that they ran. The second one waits for a file.
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
    fs::read_to_string(folder.at("ran")).unwrap_or_default()
}

/// Runs the jobs of the file, kills ratchet in the second one, and lets that one end when it is run again.
fn killed_in_the_second_job(folder: Folder) -> Folder {
    let running = Ratchet::within(&folder).args(["run", "jobs.yaml"]).start();
    running.until("two jobs ran", || ran(&folder) == "a\nb\n");
    running.signal(Signal::Kill);
    assert_eq!(running.wait().code, None);
    folder.file("go", "")
}

#[test]
fn a_killed_run_is_resumed_where_it_stopped() {
    let folder = killed_in_the_second_job(folder());
    let call = Ratchet::within(&folder).args(["resume", "--format", "human"]);
    let ended = call.run().with_code(0);
    assert_eq!(ran(&folder), "a\nb\nb\nc\n");
    let said = ended.stderr();
    assert!(said.contains("1 had succeeded before"), "{said}");
    let lines = ended.stdout();
    let results: Vec<&str> = lines.lines().map(|line| &line[..11]).collect();
    assert_eq!(results, ["succeeded a", "succeeded b", "succeeded c"]);
    // All jobs are done, so nothing is run again.
    let _ = Ratchet::within(&folder).args(["resume"]).run().with_code(0);
    assert_eq!(ran(&folder), "a\nb\nb\nc\n");
}

#[test]
fn the_summary_of_a_resumed_run_divides_all_jobs_by_the_time_of_all_parts() {
    let folder = Folder::new().file(
        "jobs.yaml",
        r#"jobs:
  - { id: a, run: [sh, -c, "sleep 2; echo a >> ran"] }
  - { id: b, run: [sh, -c, "echo b >> ran; test -e go || sleep 1000"], needs: [a] }
"#,
    );
    let folder = killed_in_the_second_job(folder);
    let call = Ratchet::within(&folder).args(["resume", "--format", "json"]);
    let resumed = call.run().with_code(0).stdout();
    let shown = Ratchet::within(&folder).args(["runs", "show", "--format", "json"]);
    let shown = shown.run().with_code(0).stdout();
    for text in [resumed, shown] {
        let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let summary = &document["summary"];
        let elapsed = summary["elapsed_ms"].as_f64().expect("a number");
        // The first part alone took two seconds.
        assert!(elapsed >= 2_000.0, "{summary}");
        let throughput = summary["throughput"].as_f64().expect("a number");
        assert!(
            (throughput * elapsed / 1_000.0 - 2.0).abs() < 0.01,
            "{summary}"
        );
    }
}

#[test]
fn resume_runs_changed_jobs_again_and_reports_jobs_that_are_gone() {
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
fn flags_given_to_resume_override_those_of_the_first_run() {
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
fn each_term_given_to_resume_overrides_that_of_the_first_run() {
    let folder = Folder::new().file(
        "jobs.yaml",
        "jobs: [{ run: [sh, -c, 'echo $RATCHET_GPU > gpu; test -e go'] }]\n",
    );
    let call = |words: &str| {
        let call = Ratchet::within(&folder).args(words.split(' '));
        call.run()
    };
    let _ = call("run -q jobs.yaml --resource gpu=0,1 --use gpu=1").with_code(100);
    let read = || fs::read_to_string(folder.at("gpu")).expect("the job ran");
    assert_eq!(read(), "0\n");
    let _ = call("resume -q --use gpu=2").with_code(100);
    assert_eq!(read(), "0,1\n");
    let _ = call("resume -q --resource gpu=7,8").with_code(100);
    assert_eq!(read(), "7\n");
    for (words, reason) in [
        ("resume -q --use license=1", "license"),
        ("resume -q --limit nope", "no limit of that name is defined"),
        ("resume -q --on nohost.invalid,@nogroup", "nogroup"),
        ("resume -q --sshloginfile nofile", "nofile"),
        ("resume -q -i nofile.ini", "nofile.ini"),
        ("resume -q --keep-remote", "--keep-remote has no effect"),
    ] {
        let said = call(words).with_code(2).stderr();
        assert!(said.contains(reason), "{words}: {said}");
    }
}

#[test]
fn a_job_that_was_killed_for_its_memory_gets_more_when_the_run_is_resumed() {
    let folder = Folder::new().file(
        "jobs.yaml",
        "jobs: [{ run: [python3, -c, 'import time; x = bytearray(80000000); time.sleep(1)'] }]\n",
    );
    let call = |words: &str| Ratchet::within(&folder).args(words.split(' ')).run();
    let _ = call("run -q jobs.yaml --job-memory 30MiB").with_code(100);
    let _ = call("resume -q --job-memory 300MiB").with_code(0);
}

#[test]
fn a_limit_given_to_resume_replaces_the_one_of_its_name() {
    let folder = Folder::new();
    let call = |words: &str| Ratchet::within(&folder).args(words.split(' ')).run();
    // By the first limit, the second job would start an hour after the first.
    let _ =
        call("map -q -j1 --halt now,fail=1 --limit x=1/h --limit y=9 -- test -e {} ::: go go go")
            .with_code(102);
    let folder = folder.clone().file("go", "");
    let _ = Ratchet::within(&folder)
        .args(["resume", "-q", "--deadline", "60s", "--limit", "x=1000/s"])
        .run()
        .with_code(0);
}

#[test]
fn a_failure_rule_given_to_resume_replaces_that_of_the_first_run() {
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
    let _ = call(&[&failing[..], &items[..]].concat()).with_code(102);
    assert_eq!(ran(&folder), "1\n");
    let _ = call(&["resume", "-q", "-j1"]).with_code(102);
    assert_eq!(ran(&folder), "1\n1\n");
    let _ = call(&["resume", "-q", "-j1", "--max-fail", "0"]).with_code(100);
    assert_eq!(ran(&folder), "1\n1\n1\n2\n3\n");
}

#[test]
fn a_run_that_could_not_begin_cannot_be_resumed() {
    let folder = folder().file("go", "");
    let call = |words: &[&str]| Ratchet::within(&folder).args(words).run();
    let said = call(&["run", "jobs.yaml", "--memory-free", "100000TB"])
        .with_code(2)
        .stderr();
    assert!(said.contains("no job would ever start"), "{said}");
    let listed = call(&["runs"]).stdout();
    assert!(!listed.contains("interrupted"), "{listed}");
    let said = call(&["resume"]).with_code(2).stderr();
    assert!(said.contains("there is no run to resume"), "{said}");
    // The run that was begun before can still be resumed.
    let _ = call(&["run", "-q", "jobs.yaml"]).with_code(0);
    let _ = call(&["resume", "--memory-free", "100000TB"]).with_code(2);
    let _ = call(&["resume", "-q"]).with_code(0);
    assert_eq!(ran(&folder), "a\nb\nc\n");
}

#[test]
fn resume_of_a_stream_reads_jobs_from_stdin_again() {
    let folder = Folder::new();
    let lines = "{\"run\":[\"sh\",\"-c\",\"echo a >> ran\"]}\n{\"run\":[\"sh\",\"-c\",\"echo b >> ran; test -e go\"]}\n";
    let call = |words: &[&str]| Ratchet::within(&folder).args(words).stdin(lines).run();
    let _ = call(&["run", "-q", "-j1"]).with_code(100);
    let folder = folder.clone().file("go", "");
    let _ = call(&["resume", "-q"]).with_code(0);
    assert_eq!(ran(&folder), "a\nb\nb\n");
}

#[test]
fn resume_with_fewer_items_or_none_keeps_what_is_recorded() {
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
    let said = call(&["resume", "-q"], "1\n").with_code(100).stderr();
    assert!(
        said.contains("2 jobs of this run that have not succeeded were not given again; give all jobs again: ratchet resume ")
            && said.ends_with(" < items\n"),
        "{said}"
    );
    assert_eq!(ran(&folder), "1\n2\n3\n1\n");
    let listed = call(&["runs"], "").with_code(0).stdout();
    assert!(listed.contains("\tinterrupted\t"), "{listed}");
    let _ = call(&["resume", "-q"], "1\n2\n3\n").with_code(0);
    assert_eq!(ran(&folder), "1\n2\n3\n1\n2\n3\n");
    let listed = call(&["runs"], "").with_code(0).stdout();
    assert!(listed.contains("\tfinished\t3\t3\t0\t"), "{listed}");
}

#[test]
fn resume_says_why_a_run_cannot_be_resumed() {
    let folder = Folder::new();
    let said = Ratchet::within(&folder)
        .args(["resume"])
        .run()
        .with_code(2)
        .stderr();
    assert!(
        said.starts_with("ratchet: there is no run to resume\n"),
        "{said}"
    );
    let _ = Ratchet::within(&folder)
        .args(["resume", "1zzzzzz"])
        .run()
        .with_code(2);
}

/// Makes a job file with a chain of jobs a, b and c, and a job x on its own.
fn chain(first: &str) -> String {
    format!(
        r#"jobs:
  - {{ id: c, run: [sh, -c, "echo c >> ran; test -e go && cat b"], needs: [b] }}
  - {{ id: b, run: [sh, -c, "echo b >> ran; cat a > b"], needs: [a] }}
  - {{ id: a, run: [sh, -c, "echo a >> ran; echo {first} > a"] }}
  - {{ id: x, run: [sh, -c, "echo x >> ran"] }}
"#
    )
}

#[test]
fn dependents_of_a_job_that_is_redone_are_redone_and_counted_in_the_summary() {
    let folder = Folder::new().file("jobs.yaml", chain("old"));
    let call = |words: &[&str]| Ratchet::within(&folder).args(words).run();
    let _ = call(&["run", "-j1", "jobs.yaml"]).with_code(100);
    let folder = folder
        .clone()
        .file("jobs.yaml", chain("new"))
        .file("go", "");
    fs::remove_file(folder.at("ran")).expect("it is there");
    let ended = call(&["resume", "-j1", "--format", "jsonl"]).with_code(0);
    assert_eq!(ran(&folder), "a\nb\nc\n");
    let said = ended.stderr();
    let expected = "resumed: 1 had succeeded before, 1 had failed, 1 changed since, 1 dependent on what is redone\n";
    assert!(said.contains(expected), "{said}");
    let results = ended.stdout();
    let last = results.lines().find(|line| line.contains(r#""id":"c""#));
    assert!(
        last.is_some_and(|line| line.contains(r"new\n")),
        "{results}"
    );
}

/// A job that was done again by a resume that died has results after it that are older.
#[test]
fn dependents_of_a_job_that_an_interrupted_resume_redid_are_redone() {
    let slow = r#"jobs:
  - { id: a, run: [sh, -c, "echo 2a >> ran"] }
  - { id: b, run: [sh, -c, "echo b >> ran; test ! -e wait || sleep 1000"], needs: [a] }
"#;
    let folder = Folder::new().file("jobs.yaml", slow.replace("2a", "1a"));
    let call = |words: &[&str]| Ratchet::within(&folder).args(words);
    let _ = call(&["run", "-q", "jobs.yaml"]).run().with_code(0);
    let folder = folder.clone().file("jobs.yaml", slow).file("wait", "");
    let resumed = call(&["resume", "-q"]).start();
    resumed.until("a is redone", || ran(&folder) == "1a\nb\n2a\nb\n");
    resumed.signal(Signal::Kill);
    assert_eq!(resumed.wait().code, None);
    fs::remove_file(folder.at("wait")).expect("it is there");
    let _ = call(&["resume", "-q"]).run().with_code(0);
    assert_eq!(ran(&folder), "1a\nb\n2a\nb\nb\n");
}

#[test]
fn resume_without_an_id_skips_a_run_that_died_before_it_began() {
    let folder = folder().file("go", "");
    let call = |words: &[&str]| Ratchet::within(&folder).args(words).run();
    let _ = call(&["run", "jobs.yaml"]).with_code(0);
    let runs = folder.at(".local/state/ratchet/runs");
    fs::create_dir(runs.join("2zzzzzz")).expect("it is made");
    fs::create_dir(runs.join("2zzzzzy")).expect("it is made");
    fs::write(runs.join("2zzzzzy/journal"), "").expect("it is written");
    let said = call(&["resume"]).with_code(0).stderr();
    assert!(said.contains("3 had succeeded before"), "{said}");
}

/// Writes a record of a run that the user has not begun, and whose command makes a file.
fn plant(state: &Path, began: SystemTime, file: &str) -> String {
    let about = format!(r#"{{"args":["map","--","touch","{file}",":::","1"],"cwd":"/"}}"#);
    let about = Payload::from_json(&about).expect("it is JSON");
    let created = RunStore::at(state).create(began, None, about, Durability::None);
    created.expect("it is recorded").0.to_string()
}

#[test]
fn resume_without_an_id_takes_the_latest_run_even_if_the_clock_was_set_back() {
    let folder = folder();
    let state = folder.at(".local/state/ratchet");
    let later = SystemClock.now() + Duration::from_hours(48);
    let wrong = folder.at("wrong").display().to_string();
    plant(&state, later, &wrong);
    let call = |words: &[&str]| Ratchet::within(&folder).args(words).run();
    let map = [
        "map",
        "-q",
        "--",
        "sh",
        "-c",
        "echo {} >> ran; test -e go",
        ":::",
        "1",
    ];
    let _ = call(&map).with_code(100);
    let folder = folder.clone().file("go", "");
    let _ = call(&["resume", "-q"]).with_code(0);
    assert_eq!(ran(&folder), "1\n1\n");
    assert!(!folder.at("wrong").exists());
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is set");
}

#[test]
fn a_run_that_another_user_may_have_planted_is_never_resumed() {
    let folder = Folder::new();
    let state = folder.at("shared");
    let planted = folder.at("planted");
    let id = plant(&state, SystemClock.now(), &planted.display().to_string());
    let resume = |words: &[&str]| {
        let words = [&["resume", "-q", "--state-dir", "shared"], words].concat();
        Ratchet::within(&folder).args(words)
    };
    let refused = |what: &Path, why: &str| {
        for words in [&[][..], &[id.as_str()]] {
            let said = resume(words).run().with_code(2).stderr();
            let expected = format!("ratchet: `{}` is not used: {why}", what.display());
            assert!(said.starts_with(&expected), "{said}");
            assert!(said.contains("RATCHET_TRUST=/"), "{said}");
        }
        assert!(!planted.exists());
    };
    let journal = state.join(format!("runs/{id}/journal"));
    let run = journal.parent().expect("it lies in a folder").to_path_buf();
    set_mode(&state, 0o777);
    refused(&state, "it is writable by everybody");
    let call = |words: &[&str]| {
        Ratchet::within(&folder)
            .args(words)
            .args(["--state-dir", "shared"])
            .run()
    };
    for words in [&["runs"][..], &["runs", "show"]] {
        let said = call(words).with_code(2).stderr();
        assert!(
            said.contains("shared` is not used: it is writable by everybody"),
            "{said}"
        );
    }
    let map = ["map", "--state-dir", "shared", "--", "true", ":::", "1"];
    let said = Ratchet::within(&folder)
        .args(map)
        .run()
        .with_code(2)
        .stderr();
    assert!(said.contains("shared` is not used"), "{said}");
    // A run that is not recorded uses nothing of the folder.
    let unrecorded = [&["map", "--no-record"], &map[1..]].concat();
    let _ = Ratchet::within(&folder).args(unrecorded).run().with_code(0);

    set_mode(&state, 0o700);
    set_mode(&run, 0o777);
    refused(
        &journal,
        &format!("`{}` is writable by everybody", run.display()),
    );
    set_mode(&run, 0o700);
    // Only root can give a file away.
    if chown(&journal, Some(3_999_999_999), None).is_ok() {
        refused(&journal, "it belongs to user 3999999999\n");
        let _ = call(&["runs", "show"]).with_code(2);
        // The user who called sudo counts as the user.
        let shown = Ratchet::within(&folder).args(["runs", "show", "--state-dir", "shared"]);
        let _ = shown.env("SUDO_UID", "3999999999").run().with_code(0);
        assert!(!planted.exists());
    }
    set_mode(&journal, 0o666);
    let trusted = resume(&[]).env("RATCHET_TRUST", &state);
    let _ = trusted.run().with_code(0);
    assert!(planted.exists());
}
