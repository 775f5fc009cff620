//! What becomes of workers once nobody needs them.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::fake::{FakeWorker, config, job, manager, pass, submit};
use super::work::{assignment, next, tickets};
use crate::executor::crew::{Crew, Prospect, Report};
use crate::executor::reporter::{Reporter, Reports};
use crate::process::supervisor::PoolCrew;
use crate::process::{Exit, PoolConfig, ProcessPool, ProcessSupervisor, Recycling, Size};
use crate::scheduling::Kind;

const MOMENT: Duration = Duration::from_millis(1);

/// A pool of one worker.
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

    fn executor(&self) -> (PoolCrew, Reports) {
        let (reporter, reports) = Reporter::new();
        (self.pool.crew(Kind(1), reporter), reports)
    }

    /// How many workers were started by the time that everybody had time to say what is left.
    async fn started(&self) -> u64 {
        pass(Duration::from_mins(1)).await;
        self.pool.metrics().await.unwrap().spawned
    }
}

/// Has its worker die of a job, upon which the executor says what is left. Gives how many were started.
async fn lost_with(left: Prospect, others: impl AsyncFnOnce(&Scene)) -> u64 {
    let scene = Scene::set(config()).await;
    others(&scene).await;
    let (mut crew, mut reports) = scene.executor();
    crew.start(assignment(tickets(1)[0], false));
    assert!(matches!(next(&mut reports).await, Report::Started { .. }));
    let Scene {
        supervisor,
        pool,
        worker,
        workers,
    } = scene;
    worker.die(Exit::Signal(9));
    let ended = next(&mut reports).await;
    assert!(matches!(ended, Report::Ended { .. }), "{ended:?}");
    crew.expect(Kind(1), left);
    pass(Duration::from_mins(1)).await;
    let started = pool.metrics().await.unwrap().spawned;
    drop((supervisor, workers));
    started
}

async fn nobody(_: &Scene) {}

#[tokio::test(start_paused = true)]
async fn a_worker_is_replaced_only_while_something_is_left_for_it() {
    assert_eq!(lost_with(Prospect::Open { waiting: 0 }, nobody).await, 2);
    assert_eq!(lost_with(Prospect::Over, nobody).await, 1);
    assert_eq!(lost_with(Prospect::Killed, nobody).await, 1);
}

#[tokio::test(start_paused = true)]
async fn others_who_need_workers_keep_theirs() {
    let (reporter, _reports) = Reporter::new();
    let mut kept = None;
    let started = lost_with(Prospect::Over, async |scene: &Scene| {
        kept = Some(scene.pool.crew(Kind(1), reporter));
    });
    assert_eq!(started.await, 2, "another executor may have more");

    let caller = async |scene: &Scene| drop(scene.pool.acquire().await.unwrap());
    assert_eq!(lost_with(Prospect::Over, caller).await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_rests_begins_again_with_the_next_executor_or_caller() {
    let scene = Scene::set(config()).await;
    let (mut crew, reports) = scene.executor();
    crew.expect(Kind(1), Prospect::Over);
    drop((crew, reports));
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

    let (reporter, _reports) = Reporter::new();
    let crew = pool.crew(Kind(1), reporter);
    let second = workers.recv().await.unwrap();
    drop(crew);
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
    for (left, expected) in [(Prospect::Open { waiting: 0 }, 2), (Prospect::Over, 1)] {
        let mut scene = Scene::set(PoolConfig {
            recycling: Recycling {
                max_jobs: Some(1),
                ..Recycling::default()
            },
            ..config()
        })
        .await;
        let (mut crew, mut reports) = scene.executor();
        crew.start(assignment(tickets(1)[0], false));
        let request = scene.worker.request().await;
        scene.worker.answer(&request).await;
        assert!(matches!(next(&mut reports).await, Report::Started { .. }));
        assert!(matches!(next(&mut reports).await, Report::Ended { .. }));
        crew.expect(Kind(1), left);
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
async fn once_all_is_killed_no_worker_is_waited_for() {
    let mut scene = Scene::set(PoolConfig {
        size: Size::fixed(2),
        ..config()
    })
    .await;
    let loading = scene.workers.recv().await.unwrap();
    let (mut crew, reports) = scene.executor();
    let began = Instant::now();
    crew.expect(Kind(1), Prospect::Killed);
    drop((crew, reports));
    tokio::join!(
        loading.hang(),
        scene.worker.hang(),
        scene.supervisor.shutdown()
    );
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_kill_spares_the_workers_of_others() {
    let mut scene = Scene::set(config()).await;
    let (mut crew, _reports) = scene.executor();
    let (mut others, mut their_reports) = scene.executor();
    crew.expect(Kind(1), Prospect::Killed);
    pass(MOMENT).await;
    others.start(assignment(tickets(1)[0], false));
    let request = scene.worker.request().await;
    scene.worker.answer(&request).await;
    assert!(matches!(
        next(&mut their_reports).await,
        Report::Started { .. }
    ));
    let ended = next(&mut their_reports).await;
    assert!(
        matches!(ended, Report::Ended { result: Ok(_), .. }),
        "{ended:?}"
    );
}
