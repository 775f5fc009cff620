//! How workers end, and are not replaced once they are not needed.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::fake::{FakeWorker, config, job, manager, pass, submit};
use super::run_side::{RunSide, tickets};
use crate::dispatch::{Demand, Report};
use crate::os::Exit;
use crate::process::{PoolConfig, ProcessPool, ProcessSupervisor, Recycling, Size};

const MOMENT: Duration = Duration::from_millis(1);

/// A pool of one worker, and the run that uses it.
struct Scene {
    supervisor: ProcessSupervisor,
    pool: ProcessPool,
    worker: FakeWorker,
    workers: mpsc::UnboundedReceiver<FakeWorker>,
}

impl Scene {
    async fn set(config: PoolConfig) -> Self {
        let (manager, mut workers) = manager();
        let supervisor = ProcessSupervisor::start(manager);
        let pool = supervisor.add(config).await.unwrap();
        let mut worker = workers.recv().await.unwrap();
        worker.hello(&[]).await;
        pass(MOMENT).await;
        Self {
            supervisor,
            pool,
            worker,
            workers,
        }
    }

    fn run(&self) -> RunSide {
        RunSide::attach(&self.pool).unwrap()
    }

    /// Waits until the run had time to report its demand, and returns how many workers were started so far.
    async fn started(&self) -> u64 {
        pass(Duration::from_mins(1)).await;
        self.pool.metrics().await.unwrap().spawned
    }
}

/// Makes the worker die of a job, after which the run reports this demand. Returns how many workers were started before
/// the report, and how many after it.
async fn lost_with(left: Demand, others: impl AsyncFnOnce(&Scene)) -> [u64; 2] {
    let scene = Scene::set(config()).await;
    others(&scene).await;
    let mut run = scene.run();
    run.perform(tickets(1)[0], false).await;
    let Scene {
        supervisor,
        pool,
        mut worker,
        workers,
    } = scene;
    let _request = worker.request().await;
    worker.die(Exit::Signal(9));
    let ended = run.next().await;
    assert!(matches!(ended, Report::Ended { .. }), "{ended:?}");
    pass(Duration::from_mins(1)).await;
    let before = pool.metrics().await.unwrap().spawned;
    run.demand(left);
    pass(Duration::from_mins(1)).await;
    let after = pool.metrics().await.unwrap().spawned;
    drop((supervisor, workers));
    [before, after]
}

async fn nobody(_: &Scene) {}

#[tokio::test(start_paused = true)]
async fn a_worker_that_died_is_replaced_only_while_the_run_has_work_for_it() {
    // No worker is started until the run has reported what is left.
    let open = Demand::Open { unseated: 0 };
    assert_eq!(lost_with(open, nobody).await, [1, 2]);
    assert_eq!(lost_with(Demand::Over, nobody).await, [1, 1]);
    assert_eq!(lost_with(Demand::Killed, nobody).await, [1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_a_caller_has_used_keeps_its_workers() {
    let caller = async |scene: &Scene| drop(scene.pool.acquire().await.unwrap());
    assert_eq!(lost_with(Demand::Over, caller).await, [2, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_needs_no_workers_starts_them_again_for_the_next_run_or_caller() {
    let scene = Scene::set(config()).await;
    let run = scene.run();
    run.demand(Demand::Over);
    drop(run);
    pass(MOMENT).await;
    let Scene {
        supervisor,
        pool,
        worker,
        mut workers,
    } = scene;
    worker.die(Exit::Signal(9));
    pass(Duration::from_mins(1)).await;
    assert!(workers.try_recv().is_err(), "nobody needs it");

    let run = RunSide::attach(&pool).unwrap();
    let second = workers.recv().await.unwrap();
    drop(run);
    second.die(Exit::Signal(9));
    pass(Duration::from_mins(1)).await;
    assert!(workers.try_recv().is_err(), "nobody needs it");

    let call = submit(&pool, job("a"));
    let mut third = workers.recv().await.unwrap();
    third.hello(&[]).await;
    tokio::spawn(third.serve());
    assert!(call.await.unwrap().result.is_ok());
    supervisor.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_has_done_its_share_with_the_last_job_has_no_successor() {
    for (left, expected) in [(Demand::Open { unseated: 0 }, 2), (Demand::Over, 1)] {
        let mut scene = Scene::set(PoolConfig {
            recycling: Recycling {
                max_jobs: Some(1),
                ..Recycling::default()
            },
            ..config()
        })
        .await;
        let mut run = scene.run();
        run.perform(tickets(1)[0], false).await;
        let request = scene.worker.request().await;
        scene.worker.answer(&request).await;
        assert!(matches!(run.next().await, Report::Ended { .. }));
        run.demand(left);
        assert_eq!(scene.started().await, expected, "{left:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_still_starting_is_not_waited_for_at_the_end() {
    let mut scene = Scene::set(PoolConfig {
        size: Size::fixed(2),
        ..config()
    })
    .await;
    let loading = scene.workers.recv().await.unwrap();
    tokio::spawn(loading.hang());
    tokio::spawn(scene.worker.serve());
    let began = Instant::now();
    scene.supervisor.shutdown().await;
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn no_worker_is_waited_for_after_the_run_was_killed() {
    let mut scene = Scene::set(PoolConfig {
        size: Size::fixed(2),
        ..config()
    })
    .await;
    let loading = scene.workers.recv().await.unwrap();
    let run = scene.run();
    let began = Instant::now();
    run.demand(Demand::Killed);
    drop(run);
    tokio::join!(
        loading.hang(),
        scene.worker.hang(),
        scene.supervisor.shutdown()
    );
    assert_eq!(began.elapsed(), Duration::ZERO);
}
