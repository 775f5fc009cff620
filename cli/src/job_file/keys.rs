//! The keys of a job file: what the check and the schema are made from.

mod terms;
mod worker;

pub(super) use self::terms::HINT;
use self::terms::{CACHE, COUNTS_AGAINST, PRIORITY, RETRY, SLOTS, TIMEOUT};
use self::worker::WORKER;
use crate::document::{Key, Section, Shape};

pub(crate) static FILE: Section = Section {
    name: "a job file",
    keys: &[
        VERSION,
        WORKERS,
        LIMITS,
        DEFAULTS,
        Key::new(
            "jobs",
            Shape::List(&Shape::Section(&JOB)),
            "What is to be done.",
        ),
    ],
};

/// The first line of a stream, where it is about all of them.
pub(crate) static HEADER: Section = Section {
    name: "the first line of a stream",
    keys: &[VERSION, WORKERS, LIMITS, DEFAULTS],
};

const VERSION: Key = Key::new("version", Shape::Version, "The version of the format: 1.");

const WORKERS: Key = Key::new(
    "workers",
    Shape::Map(&A_WORKER),
    "The kinds of workers, by name. A worker serves the task of its own name.",
);

static A_WORKER: Shape = Shape::Section(&WORKER);

static A_LIMIT: Shape = Shape::Section(&LIMIT);

const LIMITS: Key = Key::new(
    "limits",
    Shape::Map(&A_LIMIT),
    "Named limits that jobs count against.",
);

const DEFAULTS: Key = Key::new(
    "defaults",
    Shape::Section(&TERMS),
    "What holds where neither a job nor its worker says anything.",
);

pub(crate) static JOB: Section = Section {
    name: "a job",
    keys: &[
        Key::new(
            "id",
            Shape::Id,
            "Its name in results and in `needs`. Without one it has its number.",
        ),
        Key::new(
            "task",
            Shape::Text,
            "What to ask a worker for; either this or `run`.",
        ),
        Key::new(
            "run",
            Shape::Command,
            "A program to run once; either this or `task`. No shell sees it.",
        ),
        Key::new("input", Shape::Any, "What the worker gets: any value."),
        Key::new(
            "host",
            Shape::Id,
            "The machine, tenant or other place that it concerns.",
        ),
        Key::new(
            "needs",
            Shape::List(&Shape::Id),
            "The jobs that have to succeed first.",
        ),
        Key::new(
            "env",
            Shape::Map(&Shape::Plain),
            "Variables for the program of `run`, besides those that are there.",
        ),
        Key::new(
            "cwd",
            Shape::Text,
            "The folder for the program of `run`; the file's own by default.",
        ),
        HINT,
        COUNTS_AGAINST,
        SLOTS,
        PRIORITY,
        TIMEOUT,
        RETRY,
        CACHE,
    ],
};

/// What jobs, workers and defaults can all say.
pub(crate) static TERMS: Section = Section {
    name: "defaults",
    keys: &[HINT, COUNTS_AGAINST, SLOTS, PRIORITY, TIMEOUT, RETRY, CACHE],
};

pub(crate) static LIMIT: Section = Section {
    name: "a limit",
    keys: &[
        Key::new(
            "max",
            Shape::Count(1),
            "At most so many at a time; either this or `rate`.",
        ),
        Key::new(
            "rate",
            Shape::Frequency,
            "At most so many starts a time, as in 10/s; either this or `max`.",
        ),
        Key::new(
            "burst",
            Shape::Count(1),
            "With `rate`: how many may start together after a pause; 1 by default.",
        ),
    ],
};

#[cfg(test)]
mod tests {
    use super::terms::RETRYABLE;
    use super::*;
    use ratchet_runtime::{Class, ParallelizationHint, Priority};

    fn words(shape: Shape) -> &'static [&'static str] {
        match shape {
            Shape::Word(words) => words,
            Shape::Either([Shape::Word(words), ..]) => words,
            other => panic!("{other:?} has no words"),
        }
    }

    #[test]
    fn words_are_those_of_the_types() {
        let retryable = Class::ALL.into_iter().filter(|class| class.is_retryable());
        assert_eq!(retryable.map(Class::as_str).collect::<Vec<_>>(), RETRYABLE);
        for word in words(HINT.shape) {
            let read = word.parse::<ParallelizationHint>();
            assert!(read.is_ok() || *word == "rate_limited", "{word}");
        }
        let priorities = Priority::ALL.map(|priority| serde_json::to_value(priority).unwrap());
        assert_eq!(words(PRIORITY.shape), priorities);
    }
}
