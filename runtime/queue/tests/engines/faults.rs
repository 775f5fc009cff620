//! Nodes, a submitter and a server that fail while they work, watched by a checker that believes none of them.
//!
//! The checker sits in whatever does the work: it sees what runs at one moment, and how it ended. `RATCHET_QUEUE_SOAK=JOBS[,SEED]`
//! sets how many jobs there are.

use std::collections::{BTreeMap, HashMap};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use ratchet_queue::{
    Attempt, AttemptEnd, Cursor, Declaration, Engine, Error, EventKind, FinalStatus, JobSpec,
    JobState, NodeReport, NodeRunner, NodeSpec, Performer, QueueSettings, RedisConfig, RedisEngine,
    Submitted,
};
use ratchet_runtime::{Limit, ParallelizationHint};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::bench::{Bench, clock, exclusive, hinted, job, name, over, settings};
use crate::proxy::{Network, Proxy};
use crate::server::Server;

/// How long the sessions of nodes are. A fifth of it is the time in which a node ends what it runs.
const SESSION: Duration = Duration::from_secs(6);

/// Numbers that are the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// Returns a job that does something for some milliseconds.
fn random_job(number: u64, random: &mut Random) -> JobSpec {
    let host = format!("host{}", random.below(12));
    let hint = match random.below(20) {
        0..8 => ParallelizationHint::FullyParallel,
        8..15 => ParallelizationHint::HostExclusive,
        15..17 => ParallelizationHint::GlobalExclusive,
        17..19 => ParallelizationHint::RateLimited {
            requests_per_second: 40.0,
            burst: 3,
            key: Some("api".to_owned()),
        },
        _ => ParallelizationHint::Alone,
    };
    let limits = (random.below(4) == 0).then(|| "db".into());
    JobSpec {
        hint,
        host: Some(host.into()),
        limits: limits.into_iter().collect(),
        crash_limit: 1000,
        payload: random.below(12).to_string().into_bytes().into(),
        ..JobSpec::new(name(&format!("soak/{number}")), "work")
    }
}

/// What runs, and what must not run beside it.
#[derive(Default)]
struct Recorder {
    jobs: HashMap<String, JobSpec>,
    running: Mutex<BTreeMap<u64, String>>,
    violations: Mutex<Vec<String>>,
    numbers: std::sync::atomic::AtomicU64,
}

/// An attempt that runs until it is dropped.
struct Running<'a>(&'a Recorder, u64);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.lock().unwrap().remove(&self.1);
    }
}

impl Recorder {
    fn start(&self, name: &str) -> Running<'_> {
        let number = (self.numbers).fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut running = self.running.lock().unwrap();
        let job = &self.jobs[name];
        for other_name in running.values() {
            let other = &self.jobs[other_name];
            if let Some(rule) = conflict(job, other) {
                let text = format!("{name} beside {other_name}: {rule}");
                self.violations.lock().unwrap().push(text);
            }
        }
        let users = running
            .values()
            .filter(|other| !self.jobs[*other].limits.is_empty());
        if !job.limits.is_empty() && users.count() >= 3 {
            let text = format!("{name}: the limit is full");
            self.violations.lock().unwrap().push(text);
        }
        running.insert(number, name.to_owned());
        Running(self, number)
    }
}

/// Returns why two jobs must not run at the same time.
fn conflict(one: &JobSpec, other: &JobSpec) -> Option<&'static str> {
    let alone = ParallelizationHint::Alone;
    let global = ParallelizationHint::GlobalExclusive;
    let takes_host =
        |job: &JobSpec| job.hint == ParallelizationHint::HostExclusive || job.hint == global;
    if one.name == other.name {
        Some("it runs twice")
    } else if one.hint == alone || other.hint == alone {
        Some("one must be alone")
    } else if one.hint == global && other.hint == global {
        Some("both are global")
    } else if takes_host(one) && takes_host(other) && one.host == other.host {
        Some("both hold the host")
    } else {
        None
    }
}

#[async_trait]
impl Performer for Recorder {
    async fn perform(&self, attempt: Attempt) -> AttemptEnd {
        let _running = self.start(attempt.claim.job.as_str());
        let millis = String::from_utf8(attempt.claim.payload.to_vec()).unwrap();
        tokio::time::sleep(Duration::from_millis(millis.parse().unwrap())).await;
        AttemptEnd::Over {
            status: FinalStatus::Succeeded,
            result: attempt.claim.payload,
        }
    }
}

/// Repeats a call of the queue until the server answers.
async fn persist<T, F: Future<Output = Result<T, Error>>>(call: impl Fn() -> F) -> T {
    let deadline = Instant::now() + Duration::from_mins(5);
    loop {
        match call().await {
            Ok(value) => return value,
            Err(Error::Unreachable(_)) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn soak_config(url: &str) -> RedisConfig {
    RedisConfig {
        settings: QueueSettings {
            session: SESSION,
            capacity: 2000,
            ..QueueSettings::default()
        },
        ..RedisConfig::new(url, "soak")
    }
}

/// A node in a task of its own, behind a proxy.
struct Node {
    proxy: Proxy,
    drain: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<Result<NodeReport, Error>>,
}

async fn node(server: &Server, number: usize, recorder: &Arc<Recorder>) -> Node {
    let proxy = Proxy::start(server.socket()).await;
    let config = soak_config(&proxy.url());
    let engine: Arc<dyn Engine> = Arc::new(persist(|| RedisEngine::connect(config.clone())).await);
    let recorder: Arc<dyn Performer> = Arc::<Recorder>::clone(recorder);
    let runner = NodeRunner::new(engine, NodeSpec::new(&format!("node{number}"), 6), recorder);
    let (drain, asked) = oneshot::channel::<()>();
    let task = tokio::spawn(runner.run(async {
        let _sender_is_gone_or_asks = asked.await;
    }));
    Node { proxy, drain, task }
}

/// Does something bad to a node or to the server, for a while.
async fn fault(random: &mut Random, server: &mut Server, nodes: &[Node]) {
    let at = random.below(nodes.len() as u64);
    let proxy = &nodes[usize::try_from(at).unwrap()].proxy;
    let short = Duration::from_millis(100 + random.below(900));
    let network = match random.below(8) {
        0 => Network::LosesRequests,
        1 => Network::LosesReplies,
        2 => Network::Slow(Duration::from_millis(random.below(300))),
        3 => Network::Cut,
        4 => {
            server.command(&["FUNCTION", "FLUSH"]);
            return;
        }
        5 => {
            let process = server.process().to_string();
            let signal = |signal| Command::new("kill").args([signal, &*process]).status();
            assert!(signal("-STOP").unwrap().success());
            tokio::time::sleep(short).await;
            assert!(signal("-CONT").unwrap().success());
            return;
        }
        6 => {
            server.kill();
            server.run().await;
            return;
        }
        // Longer than a session, so that the node is lost.
        _ => {
            proxy.set(Network::LosesReplies);
            tokio::time::sleep(SESSION + short).await;
            Network::Good
        }
    };
    proxy.set(network);
    tokio::time::sleep(short).await;
    proxy.set(Network::Good);
}

/// Returns how many jobs the soak has, and its seed.
fn size() -> (u64, u64) {
    let set = std::env::var("RATCHET_QUEUE_SOAK").unwrap_or_default();
    let (jobs, seed) = set.split_once(',').unwrap_or((&set, "7"));
    (jobs.parse().unwrap_or(500), seed.parse().unwrap_or(7))
}

/// Sends each job twice, as a submitter does that got no answer, and waits while the queue is full.
async fn submit_twice(queue: Arc<RedisEngine>, jobs: Vec<JobSpec>) {
    for batch in jobs.chunks(50) {
        for _ in 0..2 {
            let mut left = batch.to_vec();
            while !left.is_empty() {
                let answers = persist(|| queue.submit(&left)).await;
                let is_full = answers.iter().map(|answer| *answer == Submitted::Full);
                let pairs: Vec<(JobSpec, bool)> = left.drain(..).zip(is_full).collect();
                left = (pairs.into_iter())
                    .filter_map(|(job, is_full)| is_full.then_some(job))
                    .collect();
                if !left.is_empty() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }
}

/// Checks the moments, in milliseconds, at which tokens of the rate of random jobs were taken.
fn check_rate(tokens: &[u64], seed: u64) {
    // starts <= burst + rate x length in every window; a millisecond may hide the rest of another one.
    for (first, start) in tokens.iter().enumerate() {
        for (last, end) in tokens.iter().enumerate().skip(first) {
            let starts = (last - first + 1) as u64;
            let most = 3 + (end - start + 1) * 40 / 1000;
            assert!(
                starts <= most,
                "seed {seed}: {starts} starts in {} ms",
                end - start
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_faults_lose_nothing_and_let_nothing_overlap() {
    let (count, seed) = size();
    // A process that is killed loses nothing that it has written, whenever that reaches the disk.
    let sync = ["always", "everysec"][usize::from(seed % 2 == 1)];
    let options = ["--appendonly", "yes", "--appendfsync", sync];
    let Some(mut server) = Server::start_with(&options).await else {
        return;
    };
    let mut random = Random(seed);
    let jobs: Vec<JobSpec> = (0..count)
        .map(|number| random_job(number, &mut random))
        .collect();
    let recorder = Arc::new(Recorder {
        jobs: (jobs.iter())
            .map(|job| (job.name.to_string(), job.clone()))
            .collect(),
        ..Recorder::default()
    });
    let queue = Arc::new(persist(|| RedisEngine::connect(soak_config(&server.url()))).await);
    let limit = [Declaration::Limit("db".into(), Limit::max(3).unwrap())];
    persist(|| queue.declare(&limit)).await;
    let mut nodes = Vec::new();
    for number in 0..4 {
        nodes.push(node(&server, number, &recorder).await);
    }

    let submitter = tokio::spawn(submit_twice(Arc::clone(&queue), jobs));

    let mut ends: BTreeMap<String, u32> = BTreeMap::new();
    let mut tokens = Vec::new();
    let mut cursor = Cursor::START;
    let mut faults = 0;
    let deadline = Instant::now()
        + Duration::from_mins(2)
        + Duration::from_millis(60) * u32::try_from(count).unwrap();
    while (ends.len() as u64) < count {
        assert!(
            Instant::now() < deadline,
            "{} of {count} jobs have ended",
            ends.len()
        );
        if faults < 6 + count / 100 {
            fault(&mut random, &mut server, &nodes).await;
            faults += 1;
        } else {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        loop {
            let events = persist(|| queue.events(cursor, 500)).await;
            let Some(last) = events.last() else {
                break;
            };
            cursor = last.cursor;
            for event in events {
                match event.kind {
                    EventKind::Ended { job, status, .. } => {
                        assert_eq!(status, FinalStatus::Succeeded, "{job}");
                        *ends.entry(job.to_string()).or_default() += 1;
                    }
                    EventKind::Started { job, .. }
                        if matches!(
                            recorder.jobs[job.as_str()].hint,
                            ParallelizationHint::RateLimited { .. }
                        ) =>
                    {
                        tokens.push(event.cursor.millis());
                    }
                    _ => {}
                }
            }
        }
    }
    submitter.await.unwrap();
    let mut committed = 0;
    for node in nodes {
        let _ended_already_if_it_is_gone = node.drain.send(());
        let report = node.task.await.unwrap().unwrap();
        committed += report.committed;
    }
    let violations = recorder.violations.lock().unwrap();
    assert!(violations.is_empty(), "seed {seed}: {violations:#?}");
    let twice: Vec<_> = ends.iter().filter(|(_, count)| **count != 1).collect();
    assert!(twice.is_empty(), "seed {seed}: {twice:?} have ended twice");
    assert!(
        committed > 0 && committed <= count,
        "{committed} of {count} ends were answered"
    );
    check_rate(&tokens, seed);
    eprintln!(
        "{count} jobs, {faults} faults, {} starts of a rate",
        tokens.len()
    );
}

#[tokio::test]
async fn a_node_whose_queue_was_deleted_ends_what_it_runs_and_says_so() {
    let Some(server) = Server::start().await else {
        return;
    };
    let long = JobSpec {
        payload: b"3600000".as_slice().into(),
        ..job("a")
    };
    let recorder = Arc::new(Recorder {
        jobs: HashMap::from([("a".to_owned(), long.clone())]),
        ..Recorder::default()
    });
    let node = node(&server, 1, &recorder).await;
    let queue = RedisEngine::connect(soak_config(&server.url()))
        .await
        .unwrap();
    queue.submit(&[long]).await.unwrap();
    let deadline = Instant::now() + Duration::from_mins(1);
    while queue.states(&[name("a")]).await.unwrap() != [Some(JobState::Running)] {
        assert!(Instant::now() < deadline, "the job does not start");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    server.command(&["FLUSHALL"]);
    let ended = tokio::time::timeout(Duration::from_mins(1), node.task).await;
    let report = ended.expect("the node goes on").unwrap();
    assert!(matches!(report, Err(Error::QueueGone)), "{report:?}");
    assert!(recorder.running.lock().unwrap().is_empty());
}

/// Waits until a replica has all that its primary has.
async fn synchronised(primary: &Server, replica: &Server) {
    let offset = |server: &Server, field: &str| {
        let info = server.command(&["INFO", "replication"]);
        let value = info.lines().find_map(|line| line.strip_prefix(field));
        value.map(|value| value.trim().to_owned())
    };
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let is_up = offset(replica, "master_link_status:").as_deref() == Some("up");
        let there = offset(primary, "master_repl_offset:");
        if is_up && there == offset(replica, "slave_repl_offset:") {
            return;
        }
        assert!(Instant::now() < deadline, "the replica does not follow");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_promoted_replica_grants_nothing_exclusive_for_one_session() {
    let Some(primary) = Server::start_on_port("--port", &[]).await else {
        return;
    };
    let replica_of = format!("127.0.0.1 {}", primary.port());
    let options = [
        "--repl-diskless-sync-delay",
        "0",
        "--replicaof",
        &*replica_of,
    ];
    let replica = Server::start_with(&options)
        .await
        .expect("the program is there");
    let clock = clock();
    let connect = async |server: &Server| {
        let config = RedisConfig {
            settings: settings(),
            clock: Some(clock.clone()),
            ..RedisConfig::new(&server.url(), "queue")
        };
        RedisEngine::connect(config).await
    };
    let bench = |engine: RedisEngine| Bench {
        engine: Box::new(engine),
        clock: clock.clone(),
        server: None,
    };
    let before = bench(connect(&primary).await.unwrap());
    let rated = |name| {
        let hint = ParallelizationHint::RateLimited {
            requests_per_second: 0.1,
            burst: 1,
            key: None,
        };
        hinted(name, hint)
    };
    before
        .submit([
            exclusive("a", "h"),
            exclusive("b", "h"),
            job("c"),
            rated("d"),
        ])
        .await;
    let node = before.join(8).await;
    synchronised(&primary, &replica).await;
    let refused = connect(&replica).await.unwrap_err().to_string();
    assert!(refused.contains("address of its primary"), "{refused}");

    // The primary grants something that the replica never hears of.
    let answer = replica.command(&["REPLICAOF", "NO", "ONE"]);
    assert!(answer.starts_with("+OK"), "{answer}");
    let lost = before.claim(node, 1).await;
    assert_eq!(lost[0].job.as_str(), "a");

    let after = bench(connect(&replica).await.unwrap());
    let free = after.claim(node, 8).await;
    assert_eq!(free.len(), 1);
    assert_eq!(free[0].job.as_str(), "c");
    assert!(free[0].fence > lost[0].fence && free[0].fence.epoch > lost[0].fence.epoch);
    let stale = after
        .end(node, &lost[0], over(FinalStatus::Succeeded))
        .await;
    assert_eq!(stale, ratchet_queue::FinishResult::Stale);
    after.pass(9_999);
    after.renew(node, &free).await;
    after.pass(5_000);
    assert!(after.claim(node, 8).await.is_empty());
    after.pass(1);
    // The bucket was empty at the failover and has a token by now, and the session is over.
    assert_eq!(after.names(node, 8).await, ["a", "d"]);
}
