//! The keys of a config file; each is a variable `RATCHET_..`, too.

use ratchet_runtime::journal::Retention;

use super::{Settings, Surroundings};
use crate::document::{Key, Section, Shape};
use crate::value::{show_duration, show_size};

pub(crate) static SETTINGS: Section = Section {
    name: "a config file",
    keys: &[
        Key::new("jobs", Shape::Count(1), "How many jobs run at once."),
        Key::new(
            "workers",
            Shape::Count(1),
            "How many processes a kind of worker has.",
        ),
        Key::new(
            "prefetch",
            Shape::Prefetch,
            "How many requests lie in a worker's pipe beyond what it works on.",
        ),
        Key::new(
            "timeout",
            Shape::Span,
            "How long a job may take that says nothing.",
        ),
        Key::new(
            "retries",
            Shape::Count(0),
            "How often a job that says nothing is tried again.",
        ),
        Key::new(
            "hint",
            Shape::Word(&[
                "fully_parallel",
                "host_exclusive",
                "global_exclusive",
                "alone",
            ]),
            "How parallel a job may be that says nothing.",
        ),
        Key::new(
            "grace",
            Shape::Duration,
            "How long running jobs have after the first signal.",
        ),
        Key::new("deadline", Shape::Span, "How long a run may take."),
        Key::new(
            "max-fail",
            Shape::Amount,
            "How many jobs may fail before a run stops; 0 is any number.",
        ),
        Key::new(
            "memory-limit",
            Shape::Size,
            "New jobs wait while those that run use more memory.",
        ),
        Key::new(
            "memory-free",
            Shape::Size,
            "New jobs wait while the machine has less free memory.",
        ),
        Key::new(
            "load",
            Shape::Rate,
            "New jobs wait while the machine's load is above this.",
        ),
        Key::new(
            "format",
            Shape::Word(&["human", "jsonl", "json", "junit"]),
            "How results are written.",
        ),
        Key::new(
            "progress",
            Shape::Word(&["auto", "always", "never"]),
            "Whether it is shown how far a run is.",
        ),
        Key::new(
            "color",
            Shape::Word(&["auto", "always", "never"]),
            "Whether colours are used.",
        ),
        Key::new("state-dir", Shape::Text, "Where runs are recorded."),
        Key::new("cache-dir", Shape::Text, "Where results are kept."),
        Key::new(
            "durability",
            Shape::Word(&["none", "batch", "each"]),
            "How soon the record of a run is safe from a power cut.",
        ),
        Key::new(
            "keep-age",
            Shape::Duration,
            "How long a run is kept after it was last written to; 0s is for ever.",
        ),
        Key::new(
            "keep-runs",
            Shape::Count(0),
            "How many runs are kept; 0 is any number.",
        ),
        Key::new(
            "keep-size",
            Shape::Size,
            "How much room the records of runs may take; 0B is any.",
        ),
        Key::new("log-file", Shape::Text, "Where the log is written."),
        Key::new(
            "trust",
            Shape::Either(&[Shape::Text, Shape::List(&Shape::Text)]),
            "Folders whose settings and records are used, whoever may write them; only in the user's own config file.",
        ),
    ],
};

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
pub(super) fn default(key: &str, settings: &Settings, surroundings: &Surroundings) -> String {
    let folder = match key {
        "state-dir" => settings.state_dir(surroundings),
        "cache-dir" => settings.cache_dir(surroundings),
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
