//! What a job file can say: the sections and their keys, from which it is read and the schema is made.

mod terms;
mod worker;

use ratchet_runtime::{HostName, JobKey, Rate, TaskName};
use serde_json::json;

use crate::document::{AnyValue, Count, Named, Node, ScalarText, Spanned, Version, section};
use crate::value::CommandLine;

#[cfg(test)]
pub(crate) use self::terms::RateSpec;
pub(crate) use self::terms::{
    Backoff, CacheSpec, HintSpec, HintWord, PlainHint, RetrySpec, RetryableClass, TermsSpec,
    TimeoutSpec,
};
#[cfg(test)]
pub(crate) use self::worker::MemorySpec;
pub(crate) use self::worker::{Protocol, RestartSpec, SizeSpec, WorkerSpec};

section! {
    /// What stands before the jobs, in a file or in the first line of a stream.
    pub(crate) struct HeaderSpec("the first line of a stream") {
        /// The version of the format: 1.
        version: Version,
        /// The kinds of workers, by name. A worker serves the task of its own name.
        workers: Vec<Named<WorkerSpec>>,
        /// Named limits that jobs count against.
        limits: Vec<Named<LimitSpec>>,
        /// What holds where neither a job nor its worker says anything.
        defaults: TermsSpec,
    }
}

section! {
    /// A document of jobs.
    pub(crate) struct FileSpec("a job file") {
        /// What is to be done.
        jobs: Vec<Spanned<JobSpec>>,
        ..header: HeaderSpec,
    }
}

section! {
    /// One job.
    pub(crate) struct JobSpec(
        "a job",
        relations = json!({
            "oneOf": [{"required": ["task"]}, {"required": ["run"]}],
            "dependentRequired": {"env": ["run"], "cwd": ["run"], "input": ["task"]},
        })
    ) {
        /// Its name in results and in `needs`. Without one it has its number.
        id: JobKey,
        /// What to ask a worker for; either this or `run`.
        task: TaskName,
        /// A program to run once; either this or `task`. No shell sees it.
        run: CommandLine,
        /// What the worker gets: any value.
        input: AnyValue,
        /// The machine, tenant or other place that it concerns.
        host: HostName,
        /// The jobs that have to succeed first.
        needs: Vec<Spanned<JobKey>>,
        /// Variables for the program of `run`, besides those that are there.
        env: Vec<Named<ScalarText>>,
        /// The folder for the program of `run`; the file's own by default.
        cwd: String,
        ..terms: TermsSpec,
    }
}

section! {
    /// A named limit.
    pub(crate) struct LimitSpec("a limit", hint = instead_of_a_limit) {
        /// At most so many at a time; either this or `rate`.
        max: Count<1>,
        /// At most so many starts a time, as in 10/s; either this or `max`.
        rate: Rate,
        /// With `rate`: how many may start together after a pause; 1 by default.
        burst: Count<1>,
    }
}

/// A figure alone is what people write first.
fn instead_of_a_limit(node: &Node<'_>) -> Option<String> {
    if let Some(rate) = node.text().filter(|text| text.contains('/')) {
        return Some(format!("write `{{rate: {rate}}}`"));
    }
    let max = node.number()?;
    Some(format!("write `{{max: {max}}}` for so many at a time"))
}
