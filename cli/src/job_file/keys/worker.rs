//! The keys of a worker.

use super::terms::{CACHE, COUNTS_AGAINST, HINT, PRIORITY, RETRY, SLOTS, TIMEOUT};
use crate::document::{Key, Section, Shape};

pub(super) static WORKER: Section = Section {
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
            "skip_lines",
            Shape::Count(0),
            "With `lines`: how many lines it prints before it answers anything, as a banner does.",
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
            "balance",
            Shape::Word(&["least_loaded", "round_robin", "power_of_two", "affinity"]),
            "Which of them gets the next job, where several have room; `least_loaded` by default. With `affinity`, jobs of one host go to one worker.",
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
