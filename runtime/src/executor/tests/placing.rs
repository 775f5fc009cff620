//! Tests of jobs at places, each of which has slots of its own, may be away, and may be lost for good.

mod losing;
mod resources;
mod reusing;
mod several_slots;
mod workers;

use std::collections::BTreeMap;
use std::sync::Mutex;

use proptest::prelude::*;
use tokio::sync::watch;

use super::*;
use crate::os::{CommandRunner, ProcessConfig};
use crate::place::{Place, PlaceState};
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
