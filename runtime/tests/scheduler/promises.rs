//! The promises one by one, each in the smallest case that could break it.

use std::time::{Duration, Instant};

use ratchet_runtime::{
    Ageing, Cancelled, Decision, Error, Kind, Limit, LimitId, ParallelizationHint, Priority, Quota,
    Request, Scheduler, Settings, Ticket, Workers,
};

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn scheduler(slots: u32, start: Instant) -> Scheduler {
    let limits = [
        ("db", Limit::max(2).unwrap()),
        ("api", Limit::max(1).unwrap()),
        ("tape", Limit::max(1).unwrap()),
        ("calls", Limit::rate("10/s".parse().unwrap(), 1).unwrap()),
    ];
    let settings = Settings {
        slots,
        ageing: Ageing {
            step: Duration::from_secs(1),
        },
        limits: limits.map(|(name, limit)| (name.to_owned(), limit)).into(),
        ..Settings::default()
    };
    Scheduler::new(settings, start).unwrap()
}

fn on<'a>(host: &'a str, hint: &'a ParallelizationHint) -> Request<'a> {
    Request {
        hint,
        host: Some(host),
        ..Request::new("task")
    }
}

fn plain() -> Request<'static> {
    Request::new("task")
}

fn naming(limits: &[LimitId]) -> Request<'_> {
    Request {
        limits,
        ..Request::new("task")
    }
}

/// Everything that starts now, in order.
fn starts(scheduler: &mut Scheduler, now: Instant) -> Vec<Ticket> {
    std::iter::from_fn(|| match scheduler.pop(now) {
        Decision::Start(ticket) => Some(ticket),
        _ => None,
    })
    .collect()
}

use ParallelizationHint::{Alone, GlobalExclusive, HostExclusive};

#[test]
fn higher_priority_goes_first_and_equals_in_order() {
    let start = now();
    let mut scheduler = scheduler(10, start);
    let mut push = |priority| {
        scheduler
            .push(
                Request {
                    priority,
                    ..plain()
                },
                start,
            )
            .unwrap()
    };
    let low = push(Priority::Low);
    let normal = [push(Priority::Normal), push(Priority::Normal)];
    let critical = push(Priority::Critical);
    let high = push(Priority::High);
    assert_eq!(
        starts(&mut scheduler, start),
        [critical, high, normal[0], normal[1], low]
    );
}

#[test]
fn a_low_job_is_passed_for_three_steps_and_no_longer() {
    let start = now();
    let mut scheduler = scheduler(1, start);
    let low = scheduler
        .push(
            Request {
                priority: Priority::Low,
                ..plain()
            },
            start,
        )
        .unwrap();
    let critical = Request {
        priority: Priority::Critical,
        ..plain()
    };
    let just_before = start + Duration::from_millis(2_999);
    let passes = scheduler.push(critical, just_before).unwrap();
    let too_late = scheduler
        .push(critical, start + Duration::from_secs(3))
        .unwrap();
    let at = start + Duration::from_secs(3);
    for expected in [passes, low, too_late] {
        assert_eq!(starts(&mut scheduler, at), [expected]);
        scheduler.finish(expected).unwrap();
    }
}

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
                Request {
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
                Request {
                    kind: Kind(8),
                    ..plain()
                },
                start,
            )
            .unwrap(),
        scheduler
            .push(
                Request {
                    host: Some("busy"),
                    ..plain()
                },
                start,
            )
            .unwrap(),
    ];
    assert_eq!(starts(&mut scheduler, start), free);

    // However old the backlog is, it costs the others nothing. Only what time brings comes back.
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
    let both = Request {
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

/// Runs a stream of jobs that never ends, and tells when the one that it passes starts.
///
/// Each job of the stream runs two ticks, one starts each tick, so that what they share is never
/// all free. Returns the tick at which the victim starts.
fn against_a_stream(
    scheduler: &mut Scheduler,
    start: Instant,
    victim: Request<'_>,
    stream: &[Request<'_>],
) -> Option<u32> {
    let tick = Duration::from_millis(100);
    let mut running: Vec<(u32, Ticket)> = Vec::new();
    let mut victim_ticket = None;
    for round in 0..200u32 {
        let at = start + tick * round;
        for (_, done) in running.extract_if(.., |(begun, _)| *begun + 2 <= round) {
            scheduler.finish(done).unwrap();
        }
        if round == 2 {
            victim_ticket = Some(scheduler.push(victim, at).unwrap());
        }
        scheduler
            .push(stream[round as usize % stream.len()], at)
            .unwrap();
        for ticket in starts(scheduler, at) {
            if Some(ticket) == victim_ticket {
                return Some(round);
            }
            running.push((round, ticket));
        }
    }
    None
}

/// A normal job is due three seconds after its push in round 2, so from round 32 on. Until then
/// the stream passes it: that is work conservation. From then on it must start within a few runs
/// of two rounds each.
#[test]
fn what_needs_several_things_is_not_starved_by_what_needs_one_of_them() {
    let start = now();
    let fresh = || scheduler(4, start);
    let both = ["api", "tape"].map(|name| fresh().limit(name).unwrap());
    let (api, tape) = (&both[..1], &both[1..]);
    let on_a = on("a", &HostExclusive);
    // What each stream holds in turn overlaps, so that all of it is never free at once.
    let cases = [
        (
            "heavy",
            Request {
                slots: 4,
                ..plain()
            },
            vec![plain()],
        ),
        ("alone", on("", &Alone), vec![plain()]),
        (
            "global",
            on("a", &GlobalExclusive),
            vec![on_a, on("b", &GlobalExclusive)],
        ),
        ("two limits", naming(&both), vec![naming(api), naming(tape)]),
        (
            "host and limit",
            Request {
                limits: api,
                ..on_a
            },
            vec![on_a, naming(api)],
        ),
    ];
    for (name, victim, stream) in cases {
        let began = against_a_stream(&mut fresh(), start, victim, &stream);
        let began = began.unwrap_or_else(|| panic!("{name} starves"));
        // Before it is due the stream is in its way, or this would show nothing.
        assert!((32..=40).contains(&began), "{name} starts in round {began}");
    }
}

#[test]
fn an_aged_job_holds_back_only_what_would_take_what_it_needs() {
    let start = now();
    let mut scheduler = scheduler(10, start);
    let (db, api) = (
        scheduler.limit("db").unwrap(),
        scheduler.limit("api").unwrap(),
    );
    let api_held = scheduler.push(naming(&[api]), start).unwrap();
    assert_eq!(starts(&mut scheduler, start), [api_held]);
    let aged = Request {
        limits: &[db, api],
        ..on("h", &HostExclusive)
    };
    let aged = scheduler.push(aged, start).unwrap();

    let later = start + Duration::from_secs(3);
    let would_overtake = scheduler.push(on("h", &HostExclusive), later).unwrap();
    let passes = [
        scheduler.push(on("g", &HostExclusive), later).unwrap(),
        // db has two units, and one is all that is kept.
        scheduler.push(naming(&[db]), later).unwrap(),
    ];
    let last_unit = scheduler.push(naming(&[db]), later).unwrap();
    let unrelated = scheduler.push(plain(), later).unwrap();
    assert_eq!(
        starts(&mut scheduler, later),
        [passes[0], passes[1], unrelated]
    );

    scheduler.finish(api_held).unwrap();
    assert_eq!(starts(&mut scheduler, later), [aged]);
    scheduler.finish(aged).unwrap();
    assert_eq!(starts(&mut scheduler, later), [would_overtake, last_unit]);
}

/// A kind that lost its workers keeps nothing from the others, however long its jobs have waited.
#[test]
fn a_kind_without_workers_never_holds_up_another() {
    let start = now();
    let mut scheduler = scheduler(10, start);
    let api = scheduler.limit("api").unwrap();
    scheduler.set_workers(Kind(1), Workers::Away);
    let stuck = Request {
        kind: Kind(1),
        limits: &[api],
        ..on("h", &HostExclusive)
    };
    let stuck = scheduler.push(stuck, start).unwrap();
    let later = start + Duration::from_mins(1);
    let others = [
        scheduler.push(on("h", &HostExclusive), later).unwrap(),
        scheduler.push(naming(&[api]), later).unwrap(),
    ];
    assert_eq!(starts(&mut scheduler, later), others);
    for other in others {
        scheduler.finish(other).unwrap();
    }
    assert_eq!(starts(&mut scheduler, later), []);
    scheduler.set_workers(Kind(1), Workers::Free(1));
    assert_eq!(starts(&mut scheduler, later), [stuck]);
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

    // Twice as fast from now on: half of a token's time has passed, the rest takes half as long.
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
fn what_failed_takes_what_needs_it_along() {
    let start = now();
    let mut scheduler = scheduler(10, start);
    let root = scheduler.push(plain(), start).unwrap();
    let after = |scheduler: &mut Scheduler, needs: &[Ticket]| {
        scheduler.push(Request { needs, ..plain() }, start).unwrap()
    };
    let left = after(&mut scheduler, &[root]);
    let right = after(&mut scheduler, &[root]);
    let bottom = after(&mut scheduler, &[left, right]);
    let other = scheduler.push(plain(), start).unwrap();
    assert_eq!(starts(&mut scheduler, start), [root, other]);
    scheduler.finish(root).unwrap();
    assert_eq!(starts(&mut scheduler, start), [left, right]);
    scheduler.finish(right).unwrap();
    let below = after(&mut scheduler, &[bottom]);
    assert_eq!(scheduler.fail(left).unwrap(), [bottom, below]);
    assert!(!scheduler.knows(below));

    let gone = Request {
        needs: &[below],
        ..plain()
    };
    assert_eq!(
        scheduler.push(gone, start),
        Err(Error::UnknownTicket { ticket: below })
    );
    assert_eq!(scheduler.cancel(other), Ok(Cancelled::Running));
    assert_eq!(scheduler.load().waiting, 0);
}

#[test]
fn what_could_never_run_is_refused_with_the_reason() {
    let start = now();
    let mut scheduler = scheduler(4, start);
    let mut refused = |request| scheduler.push(request, start).unwrap_err().to_string();
    assert_eq!(
        refused(Request {
            slots: 5,
            ..plain()
        }),
        "a job of 5 slots can never run with 4 in total"
    );
    assert!(
        refused(Request {
            slots: 0,
            ..plain()
        })
        .contains("0 slots")
    );
    for (rate, reason) in [
        (0.0, "0/s"),
        (-1.0, "negative"),
        (f64::INFINITY, "infinite"),
    ] {
        let hint = ParallelizationHint::rate_limited(rate);
        let error = scheduler
            .push(on("", &hint), start)
            .unwrap_err()
            .to_string();
        assert!(error.contains(reason), "{error}");
    }
    let unknown = scheduler.limit("dv").unwrap_err().to_string();
    assert_eq!(unknown, "unknown limit `dv`, did you mean `db`?");
    assert_eq!(scheduler.load().lanes, 0, "what is refused leaves nothing");

    let heavy = scheduler
        .push(
            Request {
                slots: 3,
                ..plain()
            },
            start,
        )
        .unwrap();
    assert!(scheduler.set_slots(2).is_err(), "it would wait for ever");
    assert_eq!(starts(&mut scheduler, start), [heavy]);
    scheduler.finish(heavy).unwrap();
    scheduler.set_slots(2).unwrap();
}

#[test]
fn one_key_with_two_rates_is_refused_with_both_until_nobody_uses_it() {
    let start = now();
    let mut scheduler = scheduler(4, start);
    let (slow, fast) = (
        ParallelizationHint::rate_limited(1.0),
        ParallelizationHint::rate_limited(2.0),
    );
    let first = scheduler.push(on("", &slow), start).unwrap();
    let error = scheduler
        .push(on("", &fast), start)
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "rate key `task` is declared twice: 1/s with burst 1, and 2/s with burst 1"
    );
    assert_eq!(starts(&mut scheduler, start), [first]);
    scheduler.finish(first).unwrap();
    // The token is still owed, now at the new rate.
    scheduler.push(on("", &fast), start).unwrap();
    let due = start + Duration::from_millis(500);
    assert_eq!(scheduler.pop(start), Decision::WaitUntil(due));
}

#[test]
fn a_full_queue_pushes_back_and_a_retry_still_gets_in() {
    let start = now();
    let settings = Settings {
        capacity: 2,
        ..Settings::default()
    };
    let mut scheduler = Scheduler::new(settings, start).unwrap();
    let first = scheduler.push(plain(), start).unwrap();
    assert_eq!(starts(&mut scheduler, start), [first]);
    scheduler.push(plain(), start).unwrap();
    scheduler.push(plain(), start).unwrap();
    assert_eq!(scheduler.room(), 0);
    assert_eq!(
        scheduler.push(plain(), start),
        Err(Error::QueueFull { capacity: 2 })
    );
    scheduler.retry(first, start).unwrap();
    assert_eq!(starts(&mut scheduler, start), [first]);
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
    // A bucket is forgotten once it is full again, which is as good as new.
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
