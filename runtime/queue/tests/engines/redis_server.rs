//! What a server can do to a queue: forget scripts, fill up, die, come back, and lose what it had.

use std::sync::Arc;
use std::time::Duration;

use ratchet_queue::{
    Engine, Error, FinalStatus, Finish, JobSpec, JobState, NodeSpec, QueueSettings, RedisConfig,
    RedisEngine, Renewal, Submitted,
};
use ratchet_runtime::ParallelizationHint;

use crate::bench::{Bench, clock, exclusive, job, name, over, settings};
use crate::server::Server;

/// Connects a bench to a queue that may be there already.
async fn bench_on(server: &Arc<Server>, queue: &str, clock: &ratchet_queue::DrivenClock) -> Bench {
    let config = RedisConfig {
        settings: settings(),
        clock: Some(clock.clone()),
        ..RedisConfig::new(&server.url(), queue)
    };
    Bench {
        engine: Box::new(RedisEngine::connect(config).await.unwrap()),
        clock: clock.clone(),
        server: Some(Arc::clone(server)),
    }
}

/// Sends a command to the server of a bench.
fn command(bench: &Bench, words: &[&str]) -> String {
    bench.server.as_ref().expect("a server").command(words)
}

#[tokio::test]
async fn a_server_that_may_drop_keys_is_refused() {
    let Some(server) = Server::start_with(&["--maxmemory-policy", "allkeys-lru"]).await else {
        return;
    };
    let refused = RedisEngine::connect(RedisConfig::new(&server.url(), "queue")).await;
    let error = refused.unwrap_err().to_string();
    assert!(
        error.contains("set `maxmemory-policy noeviction`"),
        "{error}"
    );
}

#[tokio::test]
async fn a_bad_address_is_refused_without_showing_it() {
    let config = RedisConfig::new("redis:/user:secret@host", "queue");
    assert!(!format!("{config:?}").contains("secret"));
    let error = RedisEngine::connect(config).await.unwrap_err();
    assert!(!format!("{error:?} {error}").contains("secret"));
    assert!(error.to_string().contains("redis://host:6379/"), "{error}");
    let braces = RedisConfig::new("redis://host/", "a{b}");
    assert!(RedisEngine::connect(braces).await.is_err());
}

#[tokio::test]
async fn forgotten_scripts_are_loaded_again() {
    let Some(bench) = Bench::redis().await else {
        return;
    };
    bench.submit([job("a")]).await;
    command(&bench, &["FUNCTION", "FLUSH"]);
    let node = bench.join(8).await;
    assert_eq!(bench.names(node, 8).await, ["a"]);
}

#[tokio::test]
async fn a_queue_that_was_deleted_is_told() {
    let Some(bench) = Bench::redis().await else {
        return;
    };
    bench.submit([job("a")]).await;
    let node = bench.join(8).await;
    command(&bench, &["FLUSHALL"]);
    let claimed = bench.engine.claim(node, 8, 8).await;
    assert!(matches!(claimed, Err(Error::QueueGone)), "{claimed:?}");
}

#[tokio::test]
async fn a_server_without_memory_takes_no_jobs_and_lets_them_end() {
    let Some(bench) = Bench::redis().await else {
        return;
    };
    bench.submit([job("a"), job("b")]).await;
    command(&bench, &["CONFIG", "SET", "maxmemory", "1"]);
    let refused = bench.engine.submit(&[job("c")]).await;
    assert!(
        matches!(refused, Err(Error::OutOfMemory { .. })),
        "{refused:?}"
    );
    let node = bench.join(8).await;
    let claims = bench.claim(node, 8).await;
    bench.succeed(node, &claims).await;
    command(&bench, &["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(bench.try_submit(job("c")).await, Submitted::Accepted);
}

#[tokio::test]
async fn a_server_that_was_killed_comes_back_with_what_was_told() {
    let options = ["--appendonly", "yes", "--appendfsync", "always"];
    let Some(server) = Server::start_with(&options).await else {
        return;
    };
    let mut server = Arc::new(server);
    let clock = clock();
    let bench = bench_on(&server, "queue", &clock).await;
    bench
        .submit([
            job("done"),
            exclusive("running", "h"),
            exclusive("waiting", "h"),
            job("free"),
        ])
        .await;
    let node = bench.join(8).await;
    let claims = bench.claim(node, 2).await;
    bench.succeed(node, &claims[..1]).await;

    let Bench {
        engine,
        server: shared,
        ..
    } = bench;
    drop(shared);
    let process = Arc::get_mut(&mut server).expect("nobody else has the server");
    process.kill();
    let unreachable = engine.status().await;
    assert!(
        matches!(unreachable, Err(Error::Unreachable(_))),
        "{unreachable:?}"
    );
    process.run().await;

    // The same engine connects again, and what was told is there.
    let bench = Bench {
        engine,
        clock: clock.clone(),
        server: None,
    };
    let succeeded = JobState::Ended(FinalStatus::Succeeded);
    assert_eq!(bench.state("done").await, Some(succeeded));
    bench.succeed(node, &claims[1..]).await;
    // The server may have forgotten what it had granted, so for one session nothing exclusive is.
    let claimed = bench.claim(node, 8).await;
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].job.as_str(), "free");
    assert!(claimed[0].fence.epoch > claims[1].fence.epoch);
    assert!(claimed[0].fence > claims[1].fence);
    bench.pass(14_999);
    bench.renew(node, &claimed).await;
    assert!(bench.claim(node, 8).await.is_empty());
    bench.pass(1);
    assert_eq!(bench.names(node, 8).await, ["waiting"]);
}

#[tokio::test]
async fn rates_start_empty_when_steps_may_be_lost() {
    let Some(server) = Server::start_with(&["--appendonly", "yes"]).await else {
        return;
    };
    let mut server = Arc::new(server);
    let clock = clock();
    let bench = bench_on(&server, "queue", &clock).await;
    let hint = ParallelizationHint::RateLimited {
        requests_per_second: 0.01,
        burst: 2,
        key: None,
    };
    bench
        .submit(["a", "b", "c"].map(|name| crate::bench::hinted(name, hint.clone())))
        .await;
    let node = bench.join(8).await;
    drop(bench);
    let process = Arc::get_mut(&mut server).expect("nobody else has the server");
    // Let the file have what there is, and then crash.
    process.command(&["CONFIG", "SET", "appendfsync", "always"]);
    process.command(&["SET", "flush", "1"]);
    process.kill();
    process.run().await;
    let bench = bench_on(&server, "queue", &clock).await;
    for _ in 0..19 {
        bench.pass(5_000);
        assert!(matches!(
            bench.renew(node, &[]).await,
            Renewal::Valid { .. }
        ));
        assert!(bench.claim(node, 8).await.is_empty());
    }
    bench.pass(5_000);
    assert_eq!(bench.names(node, 8).await, ["a"]);
}

#[tokio::test]
async fn two_queues_on_one_server_know_nothing_of_each_other() {
    let Some(server) = Server::start().await else {
        return;
    };
    let server = Arc::new(server);
    let one = Bench::redis_on(&server, settings()).await;
    let other = Bench::redis_on(&server, settings()).await;
    one.submit([exclusive("a", "h")]).await;
    other.submit([exclusive("a", "h")]).await;
    let (here, there) = (one.join(8).await, other.join(8).await);
    assert_eq!(one.names(here, 8).await, ["a"]);
    assert_eq!(other.names(there, 8).await, ["a"]);
}

#[tokio::test]
async fn who_comes_later_gets_the_settings_of_the_first() {
    let Some(server) = Server::start().await else {
        return;
    };
    let config = |session| RedisConfig {
        settings: QueueSettings {
            session: Duration::from_secs(session),
            ..settings()
        },
        ..RedisConfig::new(&server.url(), "queue")
    };
    let first = RedisEngine::connect(config(7)).await.unwrap();
    let second = RedisEngine::connect(config(9)).await.unwrap();
    assert_eq!(first.settings(), second.settings());
    let membership = second.join(&NodeSpec::new("node", 1)).await.unwrap();
    assert_eq!(membership.valid_for, Duration::from_secs(7));
}

/// By the clock of the server, as in use.
#[tokio::test]
async fn a_node_that_is_silent_is_lost_by_the_clock_of_the_server() {
    let Some(server) = Server::start().await else {
        return;
    };
    let config = RedisConfig {
        settings: QueueSettings {
            session: Duration::from_millis(300),
            ..settings()
        },
        ..RedisConfig::new(&server.url(), "queue")
    };
    let queue = RedisEngine::connect(config).await.unwrap();
    queue.submit(&[exclusive("a", "h")]).await.unwrap();
    let silent = queue.join(&NodeSpec::new("silent", 1)).await.unwrap().node;
    assert_eq!(queue.claim(silent, 1, 1).await.unwrap().claims.len(), 1);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the silent node keeps its job"
        );
        let node = queue.join(&NodeSpec::new("other", 1)).await.unwrap().node;
        let claims = queue.claim(node, 1, 1).await.unwrap();
        if let [claim] = &*claims.claims {
            assert_eq!(claim.attempt, 2);
            break;
        }
        tokio::time::sleep(
            claims
                .ask_again
                .unwrap_or_default()
                .min(Duration::from_millis(50)),
        )
        .await;
    }
}

/// Many connections at once, and each job is done once.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_on_their_own_connections_do_each_job_once() {
    const JOBS: usize = 600;
    let Some(server) = Server::start().await else {
        return;
    };
    let config = RedisConfig::new(&server.url(), "queue");
    let queue = RedisEngine::connect(config.clone()).await.unwrap();
    let jobs: Vec<JobSpec> = (0..JOBS)
        .map(|number| exclusive(&format!("job{number}"), &format!("host{}", number % 40)))
        .collect();
    queue.submit(&jobs).await.unwrap();
    let mut nodes = Vec::new();
    for _ in 0..4 {
        let config = config.clone();
        nodes.push(tokio::spawn(async move {
            let queue = RedisEngine::connect(config).await.unwrap();
            let node = queue.join(&NodeSpec::new("node", 8)).await.unwrap().node;
            let mut done = 0;
            loop {
                let claims = queue.claim(node, 8, 8).await.unwrap().claims;
                let status = queue.status().await.unwrap();
                if claims.is_empty() && status.waiting + status.running == 0 {
                    return done;
                }
                let ends: Vec<_> = (claims.iter())
                    .map(|claim| Finish {
                        job: claim.job.clone(),
                        fence: claim.fence,
                        end: over(FinalStatus::Succeeded),
                    })
                    .collect();
                queue.finish(node, &ends).await.unwrap();
                done += ends.len();
                tokio::task::yield_now().await;
            }
        }));
    }
    let mut done = 0;
    for node in nodes {
        done += node.await.unwrap();
    }
    assert_eq!(done, JOBS);
}

/// How many commands the server ran within scripts, since the last time.
fn commands(bench: &Bench) -> u64 {
    let stats = command(bench, &["INFO", "commandstats"]);
    command(bench, &["CONFIG", "RESETSTAT"]);
    let counts = stats.lines().filter_map(|line| {
        let calls = line.strip_prefix("cmdstat_")?.split_once("calls=")?.1;
        calls.split(',').next()?.parse::<u64>().ok()
    });
    counts.sum()
}

/// Counts commands instead of time, so that a busy machine does not matter.
#[tokio::test]
async fn a_claim_costs_the_same_however_long_the_queue_and_however_many_hosts_are_busy() {
    let Some(server) = Server::start().await else {
        return;
    };
    let server = Arc::new(server);
    let mut costs = Vec::new();
    for hosts in [10, 1000] {
        let settings = QueueSettings {
            capacity: 1_000_000,
            ..settings()
        };
        let bench = Bench::redis_on(&server, settings).await;
        let mut jobs = Vec::new();
        for number in 0..hosts * 10 {
            jobs.push(exclusive(
                &format!("job{number}"),
                &format!("host{}", number % hosts),
            ));
        }
        bench.submit(jobs).await;
        let node = bench.join(100_000).await;
        // Every host is busy now.
        let mut held = Vec::new();
        loop {
            let claims = bench.claim(node, 100_000).await;
            if claims.is_empty() {
                break;
            }
            held.extend(claims);
        }
        assert_eq!(held.len(), hosts);
        commands(&bench);
        for claim in held.iter().take(10) {
            bench.succeed(node, std::slice::from_ref(claim)).await;
            assert_eq!(bench.claim(node, 1).await.len(), 1);
        }
        costs.push(commands(&bench));
    }
    assert!(
        costs[1] <= costs[0] + costs[0] / 10,
        "{costs:?} commands for ten jobs"
    );
}

/// Counts commands as well. Two read and write the record of a job in each of its three steps, and the rest is for all of them.
#[tokio::test]
async fn a_job_costs_few_commands_from_its_submission_to_its_end() {
    let Some(server) = Server::start().await else {
        return;
    };
    let server = Arc::new(server);
    for (is_exclusive, most) in [(false, 8), (true, 21)] {
        let bench = Bench::redis_on(&server, settings()).await;
        let jobs = |from: u64| {
            (from..from + 200).map(move |number| {
                if is_exclusive {
                    exclusive(&format!("job{number}"), &format!("host{}", number % 200))
                } else {
                    job(&format!("job{number}"))
                }
            })
        };
        // The second job of each host waits there when the first one starts.
        bench.submit(jobs(1000)).await;
        commands(&bench);
        bench.submit(jobs(0)).await;
        let node = bench.join(200).await;
        let claims = bench.claim(node, 200).await;
        let ends: Vec<Finish> = (claims.iter())
            .map(|claim| Finish {
                job: claim.job.clone(),
                fence: claim.fence,
                end: over(FinalStatus::Succeeded),
            })
            .collect();
        bench.engine.finish(node, &ends).await.unwrap();
        let commands = commands(&bench);
        assert_eq!(ends.len(), 200);
        assert!(
            commands <= most * 200,
            "{commands} commands for 200 jobs, exclusive: {is_exclusive}"
        );
    }
}

#[tokio::test]
async fn a_waiting_job_takes_less_than_700_bytes() {
    let Some(server) = Server::start().await else {
        return;
    };
    let server = Arc::new(server);
    let settings = QueueSettings {
        capacity: 1_000_000,
        ..settings()
    };
    let bench = Bench::redis_on(&server, settings).await;
    let memory = || {
        let info = command(&bench, &["INFO", "memory"]);
        let used = info
            .lines()
            .find_map(|line| line.strip_prefix("used_memory:"));
        used.unwrap().trim().parse::<usize>().unwrap()
    };
    let before = memory();
    let payload: Arc<[u8]> = br#"{"input":{"path":"images/a.png","width":640}}"#.as_slice().into();
    let jobs = (0..20_000).map(|number| JobSpec {
        payload: Arc::clone(&payload),
        ..exclusive(
            &format!("run-17/resize-{number}"),
            &format!("web{}", number % 100),
        )
    });
    bench.submit(jobs).await;
    let bytes = (memory() - before) / 20_000;
    eprintln!("{bytes} bytes a waiting job");
    assert!(bytes < 700, "{bytes} bytes a waiting job");
    assert_eq!(
        bench.state("run-17/resize-7").await,
        Some(JobState::Waiting)
    );
    bench
        .engine
        .cancel(&[name("run-17/resize-7")])
        .await
        .unwrap();
}
