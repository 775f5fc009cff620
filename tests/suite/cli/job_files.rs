//! What a file of jobs can say about many jobs at once, and which of them are run.

use ratchet_tests::{Ended, Folder, Ratchet};
use serde_json::Value;

fn run(folder: &Folder, flags: &[&str]) -> Ended {
    let call =
        Ratchet::within(folder).args(["run", "-q", "-k", "--no-record", "--format", "jsonl"]);
    call.args(flags.iter().copied()).args(["jobs.yaml"]).run()
}

/// Returns the ids of the jobs, each with what it printed.
fn printed(ended: &Ended) -> Vec<String> {
    let lines = ended.stdout();
    let lines = lines.lines().map(|line| {
        let result: Value = serde_json::from_str(line).expect("it is JSON");
        let text = result["result"]["stdout"].as_str().unwrap_or("-");
        format!(
            "{} {}",
            result["id"].as_str().expect("it has an id"),
            text.trim_end()
        )
    });
    lines.collect()
}

fn refused(jobs: &str) -> String {
    let folder = Folder::new().file("jobs.yaml", jobs);
    run(&folder, &[]).with_code(2).stderr()
}

#[test]
fn a_matrix_makes_a_job_of_each_combination_and_its_id_stands_for_all_of_them() {
    let jobs = "jobs:
  - id: build
    matrix:
      os: [linux, mac]
      size: [1, 2]
      exclude: [{ os: mac, size: 2 }]
      include: [{ os: 'b s d', size: 9 }]
    run: echo {os} is {size} ${size} {other}
  - { id: 'one-{n}', matrix: { n: [1] }, run: [echo, '{n}'] }
  - { id: all, needs: [build, one-1], run: [echo, all] }
";
    let folder = Folder::new().file("jobs.yaml", jobs);
    assert_eq!(
        printed(&run(&folder, &[]).with_code(0)),
        [
            "build-linux-1 linux is 1 ${size} {other}",
            "build-linux-2 linux is 2 ${size} {other}",
            "build-mac-1 mac is 1 ${size} {other}",
            // A value is one word, whatever is in it.
            "build-b s d-9 b s d is 9 ${size} {other}",
            "one-1 1",
            "all all"
        ]
    );
}

#[test]
fn for_each_makes_a_job_of_each_item_of_a_list_or_line_of_a_file() {
    let jobs = "jobs:
  - { id: list, for_each: [a b, 7], run: [echo, '{#}: <{}>'] }
  - { id: '{name}', for_each: [{ name: x, at: 1 }, { name: y, at: 2 }], env: { AT: '{at}' }, run: [sh, -c, 'echo $AT'] }
  - { id: 'line-{}', for_each: lines.txt, run: [echo, '{}'] }
";
    let folder = Folder::new()
        .file("jobs.yaml", jobs)
        .file("lines.txt", "one\n\ntwo {#}\n");
    assert_eq!(
        printed(&run(&folder, &[]).with_code(0)),
        [
            "list-1 1: <a b>",
            "list-2 2: <7>",
            "x 1",
            "y 2",
            "line-one one",
            "line-two {#} two {#}"
        ]
    );
}

#[test]
fn the_values_of_a_matrix_keep_their_types_in_the_input_of_a_worker() {
    let jobs = "workers: { echo: { command: [RATCHET, worker, --task, echo] } }
jobs:
  - { id: a, task: echo, matrix: { n: [1, x] }, input: { typed: '{n}', text: 'n={n}' } }
";
    let jobs = jobs.replace("RATCHET", Ratchet::program().to_str().unwrap());
    let folder = Folder::new().file("jobs.yaml", &jobs);
    let ended = run(&folder, &[]).with_code(0);
    let results: Vec<Value> = ended
        .stdout()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["result"].clone())
        .collect();
    let expected = [
        serde_json::json!({"typed": 1, "text": "n=1"}),
        serde_json::json!({"typed": "x", "text": "n=x"}),
    ];
    assert_eq!(results, expected);
}

#[test]
fn wrong_matrices_and_items_are_refused_with_their_places() {
    for (jobs, place, message) in [
        (
            "jobs: [{ matrix: { a: [] }, run: [echo] }]",
            ":1:",
            "this makes no jobs",
        ),
        (
            "jobs: [{ matrix: { a: 1 }, run: [echo] }]",
            ":1:",
            "is a list of values",
        ),
        (
            "jobs: [{ matrix: { a: [[1]] }, run: [echo] }]",
            ":1:",
            "expected a text or a number",
        ),
        (
            "jobs:\n- { matrix: { a: [1], exclude: [{ b: 1 }] }, run: [echo] }",
            ":2:",
            "has no `b`",
        ),
        (
            "jobs:\n- { matrix: { a: [1], exclude: [{ a: 2 }] }, run: [echo] }",
            ":2:",
            "no combination",
        ),
        (
            "jobs:\n- { matrix: { a: [1], include: [{ b: 2 }] }, run: [echo] }",
            ":2:",
            "has no `a`",
        ),
        (
            "jobs: [{ matrix: { 'a b': [1] }, run: [echo] }]",
            ":1:",
            "cannot be the name of a value",
        ),
        (
            "jobs: [{ matrix: { a: [1] }, for_each: [1], run: [echo] }]",
            ":1:",
            "both make several",
        ),
        (
            "jobs: [{ for_each: [{ n: 1 }, { m: 2 }], run: [echo, '{n}'] }]",
            ":1:",
            "this item has no `m`, which others have",
        ),
        (
            "jobs: [{ for_each: [{ n: 1 }, 2], run: [echo, '{n}'] }]",
            ":1:",
            "this item has no `n`, which others have",
        ),
        (
            "jobs: [{ for_each: no-such-file, run: [echo] }]",
            ":1:",
            "cannot be read",
        ),
        (
            "jobs: [{ for_each: 7, run: [echo] }]",
            ":1:",
            "expected a list of items",
        ),
        (
            "jobs: [{ id: 'x', for_each: [1], ruin: [echo] }]",
            ":1:",
            "unknown key `ruin`",
        ),
        (
            "jobs: [{ id: 'x-{a}', matrix: { a: [1, 1] }, run: [echo] }]",
            ":1:",
            "is used twice",
        ),
    ] {
        let said = refused(jobs);
        assert!(
            said.contains(place) && said.contains(message),
            "{jobs}: {said}"
        );
    }
    let line = r#"{"run": ["echo"], "for_each": [1]}"#;
    let call = Ratchet::new().args(["run", "--strict", "-"]).stdin(line);
    assert!(
        call.run()
            .with_code(2)
            .stderr()
            .contains("each line of a stream is one")
    );
}

const GROUPS: &str = "jobs:
  - { id: base, run: [echo] }
  - { id: db-1, group: data, needs: [base], run: [echo] }
  - { id: db-2, group: data, run: [echo] }
  - { id: web, needs: [db-1], run: [echo] }
";

#[test]
fn only_skip_and_partition_choose_jobs_and_list_names_them() {
    let folder = Folder::new().file("jobs.yaml", GROUPS);
    let chosen = |flags: &[&str]| {
        let call = Ratchet::within(&folder)
            .args(["run", "--list"])
            .args(flags.iter().copied());
        call.args(["jobs.yaml"])
            .run()
            .with_code(0)
            .stdout()
            .replace('\n', " ")
    };
    assert_eq!(chosen(&[]), "base db-1 db-2 web ");
    assert_eq!(chosen(&["--only", "group(data)"]), "base db-1 db-2 ");
    assert_eq!(
        chosen(&["--only", "test(db-2)", "--only", "web"]),
        "base db-1 db-2 web "
    );
    assert_eq!(chosen(&["--skip", "db-1"]), "base db-2 ");
    assert_eq!(
        chosen(&["--skip", "web", "--partition", "slice:2/3"]),
        "base db-1 "
    );
    let parts = ["hash:1/2", "hash:2/2"].map(|part| chosen(&["--partition", part]));
    assert!(parts.iter().any(|part| part.contains("db-2")), "{parts:?}");
    // The jobs of the choice are run, and no others.
    let ended = run(&folder, &["--only", "db-2"]).with_code(0);
    assert_eq!(printed(&ended), ["db-2 "]);
    // Nothing is left, so there is nothing to do.
    let _ = run(&folder, &["--skip", "*"]).with_code(4);
    let _ = run(&folder, &["--only", "nothing-like-this"]).with_code(2);
    let wrong = run(&folder, &["--partition", "slice:5/4"])
        .with_code(2)
        .stderr();
    assert!(wrong.contains("no part 5 of 4"), "{wrong}");
    let stream = Ratchet::new()
        .args(["run", "--only", "a", "-"])
        .stdin(r#"{"run": ["echo"]}"#);
    assert!(stream.run().with_code(2).stderr().contains("is a stream"));
}

#[test]
fn a_pattern_that_matches_no_job_is_refused_and_the_id_of_a_for_each_means_all_its_jobs() {
    let jobs = "jobs:
  - { id: f, for_each: [1, 2], run: [echo] }
  - { id: g, needs: [f], run: [echo] }
  - { id: h, run: [echo] }
";
    let folder = Folder::new().file("jobs.yaml", jobs);
    let list = |flags: &[&str]| {
        let call = Ratchet::within(&folder).args(["run", "--list", "jobs.yaml"]);
        call.args(flags.iter().copied()).run()
    };
    let chosen = |flags: &[&str]| list(flags).with_code(0).stdout().replace('\n', " ");
    assert_eq!(chosen(&["--skip", "f"]), "h ");
    assert_eq!(chosen(&["--only", "f"]), "f-1 f-2 ");
    assert_eq!(chosen(&["--only", "f-2"]), "f-2 ");
    for (flags, option) in [
        (&["--skip", "typo"][..], "--skip typo"),
        (
            &["--only", "h", "--only", "group(typo)"][..],
            "--only group(typo)",
        ),
    ] {
        let said = list(flags).with_code(2).stderr();
        assert!(
            said.contains(&format!("{option}: no job matches")),
            "{said}"
        );
    }
}

#[test]
fn overrides_give_terms_to_the_jobs_that_they_match_and_a_job_comes_before_them() {
    let jobs = "resources: { gpu: [0, 1] }
overrides:
  - { match: 'test(db*)', resources: { gpu: 1 } }
  - { match: 'group(slow)', resources: { gpu: 2 } }
  - { match: 'nobody', slots: 1 }
jobs:
  - { id: db-1, group: slow, run: [sh, -c, 'echo $RATCHET_GPU'] }
  - { id: other, group: slow, run: [sh, -c, 'echo $RATCHET_GPU'] }
  - { id: db-2, resources: { gpu: 2 }, run: [sh, -c, 'echo $RATCHET_GPU'] }
  - { id: plain, run: [sh, -c, 'echo $RATCHET_GPU'] }
";
    let folder = Folder::new().file("jobs.yaml", jobs);
    let ended = run(&folder, &["-j1"]).with_code(0);
    assert_eq!(
        printed(&ended),
        ["db-1 0", "other 0,1", "db-2 0,1", "plain "]
    );
    let check = Ratchet::within(&folder)
        .args(["check", "jobs.yaml"])
        .run()
        .with_code(0);
    assert!(check.stderr().contains("jobs.yaml:5:") && check.stderr().contains("matches no job"));
    let said = refused("overrides: [{ match: 'tset(x)', slots: 1 }]\njobs: [{ run: [echo] }]\n");
    assert!(
        said.contains("jobs.yaml:1:") && said.contains("`tset(..)` is not known"),
        "{said}"
    );
    let said = refused("overrides: [{ match: '*', limits: [db] }]\njobs: [{ run: [echo] }]\n");
    assert!(said.contains("unknown limit `db`"), "{said}");
}

#[test]
fn defaults_give_variables_and_a_folder_to_commands_and_variables_can_name_each_other() {
    let jobs = "defaults: { cwd: inner, env: { ROOT: /srv, DATA: '${ROOT}/data' } }
jobs:
  - { id: a, run: [sh, -c, 'echo $DATA $(basename $PWD)'] }
  - { id: b, cwd: ., env: { ROOT: /own, LITERAL: '$${ROOT} ${other}' }, run: [sh, -c, 'echo $DATA $LITERAL; test -d inner'] }
";
    let folder = Folder::new().file("jobs.yaml", jobs).file("inner/x", "");
    let ended = run(&folder, &[]).with_code(0);
    assert_eq!(
        printed(&ended),
        ["a /srv/data inner", "b /own/data ${ROOT} ${other}"]
    );
    let said = refused("jobs:\n  - { run: [echo], env: { A: '${B}', B: '${A}' } }\n");
    assert!(
        said.contains("jobs.yaml:2:") && said.contains("refers to itself"),
        "{said}"
    );
}

#[test]
fn the_folder_of_a_command_can_name_declared_variables() {
    let jobs = "defaults: { env: { ROOT: ROOTPATH }, cwd: '${ROOT}/all' }
jobs:
  - { id: shared, run: [pwd] }
  - { id: own, env: { SUB: '${ROOT}/own' }, cwd: '${SUB}', run: [pwd] }
  - { id: literal, cwd: 'here/$${x}', run: [pwd] }
";
    let folder = Folder::new()
        .file("all/x", "")
        .file("own/x", "")
        .file("here/${x}/x", "");
    let root = folder.path().canonicalize().expect("it is there");
    let root = root.display().to_string();
    let folder = folder.file("jobs.yaml", jobs.replace("ROOTPATH", &root));
    assert_eq!(
        printed(&run(&folder, &[]).with_code(0)),
        [
            format!("shared {root}/all"),
            format!("own {root}/own"),
            format!("literal {root}/here/${{x}}"),
        ]
    );
    let error = refused("defaults: { env: { ROOT: a } }\njobs: [{ cwd: '${ROTO}/b', run: [pwd] }]");
    assert!(error.contains("jobs.yaml:2:15"), "{error}");
    assert!(
        error.contains("`cwd` refers to `${ROTO}`, which is not a variable"),
        "{error}"
    );
}

#[test]
fn a_name_in_braces_that_no_item_has_is_warned_of() {
    let warned = |section: &str| {
        let folder = Folder::new().file("jobs.yaml", format!("jobs: [{{ {section} }}]\n"));
        let call = Ratchet::within(&folder).args(["check", "jobs.yaml"]);
        call.run().with_code(0).stderr()
    };
    for section in [
        "for_each: [{ name: 1 }], run: [echo, '{nmae}']",
        "matrix: { name: [1] }, run: [echo, '{nmae}']",
        "matrix: { name: [1, 2] }, run: [echo], env: { A: 'a {nmae}' }",
    ] {
        let said = warned(section);
        assert_eq!(
            said.matches("there is no value `nmae`").count(),
            1,
            "{said}"
        );
        assert!(said.contains("did you mean {name}?"), "{said}");
    }
    for section in [
        "for_each: [{ name: 1 }], run: [sh, -c, 'echo ${nmae} {name} {{nmae}} {#} {1,2}']",
        "for_each: [a], run: [awk, '{print}']",
    ] {
        let said = warned(section);
        assert!(!said.contains("there is no value"), "{said}");
    }
}
