//! The content of a page or a document about a run: figures of all jobs, and the jobs that are worth a closer look.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ratchet_runtime::event::{EventRecord, RunEvent, WorkerNews};
use ratchet_runtime::{Blocker, Class, Status};
use serde::Serialize;

use crate::critical_path::Link;
use crate::explain::{Explanation, describe, describe_run};
use crate::model::{AttemptFacts, JobFacts, RunModel, shown_name};
use crate::timeline::{LimitUse, Series, Steps, limit_uses};

/// Up to this number of jobs, all of them are listed one by one.
const ALL_JOBS: usize = 5_000;

/// If there are more jobs, at most this many failed, flaky and slow ones are listed.
const LISTED: usize = 1_000;

/// The greatest number of jobs of the chain that are listed.
const LINKS: usize = 400;

/// The number of steps into which the time is divided.
const STEPS: usize = 480;

/// The greatest number of rows of a timeline.
const ROWS: usize = 400;

/// The number of cells into which a timeline is divided if not every job has a bar.
const CELLS: usize = 60_000;

/// How many limits are shown with their usage.
const LIMITS: usize = 8;

/// The greatest number of events that are listed.
const EVENTS: usize = 300;

/// The content of a page. To keep it short, jobs, attempts and waits are lists without field names.
#[derive(Debug, Serialize)]
pub(crate) struct Digest {
    v: u32,
    run: RunFigures,
    story: Vec<String>,
    whatif: Vec<(String, u64, u64)>,
    /// The jobs that set the length of the run.
    chain: Vec<ListedLink>,
    tasks: Vec<String>,
    hosts: Vec<String>,
    blockers: Vec<String>,
    rows: Vec<(String, String)>,
    waits: Vec<(u32, u64)>,
    /// For each task: its index, jobs, failures, cached results, time of all attempts, time of the longest.
    per_task: Vec<(u32, u64, u64, u64, u64, u64)>,
    series: SeriesFigures,
    /// For each limit: name, text, maximum, values, whether it is a rate.
    limits: Vec<(String, String, f64, Vec<f64>, bool)>,
    suspensions: Vec<(u64, u64)>,
    cells: Option<Cells>,
    jobs: Vec<ListedJob>,
    failed: Vec<usize>,
    reasons: Vec<(u32, Class, String)>,
    flaky: Vec<usize>,
    /// The class of the first failure of flaky jobs.
    classes: BTreeMap<usize, Class>,
    slowest: Vec<usize>,
    events: Vec<(u64, String)>,
}

/// The figures of a run.
#[derive(Debug, Serialize)]
struct RunFigures {
    id: String,
    command: String,
    state: &'static str,
    began_ms: u64,
    length: u64,
    resumed: u32,
    damaged: u64,
    slots: u32,
    jobs: usize,
    /// How many jobs ended with each status, in the order of the statuses.
    counts: [u64; 6],
    flaky: usize,
    retries: u64,
    cached: u64,
    restarts: Option<u64>,
    ran: u64,
    cpu: Option<u64>,
    max_rss: Option<u64>,
}

/// The figures of a run over time.
#[derive(Debug, Serialize)]
struct SeriesFigures {
    bins: usize,
    running: Vec<f64>,
    waiting: Vec<(u32, Vec<f64>)>,
}

/// How busy each row was, if not every attempt is listed. For each row: the percentage of each step in which attempts
/// ran, and for steps with failures the percentage in which failed attempts ran.
#[derive(Debug, Serialize)]
struct Cells {
    bins: usize,
    rows: Vec<(Vec<u8>, BTreeMap<usize, u8>)>,
}

/// A job of the chain: its index among the listed ones, name, time, what linked it to the one before it, how long after
/// that it began.
type ListedLink = (Option<usize>, String, u64, Option<String>, u64);

/// A job that is listed individually: id, item, index of the task, index of the host plus one, arrival, end, index of
/// the status, whether it was cached, charged attempts, waits as blocker and time, attempts, and the failure as class,
/// code, message and output.
#[derive(Debug, Serialize)]
struct ListedJob(
    String,
    Option<String>,
    u32,
    u32,
    u64,
    u64,
    usize,
    u8,
    u32,
    Vec<(u32, u64)>,
    Vec<ListedAttempt>,
    #[serde(skip_serializing_if = "Option::is_none")]
    Option<(Class, Option<String>, String, String)>,
);

/// An attempt that is listed one by one: row, begin, length, kind, processor time, memory.
#[derive(Debug, Serialize)]
struct ListedAttempt(u32, u64, u64, u8, Option<u64>, Option<u64>);

/// Whether a job is listed among the failed ones.
fn has_failed(job: &JobFacts) -> bool {
    matches!(
        job.status,
        Status::Failed | Status::TimedOut | Status::Crashed
    )
}

/// Returns how an attempt is drawn: as succeeded (0), failed (1), timed out (2), failed and tried again (3), crashed
/// (4), or none of these (5).
fn kind(attempt: &AttemptFacts, is_last: bool) -> u8 {
    match attempt.class {
        _ if attempt.returned => 5,
        None => 0,
        Some(_) if !is_last => 3,
        Some(class) => match class.status() {
            Status::TimedOut => 2,
            Status::Crashed => 4,
            Status::Cancelled | Status::Skipped => 5,
            Status::Failed | Status::Succeeded => 1,
        },
    }
}

impl Digest {
    /// Summarizes a run.
    pub(crate) fn of(model: &RunModel) -> Self {
        let explanation = Explanation::of(model);
        let listed = listed(model, &explanation.chain);
        let place_of = |job: u32| listed.binary_search(&job).ok();
        let rows = Rows::of(model);
        let is_whole = listed.len() == model.jobs.len();
        let Series { running, waiting } = Series::of(model, STEPS);
        let round = |values: Vec<f64>| values.into_iter().map(rounded).collect::<Vec<_>>();
        let mut slowest = listed.clone();
        slowest.sort_by_key(|job| Reverse(model.ran(&model.jobs[*job as usize])));
        slowest.truncate(50);
        Self {
            v: 1,
            run: figures(model),
            story: describe_run(model, &explanation),
            whatif: (explanation.changes.iter())
                .map(|change| {
                    let text = describe(model, &change.change);
                    (text, micros(change.length), micros(change.saved))
                })
                .collect(),
            chain: chain(model, &explanation.chain, place_of),
            tasks: model.tasks.clone(),
            hosts: model.hosts.clone(),
            blockers: model.blockers.iter().map(word).collect(),
            rows: rows.names.clone(),
            waits: (model.waits_by_blocker().into_iter())
                .filter_map(|(blocker, time)| {
                    let place = model.blockers.iter().position(|known| known == blocker)?;
                    Some((u32::try_from(place).ok()?, micros(time)))
                })
                .collect(),
            per_task: per_task(model),
            series: SeriesFigures {
                bins: STEPS,
                running: round(running),
                waiting: (waiting.into_iter())
                    .map(|(blocker, values)| (blocker, round(values)))
                    .collect(),
            },
            limits: (limit_uses(model, STEPS / 2).into_iter().take(LIMITS))
                .map(|of| {
                    let LimitUse {
                        name,
                        text,
                        most,
                        values,
                        is_rate,
                    } = of;
                    (name, text, most, round(values), is_rate)
                })
                .collect(),
            suspensions: model.suspensions.clone(),
            cells: (!is_whole).then(|| cells(model, &rows)),
            failed: (listed.iter().enumerate())
                .filter(|(_, job)| has_failed(&model.jobs[**job as usize]))
                .map(|(place, _)| place)
                .collect(),
            reasons: reasons(model),
            flaky: model
                .flaky
                .iter()
                .filter_map(|job| place_of(*job))
                .collect(),
            classes: (model.flaky.iter())
                .filter_map(|job| {
                    let attempts = model.attempts_of(&model.jobs[*job as usize]);
                    let class = attempts.iter().find_map(|attempt| attempt.class)?;
                    Some((place_of(*job)?, class))
                })
                .collect(),
            slowest: slowest.into_iter().filter_map(place_of).collect(),
            events: events(model),
            jobs: jobs(model, &listed, &rows),
        }
    }
}

/// Returns the jobs that are listed one by one: all, or of very many the failed, the flaky and the slowest ones, and
/// those of the chain.
fn listed(model: &RunModel, chain: &[Link]) -> Vec<u32> {
    let all = 0..u32::try_from(model.jobs.len()).unwrap_or(u32::MAX);
    if model.jobs.len() <= ALL_JOBS {
        return all.collect();
    }
    let failed = |job: &u32| has_failed(&model.jobs[*job as usize]);
    let mut listed: BTreeSet<u32> = all.clone().filter(failed).take(LISTED).collect();
    listed.extend(model.flaky.iter().take(LISTED));
    listed.extend(listed_links(chain).map(|(_, link)| link.job));
    let mut slow: Vec<(u64, u32)> = all
        .map(|job| (model.ran(&model.jobs[job as usize]), job))
        .collect();
    let slower = LISTED.min(slow.len()) - 1;
    slow.select_nth_unstable_by_key(slower, |(ran, _)| Reverse(*ran));
    listed.extend(slow.iter().take(LISTED).map(|(_, job)| job));
    listed.into_iter().collect()
}

/// Iterates over the jobs of the chain that are listed: of very many the first and the last ones.
fn listed_links(chain: &[Link]) -> impl Iterator<Item = (usize, &Link)> {
    let most = chain.len();
    chain
        .iter()
        .enumerate()
        .filter(move |(place, _)| *place < LINKS / 2 || *place + LINKS / 2 >= most)
}

/// Lists the jobs of the chain. `place_of` returns the index of a job among the listed ones.
fn chain(
    model: &RunModel,
    chain: &[Link],
    place_of: impl Fn(u32) -> Option<usize>,
) -> Vec<ListedLink> {
    let told = listed_links(chain).map(|(_, link)| {
        let job = &model.jobs[link.job as usize];
        (
            place_of(link.job),
            shown_name(job).chars().take(80).collect(),
            link.ran,
            link.got.as_ref().map(word),
            link.waited.iter().map(|(_, time)| time).sum(),
        )
    });
    told.collect()
}

/// Computes the figures of a run.
fn figures(model: &RunModel) -> RunFigures {
    let mut counts = [0; 6];
    let (mut retries, mut cached) = (0, 0);
    for job in &model.jobs {
        let place = Status::ALL.iter().position(|status| *status == job.status);
        counts[place.unwrap_or_default()] += 1;
        retries += u64::from(job.charged.saturating_sub(1));
        cached += u64::from(job.cached);
    }
    let cpu = model.attempts.iter().filter_map(|attempt| attempt.cpu);
    let cpu: u64 = cpu.sum();
    let known = model.attempts.iter().any(|attempt| attempt.cpu.is_some());
    RunFigures {
        id: model.id.clone(),
        command: model.command.clone(),
        state: model.end.word(),
        began_ms: model.began_us / 1_000,
        length: model.length,
        resumed: model.resumed,
        damaged: model.damaged,
        slots: model.all_slots(),
        jobs: model.jobs.len(),
        counts,
        flaky: model.flaky.len(),
        retries,
        cached,
        restarts: model.restarts,
        ran: model.attempts.iter().map(|attempt| attempt.ran).sum(),
        cpu: known.then_some(cpu),
        max_rss: (model.attempts.iter())
            .filter_map(|attempt| attempt.max_rss)
            .max(),
    }
}

/// Computes the figures of each task, for the tasks that took the most time.
fn per_task(model: &RunModel) -> Vec<(u32, u64, u64, u64, u64, u64)> {
    let mut tasks: BTreeMap<u32, (u64, u64, u64, u64, u64)> = BTreeMap::new();
    for job in &model.jobs {
        let task = tasks.entry(job.task).or_default();
        task.0 += 1;
        task.1 += u64::from(has_failed(job));
        task.2 += u64::from(job.cached);
        let ran = model.ran(job);
        task.3 += ran;
        task.4 = task.4.max(ran);
    }
    let mut tasks: Vec<_> = (tasks.into_iter())
        .map(|(task, (jobs, failed, cached, ran, longest))| {
            (task, jobs, failed, cached, ran, longest)
        })
        .collect();
    tasks.sort_by_key(|(.., ran, _)| Reverse(*ran));
    tasks.truncate(100);
    tasks
}

/// Returns the most frequent reasons why jobs did not succeed.
fn reasons(model: &RunModel) -> Vec<(u32, Class, String)> {
    let mut reasons = model.reasons.clone();
    reasons.sort_by_key(|(count, ..)| Reverse(*count));
    reasons.truncate(20);
    reasons
}

/// The rows of a timeline, which are those of the model unless there are too many of them.
struct Rows {
    names: Vec<(String, String)>,
    /// For each row of the model, the index of the row on which it is shown.
    places: Vec<u32>,
    /// How many rows of the model share each shown row.
    sizes: Vec<u32>,
}

impl Rows {
    /// Shows each row of the model on a row of its own, or each group on one row if there are too many rows.
    fn of(model: &RunModel) -> Self {
        let each = |row: &crate::model::Row| (row.group.clone(), row.name.clone());
        let group = |row: &crate::model::Row| (row.group.clone(), row.group.clone());
        if model.rows.len() <= ROWS {
            Self::by(model, each)
        } else {
            Self::by(model, group)
        }
    }

    /// Makes one row for adjacent rows of the model with the same name, up to the maximum number of rows.
    fn by(model: &RunModel, name: impl Fn(&crate::model::Row) -> (String, String)) -> Self {
        let (mut names, mut places, mut sizes) =
            (Vec::<(String, String)>::new(), Vec::new(), Vec::new());
        let mut last = None;
        for row in &model.rows {
            // The parts of a worker that performs several attempts at once are separate rows.
            let key = (
                name(row),
                if model.rows.len() <= ROWS {
                    row.part
                } else {
                    0
                },
            );
            if last.as_ref() != Some(&key) && names.len() < ROWS {
                names.push(key.0.clone());
                sizes.push(0);
                last = Some(key);
            }
            let place = names.len() - 1;
            sizes[place] += 1;
            places.push(u32::try_from(place).unwrap_or(u32::MAX));
        }
        Self {
            names,
            places,
            sizes,
        }
    }

    fn place(&self, row: u32) -> u32 {
        self.places[row as usize]
    }
}

/// Computes how busy each row was.
fn cells(model: &RunModel, rows: &Rows) -> Cells {
    let bins = (CELLS / rows.names.len().max(1)).clamp(100, 1_200);
    let new = || Steps::new(model.length, bins);
    let mut steps: Vec<(Steps, Option<Steps>)> = rows.names.iter().map(|_| (new(), None)).collect();
    for attempt in &model.attempts {
        let (busy, failed) = &mut steps[rows.place(attempt.row) as usize];
        busy.add(attempt.began, attempt.ended());
        if attempt.class.is_some() {
            let failed = failed.get_or_insert_with(new);
            failed.add(attempt.began, attempt.ended());
        }
    }
    let percent = |value: f64, size: u32| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is between 0 and 100"
        )]
        let percent = (100.0 * value / f64::from(size.max(1)))
            .ceil()
            .clamp(0.0, 100.0) as u8;
        percent
    };
    let rows = steps.iter().zip(&rows.sizes).map(|((busy, failed), size)| {
        let busy = busy.values().into_iter();
        let failed = failed.iter().flat_map(Steps::values);
        let failed = failed.map(|value| percent(value, *size)).enumerate();
        (
            busy.map(|value| percent(value, *size)).collect(),
            failed.filter(|(_, value)| *value > 0).collect(),
        )
    });
    Cells {
        bins,
        rows: rows.collect(),
    }
}

fn jobs(model: &RunModel, listed: &[u32], rows: &Rows) -> Vec<ListedJob> {
    let failures: BTreeMap<u32, _> = model
        .failures
        .iter()
        .map(|failure| (failure.job, failure))
        .collect();
    let told = listed.iter().map(|index| {
        let job = &model.jobs[*index as usize];
        let status = Status::ALL.iter().position(|status| *status == job.status);
        let waits = model.waits_of(job).iter().filter(|wait| wait.time > 0);
        let attempts = model.attempts_of(job);
        let told = attempts.iter().enumerate().map(|(number, attempt)| {
            ListedAttempt(
                rows.place(attempt.row),
                attempt.began,
                attempt.ran,
                kind(attempt, number + 1 == attempts.len()),
                attempt.cpu,
                attempt.max_rss,
            )
        });
        ListedJob(
            job.id.as_str().to_owned(),
            job.item.as_ref().map(|item| item.as_str().to_owned()),
            job.task,
            job.host,
            job.arrived,
            job.ended,
            status.unwrap_or_default(),
            u8::from(job.cached),
            job.charged,
            waits.map(|wait| (wait.blocker, wait.time)).collect(),
            told.collect(),
            failures.get(index).map(|failure| {
                (
                    failure.class,
                    failure.code.clone(),
                    failure.message.clone(),
                    failure.output.clone(),
                )
            }),
        )
    });
    told.collect()
}

/// Lists the events of a run, each with its moment.
fn events(model: &RunModel) -> Vec<(u64, String)> {
    let told = model.events.iter().filter_map(|record| {
        let at = (record.at_ms * 1_000).saturating_sub(model.began_us);
        Some((at, describe_event(record)?))
    });
    told.take(EVENTS).collect()
}

/// Describes an event for people; `None` for an event that the journal does not keep.
pub(crate) fn describe_event(record: &EventRecord) -> Option<String> {
    Some(match &record.event {
        RunEvent::Worker(news) => match news {
            WorkerNews::Ended { worker, cause, .. } => format!("worker {worker} {cause}"),
            WorkerNews::Waiting { kind, delay } => {
                format!("the next start of a `{kind}` worker waits {delay:?}")
            }
            WorkerNews::Broken { kind, reason } => {
                format!("no more `{kind}` workers are started: {reason}")
            }
            _ => return None,
        },
        RunEvent::BreakerChanged(report) => {
            let of = match &report.host {
                Some(host) => format!("`{}` for host {host}", report.name),
                None => format!("`{}`", report.name),
            };
            format!(
                "the breaker of {of} is {}: {}",
                report.state.as_str(),
                report.reason
            )
        }
        RunEvent::LimitChanged { name, limit } => format!("the limit `{name}` became {limit}"),
        RunEvent::Admission { held: Some(why) } => format!("new jobs were held back: {why}"),
        RunEvent::Admission { held: None } => "new jobs could start again".to_owned(),
        RunEvent::RunStopping { phase, reason } => format!("the run was {phase}: {reason}"),
        _ => return None,
    })
}

fn word(blocker: &Blocker) -> String {
    blocker.word().into_owned()
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Rounds to about three digits, which are enough for a chart.
fn rounded(value: f64) -> f64 {
    if value >= 100.0 {
        value.round()
    } else {
        (value * 100.0).round() / 100.0
    }
}
