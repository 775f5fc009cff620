//! The keys of a job file: what the check and the schema are made from.

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

pub(crate) static WORKER: Section = Section {
    name: "a worker",
    keys: &[
        Key::new(
            "command",
            Shape::Command,
            "What to start. No shell sees it.",
        )
        .required(),
        Key::new(
            "protocol",
            Shape::Word(&["ratchet", "lines"]),
            "`ratchet` (default), or `lines` for a filter that answers each line with a line.",
        ),
        Key::new(
            "input",
            Shape::Word(&["text", "json"]),
            "With `lines`: whether texts go out without quotes (`text`, default) or all as JSON.",
        ),
        Key::new(
            "output",
            Shape::Word(&["text", "json"]),
            "With `lines`: whether an answer is text (default) or JSON.",
        ),
        Key::new(
            "tasks",
            Shape::List(&Shape::Text),
            "The tasks it serves, if not the one of its own name.",
        ),
        Key::new(
            "size",
            Shape::Either(&[Shape::Count(1), Shape::Section(&SIZE)]),
            "How many of them there are.",
        ),
        Key::new(
            "env",
            Shape::Map(&Shape::Plain),
            "Variables for it, besides those that are there.",
        ),
        Key::new(
            "cwd",
            Shape::Text,
            "The folder it starts in; the file's own by default.",
        ),
        Key::new(
            "prefetch",
            Shape::Prefetch,
            "How many requests lie in its pipe beyond what it works on; `auto` by default.",
        ),
        Key::new(
            "concurrency",
            Shape::Count(1),
            "How many requests it works on at once, if that is not left to what it says.",
        ),
        Key::new(
            "handshake",
            Shape::Word(&["auto", "required", "none"]),
            "Whether it has to introduce itself; `auto` by default.",
        ),
        Key::new(
            "handshake_wait",
            Shape::Span,
            "How long its hello is waited for; 250ms by default.",
        ),
        Key::new(
            "start_timeout",
            Shape::Span,
            "How long it may take to be ready; 1m by default.",
        ),
        Key::new(
            "max_jobs",
            Shape::Count(1),
            "It is replaced after about so many jobs.",
        ),
        Key::new("ttl", Shape::Span, "It is replaced at this age."),
        Key::new(
            "idle_ttl",
            Shape::Span,
            "It is ended after so long without a job, down to the least size.",
        ),
        Key::new(
            "memory",
            Shape::Either(&[Shape::Size, Shape::Section(&MEMORY)]),
            "When it is killed for its memory (one figure, or `hard`), and when it is replaced (`soft`).",
        ),
        Key::new(
            "restart",
            Shape::Section(&RESTART),
            "How often it may fail before its kind is given up.",
        ),
        Key::new(
            "ping",
            Shape::Either(&[Shape::Just(false), Shape::Span]),
            "How often it is asked whether it lives, if it can answer; 30s by default.",
        ),
        Key::new(
            "grace",
            Shape::Duration,
            "How long it has for each step of ending; 5s by default.",
        ),
        Key::new(
            "stray",
            Shape::Word(&["log", "fail", "kill"]),
            "What output that is no message leads to; `log` by default.",
        ),
        Key::new(
            "max_message",
            Shape::Size,
            "The largest message, either way; 16MiB by default.",
        ),
        Key::new(
            "stderr",
            Shape::Size,
            "How much of its stderr is kept for when it dies; 16KiB by default.",
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

static SIZE: Section = Section {
    name: "a size",
    keys: &[
        Key::new("min", Shape::Count(0), "At least so many; 0 by default."),
        Key::new("max", Shape::Count(1), "At most so many.").required(),
        Key::new(
            "grow_after",
            Shape::Duration,
            "How old the oldest waiting job has to be for another one to start; 50ms by default.",
        ),
    ],
};

static MEMORY: Section = Section {
    name: "memory",
    keys: &[
        Key::new(
            "soft",
            Shape::Size,
            "It is replaced when a job has left it with more.",
        ),
        Key::new(
            "hard",
            Shape::Size,
            "It is killed when it has more, with all that it has started.",
        ),
    ],
};

static RESTART: Section = Section {
    name: "restart",
    keys: &[
        Key::new("max", Shape::Count(1), "So many failures..; 5 by default."),
        Key::new(
            "within",
            Shape::Span,
            "..within this time are too many; 10s by default.",
        ),
        Key::new(
            "base",
            Shape::Span,
            "The wait after a failed start, doubled for each that follows; 50ms by default.",
        ),
        Key::new("cap", Shape::Span, "The longest wait; 5s by default."),
    ],
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

static HINTS: [Shape; 2] = [
    Shape::Word(&[
        "fully_parallel",
        "host_exclusive",
        "rate_limited",
        "global_exclusive",
        "alone",
    ]),
    Shape::Section(&HINT_FIGURES),
];

const HINT: Key = Key::new("hint", Shape::Either(&HINTS), "How parallel it may be.");

static HINT_FIGURES: Section = Section {
    name: "a hint",
    keys: &[Key::new(
        "rate_limited",
        Shape::Section(&RATE_LIMITED),
        "At most so many starts a second.",
    )
    .required()],
};

static RATE_LIMITED: Section = Section {
    name: "rate_limited",
    keys: &[
        Key::new(
            "requests_per_second",
            Shape::Rate,
            "Starts a second; fractions are fine.",
        )
        .required(),
        Key::new(
            "burst",
            Shape::Count(1),
            "Starts that may come together after a pause; 1 by default.",
        ),
        Key::new(
            "key",
            Shape::Text,
            "Jobs with one key share one bucket; the task's name by default.",
        ),
    ],
};

const COUNTS_AGAINST: Key = Key::new(
    "limits",
    Shape::List(&Shape::Text),
    "The named limits it counts against.",
);

const SLOTS: Key = Key::new(
    "slots",
    Shape::Count(1),
    "How many slots it fills; 1 by default.",
);

const PRIORITY: Key = Key::new(
    "priority",
    Shape::Word(&["critical", "high", "normal", "low"]),
    "How urgent it is; `normal` by default.",
);

static A_TIMEOUT: [Shape; 2] = [Shape::Span, Shape::Section(&TIMEOUTS)];

const TIMEOUT: Key = Key::new(
    "timeout",
    Shape::Either(&A_TIMEOUT),
    "How long it may take: one figure, after which it is asked to stop and a second later killed, or several.",
);

static TIMEOUTS: Section = Section {
    name: "timeout",
    keys: &[
        Key::new(
            "queue",
            Shape::Span,
            "How long it may wait for its first start.",
        ),
        Key::new("soft", Shape::Span, "When to ask it to stop."),
        Key::new("hard", Shape::Span, "When to kill it."),
        Key::new(
            "idle",
            Shape::Span,
            "How long it may go without telling of progress.",
        ),
    ],
};

static A_RETRY: [Shape; 2] = [Shape::Count(0), Shape::Section(&RETRIES)];

const RETRY: Key = Key::new(
    "retry",
    Shape::Either(&A_RETRY),
    "How often it is tried again after its first attempt, or that and how.",
);

static RETRIES: Section = Section {
    name: "retry",
    keys: &[
        Key::new(
            "max",
            Shape::Count(0),
            "How often, after the first attempt.",
        ),
        Key::new(
            "backoff",
            Shape::Word(&[
                "exponential",
                "fixed",
                "linear",
                "fibonacci",
                "decorrelated",
            ]),
            "How the wait grows; `exponential` by default.",
        ),
        Key::new("base", Shape::Duration, "The first wait; 100ms by default."),
        Key::new("cap", Shape::Span, "The longest wait; 30s by default."),
        Key::new(
            "factor",
            Shape::Factor,
            "With `exponential`: what each wait multiplies the one before by; 2 by default.",
        ),
        Key::new(
            "step",
            Shape::Span,
            "With `linear`: what each wait adds to the one before; `base` by default.",
        ),
        Key::new(
            "jitter",
            Shape::Word(&["full", "equal", "none"]),
            "How much of the wait is left to chance; `full` by default.",
        ),
        Key::new(
            "on",
            Shape::List(&Shape::Word(&RETRYABLE)),
            "The classes of failures that are tried again; all that may go better, by default.",
        ),
        Key::new(
            "within",
            Shape::Span,
            "How long after the first attempt the last one may start.",
        ),
    ],
};

/// The classes of failures that another attempt may cure.
pub(crate) const RETRYABLE: [&str; 7] = [
    "task", "exit", "timeout", "crash", "memory", "protocol", "breaker",
];

static A_CACHE: [Shape; 2] = [Shape::Bool, Shape::Section(&CACHED)];

const CACHE: Key = Key::new(
    "cache",
    Shape::Either(&A_CACHE),
    "Whether its result may be used again.",
);

static CACHED: Section = Section {
    name: "cache",
    keys: &[
        Key::new(
            "inputs",
            Shape::List(&Shape::Text),
            "Files it reads besides its input.",
        ),
        Key::new(
            "env",
            Shape::List(&Shape::Text),
            "Names of variables that it depends on.",
        ),
        Key::new("ttl", Shape::Span, "For how long; for ever by default."),
    ],
};

#[cfg(test)]
mod tests {
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
