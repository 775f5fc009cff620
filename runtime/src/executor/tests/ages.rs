//! Tests that every moment of a job's age is charged to what the job waited for, or to one of its attempts.

use proptest::prelude::*;

use super::*;
use crate::scheduling::{Limit, ParallelizationHint, Priority, Rate};

/// A random run: its jobs, its pauses and its cancellations.
#[derive(Debug, Clone)]
struct Plot {
    slots: u32,
    jobs: Vec<Drawn>,
    /// When the run is paused, and for how long, in milliseconds.
    pauses: Vec<(u64, u64)>,
    /// When a job is cancelled, in milliseconds, and which one.
    cancelled: Vec<(u64, prop::sample::Index)>,
}

#[derive(Debug, Clone)]
struct Drawn {
    /// How many milliseconds the job comes after the previous one.
    later: u64,
    /// How long each attempt takes, in milliseconds. All but the last one fail.
    attempts: Vec<u64>,
    delay: u64,
    hint: u8,
    limit: u8,
    slots: u32,
    priority: Priority,
    /// The needs of the job, each as a number that is taken modulo the number of jobs before it.
    needs: Vec<usize>,
    is_lost: bool,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    (
        prop_oneof![3 => Just(0_u64), 1 => 1_u64..700],
        prop::collection::vec(1_u64..900, 1..4),
        1_u64..500,
        (0_u8..10, 0_u8..8),
        prop_oneof![5 => Just(1_u32), 1 => Just(2)],
        prop::sample::select(&Priority::ALL[..]),
        prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(any::<usize>(), 1..3)],
        prop::bool::weighted(0.1),
    )
        .prop_map(
            |(later, attempts, delay, (hint, limit), slots, priority, needs, is_lost)| Drawn {
                later,
                attempts,
                delay,
                hint,
                limit,
                slots,
                priority,
                needs,
                is_lost,
            },
        )
}

fn plot() -> impl Strategy<Value = Plot> {
    (
        2_u32..5,
        prop::collection::vec(drawn(), 1..30),
        prop::collection::vec((0_u64..5_000, 1_u64..1_500), 0..3),
        prop::collection::vec((0_u64..5_000, any::<prop::sample::Index>()), 0..4),
    )
        .prop_map(|(slots, jobs, pauses, cancelled)| Plot {
            slots,
            jobs,
            pauses,
            cancelled,
        })
}

fn job(index: usize, drawn: &Drawn) -> Job {
    let (times, is_lost) = (Arc::new(drawn.attempts.clone()), drawn.is_lost);
    let work = move |context: crate::Context| {
        let times = Arc::clone(&times);
        async move {
            let attempt = context.attempt() as usize;
            let takes = Duration::from_millis(times[(attempt - 1).min(times.len() - 1)]);
            tokio::select! {
                () = tokio::time::sleep(takes) => {}
                () = context.cancelled() => {}
            }
            if attempt < times.len() || is_lost {
                return Err(Failure::new(Class::Task, "not yet"));
            }
            Ok(Payload::null())
        }
    };
    let retry = BackoffPolicy::builder()
        .max_attempts(3)
        .delay(Delay::Fixed(Duration::from_millis(drawn.delay)))
        .build()
        .unwrap();
    let terms = Terms {
        hint: match drawn.hint {
            0 => Some(ParallelizationHint::GlobalExclusive),
            1..=3 => Some(ParallelizationHint::HostExclusive),
            4 => Some(ParallelizationHint::rate_limited(4.0)),
            5 => Some(ParallelizationHint::Alone),
            _ => None,
        },
        limits: match drawn.limit {
            0 => vec!["db".to_owned()],
            1 => vec!["api".to_owned()],
            2 => vec!["db".to_owned(), "api".to_owned()],
            _ => Vec::new(),
        },
        slots: drawn.slots,
        priority: drawn.priority,
        retry: Some(Arc::new(retry)),
        ..Terms::default()
    };
    let needs: Vec<String> = (drawn.needs.iter())
        .filter(|_| index > 0)
        .map(|need| (need % index).to_string())
        .collect();
    Job::closure(index.to_string(), work)
        .on_host(["web1", "web2"][index % 2])
        .needs(needs)
        .terms(terms)
}

/// Runs a plot. Returns each outcome with the age of its job by the clock of the test: from its submission until its
/// outcome came.
async fn performed(plot: &Plot) -> Vec<(Arc<Outcome>, Duration)> {
    let began = tokio::time::Instant::now();
    let rate = Rate::per_second(3.0).and_then(|rate| Limit::rate(rate, 2));
    let executor = Executor::builder()
        .slots(plot.slots)
        .needs_are_checked()
        .limit("db", Limit::max(2).unwrap())
        .limit("api", rate.unwrap())
        .build()
        .unwrap();
    let (submitter, mut run) = executor.open().unwrap();
    for (at, length) in plot.pauses.clone() {
        let handle = run.handle();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(at)).await;
            handle.pause();
            tokio::time::sleep(Duration::from_millis(length)).await;
            handle.resume();
        });
    }
    for (at, index) in plot.cancelled.clone() {
        let (handle, job) = (run.handle(), index.index(plot.jobs.len()).to_string());
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(at)).await;
            // The run may have ended by then.
            let _ = handle.cancel_jobs([job.as_str().into()]).await;
        });
    }
    let jobs = plot.jobs.clone();
    let handed_over = tokio::spawn(async move {
        let mut came = Vec::new();
        for (index, drawn) in jobs.iter().enumerate() {
            tokio::time::sleep(Duration::from_millis(drawn.later)).await;
            came.push(began.elapsed());
            submitter.submit(job(index, drawn)).await.unwrap();
        }
        came
    });
    let mut ended = Vec::new();
    while let Some(outcome) = run.next().await {
        ended.push((outcome, began.elapsed()));
    }
    let came = handed_over.await.unwrap();
    let ages = ended.into_iter().map(|(outcome, ended)| {
        let index: usize = outcome.id.as_str().parse().unwrap();
        (outcome, ended.abs_diff(came[index]))
    });
    ages.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn waits_and_run_times_are_the_age_of_a_job_to_the_millisecond(plot in plot()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let ended = runtime.block_on(performed(&plot));
        prop_assert_eq!(ended.len(), plot.jobs.len());
        for (outcome, age) in ended {
            let ran = outcome.attempts_detail().duration();
            let charged = outcome.waits.total() + ran;
            prop_assert!(
                charged.abs_diff(age) <= Duration::from_millis(1),
                "{}: {charged:?} of {age:?}: {:?} and {ran:?}",
                outcome.id,
                outcome.waits,
            );
        }
    }
}
