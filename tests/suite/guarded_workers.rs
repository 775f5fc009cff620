//! The worker libraries keep the same promises in every language.

use ratchet_ipc::{Cancel, Event, Nonce};
use ratchet_tests::{WorkerProcess, WorkerProtocol, present};

/// Returns the same worker in each language that is installed.
fn workers() -> Vec<(&'static str, WorkerProcess)> {
    let mut workers = vec![(
        "rust",
        WorkerProcess::start(env!("CARGO_BIN_EXE_guarded"), &[]),
    )];
    for (language, path) in [
        (
            WorkerProtocol::Python,
            concat!(env!("CARGO_MANIFEST_DIR"), "/workers/guarded.py"),
        ),
        (
            WorkerProtocol::Node,
            concat!(env!("CARGO_MANIFEST_DIR"), "/workers/guarded.mjs"),
        ),
    ] {
        if present(language, "its worker library is not tested") {
            workers.push((
                language.program(),
                WorkerProcess::start(language.program(), &[path]),
            ));
        }
    }
    workers
}

/// Starts the workers, and waits until they have said hello.
async fn introduced() -> Vec<(&'static str, WorkerProcess)> {
    let mut workers = workers();
    for (language, worker) in &mut workers {
        let hello = worker.event().await;
        assert!(matches!(hello, Event::Hello(_)), "{language}: {hello:?}");
    }
    workers
}

#[tokio::test]
async fn a_worker_introduces_itself() {
    for (language, mut worker) in workers() {
        let Event::Hello(hello) = worker.event().await else {
            panic!("{language}: no hello")
        };
        let name = (
            hello.name.as_deref(),
            hello.version.as_deref(),
            hello.concurrency.get(),
        );
        assert_eq!(name, (Some("guarded"), Some("1.0"), 1), "{language}");
        let tasks = hello.tasks.expect("it lists its tasks");
        for name in ["echo", "fail", "noisy", "talk", "wait"] {
            assert!(tasks.contains_key(name), "{language}: {name}");
        }
        assert!(
            tasks["echo"].cacheable && !tasks["wait"].cacheable,
            "{language}"
        );
    }
}

#[tokio::test]
async fn output_of_a_task_and_of_its_children_does_not_disturb_the_protocol() {
    for (language, mut worker) in introduced().await {
        worker.ask(1, "noisy", "null").await;
        worker.ask(2, "echo", "[\"\u{e9}\",1]").await;
        assert_eq!(
            worker.reply().await,
            (1, Ok("\"quiet\"".into())),
            "{language}"
        );
        assert_eq!(
            worker.reply().await,
            (2, Ok("[\"\u{e9}\",1]".replace('\u{e9}', spelled(language))))
        );
        let (status, stderr) = worker.end().await;
        assert!(status.success(), "{language}: {stderr}");
        assert!(
            stderr.contains("a print") && stderr.contains("a child"),
            "{language}: {stderr}"
        );
    }
}

/// Returns `é` in JSON as each language writes it. Python writes ASCII, which means the same.
fn spelled(language: &str) -> &'static str {
    if language == "python3" {
        "\\u00e9"
    } else {
        "\u{e9}"
    }
}

#[tokio::test]
async fn a_failure_has_every_field_of_the_protocol() {
    for (language, mut worker) in introduced().await {
        worker.ask(1, "fail", "null").await;
        let error = worker.reply().await.1.expect_err("it fails");
        assert_eq!(
            (&*error.code, &*error.message),
            ("not_found", "no such file"),
            "{language}"
        );
        assert_eq!(
            (error.retryable, error.retry_after_ms),
            (Some(false), Some(1500)),
            "{language}"
        );
        assert_eq!(
            error.data.expect("it has data").as_str(),
            "\"a.png\"",
            "{language}"
        );

        worker.ask(2, "fali", "null").await;
        let error = worker.reply().await.1.expect_err("there is no such task");
        assert_eq!(&*error.code, "unknown_task", "{language}");
        assert!(
            error.message.contains("fail, noisy, talk"),
            "{language}: {}",
            error.message
        );
    }
}

#[tokio::test]
async fn a_busy_worker_answers_pings_and_stops_when_it_is_cancelled() {
    for (language, mut worker) in introduced().await {
        worker.ask(1, "wait", "null").await;
        worker.ask(2, "echo", "1").await;
        assert!(
            matches!(worker.event().await, Event::Progress(_)),
            "{language}: it has begun"
        );
        worker.send(Event::Ping(Nonce { nonce: 5 })).await;
        assert_eq!(
            worker.event().await,
            Event::Pong(Nonce { nonce: 5 }),
            "{language}"
        );

        let cancel = |id: u64| {
            Event::Cancel(Cancel {
                id: id.into(),
                reason: None,
            })
        };
        for id in [2, 1] {
            worker.send(cancel(id)).await;
            let (answered, outcome) = worker.reply().await;
            assert_eq!(answered, id, "{language}");
            assert_eq!(
                outcome.expect_err("it was cancelled").code,
                "cancelled",
                "{language}"
            );
        }
        worker.ask(3, "echo", "3").await;
        assert_eq!(
            worker.reply().await,
            (3, Ok("3".into())),
            "{language}: it goes on"
        );
    }
}

#[tokio::test]
async fn a_reply_is_sent_before_the_next_request_is_done() {
    let cancel = |id: u64| {
        Event::Cancel(Cancel {
            id: id.into(),
            reason: None,
        })
    };
    for (language, mut worker) in introduced().await {
        // The cancel lies behind all three, so the last two wait together when the first one ends.
        worker.ask(1, "wait", "null").await;
        worker.ask(2, "echo", "2").await;
        worker.ask(3, "wait", "null").await;
        assert!(
            matches!(worker.event().await, Event::Progress(_)),
            "{language}: the first has begun"
        );
        worker.send(cancel(1)).await;
        let (answered, outcome) = worker.reply().await;
        assert_eq!((answered, outcome.is_err()), (1, true), "{language}");
        // The third runs until it is cancelled: nobody waited for it to send this.
        assert_eq!(worker.reply().await, (2, Ok("2".into())), "{language}");
        assert!(
            matches!(worker.event().await, Event::Progress(_)),
            "{language}: the third has begun"
        );
        worker.send(cancel(3)).await;
        let (answered, outcome) = worker.reply().await;
        assert_eq!((answered, outcome.is_err()), (3, true), "{language}");
    }
}

#[tokio::test]
async fn logs_and_progress_of_a_task_come_before_its_answer() {
    for (language, mut worker) in introduced().await {
        worker.ask(7, "talk", "null").await;
        let Event::Progress(progress) = worker.event().await else {
            panic!("{language}")
        };
        assert_eq!(
            (progress.done, progress.total),
            (Some(1.0), Some(2.0)),
            "{language}"
        );
        let Event::Log(log) = worker.event().await else {
            panic!("{language}")
        };
        assert_eq!(
            (log.level.as_str(), log.message.as_str()),
            ("warn", "odd"),
            "{language}"
        );
        assert_eq!(worker.reply().await, (7, Ok("null".into())), "{language}");
    }
}

#[tokio::test]
async fn requests_before_a_drain_are_answered() {
    for (language, mut worker) in introduced().await {
        for id in 1..=100 {
            worker.ask(id, "echo", "0").await;
        }
        worker.send(Event::Drain).await;
        for id in 1..=100 {
            assert_eq!(worker.reply().await, (id, Ok("0".into())), "{language}");
        }
        let (status, stderr) = worker.end().await;
        assert!(status.success(), "{language}: {stderr}");
    }
}

/// Where `/proc` shows it: a child of a Rust worker has no descriptor that a child of ours has not.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn children_of_a_worker_do_not_inherit_its_protocol_pipes() {
    let ours = std::process::Command::new("ls")
        .arg("/proc/self/fd")
        .output()
        .expect("it runs");
    let ours = String::from_utf8(ours.stdout).expect("it lists numbers");
    let mut worker = WorkerProcess::start(env!("CARGO_BIN_EXE_guarded"), &[]);
    assert!(matches!(worker.event().await, Event::Hello(_)));
    worker.ask(1, "descriptors", "null").await;
    let theirs = worker.reply().await.1.expect("it lists them");
    let ours: Vec<String> = ours.lines().map(|number| format!("\"{number}\"")).collect();
    assert_eq!(theirs, format!("[{}]", ours.join(",")));
}

/// The pipes of a shell are shared with whoever comes next in its list.
#[cfg(target_os = "linux")]
#[test]
fn a_worker_leaves_the_flags_of_its_pipes_unchanged() {
    use std::io::Read;
    use std::process::{Command, Stdio};

    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let status = Command::new(env!("CARGO_BIN_EXE_guarded"))
        .stdin(Stdio::null())
        .stdout(writer.try_clone().expect("another descriptor"))
        .status();
    assert!(status.expect("it starts").success());
    // The worker is gone, and the pipe's writer still waits for room instead of failing.
    let flags = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", descriptor(&writer)));
    let flags = flags.expect("the system says how it is open");
    let octal = flags
        .lines()
        .find_map(|line| line.strip_prefix("flags:\t"))
        .expect("flags");
    let flags = u32::from_str_radix(octal, 8).expect("they are octal");
    assert_eq!(flags & 0o4000, 0, "non-blocking: {octal}");
    drop(writer);
    let mut said = String::new();
    reader.read_to_string(&mut said).expect("it says UTF-8");
    assert!(said.contains("hello"), "{said}");
}

#[cfg(target_os = "linux")]
fn descriptor(pipe: &std::io::PipeWriter) -> i32 {
    use std::os::fd::AsRawFd;
    pipe.as_raw_fd()
}
