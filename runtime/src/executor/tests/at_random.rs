//! A test with random jobs and random orders from a handle: every job has exactly one outcome.

use std::collections::HashMap;
use std::sync::Mutex;

use proptest::prelude::*;
use ratchet_caching::{MemoryCache, TaskCache};
use ratchet_resilience::shutdown::Grace;

use super::scripted::{Act, Deaf, How, ScriptedPool};
use super::*;
use crate::event::{EventRecord, RunEvent};
use crate::executor::{OutcomeOrder, RunHandle, Sink};
use crate::job::CacheTerms;
use crate::outcome::Status;
use crate::scheduling::{ParallelizationHint, Priority};

#[derive(Debug, Clone)]
struct Plot {
    slots: u32,
    places: u32,
    ahead: u32,
    window: usize,
    as_list: bool,
    by_submission: bool,
    jobs: Vec<Fate>,
    steering: Vec<(u64, Steer)>,
}

#[derive(Debug, Clone)]
struct Fate {
    hint: u8,
    slots: u32,
    priority: Priority,
    attempts: u32,
    acts: Vec<(u64, How, Deaf)>,
    patience: Option<u64>,
    needs: Vec<prop::sample::Index>,
    local: bool,
    /// Jobs with the same number are equal for the cache.
    key: Option<u8>,
}

#[derive(Debug, Clone, Copy)]
enum Steer {
    Pause,
    Resume,
    Slots(u32),
    Drain,
    Cancel,
    Kill,
}

fn fate() -> impl Strategy<Value = Fate> {
    let how = prop_oneof![
        6 => Just(How::Well),
        2 => Just(How::Fails),
        1 => Just(How::Crashes),
        1 => Just(How::Returned),
    ];
    let deaf = prop_oneof![
        6 => Just(Deaf::No),
        1 => Just(Deaf::ToAsking),
        1 => Just(Deaf::ToKilling),
    ];
    (
        0u8..10,
        prop_oneof![4 => Just(1u32), 1 => Just(2u32)],
        prop::sample::select(&Priority::ALL),
        1u32..5,
        prop::collection::vec((0u64..5, how, deaf), 0..4),
        prop_oneof![4 => Just(None), 1 => (0u64..9).prop_map(Some)],
        prop_oneof![4 => Just(Vec::new()), 1 => prop::collection::vec(any::<prop::sample::Index>(), 1..3)],
        prop::bool::weighted(0.2),
        prop_oneof![2 => Just(None), 1 => (0u8..3).prop_map(Some)],
    )
        .prop_map(|(hint, slots, priority, attempts, acts, patience, needs, local, key)| Fate {
            hint,
            slots,
            priority,
            attempts,
            acts,
            patience,
            needs,
            local,
            key,
        })
}

fn plot() -> impl Strategy<Value = Plot> {
    let steer = prop_oneof![
        2 => Just(Steer::Pause),
        3 => Just(Steer::Resume),
        2 => (2u32..6).prop_map(Steer::Slots),
        1 => Just(Steer::Drain),
        1 => Just(Steer::Cancel),
        1 => Just(Steer::Kill),
    ];
    (
        2u32..6,
        1u32..5,
        0u32..6,
        prop_oneof![Just(1usize), Just(4), Just(1_000)],
        any::<bool>(),
        any::<bool>(),
        prop::collection::vec(fate(), 0..40),
        prop::collection::vec((0u64..20_000, steer), 0..5),
    )
        .prop_map(
            |(slots, places, ahead, window, as_list, by_submission, jobs, steering)| Plot {
                slots,
                places,
                ahead,
                window,
                as_list,
                by_submission,
                jobs,
                steering,
            },
        )
}

impl Plot {
    fn pool(&self) -> ScriptedPool {
        let pool = ScriptedPool::new(self.places, self.ahead);
        for (number, fate) in self.jobs.iter().enumerate() {
            for (attempt, (takes, end, deaf)) in (1..).zip(&fate.acts) {
                let act = Act {
                    takes: Duration::from_secs(*takes),
                    end: *end,
                    deaf: *deaf,
                };
                pool.script(&number.to_string(), attempt, act);
            }
        }
        pool
    }
}

impl Fate {
    fn job(&self, number: usize, as_list: bool) -> Job {
        let id = number.to_string();
        let hint = match self.hint {
            0..=5 => None,
            6 | 7 => Some(ParallelizationHint::HostExclusive),
            8 => Some(ParallelizationHint::GlobalExclusive),
            _ => Some(ParallelizationHint::Alone),
        };
        let job = if self.local {
            takes(&id, 1)
        } else {
            let input = self
                .key
                .map_or_else(Payload::null, |key| Payload::from_text(&key.to_string()));
            Job::task(id.as_str(), "t", input)
        };
        // A job needs only jobs before it, so that there is no circle.
        let needs = self.needs.iter().filter(|_| as_list && number > 0);
        let needs: Vec<String> = needs.map(|need| need.index(number).to_string()).collect();
        job.on_host(format!("host {}", number % 3))
            .needs(needs.iter().map(String::as_str))
            .terms(Terms {
                hint: hint.filter(|_| !self.local),
                slots: self.slots,
                priority: self.priority,
                cache: (self.key.filter(|_| !self.local)).map(|_| CacheTerms::On {
                    inputs: Vec::new(),
                    env: Vec::new(),
                    ttl: None,
                }),
                retry: Some(retrying(self.attempts)),
                timeouts: Timeouts {
                    queue: self.patience.map(Duration::from_secs),
                    ..Timeouts::default()
                },
                ..Terms::default()
            })
    }
}

/// When each job was submitted, in milliseconds of the wall clock.
#[derive(Clone, Default)]
struct Arrivals(Arc<Mutex<HashMap<String, u64>>>);

impl Sink for Arrivals {
    fn on(&mut self, record: &EventRecord) {
        if let RunEvent::JobQueued { id, .. } = &record.event {
            let mut arrivals = self.0.lock().unwrap();
            arrivals.insert(id.to_string(), record.at_ms);
        }
    }
}

/// Checks that each millisecond of a job's age is charged once, to a blocker or to an attempt, and that no two attempts
/// hold one slot at the same time.
fn check_times(outcomes: &[Arc<Outcome>], arrivals: &Arrivals, most_slots: u32) {
    let arrivals = arrivals.0.lock().unwrap();
    let mut by_slot: HashMap<u32, Vec<(u64, u64)>> = HashMap::new();
    for outcome in outcomes {
        let attempts = outcome.attempts_detail();
        let ended = outcome.ended.unwrap().as_millis();
        let age = Duration::from_millis(ended - arrivals[outcome.id.as_str()]);
        assert_eq!(age, outcome.queued + attempts.duration(), "{outcome:?}");
        assert_eq!(outcome.waits.total(), outcome.queued);
        let charged = attempts.listed().iter().filter(|one| one.end.is_charged());
        assert_eq!(charged.count(), outcome.attempts as usize, "{outcome:?}");
        for attempt in attempts.listed() {
            let began = attempt.started.as_millis();
            let until = attempt.started.after(attempt.duration).as_millis();
            assert!(until <= ended);
            let slot = attempt.slot.unwrap().get();
            assert!(slot <= most_slots, "{slot}");
            by_slot.entry(slot).or_default().push((began, until));
        }
    }
    for (slot, mut times) in by_slot {
        times.retain(|(began, until)| began < until);
        times.sort_unstable();
        for pair in times.windows(2) {
            assert!(
                pair[0].1 <= pair[1].0,
                "slot {slot} is held twice: {pair:?}"
            );
        }
    }
}

async fn steer(handle: RunHandle, steering: Vec<(u64, Steer)>) {
    let clock = tokio::time::Instant::now();
    for (at, steer) in steering {
        tokio::time::sleep_until(clock + Duration::from_millis(at)).await;
        match steer {
            Steer::Pause => handle.pause(),
            Steer::Resume => handle.resume(),
            // This is refused if a job that fills more slots waits, or if the run has ended.
            Steer::Slots(slots) => drop(handle.set_slots(slots).await),
            Steer::Drain => handle.drain(),
            Steer::Cancel => handle.cancel(),
            Steer::Kill => handle.kill(),
        }
    }
    handle.resume();
}

async fn live(mut plot: Plot) {
    plot.steering.sort_by_key(|(at, _)| *at);
    let most_slots = plot.steering.iter().map(|(_, steer)| match steer {
        Steer::Slots(slots) => *slots,
        _ => 0,
    });
    let most_slots = most_slots.chain([plot.slots]).max().unwrap();
    let pool = plot.pool();
    let arrivals = Arrivals::default();
    let seconds = Duration::from_secs;
    let executor = Executor::builder()
        .slots(plot.slots)
        .window(plot.window)
        .ordering(if plot.by_submission {
            OutcomeOrder::Submission
        } else {
            OutcomeOrder::Completion
        })
        .grace(Grace {
            draining: seconds(4),
            cancelling: seconds(2),
            killing: seconds(1),
        })
        .pool_source(Arc::new(pool.clone()))
        .clock(PausedClock::new(SECOND))
        .sink(arrivals.clone())
        .cache(TaskCache::new(Arc::new(MemoryCache::new(1 << 20))))
        .build()
        .unwrap();
    let as_list = plot.as_list;
    let jobs: Vec<Job> = plot
        .jobs
        .iter()
        .enumerate()
        .map(|(number, fate)| fate.job(number, as_list))
        .collect();
    let run = if as_list {
        executor.run_list(jobs).unwrap()
    } else {
        executor.run(jobs).unwrap()
    };
    let handle = run.handle();
    let steering = tokio::spawn(steer(run.handle(), plot.steering.clone()));
    let clock = tokio::time::Instant::now();
    let outcomes = tokio::time::timeout(seconds(10_000), all(run)).await;
    let outcomes = outcomes.expect("the run ends");
    steering.abort();

    let stopped = plot.steering.iter().any(|(at, steer)| {
        matches!(steer, Steer::Drain | Steer::Cancel | Steer::Kill)
            && Duration::from_millis(*at) <= clock.elapsed()
    });
    let ids: Vec<usize> = outcomes
        .iter()
        .map(|one| one.id.as_str().parse().unwrap())
        .collect();
    let mut sorted = ids.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), outcomes.len(), "nothing twice");
    // If a stream stops, the jobs that were not pulled have no outcomes. All other jobs have one each.
    if as_list || !stopped {
        assert_eq!(outcomes.len(), plot.jobs.len(), "nothing lost");
    }
    if plot.by_submission {
        assert_eq!(ids, sorted, "in the order of submission");
    }
    assert!(
        pool.most_slots() <= most_slots,
        "{} slots",
        pool.most_slots()
    );
    check_times(&outcomes, &arrivals, most_slots);
    let status = handle.status();
    assert_eq!((status.running, status.waiting), (0, 0));
    assert_eq!(status.ended, outcomes.len() as u64);

    let mut starts: HashMap<String, u32> = HashMap::new();
    for begun in pool.begun() {
        *starts.entry(begun.id).or_default() += 1;
    }
    for outcome in &outcomes {
        let fate = &plot.jobs[outcome.id.as_str().parse::<usize>().unwrap()];
        let began = starts.get(outcome.id.as_str()).copied().unwrap_or(0);
        assert!(outcome.attempts <= fate.attempts, "{outcome:?}");
        if !fate.local {
            assert!(
                outcome.attempts <= began,
                "none is charged that did not begin: {outcome:?}"
            );
        }
        match outcome.status() {
            Status::Succeeded => assert!(outcome.attempts > 0 || outcome.cached),
            Status::Cancelled => assert!(stopped, "{outcome:?}"),
            Status::Skipped => assert!(!fate.needs.is_empty() && outcome.attempts == 0),
            Status::TimedOut => assert!(fate.patience.is_some() && outcome.attempts == 0),
            Status::Failed | Status::Crashed => assert!(outcome.attempts > 0, "{outcome:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn every_job_has_exactly_one_outcome(plot in plot()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(live(plot));
    }
}
