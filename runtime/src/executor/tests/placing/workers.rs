//! Tests of workers at several places.

use super::*;
use crate::executor::tests::scripted::{Act, ScriptedPool, ScriptedPools};

#[tokio::test(start_paused = true)]
async fn workers_at_several_places_share_the_jobs_of_their_kind() {
    let (builder, _sleeper, _tell) = scene([ready(1), ready(2)]);
    let pools = ["web1", "web2"].map(|name| (name, ScriptedPool::new(2, 0)));
    let [one, two] = [pools[0].1.clone(), pools[1].1.clone()];
    let source = ScriptedPools {
        pools: pools.into(),
        on: among(&["web1", "web2"]),
    };
    let jobs: Vec<Job> = (0..6)
        .map(|id| Job::task(id.to_string(), "t", Payload::null()))
        .collect();
    for id in 0..6 {
        for pool in [&one, &two] {
            pool.script(&id.to_string(), 1, Act::well(1));
        }
    }
    let start = tokio::time::Instant::now();
    let executor = builder.pool_source(Arc::new(source)).build().unwrap();
    let outcomes = executor.run_all(jobs).await.unwrap();
    assert!(outcomes.iter().all(|outcome| outcome.is_success()));
    assert_eq!(start.elapsed(), SECOND * 2);
    assert_eq!((one.begun().len(), two.begun().len()), (2, 4));
}

#[tokio::test(start_paused = true)]
async fn the_workers_of_a_host_get_its_jobs_alone_and_no_others() {
    let (builder, _sleeper, _tell) = scene([ready(2), ready(2)]);
    let pools = ["web1", "web2"].map(|name| (name, ScriptedPool::new(1, 4)));
    let [one, two] = [pools[0].1.clone(), pools[1].1.clone()];
    let source = ScriptedPools {
        pools: pools.into(),
        on: Placement::Host,
    };
    let jobs = (0..20).map(|id| {
        let host = if id % 4 == 0 { "web1" } else { "web2" };
        Job::task(id.to_string(), "t", Payload::null()).on_host(host)
    });
    let executor = builder.pool_source(Arc::new(source)).build().unwrap();
    let outcomes = executor.run_all(jobs).await.unwrap();
    for outcome in &outcomes {
        let place = outcome.place.as_ref().map(PlaceName::as_str);
        assert_eq!(
            place,
            outcome.host.as_ref().map(ratchet_ipc::HostName::as_str)
        );
    }
    assert_eq!((one.begun().len(), two.begun().len()), (5, 15));
}

#[tokio::test(start_paused = true)]
async fn a_kind_of_worker_goes_on_at_other_places_when_one_of_its_pools_is_given_up() {
    let (builder, _sleeper, _tell) = scene([ready(1), ready(1)]);
    let pools = ["web1", "web2"].map(|name| (name, ScriptedPool::new(1, 0)));
    let one = pools[0].1.clone();
    for id in ["0", "1", "2"] {
        for (_, pool) in &pools {
            pool.script(id, 1, Act::well(5));
        }
    }
    let source = ScriptedPools {
        pools: pools.into(),
        on: Placement::Host,
    };
    let jobs = [("0", "web1"), ("1", "web1"), ("2", "web2")];
    let jobs = jobs.map(|(id, host)| Job::task(id, "t", Payload::null()).on_host(host));
    let executor = builder.pool_source(Arc::new(source)).build().unwrap();
    let run = executor.run_list(jobs.to_vec()).unwrap();
    tokio::time::sleep(SECOND).await;
    one.report(|pool| crate::dispatch::Report::Broken {
        pool,
        failure: Box::new(Failure::new(Class::Spawn, "no such program on web1")),
    });
    let outcomes = all(run).await;
    assert_eq!(told(&outcomes), ["1 failed", "0 succeeded", "2 succeeded"]);
    assert_eq!(message(&outcomes[0]), "no such program on web1");
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_hello_cannot_come_before_a_host_is_connected_is_charged_for_the_connection() {
    let (builder, _sleeper, [tell, _tell2]) = scene([PlaceState::Away, ready(1)]);
    let pool = ScriptedPool::new(1, 0).silent();
    let source = ScriptedPools {
        pools: vec![("web1", pool.clone())],
        on: among(&["web1"]),
    };
    let executor = builder.pool_source(Arc::new(source)).build().unwrap();
    let mut run = (executor.run_list([Job::task("a", "t", Payload::null())])).unwrap();
    let handle = run.handle();
    let cause = async || {
        let snapshot = handle.snapshot().await.unwrap();
        snapshot.waiting[0].cause.to_string()
    };
    tokio::time::sleep(SECOND * 3).await;
    assert_eq!(cause().await, "waits for a connection to a host");
    tell.send_replace(ready(1));
    tokio::time::sleep(SECOND * 2).await;
    assert_eq!(cause().await, "waits for a worker that knows `t`");
    pool.report(|pool| crate::dispatch::Report::Introduced {
        kind: pool.kind,
        version: None,
        tasks: None,
    });
    let outcome = run.next().await.unwrap();
    let waits = outcome.waits.iter();
    let waits: Vec<_> = waits
        .filter(|(_, time)| !time.is_zero())
        .map(|(blocker, time)| format!("{} {time:?}", blocker.word()))
        .collect();
    assert_eq!(waits, ["connect 3s", "worker 2s"]);
}
