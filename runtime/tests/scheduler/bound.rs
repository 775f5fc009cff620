//! Tests the bound on waiting that the documentation proves, with random streams of work.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use ratchet_runtime::{
    Ageing, Decision, Limit, ParallelizationHint, Priority, Resource, Scheduler, SchedulerRequest,
    SchedulerSettings, Ticket,
};

/// The longest time that a job runs or a token takes, in nanoseconds.
const LONGEST: u64 = 100;
const STEP: u64 = 200;
const SLOTS: u32 = 4;
/// How many units the resource has.
const DEVICES: u64 = 4;

#[derive(Clone, Debug)]
struct Arrival {
    after: u64,
    hint: u8,
    host: u8,
    slots: u32,
    limits: Vec<usize>,
    units: u64,
    priority: Priority,
    runs: u64,
}

fn arrival() -> impl Strategy<Value = Arrival> {
    (
        0u64..60,
        0u8..6,
        0u8..3,
        prop_oneof![5 => Just(1u32), 1 => 2..=SLOTS],
        prop_oneof![2 => Just(vec![]), 1 => prop::collection::vec(0usize..3, 1..3)],
        prop_oneof![2 => Just(0u64), 2 => Just(1u64), 1 => 2..=DEVICES],
        prop::sample::select(&Priority::ALL),
        1..=LONGEST,
    )
        .prop_map(
            |(after, hint, host, slots, limits, units, priority, runs)| Arrival {
                after,
                hint,
                host,
                slots,
                limits,
                units,
                priority,
                runs,
            },
        )
}

struct Waiting {
    pushed: u64,
    due: u64,
    number: usize,
    /// How many jobs were before it in the order when it became due.
    ahead: Option<u64>,
}

proptest! {
    #[test]
    fn no_job_waits_longer_than_proved(arrivals in prop::collection::vec(arrival(), 1..150)) {
        let epoch = tokio::time::Instant::now().into_std();
        let at = |nanos| epoch + Duration::from_nanos(nanos);
        let limits = vec![
            ("0".to_owned(), Limit::max(1).unwrap()),
            ("1".to_owned(), Limit::max(2).unwrap()),
            ("2".to_owned(), Limit::rate("1/80ns".parse().unwrap(), 1).unwrap()),
        ];
        let mut scheduler = Scheduler::new(SchedulerSettings {
            slots: SLOTS,
            ageing: Ageing { step: Duration::from_nanos(STEP) },
            limits,
            resources: vec![("device".to_owned(), Resource::count(DEVICES).unwrap())],
            ..SchedulerSettings::default()
        }, epoch).unwrap();
        let ids: Vec<_> = ["0", "1", "2"].map(|name| scheduler.limit(name).unwrap()).into();
        let device = scheduler.resource("device").unwrap();
        let rate = ParallelizationHint::RateLimited {
            requests_per_second: 1e9 / 60.0, burst: 1, key: None,
        };
        let hints = [
            ParallelizationHint::FullyParallel, ParallelizationHint::FullyParallel,
            ParallelizationHint::HostExclusive, ParallelizationHint::GlobalExclusive,
            rate, ParallelizationHint::Alone,
        ];

        let mut waiting: BTreeMap<Ticket, Waiting> = BTreeMap::new();
        let mut ends: BTreeSet<(u64, Ticket)> = BTreeSet::new();
        let mut runs: BTreeMap<Ticket, u64> = BTreeMap::new();
        let mut arrivals = arrivals.into_iter().enumerate().peekable();
        let mut next_arrival = 0;
        let mut now = 0;
        loop {
            while let Some((number, arrival)) = arrivals.next_if(|(_, one)| next_arrival + one.after <= now) {
                next_arrival = now;
                let limits: Vec<_> = arrival.limits.iter().map(|&limit| ids[limit]).collect();
                let devices = [(device, arrival.units)];
                let host = arrival.host.to_string();
                let ticket = scheduler.push(SchedulerRequest {
                    hint: &hints[usize::from(arrival.hint)],
                    host: Some(&host),
                    slots: arrival.slots,
                    limits: &limits,
                    resources: if arrival.units > 0 { &devices } else { &[] },
                    priority: arrival.priority,
                    ..SchedulerRequest::new("task")
                }, at(now)).unwrap();
                let span = Ageing { step: Duration::from_nanos(STEP) }.span(arrival.priority);
                let due = now + u64::try_from(span.as_nanos()).unwrap();
                waiting.insert(ticket, Waiting { pushed: now, due, number, ahead: None });
                runs.insert(ticket, arrival.runs);
            }
            while let Some(&(end, ticket)) = ends.first() {
                if end > now {
                    break;
                }
                ends.remove(&(end, ticket));
                scheduler.finish(ticket).unwrap();
            }
            let order: Vec<(u64, usize)> = waiting.values().map(|job| (job.due, job.number)).collect();
            for job in waiting.values_mut().filter(|job| job.due <= now) {
                let ahead = order.iter().filter(|&&other| other < (job.due, job.number)).count();
                job.ahead.get_or_insert(ahead as u64);
            }
            let mut wake = None;
            loop {
                let ticket = match scheduler.pop(at(now)) {
                    Decision::Start(ticket) => ticket,
                    Decision::WaitUntil(until) => {
                        wake = Some(u64::try_from((until - epoch).as_nanos()).unwrap());
                        break;
                    }
                    Decision::Idle => break,
                };
                let job = waiting.remove(&ticket).unwrap();
                ends.insert((now + runs[&ticket], ticket));
                let span = job.due - job.pushed;
                let bound = span + 4 * (job.ahead.unwrap_or(0) + 1) * LONGEST;
                prop_assert!(
                    now - job.pushed <= bound,
                    "job {} waited {} ns, and the bound is {}", job.number, now - job.pushed, bound
                );
            }
            if waiting.is_empty() && arrivals.peek().is_none() {
                break;
            }
            // Moves the time to the next event.
            let arrives = arrivals.peek().map(|(_, one)| next_arrival + one.after);
            let ends = ends.first().map(|(end, _)| *end);
            let due = waiting.values().map(|job| job.due).filter(|due| *due > now).min();
            let next = [arrives, ends, due, wake].into_iter().flatten().min();
            prop_assert!(next.is_some(), "{} jobs wait for ever", waiting.len());
            now = next.unwrap_or(now);
        }
    }
}
