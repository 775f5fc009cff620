//! `ratchet check`, `schema` and `config`, as they are called from a shell.
#![expect(
    clippy::expect_used,
    reason = "a test fails when what has to happen does not"
)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// Runs it in a folder, with nothing of ours in its environment.
fn ratchet(folder: &Path, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ratchet"))
        .args(arguments)
        .current_dir(folder)
        .env("HOME", folder)
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("XDG_STATE_HOME")
        .env_remove("RATCHET_JOBS")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    // Who refuses at once does not read.
    let _ = stdin.write_all(input);
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).expect("it is written");
    }
    folder
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("it says UTF-8")
}

const JOBS: &str = "\
workers:
  resize: { command: [cat, resize.py], size: 4 }
limits:
  api: { rate: 10/s, burst: 2 }
jobs:
  - { id: a, task: resize, input: { path: a.png } }
  - { id: b, task: resize, needs: [a], limits: [api] }
  - { id: c, run: [ls, -l], needs: [b] }
";

#[test]
fn a_sound_file_is_summed_up() {
    let folder = folder(&[("jobs.yaml", JOBS)]);
    let output = ratchet(folder.path(), &["check", "jobs.yaml"], b"");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    insta::assert_snapshot!(text(&output.stdout));
    let output = ratchet(
        folder.path(),
        &["check", "--format", "json", "jobs.yaml"],
        b"",
    );
    let summary: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("it is one document");
    assert_eq!(summary["tasks"]["resize"], 2);
    assert_eq!(summary["depth"], 3);
}

#[test]
fn a_faulty_file_is_refused_on_stderr_and_nothing_is_said_on_stdout() {
    let folder = folder(&[(
        "jobs.toml",
        "[[jobs]]\nid = \"a\"\nrun = [\"ls\"]\ntimout = \"5s\"\n",
    )]);
    let output = ratchet(folder.path(), &["check", "jobs.toml"], b"");
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    insta::assert_snapshot!(text(&output.stderr));
}

#[test]
fn a_stream_is_read_to_its_end() {
    let folder = folder(&[]);
    let check = ["check", "--worker", "cat", "-"];
    let good = "{\"task\":\"a\"}\n".repeat(3);
    let output = ratchet(folder.path(), &check, good.as_bytes());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("a: 3 jobs"));

    let bad = format!("{good}{{\"tsk\":1}}\n{good}nonsense\n");
    let output = ratchet(folder.path(), &check, bad.as_bytes());
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(
        said.contains("<stdin>:4:2") && said.contains("<stdin>:8:1"),
        "{said}"
    );
    assert!(said.contains("2 of the lines of - make no job"), "{said}");
}

#[test]
fn what_has_no_jobs_is_nothing_to_do() {
    let folder = folder(&[("jobs.yaml", "jobs: []\n")]);
    for arguments in [["check", "jobs.yaml"], ["check", "-"]] {
        let output = ratchet(folder.path(), &arguments, b"");
        assert_eq!(output.status.code(), Some(4));
        assert!(text(&output.stderr).contains("nothing to do"));
    }
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = folder(&[("jobs.yaml", JOBS)]);
    for (file, said) in [
        (
            "jobs.yml",
            "there is no file `jobs.yml`; did you mean `jobs.yaml`?",
        ),
        (".", "is a folder"),
        ("/dev/null", "what format is"),
    ] {
        let output = ratchet(folder.path(), &["check", file], b"");
        assert_eq!(output.status.code(), Some(2), "{file}");
        assert!(
            text(&output.stderr).contains(said),
            "{}",
            text(&output.stderr)
        );
    }
}

#[test]
fn settings_count_and_flags_count_more() {
    let file = "jobs: [{ run: ls, slots: 3 }]\n";
    let folder = folder(&[("jobs.yaml", file), ("ratchet.toml", "jobs = 2\n")]);
    let output = ratchet(folder.path(), &["check", "jobs.yaml"], b"");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("can never run with 2 in all"));
    let output = ratchet(folder.path(), &["check", "-j3", "jobs.yaml"], b"");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn config_show_names_each_origin() {
    let folder = folder(&[("ratchet.toml", "retries = 3\n")]);
    let output = ratchet(folder.path(), &["config", "show"], b"");
    assert_eq!(output.status.code(), Some(0));
    let said = text(&output.stdout);
    let line = |key: &str| {
        let line = said.lines().find(|line| line.starts_with(key));
        line.expect("every key has a line")
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert!(
        line("retries").starts_with("retries 3 /") && line("retries").ends_with("ratchet.toml:1")
    );
    assert_eq!(line("prefetch"), "prefetch auto default");
    let output = ratchet(folder.path(), &["config", "show", "--json"], b"");
    let all: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one document");
    assert_eq!(all["retries"]["value"], "3");
}

#[test]
fn a_faulty_config_file_is_refused_by_whoever_reads_it() {
    let folder = folder(&[
        ("ratchet.toml", "retires = 3\n"),
        ("jobs.yaml", "jobs: [{run: ls}]\n"),
    ]);
    for arguments in [["config", "show"], ["check", "jobs.yaml"]] {
        let output = ratchet(folder.path(), &arguments, b"");
        assert_eq!(output.status.code(), Some(2));
        let said = text(&output.stderr);
        assert!(
            said.contains("did you mean `retries`?") && said.contains("ratchet.toml:1:1"),
            "{said}"
        );
    }
}

#[test]
fn schemas_are_json() {
    let folder = folder(&[]);
    for of in ["jobs", "job-lines", "config", "results", "events"] {
        let output = ratchet(folder.path(), &["schema", of], b"");
        let schema: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
        assert_eq!(
            schema["$schema"],
            "https://json-schema.org/draft/2020-12/schema"
        );
    }
    let output = ratchet(folder.path(), &["schema"], b"");
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    assert!(schema["$defs"]["a-job"]["properties"]["needs"].is_object());
}

#[test]
fn a_reader_that_has_enough_is_no_failure() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = Command::new(env!("CARGO_BIN_EXE_ratchet"))
        .arg("schema")
        .stdin(Stdio::null())
        .stdout(writer)
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty());
}
