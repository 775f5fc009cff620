//! Tests priorities, and how they rise while jobs wait.

use std::time::{Duration, Instant};

use ratchet_runtime::ParallelizationHint::{Alone, GlobalExclusive, HostExclusive};
use ratchet_runtime::{Priority, Scheduler, SchedulerRequest, Ticket};

use crate::{naming, now, on, plain, scheduler, starts};

#[test]
fn higher_priority_goes_first_and_equals_in_order() {
    let start = now();
    let mut scheduler = scheduler(10, start);
    let mut push = |priority| {
        scheduler
            .push(
                SchedulerRequest {
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
fn a_job_that_came_earlier_than_it_was_pushed_is_as_old_as_its_coming() {
    let start = now();
    let mut scheduler = scheduler(10, start);
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut push =
        |came, number| (scheduler.push_late(plain(), (at(came), number), at(3))).unwrap();
    let third = push(2, 2);
    let first = push(1, 1);
    let second = push(2, 1);
    // A moment that has not come yet counts as now.
    let fifth = push(9, 4);
    let fourth = push(3, 3);
    assert_eq!(
        starts(&mut scheduler, at(3)),
        [first, second, third, fourth, fifth]
    );
}

#[test]
fn a_low_job_is_passed_for_three_steps_and_no_longer() {
    let start = now();
    let mut scheduler = scheduler(1, start);
    let low = scheduler
        .push(
            SchedulerRequest {
                priority: Priority::Low,
                ..plain()
            },
            start,
        )
        .unwrap();
    let critical = SchedulerRequest {
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

/// Runs an endless stream of jobs that could pass a victim for ever, and returns the tick at which the victim starts.
///
/// Each job of the stream runs for two ticks, and one starts at each tick. So the claims that they share with the victim
/// are never all free at once.
fn against_a_stream(
    scheduler: &mut Scheduler,
    start: Instant,
    victim: SchedulerRequest<'_>,
    stream: &[SchedulerRequest<'_>],
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

/// A normal job is due three seconds after its push in round 2, so from round 32 on. Until then the stream passes it, so
/// that no slot stays idle. From then on it must start within a few runs of two rounds each.
#[test]
fn what_needs_several_things_is_not_starved_by_what_needs_one_of_them() {
    let start = now();
    let fresh = || scheduler(4, start);
    let both = ["api", "tape"].map(|name| fresh().limit(name).unwrap());
    let (api, tape) = (&both[..1], &both[1..]);
    let on_a = on("a", &HostExclusive);
    // The claims of the jobs of each stream overlap in time, so that they are never all free at once.
    let cases = [
        (
            "heavy",
            SchedulerRequest {
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
            SchedulerRequest {
                limits: api,
                ..on_a
            },
            vec![on_a, naming(api)],
        ),
    ];
    for (name, victim, stream) in cases {
        let began = against_a_stream(&mut fresh(), start, victim, &stream);
        let began = began.unwrap_or_else(|| panic!("{name} starves"));
        // The lower bound shows that the stream was in the victim's way until it was due.
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
    let aged = SchedulerRequest {
        limits: &[db, api],
        ..on("h", &HostExclusive)
    };
    let aged = scheduler.push(aged, start).unwrap();

    let later = start + Duration::from_secs(3);
    let would_overtake = scheduler.push(on("h", &HostExclusive), later).unwrap();
    let passes = [
        scheduler.push(on("g", &HostExclusive), later).unwrap(),
        // `db` has two units, and only one is reserved.
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
