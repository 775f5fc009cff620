//! The keys of a worker.

use std::time::Duration;

use ratchet_ipc::{HandshakeMode, LineFormat, StrayMode};
use ratchet_runtime::process::Prefetch;
use ratchet_runtime::{Balance, TaskName};

use super::terms::TermsSpec;
use crate::document::{
    ByteSize, ClapWord, Count, Either, False, Named, PositiveDuration, ScalarText, Spanned,
    section, words,
};
use crate::value::CommandLine;

section! {
    /// A kind of worker.
    pub(crate) struct WorkerSpec("a worker") {
        /// What to start. No shell sees it.
        command (required): CommandLine,
        /// `ratchet` (default), or `lines` for a filter that answers each line with a line.
        protocol: ClapWord<Protocol>,
        /// With `lines`: whether texts go out without quotes (`text`, default) or all as JSON.
        input: LineFormat,
        /// With `lines`: whether an answer is text (default) or JSON.
        output: LineFormat,
        /// With `lines`: how many lines it prints before it answers anything, as a banner does.
        skip_lines: Count<0>,
        /// The tasks it serves, if not the one of its own name.
        tasks: Vec<Spanned<TaskName>>,
        /// How many of them there are.
        size: Either<Count<1>, SizeSpec>,
        /// Variables for it, besides those that are there.
        env: Vec<Named<ScalarText>>,
        /// The folder it starts in; the file's own by default.
        cwd: String,
        /// How many requests lie in its pipe beyond what it works on; `auto` by default.
        prefetch: Prefetch,
        /// Which of them gets the next job, where several have room; `least_loaded` by default. With `affinity`, jobs of one host go to one worker.
        balance: Balance,
        /// How many requests it works on at once, if that is not left to what it says.
        concurrency: Count<1>,
        /// Whether it has to introduce itself; `auto` by default.
        handshake: HandshakeMode,
        /// How long its hello is waited for; 250ms by default.
        handshake_wait: PositiveDuration,
        /// How long it may take to be ready; 1m by default.
        start_timeout: PositiveDuration,
        /// It is replaced after about so many jobs.
        max_jobs: Count<1>,
        /// It is replaced at this age.
        ttl: PositiveDuration,
        /// It is ended after so long without a job, down to the least size.
        idle_ttl: PositiveDuration,
        /// When it is killed for its memory (one figure, or `hard`), and when it is replaced (`soft`).
        memory: Either<ByteSize, MemorySpec>,
        /// How often it may fail before its kind is given up.
        restart: RestartSpec,
        /// How often it is asked whether it lives, if it can answer; 30s by default.
        ping: PingSpec,
        /// How long it has for each step of ending; 5s by default.
        grace: Duration,
        /// What output that is no message leads to; `log` by default.
        stray: StrayMode,
        /// The largest message, either way; 16MiB by default.
        max_message: ByteSize,
        /// How much of its stderr is kept for when it dies; 16KiB by default.
        stderr: ByteSize,
        ..terms: TermsSpec,
    }
}

/// The protocol that a worker speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Protocol {
    /// The worker protocol.
    #[default]
    Ratchet,
    /// A filter, which answers each line with a line.
    Lines,
}

/// No pings, or how often.
pub(crate) type PingSpec = Either<False, PositiveDuration>;

section! {
    /// How many workers of a kind there are.
    pub(crate) struct SizeSpec("a size") {
        /// At least so many; 0 by default.
        min: Count<0>,
        /// At most so many.
        max (required): Count<1>,
        /// How old the oldest waiting job has to be for another one to start; 50ms by default.
        grow_after: Duration,
    }
}

section! {
    /// The memory of a worker.
    pub(crate) struct MemorySpec("memory") {
        /// It is replaced when a job has left it with more.
        soft: ByteSize,
        /// It is killed when it has more, with all that it has started.
        hard: ByteSize,
    }
}

section! {
    /// How often a kind of worker may fail.
    pub(crate) struct RestartSpec("restart") {
        /// So many failures..; 5 by default.
        max: Count<1>,
        /// ..within this time are too many; 10s by default.
        within: PositiveDuration,
        /// The wait after a failed start, doubled for each that follows; 50ms by default.
        base: PositiveDuration,
        /// The longest wait; 5s by default.
        cap: PositiveDuration,
    }
}

words! {
    LineFormat { Text = "text", Json = "json" };
    Balance {
        LeastLoaded = "least_loaded",
        RoundRobin = "round_robin",
        PowerOfTwo = "power_of_two",
        Affinity = "affinity",
    };
    HandshakeMode { Auto = "auto", Required = "required", None = "none" };
    StrayMode { Log = "log", Fail = "fail", Kill = "kill" };
}
