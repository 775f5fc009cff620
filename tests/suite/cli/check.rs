//! `ratchet check`: what is wrong with a file, all at once.

use std::os::unix::fs::symlink;

use ratchet_tests::{Folder, Ratchet};
use serde_json::Value;

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

fn check(folder: &Folder, words: &[&str]) -> Ratchet {
    Ratchet::within(folder).args(["check"]).args(words)
}

#[test]
fn a_job_file_in_yaml_json_and_toml_means_the_same() {
    let folder = Folder::new()
        .file("jobs.yaml", "jobs: [{ id: a, run: [ls, -l] }]\n")
        .file("jobs.yml", "jobs: [{ id: a, run: [ls, -l] }]\n")
        .file("jobs.json", r#"{"jobs":[{"id":"a","run":["ls","-l"]}]}"#)
        .file("jobs.toml", "[[jobs]]\nid = 'a'\nrun = ['ls', '-l']\n")
        .file("jobs.jsonl", "{\"id\":\"a\",\"run\":[\"ls\",\"-l\"]}\n");
    for name in [
        "jobs.yaml",
        "jobs.yml",
        "jobs.json",
        "jobs.toml",
        "jobs.jsonl",
    ] {
        let ended = check(&folder, &[name, "--format", "json"]).run();
        let document: Value =
            serde_json::from_slice(&ended.with_code(0).quiet().stdout).expect("it is JSON");
        assert_eq!(document["v"], 1);
        assert_eq!(document["file"], name);
        assert_eq!(
            (&document["jobs"], &document["commands"]["ls"]),
            (&1.into(), &1.into())
        );
    }
}

#[test]
fn check_sums_up_a_valid_file() {
    let folder = Folder::new().file("jobs.yaml", JOBS);
    let ended = check(&folder, &["-j", "4", "jobs.yaml"]).run().with_code(0);
    insta::assert_snapshot!(ended.quiet().stdout());
    let ended = check(&folder, &["--format", "json", "jobs.yaml"]).run();
    let summary: Value = serde_json::from_slice(&ended.with_code(0).stdout).expect("it is JSON");
    assert_eq!(
        (&summary["tasks"]["resize"], &summary["depth"]),
        (&2.into(), &3.into())
    );
}

#[test]
fn check_reports_all_errors_of_a_file_with_their_places() {
    let folder = Folder::new().file(
        "jobs.yaml",
        "workers:\n  resize: { command: [cat], sise: 4 }\njobs:\n  \
         - { id: a, task: resise, timeout: 30 }\n  \
         - { id: a, run: ls, needs: [b] }\n",
    );
    let ended = check(&folder, &["-j", "4", "jobs.yaml"]).run().with_code(2);
    assert!(ended.stdout.is_empty());
    insta::assert_snapshot!(ended.stderr());
}

#[test]
fn a_syntax_error_in_toml_is_reported_with_its_place() {
    let text = "[[jobs]]\nid = 'a'\nrun = ['ls']\ntimout = '5s'\n";
    let folder = Folder::new().file("jobs.toml", text);
    let said = check(&folder, &["jobs.toml"]).run().with_code(2).stderr();
    assert!(
        said.contains("jobs.toml:4:1") && said.contains("did you mean `timeout`?"),
        "{said}"
    );
}

#[test]
fn a_circle_of_needs_is_named_in_order() {
    let folder = Folder::new().file(
        "jobs.yaml",
        "jobs:\n  - { id: a, run: ls, needs: [c] }\n  - { id: b, run: ls, needs: [a] }\n  \
         - { id: c, run: ls, needs: [b] }\n",
    );
    let said = check(&folder, &["jobs.yaml"]).run().with_code(2).stderr();
    assert!(said.contains("a -> c -> b -> a"), "{said}");
}

#[test]
fn a_job_with_more_slots_than_there_are_is_refused_and_the_setting_named() {
    let folder = Folder::new().file("jobs.yaml", "jobs: [{ run: ls, slots: 3 }]\n");
    let said = check(&folder, &["-j2", "jobs.yaml"]).run().with_code(2);
    assert!(said.stderr().contains("can never run with 2 in all"));
    let _ = check(&folder, &["--jobs", "3", "jobs.yaml"])
        .run()
        .with_code(0);
    let set = check(&folder, &["jobs.yaml"]).env("RATCHET_JOBS", "2");
    let _ = set.run().with_code(2);
    let folder = folder.file("ratchet.toml", "jobs = 2\n");
    let _ = check(&folder, &["jobs.yaml"]).run().with_code(2);
    let _ = check(&folder, &["-j3", "jobs.yaml"]).run().with_code(0);
}

#[test]
fn a_typed_worker_serves_every_task_of_a_stream() {
    let line = "{\"task\":\"a\",\"input\":1}\n";
    let folder = Folder::new().file("jobs.jsonl", line.repeat(2));
    let said = check(&folder, &["jobs.jsonl"]).run().with_code(2).stderr();
    assert!(said.contains("no worker serves `a`"), "{said}");
    for words in [
        &["-w", "cat -u", "jobs.jsonl"][..],
        &["--worker", "cat -u", "--protocol", "lines", "jobs.jsonl"],
        &["--worker", "cat -u", "--protocol", "ratchet", "jobs.jsonl"],
    ] {
        let said = check(&folder, words).run().with_code(0).quiet().stdout();
        assert!(
            said.contains("a: 2 jobs") && said.contains("`cat -u`"),
            "{said}"
        );
    }
    let said = check(&folder, &["-w", "'cat", "jobs.jsonl"]).run();
    let said = said.with_code(2).stderr();
    assert!(said.contains("is opened and never closed"), "{said}");
    let _ = check(&folder, &["--protocol", "lines", "jobs.jsonl"])
        .run()
        .with_code(2);
}

#[test]
fn check_reports_every_bad_line_of_a_stream_from_stdin() {
    let good = "{\"run\":[\"ls\"]}\n".repeat(1000);
    let call = check(&Folder::new(), &["-"]).stdin(good.clone());
    assert!(call.run().with_code(0).stdout().contains("1000 jobs"));

    let call = check(&Folder::new(), &["-"]).stdin(format!("{good}{{\"rn\":1}}\n{good}no\n"));
    let said = call.run().with_code(2).stderr();
    assert!(
        said.contains("<stdin>:1001:2") && said.contains("<stdin>:2002:1"),
        "{said}"
    );
    assert!(
        said.ends_with("ratchet: 2 lines of - are not valid jobs\n"),
        "{said}"
    );
}

#[test]
fn a_file_without_jobs_is_nothing_to_do() {
    let folder = Folder::new()
        .file("empty.jsonl", "")
        .file("empty.yaml", "")
        .file("none.toml", "jobs = []\n");
    for name in ["empty.jsonl", "empty.yaml", "none.toml", "-"] {
        let ended = check(&folder, &[name]).run().with_code(4);
        assert!(ended.stdout.is_empty());
        assert!(
            ended.stderr().ends_with("has no jobs: nothing to do\n"),
            "{name}"
        );
    }
}

#[test]
fn the_error_for_a_file_that_cannot_be_read_names_it() {
    let folder = Folder::new().file("jobs.yaml", JOBS).file("jobs.txt", "");
    std::fs::create_dir(folder.at("folder.yaml")).expect("it is made");
    // Opens, and then fails, for whoever runs the tests.
    for name in ["failing.yaml", "failing.jsonl"] {
        symlink("/proc/self/mem", folder.at(name)).expect("it is made");
    }
    for (name, said) in [
        (
            "jobs.yml",
            "there is no file `jobs.yml`; did you mean `jobs.yaml`?",
        ),
        ("folder.yaml", "`folder.yaml` is a folder, not a job file"),
        ("jobs.txt", "the format of"),
        (
            "failing.yaml",
            "`failing.yaml` cannot be read\n  because: Input/output error",
        ),
        (
            "failing.jsonl",
            "`failing.jsonl` cannot be read\n  because: Input/output error",
        ),
    ] {
        let ended = check(&folder, &[name]).run().with_code(2);
        assert!(ended.stdout.is_empty());
        assert!(ended.stderr().contains(said), "{name}: {}", ended.stderr());
    }
}

#[test]
fn a_binary_file_is_refused_with_the_place_of_its_first_invalid_byte() {
    let noise: Vec<u8> = (0..=255_u8)
        .map(|byte| byte.wrapping_mul(7))
        .cycle()
        .take(5000)
        .collect();
    let document = [b"jobs: [{ run: \"", &noise[..]].concat();
    let lines = [b"{\"run\":[\"ls\"]}\n", &noise[..]].concat();
    let folder = Folder::new()
        .file("jobs.yaml", &document)
        .file("jobs.toml", &document)
        .file("jobs.json", &document)
        .file("jobs.jsonl", lines)
        .file("wide.json", b"\xff\xfe{\0}\0");
    for name in ["jobs.yaml", "jobs.toml", "jobs.json"] {
        let said = check(&folder, &[name]).run().with_code(2).stderr();
        assert!(said.contains("this is not UTF-8"), "{said}");
        assert!(said.contains(&format!("{name}:1:")), "{said}");
        assert!(!said.contains('\x07') && !said.contains('\x1b'), "{said:?}");
    }
    let said = check(&folder, &["jobs.jsonl"]).run().with_code(2).stderr();
    assert!(said.contains("jobs.jsonl:2:"), "{said}");
    assert!(!said.contains('\x07') && !said.contains('\x1b'), "{said:?}");
    let said = check(&folder, &["wide.json"]).run().with_code(2).stderr();
    assert!(
        said.contains("it looks like UTF-16; save it as UTF-8"),
        "{said}"
    );
}

#[test]
fn keys_of_other_programs_are_answered_with_those_of_ratchet() {
    let folder = Folder::new().file(
        "jobs.yaml",
        "\
jobs:
  - { name: a, cmd: ls }
  - { id: b, command: [ls], depends_on: [a] }
  - { id: c, run: [ls], retry: { attempts: 3 } }
",
    );
    let ended = check(&folder, &["jobs.yaml"]).run().with_code(2);
    let said = ended.stderr();
    for (theirs, ours) in [
        ("name", "id"),
        ("cmd", "run"),
        ("command", "run"),
        ("depends_on", "needs"),
        ("attempts", "max"),
    ] {
        let at = said.find(&format!("unknown key `{theirs}`")).expect(&said);
        let help = said[at..].lines().find(|line| line.contains("help:"));
        assert!(
            help.expect(&said)
                .contains(&format!("did you mean `{ours}`?")),
            "{said}"
        );
    }
    assert_eq!(said.matches("error:").count(), 5, "{said}");
    let folder = Folder::new().file("jobs.yaml", "steps: [{ run: ls }]\n");
    let said = check(&folder, &["jobs.yaml"]).run().with_code(2).stderr();
    assert!(said.contains("did you mean `jobs`?"), "{said}");
}

#[test]
fn a_single_mistake_makes_a_single_error() {
    for (text, message, help) in [
        (
            "jobs: [{ run: ls, timeout: 1 minute }]\n",
            "`timeout`: `1 minute` has an unknown unit `minute`",
            "did you mean `1m`?",
        ),
        (
            "limits: { gpu: 2 }\njobs: [{ run: ls, limits: [gpu] }]\n",
            "expected a map like {max: .., rate: ..}, found a number",
            "write `{max: 2}` for so many at a time",
        ),
        (
            "limits: { api: 10/s }\njobs: [{ run: ls, limits: [api] }]\n",
            "found text",
            "write `{rate: 10/s}`",
        ),
        (
            "limits: { gpu: { max: 2 } }\njobs: [{ run: ls, limits: { gpu: 1 } }]\n",
            "expected a list, found a map",
            "write `[gpu]`",
        ),
        (
            "workers: { w: { command: cat, max_message: 0B } }\njobs: [{ task: w }]\n",
            "`max_message`: this size cannot be 0",
            "",
        ),
        (
            "workers: { w: { command: cat, stray: ignore } }\njobs: [{ task: w }]\n",
            "`stray`: unknown word `ignore`",
            "known: log, fail, kill",
        ),
    ] {
        let folder = Folder::new().file("jobs.yaml", text);
        let said = check(&folder, &["jobs.yaml"]).run().with_code(2).stderr();
        assert_eq!(said.matches("error:").count(), 1, "{text}: {said}");
        assert!(
            said.contains(message) && said.contains(help),
            "{text}: {said}"
        );
    }
}

#[test]
fn a_json_file_and_a_stream_accept_the_same_inputs() {
    let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
    for input in [deep.as_str(), r#""\ud800""#, r#"{"a":1,"a":2}"#, "1e999"] {
        let job = format!(r#"{{"task":"w","input":{input}}}"#);
        let workers = r#""workers":{"w":{"command":"cat"}}"#;
        let folder = Folder::new()
            .file("jobs.json", format!(r#"{{{workers},"jobs":[{job}]}}"#))
            .file("jobs.jsonl", format!("{{{workers}}}\n{job}\n"));
        for name in ["jobs.json", "jobs.jsonl"] {
            let _ = check(&folder, &[name]).run().with_code(0);
        }
    }
    // Both commands refuse half of a character where a text is needed.
    let job = r#"{"run":"ls","host":"\ud800"}"#;
    let folder = Folder::new()
        .file("jobs.json", format!(r#"{{"jobs":[{job}]}}"#))
        .file("jobs.jsonl", job);
    for name in ["jobs.json", "jobs.jsonl"] {
        let said = check(&folder, &[name]).run().with_code(2).stderr();
        assert!(
            said.contains("half of a character") && said.contains("\n1 |"),
            "{said}"
        );
    }
}

#[test]
fn errors_before_a_syntax_error_are_reported_with_it() {
    let folder = Folder::new().file(
        "jobs.yaml",
        "jobs:\n  - { run: ls, taks: a }\n  - { run: ls\n",
    );
    let said = check(&folder, &["jobs.yaml"]).run().with_code(2).stderr();
    assert!(
        said.contains("unknown key `taks`") && said.contains("jobs.yaml:2:"),
        "{said}"
    );
    assert_eq!(said.matches("error:").count(), 2, "{said}");
}

#[test]
fn sections_after_the_jobs_are_read() {
    let jobs = "jobs: [{ id: a, task: w, limits: [db] }, { id: b, run: ls, needs: [a] }]\n";
    let sections = "workers: { w: { command: cat } }\nlimits: { db: { max: 2 } }\n";
    let folder = Folder::new().file("jobs.yaml", format!("{jobs}{sections}"));
    let _ = check(&folder, &["jobs.yaml"]).run().with_code(0).quiet();
    let folder = Folder::new().file(
        "jobs.yaml",
        format!("{jobs}{}", sections.replace("db", "bd")),
    );
    let said = check(&folder, &["jobs.yaml"]).run().with_code(2).stderr();
    assert!(
        said.contains("unknown limit `db`") && said.contains("did you mean `bd`?"),
        "{said}"
    );
}

#[test]
fn a_part_of_a_file_is_checked_with_the_resources_that_are_typed() {
    let jobs = "jobs:
  - { id: db-1, run: ['true'], needs: [base] }
  - { id: web, run: ['true'], resources: { gpu: 1 } }
  - { id: base, run: ['true'] }
";
    let folder = Folder::new().file("jobs.yaml", jobs);
    let check = |flags: &[&str]| {
        let call = Ratchet::within(&folder).args(["check", "jobs.yaml"]);
        call.args(flags.iter().copied()).run()
    };
    assert!(check(&[]).with_code(2).stderr().contains("gpu"));
    let all = check(&["--resource", "gpu=0,1"]).with_code(0).stdout();
    assert!(
        all.contains("3 jobs would run") && all.contains("resource gpu"),
        "{all}"
    );
    let typed = ["--resource", "gpu=0,1", "--use", "gpu=1"];
    let some = check(&[&typed[..], &["--only", "db*"]].concat())
        .with_code(0)
        .stdout();
    assert!(some.contains("2 jobs would run"), "{some}");
    let some = check(&[&typed[..], &["--skip", "base", "--partition", "slice:1/1"]].concat());
    assert!(some.with_code(0).stdout().contains("1 job would run"));
    let refused = check(&["--resource", "gpu=0,1", "--use", "fpga=1"]).with_code(2);
    assert!(refused.stderr().contains("fpga"), "{}", refused.stderr());
}
