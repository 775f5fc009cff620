//! Workers that misuse their pipes.

use std::time::Duration;

use ratchet_runtime::process::PoolConfig;
use ratchet_runtime::{Class, Job, Payload, Timeouts};
use ratchet_tests::{alone, cpu_time, resident_bytes, within};
use tokio::time::Instant;

use super::{SHORT, Setting, fault, faulty, fine, hard, is, job, meets, shell};

#[test]
fn a_worker_that_closes_its_stdout_and_lives_is_killed() {
    alone(async {
        let setting = Setting::new(shell("exec >&-; exec sleep 1000")).await;
        is(
            &setting.meet().await,
            Class::Crash,
            "worker faulty/1 closed its stdout, so it could not answer any more and was killed",
        );
        assert_eq!(setting.failures().await, [("closed_output", 1)]);
        setting.end().await;
    });
}

#[test]
fn stderr_of_a_worker_after_it_closed_its_stdout_is_kept() {
    alone(async {
        // More than a pipe holds: it ends only if somebody reads it.
        let dying = "exec >&-; head -c 300000 /dev/zero >&2; echo gone >&2; exit 3";
        let failure = meets(
            shell(dying),
            Class::Crash,
            "worker faulty/1 ended with exit code 3 before it answered",
        )
        .await;
        assert!(failure.stderr.is_some_and(|text| text.ends_with("gone\n")));
    });
}

#[test]
fn a_worker_that_closes_its_stdin_crashes_the_next_job_and_is_replaced() {
    alone(async {
        let answer = r#"echo '{"type":"response","id":"'$id'","result":"fine"}'"#;
        let setting = Setting::new(PoolConfig {
            grace: SHORT,
            ..shell(&format!("exec <&-; {answer}; exec sleep 1000"))
        })
        .await;
        let reply = within(setting.pool.run(fault(Timeouts::default()))).await;
        assert_eq!(fine(&reply), "\"fine\"");
        // The first that it cannot be asked is charged with it; one more finds it gone, or another.
        let before = cpu_time();
        let start = Instant::now();
        let (found, other) = within(async {
            tokio::join!(setting.pool.run(job("well")), setting.pool.run(job("well")))
        })
        .await;
        is(
            &found.result.expect_err("it cannot be asked"),
            Class::Crash,
            "worker faulty/1 closed its stdin, so it could get no more jobs and was ended",
        );
        assert_eq!(fine(&other), "\"fine\"");
        assert!(start.elapsed() >= SHORT);
        // While it was given its grace, nobody asked it again and again.
        let used = cpu_time().saturating_sub(before);
        assert!(used < SHORT / 2, "{used:?}");
        setting.end().await;
    });
}

#[test]
fn a_worker_that_writes_much_before_it_reads_a_large_input_does_not_deadlock() {
    alone(async {
        let setting = Setting::new(faulty("flood_first")).await;
        let large = Payload::from_text(&"x".repeat(8 << 20));
        let reply = within(setting.pool.run(Job::task("a", "any", large))).await;
        assert_eq!(fine(&reply), "\"fine\"");
        setting.end().await;
    });
}

#[test]
fn a_worker_that_floods_its_stdout_is_killed_at_the_timeout_of_its_job() {
    alone(async {
        let setting = Setting::new(faulty("flood")).await;
        let before = resident_bytes();
        is(
            &setting.meet_within(hard(SHORT)).await,
            Class::Timeout,
            "timed out after 200ms",
        );
        let grown = resident_bytes().saturating_sub(before);
        assert!(grown < 32 << 20, "{grown} bytes");
        setting.end().await;
    });
}

#[test]
fn an_answer_right_before_the_exit_of_a_worker_counts() {
    alone(async {
        let setting = Setting::new(PoolConfig {
            prefetch: ratchet_runtime::process::Prefetch::Fixed(4),
            ..faulty("flood_and_exit")
        })
        .await;
        // The output of the worker is read although nothing more can be written to it.
        let large = Payload::from_text(&"x".repeat(4 << 20));
        let (last, after) = within(async {
            tokio::join!(
                setting.pool.run(fault(Timeouts::default())),
                setting.pool.run(Job::task("b", "any", large))
            )
        })
        .await;
        assert_eq!(fine(&last), "\"fine\"");
        // Nobody can tell whether the worker has begun the job, so the job is charged.
        if let Err(failure) = after.result {
            is(
                &failure,
                Class::Crash,
                "worker faulty/1 ended with exit code 3 before it answered",
            );
        }
        setting.end().await;
    });
}

#[test]
fn a_gigabyte_of_stderr_costs_no_memory() {
    alone(async {
        let setting = Setting::new(faulty("stderr")).await;
        let before = resident_bytes();
        let failure = setting.meet().await;
        is(
            &failure,
            Class::Crash,
            "worker faulty/1 ended with exit code 4 before it answered",
        );
        let stderr = failure.stderr.expect("it said much");
        assert_eq!(stderr.as_str(), "the last line\n");
        assert_eq!(stderr.dropped(), (1 << 30) + 1);
        let grown = resident_bytes().saturating_sub(before);
        assert!(grown < 32 << 20, "{grown} bytes");
        setting.end().await;
    });
}

#[test]
fn an_answer_of_a_hundred_megabytes_fails_its_job_and_the_worker_stays() {
    alone(async {
        let setting = Setting::new(faulty("huge")).await;
        let before = resident_bytes();
        let failure = setting.meet().await;
        assert_eq!(failure.class, Class::TooLarge);
        assert!(
            failure.message.starts_with("the answer has 1048576")
                && failure
                    .message
                    .contains("no more than 16777216 may be sent"),
            "{failure}"
        );
        let grown = resident_bytes().saturating_sub(before);
        assert!(grown < 64 << 20, "{grown} bytes");
        let reply = setting.serve().await;
        assert_eq!(reply.worker.expect("it goes on").as_str(), "faulty/1");
        setting.end().await;
    });
}

#[test]
fn a_request_above_the_size_limit_is_refused_and_the_worker_stays() {
    alone(async {
        let setting = Setting::new(faulty("well")).await;
        let large = Payload::from_text(&"x".repeat(17 << 20));
        let reply = within(setting.pool.run(Job::task("a", "any", large))).await;
        let failure = reply.result.expect_err("it is too much");
        assert_eq!(failure.class, Class::TooLarge, "{failure}");
        let reply = setting.serve().await;
        assert_eq!(reply.worker.expect("it goes on").as_str(), "faulty/1");
        assert!(reply.ran < Duration::from_mins(1));
        setting.end().await;
    });
}
