//! Tests of modules that run as another user, with a program that behaves like sudo.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use ratchet_runtime::Class;
use tokio_util::sync::CancellationToken;

use super::super::{CallError, FileSource, Target};
use super::{Bench, LIMIT, call, context, context_of, eventually, is_alive};
use crate::modules::{Become, ModuleCall, Secret};

/// A program that takes the arguments of sudo, and runs the command as the same user with `AS` in its environment. If
/// it has a password, it asks for it like sudo, up to three times.
const SUDO: &str = r#"#!/usr/bin/env python3
import os, sys
arguments, prompt, user, asks = sys.argv[1:], "", None, True
while arguments[0] != "--":
    flag = arguments.pop(0)
    if flag == "-n": asks = False
    if flag == "-p": prompt = arguments.pop(0)
    if flag == "-u": user = arguments.pop(0)
password = "PASSWORD"
if password and not asks:
    sys.exit("sudo: a password is required")
tries = 0
while password:
    tries += 1
    if tries > 3: sys.exit("sudo: 3 incorrect password attempts")
    os.write(2, prompt.encode())
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte: sys.exit("sudo: no password was provided")
        line += byte
    if line.strip().decode() == password: break
    os.write(2, b"Sorry, try again.\n")
os.environ["AS"] = user
os.execvp(arguments[1], arguments[1:])
"#;

/// Writes a program like sudo with this password. If the password is empty, the program does not ask for it.
fn sudo(bench: &Bench, password: &str) -> PathBuf {
    let path = bench.file(
        &format!("sudo-{password}"),
        &SUDO.replace("PASSWORD", password),
    );
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn privilege(program: &Path, password: Option<&str>) -> Become {
    Become {
        password: password.map(Secret::new),
        program: Some(program.display().to_string()),
        ..Become::new("other")
    }
}

async fn as_other(bench: &Bench, target: &Arc<Target>, privilege: &Become) -> Value {
    let show = bench.program(
        "show",
        "print(json.dumps({'as': os.environ.get('AS'), 'n': arguments.get('n')}))",
    );
    let shown = ModuleCall {
        privilege: Some(privilege.clone()),
        ..call(&show, json!({ "n": 7 }))
    };
    Value::Object(bench.call(target, &shown).await.unwrap())
}

#[tokio::test]
async fn a_module_runs_as_another_user_behind_a_kept_process() {
    let bench = Bench::new();
    let target = bench.target();
    let sudo = sudo(&bench, "");
    let result = as_other(&bench, &target, &privilege(&sudo, None)).await;
    assert_eq!(result, json!({ "as": "other", "n": 7, "changed": false }));
    let parent = bench.program("parent", "print(json.dumps({'parent': os.getppid()}))");
    let mut parents = Vec::new();
    for _ in 0..2 {
        let asked = ModuleCall {
            privilege: Some(privilege(&sudo, None)),
            ..call(&parent, json!({}))
        };
        parents.push(bench.call(&target, &asked).await.unwrap()["parent"].clone());
    }
    assert_eq!(parents[0], parents[1]);
    let own = bench
        .call(&target, &call(&parent, json!({})))
        .await
        .unwrap();
    assert_ne!(own["parent"], parents[0]);
    let path = bench
        .targets
        .send_file(
            &target,
            Some(&privilege(&sudo, None)),
            ("own", &FileSource::Bytes(vec![1])),
            &context(),
        )
        .await;
    assert_eq!(fs::read(path.unwrap()).unwrap(), [1]);
}

#[tokio::test]
async fn a_password_reaches_sudo_where_it_asks_for_one_and_nothing_else() {
    let bench = Bench::new();
    let target = bench.target();
    let asking = sudo(&bench, "geheim");
    let result = as_other(&bench, &target, &privilege(&asking, Some("geheim"))).await;
    assert_eq!((&result["as"], &result["n"]), (&json!("other"), &json!(7)));
    // A program that does not ask must not get the password: the worker behind it would read it as a request.
    let silent = sudo(&bench, "");
    assert_eq!(
        as_other(&bench, &target, &privilege(&silent, Some("geheim"))).await["as"],
        "other"
    );
    // The password is in no list of processes, and in no environment.
    let everything = std::process::Command::new("sh")
        .args(["-c", "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep -c '^geheim$'"])
        .output();
    assert_eq!(
        String::from_utf8_lossy(&everything.unwrap().stdout).trim(),
        "0"
    );
}

#[tokio::test]
async fn a_wrong_or_missing_password_fails_the_module_and_says_so() {
    let bench = Bench::new();
    let target = bench.target();
    let asking = sudo(&bench, "geheim");
    for (password, message) in [
        (None, "Missing sudo password"),
        (Some("falsch"), "Incorrect sudo password"),
    ] {
        let result = as_other(&bench, &target, &privilege(&asking, password)).await;
        assert_eq!(
            (&result["failed"], &result["msg"]),
            (&json!(true), &json!(message))
        );
    }
    // After a wrong password, the right one still works.
    assert_eq!(
        as_other(&bench, &target, &privilege(&asking, Some("geheim"))).await["as"],
        "other"
    );
    let missing = PathBuf::from("/no/such/sudo");
    let result = as_other(&bench, &target, &privilege(&missing, None)).await;
    assert!(
        result["msg"].as_str().unwrap().contains("No such file"),
        "{result}"
    );
}

#[tokio::test]
async fn a_call_as_another_user_can_be_cancelled_before_and_after_sudo_has_started() {
    let bench = Bench::new();
    let target = bench.target();
    // The first one starts nothing until the file exists.
    let waits = bench.file(
        "waits",
        "#!/bin/sh\ntouch FOLDER/asked\nwhile ! [ -e FOLDER/go ]; do sleep 0.01; done\n\
                            while [ \"$1\" != -- ]; do shift; done\nshift; exec \"$@\"\n",
    );
    let text = fs::read_to_string(&waits).unwrap();
    fs::write(
        &waits,
        text.replace("FOLDER", &bench.folder.path().display().to_string()),
    )
    .unwrap();
    fs::set_permissions(&waits, fs::Permissions::from_mode(0o755)).unwrap();
    let hang = bench.program(
        "hang",
        "open(arguments['own'], 'w').write(str(os.getpid()))\ntime.sleep(1000)",
    );
    let (own, asked) = (bench.at("own"), bench.at("asked"));
    let parent = bench.program("parent", "print(json.dumps({'parent': os.getppid()}))");
    let before = bench.result(&target, &parent, json!({})).await;
    for is_started in [false, true] {
        let hanging = ModuleCall {
            privilege: Some(privilege(&waits, None)),
            ..call(&hang, json!({ "own": own }))
        };
        let token = CancellationToken::new();
        let calling = {
            let (targets, target, context) = (
                Arc::clone(&bench.targets),
                Arc::clone(&target),
                context_of(&token),
            );
            tokio::spawn(async move { targets.call(&target, &hanging, &context).await })
        };
        if is_started {
            bench.file("go", "");
            eventually("the module runs", || is_alive(&own)).await;
        } else {
            eventually("sudo was called", || asked.exists()).await;
        }
        token.cancel();
        let ended = tokio::time::timeout(LIMIT, calling).await.unwrap().unwrap();
        assert!(
            matches!(&ended, Err(CallError::Failed(failure)) if failure.class == Class::Cancelled),
            "{ended:?}"
        );
        assert!(!is_alive(&own));
    }
    // The worker was asked to cancel the module, and was not killed.
    assert_eq!(bench.result(&target, &parent, json!({})).await, before);
}

#[tokio::test]
async fn what_runs_as_another_user_ends_with_the_connection() {
    let bench = Bench::new();
    let target = bench.target();
    let hang = bench.program(
        "hang",
        "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n\
         open(arguments['own'], 'w').write(str(os.getpid()))\ntime.sleep(1000)",
    );
    let own = bench.at("own");
    let hanging = ModuleCall {
        privilege: Some(privilege(&sudo(&bench, ""), None)),
        ..call(&hang, json!({ "own": own }))
    };
    let targets = Arc::clone(&bench.targets);
    let calling = tokio::spawn(async move { targets.call(&target, &hanging, &context()).await });
    eventually("the module runs", || is_alive(&own)).await;
    calling.abort();
    drop(bench.targets);
    eventually("the module is gone", || !is_alive(&own)).await;
}

#[tokio::test]
async fn a_raw_command_runs_as_another_user() {
    let bench = Bench::new();
    let target = bench.target();
    let asking = sudo(&bench, "geheim");
    let raw = async |privilege: &Become| {
        let result = bench
            .targets
            .raw(&target, Some(privilege), "echo $AS; cat", None, &context())
            .await;
        Value::Object(result.unwrap())
    };
    assert_eq!(
        raw(&privilege(&asking, Some("geheim"))).await["stdout"],
        "other\n"
    );
    assert_eq!(
        raw(&privilege(&sudo(&bench, ""), Some("geheim"))).await["stdout"],
        "other\n"
    );
    assert_eq!(
        raw(&privilege(&asking, None)).await["msg"],
        "Missing sudo password"
    );
}
