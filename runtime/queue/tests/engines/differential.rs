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

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_queue_in_memory_breaks_no_rule_and_loses_nothing(steps in steps()) {
        block_on(answers(Bench::memory(), steps));
    }

    #[test]
    fn a_queue_in_memory_whose_jobs_fall_due_breaks_no_rule_either(steps in steps()) {
        block_on(answers(Bench::memory_with(ageing()), steps));
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
