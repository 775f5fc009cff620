//! What holds for a run: what was typed, else what was set, else the default.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use ratchet_resilience::shutdown::Grace;
use ratchet_runtime::journal::Retention;
use ratchet_runtime::monitor::Admission;
use ratchet_runtime::process::{Prefetch, Size};
use ratchet_runtime::{CacheTerms, Durability, MaxFailures, Timeouts};

use crate::args::common::CommonArguments;
use crate::args::display::When;
use crate::args::output::Format;
use crate::args::record::RecordArguments;
use crate::args::terms::{CacheMode, TermsArguments};
use crate::job_file::{PartialRetry, PartialTerms, PoolDefaults};
use crate::places::CacheOwner;
use crate::settings::{Settings, Surroundings};
use crate::value::Amount;

/// How long a job has at least that is asked to stop.
const MOMENT: Duration = Duration::from_secs(1);

/// How long running jobs have after the first signal, where nobody says it.
const GRACE: Duration = Duration::from_secs(10);

/// What holds.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) slots: u32,
    pub(crate) workers: u32,
    pub(crate) prefetch: Option<Prefetch>,
    pub(crate) admission: Admission,
    /// For jobs that say nothing: what was typed, and what was set.
    pub(crate) flags: PartialTerms,
    pub(crate) settings: PartialTerms,
    pub(crate) cache: CacheMode,
    pub(crate) cache_dir: Option<PathBuf>,
    pub(crate) cache_owner: CacheOwner,
    pub(crate) max_failures: Option<MaxFailures>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) grace: Duration,
    pub(crate) format: Option<Format>,
    pub(crate) output: Option<PathBuf>,
    pub(crate) keep_order: bool,
    pub(crate) progress: When,
    pub(crate) color: When,
    pub(crate) quiet: bool,
    pub(crate) verbose: u8,
    pub(crate) log_file: Option<PathBuf>,
    pub(crate) no_record: bool,
    /// Where runs are recorded, if there is a place.
    pub(crate) state_dir: Option<PathBuf>,
    /// It was typed, so whoever goes on with the run has to type it too.
    pub(crate) typed_state_dir: Option<PathBuf>,
    pub(crate) durability: Durability,
    /// Which runs are kept.
    pub(crate) retention: Retention,
}

impl Rules {
    pub(crate) fn of(
        typed: &CommonArguments,
        record: &RecordArguments,
        settings: &Settings,
        surroundings: &Surroundings,
    ) -> Self {
        let CommonArguments {
            crew,
            terms,
            stop,
            output,
            display,
        } = typed;
        let slots = crew
            .jobs
            .or(settings.jobs())
            .map_or_else(cores, NonZeroU32::get);
        let workers = crew.workers.or(settings.workers());
        let typed_state_dir = record.state.state_dir.clone();
        let state_dir = match &typed_state_dir {
            Some(folder) => Some(folder.clone()),
            None => settings.state_dir(surroundings).ok(),
        };
        let cache_dir = match &typed_state_dir {
            Some(folder) => Some(folder.join("cache")),
            None => settings.cache_dir(surroundings).ok(),
        };
        Self {
            slots,
            workers: workers.map_or(slots, NonZeroU32::get),
            prefetch: crew.prefetch.or(settings.prefetch()),
            admission: Admission {
                memory_free: crew.memory_free.or(settings.memory_free()),
                load: crew.load.or(settings.load_limit()),
                memory_limit: crew.memory_limit.or(settings.memory_limit()),
            },
            flags: typed_terms(terms),
            settings: settings.terms(),
            cache: terms.cache.unwrap_or(CacheMode::On),
            cache_dir,
            cache_owner: CacheOwner::default(),
            max_failures: stop.max_fail.or(settings.max_fail()).and_then(max_failures),
            deadline: stop.deadline.or(settings.deadline()),
            grace: stop.grace.or(settings.grace()).unwrap_or(GRACE),
            format: output.format.or(settings.format()),
            output: output.output.clone(),
            keep_order: output.keep_order,
            progress: display.progress.or(settings.progress()).unwrap_or_default(),
            color: display.color.or(settings.color()).unwrap_or_default(),
            quiet: display.quiet,
            verbose: display.verbose,
            log_file: display.log_file.clone().or_else(|| settings.log_file()),
            no_record: record.no_record,
            state_dir,
            typed_state_dir,
            durability: settings.durability().unwrap_or_default(),
            retention: settings.retention(),
        }
    }

    /// What holds for workers that say nothing of it.
    pub(crate) fn pools(&self) -> PoolDefaults {
        PoolDefaults {
            size: Some(Size::between(1, self.workers)),
            prefetch: self.prefetch,
            grace: Some(self.grace),
        }
    }

    /// The phases of a run that is asked to stop.
    pub(crate) fn phases(&self) -> Grace {
        let usual = Grace::default();
        Grace {
            draining: self.grace,
            // Who has less time to finish has no more to obey, but a moment for that.
            cancelling: self.grace.clamp(MOMENT, usual.cancelling),
            ..usual
        }
    }
}

/// How many slots there are where nobody says it.
pub(crate) fn cores() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    u32::try_from(cores).unwrap_or(u32::MAX)
}

fn typed_terms(terms: &TermsArguments) -> PartialTerms {
    let cache = matches!(terms.cache, Some(CacheMode::On | CacheMode::Refresh));
    PartialTerms {
        hint: terms.hint.clone(),
        timeouts: terms.timeout.map(Timeouts::after),
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

/// A rule of failures; 0 is any number.
pub(crate) fn max_failures(amount: Amount) -> Option<MaxFailures> {
    match amount {
        Amount::Count(0) => None,
        Amount::Count(count) => Some(MaxFailures::Count(count)),
        Amount::Percent(percent) if percent > 0.0 => Some(MaxFailures::percent(percent)),
        Amount::Percent(_) => None,
    }
}
