//! What the hot path allocates: nothing.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Instant;

use ratchet_runtime::{
    Decision, Kind, ParallelizationHint, Priority, Scheduler, SchedulerRequest, SchedulerSettings,
};

/// Push a full queue's worth, then run all of it.
fn a_round(scheduler: &mut Scheduler, hint: &ParallelizationHint, now: Instant) {
    for number in 0..1_000 {
        let request = SchedulerRequest {
            hint,
            host: Some("web1"),
            priority: Priority::ALL[number % 4],
            kind: Kind(u16::try_from(number % 3).unwrap()),
            ..SchedulerRequest::new("task")
        };
        scheduler.push(request, now).unwrap();
    }
    let mut started = 0;
    while started < 1_000 {
        let mut running = [None; 8];
        for place in &mut running {
            if let Decision::Start(ticket) = scheduler.pop(now) {
                *place = Some(ticket);
            }
        }
        for ticket in running.into_iter().flatten() {
            scheduler.finish(ticket).unwrap();
            started += 1;
        }
    }
}

fn allocations(hint: &ParallelizationHint) -> u64 {
    let now = tokio::time::Instant::now().into_std();
    let settings = SchedulerSettings {
        slots: 8,
        ..SchedulerSettings::default()
    };
    let mut scheduler = Scheduler::new(settings, now).unwrap();
    a_round(&mut scheduler, hint, now);
    allocation_counter::measure(|| a_round(&mut scheduler, hint, now)).count_total
}

#[test]
fn a_warm_scheduler_allocates_nothing_for_fully_parallel_jobs() {
    assert_eq!(allocations(&ParallelizationHint::FullyParallel), 0);
    // The counter counts: a host has a name, which lives as long as it is needed.
    assert!(allocations(&ParallelizationHint::HostExclusive) > 0);
}
