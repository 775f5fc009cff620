//! Workers that end when they should not.

use ratchet_runtime::Class;
use ratchet_runtime::process::{PoolConfig, Prefetch};
use ratchet_tests::{Holdings, all_gone, alone, eventually, resident_bytes, within};

use super::{Setting, fault, faulty, fine, is, job, meets, shell};
use ratchet_runtime::Timeouts;

#[test]
fn a_worker_that_exits_with_0_during_a_job_crashes_it() {
    alone(async {
        let failure = meets(
            faulty("exit_0"),
            Class::Crash,
            "worker faulty/1 ended with exit code 0 before it answered",
        )
        .await;
        assert!(failure.retryable);
    });
}

#[test]
fn a_worker_that_exits_with_3_crashes_its_job_and_its_stderr_is_kept() {
    alone(async {
        let failure = meets(
            faulty("exit_3"),
            Class::Crash,
            "worker faulty/1 ended with exit code 3 before it answered",
        )
        .await;
        let stderr = failure.stderr.as_deref();
        assert_eq!(stderr, Some("about to fail\nthe colour table is missing\n"));
    });
}

#[test]
fn a_worker_killed_by_a_signal_crashes_its_job() {
    alone(async {
        let setting = Setting::new(faulty("kill")).await;
        is(
            &setting.meet().await,
            Class::Crash,
            "worker faulty/1 was killed by signal 9 (SIGKILL) before it answered",
        );
        assert_eq!(setting.failures().await, [("exit", 1)]);
        setting.end().await;
    });
}

#[test]
fn children_that_hold_the_pipes_of_a_dead_worker_are_killed() {
    alone(async {
        meets(
            faulty("grandchildren"),
            Class::Crash,
            "worker faulty/1 ended with exit code 3 before it answered",
        )
        .await;
    });
}

#[test]
fn grandchildren_of_a_dead_worker_are_killed() {
    alone(async {
        meets(
            faulty("double_fork"),
            Class::Crash,
            "worker faulty/1 ended with exit code 3 before it answered",
        )
        .await;
    });
}

#[test]
fn a_daemon_that_holds_the_pipes_of_a_dead_worker_changes_neither_outcome_nor_stderr() {
    alone(async {
        // Out of reach by choice: it costs a moment, and neither the outcome nor its last words.
        let failure = meets(
            faulty("escapes"),
            Class::Crash,
            "worker faulty/1 ended with exit code 3 before it answered",
        )
        .await;
        assert_eq!(failure.stderr.as_deref(), Some("the last line\n"));
    });
}

#[test]
fn a_worker_that_dies_while_idle_is_replaced_and_charges_no_job() {
    alone(async {
        let setting = Setting::new(faulty("dies_idle")).await;
        let reply = within(setting.pool.run(fault(Timeouts::default()))).await;
        assert_eq!(fine(&reply), "\"fine\"");
        while setting.failures().await != [("exit", 1)] {
            tokio::task::yield_now().await;
        }
        let reply = setting.serve().await;
        assert_eq!(reply.worker.expect("somebody did it").as_str(), "faulty/2");
        setting.end().await;
    });
}

#[test]
fn a_worker_that_dies_while_it_is_asked_to_end_is_no_failure() {
    alone(async {
        let setting = Setting::new(faulty("dies_draining")).await;
        setting.serve().await;
        within(setting.pool.scale_to(0))
            .await
            .expect("it is possible");
        setting.end_unserved().await;
    });
}

#[test]
fn a_worker_that_dies_with_a_job_while_it_retires_crashes_that_job() {
    alone(async {
        let setting = Setting::new(faulty("hangs")).await;
        let pool = setting.pool.clone();
        let run = tokio::spawn(async move { pool.run(fault(Timeouts::default())).await });
        eventually("it runs", || {
            !ratchet_tests::marked(&setting.mark).is_empty()
        })
        .await;
        while setting.pool.metrics().await.expect("it lives").busy == 0 {
            tokio::task::yield_now().await;
        }
        within(setting.pool.scale_to(0))
            .await
            .expect("it is possible");
        let worker = ratchet_tests::marked(&setting.mark)[0];
        send("KILL", worker);
        let reply = within(run).await.expect("it ends");
        is(
            &reply.result.expect_err("it died"),
            Class::Crash,
            "worker faulty/1 was killed by signal 9 (SIGKILL) before it answered",
        );
        within(setting.pool.scale_to(1))
            .await
            .expect("it is possible");
        setting.end().await;
    });
}

pub(super) fn send(signal: &str, process: u32) {
    let sent = std::process::Command::new("sh")
        .args(["-c", &format!("kill -{signal} {process}")])
        .status();
    assert!(sent.is_ok_and(|status| status.success()));
}

#[test]
fn attempts_ahead_of_a_worker_that_dies_are_done_by_another() {
    alone(async {
        let config = PoolConfig {
            prefetch: Prefetch::Fixed(8),
            ..faulty("exit_3")
        };
        let setting = Setting::new(config).await;
        for _ in 0..5 {
            let crashes = setting.pool.run(fault(Timeouts::default()));
            let others = (0..8).map(|_| setting.pool.run(job("well")));
            let mut others: Vec<_> = others.map(Box::pin).collect();
            let (ended, done) = tokio::join!(within(crashes), async {
                let mut done = Vec::new();
                for other in &mut others {
                    done.push(within(other).await);
                }
                done
            });
            // This job is charged each time, the others never.
            assert_eq!(ended.result.expect_err("it died").class, Class::Crash);
            assert!(done.iter().all(|reply| fine(reply) == "\"fine\""));
        }
        setting.end().await;
    });
}

#[test]
fn a_worker_that_ends_after_its_answer_charges_no_attempt_that_it_was_sent_meanwhile() {
    alone(async {
        let answer_and_end = r#"echo '{"type":"response","id":"'$id'","result":"fine"}'; exit 5"#;
        let mut config = PoolConfig {
            prefetch: Prefetch::Fixed(8),
            ..shell(answer_and_end)
        };
        // Each of these ends is a failure of the pool.
        config.restart.intensity = 100;
        let setting = Setting::new(config).await;
        for _ in 0..5 {
            let last = setting.pool.run(fault(Timeouts::default()));
            let others = (0..8).map(|_| setting.pool.run(job("well")));
            let mut others: Vec<_> = others.map(Box::pin).collect();
            let (last, ()) = tokio::join!(within(last), async {
                for other in &mut others {
                    assert_eq!(fine(&within(other).await), "\"fine\"");
                }
            });
            assert_eq!(fine(&last), "\"fine\"");
        }
        setting.end().await;
    });
}

#[test]
fn a_lease_fails_further_jobs_after_its_worker_died() {
    alone(async {
        let setting = Setting::new(faulty("exit_3")).await;
        let mut lease = within(setting.pool.acquire()).await.expect("it is free");
        let reply = within(lease.run(fault(Timeouts::default()))).await;
        assert_eq!(reply.result.expect_err("it died").class, Class::Crash);
        let failure = within(lease.run(job("well"))).await.result;
        is(
            &failure.expect_err("there is nobody"),
            Class::Crash,
            "the leased worker has ended",
        );
        // The pool has another, whether the lease is kept or not.
        let other = within(setting.pool.acquire()).await.expect("it is free");
        assert_eq!(other.worker().as_str(), "faulty/2");
        drop((lease, other));
        setting.end().await;
    });
}

#[test]
fn a_thousand_crashes_in_a_pool_leak_nothing() {
    alone(async {
        let setting = Setting::new(faulty("exit_3")).await;
        let crash = async || {
            let failure = setting.meet().await;
            assert_eq!(failure.class, Class::Crash, "{failure}");
        };
        for _ in 0..50 {
            crash().await;
        }
        setting.serve().await;
        let (held, memory) = (Holdings::now(), resident_bytes());
        for _ in 0..1000 {
            crash().await;
        }
        setting.serve().await;
        eventually("as much is held as before", || Holdings::now() == held).await;
        let grown = resident_bytes().saturating_sub(memory);
        assert!(grown < 1 << 20, "{grown} bytes more");
        assert_eq!(setting.failures().await, [("exit", 1050)]);
        setting.end().await;
    });
}

#[test]
fn a_killed_host_leaves_no_workers() {
    alone(async {
        let mut host = std::process::Command::new(env!("CARGO_BIN_EXE_pools"))
            .arg(env!("CARGO_BIN_EXE_faulty"))
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        let mut stdout = std::io::BufReader::new(host.stdout.take().expect("it is piped"));
        std::io::BufRead::read_line(&mut stdout, &mut line).expect("it says when");
        let mark = format!("RATCHET_FAULT={}", host.id());
        let all = ratchet_tests::marked(&mark);
        // Two workers, the shell that each has started, and what that has started.
        assert!(all.len() >= 4, "{all:?}");
        host.kill().expect("it is there");
        host.wait().expect("it is killed");
        all_gone(&all).await;
    });
}
