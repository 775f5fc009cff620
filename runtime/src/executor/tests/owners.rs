//! Tests of the owners of a run's state as values: no loop, and workers that only record what they are sent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ratchet_caching::{Begin, Key, MemoryCache, Policy, SystemClock, TaskCache};
use ratchet_ipc::Payload;
use ratchet_resilience::Rng;
use ratchet_resilience::shutdown::Phase;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::retrying;
use crate::dispatch::{
    Demand, FilterState, Offer, Order, PoolKey, Reporter, StopRequest, WorkerLink, WorkerNumber,
};
use crate::executor::arrival::Arrival;
use crate::executor::breakers::Breakers;
use crate::executor::command::Commands;
use crate::executor::demand::ExpectedWork;
use crate::executor::dispatcher::{Dispatcher, Settled};
use crate::executor::ended_attempt::EndedAttempt;
use crate::executor::entry::tests::entry;
use crate::executor::entry::{EntryState, JobEntry};
use crate::executor::kinds::{KindOfWorker, Kinds, Tasks};
use crate::executor::local::{CommandsAt, LocalPerformer};
use crate::executor::observers::{Observers, Turn};
use crate::executor::performers::{DemandLink, Performers, PoolPerformer};
use crate::executor::places::Places;
use crate::executor::platforms::Platforms;
use crate::executor::queue::{Freed, Queue};
use crate::executor::resolver::{Resolution, Resolver};
use crate::executor::retries::Retries;
use crate::executor::reuse::{CacheKey, RunCache};
use crate::executor::routes::{NeedsId, PlaceSetId, RouteId, Target};
use crate::executor::seated_queue::SeatedQueue;
use crate::executor::sinks::Sinks;
use crate::executor::status::Gauges;
use crate::executor::times::{JobTimes, WallClock};
use crate::ids::KindId;
use crate::ids::{PlaceId, Ticket, WorkerName};
use crate::job::{Job, Placement, Terms, Timeouts};
use crate::os::{CommandLimits, CommandRunner, ProcessConfig};
use crate::outcome::{Class, Failure};
use crate::process::{PoolConfig, Prefetch, Seats};
use crate::scheduling::{AfterAttempt, Blocker, Decision, Scheduler, SchedulerSettings, Workers};

const SECOND: Duration = Duration::from_secs(1);

/// The kind of worker that performs any task.
pub(super) const POOL: KindId = KindId(0);

/// The pool of this kind.
pub(super) const KEY: PoolKey = PoolKey {
    kind: POOL,
    place: PlaceId::LOCAL,
};

/// The target of a job for this pool.
const TARGET: Target<'_> = Target {
    kind: POOL,
    places: PlaceSetId::LOCAL,
    needs: NeedsId::NOTHING,
    slots: 1,
    members: &[PlaceId::LOCAL],
    counts_slots: false,
};

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn kinds(tasks: Tasks) -> Kinds {
    Kinds::new(vec![KindOfWorker {
        name: "any".to_owned(),
        tasks,
        on: Placement::Here,
        process: None,
        programs: None,
    }])
}

fn arrival(id: &str, terms: Terms, since: Instant) -> Arrival {
    Arrival {
        job: Arc::new(Job::task(id, "t", Payload::null()).terms(terms)),
        position: 0,
        times: Box::new(JobTimes::new(since)),
    }
}

fn waiting_for(limit: Duration) -> Terms {
    Terms {
        timeouts: Timeouts {
            queue: Some(limit),
            ..Timeouts::default()
        },
        ..Terms::default()
    }
}

fn scheduler(slots: u32) -> Scheduler {
    let settings = SchedulerSettings {
        slots,
        ..SchedulerSettings::default()
    };
    Scheduler::new(settings, now()).unwrap()
}

fn queue(slots: u32) -> (Queue, Kinds, Instant) {
    (
        Queue::new(scheduler(slots), 1, Vec::new()),
        kinds(Tasks::Any),
        now(),
    )
}

fn push(queue: &mut Queue, kinds: &Kinds, id: &str, at: Instant) -> Ticket {
    let arrival = arrival(id, Terms::default(), at);
    queue.push(arrival, TARGET, kinds, None, at).unwrap()
}

fn start_next(queue: &mut Queue, at: Instant) -> Ticket {
    queue.pass_time(at);
    let Decision::Start(ticket) = queue.pop_if(at, |_| Ok(())) else {
        panic!("nothing starts");
    };
    queue.start(ticket, PlaceId::LOCAL, at);
    ticket
}

fn route(queue: &Queue) -> RouteId {
    queue.routes().plain(POOL, false)
}

fn counts(queue: &Queue) -> (usize, u32, u32) {
    let counts = queue.count(POOL);
    (counts.waiting, counts.ahead, counts.running)
}

#[test]
fn a_job_of_the_queue_waits_runs_waits_again_and_is_taken_out() {
    let (mut queue, kinds, start) = queue(1);
    let ticket = push(&mut queue, &kinds, "a", start);
    assert_eq!(counts(&queue), (1, 0, 0));
    assert_eq!(start_next(&mut queue, start + SECOND), ticket);
    assert_eq!(counts(&queue), (0, 0, 1));
    assert_eq!(queue.get(ticket).times.waits.total(), SECOND);

    let again = start + SECOND * 3;
    queue.free(ticket, AfterAttempt::Again(again), None, start + SECOND * 2);
    let failure = Box::new(Failure::new(Class::Task, "no"));
    queue.wait_again(ticket, failure, start + SECOND * 2);
    assert_eq!(counts(&queue), (1, 0, 0));
    assert_eq!(
        queue.pop_if(start + SECOND * 2, |_| Ok(())),
        Decision::WaitUntil(again)
    );
    assert_eq!(start_next(&mut queue, again), ticket);
    assert_eq!(queue.get(ticket).attempts, 2);

    queue.free(ticket, AfterAttempt::Over, None, again);
    assert_eq!(queue.take(ticket).job.id.as_str(), "a");
    assert_eq!((queue.len(), queue.find(ticket).is_none()), (0, true));
}

#[test]
fn a_job_that_lies_ahead_gets_the_slot_in_the_step_in_which_it_is_free() {
    let (mut queue, kinds, start) = queue(1);
    let (mut seats, _told) = seats(1, true, start);
    let first = push(&mut queue, &kinds, "a", start);
    let second = push(&mut queue, &kinds, "b", start);
    push(&mut queue, &kinds, "c", start);
    queue.set_workers(route(&queue), Workers::Free(seats.free()), None);
    assert_eq!(start_next(&mut queue, start), first);
    seats.take(None).unwrap();
    let seat = seats.take_ahead().unwrap();
    assert_eq!(
        queue.pop_ahead(route(&queue), (PlaceId::LOCAL, seat), start),
        Some(second)
    );
    assert_eq!(counts(&queue), (1, 1, 1));

    let freed = queue.free(first, AfterAttempt::Over, Some(second), start + SECOND);
    let expected = Freed {
        pool: KEY,
        seat: None,
        next: Some(second),
    };
    assert_eq!(freed, expected);
    assert_eq!(queue.get(second).state(), EntryState::Running);
    assert_eq!(queue.get(second).seat, Some(seat));
    queue.take(first);
    assert_eq!(counts(&queue), (1, 0, 1));
    assert_eq!(queue.pop_if(start + SECOND, |_| Ok(())), Decision::Idle);
}

#[test]
fn an_attempt_that_never_began_is_not_charged_and_its_job_has_waited_meanwhile() {
    let (mut queue, kinds, start) = queue(1);
    let arrival = arrival("a", waiting_for(SECOND * 5), start);
    let ticket = queue.push(arrival, TARGET, &kinds, None, start).unwrap();
    assert_eq!(start_next(&mut queue, start + SECOND * 2), ticket);
    assert_eq!(queue.next_deadline(), None);

    queue.free(ticket, AfterAttempt::Again(start), None, start + SECOND * 4);
    queue.uncharge(ticket, start + SECOND * 4);
    assert_eq!(queue.get(ticket).attempts, 0);
    assert_eq!(queue.next_deadline(), Some(start + SECOND * 5));
    assert!(queue.pop_past_deadline(start + SECOND * 4).is_none());
    let late = queue.pop_past_deadline(start + SECOND * 5).unwrap();
    assert_eq!(late.ticket, ticket);
    let message = late.queue_timeout_failure().message;
    assert_eq!(message, "it waited for its start for longer than 5s");
    assert!(queue.pop_past_deadline(start + SECOND * 9).is_none());
    queue.cancel(ticket);
    assert_eq!(queue.len(), 0);
}

#[test]
fn a_job_is_given_up_in_whatever_state_it_is() {
    let (mut queue, kinds, start) = queue(1);
    let (mut seats, _told) = seats(1, true, start);
    for id in ["a", "b", "c"] {
        push(&mut queue, &kinds, id, start);
    }
    start_next(&mut queue, start);
    seats.take(None).unwrap();
    let seat = seats.take_ahead().unwrap();
    queue
        .pop_ahead(route(&queue), (PlaceId::LOCAL, seat), start)
        .unwrap();
    for ticket in queue.tickets(|_| true) {
        queue.give_up(ticket);
    }
    assert_eq!(counts(&queue), (0, 0, 0));
    assert_eq!(queue.load().waiting + queue.load().running, 0);
    let next = push(&mut queue, &kinds, "d", start);
    assert_eq!(start_next(&mut queue, start), next);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_comes_back_to_the_queue_gives_its_permit_back_to_the_equal_ones() {
    let (mut queue, kinds, start) = queue(2);
    let cache = TaskCache::new(Arc::new(MemoryCache::new(1 << 10)));
    let key = Key::of(b"same");
    let Begin::Lead(permit) = cache.begin(&key, &Policy::never()).await else {
        panic!("nobody else has asked");
    };
    let mut permit = Some(permit);
    let [first, second] = ["a", "b"].map(|id| {
        let cache_key = Some(Box::new(CacheKey::new(key, permit.take())));
        let arrival = arrival(id, Terms::default(), start);
        queue
            .push(arrival, TARGET, &kinds, cache_key, start)
            .unwrap()
    });
    assert_eq!(start_next(&mut queue, start), first);
    assert_eq!(queue.get(second).state(), EntryState::Parked);
    assert_eq!(queue.computing(queue.get(second)).unwrap().as_str(), "a");
    assert_eq!(queue.pop_if(start, |_| Ok(())), Decision::Idle);

    // Its result was held after it had left the queue, and was wrong.
    let at = start + SECOND;
    queue.pass_time(at);
    queue.free(first, AfterAttempt::Over, None, at);
    let entry = queue.take(first);
    assert_eq!(queue.get(second).state(), EntryState::Parked);
    let retry = at + SECOND * 4;
    let again = queue.requeue(entry, TARGET, &kinds, (retry, at)).unwrap();
    assert_eq!(queue.get(second).state(), EntryState::Waiting);
    assert_eq!(start_next(&mut queue, at + SECOND), second);
    assert_eq!(queue.get(again).state(), EntryState::Parked);
    assert_eq!(
        queue.pop_if(at + SECOND * 2, |_| Ok(())),
        Decision::WaitUntil(retry)
    );

    let later = retry + SECOND * 2;
    queue.pass_time(retry);
    queue.pass_time(later);
    queue.free(second, AfterAttempt::Over, None, later);
    let mut entry = queue.take(second);
    let parked = queue.succeeded(second, &entry.cache_key.take().unwrap());
    assert_eq!(parked.len(), 1);
    assert!(!queue.knows_key(&key));
    let answered = queue.cancel(again);
    let waits = &answered.times.waits;
    assert_eq!(waits.of(&Blocker::Retry), SECOND * 4);
    assert_eq!(waits.of(&Blocker::Cache), SECOND * 2);
    assert_eq!(waits.total(), SECOND * 6);
    assert_eq!(queue.len(), 0);
}

#[test]
fn a_job_that_names_an_unknown_limit_is_refused_and_leaves_nothing() {
    let (mut queue, kinds, start) = queue(1);
    let terms = Terms {
        limits: vec!["nope".to_owned()],
        ..Terms::default()
    };
    let arrival = arrival("a", terms, start);
    let refused = queue
        .push(arrival, TARGET, &kinds, None, start)
        .unwrap_err();
    assert_eq!(refused.failure.class, Class::Input);
    assert_eq!((queue.len(), queue.entries().count()), (0, 0));
}

fn failed(class: Class) -> Failure {
    Failure::new(class, "no")
}

fn retried(attempts: u32) -> JobEntry {
    let terms = Terms {
        retry: Some(retrying(attempts)),
        ..Terms::default()
    };
    let start = now();
    entry(arrival("a", terms, start).job, start)
}

#[test]
fn a_failed_attempt_is_followed_by_another_one_until_the_policy_or_the_run_ends() {
    let mut retries = Retries::new(3, None, Rng::seeded(1));
    let mut entry = retried(2);
    let at = now();
    let again = AfterAttempt::Again(at + SECOND);
    let mut judge =
        |retries: &mut Retries| retries.decide(&mut entry, &mut Box::new(failed(Class::Task)), at);
    assert_eq!(judge(&mut retries), again);
    assert_eq!(judge(&mut retries), AfterAttempt::Over);

    let mut entry = retried(9);
    retries.end();
    let end = retries.decide(&mut entry, &mut Box::new(failed(Class::Task)), at);
    assert_eq!(end, AfterAttempt::Over);
}

#[test]
fn a_job_that_takes_too_many_workers_with_it_is_poison() {
    let mut retries = Retries::new(2, None, Rng::seeded(1));
    let mut entry = retried(9);
    let mut failure = Box::new(failed(Class::Crash));
    let end = retries.decide(&mut entry, &mut failure, now());
    assert!(matches!(end, AfterAttempt::Again(_)));
    let end = retries.decide(&mut entry, &mut failure, now());
    assert_eq!((end, failure.class), (AfterAttempt::Over, Class::Poison));
    assert_eq!(failure.message, "it crashed 2 workers: no");
}

#[test]
fn a_job_is_resolved_when_its_worker_has_said_what_it_does() {
    let mut resolver = Resolver::new(
        kinds(Tasks::Introduced),
        RunCache::new(None),
        Platforms::new(&[]),
    );
    let start = now();
    let job = arrival("a", Terms::default(), start);
    assert!(matches!(resolver.resolve(job), Resolution::Later));
    assert_eq!(resolver.unresolved_for(POOL), 1);

    // The worker declares no tasks, and its kind is the only one that could perform any.
    assert!(!resolver.introduced(POOL, None, None));
    assert_eq!(resolver.unresolved_for(POOL), 0);
    let job = resolver.take_unresolved().pop_front().unwrap().arrival;
    let resolution = resolver.resolve(job);
    assert!(matches!(resolution, Resolution::Ready(_, POOL)));

    resolver.broke(POOL, Failure::new(Class::Spawn, "it does not start"));
    let job = arrival("b", Terms::default(), start);
    let Resolution::Refused(refused) = resolver.resolve(job) else {
        panic!("its worker is gone for good");
    };
    assert_eq!(refused.failure.message, "it does not start");
}

/// Makes workers of one seat each, and the orders that they get.
fn seats(
    workers: u64,
    is_proven: bool,
    at: Instant,
) -> (Seats, Vec<mpsc::UnboundedReceiver<Order>>) {
    let config = PoolConfig {
        prefetch: Prefetch::Fixed(1),
        ..PoolConfig::new("any", ProcessConfig::new("true"))
    };
    let mut seats = Seats::new(Arc::new(config));
    let told = (1..=workers).map(|number| {
        let (link, told) = WorkerLink::channel();
        let offer = Offer {
            number: WorkerNumber(number),
            name: WorkerName::new("any", number),
            link,
            concurrency: 1,
            gives_back: true,
            is_proven,
            max_jobs: None,
            filter: FilterState::default(),
        };
        seats.offered(offer, at);
        told
    });
    let told = told.collect();
    (seats, told)
}

/// A link for a pool whose size nobody controls.
struct Unkept;

impl DemandLink for Unkept {
    fn demand(&self, _: Demand) {}
}

/// A dispatcher with one pool, and the orders that its workers get.
pub(super) struct Scene {
    pub(super) dispatcher: Dispatcher,
    pub(super) told: Vec<mpsc::UnboundedReceiver<Order>>,
    pub(super) kinds: Kinds,
    pub(super) observers: Observers,
    pub(super) retries: Retries,
    pub(super) start: Instant,
}

impl Scene {
    pub(super) fn new(slots: u32, workers: u64) -> Self {
        let start = now();
        let (reporter, _reports) = Reporter::new();
        let commands = Commands {
            runner: CommandRunner::new(None),
            limits: CommandLimits::default(),
        };
        let commands = CommandsAt {
            name: None,
            commands,
            sets_attempt_variables: true,
        };
        let local = LocalPerformer::new(
            reporter.clone(),
            None,
            vec![commands],
            None,
            Vec::new(),
            SECOND,
        );
        let mut performers = Performers::new(local, 0);
        let (seats, told) = seats(workers, true, start);
        performers.add(vec![PoolPerformer::new(
            PlaceId::LOCAL,
            seats,
            Box::new(Unkept),
        )]);
        let queue = Queue::new(scheduler(slots), 1, Vec::new());
        let places = Places::new(slots, []);
        let breakers = Breakers::new(
            vec![("any".to_owned(), None)],
            (start, std::time::UNIX_EPOCH),
            None,
        );
        let sinks = Sinks::start(&[]);
        Self {
            dispatcher: Dispatcher::new(
                SeatedQueue::new(queue, performers, places, JoinSet::new(), reporter),
                breakers,
                start,
            ),
            told,
            kinds: kinds(Tasks::Any),
            observers: Observers::new(
                sinks,
                Arc::new(Gauges::new(slots)),
                WallClock::new(Arc::new(SystemClock), (start, std::time::UNIX_EPOCH)),
            ),
            retries: Retries::new(3, None, Rng::seeded(1)),
            start,
        }
    }

    fn enqueue(&mut self, ids: &[&str]) {
        for id in ids {
            let arrival = arrival(id, Terms::default(), self.start);
            self.dispatcher
                .enqueue(arrival, POOL, &self.kinds, None, self.start)
                .unwrap();
        }
        self.start_jobs();
    }

    fn start_jobs(&mut self) {
        let turn = Turn {
            now: self.start,
            observers: &self.observers,
        };
        let refused = self.dispatcher.start_jobs(None, turn);
        assert_eq!(refused, []);
    }

    fn ended(&mut self, ticket: Ticket, next: Option<Ticket>) -> Settled {
        let turn = Turn {
            now: self.start + SECOND,
            observers: &self.observers,
        };
        let attempted = EndedAttempt {
            result: Ok(Payload::null()),
            worker: None,
            ran: SECOND,
            usage: None,
            began: None,
            slot: None,
            place: None,
            provisional: false,
        };
        self.dispatcher
            .ended(ticket, attempted, next, &mut self.retries, turn)
    }

    fn ticket(&self, id: &str) -> Ticket {
        self.dispatcher
            .queue()
            .tickets(|entry| entry.job.id.as_str() == id)[0]
    }

    /// Returns the orders that the first worker got since the last call.
    fn told(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        while let Ok(order) = self.told[0].try_recv() {
            told.push(match order {
                Order::Perform(given) if given.ahead => format!("{} ahead", given.job.id),
                Order::Perform(given) => format!("{} now", given.job.id),
                Order::Stop(_, StopRequest::Recall) => "give one back".to_owned(),
                Order::Stop(_, stop) => format!("{stop:?}"),
                order => format!("{order:?}"),
            });
        }
        told
    }
}

#[test]
fn an_attempt_goes_to_a_free_seat_and_the_next_one_ahead_of_its_turn() {
    let mut scene = Scene::new(1, 1);
    scene.enqueue(&["a", "b", "c"]);
    assert_eq!(scene.told(), ["a now", "b ahead"]);
    let (first, second) = (scene.ticket("a"), scene.ticket("b"));
    let settled = scene.ended(first, Some(second));
    assert!(matches!(settled, Settled::Ended(entry, _) if entry.job.id.as_str() == "a"));
    assert_eq!(
        scene.dispatcher.queue().get(second).state(),
        EntryState::Running
    );
    scene.start_jobs();
    assert_eq!(scene.told(), ["c ahead"]);
    assert!(matches!(scene.ended(first, None), Settled::Unknown));
}

#[test]
fn an_attempt_that_cannot_be_given_to_its_worker_waits_and_the_seat_is_gone() {
    let mut scene = Scene::new(2, 1);
    scene.told.clear(); // The connection has ended.
    scene.enqueue(&["a"]);
    let queue = scene.dispatcher.queue();
    let entry = queue.get(scene.ticket("a"));
    assert_eq!((entry.state(), entry.attempts), (EntryState::Waiting, 0));
    assert_eq!(scene.dispatcher.performers().free_seats(POOL), 0);
}

#[test]
fn a_dispatcher_that_stops_recalls_what_lies_ahead_and_stops_what_begins_nevertheless() {
    let mut scene = Scene::new(1, 1);
    scene.enqueue(&["a", "b"]);
    scene.told();
    scene.dispatcher.stop_all(Some(StopRequest::Kill));
    assert_eq!(scene.told(), ["Kill", "give one back"]);
    // The attempt had begun before it was recalled.
    let (first, second) = (scene.ticket("a"), scene.ticket("b"));
    scene.ended(first, Some(second));
    assert_eq!(scene.told(), ["Kill"]);
}

#[test]
fn a_pool_hears_how_much_is_left_for_it() {
    let mut scene = Scene::new(4, 1);
    scene.enqueue(&["a", "b", "c"]);
    let demand = |scene: &mut Scene, phase, may_come| {
        let outlook = ExpectedWork { phase, may_come };
        scene.dispatcher.pool_demand().of(KEY, outlook, 0)
    };
    let open = Demand::Open { unseated: 1 };
    assert_eq!(demand(&mut scene, Phase::Running, false), open);
    for id in ["b", "c"] {
        let ticket = scene.ticket(id);
        scene.dispatcher.give_up(ticket, scene.start);
    }
    assert_eq!(demand(&mut scene, Phase::Running, false), Demand::Last);
    let open = Demand::Open { unseated: 0 };
    assert_eq!(demand(&mut scene, Phase::Running, true), open);
    assert_eq!(demand(&mut scene, Phase::Cancelling, true), Demand::Over);
    assert_eq!(demand(&mut scene, Phase::Killing, true), Demand::Killed);
}
