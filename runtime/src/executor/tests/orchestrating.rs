//! Tests of the state of a run as a value: turns without a loop, and workers that only record what they are sent.

use std::sync::Arc;
use std::time::Instant;

use ratchet_ipc::Payload;
use ratchet_resilience::shutdown::{Grace, Phase, PhaseClock};
use tokio::sync::mpsc;

use super::owners::{KEY, Scene};
use super::{SECOND, retrying};
use crate::dispatch::{Order, Report, WorkerNumber};
use crate::executor::arrivals::Arrivals;
use crate::executor::control::{RunControl, StopRules};
use crate::executor::delivery::Delivery;
use crate::executor::execution::Execution;
use crate::executor::intake::Intake;
use crate::executor::needs::RetainedJobs;
use crate::executor::orchestrator::Orchestrator;
use crate::executor::outcome_order::{OutcomeOrder, Outgoing};
use crate::executor::platforms::Platforms;
use crate::executor::recording::Recording;
use crate::executor::resolver::Resolver;
use crate::executor::reuse::RunCache;
use crate::executor::run_orders::RunOrder;
use crate::executor::source::Source;
use crate::executor::stop::Stopped;
use crate::ids::{Ticket, WorkerName};
use crate::job::{Job, Terms};
use crate::outcome::{Class, Failure, Outcome};
use crate::scheduling::Blocker;

/// A run with one slot and one worker, of which the test makes each turn.
struct Turns {
    run: Orchestrator,
    outcomes: mpsc::Receiver<Arc<Outcome>>,
    told: mpsc::UnboundedReceiver<Order>,
    now: Instant,
}

impl Turns {
    fn new(jobs: Vec<Job>) -> Self {
        let mut scene = Scene::new(1, 1);
        let start = scene.start;
        let source = Source::list(jobs).unwrap();
        let (out, outcomes) = mpsc::channel(16);
        let grace = Grace {
            draining: SECOND,
            cancelling: SECOND,
            killing: SECOND,
        };
        let phases = PhaseClock::new(grace).unwrap();
        let resolver = Resolver::new(scene.kinds, RunCache::new(None), Platforms::new(&[]));
        let recording = Recording::start(None).unwrap();
        let mut run = Orchestrator::new(
            Arrivals::new(
                Intake::new(source, RetainedJobs::Nothing, 10, start),
                resolver,
            ),
            Execution::new(scene.dispatcher, scene.retries),
            Delivery::new(recording, Outgoing::new(OutcomeOrder::Completion), out),
            RunControl::new(phases, StopRules::default(), SECOND),
            scene.observers,
            start,
        );
        run.begin(start);
        run.turn();
        Self {
            run,
            outcomes,
            told: scene.told.remove(0),
            now: start,
        }
    }

    /// Lets a second pass, calls this, and makes a turn.
    fn after_a_second(&mut self, handle_report: impl FnOnce(&mut Orchestrator)) {
        self.now += SECOND;
        self.run.pass_time(self.now);
        handle_report(&mut self.run);
        self.run.turn();
    }

    /// Returns the next attempt that the worker was given: its ticket, and the id of its job.
    fn given(&mut self) -> (Ticket, String) {
        let told = self.told.try_recv();
        let Ok(Order::Perform(given)) = told else {
            panic!("an attempt was to be given to the worker, and it was told {told:?}");
        };
        let ticket = given.key().ticket().unwrap();
        (ticket, given.job.id.to_string())
    }

    /// Returns the status of each job that has ended since the last call.
    fn ended(&mut self) -> Vec<String> {
        let mut ended = Vec::new();
        while let Ok(outcome) = self.outcomes.try_recv() {
            ended.push(format!("{} {}", outcome.id, outcome.status()));
        }
        ended
    }
}

fn task(id: &str) -> Job {
    Job::task(id, "t", Payload::null())
}

fn end_of(ticket: Ticket, result: Result<Payload, Box<Failure>>) -> Report {
    Report::Ended {
        ticket,
        result,
        worker: None,
        ran: SECOND,
        usage: None,
        next: None,
        provisional: false,
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_starts_when_the_one_that_it_needs_has_ended_and_the_run_is_over_after_the_last() {
    let mut turns = Turns::new(vec![task("a"), task("b").needs(["a"])]);
    let (first, id) = turns.given();
    assert_eq!(id, "a");
    assert!(turns.told.try_recv().is_err(), "b waits for a");
    turns.after_a_second(|run| run.handle_report(end_of(first, Ok(Payload::null()))));
    assert_eq!(turns.ended(), ["a succeeded"]);
    // A job that was released in the turn in which its need ended proceeds in the next turn.
    turns.run.turn();
    let (second, id) = turns.given();
    assert_eq!(id, "b");
    assert!(!turns.run.is_over());
    turns.after_a_second(|run| run.handle_report(end_of(second, Ok(Payload::null()))));
    assert_eq!(turns.ended(), ["b succeeded"]);
    assert!(turns.run.is_over());
}

#[tokio::test(start_paused = true)]
async fn a_failed_attempt_is_followed_by_another_one_when_the_timer_says_so() {
    let terms = Terms {
        retry: Some(retrying(2)),
        ..Terms::default()
    };
    let mut turns = Turns::new(vec![task("a").terms(terms)]);
    let failure = || Err(Box::new(Failure::new(Class::Task, "no")));
    let (ticket, _) = turns.given();
    turns.after_a_second(|run| run.handle_report(end_of(ticket, failure())));
    assert!(turns.told.try_recv().is_err(), "the delay is not over");
    assert_eq!(turns.run.next_timer(), Some(turns.now + SECOND));
    turns.after_a_second(|_| {});
    let (ticket, _) = turns.given();
    turns.after_a_second(|run| run.handle_report(end_of(ticket, failure())));
    assert_eq!(turns.ended(), ["a failed"]);
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_held_result_is_refuted_waits_in_the_queue_for_its_retry() {
    let terms = Terms {
        retry: Some(retrying(2)),
        ..Terms::default()
    };
    let mut turns = Turns::new(vec![task("a").terms(terms)]);
    let (ticket, _) = turns.given();
    turns.after_a_second(|run| {
        run.handle_report(Report::Ended {
            ticket,
            result: Ok(Payload::null()),
            worker: Some(WorkerName::new("any", 1)),
            ran: SECOND,
            usage: None,
            next: None,
            provisional: true,
        });
    });
    assert!(turns.ended().is_empty(), "the result is held");
    let failure = Box::new(Failure::new(Class::Protocol, "out of step"));
    turns.after_a_second(|run| run.handle_report(Report::Refuted { ticket, failure }));
    assert!(turns.told.try_recv().is_err(), "the delay is not over");
    assert_eq!(turns.run.next_timer(), Some(turns.now + SECOND));
    turns.after_a_second(|_| {});
    let (ticket, _) = turns.given();
    turns.after_a_second(|run| run.handle_report(end_of(ticket, Ok(Payload::null()))));
    let outcome = turns.outcomes.try_recv().unwrap();
    assert!(outcome.is_success());
    assert_eq!(outcome.attempts, 2);
    assert_eq!(outcome.waits.of(&Blocker::Worker), SECOND);
    assert_eq!(outcome.waits.of(&Blocker::Retry), SECOND);
    assert_eq!(outcome.waits.total(), SECOND * 2);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_stopped_ends_what_waits_and_gives_up_in_the_end_what_would_not_die() {
    let mut turns = Turns::new(vec![task("a"), task("b"), task("c").needs(["a"])]);
    turns.given();
    turns.after_a_second(|run| run.apply_order(RunOrder::Stop(Phase::Cancelling)));
    let mut ended = turns.ended();
    ended.sort();
    // `b` was sent ahead, so its worker has to give it back first.
    assert_eq!(ended, ["c cancelled"]);
    let (ahead, _) = turns.given();
    let returned = Report::Returned {
        ticket: ahead,
        next: None,
        withdrawn: false,
    };
    turns.after_a_second(|run| run.handle_report(returned));
    assert_eq!(turns.ended(), ["b cancelled"]);
    // No report says that `a` has ended, so it is killed after a second, and given up after another one.
    assert!(!turns.run.is_over());
    turns.after_a_second(|_| {});
    assert_eq!(turns.ended(), ["a cancelled"]);
    assert!(turns.run.is_over());
    assert_eq!(turns.run.finish(0).await, Some(Stopped::Asked));
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_breaks_ends_the_jobs_that_wait_for_it() {
    let mut turns = Turns::new(vec![task("a"), task("b").needs(["a"])]);
    let (ticket, _) = turns.given();
    let withdrawn = Report::Withdrawn {
        pool: KEY,
        worker: WorkerNumber(1),
    };
    let broken = Report::Broken {
        pool: KEY,
        failure: Box::new(Failure::new(Class::Spawn, "it does not start")),
    };
    turns.after_a_second(|run| {
        run.handle_report(withdrawn);
        run.handle_report(end_of(ticket, Ok(Payload::null())));
    });
    turns.run.turn();
    assert_eq!(turns.ended(), ["a succeeded"]);
    turns.after_a_second(|run| run.handle_report(broken));
    assert_eq!(turns.ended(), ["b failed"]);
}
