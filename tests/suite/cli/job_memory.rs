//! The memory that a command may have together with all that it has started.

use ratchet_tests::{Ended, Folder, Ratchet};
use serde_json::Value;

fn json_lines(ended: &Ended) -> Vec<Value> {
    let lines = ended.stdout();
    let lines = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("it is JSON"));
    lines.collect()
}

/// Keeps this many MiB until it is killed.
fn keeps(mebibytes: u32) -> String {
    format!(
        "import time; kept = b'x' * ({mebibytes} << 20); print('kept', flush=True); time.sleep(600)"
    )
}

#[test]
fn a_command_whose_children_have_too_much_memory_is_killed_with_them() {
    let folder = Folder::new();
    let keeps = keeps(150);
    // The shell itself has little memory.
    let script = format!("echo $$ > group; python3 -c \"{keeps}\" & python3 -c \"{keeps}\"; wait");
    let call = Ratchet::within(&folder).args(["map", "-q", "--format", "jsonl"]);
    let call = call.args([
        "--job-memory",
        "200MiB",
        "--",
        "sh",
        "-c",
        &script,
        ":::",
        "a",
    ]);
    let results = json_lines(&call.run().with_code(100));
    let error = &results[0]["error"];
    assert_eq!(results[0]["status"], "crashed", "{results:?}");
    assert_eq!(error["class"], "memory", "{error}");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("200 MiB are allowed"), "{message}");
    let group = std::fs::read_to_string(folder.at("group")).unwrap();
    let path = format!("/proc/{}", group.trim());
    assert!(!std::path::Path::new(&path).exists(), "it lives on");
}

#[test]
fn the_limit_of_a_command_that_was_killed_for_its_memory_grows_with_what_it_takes() {
    // The attempts that may use more only say so, because how soon a command is measured is not certain.
    let keeps = keeps(120);
    let job = |id: &str, last: u32, growth: u32, resources: Value| {
        let script = format!(
            "test $RATCHET_ATTEMPT = {last} || exec python3 -c \"$0\"; exec python3 -c \"$1\""
        );
        serde_json::json!({
            "id": id, "run": ["sh", "-c", script, keeps, "import time; kept = b'x' * (120 << 20); time.sleep(1.5)"],
            "memory": "64MiB", "resources": resources, "retry": {"max": 1, "base": "1ms", "memory": growth},
        })
    };
    let jobs = serde_json::json!({
        "resources": {"memory": "100MiB"},
        "jobs": [
            job("alone", 2, 3, serde_json::json!({})),
            job("capped", 9, 3, serde_json::json!({"memory": "80MiB"})),
            job("same", 9, 1, serde_json::json!({})),
        ],
    });
    let folder = Folder::new().file("jobs.json", jobs.to_string());
    let call = Ratchet::within(&folder).args(["run", "-k", "-j3", "jobs.json"]);
    let ended = call.run().with_code(100);
    let said = ended.stderr();
    assert!(!said.contains("has no effect"), "{said}");
    let results = json_lines(&ended);
    assert_eq!(results[0]["status"], "succeeded", "{results:?}");
    assert_eq!(results[0]["attempts"], 2);
    for (result, allowed) in [(&results[1], "80 MiB"), (&results[2], "64 MiB")] {
        assert_eq!(result["error"]["class"], "memory", "{result}");
        let message = result["error"]["message"].as_str().unwrap();
        assert!(
            message.contains(&format!("{allowed} are allowed")),
            "{message}"
        );
    }
}

#[test]
fn a_file_sets_the_memory_of_commands_and_a_soft_limit_asks_first() {
    let keeps = keeps(120);
    let asked = format!(
        "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: (print('asked', flush=True), sys.exit(3)))\n{keeps}"
    );
    let jobs = serde_json::json!({
        "defaults": {"memory": "64MiB"},
        "jobs": [
            {"id": "small", "run": ["true"]},
            {"id": "hard", "run": ["python3", "-c", keeps]},
            {"id": "soft", "memory": {"soft": "64MiB", "hard": "2GiB"}, "run": ["python3", "-c", asked]},
            {
                "id": "again", "run": ["sh", "-c", "test $RATCHET_ATTEMPT = 3 || exec python3 -c \"$0\"", keeps],
                "retry": {"max": 5, "base": "1ms", "on": ["memory"]},
            },
        ],
    });
    let folder = Folder::new().file("jobs.json", jobs.to_string());
    let call = Ratchet::within(&folder).args(["run", "-q", "-k", "-j4", "jobs.json"]);
    let results = json_lines(&call.run().with_code(100));
    assert_eq!(results[0]["status"], "succeeded");
    assert_eq!(results[1]["error"]["class"], "memory");
    assert_eq!(results[2]["error"]["class"], "memory");
    // It may be measured before it has said that it keeps all.
    let stdout = results[2]["error"]["stdout"].as_str().unwrap();
    assert!(stdout.ends_with("asked\n"), "{results:?}");
    assert_eq!(results[3]["status"], "succeeded", "{results:?}");
    assert_eq!(results[3]["attempts"], 3);
}

#[test]
fn a_limit_of_memory_that_would_have_no_effect_is_refused() {
    let refused = |jobs: &str, flags: &[&str]| {
        let folder = Folder::new().file("jobs.yaml", jobs);
        let call = Ratchet::within(&folder)
            .args(["run"])
            .args(flags)
            .args(["jobs.yaml"]);
        call.run().with_code(2).stderr()
    };
    let workers = "workers: { w: { command: [cat] } }\n";
    let said = refused(
        &format!("{workers}jobs: [{{ task: w, memory: 1GiB }}]\n"),
        &[],
    );
    assert!(
        said.contains("jobs.yaml:2:") && said.contains("section of the worker"),
        "{said}"
    );
    let said = refused(
        &format!("{workers}jobs: [{{ task: w }}]\n"),
        &["--job-memory", "1GiB"],
    );
    assert!(said.contains("--job-memory limits commands"), "{said}");
    let said = refused(
        "jobs: [{ run: [true], memory: { soft: 2GiB, hard: 1GiB } }]\n",
        &[],
    );
    assert!(
        said.contains("jobs.yaml:1:") && said.contains("killed before it is asked"),
        "{said}"
    );
    let bare = "hosts: { web: { via: [env], agent: none } }\n";
    let said = refused(
        &format!("{bare}jobs: [{{ run: [sleep], on: web, memory: 1GiB }}]\n"),
        &[],
    );
    assert!(said.contains("has no agent"), "{said}");
    let warm = Ratchet::new().args([
        "map",
        "--warm",
        "--job-memory",
        "1GiB",
        "--",
        "cat",
        ":::",
        "a",
    ]);
    assert!(
        warm.run()
            .with_code(2)
            .stderr()
            .contains("--warm keeps one running for many items")
    );
}
