//! Tests the promises of the scheduler, each in the smallest case that could break it.

use std::time::Duration;

use ratchet_runtime::ParallelizationHint::HostExclusive;
use ratchet_runtime::{
    CancelResult, Decision, Error, Kind, ParallelizationHint, Quota, SchedulerRequest, Ticket,
    Workers,
};

use crate::{naming, now, on, plain, scheduler, starts};

#[test]
fn nothing_that_waits_delays_what_needs_none_of_it() {
    let start = now();
    let mut scheduler = scheduler(20, start);
    let (api, calls) = (
        [scheduler.limit("api").unwrap()],
        [scheduler.limit("calls").unwrap()],
    );
    let rate = ParallelizationHint::rate_limited(1.0);
    let held = [
        scheduler.push(on("busy", &HostExclusive), start).unwrap(),
        scheduler.push(naming(&api), start).unwrap(),
        scheduler.push(naming(&calls), start).unwrap(),
        scheduler.push(on("", &rate), start).unwrap(),
    ];
    assert_eq!(starts(&mut scheduler, start), held);
    scheduler.set_workers(Kind(7), Workers::Free(0));
    for _ in 0..5 {
        for blocked in [
            on("busy", &HostExclusive),
            naming(&api),
            naming(&calls),
            on("", &rate),
        ] {
            scheduler.push(blocked, start).unwrap();
        }
        scheduler
            .push(
                SchedulerRequest {
                    kind: Kind(7),
                    ..plain()
                },
                start,
            )
            .unwrap();
    }
    let free = [
        scheduler.push(on("idle", &HostExclusive), start).unwrap(),
        scheduler.push(plain(), start).unwrap(),
        scheduler
            .push(
                SchedulerRequest {
                    kind: Kind(8),
                    ..plain()
                },
                start,
            )
            .unwrap(),
        scheduler
            .push(
                SchedulerRequest {
                    host: Some("busy"),
                    ..plain()
                },
                start,
            )
            .unwrap(),
    ];
    assert_eq!(starts(&mut scheduler, start), free);

    // An old backlog does not hold up other jobs. Only jobs whose token has come with time can start.
    let later = start + Duration::from_hours(1);
    let came_back = starts(&mut scheduler, later);
    assert_eq!(came_back.len(), 2, "one call and one request");
    let fresh = scheduler.push(plain(), later).unwrap();
    let elsewhere = scheduler
        .push(on("elsewhere", &HostExclusive), later)
        .unwrap();
    assert_eq!(starts(&mut scheduler, later), [fresh, elsewhere]);
}

#[test]
fn a_waiting_job_holds_nothing_even_if_all_but_one_of_its_claims_are_free() {
    let start = now();
    let mut scheduler = scheduler(10, start);
    let (db, api) = (
        scheduler.limit("db").unwrap(),
        scheduler.limit("api").unwrap(),
    );
    let holder = scheduler.push(naming(&[api]), start).unwrap();
    assert_eq!(starts(&mut scheduler, start), [holder]);
    let both = SchedulerRequest {
        limits: &[db, api],
        ..on("h", &HostExclusive)
    };
    scheduler.push(both, start).unwrap();
    let others = [
        scheduler.push(on("h", &HostExclusive), start).unwrap(),
        scheduler.push(naming(&[db]), start).unwrap(),
        scheduler.push(naming(&[db]), start).unwrap(),
    ];
    assert_eq!(starts(&mut scheduler, start), others);
}

#[test]
fn a_start_takes_a_worker_of_its_kind() {
    let start = now();
    let mut scheduler = scheduler(10, start);
    scheduler.set_workers(Kind(0), Workers::Free(2));
    let jobs: Vec<Ticket> = (0..4)
        .map(|_| scheduler.push(plain(), start).unwrap())
        .collect();
    assert_eq!(starts(&mut scheduler, start), jobs[..2]);
    scheduler.finish(jobs[0]).unwrap();
    assert_eq!(
        starts(&mut scheduler, start),
        [],
        "a job's end does not free its worker"
    );
    scheduler.set_workers(Kind(0), Workers::Free(1));
    assert_eq!(starts(&mut scheduler, start), jobs[2..3]);
}

#[test]
fn a_retry_keeps_its_place_and_holds_nothing_while_it_waits() {
    let start = now();
    let mut scheduler = scheduler(1, start);
    let jobs: Vec<Ticket> = (0..3)
        .map(|_| scheduler.push(on("h", &HostExclusive), start).unwrap())
        .collect();
    assert_eq!(starts(&mut scheduler, start), [jobs[0]]);
    let not_before = start + Duration::from_millis(500);
    scheduler.retry(jobs[0], not_before).unwrap();
    assert_eq!(
        starts(&mut scheduler, start),
        [jobs[1]],
        "its slot and host are free at once"
    );
    scheduler.finish(jobs[1]).unwrap();
    assert_eq!(
        starts(&mut scheduler, not_before),
        [jobs[0]],
        "and it goes before the third"
    );
}

#[test]
fn an_idle_scheduler_says_when_to_come_back() {
    let start = now();
    let mut scheduler = scheduler(4, start);
    let rate = ParallelizationHint::rate_limited(10.0);
    let first = scheduler.push(on("", &rate), start).unwrap();
    scheduler.push(on("", &rate), start).unwrap();
    assert_eq!(scheduler.pop(start), Decision::Start(first));
    let token = start + Duration::from_millis(100);
    assert_eq!(scheduler.pop(start), Decision::WaitUntil(token));
    let just_before = start + Duration::from_nanos(99_999_999);
    assert_eq!(scheduler.pop(just_before), Decision::WaitUntil(token));
    assert!(matches!(scheduler.pop(token), Decision::Start(_)));

    // The rate is twice as high from now on. Half of a token's time has passed, and the rest takes half as long.
    scheduler.push(on("", &rate), token).unwrap();
    let halfway = token + Duration::from_millis(50);
    scheduler.set_rate(
        "task",
        Quota::new("20/s".parse().unwrap(), 1).unwrap(),
        halfway,
    );
    let sooner = halfway + Duration::from_millis(25);
    assert_eq!(scheduler.pop(halfway), Decision::WaitUntil(sooner));
    assert!(matches!(scheduler.pop(sooner), Decision::Start(_)));
}

#[test]
fn a_job_that_runs_is_not_cancelled_and_one_that_is_gone_is_unknown() {
    let start = now();
    let mut scheduler = scheduler(1, start);
    let running = scheduler.push(plain(), start).unwrap();
    let waiting = scheduler.push(plain(), start).unwrap();
    assert_eq!(starts(&mut scheduler, start), [running]);
    assert_eq!(scheduler.cancel(running), Ok(CancelResult::Running));
    assert_eq!(scheduler.cancel(waiting), Ok(CancelResult::Removed));
    let unknown = Err(Error::UnknownTicket { ticket: waiting });
    assert_eq!(scheduler.cancel(waiting), unknown);
    assert_eq!(scheduler.load().waiting, 0);
}

#[test]
fn a_hundred_thousand_hosts_and_keys_used_once_leave_nothing() {
    let start = now();
    let mut scheduler = scheduler(1_000, start);
    let mut running = Vec::new();
    for number in 0..100_000 {
        let name = format!("host {number}");
        let key = ParallelizationHint::RateLimited {
            requests_per_second: 1_000.0,
            burst: 1,
            key: Some(name.clone()),
        };
        scheduler.push(on(&name, &HostExclusive), start).unwrap();
        scheduler.push(on("", &key), start).unwrap();
    }
    let full = scheduler.load();
    assert_eq!(
        (full.hosts, full.keys, full.lanes),
        (100_000, 100_000, 200_000)
    );
    loop {
        running.extend(starts(&mut scheduler, start));
        if running.is_empty() {
            break;
        }
        for ticket in running.drain(..) {
            scheduler.finish(ticket).unwrap();
        }
    }
    // The scheduler forgets a bucket that is full again, because it is like a new one.
    assert_eq!(scheduler.load().hosts, 0);
    scheduler.pop(start + Duration::from_millis(1));
    let empty = scheduler.load();
    assert_eq!(
        (
            empty.hosts,
            empty.keys,
            empty.lanes,
            empty.waiting,
            empty.running
        ),
        (0, 0, 0, 0, 0)
    );
}
