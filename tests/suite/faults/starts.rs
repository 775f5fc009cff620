//! Workers that never come to work.

use std::os::unix::fs::PermissionsExt;

use ratchet_ipc::HandshakeMode;
use ratchet_runtime::process::{PoolConfig, ProcessConfig};
use ratchet_runtime::{Class, Timeouts};
use ratchet_tests::{alone, marked, within};

use super::{SHORT, Setting, fault, faulty, fine, is, job, patient};

/// Checks that a pool is given up: each job fails with the same message, and nothing more is started.
async fn given_up(setting: Setting, class: Class, message: &str, spawned: u64) {
    for _ in 0..3 {
        let reply = within(setting.pool.run(job("well"))).await;
        let failure = *reply.result.expect_err("there is nobody");
        is(&failure, class, message);
        assert!(!failure.retryable);
    }
    let refused = within(setting.pool.acquire())
        .await
        .expect_err("there is nobody");
    is(&refused, class, message);
    let metrics = setting.pool.metrics().await.expect("it lives");
    assert_eq!((metrics.spawned, metrics.size), (spawned, 0));
    setting.end_unserved().await;
}

#[test]
fn a_worker_whose_program_does_not_exist_is_given_up() {
    alone(async {
        let config = patient(PoolConfig::new(
            "faulty",
            ProcessConfig::new("./no-such-worker"),
        ));
        given_up(
            Setting::new(config).await,
            Class::Spawn,
            "worker faulty/1 could not be started: there is no program `./no-such-worker`",
            1,
        )
        .await;
    });
}

fn file(folder: &tempfile::TempDir, content: &str, mode: u32) -> (PoolConfig, String) {
    let path = folder.path().join("worker");
    std::fs::write(&path, content).expect("it is written");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("it is set");
    let name = path.display().to_string();
    (
        patient(PoolConfig::new("faulty", ProcessConfig::new(path))),
        name,
    )
}

#[test]
fn a_worker_whose_program_is_not_executable_is_given_up() {
    alone(async {
        let folder = tempfile::tempdir().expect("a folder");
        let (config, name) = file(&folder, "#!/bin/sh\n", 0o644);
        let message = format!(
            "worker faulty/1 could not be started: `{name}` may not be run: it is not executable"
        );
        given_up(Setting::new(config).await, Class::Spawn, &message, 1).await;
    });
}

#[test]
fn a_worker_whose_file_is_no_program_is_given_up_at_once() {
    alone(async {
        let folder = tempfile::tempdir().expect("a folder");
        let (config, name) = file(&folder, "\u{1}\u{2}", 0o755);
        let message = format!(
            "worker faulty/1 could not be started: `{name}` is not a program for this system, \
             and has no `#!` line"
        );
        given_up(Setting::new(config).await, Class::Spawn, &message, 1).await;
    });
}

#[test]
fn a_worker_that_dies_on_every_start_is_given_up() {
    alone(async {
        let setting = Setting::new(faulty("never_starts")).await;
        let failure = setting.meet().await;
        assert_eq!(
            failure.stderr.as_deref(),
            Some("no such library: libcolour.so.3\n")
        );
        given_up(
            setting,
            Class::Spawn,
            "worker `faulty` is given up: 3 of its workers failed within 1000s; \
             the last, faulty/3, ended with exit code 7",
            3,
        )
        .await;
    });
}

#[test]
fn a_worker_that_has_to_say_hello_and_does_not_is_killed() {
    alone(async {
        let setting = Setting::new(PoolConfig {
            handshake: HandshakeMode::Required,
            handshake_wait: SHORT,
            ..faulty("says_nothing")
        })
        .await;
        let failure = setting.meet().await;
        assert_eq!(failure.class, Class::Protocol);
        assert!(
            failure.message.starts_with(
                "worker `faulty` is given up: 3 of its workers failed within 1000s; \
                 the last, faulty/3, cannot be used: "
            ),
            "{failure}"
        );
        let message = failure.message;
        given_up(setting, Class::Protocol, &message, 3).await;
    });
}

#[test]
fn a_worker_that_says_no_hello_still_gets_jobs() {
    alone(async {
        let setting = Setting::new(PoolConfig {
            handshake_wait: SHORT,
            ..faulty("says_nothing")
        })
        .await;
        setting.end().await;
    });
}

#[test]
fn a_worker_that_speaks_another_protocol_version_is_given_up() {
    alone(async {
        let setting = Setting::new(faulty("wrong_version")).await;
        let failure = setting.meet().await;
        assert_eq!(failure.class, Class::Protocol);
        assert!(
            failure.message.contains("99") && failure.message.contains('1'),
            "it names both: {failure}"
        );
        let message = failure.message;
        given_up(setting, Class::Protocol, &message, 1).await;
    });
}

#[test]
fn a_worker_that_is_not_ready_in_time_is_killed() {
    alone(async {
        let setting = Setting::new(PoolConfig {
            start_timeout: SHORT,
            ..faulty("never_ready")
        })
        .await;
        given_up(
            setting,
            Class::Spawn,
            "worker `faulty` is given up: 3 of its workers failed within 1000s; \
             the last, faulty/3, was not ready within 200ms",
            3,
        )
        .await;
    });
}

#[test]
fn a_worker_that_is_not_ready_in_time_is_replaced_by_one_that_is() {
    alone(async {
        let folder = tempfile::tempdir().expect("a folder");
        let script = format!(
            "mkdir {}/tried 2>/dev/null && exec {faulty} never_ready; exec {faulty} well",
            folder.path().display(),
            faulty = env!("CARGO_BIN_EXE_faulty")
        );
        let setting = Setting::new(PoolConfig {
            start_timeout: SHORT,
            ..patient(PoolConfig::new(
                "faulty",
                ProcessConfig::new("sh").args(["-c", &script]),
            ))
        })
        .await;
        let reply = setting.serve().await;
        assert_ne!(reply.worker.expect("somebody did it").as_str(), "faulty/1");
        setting.end().await;
    });
}

#[test]
fn a_worker_gets_no_job_before_it_is_ready() {
    alone(async {
        let folder = tempfile::tempdir().expect("a folder");
        let [said, go] = ["said", "go"].map(|name| folder.path().join(name));
        // The worker says more after its hello than its pipe and its host can hold, so when that is written, the host
        // has read the hello.
        let script = r#"
            import json, os, select, sys, time
            def say(**message):
                print(json.dumps(message), flush=True)
            say(type="event", event="hello", protocol=[1], name="late", capabilities=["ready"])
            for _ in range(10000):
                say(type="event", event="unknown", filler="x" * 1000)
            open(sys.argv[1], "w").close()
            while not os.path.exists(sys.argv[2]):
                time.sleep(0.01)
            early = bool(select.select([0], [], [], 0)[0])
            say(type="event", event="ready")
            for line in sys.stdin:
                message = json.loads(line)
                if message["type"] == "request":
                    say(type="response", id=message["id"], result="early" if early else "fine")
        "#;
        let unindented: Vec<_> = script
            .lines()
            .map(|line| line.get(12..).unwrap_or(""))
            .collect();
        if !ratchet_tests::present(
            ratchet_tests::WorkerProtocol::Python,
            "a worker that is ready late is not tested",
        ) {
            return;
        }
        let setting = Setting::new(patient(PoolConfig::new(
            "faulty",
            ProcessConfig::new("python3")
                .args(["-c", &unindented.join("\n")])
                .args([&said, &go]),
        )))
        .await;
        ratchet_tests::eventually("the worker has said hello", || said.exists()).await;
        let mut running = Box::pin(setting.pool.run(job("well")));
        // The supervisor answers in order, so it has taken the job in before it answers the first of these questions, and
        // what follows from that has happened before the last.
        let asked = async {
            for _ in 0..100 {
                let metrics = setting.pool.metrics().await.expect("the supervisor lives");
                assert_eq!(metrics.busy, 0, "the worker has a job before it is ready");
            }
        };
        tokio::select! {
            biased;
            reply = &mut running => panic!("it is done before the worker is ready: {reply:?}"),
            () = within(asked) => {}
        }
        std::fs::write(&go, "").expect("it is written");
        let reply = within(running).await;
        assert_eq!(fine(&reply), "\"fine\"");
        assert_eq!(marked(&setting.mark).len(), 1);
        let again = within(setting.pool.run(fault(Timeouts::default()))).await;
        assert_eq!(fine(&again), "\"fine\"");
        setting.end().await;
    });
}
