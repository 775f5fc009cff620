//! A run from its jobs to its exit code: what `run`, `map` and `resume` have in common.
//!
//! ```text
//!        thread `jobs`          the loop                       thread `results`
//! file, stdin --Feed--> Executor --outcomes--> Delivery --> Recipient (a report, or what commands print)
//!                        |    |                                |
//!                 workers    journal                     Summary, Digest
//! ```
//!
//! Jobs are read and results are written on threads of their own, so that the loop, which hears signals
//! and minds the workers, waits for neither.

mod delivery;
mod feed;
mod log;
mod record;
mod rules;
mod screen;
mod signals;

use std::collections::HashSet;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Duration;

use ratchet_caching::{DiskCache, DiskOptions, TaskCache};
use ratchet_runtime::journal::Source;
use ratchet_runtime::monitor::{Admission, Admit, Gate, Monitor, Probe, Sampler};
use ratchet_runtime::process::{Keeper, LocalProcesses, ProcessPool, ProcessSupervisor};
use ratchet_runtime::summary::Counts;
use ratchet_runtime::{
    Executor, ExecutorBuilder, Halt, Limit, MaxFailures, Ordering, Resume, Run, RunHandle, Service,
    Stopped, TaskName, Work,
};
use tokio::time::Instant;

use crate::args::terms::CacheMode;
use crate::error::CliError;
use crate::exit::{self, Reached, RunEnd};
use crate::job_file::{Options, Served, WorkerPlan};
use crate::map::{HaltRule, MapRunner, Verdict};
use crate::progress::{Display, Progress};
use crate::report::Style;
use crate::settings::{Settings, Surroundings};
use delivery::{Delivered, Delivery};
use feed::Gone;
use record::Record;
use signals::Heard;

pub(crate) use delivery::Recipient;
pub(crate) use feed::Feed;
pub(crate) use record::{Again, source_of};
pub(crate) use rules::{Rules, Typed, cores};
pub(crate) use screen::Screen;

/// How many outcomes are handed over together.
const BATCH: usize = 256;

/// How often the machine is looked at, where new jobs depend on how it is.
const LOOK: Duration = Duration::from_secs(1);

/// How long results may take to be written after the third signal.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A run that is about to begin.
pub(crate) struct Session {
    pub(crate) rules: Rules,
    pub(crate) screen: Screen,
    surroundings: Surroundings,
    again: Option<Again>,
    display: Display,
}

/// What is to be done.
pub(crate) struct Errand {
    pub(crate) feed: Feed,
    pub(crate) source: Option<Source>,
    pub(crate) workers: Vec<WorkerPlan>,
    pub(crate) limits: Vec<(String, Limit)>,
    pub(crate) recipient: Box<dyn Recipient>,
    /// Who runs commands, if not the executor.
    pub(crate) commander: Option<MapRunner>,
    pub(crate) keeper: Keeper,
    pub(crate) halt: Option<HaltRule>,
}

/// How a run went.
struct Went {
    delivered: Delivered,
    stopped: Option<Stopped>,
    /// As many successes as were wanted.
    reached: bool,
    fed: Result<(), CliError>,
    differences: Option<Gone>,
}

impl Session {
    /// Reads the settings, and begins to log.
    pub(crate) fn open(typed: &Typed<'_>, again: Option<Again>) -> Result<Self, CliError> {
        let surroundings = Surroundings::current().map_err(|source| CliError::Read {
            path: ".".into(),
            source,
        })?;
        let settings = Settings::load(&surroundings)?;
        let rules = Rules::of(typed, &settings, &surroundings);
        let stderr = io::stderr().is_terminal();
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let display = Display::decide(rules.progress, rules.quiet, stderr, dumb);
        let progress = Progress::new(
            display,
            rules.err_style(),
            !rules.is_for_people(),
            Instant::now().into_std(),
        );
        let screen = Screen::new(progress);
        log::begin(&rules, &screen)?;
        Ok(Self {
            rules,
            screen,
            surroundings,
            again,
            display,
        })
    }

    /// What a job file is read with.
    pub(crate) fn options(&self) -> Options {
        Options {
            flags: self.rules.flags.clone(),
            settings: self.rules.settings.clone(),
            worker: None,
            pools: self.rules.pools(),
            slots: Some(self.rules.slots),
        }
    }

    /// Runs it all, and says how it ended by an exit code.
    pub(crate) fn perform(self, errand: Errand) -> Result<u8, CliError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| CliError::Internal(format!("there is no event loop: {error}")))?;
        let code = runtime.block_on(self.run(errand));
        // Whoever is stuck in a system call of ours is not waited for.
        runtime.shutdown_background();
        code
    }

    async fn run(self, errand: Errand) -> Result<u8, CliError> {
        let Self {
            rules,
            screen,
            surroundings,
            again,
            display,
        } = self;
        let began = Instant::now();
        let mut heard = Heard::install()?;
        let resumed = again.is_some();
        let record = Record::begin(&rules, &surroundings.folder, errand.source.clone(), again)?;
        let (record, earlier) = match record {
            None => (None, None),
            Some((record, history)) => {
                let source = errand.source.as_ref();
                let resume = history.map(|history| Resume::new(Arc::new(history), source));
                (Some(record), resume)
            }
        };

        let processes = LocalProcesses::with_keeper(Some(errand.keeper.clone()));
        let supervisor = ProcessSupervisor::start(Arc::new(processes));
        let mut builder = executor(&rules, errand.limits, errand.halt).keeper(errand.keeper);
        let mut pools = Vec::new();
        for worker in needed(errand.workers, &errand.feed) {
            let pool = supervisor.add(worker.pool).await?;
            builder = builder.pool(pool.clone(), services(worker.serves));
            pools.push(pool);
        }
        if let Some(commander) = errand.commander {
            builder = builder.command_runner(commander);
        }
        if let Some(record) = &record {
            builder = builder.ledger(Arc::clone(&record.journal));
        }
        if display != Display::None {
            builder = builder.sink(screen.clone());
        }
        let executor = builder.build()?;
        let probe = probe(&rules.admission)?;
        let (run, fed) = errand.feed.begin(&executor, earlier)?;
        let handle = run.handle();
        if let Some(probe) = probe {
            admit(rules.admission, probe, handle.clone())?;
        }
        if display != Display::None {
            tokio::spawn(screen.clone().tick());
        }
        heard.attend(handle.clone(), &rules, &screen);
        let delivery = Delivery::begin(errand.recipient)?;
        tokio::spawn(stop_when(delivery.failed(), handle.clone()));

        let goal = errand.halt.filter(HaltRule::is_goal);
        let consuming = async {
            let (stopped, reached) = consume(run, &delivery, goal).await;
            let restarts = restarts(&pools).await;
            let peak = handle.status().peak as u64;
            let delivered = delivery.end(began.elapsed(), peak, restarts).await?;
            let (fed, differences) = fed.end();
            Ok::<_, CliError>(Went {
                delivered,
                stopped,
                reached,
                fed,
                differences,
            })
        };
        let went = tokio::select! {
            went = consuming => Some(went?),
            () = heard.third(LAST_WORDS) => None,
        };
        if went.as_ref().is_some_and(|went| went.stopped.is_none()) {
            tokio::select! {
                () = supervisor.shutdown() => {}
                // What is left is killed when this process ends.
                () = heard.next() => {}
            }
        }
        // It has the journal, too, which is to be closed.
        drop(executor);
        screen.finish();
        let Some(went) = went else {
            let rerun = record.as_ref().map(|record| record.rerun(&rules));
            screen.say(&interrupted(rerun.as_deref()));
            return Ok(heard.code().unwrap_or(exit::INTERNAL));
        };
        conclude(went, &heard, &rules, &screen, record, resumed)
    }
}

/// The executor, but for its pools.
fn executor(
    rules: &Rules,
    limits: Vec<(String, Limit)>,
    halt: Option<HaltRule>,
) -> ExecutorBuilder {
    let mut builder = Executor::builder()
        .slots(rules.slots)
        .needs_are_checked()
        .grace(rules.phases());
    for (name, limit) in limits {
        builder = builder.limit(name, limit);
    }
    if let Some((rule, how)) = halt.and_then(HaltRule::on_failures) {
        builder = builder.halt(rule, how);
    } else if let Some(rule) = rules.max_failures {
        builder = builder.max_failures(rule);
    }
    if let Some(deadline) = rules.deadline {
        builder = builder.deadline(deadline);
    }
    if rules.keep_order {
        builder = builder.ordering(Ordering::Submission);
    }
    if let Some(folder) = &rules.cache_dir {
        let cache = || TaskCache::new(Arc::new(DiskCache::new(DiskOptions::at(folder))));
        match rules.cache {
            CacheMode::On => builder = builder.cache(cache()),
            CacheMode::Refresh => builder = builder.refresh_cache(cache()),
            CacheMode::Off => {}
        }
    }
    builder
}

/// The workers that jobs ask for, where that is known.
fn needed(workers: Vec<WorkerPlan>, feed: &Feed) -> Vec<WorkerPlan> {
    let Feed::List(jobs) = feed else {
        return workers;
    };
    let tasks: HashSet<&TaskName> = jobs
        .iter()
        .filter_map(|job| match &job.work {
            Work::Task { task, .. } => Some(task),
            _ => None,
        })
        .collect();
    let is_needed = |worker: &WorkerPlan| match &worker.serves {
        Served::Everything => !tasks.is_empty(),
        Served::Tasks(served) => served.iter().any(|task| tasks.contains(task)),
    };
    workers.into_iter().filter(is_needed).collect()
}

fn services(serves: Served) -> Vec<Service> {
    match serves {
        Served::Everything => Vec::new(),
        Served::Tasks(tasks) => tasks.into_iter().map(Service::new).collect(),
    }
}

/// What looks at the machine, if that is wanted; refuses what will never be.
fn probe(admission: &Admission) -> Result<Option<Sampler>, CliError> {
    if *admission == Admission::default() {
        return Ok(None);
    }
    let unsupported = |error: ratchet_runtime::monitor::MonitorError| {
        CliError::usage(error.to_string())
            .hint("leave out --memory-limit, --memory-free and --load")
    };
    let mut sampler = Sampler::new().map_err(unsupported)?;
    match admission.never(&sampler.read()) {
        Some(shortage) => Err(CliError::usage(format!(
            "no job would ever start: {shortage}"
        ))),
        None => Ok(Some(sampler)),
    }
}

/// Holds new jobs back while the machine is short of something.
fn admit(admission: Admission, probe: Sampler, handle: RunHandle) -> Result<(), CliError> {
    let monitor =
        Monitor::new(probe, LOOK).map_err(|error| CliError::Internal(error.to_string()))?;
    let mut gate = Gate::new(admission);
    handle.hold(Some("the machine is looked at".to_owned()));
    tokio::spawn(monitor.watch(move |reading| {
        let running = handle.status().running as u64;
        handle.hold(match gate.decide(reading, running) {
            Admit::Go => None,
            Admit::Hold(shortage) => Some(shortage.to_string()),
        });
    }));
    Ok(())
}

async fn stop_when(failed: impl Future<Output = ()>, handle: RunHandle) {
    failed.await;
    handle.cancel();
}

/// Takes outcomes to the last. Says why there were no more, if it was before all jobs were done, and
/// whether that is because there were enough.
async fn consume(
    mut run: Run,
    delivery: &Delivery,
    goal: Option<HaltRule>,
) -> (Option<Stopped>, bool) {
    let mut counts = Counts::default();
    let mut reached = false;
    loop {
        let mut batch = Vec::with_capacity(BATCH);
        if run.next_many(&mut batch, BATCH).await == 0 {
            return (run.stopped().cloned(), reached);
        }
        if let Some(rule) = goal.filter(|_| !reached) {
            delivery::count(&mut counts, &batch);
            if rule.judge(&counts) == Verdict::GoodEnough {
                reached = true;
                if rule.now {
                    run.handle().cancel();
                } else {
                    run.handle().drain();
                }
            }
        }
        delivery.send(batch).await;
    }
}

/// How many workers were started in the place of one that had failed.
async fn restarts(pools: &[ProcessPool]) -> u64 {
    let mut restarts = 0;
    for pool in pools {
        if let Ok(metrics) = pool.metrics().await {
            let failures: u64 = metrics.failures.values().sum();
            restarts += failures.min(metrics.spawned.saturating_sub(1));
        }
    }
    restarts
}

/// What is said at the end, and the exit code.
fn conclude(
    went: Went,
    heard: &Heard,
    rules: &Rules,
    screen: &Screen,
    record: Option<Record>,
    resumed: bool,
) -> Result<u8, CliError> {
    let Went {
        delivered,
        stopped,
        reached,
        fed,
        differences,
    } = went;
    let summary = delivered
        .summary
        .unwrap_or_else(|| ratchet_runtime::summary::Tally::default().summary(Duration::ZERO));
    let rerun = record.as_ref().map(|record| record.rerun(rules));
    let end = end(stopped.as_ref(), reached, heard);
    let nobody_reads = matches!(&delivered.result, Err(error) if error.is_broken_pipe());
    let is_done = matches!(end, Ok(RunEnd::Done)) && delivered.result.is_ok() && fed.is_ok();
    let kept = record.map_or(Ok(()), |record| record.end(&summary, is_done));
    if let Some(differences) = differences.filter(|_| resumed && !rules.quiet) {
        screen.say(&told(differences));
    }
    let wants_digest = !rules.quiet && summary.total > 0 && !nobody_reads;
    let is_interrupted = matches!(end, Ok(RunEnd::Interrupted | RunEnd::Terminated));
    if wants_digest {
        let rerun = rerun.as_deref().filter(|_| !is_interrupted);
        let text = delivered.digest.render(&summary, rules.err_style(), rerun);
        screen.say(&text);
    }
    if is_interrupted {
        screen.say(&interrupted(rerun.as_deref()));
    } else if let Ok(RunEnd::Rule(Reached::Limit)) = end
        && let Some(stopped) = &stopped
    {
        screen.say(&format!("ratchet: stopped early: {stopped}\n"));
    }
    if !nobody_reads {
        delivered.result?;
    }
    fed?;
    kept?;
    let end = match end? {
        RunEnd::Done | RunEnd::Rule(Reached::Limit) if nobody_reads => RunEnd::NobodyReads,
        end => end,
    };
    Ok(exit::of_run(end, &summary.counts))
}

fn end(stopped: Option<&Stopped>, reached: bool, heard: &Heard) -> Result<RunEnd, CliError> {
    if let Some(end) = heard.end() {
        return Ok(end);
    }
    match stopped {
        Some(Stopped::Failures { .. } | Stopped::Deadline) => Ok(RunEnd::Rule(Reached::Limit)),
        Some(Stopped::Ledger { reason }) => Err(CliError::Unrecorded(reason.clone())),
        Some(_) if reached => Ok(RunEnd::Rule(Reached::Goal)),
        // It is also asked to stop where nobody reads.
        None | Some(Stopped::Asked) => Ok(RunEnd::Done),
        Some(other) => Err(CliError::Internal(other.to_string())),
    }
}

fn interrupted(rerun: Option<&str>) -> String {
    match rerun {
        Some(rerun) => format!("ratchet: interrupted; go on with: {rerun}\n"),
        None => "ratchet: interrupted\n".to_owned(),
    }
}

/// How the jobs of now differ from those of before.
fn told((differences, gone): Gone) -> String {
    let mut parts = vec![format!("{} had succeeded before", differences.kept)];
    for (count, what) in [
        (differences.failed, "had failed"),
        (differences.not_ended, "had not ended"),
        (differences.changed, "changed since"),
        (differences.new, "new"),
        (gone, "no longer there"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    }
    format!("ratchet: of the jobs, {}\n", parts.join(", "))
}

impl Rules {
    /// How texts look on stderr.
    pub(crate) fn err_style(&self) -> Style {
        Style::decide(self.color, io::stderr().is_terminal(), |name| {
            std::env::var_os(name)
        })
    }
}

impl HaltRule {
    /// Whether it waits for successes.
    fn is_goal(&self) -> bool {
        matches!(self.limit, crate::map::Limit::Successes(_))
    }

    /// The rule of failures that an executor keeps.
    fn on_failures(self) -> Option<(MaxFailures, Halt)> {
        let crate::map::Limit::Failures(amount) = self.limit else {
            return None;
        };
        let how = if self.now { Halt::Now } else { Halt::Soon };
        Some((rules::max_failures(amount)?, how))
    }
}
