//! The keys of a config file; each is a variable `RATCHET_..`, too.

use std::time::Duration;

use ratchet_runtime::Durability;
use ratchet_runtime::journal::Retention;
use ratchet_runtime::process::Prefetch;

use super::Settings;
use crate::document::{
    AnyByteSize, ByteSize, ClapWord, Count, Either, PositiveDuration, PositiveNumber, Spanned,
    section, words,
};
use crate::environment::UserEnvironment;
use crate::job_file::PlainHint;
use crate::report::ResultFormat;
use crate::style::When;
use crate::value::{Amount, show_duration, show_size};

section! {
    /// A config file.
    pub(crate) struct SettingsSpec("a config file") {
        /// How many jobs run at once.
        jobs: Count<1>,
        /// How many processes a kind of worker has.
        workers: Count<1>,
        /// How many requests lie in a worker's pipe beyond what it works on.
        prefetch: Prefetch,
        /// How long a job may take that says nothing.
        timeout: PositiveDuration,
        /// How often a job that says nothing is tried again.
        retries: Count<0>,
        /// How parallel a job may be that says nothing.
        hint: PlainHint,
        /// How long running jobs have after the first signal.
        grace: Duration,
        /// How long a run may take.
        deadline: PositiveDuration,
        /// How many jobs may fail before a run stops; 0 is any number.
        max_fail = "max-fail": Amount,
        /// New jobs wait while those that run use more memory.
        memory_limit = "memory-limit": ByteSize,
        /// New jobs wait while the machine has less free memory.
        memory_free = "memory-free": ByteSize,
        /// New jobs wait while the machine's load is above this.
        load: PositiveNumber,
        /// How results are written.
        format: ClapWord<ResultFormat>,
        /// Whether it is shown how far a run is.
        progress: ClapWord<When>,
        /// Whether colours are used.
        color: ClapWord<When>,
        /// Where runs are recorded.
        state_dir = "state-dir": String,
        /// Where results are kept.
        cache_dir = "cache-dir": String,
        /// How soon the record of a run is safe from a power cut.
        durability: Durability,
        /// How long a run is kept after it was last written to; 0s is for ever.
        keep_age = "keep-age": Duration,
        /// How many runs are kept; 0 is any number.
        keep_runs = "keep-runs": Count<0>,
        /// How much room the records of runs may take; 0B is any.
        keep_size = "keep-size": AnyByteSize,
        /// Where the log is written.
        log_file = "log-file": String,
        /// Folders whose settings and records are used, whoever may write them; only in the user's own config file.
        trust: Either<String, Vec<Spanned<String>>>,
    }
}

words! { Durability { None = "none", Batch = "batch", Each = "each" }; }

/// The variable of a key.
pub(super) fn variable(key: &str) -> String {
    format!("RATCHET_{}", key.to_ascii_uppercase().replace('-', "_"))
}

/// How much is kept of runs where nothing is set.
fn kept(key: &str) -> String {
    let usual = Retention::default();
    let kept = match key {
        "keep-age" => usual.age.map(show_duration),
        "keep-runs" => usual.runs.map(|runs| runs.to_string()),
        _ => usual.size.map(show_size),
    };
    kept.unwrap_or_else(|| "0 (no limit)".to_owned())
}

/// What holds where nothing is set, for people.
pub(super) fn default(key: &str, settings: &Settings, environment: &UserEnvironment) -> String {
    let folder = match key {
        "state-dir" => settings.state_dir(environment),
        "cache-dir" => settings.cache_dir(environment),
        _ => {
            return match key {
                "jobs" => match std::thread::available_parallelism() {
                    Ok(cores) => format!("{cores} (the cores)"),
                    Err(_) => "1".to_owned(),
                },
                "workers" => "as many as jobs".to_owned(),
                "prefetch" | "progress" | "color" => "auto".to_owned(),
                "retries" => "0".to_owned(),
                "hint" => "fully_parallel".to_owned(),
                "grace" => "10s".to_owned(),
                "max-fail" => "0 (run everything)".to_owned(),
                "format" => "human on a terminal, else jsonl".to_owned(),
                "durability" => "batch".to_owned(),
                "keep-age" | "keep-runs" | "keep-size" => kept(key),
                "log-file" => "stderr".to_owned(),
                "trust" => "what only you and root may write".to_owned(),
                _ => "none".to_owned(),
            };
        }
    };
    folder.map_or_else(
        |_| "none: HOME is not set".to_owned(),
        |folder| folder.display().to_string(),
    )
}
