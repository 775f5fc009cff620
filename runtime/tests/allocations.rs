//! Tests that the hot path of the scheduler allocates nothing.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Instant;

use ratchet_runtime::{
    Decision, Kind, ParallelizationHint, Priority, Scheduler, SchedulerRequest, SchedulerSettings,
};

/// Pushes a thousand jobs, and then runs all of them.
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
    // This shows that the counter works: the name of a host is allocated and freed again.
    assert!(allocations(&ParallelizationHint::HostExclusive) > 0);
}
