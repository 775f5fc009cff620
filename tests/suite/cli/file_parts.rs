//! Job files that include others, setup scripts, and what jobs read from their stdin.

use ratchet_tests::{Ended, Folder, Ratchet};
use serde_json::Value;

fn run(folder: &Folder, flags: &[&str]) -> Ended {
    let call = Ratchet::within(folder).args(["run", "-k", "-j1", "--format", "jsonl"]);
    call.args(flags.iter().copied()).args(["jobs.yaml"]).run()
}

/// Returns the ids of the jobs, each with its status and what it printed.
fn told(ended: &Ended) -> Vec<String> {
    let lines = ended.stdout();
    let lines = lines.lines().map(|line| {
        let result: Value = serde_json::from_str(line).expect("it is JSON");
        let word = |value: &Value| value.as_str().unwrap_or_default().trim_end().to_owned();
        let printed = word(&result["result"]["stdout"]);
        format!(
            "{} {} {printed}",
            word(&result["id"]),
            word(&result["status"])
        )
    });
    lines.map(|line| line.trim_end().to_owned()).collect()
}

fn refused(folder: &Folder) -> String {
    run(folder, &[]).with_code(2).stderr()
}

#[test]
fn a_file_includes_others_whose_paths_are_their_own() {
    let root = "include: [sub/more.toml, other.json]
limits: { one: { max: 1 } }
defaults: { limits: [] }
jobs: [{ id: first, needs: [more-a], run: [pwd] }, { run: [echo, by number] }]
";
    let more = "include = 'deep/last.yaml'
[workers.echo]
command = ['./worker.sh']
protocol = 'lines'
[[jobs]]
id = 'more-{}'
for_each = 'items.txt'
run = ['sh', '-c', 'basename $(pwd)']
[[jobs]]
id = 'asked'
task = 'echo'
input = 'question'
";
    let last = "overrides: [{ match: 'la*', limits: [one] }]
jobs: [{ id: last, cwd: inner, run: [sh, -c, 'basename $(pwd)'] }, { run: [echo, also by number] }]
";
    let folder = Folder::new()
        .file("jobs.yaml", root)
        .file(
            "other.json",
            r#"{"jobs": [{"id": "other", "run": ["echo", "json"]}]}"#,
        )
        .file("sub/more.toml", more)
        .file("sub/items.txt", "a\n")
        .file("sub/worker.sh", "#!/bin/sh\nexec cat\n")
        .file("sub/deep/last.yaml", last)
        .file("sub/deep/inner/x", "");
    make_executable(&folder, "sub/worker.sh");
    let ended = run(&folder, &["--no-record", "-q"]).with_code(0);
    let told = told(&ended);
    let told: Vec<&str> = told.iter().map(String::as_str).collect();
    assert!(told[0].starts_with("first succeeded /"), "{told:?}");
    assert_eq!(
        told[1..],
        [
            "2 succeeded by number",
            "more-a succeeded sub",
            "asked succeeded",
            "other succeeded json",
            "last succeeded inner",
            "7 succeeded also by number",
        ]
    );
    let checked = Ratchet::within(&folder)
        .args(["check", "jobs.yaml"])
        .run()
        .with_code(0);
    assert!(
        checked.stdout().contains("7 jobs would run"),
        "{}",
        checked.stdout()
    );
}

fn make_executable(folder: &Folder, name: &str) {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.at(name), mode).expect("it is there");
}

#[test]
fn errors_name_the_file_the_line_and_the_place_in_what_was_included() {
    let root = "jobs: [{ id: a, run: ['true'] }]\ninclude: sub/more.yaml\n";
    let of = |more: &str| {
        let folder = Folder::new().file("jobs.yaml", root);
        refused(&folder.file("sub/more.yaml", more))
    };
    let error = of("# a comment\njobs: [{ id: a, run: ['true'] }]\n");
    assert!(error.contains("id `a` is used twice"), "{error}");
    assert!(error.contains("sub/more.yaml:2:14"), "{error}");
    assert!(error.contains("jobs.yaml:1:14"), "the first one: {error}");
    let error = of("\n\njobs:\n  - { id: b, rn: ['true'] }\n");
    assert!(
        error.contains("sub/more.yaml:4:14") && error.contains("^^"),
        "{error}"
    );
    let error = of("jobs: [}\n");
    assert!(error.contains("sub/more.yaml:1:8"), "{error}");
    let error = of("defaults: { timeout: 1s }\njobs: []\n");
    assert!(error.contains("sub/more.yaml:1:1"), "{error}");
    assert!(
        error.contains("`defaults` applies to the whole run"),
        "{error}"
    );
    let error = of("jobs: [{ id: b, needs: [missing], run: ['true'] }]\n");
    assert!(error.contains("sub/more.yaml:1:25"), "{error}");
    let error = of("limits: { x: { max: 1 } }\ninclude: ../third.yaml\n");
    assert!(error.contains("sub/more.yaml:2:10"), "{error}");
    assert!(
        error.contains("`../third.yaml` cannot be included: No such file"),
        "{error}"
    );
    let both = Folder::new()
        .file(
            "jobs.yaml",
            "include: [b.yaml]\nlimits: { x: { max: 1 } }\njobs: [{ run: ['true'] }]",
        )
        .file("b.yaml", "limits: { x: { max: 2 } }\n");
    let error = refused(&both);
    assert!(
        error.contains("limit `x` is declared twice") && error.contains("b.yaml:1:11"),
        "{error}"
    );
}

#[test]
fn files_that_include_each_other_are_refused_with_the_chain() {
    let folder = Folder::new()
        .file(
            "jobs.yaml",
            "include: b/one.yaml\njobs: [{ run: ['true'] }]\n",
        )
        .file("b/one.yaml", "include: [two.yaml]\n")
        .file("b/two.yaml", "include: ../b/../jobs.yaml\n");
    let error = refused(&folder);
    let chain = "these files include each other in a circle: jobs.yaml -> b/one.yaml -> b/two.yaml -> jobs.yaml";
    assert!(error.contains(chain), "{error}");
    assert!(error.contains("b/two.yaml:1:10"), "{error}");
    let own = Folder::new().file(
        "jobs.yaml",
        "include: jobs.yaml\njobs: [{ run: ['true'] }]\n",
    );
    assert!(refused(&own).contains("in a circle: jobs.yaml -> jobs.yaml"));
    let twice = Folder::new()
        .file(
            "jobs.yaml",
            "include: [b.yaml, ./b.yaml]\njobs: [{ run: ['true'] }]\n",
        )
        .file("b.yaml", "jobs: []\n");
    assert!(refused(&twice).contains("`./b.yaml` is included twice"));
    for (include, message) in [
        ("[]", "the list is empty"),
        ("lines.jsonl", "is a stream of JSON lines"),
        (
            "words.txt",
            "the format of `words.txt` cannot be told from its name",
        ),
        ("binary.yaml", "it is not UTF-8"),
        (".", "the format of"),
    ] {
        let folder = Folder::new()
            .file(
                "jobs.yaml",
                format!("include: {include}\njobs: [{{ run: ['true'] }}]\n"),
            )
            .file("lines.jsonl", "{}\n")
            .file("words.txt", "")
            .file("binary.yaml", [0x80, 0xff]);
        let error = refused(&folder);
        assert!(error.contains(message), "{include}: {error}");
    }
}

#[test]
fn a_setup_script_runs_once_before_the_jobs_that_it_is_for() {
    let jobs = "setup:
  - { match: 'db*', run: [sh, -c, 'echo >> up'], id: database }
  - { match: group(web), run: ['false'] }
  - { match: nothing*, run: [touch, never] }
jobs:
  - { id: other, run: [sh, -c, '[ ! -e up ] || echo up'] }
  - { id: db-1, run: [test, -e, up] }
  - { id: db-2, run: [test, -e, up] }
  - { id: page, group: web, run: ['true'] }
";
    let folder = Folder::new().file("jobs.yaml", jobs);
    let ended = run(&folder, &[]).with_code(100);
    let all = told(&ended);
    assert_eq!(all[0], "database succeeded");
    assert_eq!(all[1], "setup-2 failed");
    assert_eq!(
        all[3..],
        ["db-1 succeeded", "db-2 succeeded", "page skipped"]
    );
    assert!(
        ended
            .stdout()
            .contains("it needs `setup-2`, which did not succeed")
    );
    assert!(
        ended
            .stderr()
            .contains("this matches no job, so nothing is set up"),
        "{}",
        ended.stderr()
    );
    assert!(!folder.at("never").exists());
    let up = || {
        std::fs::read_to_string(folder.at("up"))
            .expect("it is there")
            .lines()
            .count()
    };
    assert_eq!(up(), 1);

    // What has succeeded is not set up again.
    let again = Ratchet::within(&folder)
        .args(["resume", "-q"])
        .run()
        .with_code(100);
    assert!(told(&again).contains(&"database succeeded".to_owned()));
    assert_eq!(up(), 1);

    // Scripts run for the jobs that are chosen, and only for these.
    let chosen = |flags: &[&str]| told(&run(&folder, &[&["--no-record", "-q"], flags].concat()));
    assert_eq!(chosen(&["--only", "other"]), ["other succeeded up"]);
    assert_eq!(
        chosen(&["--only", "db-2"]),
        ["database succeeded", "db-2 succeeded"]
    );
    assert_eq!(
        chosen(&["--skip", "database", "--skip", "page"]),
        ["other succeeded up"]
    );
    assert_eq!(
        chosen(&["--only", "db-2", "--repeat", "2"]),
        ["database succeeded", "db-2#1 succeeded", "db-2#2 succeeded"]
    );
}

#[test]
fn a_wrong_setup_script_is_refused() {
    let of = |setup: &str| {
        let jobs = format!("setup: [{setup}]\njobs: [{{ id: a, run: ['true'] }}]\n");
        refused(&Folder::new().file("jobs.yaml", jobs))
    };
    assert!(of("{ run: ['true'] }").contains("a setup script needs `match`"));
    assert!(of("{ match: a }").contains("a setup script needs `run`"));
    assert!(of("{ match: 'x(y)', run: ['true'] }").contains("`x(..)` is not known"));
    assert!(of("{ match: a, id: a, run: ['true'] }").contains("id `a` is used twice"));
    assert!(
        of("{ match: a, task: b, run: ['true'] }").contains("unknown key `task` in a setup script")
    );
}

#[test]
fn a_job_reads_a_text_a_file_or_what_another_job_has_printed() {
    let jobs = "jobs:
  - { id: text, stdin: \"a\\nb\\n\", run: [wc, -l] }
  - { id: named, stdin: { text: c }, run: cat }
  - { id: file, stdin: { file: in.txt }, run: cat }
  - { id: sorted, stdin: { job: listed }, run: sort }
  - { id: listed, run: [printf, 'z\\ny\\n'] }
  - { id: again, stdin: { job: listed }, run: [head, -n1], retry: 1 }
  - { id: none, run: cat }
";
    let folder = Folder::new()
        .file("jobs.yaml", jobs)
        .file("in.txt", "from a file");
    let ended = run(&folder, &["-q"]).with_code(0);
    assert_eq!(
        told(&ended),
        [
            "text succeeded 2",
            "named succeeded c",
            "file succeeded from a file",
            "sorted succeeded y\nz",
            "listed succeeded z\ny",
            "again succeeded z",
            "none succeeded",
        ]
    );
    let repeated = run(
        &folder,
        &["-q", "--no-record", "--repeat", "2", "--only", "sorted"],
    );
    assert_eq!(
        told(&repeated.with_code(0)),
        [
            "listed#1 succeeded z\ny",
            "sorted#1 succeeded y\nz",
            "listed#2 succeeded z\ny",
            "sorted#2 succeeded y\nz"
        ]
    );
}

#[test]
fn the_output_of_a_job_that_was_kept_is_read_when_a_run_is_resumed() {
    let jobs = "jobs:
  - { id: source, run: [sh, -c, 'echo >> ran; echo kept'] }
  - { id: reader, stdin: { job: source }, run: [sh, -c, 'cat; [ -e go ]'] }
";
    let folder = Folder::new().file("jobs.yaml", jobs);
    assert_eq!(run(&folder, &["-q"]).code, Some(100));
    std::fs::write(folder.at("go"), "").expect("it is written");
    let again = Ratchet::within(&folder)
        .args(["resume", "-q"])
        .run()
        .with_code(0);
    assert_eq!(
        told(&again),
        ["source succeeded kept", "reader succeeded kept"]
    );
    let ran = std::fs::read_to_string(folder.at("ran")).expect("it is there");
    assert_eq!(ran.lines().count(), 1);
}

#[test]
fn an_output_that_was_not_kept_whole_is_no_input() {
    let jobs = "jobs:
  - { id: binary, run: [printf, '\\200'] }
  - { id: reads, stdin: { job: binary }, run: cat }
  - { id: long, run: [head, -c, 64M, /dev/zero] }
  - { id: reads-long, stdin: { job: long }, run: cat }
";
    let folder = Folder::new().file("jobs.yaml", jobs);
    let ended = run(&folder, &["-q", "--no-record"]).with_code(100);
    let out = ended.stdout();
    assert!(
        out.contains("the output of job `binary`: its output is not text in UTF-8"),
        "{out}"
    );
    assert!(out.contains("bytes of its output were not kept"), "{out}");
}

#[test]
fn a_stdin_that_makes_no_sense_is_refused() {
    let of = |job: &str| {
        refused(&Folder::new().file("jobs.yaml", format!("jobs: [{{ id: a, {job} }}]\n")))
    };
    assert!(of("stdin: {}, run: cat").contains("this `stdin` has no text, file or job"));
    assert!(of("stdin: { text: a, file: b }, run: cat").contains("a program has one stdin"));
    assert!(of("stdin: { job: b }, run: cat").contains("job `a` needs `b`, which does not exist"));
    assert!(of("stdin: { job: a }, run: cat").contains("need each other in a circle"));
    assert!(of("stdin: a, task: b").contains("`stdin` has an effect only with `run`"));
    let several = "jobs: [{ id: m, matrix: { n: [1, 2] }, run: [echo, '{n}'] }, { id: b, stdin: { job: m }, run: cat }]";
    let error = refused(&Folder::new().file("jobs.yaml", several));
    assert!(
        error.contains("`m` makes several jobs, and a program has one stdin"),
        "{error}"
    );
    let stream = Ratchet::new()
        .args(["run", "-", "-q", "--no-record"])
        .stdin("{\"id\":\"a\",\"run\":[\"echo\"]}\n{\"stdin\":{\"job\":\"a\"},\"run\":[\"cat\"]}\n")
        .run();
    assert!(
        stream
            .with_code(100)
            .stdout()
            .contains("because each line is read separately")
    );
}
