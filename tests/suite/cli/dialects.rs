//! Workers of other protocols: servers of MCP that others wrote, and a worker of Bazel's protocol.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use ratchet_tests::{Ended, Folder, Ratchet};
use serde_json::Value;

/// Returns the command of a server of MCP. Where it is not installed, the test says that it is skipped.
fn server(name: &str) -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("a root");
    let installed = || root.join("target/npm/node_modules/.bin");
    let folder = std::env::var_os("MCP_SERVERS").map_or_else(installed, PathBuf::from);
    let program = folder.join(format!("mcp-server-{name}"));
    if program.exists() {
        return Some(format!("'{}'", program.display()));
    }
    // stderr is not gathered by the harness, so that it is seen.
    let _ = writeln!(
        std::io::stderr(),
        "\n!! SKIPPED: there is no server {name} of MCP, so ratchet does not call its tools; .ci/run installs it\n"
    );
    None
}

fn everything() -> Option<String> {
    Some(format!("{} stdio", server("everything")?))
}

fn bazel_worker() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("workers/bazel_worker.py");
    format!("python3 '{}' --persistent_worker", path.display())
}

fn map(folder: &Folder, words: &[&str]) -> Ended {
    let call = Ratchet::within(folder).args(["map", "-q", "-k"]);
    call.args(words).run()
}

fn run(folder: &Folder, file: &str, words: &[&str]) -> Vec<Value> {
    std::fs::write(folder.at("jobs.yaml"), file).expect("the folder is there");
    let call = Ratchet::within(folder).args(["run", "-q", "-k", "--format", "jsonl"]);
    let ended = call.args(words).args(["jobs.yaml"]).run();
    let lines = ended.stdout();
    let results = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    results.collect()
}

#[test]
fn map_calls_a_tool_for_each_item() {
    let Some(server) = everything() else { return };
    let folder = Folder::new();
    let words = ["--worker", &server, "--protocol", "mcp", "--task"];
    let ended = map(
        &folder,
        &[&words[..], &["echo", ":::", "one", "two words"]].concat(),
    );
    assert_eq!(ended.with_code(0).stdout(), "Echo: one\nEcho: two words\n");

    let sums = ["get-sum", ":::", r#"{"a": 2, "b": 3}"#, "7"];
    let ended = Ratchet::within(&folder)
        .args(["map", "-q", "-k", "--format", "jsonl"])
        .args(words)
        .args(sums)
        .run()
        .with_code(100);
    let lines: Vec<Value> = ended
        .stdout()
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(
        lines[0]["result"]["content"][0]["text"],
        "The sum of 2 and 3 is 5."
    );
    assert_eq!(lines[1]["error"]["class"], "input");
    let message = lines[1]["error"]["message"].as_str().expect("a message");
    assert_eq!(
        message,
        "the tool `get-sum` takes its arguments as an object, with the keys a, b"
    );
}

#[test]
fn an_unknown_tool_is_refused_by_name() {
    let Some(server) = everything() else { return };
    let words = [
        "--worker",
        &server,
        "--protocol",
        "mcp",
        "--task",
        "ecko",
        ":::",
        "x",
    ];
    let call = Ratchet::new().args(["map", "-q", "--format", "jsonl"]);
    let ended = call.args(words).run().with_code(100);
    let said = ended.stdout();
    assert!(
        said.contains("unknown task `ecko`, did you mean `echo`?"),
        "{said}"
    );
}

#[test]
fn a_job_file_calls_tools_with_retries_and_a_cancel_leaves_the_server_alive() {
    let (Some(everything), Some(files)) = (everything(), server("filesystem")) else {
        return;
    };
    let folder = Folder::new();
    std::fs::write(folder.at("poem.txt"), "to be or not").expect("the folder is there");
    let here = folder.path().display().to_string();
    let file = format!(
        r#"
version: 1
workers:
  tools: {{ command: "{everything}", protocol: mcp, size: 1 }}
  files: {{ command: "{files} '{here}'", protocol: mcp, tasks: [read_text_file, list_directory] }}
jobs:
  - {{ id: read, task: read_text_file, input: {{ path: "{here}/poem.txt" }} }}
  - {{ id: missing, task: read_text_file, input: {{ path: "{here}/none" }}, retry: {{ max: 1, base: 1ms }} }}
  - {{ id: slow, task: trigger-long-running-operation, input: {{ duration: 60, steps: 60 }}, timeout: 1500ms, priority: high }}
  - {{ id: sum, task: get-sum, input: {{ a: 1, b: 2 }} }}
  - {{ id: after, task: echo, input: still here, priority: low }}
"#
    );
    let results = run(&folder, &file, &[]);
    let of = |id: &str| {
        let found = results.iter().find(|result| result["id"] == id);
        found.unwrap_or_else(|| panic!("no result of {id}: {results:?}"))
    };
    assert_eq!(of("read")["result"]["content"][0]["text"], "to be or not");
    assert_eq!(of("missing")["status"], "failed");
    assert_eq!(of("missing")["error"]["code"], "tool_error");
    assert_eq!(of("missing")["attempts"], 2);
    assert_eq!(of("slow")["status"], "timed_out");
    assert_eq!(
        of("sum")["result"]["content"][0]["text"],
        "The sum of 1 and 2 is 3."
    );
    assert_eq!(
        of("after")["result"]["content"][0]["text"],
        "Echo: still here"
    );
    // Nobody was killed for the cancel: the server that was told to stop answered the next call.
    assert_eq!(of("after")["worker"], of("slow")["worker"]);
}

#[test]
fn a_program_that_is_no_server_of_mcp_is_told_so() {
    let words = [
        "--worker",
        "cat",
        "--protocol",
        "mcp",
        "--task",
        "t",
        ":::",
        "x",
    ];
    let call = Ratchet::new().args(["map", "-q", "--format", "jsonl"]);
    // `cat` answers each request with the request itself, which is none of the answers that are awaited.
    let ended = call.args(["--deadline", "3s"]).args(words).run();
    assert_ne!(ended.code, Some(0));
    assert_ne!(ended.code, Some(101));
}

#[test]
fn a_worker_of_bazel_gets_arguments_and_its_output_is_the_result() {
    let worker = bazel_worker();
    let words = ["--worker", &worker, "--protocol", "bazel-json", ":::"];
    let items = [
        r#"["say", "hello", "there"]"#,
        r#"{"arguments": ["say"], "inputs": [{"path": "A.java"}]}"#,
    ];
    let ended = map(&Folder::new(), &[&words[..], &items].concat());
    assert_eq!(ended.with_code(0).stdout(), "hello there\nA.java\n");
}

#[test]
fn a_multiplex_worker_of_bazel_works_on_several_requests_and_is_cancelled() {
    let worker = bazel_worker();
    let file = format!(
        r#"
version: 1
workers:
  javac: {{ command: "{worker}", protocol: bazel-json, concurrency: 3, cancel: true, size: 1 }}
jobs:
  - {{ id: one, task: javac, input: [meet, "3"] }}
  - {{ id: two, task: javac, input: [meet, "3"] }}
  - {{ id: three, task: javac, input: [meet, "3"] }}
  - {{ id: bad, task: javac, input: [fail, "2", "A.java:1: error"], needs: [one] }}
  - {{ id: slow, task: javac, input: [sleep, "60"], timeout: 500ms, needs: [one] }}
  - {{ id: last, task: javac, input: say, priority: low, needs: [one] }}
"#
    );
    let results = run(&Folder::new(), &file, &["-j3"]);
    let of = |id: &str| {
        let found = results.iter().find(|result| result["id"] == id);
        found.unwrap_or_else(|| panic!("no result of {id}: {results:?}"))
    };
    for id in ["one", "two", "three"] {
        assert_eq!(of(id)["result"]["output"], "met\n", "{id}");
    }
    assert_eq!(of("bad")["error"]["code"], "exit");
    assert_eq!(
        of("bad")["error"]["message"],
        "exit code 2: A.java:1: error"
    );
    assert_eq!(of("slow")["status"], "timed_out");
    assert_eq!(of("last")["status"], "succeeded");
    assert!(
        results.iter().all(|result| result["worker"] == "javac/1"),
        "{results:?}"
    );
}

#[test]
fn what_these_protocols_have_no_use_for_is_refused_before_anything_runs() {
    let folder = Folder::new();
    let check = |worker: &str| {
        let file = format!("version: 1\nworkers:\n  w: {{ {worker} }}\njobs: []\n");
        std::fs::write(folder.at("jobs.yaml"), &file).expect("the folder is there");
        let ended = Ratchet::within(&folder).args(["check", "jobs.yaml"]).run();
        assert_eq!(ended.code, Some(2), "{worker}");
        ended.stderr()
    };
    let told = check("command: cat, protocol: mcp, cancel: true");
    assert!(
        told.contains("`cancel` has no effect on a worker of this protocol"),
        "{told}"
    );
    let told = check("command: cat, protocol: mcp, input: text");
    assert!(told.contains("`input` has no effect"), "{told}");
    let told = check("command: cat, protocol: mpc");
    assert!(told.contains("did you mean `mcp`"), "{told}");
    let two = "version: 1\nworkers:\n  a: {command: cat, protocol: mcp}\n  b: {command: cat, protocol: mcp}\njobs: []\n";
    std::fs::write(folder.at("jobs.yaml"), two).expect("the folder is there");
    let ended = Ratchet::within(&folder).args(["check", "jobs.yaml"]).run();
    let told = ended.with_code(2).stderr();
    assert!(
        told.contains("a second worker would serve every tool that its server offers"),
        "{told}"
    );

    for (words, message) in [
        (
            &["--worker", "cat", "--protocol", "mcp", ":::", "x"][..],
            "needs the name of the tool",
        ),
        (
            &["--worker", "cat", ":::", "x"],
            "needs the name of the task",
        ),
        (
            &[
                "--worker",
                "cat",
                "--protocol",
                "lines",
                "--task",
                "t",
                ":::",
                "x",
            ],
            "--task has no effect",
        ),
        (
            &["--worker", "cat", "--task", "t", "--", "echo", ":::", "x"],
            "is in the place of a command",
        ),
        (&["--task", "t", "--", "echo", ":::", "x"], "--worker"),
    ] {
        let told = map(&folder, words).with_code(2).stderr();
        assert!(told.contains(message), "{words:?}: {told}");
    }
}

#[test]
fn map_gives_items_to_a_worker_of_the_native_protocol() {
    let worker = format!("'{}' worker", Ratchet::program().display());
    let words = [
        "--worker",
        &worker,
        "--task",
        "echo",
        ":::",
        "a",
        r#"{"b": 1}"#,
    ];
    let ended = map(&Folder::new(), &words).with_code(0);
    assert_eq!(ended.stdout(), "a\n{\"b\": 1}\n");
}
