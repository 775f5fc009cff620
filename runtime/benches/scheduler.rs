//! Measures how long the scheduler takes for a job: push, pop and finish, with many other jobs in the queue.
//!
//! The reference in the same run is `fifo`, a queue with a counter of slots and without priorities, hosts and limits.

#![expect(
    clippy::expect_used,
    reason = "a benchmark that cannot be set up has nothing to measure"
)]

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use ratchet_runtime::{
    Decision, Limit, LimitId, ParallelizationHint, Scheduler, SchedulerRequest, SchedulerSettings,
    Ticket,
};

const SLOTS: usize = 64;

#[derive(Clone, Copy)]
enum Mix {
    Parallel,
    Host,
    Rate,
    Global,
    Alone,
    Limits,
    /// Host-exclusive jobs that need two full limits at once, among jobs that need one of them.
    Crossing,
    Mixed,
}

const MIXES: [(&str, Mix); 8] = [
    ("fully_parallel", Mix::Parallel),
    ("host_exclusive", Mix::Host),
    ("rate_limited", Mix::Rate),
    ("global_exclusive", Mix::Global),
    ("alone", Mix::Alone),
    ("two_limits", Mix::Limits),
    ("crossing_limits", Mix::Crossing),
    ("mixed", Mix::Mixed),
];

const SIZES: [(usize, usize); 7] = [
    (1_000, 1),
    (1_000, 1_000),
    (100_000, 1),
    (100_000, 1_000),
    (100_000, 100_000),
    (1_000_000, 1_000),
    (1_000_000, 100_000),
];

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn clock() -> Instant {
    Instant::now()
}

/// A scheduler whose queue keeps its length: a new job replaces each job that ends.
struct Bench {
    scheduler: Scheduler,
    hosts: Vec<String>,
    hints: [ParallelizationHint; 5],
    limits: [LimitId; 2],
    mix: Mix,
    number: usize,
    now: Instant,
    running: VecDeque<Ticket>,
}

impl Bench {
    fn new(mix: Mix, queued: usize, hosts: usize) -> Self {
        let now = clock();
        let settings = SchedulerSettings {
            slots: u32::try_from(SLOTS).expect("small"),
            capacity: 2_000_000,
            limits: vec![
                ("db".to_owned(), Limit::max(16).expect("possible")),
                ("api".to_owned(), Limit::max(8).expect("possible")),
            ],
            ..SchedulerSettings::default()
        };
        let scheduler = Scheduler::new(settings, now).expect("possible");
        let limits = ["db", "api"].map(|name| scheduler.limit(name).expect("declared"));
        let rate = ParallelizationHint::RateLimited {
            requests_per_second: 1e6,
            burst: 16,
            key: None,
        };
        let mut bench = Self {
            scheduler,
            hosts: (0..hosts).map(|host| format!("host-{host}")).collect(),
            hints: [
                ParallelizationHint::FullyParallel,
                ParallelizationHint::HostExclusive,
                rate,
                ParallelizationHint::GlobalExclusive,
                ParallelizationHint::Alone,
            ],
            limits,
            mix,
            number: 0,
            now,
            running: VecDeque::new(),
        };
        for _ in 0..queued {
            bench.push();
        }
        // Warm up until each slot was used, so that no buffer grows during the measurement.
        for _ in 0..4 * SLOTS {
            bench.one();
        }
        bench
    }

    fn push(&mut self) {
        // A linear congruential generator gives numbers that look random and are the same in every run.
        self.number = self
            .number
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let random = self.number >> 33;
        let hint = match self.mix {
            Mix::Parallel | Mix::Limits => 0,
            Mix::Host => 1,
            Mix::Rate => 2,
            Mix::Global => 3,
            Mix::Alone => 4,
            Mix::Crossing => [1, 1, 0, 0][random % 4],
            Mix::Mixed => [0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 3][random % 12],
        };
        let limits = match self.mix {
            Mix::Limits => &self.limits[..],
            Mix::Crossing => [
                &self.limits[..],
                &self.limits[..],
                &self.limits[..1],
                &self.limits[1..],
            ][random % 4],
            Mix::Mixed => &self.limits[..(random / 12 % 8).saturating_sub(5)],
            _ => &[],
        };
        let request = SchedulerRequest {
            hint: &self.hints[hint],
            host: Some(&self.hosts[random / 100 % self.hosts.len()]),
            limits,
            ..SchedulerRequest::new("task")
        };
        self.scheduler.push(request, self.now).expect("possible");
    }

    /// Pushes one job, starts all jobs that can start, and finishes one.
    fn one(&mut self) {
        self.now += Duration::from_micros(1);
        self.push();
        while let Decision::Start(ticket) = self.scheduler.pop(self.now) {
            self.running.push_back(ticket);
        }
        if let Some(ticket) = self.running.pop_front() {
            self.scheduler.finish(ticket).expect("it runs");
        }
    }
}

fn scheduler(criterion: &mut Criterion) {
    for (name, mix) in MIXES {
        let mut group = criterion.benchmark_group(name);
        for (queued, hosts) in SIZES {
            let one_host_says_it_all =
                !matches!(mix, Mix::Host | Mix::Global | Mix::Crossing | Mix::Mixed);
            if one_host_says_it_all && hosts != 1_000 {
                continue;
            }
            let id = BenchmarkId::from_parameter(format!("{queued}_queued_{hosts}_hosts"));
            let mut bench = Bench::new(mix, queued, hosts);
            group.bench_function(id, |bencher| bencher.iter(|| bench.one()));
        }
        group.finish();
    }

    let mut group = criterion.benchmark_group("fifo");
    for queued in [1_000, 100_000, 1_000_000] {
        let mut queue: VecDeque<u64> = (0..queued).collect();
        let mut running = VecDeque::new();
        group.bench_function(BenchmarkId::from_parameter(queued), |bencher| {
            bencher.iter(|| {
                queue.push_back(black_box(7));
                while running.len() < SLOTS
                    && let Some(job) = queue.pop_front()
                {
                    running.push_back(job);
                }
                black_box(running.pop_front())
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(700))
        .sample_size(20);
    targets = scheduler
}
criterion_main!(benches);
