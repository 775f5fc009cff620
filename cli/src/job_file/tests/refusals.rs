//! What is refused, and how it is said.

use super::*;

/// One snapshot a file: all that is wrong with it, as it is shown.
macro_rules! refused {
    ($($test:ident: $name:literal, $text:expr;)*) => {$(
        #[test]
        fn $test() {
            insta::assert_snapshot!(write($name, $text).refusal());
        }
    )*};
}

refused! {
    several_errors_at_once: "jobs.yaml", "\
version: 2
workers:
  count: { command: [cat], outptu: json, size: 0 }
limits:
  api: { rate: 0/s }
  db: { max: 4, burst: 3 }
defaults: { timeout: 30, retry: { max: 3, backof: exponential } }
jobs:
  - { id: a, taks: count }
  - { id: b, task: cuont, needs: [z], limits: [apii] }
  - { id: b, task: count, run: ls, priority: urgent }
  - { id: c, task: count, slots: 0, cache: yes }
";
    a_circle_is_named_in_order: "jobs.toml", "\
[[jobs]]
id = \"a\"
run = \"true\"
needs = [\"b\"]

[[jobs]]
id = \"b\"
run = \"true\"
needs = [\"c\"]

[[jobs]]
id = \"c\"
run = \"true\"
needs = [\"a\"]
";
    json_that_is_none: "jobs.json", "{\n  \"jobs\": [\n    {\"id\": \"a\" \"run\": \"ls\"}\n  ]\n}\n";
    keys_that_stand_twice: "jobs.json", "{\"jobs\": [{\"id\": \"a\", \"id\": \"b\", \"run\": \"ls\"}]}";
    toml_with_wrong_types: "jobs.toml", "\
version = 1
[workers.w]
command = 7
size = { min = 3, max = 2 }
[[jobs]]
task = \"w\"
host = [1]
timeout = \"5 minutes\"
";
    tabs_in_yaml: "jobs.yaml", "jobs:\n\t- run: ls\n";
    environment_of_a_task: "jobs.yaml", "\
workers: { w: { command: cat } }
jobs:
  - { task: w, env: { A: 1 }, cwd: /tmp }
  - { run: ls, input: 1 }
  - {}
";
    hints_without_their_figures: "jobs.yaml", "\
jobs:
  - { run: ls, hint: rate_limited }
  - { run: ls, hint: { rate_limited: {} } }
  - { run: ls, hint: { rate_limited: { requests_per_second: 0 } } }
  - { run: ls, hint: { rate_limited: { requests_per_second: 1e400 } } }
  - { run: ls, hint: { alone: {} } }
  - { run: ls, hint: host_exclusiv }
";
    retries_that_contradict_themselves: "jobs.yaml", "\
jobs:
  - { run: ls, retry: { base: 1s } }
  - { run: ls, retry: { max: 3, base: 5s, cap: 1s } }
  - { run: ls, retry: { max: 3, backoff: fixed, factor: 3 } }
  - { run: ls, retry: { max: 3, on: [need] } }
  - { run: ls, retry: { max: 3, on: [] } }
  - { run: ls, retry: -1 }
  - { run: ls, timeout: { soft: 5s, hard: 1s } }
";
    workers_that_cannot_be: "jobs.yaml", "\
workers:
  a: { command: [./no/such/worker] }
  b: { command: [no-such-program-anywhere] }
  c: { command: cat, tasks: [x], protocol: lines, handshake: required }
  d: { command: cat, tasks: [x, y] }
  e: { command: cat, memory: { soft: 2GiB, hard: 1GiB } }
  g: { command: 'cat \"x', size: { min: 2, max: 1 } }
  f: { size: 2 }
jobs:
  - { run: ls }
";
    rates_that_disagree: "jobs.yaml", "\
jobs:
  - { run: ls, hint: { rate_limited: { requests_per_second: 5, key: ec2 } } }
  - { run: ls, hint: { rate_limited: { requests_per_second: 6, key: ec2 } } }
";
    ids_that_are_numbers_of_others: "jobs.yaml", "jobs:\n  - { id: 2, run: ls }\n  - { run: ls }\n";
    a_list_instead_of_a_map: "jobs.yaml", "- { run: ls }\n";
    no_worker_at_all: "jobs.json", "{\"jobs\": [{\"task\": \"resize\"}]}";
    not_utf8: "jobs.yaml", b"jobs:\n  - { run: caf\xe9 }\n";
    windows_lines: "jobs.yaml", "jobs:\r\n  - { run: ls, hsot: a }\r\n";
}

#[test]
fn slots_that_nobody_has() {
    let file = write("jobs.yaml", "jobs:\n  - { run: ls, slots: 9 }\n");
    let options = PlanOptions {
        slots: Some(8),
        ..PlanOptions::default()
    };
    insta::assert_snapshot!(file.shown(file.open_with(&options).unwrap_err()));
    assert!(file.open().is_ok());
}

#[test]
fn an_idle_timeout_of_a_command_is_refused_wherever_it_was_set() {
    let second = "  - { id: b, run: [ls] }\n";
    for (head, job, place) in [
        (
            "",
            "  - { id: a, run: [ls], timeout: { idle: 5s } }\n",
            "jobs.yaml:2:36",
        ),
        (
            "defaults: { timeout: { idle: 5s } }\n",
            "  - { id: a, run: [ls] }\n",
            "jobs.yaml:1:24",
        ),
        (
            "overrides: [{ match: a, timeout: { idle: 5s } }]\n",
            "  - { id: a, run: [ls] }\n",
            "jobs.yaml:1:36",
        ),
    ] {
        let refusal = write("jobs.yaml", format!("{head}jobs:\n{job}{second}")).refusal();
        let message = "a command cannot report progress";
        assert_eq!(refusal.matches(message).count(), 1, "{refusal}");
        assert!(refusal.contains(place), "{place}: {refusal}");
    }
    let task = "workers: { t: { command: [sh] } }\n\
                jobs: [{ task: t, timeout: { idle: 5s } }]\n";
    assert!(write("jobs.yaml", task).open().is_ok());
}

#[test]
fn a_resource_of_a_file_has_no_name_whose_variable_is_that_of_a_setting() {
    let text = "resources: { gpu: 1, jobs: 2 }\nhosts: { a: { ssh: b, resources: { jobs: 3 } } }\n\
                jobs: [{ run: ls }]\n";
    let file = write("jobs.yaml", text);
    let options = PlanOptions {
        variable_of_setting: Some(|name| (name == "jobs").then(|| "RATCHET_JOBS".to_owned())),
        ..PlanOptions::default()
    };
    let refusal = file.shown(file.open_with(&options).unwrap_err());
    for place in ["jobs.yaml:1:22", "jobs.yaml:2:36"] {
        assert!(refusal.contains(place), "{refusal}");
    }
    assert!(
        refusal.contains("take RATCHET_JOBS for a setting"),
        "{refusal}"
    );
    assert!(file.open().is_ok());
}

#[test]
fn a_pattern_that_matches_nothing_is_refused_and_a_selection_that_leaves_nothing_is_told() {
    let file = write("jobs.yaml", "jobs: [{ id: a, run: ls }]\n");
    let shown = |only: &[&str], skip: &[&str]| {
        let patterns = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
        let options = PlanOptions {
            selection: Selection {
                only: patterns(only),
                skip: patterns(skip),
                partition: None,
            },
            ..PlanOptions::default()
        };
        file.shown(file.open_with(&options).unwrap_err())
    };
    let unmatched = shown(&["zz"], &[]);
    assert!(
        unmatched.starts_with("--only zz: no job matches"),
        "{unmatched}"
    );
    assert_eq!(
        shown(&[], &["*"]),
        "--only, --skip and --partition leave no job of jobs.yaml: nothing to do"
    );
}

#[test]
fn a_class_that_is_never_retried_is_refused_with_that_reason() {
    let text = "jobs: [{ run: ls, retry: { max: 1, on: [spawn] } }]\n";
    let refusal = write("jobs.yaml", text).refusal();
    let reason = "a failure of class `spawn` is never tried again";
    assert!(refusal.contains(reason), "{refusal}");
}

#[test]
fn files_that_are_none() {
    for (name, text, said) in [
        ("jobs.yaml", "", "has no jobs: nothing to do"),
        ("jobs.yaml", "# nothing\n", "nothing to do"),
        ("jobs.yaml", "jobs: []\n", "nothing to do"),
        ("jobs.json", " \n", "nothing to do"),
        ("jobs.toml", "version = 1\n", "nothing to do"),
        ("jobs.jsonl", "\n \n", "nothing to do"),
        ("jobs.txt", "x", "the format of"),
        ("jobs", "x", "the format of"),
    ] {
        let said_now = write(name, text).refusal();
        assert!(said_now.contains(said), "{name}: {said_now}");
    }
    let file = write("jobs.yaml", "x");
    let missing = open(&file.path().join("jbos.yaml"), &PlanOptions::default()).unwrap_err();
    let missing = file.shown(missing);
    assert_eq!(
        missing,
        "there is no file `jbos.yaml`; did you mean `jobs.yaml`?"
    );
    let folder = open(file.path(), &PlanOptions::default()).unwrap_err();
    assert!(matches!(folder, FileError::Folder { .. }));
}

#[test]
fn what_is_hostile_is_refused_in_time() {
    let deep = format!("jobs: {}", "[".repeat(100_000));
    assert!(write("jobs.yaml", &deep).refusal().contains("error"));
    let deep = format!("{{\"jobs\": {}", "[".repeat(100_000));
    assert!(
        write("jobs.json", &deep)
            .refusal()
            .contains("the text ends within a list")
    );
    let binary: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    for name in ["jobs.yaml", "jobs.json", "jobs.toml"] {
        assert!(write(name, &binary).refusal().contains("not UTF-8"));
    }
}
