//! Workers that take too long, and those that do not listen.

use std::time::Duration;

use ratchet_runtime::process::{PoolConfig, ProcessConfig};
use ratchet_runtime::{Class, Job, Payload, Timeouts};
use ratchet_tests::{alone, cpu_time, eventually, marked, process_state, within};
use tokio::time::Instant;

use super::ends::send;
use super::{LONG, SHORT, Setting, fault, faulty, fine, hard, is, job, patient};

#[test]
fn a_worker_stopped_by_sigstop_is_killed_at_the_timeout_of_its_job() {
    alone(async {
        let setting = Setting::new(faulty("stop")).await;
        let start = Instant::now();
        is(
            &setting.meet_within(hard(SHORT)).await,
            Class::Timeout,
            "timed out after 200ms",
        );
        assert!(start.elapsed() >= SHORT);
        setting.end().await;
    });
}

#[test]
fn an_idle_worker_stopped_by_sigstop_is_found_by_a_ping() {
    alone(async {
        let config = PoolConfig {
            ping: Some(SHORT),
            ..faulty("stopped_idle")
        };
        let setting = Setting::new(config).await;
        let reply = within(setting.pool.run(fault(Timeouts::default()))).await;
        assert_eq!(fine(&reply), "\"fine\"");
        setting.failed_for("no_pong").await;
        assert_eq!(
            setting.serve().await.worker.expect("somebody").as_str(),
            "faulty/2"
        );
        // The worker cannot answer a ping either, which is the subject of another test.
        setting.end_unserved().await;
    });
}

#[test]
fn a_hanging_worker_that_cannot_be_cancelled_is_killed_at_the_timeout() {
    alone(async {
        let setting = Setting::new(PoolConfig {
            handshake_wait: Duration::from_millis(1),
            ..faulty("hangs_unasked")
        })
        .await;
        is(
            &setting.meet_within(Timeouts::after(SHORT)).await,
            Class::Timeout,
            "timed out after 200ms",
        );
        setting.end().await;
    });
}

/// Makes a worker that ignores SIGTERM and the end of its stdin, and does not stop when it is asked to.
fn stubborn() -> PoolConfig {
    let script = format!(
        "trap '' TERM HUP INT; exec {} hangs",
        env!("CARGO_BIN_EXE_faulty")
    );
    patient(PoolConfig::new(
        "faulty",
        ProcessConfig::new("sh").args(["-c", &script]),
    ))
}

#[test]
fn a_worker_that_ignores_a_cancel_is_killed_at_the_hard_timeout() {
    alone(async {
        let setting = Setting::new(stubborn()).await;
        let start = Instant::now();
        let timeouts = Timeouts {
            soft: Some(SHORT),
            hard: Some(SHORT * 7),
            ..Timeouts::default()
        };
        is(
            &setting.meet_within(timeouts).await,
            Class::Timeout,
            "timed out after 200ms",
        );
        assert!(start.elapsed() >= SHORT * 7);
        setting.end().await;
    });
}

#[test]
fn a_worker_that_ignores_being_asked_to_end_is_killed() {
    alone(async {
        // Asked by the end of its stdin, then by a signal, for so long each.
        let setting = Setting::new(PoolConfig {
            grace: SHORT,
            ..patient(PoolConfig::new(
                "faulty",
                ProcessConfig::new("sh").args([
                    "-c",
                    r#"trap '' TERM HUP INT
                    echo '{"type":"event","event":"hello","protocol":[1],"name":"stubborn"}'
                    while :; do sleep 1000; done"#,
                ]),
            ))
        })
        .await;
        let lease = within(setting.pool.acquire()).await.expect("it starts");
        drop(lease);
        let start = Instant::now();
        within(setting.supervisor.shutdown()).await;
        assert!(start.elapsed() >= SHORT * 2);
        setting.end_unserved().await;
    });
}

#[test]
fn an_answer_after_the_timeout_does_not_count_and_the_worker_stays() {
    alone(async {
        let setting = Setting::new(faulty("late")).await;
        let failure = setting.meet_within(Timeouts::after(SHORT)).await;
        is(&failure, Class::Timeout, "timed out after 200ms");
        // The worker was asked to stop, and has stopped.
        let reply = setting.serve().await;
        assert_eq!(reply.worker.expect("somebody did it").as_str(), "faulty/1");
        setting.end().await;
    });
}

#[test]
fn a_worker_that_ignores_the_cancel_of_a_dropped_call_is_killed_after_the_grace() {
    alone(async {
        let setting = Setting::new(PoolConfig {
            grace: SHORT,
            ..faulty("stop")
        })
        .await;
        let is_stopped = || {
            let worker = marked(&setting.mark).into_iter();
            worker.map(process_state).any(|state| state == Some('T'))
        };
        tokio::select! {
            reply = setting.pool.run(fault(Timeouts::default())) => panic!("it is stopped: {reply:?}"),
            () = eventually("the worker has stopped itself", is_stopped) => {}
        }
        // The only worker of the pool is stopped, so the next job is done only if that worker was killed and replaced.
        let reply = setting.serve().await;
        assert_eq!(reply.worker.expect("somebody did it").as_str(), "faulty/2");
        setting.end().await;
    });
}

#[test]
fn a_job_beside_a_hanging_one_on_the_same_worker_is_not_charged() {
    alone(async {
        let setting = Setting::new(faulty("one_of_two_hangs")).await;
        let slow = setting.pool.run(fault(hard(SHORT)));
        let neighbour = setting.pool.run(fault(hard(SHORT * 2)));
        let (slow, neighbour) = within(async { tokio::join!(slow, neighbour) }).await;
        is(
            &slow.result.expect_err("it hangs"),
            Class::Timeout,
            "timed out after 200ms",
        );
        // The job began again on another worker, with its whole timeout.
        is(
            &neighbour.result.expect_err("it hangs"),
            Class::Timeout,
            "timed out after 400ms",
        );
        assert!(neighbour.ran >= SHORT * 2);
        assert_eq!(neighbour.worker.expect("somebody").as_str(), "faulty/2");
        setting.end().await;
    });
}

#[test]
fn jobs_behind_a_worker_that_stops_reading_are_done_by_another() {
    alone(async {
        let setting = Setting::new(PoolConfig {
            prefetch: ratchet_runtime::process::Prefetch::Fixed(64),
            ..faulty("stop")
        })
        .await;
        let large = Payload::from_text(&"x".repeat(1 << 20));
        let stopped = setting.pool.run(fault(hard(SHORT)));
        let large = || setting.pool.run(Job::task("b", "any", large.clone()));
        let others: Vec<_> = (0..64).map(|_| Box::pin(large())).collect();
        let others = async {
            for other in others {
                assert_eq!(fine(&within(other).await), "\"fine\"");
            }
        };
        let (stopped, ()) = tokio::join!(within(stopped), others);
        assert_eq!(stopped.result.expect_err("it hangs").class, Class::Timeout);
        setting.end().await;
    });
}

#[test]
fn idle_workers_use_no_processor_time() {
    alone(async {
        let config = PoolConfig {
            size: ratchet_runtime::process::Size::between(1, 4),
            ping: Some(LONG),
            ..faulty("hangs")
        };
        let setting = Setting::new(config).await;
        setting.serve().await;
        // Idle, and then with a worker that is busy and one in vain waited for.
        for busy in [false, true] {
            let running = setting.pool.run(fault(Timeouts::default()));
            let before = cpu_time();
            if busy {
                let waited = tokio::time::timeout(SHORT * 2, running).await;
                assert!(waited.is_err(), "it hangs");
            } else {
                tokio::time::sleep(SHORT * 2).await;
            }
            let used = cpu_time().saturating_sub(before);
            assert!(used < SHORT / 5, "{used:?} of {:?}", SHORT * 2);
        }
        send("KILL", marked(&setting.mark)[0]);
        setting.end().await;
    });
}

#[test]
fn a_shutdown_does_not_wait_for_workers_that_are_starting() {
    alone(async {
        let setting = Setting::new(PoolConfig {
            grace: SHORT,
            ..faulty("never_ready")
        })
        .await;
        let pool = setting.pool.clone();
        let waiting = tokio::spawn(async move { pool.run(job("well")).await });
        setting.pool.size().await.expect("it lives");
        within(setting.supervisor.shutdown()).await;
        let failure = within(waiting).await.expect("it ends").result;
        is(
            &failure.expect_err("there is nobody"),
            Class::Cancelled,
            "the workers are shutting down",
        );
        setting.end_unserved().await;
    });
}
