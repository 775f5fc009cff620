//! The keys of a config file. For each key there is also a variable `RATCHET_..`.

use std::time::Duration;

use ratchet_runtime::journal::Retention;
use ratchet_runtime::process::Prefetch;
use ratchet_runtime::{Durability, resource_variable};

use super::Settings;
use super::module_hints::ModuleHints;
use crate::document::{
    AnyByteSize, ByteSize, ClapWord, Count, Either, PositiveDuration, PositiveNumber, Section as _,
    Spanned, section,
};
use crate::environment::UserEnvironment;
use crate::job_count::JobCount;
use crate::job_file::PlainHint;
use crate::report::ResultFormat;
use crate::style::When;
use crate::trust::TRUST_VARIABLE;
use crate::value::{Amount, show_duration, show_size};

section! {
    /// A config file.
    pub(crate) struct SettingsSpec("a config file") {
        /// How many jobs run at once: a number, `50%` of the cores, `+1` or `-1` beside them, or `0` for as many as the limits of
        /// open files and processes allow.
        jobs: JobCount,
        /// How many processes each kind of worker has.
        workers: Count<1>,
        /// How many requests may wait in the pipe of a worker, beyond those that it works on.
        prefetch: Prefetch,
        /// How long an attempt may take, for jobs that do not set it.
        timeout: PositiveDuration,
        /// How many attempts may follow a failed first one, for jobs that do not set it.
        retries: Count<0>,
        /// How parallel a job may be, for jobs that do not set it.
        hint: PlainHint,
        /// How parallel modules of playbooks may be: a map, as in `{my_module: host_exclusive}`, or `my_module=host_exclusive`.
        /// A `hints.yml` beside a playbook comes first.
        modules: ModuleHints,
        /// How long running jobs have to finish after the first signal.
        grace: Duration,
        /// How long a run may take.
        deadline: PositiveDuration,
        /// How many jobs may fail before a run stops; 0 is any number.
        max_fail = "max-fail": Amount,
        /// New jobs wait while the running ones use more memory than this.
        memory_limit = "memory-limit": ByteSize,
        /// New jobs wait while the machine has less free memory than this.
        memory_free = "memory-free": ByteSize,
        /// New jobs wait while the machine's load is above this.
        load: PositiveNumber,
        /// How results are written. `map` prints what its commands print, unless it gets `--format`.
        format: ClapWord<ResultFormat>,
        /// When progress is shown.
        progress: ClapWord<When>,
        /// When colours are used.
        color: ClapWord<When>,
        /// The folder for the records of runs.
        state_dir = "state-dir": String,
        /// The folder for cached results.
        cache_dir = "cache-dir": String,
        /// When the record of a run is safe from a power cut.
        durability: Durability,
        /// How long the record of a run is kept after the last write; 0s is for ever.
        keep_age = "keep-age": Duration,
        /// How many records of runs are kept; 0 is any number.
        keep_runs = "keep-runs": Count<0>,
        /// How much space the records of runs may take; 0B is any.
        keep_size = "keep-size": AnyByteSize,
        /// The server of the queue of `node`, `submit`, `queue` and `run --queue`, as in redis://HOST:6379/.
        queue: String,
        /// With what the keys of the queue begin on its server, where several queues can be.
        queue_prefix = "queue-prefix": String,
        /// The file with the password of that server.
        queue_password_file = "queue-password-file": String,
        /// The file with the certificates (PEM) of the authorities that may have signed that of the server, for rediss://.
        queue_ca_file = "queue-ca-file": String,
        /// The file for the log.
        log_file = "log-file": String,
        /// Folders whose settings and records are used, whoever may write them. Only the user's own config file may set
        /// it.
        trust: Either<String, Vec<Spanned<String>>>,
    }
}

/// The variable with the password of the server of a queue.
pub(crate) const PASSWORD_VARIABLE: &str = "RATCHET_QUEUE_PASSWORD";

/// Returns the name of the variable of a key.
pub(super) fn variable(key: &str) -> String {
    format!("RATCHET_{}", key.to_ascii_uppercase().replace('-', "_"))
}

/// Returns the variable in which jobs would find their share of the resource of this name, if that is the variable of a
/// setting: a ratchet that a job starts would obey it.
pub(crate) fn variable_of_setting(resource: &str) -> Option<String> {
    let name = resource_variable(resource);
    let is_setting = SettingsSpec::keys().iter().any(|key| variable(key) == name);
    (is_setting || name == TRUST_VARIABLE).then_some(name)
}

/// Returns the default of a setting that limits how many runs are kept.
fn kept(key: &str) -> String {
    let usual = Retention::default();
    let kept = match key {
        "keep-age" => usual.age.map(show_duration),
        "keep-runs" => usual.runs.map(|runs| runs.to_string()),
        _ => usual.size.map(show_size),
    };
    kept.unwrap_or_else(|| "0 (no limit)".to_owned())
}

/// Returns the default of a setting in words.
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
                "queue-prefix" => "ratchet".to_owned(),
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
