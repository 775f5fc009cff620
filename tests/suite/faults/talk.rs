//! Workers that say what they should not.

use ratchet_runtime::process::{PoolConfig, Prefetch};
use ratchet_runtime::{Class, Timeouts};
use ratchet_tests::{alone, within};

use super::{Setting, fault, faulty, fine, job, meets};

async fn meets_and_goes_on(kind: &str) {
    let setting = Setting::new(faulty(kind)).await;
    for _ in 0..3 {
        let reply = within(setting.pool.run(fault(Timeouts::default()))).await;
        assert_eq!(fine(&reply), "\"fine\"");
    }
    let reply = setting.serve().await;
    assert_eq!(reply.worker.expect("it goes on").as_str(), "faulty/1");
    let metrics = setting.pool.metrics().await.expect("it lives");
    assert_eq!((metrics.jobs, metrics.busy), (4, 0));
    setting.end().await;
}

#[test]
fn garbage_before_and_between_answers_is_logged_and_answers_count() {
    alone(meets_and_goes_on("garbage"));
}

#[test]
fn a_second_answer_of_a_worker_is_ignored() {
    alone(meets_and_goes_on("twice"));
}

#[test]
fn an_answer_to_no_request_is_ignored() {
    alone(meets_and_goes_on("unknown"));
}

#[test]
fn an_answer_that_is_no_valid_response_fails_its_job() {
    alone(async {
        let setting = Setting::new(faulty("malformed")).await;
        let failure = setting.meet().await;
        assert_eq!(failure.class, Class::Protocol);
        assert!(
            failure
                .message
                .starts_with("worker faulty/1 gave a malformed answer: "),
            "{failure}"
        );
        let reply = setting.serve().await;
        assert_eq!(reply.worker.expect("it goes on").as_str(), "faulty/1");
        setting.end().await;
    });
}

#[test]
fn a_response_of_broken_json_fails_its_attempt_and_the_worker_stays() {
    alone(async {
        for (kind, line) in [
            ("nan", "[1, NaN]"),
            ("latin_1", "caf\u{fffd}"),
            ("nul", "a\0b"),
        ] {
            let setting = Setting::new(faulty(kind)).await;
            let failure = setting.meet().await;
            assert_eq!(failure.class, Class::Protocol);
            let message = &failure.message;
            assert!(
                message.starts_with("worker faulty/1 gave a malformed answer: "),
                "{failure}"
            );
            assert!(message.contains(line), "it shows the line: {failure}");
            let reply = setting.serve().await;
            assert_eq!(reply.worker.expect("it goes on").as_str(), "faulty/1");
            setting.end().await;
        }
    });
}

#[test]
fn a_worker_that_dies_in_the_middle_of_a_line_crashes_its_job() {
    alone(async {
        meets(
            faulty("half"),
            Class::Crash,
            "worker faulty/1 ended with exit code 0 before it answered",
        )
        .await;
    });
}

#[test]
fn answers_out_of_order_reach_their_own_jobs() {
    alone(async {
        let setting = Setting::new(faulty("out_of_order")).await;
        let both = within(async {
            tokio::join!(
                setting.pool.run(fault(Timeouts::default())),
                setting.pool.run(fault(Timeouts::default()))
            )
        })
        .await;
        assert_eq!((fine(&both.0), fine(&both.1)), ("\"fine\"", "\"fine\""));
        setting.end().await;
    });
}

#[test]
fn a_second_answer_does_not_disturb_the_requests_behind_it() {
    alone(async {
        let setting = Setting::new(PoolConfig {
            prefetch: Prefetch::Fixed(16),
            ..faulty("twice")
        })
        .await;
        let mut runs: Vec<_> = (0..64)
            .map(|place| {
                let input = if place % 3 == 0 { "fault" } else { "well" };
                Box::pin(setting.pool.run(job(input)))
            })
            .collect();
        // Their answers are theirs, however many there are.
        for run in &mut runs {
            assert_eq!(fine(&within(run).await), "\"fine\"");
        }
        drop(runs);
        let metrics = setting.pool.metrics().await.expect("it lives");
        assert_eq!((metrics.jobs, metrics.busy, metrics.spawned), (64, 0, 1));
        setting.end().await;
    });
}
