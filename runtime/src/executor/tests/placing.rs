//! Tests of jobs at places, each of which has slots of its own, may be away, and may be lost for good.

use std::collections::BTreeMap;
use std::sync::Mutex;

use proptest::prelude::*;
use ratchet_caching::{MemoryCache, TaskCache};
use tokio::sync::watch;

use super::scripted::{Act, ScriptedPool, ScriptedPools};
use super::*;
use crate::job::{CacheTerms, ResourceNeed};
use crate::os::{CommandRunner, MockProcessManager, ProcessConfig, ProcessError};
use crate::place::{Place, PlaceState};
use crate::scheduling::{Ageing, Resource};
use crate::{Attempt, Context, ExecutorBuilder, ParallelizationHint, PlaceName, Placement, Runner};

/// An attempt that ran.
#[derive(Debug, Clone)]
struct Ran {
    id: String,
    host: Option<String>,
    place: String,
    slots: u32,
    is_exclusive: bool,
    begun: tokio::time::Instant,
    ended: tokio::time::Instant,
}

/// A runner of commands that take as many seconds as their arguments say. It records where and when each ran.
#[derive(Clone, Default)]
struct Sleeper(Arc<Mutex<Vec<Ran>>>);

#[async_trait::async_trait]
impl Runner for Sleeper {
    async fn run(&self, attempt: Attempt, context: Context) -> Result<Payload, Failure> {
        let begun = tokio::time::Instant::now();
        let job = &attempt.job;
        let crate::Work::Command(config) = &job.work else {
            panic!("it runs commands");
        };
        let seconds = config.args[0].to_str().unwrap().parse().unwrap();
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        self.0.lock().unwrap().push(Ran {
            id: job.id.to_string(),
            host: job.host.as_ref().map(ToString::to_string),
            place: context.place().map_or("local".into(), ToString::to_string),
            slots: job.terms.slots,
            is_exclusive: job.terms.hint == Some(ParallelizationHint::HostExclusive),
            begun,
            ended: tokio::time::Instant::now(),
        });
        Ok(Payload::null())
    }
}

impl Sleeper {
    fn ran(&self) -> Vec<Ran> {
        self.0.lock().unwrap().clone()
    }

    /// Returns where each job ran, by id.
    fn places(&self) -> BTreeMap<String, String> {
        let ran = self.ran().into_iter();
        ran.map(|ran| (ran.id, ran.place)).collect()
    }

    /// Returns the greatest number of slots that were filled at once at each place.
    fn most(&self) -> BTreeMap<String, u32> {
        let ran = self.ran();
        let mut most = BTreeMap::new();
        for one in &ran {
            let meanwhile = ran.iter().filter(|other| {
                other.place == one.place && other.begun <= one.begun && one.begun < other.ended
            });
            let filled: u32 = meanwhile.map(|other| other.slots).sum();
            let known = most.entry(one.place.clone()).or_insert(0);
            *known = filled.max(*known);
        }
        most
    }
}

/// Sets the state of a place.
type Tell = watch::Sender<PlaceState>;

fn place(name: &str, state: PlaceState) -> (Place, Tell) {
    let (tell, state) = watch::channel(state);
    let runner = CommandRunner::new(None);
    (Place::new(PlaceName::new(name), runner, state), tell)
}

fn ready(slots: u32) -> PlaceState {
    PlaceState::Ready { slots }
}

fn among(names: &[&str]) -> Placement {
    Placement::Among(names.iter().map(|name| PlaceName::new(name)).collect())
}

fn command(id: &str, seconds: u64, on: Placement) -> Job {
    let config = ProcessConfig::new("sleep").arg(seconds.to_string());
    Job::command(id, config).terms(Terms {
        on,
        ..Terms::default()
    })
}

/// Makes an executor with a local slot and two places, and the runner of its commands.
fn scene(states: [PlaceState; 2]) -> (ExecutorBuilder, Sleeper, [Tell; 2]) {
    let sleeper = Sleeper::default();
    let [one, two] = states;
    let (web1, tell1) = place("web1", one);
    let (web2, tell2) = place("web2", two);
    let builder = Executor::builder()
        .slots(1)
        .command_runner(sleeper.clone())
        .place(web1)
        .place(web2);
    (builder, sleeper, [tell1, tell2])
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_resource_that_places_have_is_charged_to_it() {
    let sleeper = Sleeper::default();
    let (web1, _tell) = place("web1", ready(4));
    let executor = Executor::builder()
        .slots(1)
        .command_runner(sleeper.clone())
        .place(web1.resource("gpu", Resource::count(2).unwrap()))
        .build()
        .unwrap();
    let taking = |id: &str, seconds, units| {
        let on = among(&["web1"]);
        let resources = match units {
            0 => Vec::new(),
            _ => vec![ResourceNeed::new("gpu", units)],
        };
        command(id, seconds, on.clone()).terms(Terms {
            resources,
            on,
            ..Terms::default()
        })
    };
    let jobs = [
        taking("a", 5, 2),
        taking("b", 2, 1),
        taking("c", 3, 0),
        taking("d", 9, 0),
        taking("e", 9, 0),
        taking("f", 1, 0),
    ];
    let outcomes = executor.run_all(jobs).await.unwrap();
    let waits = |at: usize| {
        let waits = outcomes[at].waits.iter();
        let waits = waits.filter(|(_, time)| !time.is_zero());
        waits
            .map(|(blocker, time)| format!("{} {time:?}", blocker.word()))
            .collect::<Vec<_>>()
    };
    assert_eq!(waits(1), ["resource:gpu 5s"]);
    assert_eq!(waits(5), ["slot 3s"]);
}

#[tokio::test(start_paused = true)]
async fn slots_of_a_place_are_used_while_others_wait_for_its_resource() {
    let sleeper = Sleeper::default();
    let (web1, _tell) = place("web1", ready(2));
    let executor = Executor::builder()
        .slots(1)
        .command_runner(sleeper.clone())
        .ageing(Ageing { step: SECOND / 10 })
        .place(web1.resource("gpu", Resource::count(1).unwrap()))
        .build()
        .unwrap();
    let on = || among(&["web1"]);
    let trains = (0..3).map(|id| {
        command(&format!("train{id}"), 5, on()).terms(Terms {
            on: on(),
            resources: vec![ResourceNeed::new("gpu", 1)],
            ..Terms::default()
        })
    });
    let others = (0..5).map(|id| command(&format!("other{id}"), 1, on()));
    let start = tokio::time::Instant::now();
    executor.run_all(trains.chain(others)).await.unwrap();
    assert_eq!(start.elapsed(), SECOND * 15);
    let ran = sleeper.ran();
    let others = ran.iter().filter(|one| one.id.starts_with("other"));
    let last = others.map(|one| one.ended - start).max();
    assert_eq!(last, Some(SECOND * 5), "beside the first that trains");
}

#[tokio::test(start_paused = true)]
async fn each_place_fills_its_own_slots_and_numbers_them() {
    let (builder, sleeper, _tell) = scene([ready(2), ready(3)]);
    let start = tokio::time::Instant::now();
    let jobs = (0..12).map(|id| {
        let on = among(&["local", "web1", "web2"]);
        command(&id.to_string(), 1, on)
    });
    let outcomes = builder.build().unwrap().run_all(jobs).await.unwrap();
    assert_eq!(start.elapsed(), SECOND * 2);
    let most = sleeper.most();
    assert_eq!((most["local"], most["web1"], most["web2"]), (1, 2, 3));
    for outcome in outcomes {
        let slots = match outcome.place.as_ref().map(PlaceName::as_str) {
            None => 1,
            Some("web1") => 2,
            Some("web2") => 3,
            Some(other) => panic!("{other}"),
        };
        assert!(outcome.slot.unwrap().get() <= slots, "{outcome:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_jobs_that_run_are_counted_by_place() {
    let (builder, _sleeper, _tell) = scene([ready(2), ready(2)]);
    let jobs = [
        command("a", 10, among(&["web1"])),
        command("b", 30, among(&["web1"])),
        command("c", 30, Placement::Here),
    ];
    let run = builder.build().unwrap().run_list(jobs.to_vec()).unwrap();
    let handle = run.handle();
    let counts = || {
        let at = |name| handle.running_at(&PlaceName::new(name));
        ["local", "web1", "web2", "web3"].map(at)
    };
    tokio::time::sleep(SECOND * 5).await;
    assert_eq!(counts(), [1, 2, 0, 0]);
    tokio::time::sleep(SECOND * 15).await;
    assert_eq!(counts(), [1, 1, 0, 0]);
    all(run).await;
    assert_eq!(counts(), [0; 4]);
}

#[tokio::test(start_paused = true)]
async fn a_job_runs_where_its_terms_say() {
    let (builder, sleeper, _tell) = scene([ready(1), ready(1)]);
    let jobs = [
        command("here", 1, Placement::Here),
        command("there", 1, among(&["web2"])),
        command("at its host", 1, Placement::Host).on_host("web1"),
    ];
    let outcomes = builder.build().unwrap().run_all(jobs).await.unwrap();
    assert!(outcomes.iter().all(|outcome| outcome.is_success()));
    let places = sleeper.places();
    assert_eq!(places["here"], "local");
    assert_eq!(places["there"], "web2");
    assert_eq!(places["at its host"], "web1");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_names_no_place_of_the_run_is_refused() {
    let (builder, _sleeper, _tell) = scene([ready(1), ready(1)]);
    let closure = instant("d").terms(Terms {
        on: among(&["web1"]),
        ..Terms::default()
    });
    let jobs = [
        command("a", 1, among(&["web3"])),
        command("b", 1, Placement::Host).on_host("db"),
        command("c", 1, Placement::Host),
        closure,
    ];
    let outcomes = builder.build().unwrap().run_all(jobs).await.unwrap();
    let messages: Vec<&str> = outcomes.iter().map(|outcome| message(outcome)).collect();
    assert_eq!(
        messages,
        [
            "there is no host `web3` to run on, did you mean `web1`?",
            "there is no host `db` to run on",
            "it has to run on its host, but it names none: give it a `host`",
            "`on` is for commands: a task runs where its workers do, and a closure in this process",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn jobs_for_a_place_that_is_away_wait_and_others_go_on() {
    let (builder, sleeper, [tell, _tell2]) = scene([PlaceState::Away, ready(1)]);
    let start = tokio::time::Instant::now();
    let jobs = [
        command("pinned", 1, among(&["web1"])),
        command("free", 1, among(&["web1", "web2"])),
    ];
    let run = builder.build().unwrap().run_list(jobs.to_vec()).unwrap();
    tokio::time::sleep(SECOND * 10).await;
    assert_eq!(
        sleeper.places(),
        BTreeMap::from([("free".into(), "web2".into())])
    );
    tell.send_replace(ready(1));
    let outcomes = all(run).await;
    assert!(outcomes.iter().all(|outcome| outcome.is_success()));
    assert_eq!(start.elapsed(), SECOND * 11);
    assert_eq!(sleeper.places()["pinned"], "web1");
}

#[tokio::test(start_paused = true)]
async fn a_place_that_is_lost_starts_nothing_more_until_it_is_back() {
    let (builder, sleeper, [tell, _tell2]) = scene([ready(1), ready(1)]);
    let start = tokio::time::Instant::now();
    let jobs = ["a", "b"].map(|id| command(id, 2, among(&["web1"])));
    let run = builder.build().unwrap().run_list(jobs.to_vec()).unwrap();
    tokio::time::sleep(SECOND).await;
    tell.send_replace(PlaceState::Away);
    tokio::time::sleep(SECOND * 4).await;
    assert_eq!(sleeper.ran().len(), 1, "what runs there goes on");
    tell.send_replace(ready(1));
    let outcomes = all(run).await;
    assert_eq!(told(&outcomes), ["a succeeded", "b succeeded"]);
    assert_eq!(start.elapsed(), SECOND * 7);
}

#[tokio::test(start_paused = true)]
async fn jobs_that_can_run_nowhere_any_more_fail_with_the_reason() {
    let (builder, sleeper, [tell, _tell2]) = scene([PlaceState::Away, ready(1)]);
    let (submitter, run) = builder.build().unwrap().open().unwrap();
    let submit = async |job: Job| submitter.submit(job).await.unwrap();
    submit(command("pinned", 1, among(&["web1"]))).await;
    submit(command("free", 1, among(&["web1", "web2"]))).await;
    tokio::time::sleep(SECOND).await;
    let why = Failure::new(
        Class::Unreachable,
        "web1 cannot be reached: no route to host",
    );
    tell.send_replace(PlaceState::GivenUp(Box::new(why)));
    tokio::time::sleep(SECOND).await;
    submit(command("late", 1, among(&["web1"]))).await;
    drop(submitter);
    let outcomes = all(run).await;
    let mut ends = told(&outcomes);
    ends.sort();
    assert_eq!(ends, ["free succeeded", "late failed", "pinned failed"]);
    for outcome in outcomes.iter().filter(|outcome| !outcome.is_success()) {
        assert_eq!(message(outcome), "web1 cannot be reached: no route to host");
        assert_eq!(outcome.failure().unwrap().class, Class::Unreachable);
    }
    assert_eq!(sleeper.ran().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_is_charged_for_the_loss_of_its_host_only_if_it_had_begun() {
    let mut manager = MockProcessManager::new();
    let mut begun = [false, false, true].into_iter();
    manager.expect_spawn_process().times(3).returning(move |_| {
        Err(ProcessError::HostLost {
            host: "web1".to_owned(),
            reason: "no route to host".to_owned(),
            has_begun: begun.next().unwrap(),
        })
    });
    let (_tell, state) = watch::channel(ready(1));
    let runner = CommandRunner::through(Arc::new(manager));
    let web1 = Place::new(PlaceName::new("web1"), runner, state);
    let executor = Executor::builder().place(web1).build().unwrap();
    let outcomes = executor
        .run_all([command("a", 1, among(&["web1"]))])
        .await
        .unwrap();
    assert_eq!(outcomes[0].failure().unwrap().class, Class::Host);
    assert_eq!(outcomes[0].attempts, 1);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_fills_several_slots_is_passed_by_lighter_ones_until_it_is_due() {
    // With the short step it is due after three seconds. With the long one it is never due, and starts when both slots of
    // a place happen to be free.
    let (due, never_due) = (passed_for(SECOND).await, passed_for(SECOND * 3600).await);
    assert!(SECOND * 3 <= due && due < SECOND * 8, "{due:?}");
    assert!(due < never_due, "{never_due:?}");
}

/// Returns when a job of two slots began at one of two places that lighter jobs keep busy.
async fn passed_for(step: Duration) -> Duration {
    let (builder, sleeper, _tell) = scene([ready(2), ready(2)]);
    let start = tokio::time::Instant::now();
    let heavy = command("heavy", 1, among(&["web1", "web2"]));
    let heavy = Terms {
        slots: 2,
        ..Terms::clone(&heavy.terms)
    };
    let mut jobs: Vec<Job> = (0..40)
        // The jobs take different times, so that slots become free one at a time.
        .map(|id| command(&id.to_string(), 2 + id % 3, among(&["web1", "web2"])))
        .collect();
    jobs.insert(5, command("heavy", 1, Placement::Here).terms(heavy));
    let executor = builder.ageing(Ageing { step }).build().unwrap();
    let outcomes = executor.run_all(jobs).await.unwrap();
    assert!(outcomes.iter().all(|outcome| outcome.is_success()));
    assert!(sleeper.most().values().all(|most| *most <= 2));
    let ran = sleeper.ran();
    let heavy = ran.iter().find(|ran| ran.id == "heavy").unwrap();
    heavy.begun - start
}

#[tokio::test(start_paused = true)]
async fn a_place_that_was_lost_is_not_kept_any_longer() {
    let (builder, sleeper, [tell, _tell2]) = scene([ready(2), ready(2)]);
    let start = tokio::time::Instant::now();
    let on = |id: &str, seconds, places: &[&str], slots| {
        command(id, seconds, Placement::Here).terms(Terms {
            slots,
            on: among(places),
            ..Terms::default()
        })
    };
    let mut jobs = vec![
        on("long", 60, &["web1"], 1),
        on("heavy", 1, &["web1", "web2"], 2),
    ];
    // At web2 there is never a moment at which both slots are free by themselves.
    jobs.extend((0..30).map(|id| on(&id.to_string(), 2 + id % 2, &["web2"], 1)));
    let step = SECOND;
    let executor = builder.ageing(Ageing { step }).build().unwrap();
    let run = executor.run_list(jobs).unwrap();
    let outcomes = tokio::spawn(all(run));
    tokio::time::sleep(SECOND * 10).await;
    tell.send_replace(PlaceState::Away);
    outcomes.await.unwrap();
    let ran = sleeper.ran();
    let heavy = ran.iter().find(|ran| ran.id == "heavy").unwrap();
    assert!(
        heavy.begun - start < SECOND * 16,
        "{:?}",
        heavy.begun - start
    );
    assert_eq!(heavy.place, "web2");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_no_place_has_slots_enough_for_is_refused_once_that_is_known() {
    let (builder, _sleeper, [tell, _tell2]) = scene([PlaceState::Away, ready(2)]);
    let heavy = Terms {
        slots: 3,
        on: among(&["web1", "web2"]),
        ..Terms::default()
    };
    let job = command("heavy", 1, Placement::Here).terms(heavy);
    let mut run = builder.build().unwrap().run_list(vec![job]).unwrap();
    let wait = tokio::time::timeout(SECOND * 9, run.next()).await;
    assert!(wait.is_err(), "web1 may yet prove large enough");
    tell.send_replace(ready(1));
    let outcome = run.next().await.unwrap();
    assert_eq!(
        message(&outcome),
        "it fills 3 slots, and no place where it may run has more than 2"
    );
}

#[tokio::test(start_paused = true)]
async fn all_places_together_fill_no_more_than_the_total() {
    let (builder, sleeper, _tell) = scene([ready(4), ready(4)]);
    let start = tokio::time::Instant::now();
    let jobs = (0..9).map(|id| command(&id.to_string(), 1, among(&["local", "web1", "web2"])));
    let executor = builder.total_slots(3).build().unwrap();
    executor.run_all(jobs).await.unwrap();
    assert_eq!(start.elapsed(), SECOND * 3);
    assert_eq!(sleeper.ran().len(), 9);
}

#[tokio::test(start_paused = true)]
async fn the_lock_of_a_host_holds_over_all_places() {
    let (builder, sleeper, _tell) = scene([ready(4), ready(4)]);
    let start = tokio::time::Instant::now();
    let jobs = (0..4).map(|id| {
        let job = command(&id.to_string(), 1, Placement::Here).on_host("db");
        job.terms(Terms {
            on: among(&["web1", "web2"]),
            hint: Some(ParallelizationHint::HostExclusive),
            ..Terms::default()
        })
    });
    builder.build().unwrap().run_all(jobs).await.unwrap();
    assert_eq!(start.elapsed(), SECOND * 4);
    assert_eq!(sleeper.ran().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_place_that_is_there_twice_is_refused() {
    let (builder, _sleeper, _tell) = scene([ready(1), ready(1)]);
    let (twice, _tell) = place("web1", ready(1));
    let refused = builder.place(twice).build().unwrap_err();
    assert_eq!(refused.to_string(), "place `web1` is there twice");
}

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

#[tokio::test(start_paused = true)]
async fn fewer_local_slots_than_a_job_needs_are_refused_unless_another_place_is_large_enough() {
    let (builder, sleeper, [tell, _tell2]) = scene([PlaceState::Away, ready(1)]);
    let heavy = |id, on| {
        command(id, 1, Placement::Here).terms(Terms {
            slots: 3,
            on,
            ..Terms::default()
        })
    };
    let executor = builder.slots(3).build().unwrap();
    for on in [Placement::Here, among(&["local", "web1", "web2"])] {
        // It waits behind the first one in the queue.
        let mut run = executor
            .run_list([command("a", 9, Placement::Here), heavy("big", on)])
            .unwrap();
        let handle = run.handle();
        tokio::time::sleep(SECOND).await;
        let error = handle.set_slots(2).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "a job of 3 slots can never run with 2 in total"
        );
        assert!(rest(&mut run).await.iter().all(|one| one.is_success()));
    }
    tell.send_replace(ready(3));
    let on = among(&["local", "web1"]);
    let jobs = [heavy("a", on.clone()), heavy("b", on)];
    let mut run = executor.run_list(jobs).unwrap();
    let handle = run.handle();
    // The state of web1 is known to the run by now.
    tokio::time::sleep(SECOND / 2).await;
    handle.set_slots(2).await.unwrap();
    assert!(rest(&mut run).await.iter().all(|one| one.is_success()));
    assert_eq!(sleeper.ran().len(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_larger_than_the_lowered_local_place_takes_all_of_it_and_no_smaller_host() {
    let (builder, sleeper, _tells) = scene([ready(2), PlaceState::Away]);
    let executor = builder.slots(3).build().unwrap();
    let (submitter, mut run) = executor.open().unwrap();
    tokio::time::sleep(SECOND).await;
    run.handle().set_slots(1).await.unwrap();
    let heavy = command("big", 1, Placement::Here).terms(Terms {
        slots: 3,
        on: among(&["local", "web1", "web2"]),
        ..Terms::default()
    });
    submitter.submit(heavy).await.unwrap();
    drop(submitter);
    assert!(run.next().await.unwrap().is_success());
    assert_eq!(sleeper.places()["big"], "local");
}

/// Returns a random job: where it may run, how long it takes, how many slots it fills, and whether it is exclusive.
fn job_at_random() -> impl Strategy<Value = (u8, u64, u32, bool)> {
    (0_u8..5, 0_u64..4, 1_u32..3, any::<bool>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_jobs_come_no_place_is_filled_beyond_its_slots_and_each_job_ends_once(
        jobs in prop::collection::vec(job_at_random(), 1..40),
        slots in prop::array::uniform2(2_u32..4),
        away_for in 0_u64..5,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        let (sleeper, outcomes) = runtime.block_on(async {
            let (builder, sleeper, [tell, _tell2]) = scene([PlaceState::Away, ready(slots[1])]);
            let jobs = jobs.iter().enumerate().map(|(id, (on, seconds, slots, is_exclusive))| {
                let (on, slots) = match on {
                    0 => (Placement::Here, 1),
                    1 => (Placement::Host, *slots),
                    2 => (among(&["web1"]), *slots),
                    3 => (among(&["web1", "web2"]), *slots),
                    _ => (among(&["local", "web2"]), *slots),
                };
                let host = if id % 2 == 0 { "web1" } else { "web2" };
                let job = command(&id.to_string(), *seconds, Placement::Here).on_host(host);
                job.terms(Terms {
                    on,
                    slots,
                    hint: is_exclusive.then_some(ParallelizationHint::HostExclusive),
                    ..Terms::default()
                })
            });
            let jobs: Vec<Job> = jobs.collect();
            let count = jobs.len();
            let mut run = builder.build().unwrap().run_list(jobs).unwrap();
            tokio::time::sleep(Duration::from_secs(away_for)).await;
            tell.send_replace(ready(slots[0]));
            let mut outcomes = Vec::new();
            while outcomes.len() < count {
                let next = tokio::time::timeout(Duration::from_hours(1), run.next());
                outcomes.extend(next.await.expect("nothing waits for ever"));
            }
            // The end of the run is awaited without a timeout, because the paused clock runs on while threads end.
            outcomes.extend(run.next().await);
            (sleeper, outcomes)
        });
        prop_assert_eq!(outcomes.len(), jobs.len());
        prop_assert!(outcomes.iter().all(|outcome| outcome.is_success()));
        let most = sleeper.most();
        for (place, slots) in [("local", 1), ("web1", slots[0]), ("web2", slots[1])] {
            prop_assert!(most.get(place).is_none_or(|most| *most <= slots), "{:?}", most);
        }
        let ran = sleeper.ran();
        for one in ran.iter().filter(|one| one.is_exclusive) {
            let meanwhile = ran.iter().filter(|other| {
                other.is_exclusive && other.host == one.host && other.id != one.id
                    && other.begun < one.ended && one.begun < other.ended
            });
            prop_assert_eq!(meanwhile.count(), 0);
        }
    }
}

/// Makes a [`command`] whose result is cached.
fn cached(id: &str, on: Placement) -> Job {
    let job = command(id, 1, on);
    let terms = Terms {
        cache: Some(CacheTerms::On {
            inputs: Vec::new(),
            env: Vec::new(),
            ttl: None,
        }),
        ..(*job.terms).clone()
    };
    job.terms(terms)
}

/// Makes a place that reports its platform.
fn place_of_platform(
    name: &str,
    state: PlaceState,
    platform: Option<&str>,
) -> (Place, Tell, watch::Sender<Option<Arc<str>>>) {
    let (place, tell) = place(name, state);
    let (tell_platform, platform) = watch::channel(platform.map(Arc::from));
    (place.platform(platform), tell, tell_platform)
}

fn over(cache: &TaskCache, sleeper: &Sleeper, places: impl IntoIterator<Item = Place>) -> Executor {
    let builder = Executor::builder()
        .slots(1)
        .command_runner(sleeper.clone())
        .cache(cache.clone());
    let builder = places.into_iter().fold(builder, ExecutorBuilder::place);
    builder.build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_result_is_used_again_only_for_the_platform_on_which_it_was_made() {
    let cache = TaskCache::new(Arc::new(MemoryCache::new(1 << 20)));
    let sleeper = Sleeper::default();
    let (vax, tell, tell_platform) = place_of_platform("web1", PlaceState::Away, None);
    let run = over(&cache, &sleeper, [vax]);
    let run = run
        .run_list(vec![cached("there", among(&["web1"]))])
        .unwrap();
    // No platform is known yet, so there is no key to ask the cache for.
    tokio::time::sleep(SECOND * 10).await;
    tell_platform.send_replace(Some("vms-vax".into()));
    tell.send_replace(ready(1));
    assert!(!all(run).await[0].cached);

    let own = crate::remote::AgentInfo::own_platform();
    for (platform, is_cached) in [("vms-vax", true), (own.as_str(), false), ("vms-vax", true)] {
        let (place, _tell, _platform) = place_of_platform("web2", ready(1), Some(platform));
        let job = cached("again", among(&["web2"]));
        let outcomes = over(&cache, &sleeper, [place])
            .run_all([job])
            .await
            .unwrap();
        assert_eq!(outcomes[0].cached, is_cached, "{platform}");
    }
    let job = cached("here", Placement::Here);
    let outcomes = over(&cache, &sleeper, []).run_all([job]).await.unwrap();
    assert!(
        outcomes[0].cached,
        "it was made on a host like this machine"
    );
    assert_eq!(sleeper.ran().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_result_of_another_platform_than_was_expected_is_not_kept() {
    let cache = TaskCache::new(Arc::new(MemoryCache::new(1 << 20)));
    let sleeper = Sleeper::default();
    for _ in 0..2 {
        // The place was reached before, and is away now.
        let (web1, _tell1, _platform1) =
            place_of_platform("web1", PlaceState::Away, Some("vms-vax"));
        let (web2, tell2, tell_platform) = place_of_platform("web2", PlaceState::Away, None);
        let run = over(&cache, &sleeper, [web1, web2]);
        let job = cached("a", among(&["web1", "web2"]));
        let run = run.run_list(vec![job]).unwrap();
        tokio::time::sleep(SECOND).await;
        tell_platform.send_replace(Some("plan9-mips".into()));
        tell2.send_replace(ready(1));
        let outcomes = all(run).await;
        assert!(outcomes[0].is_success() && !outcomes[0].cached);
    }
    assert_eq!(sleeper.ran().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_result_of_a_place_of_an_unknown_platform_is_not_kept() {
    let cache = TaskCache::new(Arc::new(MemoryCache::new(1 << 20)));
    let sleeper = Sleeper::default();
    for _ in 0..2 {
        let (bare, _tell) = place("bare", ready(1));
        let job = cached("a", among(&["bare"]));
        let outcomes = over(&cache, &sleeper, [bare]).run_all([job]).await.unwrap();
        assert!(!outcomes[0].cached);
    }
    assert_eq!(sleeper.ran().len(), 2);
}
