//! Idle nodes: they are woken when there may be something for them, and do not ask all the time.

use std::time::Duration;

use ratchet_queue::{JobSpec, NodeId, NodeSpec};
use ratchet_runtime::ParallelizationHint;

use crate::bench::{Bench, exclusive, hinted, job};

crate::on_every_engine!(
    a_node_that_waits_is_woken_by_a_job,
    a_wake_that_comes_before_the_wait_is_not_lost,
    a_node_is_woken_when_what_barred_a_job_is_free,
    a_node_is_woken_when_a_job_that_was_alone_has_ended,
    a_node_is_woken_by_what_another_one_left,
    a_paused_queue_wakes_when_it_goes_on,
    a_wait_without_a_change_ends_by_itself,
);

/// Far more than a wake takes, and less than the tests let nodes wait.
const SOON: Duration = Duration::from_mins(1);
const LONG: Duration = Duration::from_mins(10);

/// Waits as an idle node, and fails if nobody wakes it.
async fn woken(bench: &Bench, node: NodeId) {
    let waited = tokio::time::timeout(SOON, bench.engine.wait(node, LONG)).await;
    waited.expect("nobody wakes the node").unwrap();
}

/// Lets a node join and find nothing.
async fn idle(bench: &Bench, slots: u32) -> NodeId {
    let node = bench.join(slots).await;
    assert!(bench.claim(node, slots).await.is_empty());
    node
}

async fn a_node_that_waits_is_woken_by_a_job(bench: Bench) {
    let node = idle(&bench, 8).await;
    let waiting = woken(&bench, node);
    tokio::pin!(waiting);
    // It waits before the job comes.
    assert!(poll_once(waiting.as_mut()).await.is_none());
    bench.submit([job("a")]).await;
    waiting.await;
    assert_eq!(bench.names(node, 8).await, ["a"]);
}

/// Polls a future once.
async fn poll_once<T>(mut future: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(match future.as_mut().poll(context) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

async fn a_wake_that_comes_before_the_wait_is_not_lost(bench: Bench) {
    let node = idle(&bench, 8).await;
    bench.submit([job("a")]).await;
    woken(&bench, node).await;
}

async fn a_node_is_woken_when_what_barred_a_job_is_free(bench: Bench) {
    bench.submit([exclusive("a", "h")]).await;
    let busy = bench.join(1).await;
    let claims = bench.claim(busy, 1).await;
    bench.submit([exclusive("b", "h")]).await;
    let node = idle(&bench, 8).await;
    bench.succeed(busy, &claims).await;
    woken(&bench, node).await;
    assert_eq!(bench.names(node, 8).await, ["b"]);
}

async fn a_node_is_woken_when_a_job_that_was_alone_has_ended(bench: Bench) {
    bench
        .submit([hinted("alone", ParallelizationHint::Alone), job("last")])
        .await;
    let alone = bench.join(1).await;
    let claims = bench.claim(alone, 1).await;
    let node = idle(&bench, 8).await;
    bench.succeed(alone, &claims).await;
    woken(&bench, node).await;
    assert_eq!(bench.names(node, 8).await, ["last"]);
}

async fn a_node_is_woken_by_what_another_one_left(bench: Bench) {
    let (first, second) = (idle(&bench, 1).await, idle(&bench, 1).await);
    bench.submit([job("a"), job("b"), job("c")]).await;
    // Whichever is woken first leaves something for the other one.
    let all = async {
        tokio::join!(work(&bench, first), work(&bench, second));
    };
    let done = tokio::time::timeout(SOON, all).await;
    done.expect("a node is not woken");
}

/// Waits for a job, and takes it.
async fn work(bench: &Bench, node: NodeId) {
    loop {
        bench.engine.wait(node, LONG).await.unwrap();
        if !bench.claim(node, 1).await.is_empty() {
            return;
        }
    }
}

async fn a_paused_queue_wakes_when_it_goes_on(bench: Bench) {
    bench.engine.pause().await.unwrap();
    bench.submit([job("a")]).await;
    let node = idle(&bench, 8).await;
    bench.engine.resume().await.unwrap();
    woken(&bench, node).await;
    assert_eq!(bench.names(node, 8).await, ["a"]);
}

async fn a_wait_without_a_change_ends_by_itself(bench: Bench) {
    let node = idle(&bench, 8).await;
    let wait = bench.engine.wait(node, Duration::from_millis(10));
    let waited = tokio::time::timeout(SOON, wait).await;
    waited.expect("the wait ends").unwrap();
}

#[cfg(feature = "redis")]
mod redis_only {
    use super::*;

    /// Returns how often nodes were woken.
    fn wakes(bench: &Bench) -> u64 {
        let server = bench.server.as_ref().expect("a server");
        let stats = server.command(&["INFO", "commandstats"]);
        let line = stats
            .lines()
            .find_map(|line| line.strip_prefix("cmdstat_publish:calls="));
        line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
    }

    #[tokio::test]
    async fn one_job_wakes_one_of_many_idle_nodes_that_can_do_it() {
        let Some(bench) = Bench::redis().await else {
            return;
        };
        for _ in 0..20 {
            let other = NodeSpec {
                tasks: Some(vec!["other".into()]),
                ..NodeSpec::new("other", 8)
            };
            let other = bench.engine.join(&other).await.unwrap().node;
            assert!(bench.claim(other, 8).await.is_empty());
        }
        let able = idle(&bench, 8).await;
        for _ in 0..20 {
            idle(&bench, 8).await;
        }
        bench.submit([job("a")]).await;
        // Another one may have been told to watch the time instead.
        assert!((1..=2).contains(&wakes(&bench)));
        let first = wakes(&bench);
        // The one that was woken takes the next job, too, or wakes another one if it cannot.
        bench.submit([job("b")]).await;
        assert_eq!(wakes(&bench), first);
        let other = JobSpec {
            task: "other".into(),
            ..job("c")
        };
        bench.submit([other]).await;
        assert!((first + 1..=3).contains(&wakes(&bench)));
        bench.engine.leave(able).await.unwrap();
    }

    #[tokio::test]
    async fn one_idle_node_watches_the_time_for_all() {
        let Some(bench) = Bench::redis().await else {
            return;
        };
        let nodes = [
            bench.join(8).await,
            bench.join(8).await,
            bench.join(8).await,
        ];
        let mut watching = Vec::new();
        for node in nodes {
            let claims = bench.claims(node, 8).await;
            watching.push(claims.ask_again.is_some());
        }
        assert_eq!(watching, [true, false, false]);
        // A job that may start earlier than it looks next wakes it.
        let delayed = JobSpec {
            delay: Duration::from_secs(1),
            ..job("a")
        };
        bench.submit([delayed]).await;
        woken(&bench, nodes[0]).await;
        let claims = bench.claims(nodes[0], 8).await;
        assert_eq!(claims.ask_again, Some(Duration::from_secs(1)));
        // When it leaves, another one does.
        bench.engine.leave(nodes[0]).await.unwrap();
        assert_eq!(wakes(&bench), 2);
        let mut watching = 0;
        for node in &nodes[1..] {
            watching += usize::from(bench.claims(*node, 8).await.ask_again.is_some());
        }
        assert_eq!(watching, 1);
        bench.pass(1000);
        let woken = bench.claim(nodes[1], 8).await;
        assert_eq!(woken[0].job.as_str(), "a");
    }

    #[tokio::test]
    async fn wakes_come_again_after_a_broken_connection() {
        let Some(bench) = Bench::redis().await else {
            return;
        };
        let node = idle(&bench, 8).await;
        let server = bench.server.as_ref().expect("a server");
        server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
        let deadline = tokio::time::Instant::now() + SOON;
        while bench.engine.status().await.is_err() {
            assert!(tokio::time::Instant::now() < deadline);
        }
        bench.submit([job("a")]).await;
        woken(&bench, node).await;
    }
}
