//! Runs whole workloads on tokio's paused clock, where time is exact and costs nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use ratchet_runtime::{
    Decision, Limit, ParallelizationHint, Priority, Scheduler, SchedulerRequest, SchedulerSettings,
    Ticket,
};
use tokio::task::JoinSet;
use tokio::time::Instant;

struct Work {
    hint: ParallelizationHint,
    host: String,
    priority: Priority,
    slots: u32,
    limited: bool,
    runs: Duration,
}

fn work(hint: ParallelizationHint, host: &str, runs: u64) -> Work {
    Work {
        hint,
        host: host.to_owned(),
        priority: Priority::Normal,
        slots: 1,
        limited: false,
        runs: Duration::from_millis(runs),
    }
}

/// Runs all jobs as an executor would, and returns when each job started and when the last one ended.
async fn run(mut scheduler: Scheduler, works: &[Work]) -> (Vec<Duration>, Duration) {
    let begin = Instant::now();
    let limit = scheduler.limit("db").into_iter().collect::<Vec<_>>();
    let mut numbers = BTreeMap::new();
    for (number, work) in works.iter().enumerate() {
        let request = SchedulerRequest {
            hint: &work.hint,
            host: Some(&work.host),
            priority: work.priority,
            slots: work.slots,
            limits: if work.limited { &limit } else { &[] },
            ..SchedulerRequest::new("task")
        };
        numbers.insert(scheduler.push(request, begin.into_std()).unwrap(), number);
    }
    let mut started = vec![Duration::ZERO; works.len()];
    let mut running: JoinSet<Ticket> = JoinSet::new();
    loop {
        match scheduler.pop(Instant::now().into_std()) {
            Decision::Start(ticket) => {
                let number = numbers[&ticket];
                started[number] = begin.elapsed();
                let end = Instant::now() + works[number].runs;
                running.spawn(async move {
                    tokio::time::sleep_until(end).await;
                    ticket
                });
            }
            Decision::WaitUntil(until) => {
                tokio::select! {
                    Some(done) = running.join_next() => scheduler.finish(done.unwrap()).unwrap(),
                    () = tokio::time::sleep_until(until.into()) => {}
                }
            }
            Decision::Idle => match running.join_next().await {
                Some(done) => scheduler.finish(done.unwrap()).unwrap(),
                None => break,
            },
        }
    }
    assert_eq!(scheduler.load().waiting, 0, "everything has run");
    (started, begin.elapsed())
}

fn settings(slots: u32) -> SchedulerSettings {
    SchedulerSettings {
        slots,
        limits: vec![("db".to_owned(), Limit::max(4).unwrap())],
        ..SchedulerSettings::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_busy_host_does_not_hold_up_an_idle_one() {
    let mut works: Vec<Work> = (0..8)
        .map(|_| work(ParallelizationHint::HostExclusive, "a", 50))
        .collect();
    works.push(work(ParallelizationHint::HostExclusive, "b", 50));
    let scheduler = Scheduler::new(settings(4), Instant::now().into_std()).unwrap();
    let (started, took) = run(scheduler, &works).await;
    assert_eq!(
        started[8],
        Duration::ZERO,
        "host b is idle, and so are three slots"
    );
    let on_a: Vec<u128> = started[..8].iter().map(Duration::as_millis).collect();
    assert_eq!(on_a, [0, 50, 100, 150, 200, 250, 300, 350]);
    assert_eq!(took.as_millis(), 400);
}

/// The workload has 2,000 jobs over 50 hosts with every hint, all priorities, weights and a named limit.
///
/// Each of these is a lower bound: the time of all slots, the jobs of the busiest host, those of the limit, the globally
/// exclusive ones, and the start that the rate allows last. The time of jobs that run alone comes on top.
#[tokio::test(start_paused = true)]
async fn a_mixed_workload_ends_within_a_twentieth_of_its_lower_bound() {
    const SLOTS: u32 = 8;
    let mut state = 42u64;
    let mut random = |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let rate = ParallelizationHint::RateLimited {
        requests_per_second: 50.0,
        burst: 5,
        key: None,
    };
    let works: Vec<Work> = (0..2_000)
        .map(|_| {
            let hint = match random(100) {
                0..45 => ParallelizationHint::FullyParallel,
                45..80 => ParallelizationHint::HostExclusive,
                80..92 => rate.clone(),
                92..99 => ParallelizationHint::GlobalExclusive,
                _ => ParallelizationHint::Alone,
            };
            let host = format!("host {}", random(50));
            let mut work = work(hint, &host, 5 + random(90));
            work.priority = Priority::ALL[usize::try_from(random(4)).unwrap()];
            work.slots = if random(20) == 0 { 2 } else { 1 };
            work.limited = random(5) == 0;
            work
        })
        .collect();

    let alone = |work: &&Work| work.hint == ParallelizationHint::Alone;
    let total = |wanted: &dyn Fn(&&Work) -> bool| -> Duration {
        works
            .iter()
            .filter(|work| !alone(work))
            .filter(wanted)
            .map(|work| work.runs)
            .sum()
    };
    let quiet: Duration = works.iter().filter(alone).map(|work| work.runs).sum();
    let shared = works.iter().filter(|work| !alone(work));
    let slot_time = shared.map(|work| work.runs * work.slots).sum::<Duration>() / SLOTS;
    let exclusive = |work: &&Work| {
        matches!(
            work.hint,
            ParallelizationHint::HostExclusive | ParallelizationHint::GlobalExclusive
        )
    };
    let hosts = (0..50).map(|host| {
        let host = format!("host {host}");
        total(&|work| exclusive(work) && work.host == host)
    });
    let busiest = hosts.max().unwrap();
    let global = total(&|work| work.hint == ParallelizationHint::GlobalExclusive);
    let limited = total(&|work| work.limited) / 4;
    let requests = works.iter().filter(|work| work.hint == rate).count();
    let tokens = Duration::from_secs_f64((requests - 5) as f64 / 50.0);
    let bound = quiet + slot_time.max(busiest).max(global).max(limited).max(tokens);

    let scheduler = Scheduler::new(settings(SLOTS), Instant::now().into_std()).unwrap();
    let (_, took) = run(scheduler, &works).await;
    println!(
        "took {took:?}; lower bound {bound:?} (slots {slot_time:?}, busiest host {busiest:?}, \
         global {global:?}, limit {limited:?}, rate {tokens:?}, alone {quiet:?}): {:.2} % above",
        (took.as_secs_f64() / bound.as_secs_f64() - 1.0) * 100.0
    );
    assert!(took >= bound, "the bound is no bound");
    assert!(took.as_secs_f64() <= bound.as_secs_f64() * 1.05);
}
