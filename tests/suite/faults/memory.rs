//! Workers that leak.

use ratchet_runtime::process::{PoolConfig, Recycling};
use ratchet_runtime::{Class, Timeouts};
use ratchet_tests::{alone, eventually_async, within};

use super::{Setting, fault, faulty, fine};

const LIMIT: u64 = 100 << 20;

#[test]
fn a_worker_above_the_hard_memory_limit_is_killed() {
    alone(async {
        let setting = Setting::new(PoolConfig {
            hard_memory: Some(LIMIT),
            ..faulty("leaks")
        })
        .await;
        let failure = setting.meet().await;
        assert_eq!(failure.class, Class::Memory);
        let (before, after) = (
            "worker faulty/1 was killed for its memory: ",
            " MiB, and 100 MiB are allowed",
        );
        assert!(
            failure.message.starts_with(before) && failure.message.ends_with(after),
            "{failure}"
        );
        setting.end().await;
    });
}

#[test]
fn a_worker_above_the_soft_memory_limit_is_replaced_after_its_job() {
    alone(async {
        let setting = Setting::new(PoolConfig {
            recycling: Recycling {
                soft_memory: Some(LIMIT),
                ..Recycling::default()
            },
            ..faulty("leaks_and_answers")
        })
        .await;
        let reply = within(setting.pool.run(fault(Timeouts::default()))).await;
        assert_eq!(fine(&reply), "\"fine\"");
        eventually_async("the worker has retired", async || {
            let metrics = setting.pool.metrics().await.expect("it lives");
            metrics.retired.get("soft_memory") == Some(&1)
        })
        .await;
        assert_eq!(setting.failures().await, []);
        let reply = setting.serve().await;
        assert_eq!(reply.worker.expect("somebody did it").as_str(), "faulty/2");
        setting.end().await;
    });
}
