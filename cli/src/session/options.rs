//! The options of a run: each is the flag, else the setting, else the default.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ratchet_resilience::shutdown::Grace;
use ratchet_runtime::journal::Retention;
use ratchet_runtime::monitor::AdmissionLimits;
use ratchet_runtime::process::{MemoryLimits, Prefetch, Size};
use ratchet_runtime::{BreakerConfig, CacheTerms, Durability, MaxFailures, Timeouts};

use super::hosts::HostFlags;
use super::system_limits;
use super::terminal::TerminalUse;
use crate::args::record::RecordArguments;
use crate::args::shared_run::SharedRunArguments;
use crate::args::stop::FlakyResult;
use crate::args::terms::{CacheMode, TermsArguments, TypedHint, TypedTimeout};
use crate::environment::UserEnvironment;
use crate::error::CliError;
use crate::folders::CacheOwner;
use crate::job_count::JobCount;
use crate::job_file::{PartialRetry, PartialTerms, PoolDefaults, Resources};
use crate::report::ResultFormat;
use crate::settings::Settings;
use crate::style::{Style, When};
use crate::value::Amount;

/// The least time that a job has to stop after it was asked to.
const LEAST_GRACE: Duration = Duration::from_secs(1);

/// The default time for running jobs to finish after the first signal.
const DEFAULT_GRACE: Duration = Duration::from_secs(10);

/// The options of a run.
#[derive(Debug)]
pub(crate) struct RunOptions {
    /// How many jobs may run at once.
    pub(crate) slots: u32,
    /// The file with the number of jobs, if that may change during the run.
    pub(super) slots_file: Option<PathBuf>,
    /// The user of the terminal.
    pub(crate) terminal: TerminalUse,
    /// The hosts that flags name.
    pub(crate) hosts: HostFlags,
    /// How many jobs may run at once on all machines together, if a flag sets it.
    pub(crate) total_slots: Option<u32>,
    /// How many workers a pool has if its worker does not set it.
    pub(crate) workers: u32,
    /// How many requests may wait in the pipe of a worker, for pools that do not set it.
    pub(crate) prefetch: Option<Prefetch>,
    /// The resources of flags.
    pub(crate) resources: Resources,
    /// The limits of memory and load within which new jobs start.
    pub(crate) admission: AdmissionLimits,
    /// The terms of jobs, as flags set them.
    pub(crate) flags: PartialTerms,
    /// The terms of jobs, as settings set them.
    pub(crate) settings: PartialTerms,
    /// The breaker of flags.
    pub(crate) breaker: Option<BreakerConfig>,
    /// Whether cached results are used, replaced or ignored.
    pub(crate) cache: CacheMode,
    /// The folder of the cache, if there is one.
    pub(crate) cache_dir: Option<PathBuf>,
    /// Whether the owners of cache files are checked.
    pub(crate) cache_owner: CacheOwner,
    /// How the run ends if jobs are flaky.
    pub(crate) flaky: FlakyResult,
    /// How many failed jobs stop the run.
    pub(crate) max_failures: Option<MaxFailures>,
    /// How long the run may take in all.
    pub(crate) deadline: Option<Duration>,
    /// How long running jobs have to finish after the first signal.
    pub(crate) grace: Duration,
    /// The format of results.
    pub(crate) format: Option<ResultFormat>,
    /// The file that takes results instead of stdout.
    pub(crate) output: Option<PathBuf>,
    /// Whether results are written in the order of the jobs.
    pub(crate) keep_order: bool,
    /// When progress is shown.
    pub(crate) progress: When,
    /// When text is coloured.
    pub(crate) color: When,
    /// Whether only errors are written to stderr.
    pub(crate) quiet: bool,
    /// How often `--verbose` was given.
    pub(crate) verbose: u8,
    /// The file that takes the log instead of stderr.
    pub(crate) log_file: Option<PathBuf>,
    /// The file that takes the events of the run.
    pub(crate) events: Option<PathBuf>,
    /// Whether the summary for a GitHub workflow is written.
    pub(crate) github: When,
    /// Whether no record of the run is made.
    pub(crate) no_record: bool,
    /// Arguments that were not typed and are recorded with the run, so that `resume` has them.
    pub(super) chosen_arguments: Vec<OsString>,
    /// The folder for the records of runs, if there is one.
    pub(crate) state_dir: Option<PathBuf>,
    /// The folder that a flag names, which has to be given again to resume the run.
    pub(crate) typed_state_dir: Option<PathBuf>,
    /// The failures of the system that a recorded outcome survives.
    pub(crate) durability: Durability,
    /// The records that are kept when the run ends.
    pub(crate) retention: Retention,
}

impl RunOptions {
    /// Takes each option from its flag, else from its setting, else from its default.
    pub(crate) fn of(
        typed: &SharedRunArguments,
        record: &RecordArguments,
        hosts: HostFlags,
        settings: &Settings,
        environment: &UserEnvironment,
    ) -> Result<Self, CliError> {
        let SharedRunArguments {
            concurrency,
            hosts: typed_hosts,
            terms,
            stop,
            output,
            display,
        } = typed;
        let resolve = |jobs: &JobCount| jobs.resolve(cores(), system_limits::most_jobs);
        let typed_slots = match &concurrency.jobs {
            Some(jobs) => Some(resolve(jobs)?),
            None => hosts.local_slots,
        };
        let slots = match (typed_slots, settings.jobs()) {
            (Some(slots), _) => slots,
            (None, Some(jobs)) => resolve(jobs)?,
            (None, None) => cores(),
        };
        let workers = concurrency.workers.or(settings.workers());
        let typed_state_dir = record.state.state_dir.clone();
        let state_dir = match &typed_state_dir {
            Some(folder) => Some(folder.clone()),
            None => settings.state_dir(environment).ok(),
        };
        let cache_dir = match &typed_state_dir {
            Some(folder) => Some(folder.join("cache")),
            None => settings.cache_dir(environment).ok(),
        };
        Ok(Self {
            slots,
            slots_file: match &concurrency.jobs {
                Some(JobCount::File(path)) => Some(path.clone()),
                _ => None,
            },
            terminal: TerminalUse::Progress,
            workers: workers.map_or(slots, NonZeroU32::get),
            prefetch: concurrency.prefetch.or(settings.prefetch()),
            resources: concurrency.resource.clone(),
            admission: AdmissionLimits {
                memory_free: concurrency.memory_free.or(settings.memory_free()),
                load: concurrency.load.or(settings.load_limit()),
                memory_limit: concurrency.memory_limit.or(settings.memory_limit()),
            },
            flags: PartialTerms {
                on: hosts.on.clone(),
                ..typed_terms(terms)
            },
            hosts,
            total_slots: typed_hosts.jobs_total.map(NonZeroU32::get),
            settings: settings.terms(),
            breaker: terms.breaker,
            cache: terms.cache.unwrap_or(CacheMode::On),
            cache_dir,
            cache_owner: CacheOwner::default(),
            flaky: stop.flaky.unwrap_or_default(),
            max_failures: stop
                .max_fail
                .or(settings.max_fail())
                .and_then(Amount::max_failures),
            deadline: stop.deadline.or(settings.deadline()),
            grace: stop.grace.or(settings.grace()).unwrap_or(DEFAULT_GRACE),
            format: output.format.or(settings.format()),
            output: output.output.clone(),
            keep_order: output.keep_order,
            progress: display
                .progress()
                .or(settings.progress())
                .unwrap_or_default(),
            color: display.color.or(settings.color()).unwrap_or_default(),
            quiet: display.quiet,
            verbose: display.verbose,
            log_file: display.log_file.clone().or_else(|| settings.log_file()),
            events: record.events.clone(),
            github: record.github,
            no_record: record.no_record,
            chosen_arguments: Vec::new(),
            state_dir,
            typed_state_dir,
            durability: settings.durability().unwrap_or_default(),
            retention: settings.retention(),
        })
    }

    /// Returns the folder of the cache, unless no result may be taken from it or put into it.
    pub(super) fn used_cache_dir(&self) -> Option<&Path> {
        self.cache_dir
            .as_deref()
            .filter(|_| self.cache != CacheMode::Off)
    }

    /// Returns the settings of pools whose workers do not set them.
    pub(crate) fn pool_defaults(&self) -> PoolDefaults {
        PoolDefaults {
            size: Some(Size::between(1, self.workers)),
            prefetch: self.prefetch,
            grace: Some(self.grace),
        }
    }

    /// Returns the style of text on stderr.
    pub(crate) fn stderr_style(&self) -> Style {
        Style::of_stderr(self.color)
    }

    /// Whether results are written as lines for people to the terminal.
    pub(crate) fn writes_results_for_people(&self) -> bool {
        self.output.is_none()
            && io::stdout().is_terminal()
            && matches!(self.format, None | Some(ResultFormat::Human))
    }

    /// Gives the terminal to the jobs, one at a time. Progress is shown only if that was asked for.
    pub(super) fn leave_terminal_to_jobs(&mut self) {
        self.terminal = TerminalUse::Job;
        self.slots = 1;
        self.hide_progress();
    }

    /// Keeps the terminal for questions. Progress is shown only if that was asked for.
    pub(super) fn leave_terminal_to_questions(&mut self) {
        self.terminal = TerminalUse::Questions;
        self.hide_progress();
    }

    /// Turns off progress, unless that was asked for.
    fn hide_progress(&mut self) {
        if self.progress == When::Auto {
            self.progress = When::Never;
        }
    }

    /// Returns the folder in which the run is recorded.
    pub(super) fn state_dir(&self) -> Result<PathBuf, CliError> {
        match &self.state_dir {
            Some(folder) => Ok(folder.clone()),
            None => Err(CliError::usage(
                "there is no place to record this run: neither HOME nor XDG_STATE_HOME is set to a folder",
            )
            .with_help(
                "set one of them or RATCHET_STATE_DIR, use --state-dir, or use --no-record, which makes a run that cannot be resumed",
            )),
        }
    }

    /// Returns how long each phase of a stop takes.
    pub(crate) fn phases(&self) -> Grace {
        let usual = Grace::default();
        Grace {
            draining: self.grace,
            // A shorter grace also shortens the time to obey, but not to zero.
            cancelling: self.grace.clamp(LEAST_GRACE, usual.cancelling),
            ..usual
        }
    }
}

/// Returns the default of how many jobs run at once.
pub(crate) fn cores() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    u32::try_from(cores).unwrap_or(u32::MAX)
}

fn typed_terms(terms: &TermsArguments) -> PartialTerms {
    let cache = matches!(terms.cache, Some(CacheMode::On | CacheMode::Refresh));
    PartialTerms {
        resources: terms.uses.as_ref().map(|uses| uses.0.clone()),
        hint: match &terms.hint {
            Some(TypedHint::Same(hint)) => Some(hint.clone()),
            Some(TypedHint::Template(_)) | None => None,
        },
        limits: (!terms.limit.is_empty())
            .then(|| terms.limit.iter().map(|typed| typed.name.clone()).collect()),
        timeouts: match terms.timeout {
            Some(TypedTimeout::Fixed(limit)) => Some(Timeouts::after(limit)),
            Some(TypedTimeout::OfMedian(_)) | None => None,
        },
        slow: terms.slow,
        memory: terms.job_memory.map(|hard| MemoryLimits {
            soft: None,
            hard: Some(hard),
        }),
        retry: PartialRetry {
            max: terms.retries,
            ..PartialRetry::default()
        },
        cache: cache.then(|| CacheTerms::On {
            inputs: Vec::new(),
            env: Vec::new(),
            ttl: None,
        }),
        ..PartialTerms::default()
    }
}
