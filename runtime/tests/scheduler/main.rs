//! Tests the scheduler from outside: against a model, by its promises, and with workloads.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_precision_loss,
    reason = "a test fails by panicking, and its figures are small"
)]

mod against_model;
mod ageing;
mod bound;
mod life;
mod model;
mod promises;
mod refusals;
mod steps;
mod workload;

use std::time::{Duration, Instant};

use ratchet_runtime::{
    Ageing, Decision, Limit, LimitId, ParallelizationHint, Scheduler, SchedulerRequest,
    SchedulerSettings, Ticket,
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
    let settings = SchedulerSettings {
        slots,
        ageing: Ageing {
            step: Duration::from_secs(1),
        },
        limits: limits.map(|(name, limit)| (name.to_owned(), limit)).into(),
        ..SchedulerSettings::default()
    };
    Scheduler::new(settings, start).unwrap()
}

fn on<'a>(host: &'a str, hint: &'a ParallelizationHint) -> SchedulerRequest<'a> {
    SchedulerRequest {
        hint,
        host: Some(host),
        ..SchedulerRequest::new("task")
    }
}

fn plain() -> SchedulerRequest<'static> {
    SchedulerRequest::new("task")
}

fn naming(limits: &[LimitId]) -> SchedulerRequest<'_> {
    SchedulerRequest {
        limits,
        ..SchedulerRequest::new("task")
    }
}

/// Returns everything that starts now, in order.
fn starts(scheduler: &mut Scheduler, now: Instant) -> Vec<Ticket> {
    std::iter::from_fn(|| match scheduler.pop(now) {
        Decision::Start(ticket) => Some(ticket),
        _ => None,
    })
    .collect()
}
