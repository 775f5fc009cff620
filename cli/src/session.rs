//! A run from its jobs to its exit code: what `run`, `map` and `resume` have in common.
//!
//! ```text
//!        thread `jobs`          the loop                       thread `results`
//! file, stdin --Feed--> Executor --outcomes--> Delivery --> Recipient (a report, or what commands print)
//!                        |    |                                |
//!                 workers    journal                     Summary, Digest
//! ```
//!
//! Jobs are read and results are written on threads of their own, and so is all that is said to people
//! meanwhile: the loop, which hears signals and minds the workers, waits for nobody who writes or reads.

mod delivery;
mod ending;
mod feed;
mod inspection;
mod limits;
mod log;
mod record;
mod rules;
mod screen;
mod setting;
mod signals;
mod suspend;
mod terminal;

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Duration;

use ratchet_runtime::journal::Source;
use ratchet_runtime::process::{Keeper, LocalProcesses, ProcessPool, ProcessSupervisor};
use ratchet_runtime::summary::Counts;
use ratchet_runtime::{Limit, Run, RunHandle, Stopped};
use tokio::time::Instant;

use crate::args::common::CommonArguments;
use crate::args::record::RecordArguments;
use crate::error::CliError;
use crate::exit;
use crate::job_file::{Options, WorkerPlan};
use crate::map::{HaltRule, MapRunner, Verdict};
use crate::places::{CacheOwner, check_state};
use crate::progress::Display;
use crate::report::{Style, span};
use crate::settings::{Settings, Surroundings};
use delivery::{Closing, Delivered, Delivery};
use ending::{conclude, interrupted};
use feed::{Earlier, Gone};
use record::Record;
use setting::{admit, executor, needed, probe, staff};
use signals::Heard;

pub(crate) use delivery::Recipient;
pub(crate) use feed::Feed;
pub(crate) use record::{Again, source_of};
pub(crate) use rules::{Rules, cores};
pub(crate) use screen::Screen;
pub(crate) use terminal::TerminalUse;

/// How many outcomes are handed over together.
const BATCH: usize = 256;

/// How long results, and then what is said of them, may take to be written after the third signal.
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
    /// What is read from stdin, as the name of a file; nothing if nothing is.
    pub(crate) stdin: Option<&'static str>,
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
    pub(crate) fn open(
        typed: &CommonArguments,
        record: &RecordArguments,
        terminal: TerminalUse,
        again: Option<Again>,
    ) -> Result<Self, CliError> {
        let surroundings = Surroundings::current().map_err(|source| CliError::Read {
            path: ".".into(),
            source,
        })?;
        let settings = Settings::load(&surroundings)?;
        let mut rules = Rules::of(typed, record, &settings, &surroundings);
        if terminal == TerminalUse::Job {
            rules.leave_terminal_to_jobs();
        }
        let trust = settings.trust(&surroundings);
        if let Some(state) = rules.state_dir.as_ref().filter(|_| !rules.no_record) {
            check_state(&trust, state)?;
        }
        if let Some(cache) = &rules.cache_dir {
            trust.folder(cache)?;
            rules.cache_owner = CacheOwner::of(cache, &trust);
        }
        let stderr = io::stderr().is_terminal();
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let display = Display::decide(rules.progress, rules.quiet, stderr, dumb);
        let screen = Screen::new(display, rules.err_style(), !rules.is_for_people());
        log::begin(&rules, &screen)?;
        let fit = limits::prepare(rules.slots, rules.workers)?;
        if fit < rules.slots {
            if !rules.quiet {
                let slots = rules.slots;
                screen.say(&format!(
                    "ratchet: {fit} jobs run at once and not {slots}: the hard limit of open files is too low for more \
                     (`ulimit -Hn`)\n"
                ));
            }
            rules.slots = fit;
        }
        Ok(Self {
            rules,
            screen,
            surroundings,
            again,
            display,
        })
    }

    /// Whether it is shown how far the run is.
    pub(crate) fn shows_progress(&self) -> bool {
        self.display != Display::None
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
        let runtime = limits::event_loop()?;
        let code = runtime.block_on(self.run_shown(errand));
        // Whoever is stuck in a system call of ours is not waited for.
        runtime.shutdown_background();
        code
    }

    /// Runs it all, and waits until people have been told of it, if anybody reads that.
    async fn run_shown(self, errand: Errand) -> Result<u8, CliError> {
        let mut heard = Heard::install()?;
        suspend::install(self.screen.clone())?;
        let showing = self.screen.begin()?;
        let code = self.run(errand, &mut heard).await;
        tokio::select! {
            () = showing.end() => code,
            () = heard.third(LAST_WORDS) => Ok(heard.code().unwrap_or(exit::INTERNAL)),
        }
    }

    async fn run(self, errand: Errand, heard: &mut Heard) -> Result<u8, CliError> {
        let Self {
            rules,
            screen,
            surroundings,
            again,
            display,
        } = self;
        let began = Instant::now();
        let Errand {
            feed,
            source,
            stdin,
            workers,
            limits,
            recipient,
            commander,
            keeper,
            halt,
        } = errand;
        let resumed = again.is_some();
        let record = Record::begin(&rules, &surroundings.folder, source.clone(), stdin, again)?;
        let (record, earlier) = match record {
            None => (None, None),
            Some((record, history)) => {
                let earlier =
                    history.map(|history| Earlier::new(history, source.as_ref(), &record.journal));
                (Some(record), earlier)
            }
        };

        let start = async {
            let processes = LocalProcesses::with_keeper(Some(keeper.clone()));
            let supervisor = ProcessSupervisor::start(Arc::new(processes));
            let builder = executor(&rules, limits, halt).keeper(keeper);
            let needed = needed(workers, &feed);
            let (mut builder, pools) = staff(builder, &supervisor, needed).await?;
            if let Some(commander) = commander {
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
            let started = feed.begin(&executor, earlier, announcer(&screen))?;
            Ok::<_, CliError>((supervisor, executor, pools, probe, started))
        };
        let (supervisor, executor, pools, probe, (run, fed)) = match start.await {
            Ok(started) => started,
            Err(error) => {
                // Nothing has run, so there is nothing to go on with.
                if let Some(record) = record {
                    record.withdraw();
                }
                return Err(error);
            }
        };
        let handle = run.handle();
        if let Some(probe) = probe {
            admit(rules.admission, probe, handle.clone())?;
        }
        heard.attend(handle.clone(), &rules, &screen);
        let delivery = Delivery::begin(recipient)?;
        drain_when_unwritable(&delivery, &handle, &rules, &screen);

        let consuming = async {
            let (stopped, reached) = consume(run, &delivery, halt.filter(HaltRule::is_goal)).await;
            let closing = closing(&handle, &pools, began).await;
            let delivered = delivery.end(closing).await?;
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
        if went.is_some() {
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
        conclude(went, heard, &rules, &screen, record, resumed)
    }
}

/// Drains the run when its results cannot be written any more. Running jobs get the grace of any other stop: their
/// outcomes are recorded, and `resume` delivers them.
fn drain_when_unwritable(delivery: &Delivery, handle: &RunHandle, rules: &Rules, screen: &Screen) {
    let (failed, handle, grace) = (delivery.failed(), handle.clone(), rules.grace);
    let screen = (!rules.quiet).then(|| screen.clone());
    tokio::spawn(async move {
        let why = failed.await;
        handle.drain();
        if let Some(screen) = screen.filter(|_| handle.status().running > 0) {
            screen.say(&format!(
                "ratchet: {why}: no new jobs; what runs has {} to finish\n",
                span(grace)
            ));
        }
    });
}

/// Shows how many jobs a stream has, once that is known.
fn announcer(screen: &Screen) -> impl Fn(u64) + Send + use<> {
    let screen = screen.clone();
    move |total| screen.announce(total)
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

/// What there is to say of a run beside its outcomes, once it has ended.
async fn closing(handle: &RunHandle, pools: &[ProcessPool], began: Instant) -> Closing {
    let status = handle.status();
    Closing {
        restarts: restarts(pools).await,
        elapsed: began.elapsed(),
        peak: status.peak as u64,
        suspects: status.suspects,
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

impl Rules {
    /// How texts look on stderr.
    pub(crate) fn err_style(&self) -> Style {
        Style::of_stderr(self.color)
    }
}
