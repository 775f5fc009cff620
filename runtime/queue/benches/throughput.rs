//! What a queue on a server costs: jobs a second with ends, claims of short and long queues, and exclusive jobs on many hosts.
//!
//! `cargo bench -p ratchet-queue --features redis --bench throughput` starts a server of its own, without persistence. Nodes
//! and server share this machine.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark prints its figures, and ends if it cannot"
)]
#![expect(clippy::cast_precision_loss, reason = "figures to show")]

#[path = "../tests/engines/server.rs"]
#[expect(dead_code, reason = "tests use more of it")]
mod server;

use std::time::Duration;

use ratchet_queue::{
    AttemptEnd, Claim, Engine, FinalStatus, Finish, JobSpec, NodeId, NodeSpec, QueueSettings,
    RedisConfig, RedisEngine,
};
use ratchet_runtime::ParallelizationHint;
use server::Server;
use tokio::time::Instant;

/// How many nodes work at once, each over a connection of its own.
const NODES: usize = 4;
/// How many attempts one claim takes.
const BATCH: usize = 200;

fn job(number: usize, hosts: Option<usize>) -> JobSpec {
    let name = format!("job{number}").parse().unwrap();
    let mut job = JobSpec {
        payload: br#"{"input":[1,2,3]}"#.as_slice().into(),
        ..JobSpec::new(name, "echo")
    };
    if let Some(hosts) = hosts {
        job.hint = ParallelizationHint::HostExclusive;
        job.host = Some(format!("host{}", number % hosts).into());
    }
    job
}

async fn connect(server: &Server, queue: &str) -> RedisEngine {
    let config = RedisConfig {
        settings: QueueSettings {
            capacity: 10_000_000,
            session: Duration::from_mins(10),
            ..QueueSettings::default()
        },
        ..RedisConfig::new(&server.url(), queue)
    };
    RedisEngine::connect(config).await.unwrap()
}

async fn submit(queue: &RedisEngine, jobs: usize, hosts: Option<usize>) -> Duration {
    let start = Instant::now();
    let mut number = 0;
    while number < jobs {
        let end = jobs.min(number + 500);
        let batch: Vec<JobSpec> = (number..end).map(|number| job(number, hosts)).collect();
        queue.submit(&batch).await.unwrap();
        number = end;
    }
    start.elapsed()
}

async fn finish(queue: &RedisEngine, node: NodeId, claims: Vec<Claim>) {
    let ends: Vec<Finish> = (claims.into_iter())
        .map(|claim| Finish {
            job: claim.job,
            fence: claim.fence,
            end: AttemptEnd::Over {
                status: FinalStatus::Succeeded,
                result: claim.payload,
            },
        })
        .collect();
    queue.finish(node, &ends).await.unwrap();
}

/// Lets nodes do all jobs of a queue as no-ops.
async fn work(server: &Server, queue: &str) -> Duration {
    let mut nodes = Vec::new();
    for _ in 0..NODES {
        nodes.push(connect(server, queue).await);
    }
    let start = Instant::now();
    let mut tasks = Vec::new();
    for queue in nodes {
        tasks.push(tokio::spawn(async move {
            let slots = 10_000;
            let node = queue
                .join(&NodeSpec::new("node", slots))
                .await
                .unwrap()
                .node;
            loop {
                let claims = queue.claim(node, slots, BATCH).await.unwrap().claims;
                if !claims.is_empty() {
                    finish(&queue, node, claims).await;
                } else if queue.status().await.unwrap().waiting == 0 {
                    return;
                }
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    start.elapsed()
}

/// Measures claims of ten jobs each while this many wait.
async fn claims(server: &Server, queue: &str, jobs: usize) -> Duration {
    let engine = connect(server, queue).await;
    submit(&engine, jobs, Some(jobs / 10)).await;
    let node = engine
        .join(&NodeSpec::new("node", 1_000_000))
        .await
        .unwrap()
        .node;
    let rounds = 50;
    let mut spent = Duration::ZERO;
    for _ in 0..rounds {
        let start = Instant::now();
        let claims = engine.claim(node, 1_000_000, 10).await.unwrap().claims;
        spent += start.elapsed();
        assert_eq!(claims.len(), 10);
        finish(&engine, node, claims).await;
    }
    spent / rounds
}

#[tokio::main]
async fn main() {
    let Some(server) = Server::start().await else {
        return;
    };
    let rate = |jobs: usize, time: Duration| jobs as f64 / time.as_secs_f64();
    for (name, hosts) in [
        ("fully parallel", None),
        ("host_exclusive, 1,000 hosts", Some(1000)),
    ] {
        let jobs = 50_000;
        let queue = connect(&server, name).await;
        let submitting = submit(&queue, jobs, hosts).await;
        let working = work(&server, name).await;
        println!(
            "{name}: {:.0} jobs/s submitted, {:.0} jobs/s claimed and committed",
            rate(jobs, submitting),
            rate(jobs, working)
        );
        server.command(&["FLUSHALL"]);
    }
    for jobs in [1000, 100_000, 1_000_000] {
        let time = claims(&server, &format!("{jobs}"), jobs).await;
        println!("{jobs} jobs wait: a claim of ten takes {time:?}");
        server.command(&["FLUSHALL"]);
    }
}
