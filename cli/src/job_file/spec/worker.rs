//! The keys of a worker's section.

use std::time::Duration;

use ratchet_ipc::{HandshakeMode, LineFormat, StrayMode};
use ratchet_runtime::process::Prefetch;
use ratchet_runtime::{Balance, TaskName};

use super::breaker::BreakerSpec;
use super::terms::TermsSpec;
use crate::document::{
    ByteSize, ClapWord, Count, Either, False, Named, PositiveDuration, ScalarText, Spanned, section,
};
use crate::value::CommandLine;

section! {
    /// A kind of worker.
    pub(crate) struct WorkerSpec("a worker") {
        /// The command to start, without a shell.
        command (required): CommandLine,
        /// `ratchet` (default); `lines` for a filter that answers each line with a line; `mcp` for a server of MCP, whose
        /// tools are tasks; `bazel-json` for one of Bazel's persistent workers.
        protocol: ClapWord<Protocol>,
        /// With `lines`: whether a text is sent without quotes (`text`, default) or every input as JSON.
        input: LineFormat,
        /// With `lines`: whether an answer is text (default) or JSON.
        output: LineFormat,
        /// With `lines`: how many lines the worker prints before it answers anything, as a banner does.
        skip_lines: Count<0>,
        /// With `bazel-json`: whether the worker understands cancel requests; false by default.
        cancel: bool,
        /// The tasks that the worker serves; its own name by default, or with `mcp` every tool of the server.
        tasks: Vec<Spanned<TaskName>>,
        /// How many workers there are.
        size: Either<Count<1>, SizeSpec>,
        /// Variables for the worker, added to those of the environment.
        env: Vec<Named<ScalarText>>,
        /// The folder in which the worker starts; that of the file by default.
        cwd: String,
        /// Files and folders that each worker gets on another host, in a work folder of its own.
        push: Vec<Spanned<String>>,
        /// How many requests may wait in the worker's pipe, beyond those that it works on; `auto` by default.
        prefetch: Prefetch,
        /// Which worker gets the next job, if several have room; `least_loaded` by default. With `affinity`, the jobs
        /// of one host go to one worker.
        balance: Balance,
        /// How many requests the worker performs at once; what its hello says by default.
        concurrency: Count<1>,
        /// Whether the worker has to send a hello; `auto` by default.
        handshake: HandshakeMode,
        /// How long ratchet waits for the hello; 250ms by default.
        handshake_wait: PositiveDuration,
        /// How long the worker may take to be ready; 1m by default.
        start_timeout: PositiveDuration,
        /// The worker is replaced after at most so many jobs; some up to a seventh earlier, so that not all leave at once.
        max_jobs: Count<1>,
        /// The worker is replaced at this age.
        ttl: PositiveDuration,
        /// The worker is ended after so long without a job, unless there would be fewer than the least size.
        idle_ttl: PositiveDuration,
        /// How much memory the worker may have before it is killed (one size, or `hard`), and before it is replaced
        /// (`soft`).
        memory: Either<ByteSize, MemorySpec>,
        /// How often workers of this kind may fail before no more are started.
        restart: RestartSpec,
        /// How often the worker is asked whether it is alive, if it can answer; 30s by default.
        ping: PingSpec,
        /// How long the worker has for each step of its end; 5s by default.
        grace: Duration,
        /// When a breaker stops its attempts; `true` for the usual rules, `false` for none.
        breaker: Either<bool, BreakerSpec>,
        /// What happens on output that is no message; `log` by default.
        stray: StrayMode,
        /// The largest message in either direction; 16MiB by default.
        max_message: ByteSize,
        /// How much of the worker's stderr is kept for a failure; 16KiB by default.
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
    /// The protocol of filters, which answer each line with a line.
    Lines,
    /// JSON-RPC of the Model Context Protocol, whose tools are tasks.
    Mcp,
    /// The JSON of Bazel's persistent workers.
    BazelJson,
}

/// `false` for no pings, or how often they are sent.
pub(crate) type PingSpec = Either<False, PositiveDuration>;

section! {
    /// How many workers of a kind there are.
    pub(crate) struct SizeSpec("a size") {
        /// The least number of workers; 0 by default.
        min: Count<0>,
        /// The greatest number of workers.
        max (required): Count<1>,
        /// How long a job has to wait before another worker starts; 50ms by default.
        grow_after: Duration,
    }
}

section! {
    /// The memory that a worker may have.
    pub(crate) struct MemorySpec("memory") {
        /// The worker is replaced if it has more after a job.
        soft: ByteSize,
        /// The worker is killed with all that it has started if it has more.
        hard: ByteSize,
    }
}

section! {
    /// How often the workers of a kind may fail.
    pub(crate) struct RestartSpec("restart") {
        /// How many failures within the time `within` end the kind; 5 by default.
        max: Count<1>,
        /// The time within which failures are counted; 10s by default. Failed starts and delays take none of it.
        within: PositiveDuration,
        /// The delay after a failed start, which doubles with each further one; 50ms by default.
        base: PositiveDuration,
        /// The longest delay; 5s by default.
        cap: PositiveDuration,
    }
}
