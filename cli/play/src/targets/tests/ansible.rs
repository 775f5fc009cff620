//! Compares results of modules of the Ansible of this machine with those that `ansible-playbook` returns.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value, json};

use super::{Bench, call};
use crate::modules::{ModulePaths, Modules};

/// Fields that differ from call to call.
const PASSING: [&str; 15] = [
    "start",
    "end",
    "delta",
    "atime",
    "ctime",
    "mtime",
    "inode",
    "version",
    "invocation",
    "exception",
    "module_stdout",
    "module_stderr",
    "src",
    "backup_file",
    "backup",
];

/// Returns what `ansible-playbook` registers for calls, each with or without check mode.
fn registered(bench: &Bench, calls: &[(&str, Value, bool)]) -> Vec<Map<String, Value>> {
    let tasks = calls.iter().enumerate().map(|(number, (name, arguments, check))| {
        let mut arguments = arguments.clone();
        let fields = arguments.as_object_mut().unwrap();
        let name = if fields.remove("_uses_shell").is_some() { "shell" } else { name };
        if let Some(raw) = fields.remove("_raw_params") {
            fields.insert("cmd".to_owned(), raw);
        }
        let register = format!("result_{number}");
        let mut task = json!({ "check_mode": check, "diff": true, "ignore_errors": true, "register": register });
        task[format!("ansible.builtin.{name}")] = arguments;
        task
    });
    let mut tasks: Vec<Value> = tasks.collect();
    let all = (0..calls.len()).map(|number| format!("result_{number}"));
    let all: Vec<String> = all.collect();
    let written = bench.at("registered");
    tasks.push(json!({ "ansible.builtin.copy": {
        "dest": written, "content": format!("{{{{ [{}] | to_json }}}}", all.join(", ")),
    } }));
    let play = json!([{
        "hosts": "localhost", "connection": "local", "gather_facts": false, "tasks": tasks,
        "vars": { "ansible_python_interpreter": "python3" },
    }]);
    let play = bench.file("play.yml", &play.to_string());
    let bin = std::env::var_os("ANSIBLE_BIN").map_or_else(PathBuf::new, PathBuf::from);
    let output = Command::new(bin.join("ansible-playbook"))
        .args(["-i", "localhost,"])
        .arg(play)
        .env("HOME", bench.at("home"))
        .output()
        .unwrap();
    let said = fs::read(&written);
    let said = said.unwrap_or_else(|_| panic!("{output:?}"));
    serde_json::from_slice(&said).unwrap()
}

/// Returns the fields of a result that are compared.
fn essence(result: &Map<String, Value>) -> Value {
    let mut result = result.clone();
    let is_failed = result.get("failed") == Some(&json!(true));
    result.retain(|name, _| !name.starts_with("_ansible") && !PASSING.contains(&name.as_str()));
    // `ansible` omits the lines of an empty text, and the warnings that it prints.
    for name in [
        "stdout_lines",
        "stderr_lines",
        "warnings",
        "deprecations",
        "ansible_facts",
    ] {
        result.remove(name);
    }
    if !is_failed {
        result.remove("failed");
    }
    let mut result = Value::Object(result);
    for path in ["/stat", "/diff/before", "/diff/after"] {
        if let Some(inner) = result.pointer_mut(path).and_then(Value::as_object_mut) {
            inner.retain(|name, _| !PASSING.contains(&name.as_str()));
        }
    }
    result
}

/// Returns the calls that are compared, for a folder of their own.
fn calls(folder: &Path) -> Vec<(&'static str, Value)> {
    let at = |name: &str| folder.join(name).display().to_string();
    vec![
        ("ping", json!({})),
        ("ping", json!({ "data": "crash" })),
        ("command", json!({ "_raw_params": "echo hi $HOME" })),
        (
            "command",
            json!({ "argv": ["sh", "-c", "echo out; echo err >&2; exit 3"] }),
        ),
        ("command", json!({ "_raw_params": "/no/such/program" })),
        (
            "command",
            json!({ "_raw_params": "echo x", "creates": at("file") }),
        ),
        (
            "command",
            json!({ "_raw_params": "cat", "stdin": "given", "chdir": at("") }),
        ),
        (
            "command",
            json!({ "_raw_params": "echo $0 | tr a-z A-Z", "_uses_shell": true }),
        ),
        ("stat", json!({ "path": at("file") })),
        ("stat", json!({ "path": at("link"), "follow": false })),
        ("stat", json!({ "path": at("missing") })),
        (
            "stat",
            json!({ "path": at("file"), "checksum_algorithm": "sha256" }),
        ),
        (
            "file",
            json!({ "path": at("a/b/c"), "state": "directory", "mode": "u=rwx,g=rx,o=" }),
        ),
        ("file", json!({ "path": at("file"), "mode": "0600" })),
        ("file", json!({ "path": at("file"), "mode": "u+x,g-r" })),
        (
            "file",
            json!({ "path": at("new"), "state": "touch", "mode": "0640" }),
        ),
        (
            "file",
            json!({ "path": at("link2"), "src": at("file"), "state": "link" }),
        ),
        (
            "file",
            json!({ "path": at("hard"), "src": at("file"), "state": "hard" }),
        ),
        ("file", json!({ "path": at("folder"), "state": "absent" })),
        ("file", json!({ "path": at("missing"), "state": "absent" })),
        ("file", json!({ "path": at("missing"), "state": "file" })),
        ("file", json!({ "path": at("file"), "state": "directory" })),
        ("slurp", json!({ "src": at("file") })),
        ("slurp", json!({ "src": at("missing") })),
        ("lineinfile", json!({ "path": at("file"), "line": "three" })),
        ("lineinfile", json!({ "path": at("file"), "line": "one" })),
        (
            "lineinfile",
            json!({ "path": at("file"), "regexp": "^o(.*)", "line": "x\\1", "backrefs": true }),
        ),
        (
            "lineinfile",
            json!({ "path": at("file"), "insertafter": "^one", "line": "between" }),
        ),
        (
            "lineinfile",
            json!({ "path": at("file"), "insertbefore": "BOF", "line": "first" }),
        ),
        (
            "lineinfile",
            json!({ "path": at("file"), "regexp": "t", "state": "absent" }),
        ),
        ("lineinfile", json!({ "path": at("missing"), "line": "x" })),
        (
            "lineinfile",
            json!({ "path": at("made"), "line": "x", "create": true, "mode": "0600" }),
        ),
        ("lineinfile", json!({ "path": at("file"), "lines": "x" })),
    ]
}

/// Fills the folder that the calls work on.
fn fill(folder: &Path) {
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder.join("folder/inner")).unwrap();
    fs::write(folder.join("file"), "one\ntwo\n").unwrap();
    std::os::unix::fs::symlink("file", folder.join("link")).unwrap();
}

/// Collects the files of a folder, with their modes and contents.
fn state_of(folder: &Path, found: &mut Vec<String>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let content = if metadata.is_file() {
            fs::read_to_string(&path).unwrap()
        } else {
            String::new()
        };
        found.push(format!(
            "{} {:o} {content:?}",
            path.display(),
            metadata.permissions().mode()
        ));
        if metadata.is_dir() {
            state_of(&path, found);
        }
    }
}

/// Fields that some modules omit: Ansible's modules take them from programs that a host may lack, or return them only
/// since some version.
const ADDITIONS: [&str; 5] = [
    "attr_flags",
    "attributes",
    "charset",
    "disk_usage_bytes",
    "mimetype",
];

/// Returns the fields that our own modules have to return as well: all but the additions and the error messages.
fn common(mut result: Value) -> Value {
    if let Some(stat) = result.get_mut("stat").and_then(Value::as_object_mut) {
        stat.retain(|name, _| !ADDITIONS.contains(&name.as_str()));
    }
    if let Some(fields) = result
        .as_object_mut()
        .filter(|fields| fields.contains_key("failed"))
    {
        fields.retain(|name, _| !matches!(name.as_str(), "msg" | "rc"));
    }
    result
}

#[tokio::test]
async fn modules_of_ansible_and_our_own_say_and_do_the_same_as_through_ansible() {
    let Some(bench) = Bench::with_ansible() else {
        return;
    };
    let own = Modules::find_ansible(ModulePaths::default());
    assert_eq!(own.version(), None);
    let work = bench.at("work");
    let folder = |number: usize| work.join(number.to_string());
    let count = calls(&work).len();
    let all = (0..2 * count).map(|number| {
        let (name, arguments) = calls(&folder(number)).swap_remove(number / 2);
        (name, arguments, number % 2 == 1)
    });
    let all: Vec<(&str, Value, bool)> = all.collect();
    let state = |number: usize| {
        let mut found = Vec::new();
        state_of(&folder(number), &mut found);
        found
    };
    (0..all.len()).for_each(|number| fill(&folder(number)));
    let registered = registered(&bench, &all);
    let their_states: Vec<Vec<String>> = (0..all.len()).map(state).collect();
    let target = bench.target();
    let mut differences = Vec::new();
    for (modules, is_own) in [(&bench.modules, false), (&own, true)] {
        (0..all.len()).for_each(|number| fill(&folder(number)));
        for (number, (name, arguments, check)) in all.iter().enumerate() {
            let module = modules.find(name, &[], &[]).unwrap();
            let mut own = call(&module, arguments.clone());
            (own.check, own.diff) = (*check, true);
            let ours = essence(&bench.call(&target, &own).await.unwrap());
            let theirs = essence(&registered[number]);
            let (theirs, ours) = if is_own {
                (common(theirs), common(ours))
            } else {
                (theirs, ours)
            };
            let (their_state, our_state) = (json!(their_states[number]), json!(state(number)));
            for (theirs, ours) in [(theirs, ours), (their_state, our_state)] {
                if theirs != ours {
                    differences.push(format!(
                        "{name} {arguments} check={check} own={is_own}\n  ansible: {theirs}\n  ours:    {ours}"
                    ));
                }
            }
        }
    }
    assert!(
        differences.is_empty(),
        "{} differences:\n{}",
        differences.len(),
        differences.join("\n")
    );
}
