//! On what terms: the keys that jobs, workers and defaults have in common.

use crate::document::{Key, Section, Shape};

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

pub(in crate::job_file) const HINT: Key =
    Key::new("hint", Shape::Either(&HINTS), "How parallel it may be.");

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

pub(super) const COUNTS_AGAINST: Key = Key::new(
    "limits",
    Shape::List(&Shape::Text),
    "The named limits it counts against.",
);

pub(super) const SLOTS: Key = Key::new(
    "slots",
    Shape::Count(1),
    "How many slots it fills; 1 by default.",
);

pub(super) const PRIORITY: Key = Key::new(
    "priority",
    Shape::Word(&["critical", "high", "normal", "low"]),
    "How urgent it is; `normal` by default.",
);

static A_TIMEOUT: [Shape; 2] = [Shape::Span, Shape::Section(&TIMEOUTS)];

pub(super) const TIMEOUT: Key = Key::new(
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

pub(super) const RETRY: Key = Key::new(
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
pub(super) const RETRYABLE: [&str; 7] = [
    "task", "exit", "timeout", "crash", "memory", "protocol", "breaker",
];

static A_CACHE: [Shape; 2] = [Shape::Bool, Shape::Section(&CACHED)];

pub(super) const CACHE: Key = Key::new(
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
