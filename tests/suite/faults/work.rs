//! Work on its way, while workers come and go.

use std::pin::pin;

use ratchet_runtime::process::{PoolConfig, Prefetch, Recycling, Size};
use ratchet_runtime::{Class, Timeouts};
use ratchet_tests::{alone, within};

use super::{Setting, fault, faulty, fine, job};

#[test]
fn a_lease_whose_request_was_dropped_returns_its_worker() {
    alone(async {
        let setting = Setting::new(faulty("well")).await;
        for _ in 0..20 {
            let held = within(setting.pool.acquire()).await.expect("it is free");
            let mut waiting = pin!(setting.pool.acquire());
            let polled = tokio::time::timeout(std::time::Duration::ZERO, waiting.as_mut()).await;
            assert!(polled.is_err(), "somebody else has it");
            drop(held);
            // The supervisor hands it out, and nobody looks.
            setting.pool.metrics().await.expect("it lives");
        }
        setting.end().await;
    });
}

#[test]
fn every_call_is_answered_once_although_workers_fail() {
    alone(async {
        let config = PoolConfig {
            size: Size::between(1, 3),
            prefetch: Prefetch::Fixed(5),
            recycling: Recycling {
                max_jobs: Some(7),
                ..Recycling::default()
            },
            ..faulty("exit_3")
        };
        let setting = Setting::new(config).await;
        let (mut done, mut crashed) = (0, 0);
        for round in 0..20_u32 {
            let mut runs: Vec<_> = (0..30)
                .map(|place| {
                    let input = if place % 11 == 3 { "fault" } else { "well" };
                    Box::pin(setting.pool.run(job(input)))
                })
                .collect();
            // Nobody waits for some of the calls.
            let mut dropped = runs.split_off(28);
            for run in &mut dropped {
                // Sent, and perhaps even answered.
                let _ = tokio::time::timeout(std::time::Duration::ZERO, run).await;
            }
            drop(dropped);
            setting
                .pool
                .scale_to(1 + round % 3)
                .await
                .expect("it is possible");
            for run in &mut runs {
                match within(run).await.result {
                    Ok(_) => done += 1,
                    Err(failure) => {
                        assert_eq!(failure.class, Class::Crash, "{failure}");
                        crashed += 1;
                    }
                }
            }
        }
        assert_eq!((done, crashed), (20 * 25, 20 * 3));
        let reply = within(setting.pool.run(fault(Timeouts::default()))).await;
        assert!(reply.result.is_err());
        assert_eq!(fine(&setting.serve().await), "\"fine\"");
        setting.end().await;
    });
}
