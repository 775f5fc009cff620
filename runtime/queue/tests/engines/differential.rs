//! Random queues on every engine: no rule is ever broken, nothing is lost, and the engines answer alike.

use std::time::Duration;

use proptest::prelude::*;
use ratchet_queue::QueueSettings;
use ratchet_runtime::Ageing;

use crate::bench::{Bench, settings};
use crate::random::{Answer, Step, World, count, steps};

/// Runs what happens to a queue until all its jobs have ended.
async fn answers(bench: Bench, steps: Vec<Step>) -> Vec<Answer> {
    let mut world = World::new(bench).await;
    for step in steps {
        world.step(step).await;
    }
    world.drain().await
}

/// Returns settings with which jobs fall due while they wait.
fn ageing() -> QueueSettings {
    QueueSettings {
        ageing: Ageing {
            step: Duration::from_millis(400),
        },
        ..settings()
    }
}

/// How many random queues a test makes, unless `PROPTEST_CASES` says otherwise.
fn cases(usual: u32) -> u32 {
    let set = std::env::var("PROPTEST_CASES");
    set.ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(300)))]

    #[test]
    fn a_queue_in_memory_breaks_no_rule_and_loses_nothing(steps in steps()) {
        block_on(answers(Bench::memory(), steps));
    }

    #[test]
    fn a_queue_in_memory_whose_jobs_fall_due_breaks_no_rule_either(steps in steps()) {
        block_on(answers(Bench::memory_with(ageing()), steps));
    }
}

#[cfg(feature = "redis")]
mod redis {
    use std::sync::Arc;

    use super::*;
    use crate::server::Server;

    /// Runs a property on random queues, all on one server.
    fn check(property: impl Fn(&Arc<Server>, Vec<Step>) -> Result<(), TestCaseError>) {
        let Some(server) = block_on(Server::start()) else {
            return;
        };
        let server = Arc::new(server);
        let config = ProptestConfig {
            // A failed case is shown in full, and its seed belongs to this file.
            source_file: Some(file!()),
            // Each attempt to shorten a case is two queues more.
            max_shrink_iters: 300,
            ..ProptestConfig::with_cases(cases(40))
        };
        let mut runner = proptest::test_runner::TestRunner::new(config);
        let result = runner.run(&steps(), |steps| property(&server, steps));
        if let Err(error) = result {
            panic!("{error}");
        }
    }

    /// With no job that falls due, each answer is decided, down to the order of the events.
    #[test]
    fn a_queue_on_a_server_answers_as_one_in_memory() {
        check(|server, steps| {
            let there = block_on(async {
                let bench = Bench::redis_on(server, settings()).await;
                answers(bench, steps.clone()).await
            });
            let here = block_on(answers(Bench::memory(), steps));
            for (number, (here, there)) in here.iter().zip(&there).enumerate() {
                prop_assert_eq!(here, there, "answer {}", number);
            }
            prop_assert_eq!(here.len(), there.len());
            Ok(())
        });
    }

    /// Which of several due jobs keeps what may differ. The rules may not, and no job may starve.
    #[test]
    fn a_queue_on_a_server_whose_jobs_fall_due_breaks_no_rule() {
        check(|server, steps| {
            block_on(async {
                let bench = Bench::redis_on(server, ageing()).await;
                answers(bench, steps).await
            });
            Ok(())
        });
    }
}

/// A generator that does nothing would test nothing.
#[test]
fn random_queues_are_busy() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let (mut claimed, mut events) = (0, 0);
    for _ in 0..50 {
        let steps = steps().new_tree(&mut runner).unwrap().current();
        let counts = count(&block_on(answers(Bench::memory(), steps)));
        claimed += counts.get("claimed").copied().unwrap_or_default();
        events += counts.get("events").copied().unwrap_or_default();
    }
    assert!(claimed > 500, "{claimed} attempts in 50 queues");
    assert!(events > 1500, "{events} events in 50 queues");
}
