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
/// How often the first figures are taken. The best round counts.
const ROUNDS: usize = 5;
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

/// The processor time that the server has used.
fn busy(server: &Server) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.process())).unwrap();
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    // A tick is a hundredth of a second in every kernel of Linux.
    Duration::from_millis(ticks * 10)
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

/// How many bytes the server has allocated.
fn memory(server: &Server) -> usize {
    let info = server.command(&["INFO", "memory"]);
    let used = info
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:"));
    used.unwrap().trim().parse().unwrap()
}

/// Measures claims of ten jobs each while this many wait, on a tenth as many hosts if they are exclusive. Returns the time of a
/// claim, and how many bytes a waiting job takes.
async fn claims(
    server: &Server,
    queue: &str,
    jobs: usize,
    is_exclusive: bool,
) -> (Duration, usize) {
    let engine = connect(server, queue).await;
    let before = memory(server);
    submit(&engine, jobs, is_exclusive.then_some(jobs / 10)).await;
    let bytes = (memory(server) - before) / jobs;
    let node = engine
        .join(&NodeSpec::new("node", 1_000_000))
        .await
        .unwrap()
        .node;
    let rounds = 50;
    let mut spent = Vec::new();
    for _ in 0..rounds {
        let start = Instant::now();
        let claims = engine.claim(node, 1_000_000, 10).await.unwrap().claims;
        spent.push(start.elapsed());
        assert_eq!(claims.len(), 10);
        finish(&engine, node, claims).await;
    }
    // The median, because other programs disturb some of them.
    spent.sort_unstable();
    (spent[rounds / 2], bytes)
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
        let jobs = 20_000;
        let micros = |time: Duration| time.as_secs_f64() * 1e6 / jobs as f64;
        // The least of several rounds, because other programs take time and caches from the server.
        let (mut rates, mut costs) = ([0.0_f64; 2], [f64::MAX; 2]);
        for round in 0..ROUNDS {
            let queue = connect(&server, &format!("{name} {round}")).await;
            let idle = busy(&server);
            let submitting = submit(&queue, jobs, hosts).await;
            let submitted = busy(&server);
            let working = work(&server, &format!("{name} {round}")).await;
            let done = busy(&server);
            rates[0] = rates[0].max(rate(jobs, submitting));
            rates[1] = rates[1].max(rate(jobs, working));
            costs[0] = costs[0].min(micros(submitted.saturating_sub(idle)));
            costs[1] = costs[1].min(micros(done.saturating_sub(submitted)));
            server.command(&["FLUSHALL"]);
        }
        println!(
            "{name}: {:.0} jobs/s submitted, {:.0} jobs/s claimed and committed; the server needs {:.1} us to submit a job, and {:.1} us for the rest",
            rates[0], rates[1], costs[0], costs[1],
        );
    }
    for is_exclusive in [false, true] {
        for jobs in [1000, 100_000, 1_000_000] {
            let queue = format!("{jobs} {is_exclusive}");
            let (time, bytes) = claims(&server, &queue, jobs, is_exclusive).await;
            println!(
                "{jobs} jobs wait (exclusive: {is_exclusive}), each in {bytes} bytes: a claim of ten takes {time:?}"
            );
            server.command(&["FLUSHALL"]);
        }
    }
}
