//! Tests of the worker with modules that misbehave in various ways.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ratchet_runtime::Class;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::call::object;
use super::super::{CallError, FileSource};
use super::{Bench, LIMIT, call, context, context_of, eventually, is_alive};

#[tokio::test]
async fn a_worker_behind_a_banner_answers() {
    let bench = Bench::new();
    let target = bench.target_with(
        "sh -c 'echo Welcome; echo {\"type\"; printf no-end; HOME=HOME_OF_BENCH exec python3 \"$@\"' sh",
    );
    let result = bench.run(&target, "ping", json!({})).await;
    assert_eq!(result, json!({ "ping": "pong", "changed": false }));
}

#[tokio::test]
async fn a_module_that_crashes_or_prints_garbage_has_a_failed_result() {
    let bench = Bench::new();
    let target = bench.target();
    let crash = bench.program("crash", "raise Exception('boom')");
    let result = bench.result(&target, &crash, json!({})).await;
    assert_eq!(
        (&result["failed"], &result["rc"]),
        (&json!(true), &json!(1))
    );
    assert!(
        result["msg"]
            .as_str()
            .unwrap()
            .starts_with("MODULE FAILURE"),
        "{result}"
    );
    assert!(
        result["exception"].as_str().unwrap().contains("boom"),
        "{result}"
    );
    assert_eq!(result["changed"], false);

    let garbage = bench.program(
        "garbage",
        "print('no json'); sys.stderr.write('oops'); sys.exit(3)",
    );
    let result = bench.result(&target, &garbage, json!({})).await;
    assert_eq!(result["module_stdout"], "no json\n");
    assert_eq!(result["module_stderr"], "oops");
    assert_eq!(
        (&result["failed"], &result["rc"]),
        (&json!(true), &json!(3))
    );

    let killed = bench.program("killed", "os.kill(os.getpid(), 9)");
    let result = bench.result(&target, &killed, json!({})).await;
    assert!(
        result["msg"].as_str().unwrap().contains("signal 9"),
        "{result}"
    );

    let noisy = bench.program(
        "noisy",
        "print('warning: x'); print(json.dumps({'a': 1})); print('bye')",
    );
    assert_eq!(bench.result(&target, &noisy, json!({})).await["a"], 1);
    let odd = bench.program(
        "odd",
        r#"print('{"a": NaN, "b": "\\udcff", "c": 1e400, "d": [18446744073709551616, 18446744073709551615]}')"#,
    );
    let result = bench.result(&target, &odd, json!({})).await;
    assert_eq!(
        result,
        json!({
            "a": "nan",
            "b": "\u{fffd}",
            "c": "inf",
            "d": ["18446744073709551616", 18_446_744_073_709_551_615_u64],
            "changed": false,
        })
    );
}

#[tokio::test]
async fn a_cancelled_module_is_killed_with_its_session_before_the_call_returns() {
    let bench = Bench::new();
    let target = bench.target();
    let hang = bench.program(
        "hang",
        "import signal, subprocess\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n\
         child = subprocess.Popen(['sleep', '1000'])\nopen(arguments['child'], 'w').write(str(child.pid))\n\
         open(arguments['own'], 'w').write(str(os.getpid()))\ntime.sleep(1000)",
    );
    let (own, child) = (bench.at("own"), bench.at("child"));
    let token = CancellationToken::new();
    let hanging = call(&hang, json!({ "own": own, "child": child }));
    let calling = {
        let (targets, target, context) = (
            Arc::clone(&bench.targets),
            Arc::clone(&target),
            context_of(&token),
        );
        tokio::spawn(async move { targets.call(&target, &hanging, &context).await })
    };
    eventually("the module runs", || is_alive(&own) && is_alive(&child)).await;
    token.cancel();
    let ended = tokio::time::timeout(LIMIT, calling).await.unwrap().unwrap();
    let Err(CallError::Failed(failure)) = ended else {
        panic!("{ended:?}");
    };
    assert_eq!(failure.class, Class::Cancelled);
    assert!(
        !is_alive(&own) && !is_alive(&child),
        "something of the module lives on"
    );
    // The worker itself keeps running.
    assert_eq!(bench.run(&target, "ping", json!({})).await["ping"], "pong");
}

#[tokio::test]
async fn a_daemon_that_keeps_the_output_open_holds_nobody_up_and_lives_on() {
    let bench = Bench::new();
    let target = bench.target();
    let daemon = bench.program(
        "daemon",
        "pid = os.fork()\nif pid == 0:\n    os.setsid()\n    time.sleep(1000)\n\
         open(arguments['pid'], 'w').write(str(pid))\nprint(json.dumps({'changed': True}))",
    );
    let pid = bench.at("pid");
    assert_eq!(
        bench.result(&target, &daemon, json!({ "pid": pid })).await["changed"],
        true
    );
    assert!(is_alive(&pid));
    // The process that is left does not keep the worker from ending, either.
    tokio::time::timeout(LIMIT, bench.targets.shutdown())
        .await
        .unwrap();
    assert!(is_alive(&pid));
    let number = fs::read_to_string(&pid).unwrap();
    let killed = std::process::Command::new("kill")
        .arg(number.trim())
        .status();
    assert!(killed.unwrap().success());
}

#[tokio::test]
async fn modules_end_within_two_seconds_when_nobody_is_left_to_ask() {
    let bench = Bench::new();
    let target = bench.target();
    let hang = bench.program(
        "hang",
        "import signal, subprocess\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n\
         child = subprocess.Popen(['sleep', '1000'])\nopen(arguments['child'], 'w').write(str(child.pid))\n\
         open(arguments['parent'], 'w').write(str(os.getppid()))\n\
         open(arguments['own'], 'w').write(str(os.getpid()))\ntime.sleep(1000)",
    );
    let (own, child, parent) = (bench.at("own"), bench.at("child"), bench.at("parent"));
    let hanging = call(
        &hang,
        json!({ "own": own, "child": child, "parent": parent }),
    );
    let targets = Arc::clone(&bench.targets);
    let calling = tokio::spawn(async move { targets.call(&target, &hanging, &context()).await });
    eventually("the module runs", || is_alive(&own) && is_alive(&child)).await;
    // The manager can only kill the process that it knows: the shell above the worker. The worker has to notice that
    // itself.
    let worker = fs::read_to_string(&parent).unwrap();
    let status = fs::read_to_string(format!("/proc/{worker}/status")).unwrap();
    let shell = status
        .lines()
        .find_map(|line| line.strip_prefix("PPid:"))
        .unwrap();
    let killed = std::process::Command::new("kill")
        .args(["-KILL", shell.trim()])
        .status();
    assert!(killed.unwrap().success());
    let begun = Instant::now();
    eventually("the module is gone", || {
        !is_alive(&own) && !is_alive(&child)
    })
    .await;
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
    eventually("the worker is gone", || !is_alive(&parent)).await;
    assert!(
        tokio::time::timeout(LIMIT, calling)
            .await
            .unwrap()
            .unwrap()
            .is_err()
    );
}

#[tokio::test]
async fn fifty_modules_run_at_once_on_a_target() {
    let bench = Bench::new();
    let target = bench.target();
    let begin = bench.file("gate", "");
    let wait = bench.program(
        "wait",
        "open(arguments['mark'], 'w').close()\nwhile os.path.exists(arguments['gate']):\n    time.sleep(0.01)\n\
         print(json.dumps({'n': arguments['n']}))",
    );
    let marks = bench.at("marks");
    fs::create_dir(&marks).unwrap();
    let calls: Vec<_> = (0..50)
        .map(|n| {
            let waiting = call(
                &wait,
                json!({ "n": n, "gate": begin, "mark": marks.join(n.to_string()) }),
            );
            let (targets, target) = (Arc::clone(&bench.targets), Arc::clone(&target));
            tokio::spawn(async move { targets.call(&target, &waiting, &context()).await })
        })
        .collect();
    eventually("all fifty run", || {
        fs::read_dir(&marks).unwrap().count() == 50
    })
    .await;
    fs::remove_file(&begin).unwrap();
    for (n, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await.unwrap().unwrap()["n"], n);
    }
}

#[tokio::test]
async fn large_arguments_and_results_arrive_whole() {
    let bench = Bench::new();
    let target = bench.target();
    let double = bench.program(
        "double",
        "print(json.dumps({'text': arguments['text'] * 2}))",
    );
    let text = "ä\n\"x".repeat(1 << 20);
    let result = bench
        .result(&target, &double, json!({ "text": text }))
        .await;
    assert!(
        result["text"] == json!(text.repeat(2)),
        "{:.200}",
        result.to_string()
    );
    let flood = bench.program("flood", "sys.stdout.write('{' + 'x' * (65 << 20) + '}')");
    let result = bench.result(&target, &flood, json!({})).await;
    assert!(
        result["msg"]
            .as_str()
            .unwrap()
            .contains("printed more than"),
        "{}",
        result["msg"]
    );
}

#[tokio::test]
async fn a_bundle_that_does_not_have_its_hash_is_refused_and_sent_again() {
    let bench = Bench::new();
    let target = bench.target();
    let input =
        object(json!({ "hash": "0".repeat(64), "offset": 0, "data": "AAAA", "is_last": true }));
    let refused = bench
        .targets
        .request(&target, "bundle", None, input, &context())
        .await;
    let Err(super::super::call::Refusal::Refused(failure)) = refused else {
        panic!("it was taken");
    };
    assert_eq!(failure.code.as_deref(), Some("bundle"));

    // A bundle in the cache of the host is not run if it was changed.
    assert_eq!(bench.run(&target, "ping", json!({})).await["ping"], "pong");
    bench.targets.reset(&target).await;
    let cache = bench.at("home/.cache/ratchet/ansible");
    let files: Vec<_> = fs::read_dir(&cache)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    let [file] = files.as_slice() else {
        panic!("{files:?}");
    };
    let whole = fs::read(file).unwrap();
    fs::write(file, b"print('evil')").unwrap();
    assert_eq!(bench.run(&target, "ping", json!({})).await["ping"], "pong");
    assert_eq!(fs::read(file).unwrap(), whole);
}

#[tokio::test]
async fn a_cache_that_others_can_write_to_is_not_used() {
    let bench = Bench::new();
    let target = bench.target();
    let cache = bench.at("home/.cache/ratchet/ansible");
    fs::create_dir_all(&cache).unwrap();
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o770)).unwrap();
    assert_eq!(bench.run(&target, "ping", json!({})).await["ping"], "pong");
    assert_eq!(fs::read_dir(&cache).unwrap().count(), 0);
}

#[tokio::test]
async fn a_host_without_a_python_that_is_new_enough_says_so() {
    let bench = Bench::new();
    let missing = bench.target_with("/no/such/python");
    let result = bench.run(&missing, "ping", json!({})).await;
    assert_eq!(result["failed"], true);
    assert!(
        result["msg"]
            .as_str()
            .unwrap()
            .contains("there is no Python at"),
        "{result}"
    );

    // An old Python can parse the code of the worker, which then reports that the Python is too old.
    let old = bench.file(
        "old",
        "#!/bin/sh\ncode=$(printf %s \"$3\" | sed 's/sys.version_info<(3,8)/True /')\nexec python3 -u -c \"$code\"\n",
    );
    let made = std::process::Command::new("chmod")
        .arg("+x")
        .arg(&old)
        .status();
    assert!(made.unwrap().success());
    let result = bench
        .run(
            &bench.target_with(&old.display().to_string()),
            "ping",
            json!({}),
        )
        .await;
    assert!(
        result["msg"]
            .as_str()
            .unwrap()
            .contains("3.8 or later is needed"),
        "{result}"
    );
}

#[tokio::test]
async fn a_worker_that_was_killed_takes_its_modules_along_and_is_started_again_by_the_next_call() {
    let bench = Bench::new();
    let target = bench.target();
    let own = bench.at("own");
    let killer = bench.program(
        "killer",
        "open(arguments['own'], 'w').write(str(os.getpid()))\nos.kill(os.getppid(), 9)\ntime.sleep(1000)",
    );
    let ended = bench
        .call(&target, &call(&killer, json!({ "own": own })))
        .await;
    let Err(CallError::Failed(failure)) = ended else {
        panic!("{ended:?}");
    };
    assert_eq!(failure.class, Class::Crash);
    eventually("the module is gone", || !is_alive(&own)).await;
    assert_eq!(bench.run(&target, "ping", json!({})).await["ping"], "pong");
}

#[tokio::test]
async fn a_module_has_no_open_files_but_its_own() {
    let bench = Bench::new();
    // Files that a test runner or a lock leaves open must not stay open in a daemon of a module.
    let inherited = bench.file("inherited", "");
    let python = format!(
        "sh -c 'exec 9<{}; HOME=HOME_OF_BENCH exec python3 \"$@\"' sh",
        inherited.display()
    );
    let target = bench.target_with(&python);
    let show = bench.program(
        "show",
        "print(json.dumps({'open': sorted(n for n in os.listdir('/dev/fd') if os.path.exists('/dev/fd/' + n))}))",
    );
    let busy = call(&show, json!({}));
    let open = bench.call(&target, &busy).await.unwrap();
    assert_eq!(open["open"], json!(["0", "1", "2"]));
}

#[tokio::test]
async fn the_environment_and_the_check_mode_reach_a_module() {
    let bench = Bench::new();
    let target = bench.target();
    let show = bench.program(
        "show",
        "print(json.dumps({'name': os.environ.get('NAME'), 'arguments': arguments}))",
    );
    let mut shown = call(&show, json!({ "a": [1, { "b": null }] }));
    shown.environment = vec![("NAME".to_owned(), "va lue".to_owned())];
    (shown.check, shown.diff, shown.no_log, shown.verbosity) = (true, true, true, 3);
    let result = bench.call(&target, &shown).await.unwrap();
    assert_eq!(result["name"], "va lue");
    let arguments = &result["arguments"];
    assert_eq!(arguments["a"], json!([1, { "b": null }]));
    for name in ["check_mode", "diff", "no_log"] {
        assert_eq!(arguments[format!("_ansible_{name}")], true, "{name}");
    }
    assert_eq!(arguments["_ansible_verbosity"], 3);
    // The next module does not see it.
    assert_eq!(
        bench.result(&target, &show, json!({})).await["name"],
        Value::Null
    );
}

#[tokio::test]
async fn a_program_that_does_not_want_json_gets_words() {
    let bench = Bench::new();
    let target = bench.target();
    bench.file(
        "library/words",
        "#!/bin/sh\n. \"$1\"\necho \"{\\\"a\\\": \\\"$a\\\"}\"\n",
    );
    let words = bench
        .modules
        .find("words", &[bench.at("library")], &[])
        .unwrap();
    assert_eq!(
        bench.result(&target, &words, json!({ "a": "b c" })).await["a"],
        "b c"
    );
}

#[tokio::test]
async fn files_of_any_size_are_sent_fetched_and_removed() {
    let bench = Bench::new();
    let target = bench.target();
    for size in [0, 1, (2 << 20), (5 << 20) + 7] {
        let bytes: Vec<u8> = (0..size).map(|n: u32| (n % 251) as u8).collect();
        let source = bench.at("source");
        fs::write(&source, &bytes).unwrap();
        for source in [FileSource::Bytes(bytes.clone()), FileSource::Path(source)] {
            let path = bench
                .targets
                .send_file(&target, None, ("some file", &source), &context())
                .await
                .unwrap();
            assert!(path.ends_with("/some file"), "{path}");
            assert!(
                fs::read(&path).unwrap() == bytes,
                "{size} bytes were not sent"
            );
            assert_eq!(
                fs::metadata(&path).unwrap().permissions().mode() & 0o777,
                0o600
            );
            let back = bench.at("back");
            let fetched = bench
                .targets
                .fetch_file(&target, None, &path, &back, &context())
                .await
                .unwrap();
            assert_eq!((fetched.size, fetched.mode), (u64::from(size), 0o600));
            assert!(
                fs::read(&back).unwrap() == bytes,
                "{size} bytes were not fetched"
            );
            bench
                .targets
                .remove(&target, None, &path, &context())
                .await
                .unwrap();
            assert!(!fs::exists(Path::new(&path).parent().unwrap()).unwrap());
            // It is no error if a module has moved the file.
            bench
                .targets
                .remove(&target, None, &path, &context())
                .await
                .unwrap();
        }
    }
    // No other file can be removed, and a file that does not exist cannot be fetched.
    let other = bench.file("other", "");
    let refused = bench
        .targets
        .remove(&target, None, &other.display().to_string(), &context())
        .await;
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("is no file that was sent")
    );
    assert!(other.exists());
    let into = bench.at("into");
    let missing = bench
        .targets
        .fetch_file(&target, None, "/no/such/file", &into, &context())
        .await;
    assert!(missing.unwrap_err().to_string().contains("No such file"));
    assert!(!into.exists());
    // A file that is left is removed when the worker ends.
    let left = bench
        .targets
        .send_file(
            &target,
            None,
            ("left", &FileSource::Bytes(vec![1])),
            &context(),
        )
        .await
        .unwrap();
    bench.targets.shutdown().await;
    assert!(!fs::exists(&left).unwrap());
}

#[tokio::test]
async fn a_raw_command_needs_no_python() {
    let bench = Bench::new();
    let target = bench.target_with("/no/such/python");
    let raw = |command: &'static str| {
        let (targets, target) = (Arc::clone(&bench.targets), Arc::clone(&target));
        async move {
            Value::Object(
                targets
                    .raw(&target, None, command, None, &context())
                    .await
                    .unwrap(),
            )
        }
    };
    let result = raw("echo \"it's\"; echo two; echo oops >&2; cat").await;
    assert_eq!(
        result,
        json!({
            "changed": true, "rc": 0, "stdout": "it's\ntwo\n", "stdout_lines": ["it's", "two"], "stderr": "oops\n",
            "stderr_lines": ["oops"],
        })
    );
    let result = raw("exit 3").await;
    assert_eq!(
        (&result["rc"], &result["failed"], &result["msg"]),
        (&json!(3), &json!(true), &json!("non-zero return code"))
    );
    let result = raw("sleep 1000 & echo $! ").await;
    assert_eq!(result["rc"], 0);
}
