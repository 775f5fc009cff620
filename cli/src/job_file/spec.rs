//! Defines the sections of a job file and their keys. The reader and the JSON Schema follow from these definitions.

mod breaker;
mod host;
mod resource;
mod several;
mod terms;
mod worker;

use ratchet_runtime::{HostName, JobKey, Rate, TaskName};
use serde_json::json;

use crate::document::{
    AnyValue, Count, Either, Field, Named, Node, ScalarText, Spanned, Version, section,
};
use crate::value::CommandLine;

pub(crate) use self::breaker::{BreakerSpec, SlowSpec};
pub(crate) use self::host::HostSpec;
pub(crate) use self::resource::{Amount, ResourceSpec};
pub(crate) use self::several::{ForEachSpec, MatrixSpec};
#[cfg(test)]
pub(crate) use self::terms::RateSpec;
pub(crate) use self::terms::{
    Backoff, CacheSpec, CommandMemorySpec, DefaultRetrySpec, HintSpec, HintWord, PlainHint,
    RetrySpec, RetryableClass, TermsSpec, TimeoutSpec,
};
#[cfg(test)]
pub(crate) use self::worker::MemorySpec;
pub(crate) use self::worker::{Protocol, RestartSpec, SizeSpec, WorkerSpec};

section! {
    /// The sections before the jobs, in a file or in the first line of a stream.
    pub(crate) struct HeaderSpec("the first line of a stream") {
        /// The version of the format: 1.
        version: Version,
        /// The kinds of workers, by name. A worker serves the task of its own name.
        workers: Vec<Named<WorkerSpec>>,
        /// Named limits, which jobs refer to.
        limits: Vec<Named<LimitSpec>>,
        /// What jobs can have for themselves while they run, by name: identities as in `gpu: [0, 1]` or `port: 8000-8010`, a
        /// number as in `license: 2`, or a size as in `memory: 16GiB`.
        resources: Vec<Named<ResourceSpec>>,
        /// The hosts where commands and workers can run besides this machine, by name.
        hosts: Vec<Named<HostSpec>>,
        /// The terms of jobs, where neither a job nor its worker sets them.
        defaults: DefaultsSpec,
        /// What holds for the jobs of a group together, by the name of the group.
        groups: Vec<Named<GroupSpec>>,
        /// Terms of the jobs that a pattern matches, where a job does not set them itself. Of several, the first one counts.
        overrides: Vec<Spanned<OverrideSpec>>,
    }
}

section! {
    /// The terms of jobs that do not set them, and what holds for the whole run.
    pub(crate) struct DefaultsSpec("defaults") {
        /// When a breaker stops the attempts of commands, and of workers that do not set it; `true` for the usual rules.
        breaker: Either<bool, BreakerSpec>,
        /// How many attempts may follow a failed first one, or that, when they start, and a bound for the whole run.
        retry: Either<Count<0>, DefaultRetrySpec>,
        /// Variables for the programs of all jobs with `run`, where a job does not set them. `${NAME}` in a value is another
        /// variable of the file.
        env: Vec<Named<ScalarText>>,
        /// The folder in which programs of `run` start, where a job does not set it. `${NAME}` in it is a variable of the file.
        cwd: String,
        ..terms: TermsSpec,
    }
}

section! {
    /// Terms of the jobs that a pattern matches.
    pub(crate) struct OverrideSpec("an override") {
        /// Which jobs are meant: `db*` or `test(db*)` by their ids, `group(slow)` by their groups, `task(resize)` by their tasks
        /// or programs.
        pattern = "match" (required): String,
        ..terms: TermsSpec,
    }
}

section! {
    /// What holds for the jobs of a group together.
    pub(crate) struct GroupSpec("a group") {
        /// Whether the first job that fails ends the others of the group: those that have not started are skipped, and those that
        /// run are cancelled. Also `--group-fail-fast`.
        fail_fast: bool,
    }
}

impl DefaultsSpec {
    /// Takes out the variables and the folder of programs.
    pub(crate) fn take_start(
        &mut self,
    ) -> (Field<Vec<Named<ScalarText>>>, Option<Spanned<String>>) {
        let cwd = std::mem::take(&mut self.cwd);
        let span = cwd.span().unwrap_or_default();
        let cwd = cwd.into_value().map(|value| Spanned { value, span });
        (std::mem::take(&mut self.env), cwd)
    }

    /// Splits the section into the breaker, the retry budget of the run, and the terms of jobs that do not set them.
    /// Variables and folder have to be taken by [`take_start`](Self::take_start) before.
    pub(crate) fn into_parts(self) -> (Field<Either<bool, BreakerSpec>>, Option<f64>, TermsSpec) {
        let Self {
            breaker,
            retry,
            terms,
            ..
        } = self;
        let mut terms = *terms.unwrap_or_default();
        let mut budget = None;
        terms.retry = retry.map(|retry| match retry {
            Either::First(max) => Either::First(max),
            Either::Second(retry) => {
                budget = retry.budget.into_value().map(|share| share.0);
                Either::Second(*retry.policy.unwrap_or_default())
            }
        });
        (breaker, budget, terms)
    }
}

section! {
    /// A document of jobs.
    pub(crate) struct FileSpec("a job file") {
        /// The jobs.
        jobs: Vec<Spanned<JobSpec>>,
        /// Other job files, one or a list, whose jobs, workers, limits, resources, groups, overrides and setup scripts are added.
        /// Their paths are relative to this file, and what they say is relative to them.
        include: Either<String, Vec<Spanned<String>>>,
        /// Programs that run once before the jobs that they are for. If one fails, its jobs are skipped.
        setup: Vec<Spanned<SetupSpec>>,
        ..header: HeaderSpec,
    }
}

section! {
    /// A program that runs once before the jobs that a pattern matches.
    pub(crate) struct SetupSpec("a setup script") {
        /// Which jobs need it, as in `overrides`: `db*`, `group(slow)` or `task(resize)`.
        pattern = "match" (required): String,
        /// The name of the script in results and in `needs`; `setup-1` and so on by default.
        id: JobKey,
        /// The program, without a shell.
        run (required): CommandLine,
        /// Variables for the program, added to those of the environment.
        env: Vec<Named<ScalarText>>,
        /// The folder in which the program starts; that of the file by default.
        cwd: String,
        ..terms: TermsSpec,
    }
}

impl SetupSpec {
    /// Takes the pattern out with its place, and returns the rest as a job.
    pub(crate) fn into_job(self) -> (Option<Spanned<String>>, JobSpec) {
        let span = self.pattern.span().unwrap_or(self.place.head);
        let pattern = self.pattern.into_value();
        let job = JobSpec {
            place: self.place,
            id: self.id,
            run: self.run,
            env: self.env,
            cwd: self.cwd,
            terms: self.terms,
            ..JobSpec::default()
        };
        (pattern.map(|value| Spanned { value, span }), job)
    }
}

section! {
    /// What a program reads from its stdin.
    pub(crate) struct StdinSpec("stdin") {
        /// This text.
        text: String,
        /// The content of this file.
        file: String,
        /// What this job has printed to its stdout, or the result of its task. It is one of the `needs` by that.
        job: JobKey,
    }
}

section! {
    /// One job.
    pub(crate) struct JobSpec(
        "a job",
        relations = json!({
            "oneOf": [{"required": ["task"]}, {"required": ["run"]}],
            "dependentRequired": {
                "env": ["run"], "cwd": ["run"], "stdin": ["run"], "push": ["run"], "input": ["task"],
            },
        })
    ) {
        /// The name of the job in results and in `needs`; its number by default.
        id: JobKey,
        /// The task that a worker performs; either this or `run`.
        task: TaskName,
        /// A program to run once, without a shell; either this or `task`.
        run: CommandLine,
        /// What the worker gets: any value.
        input: AnyValue,
        /// The machine, tenant or other place that the job concerns.
        host: HostName,
        /// The jobs that have to succeed first. The id of a section with `matrix` or `for_each` stands for all of its jobs.
        needs: Vec<Spanned<JobKey>>,
        /// The group of the job, by which `--only`, `--skip` and `overrides` can name it.
        group: String,
        /// Makes a job for each combination of these values, which stand in its texts as `{NAME}`. `exclude` leaves
        /// combinations out, and `include` adds some.
        matrix: MatrixSpec,
        /// Makes a job for each item of a list, or for each line of a file: `{}` is the item, `{#}` its number from 1 on, and
        /// `{NAME}` a value of an item that is a map.
        for_each: ForEachSpec,
        /// Variables for the program of `run`, added to those of the environment.
        env: Vec<Named<ScalarText>>,
        /// The folder in which the program of `run` starts; that of the file by default. `${NAME}` in it is a variable that the job
        /// or the file declares.
        cwd: String,
        /// What the program of `run` reads from its stdin, which is empty by default: a text, or `{file: PATH}`, `{job: ID}` for what
        /// another job has printed, `{text: ..}`.
        stdin: Either<String, StdinSpec>,
        /// Files and folders that the program of `run` gets on another host, in a work folder of its own. `{id}` is the id of
        /// the job.
        push: Vec<Spanned<String>>,
        /// Files and folders of the work folder that come back when the program of `run`, or the worker of `task`, has
        /// succeeded. On another host a worker has a work folder if it has `push`.
        pull: Vec<Spanned<String>>,
        ..terms: TermsSpec,
    }
}

section! {
    /// A named limit.
    pub(crate) struct LimitSpec("a limit", hint = instead_of_a_limit) {
        /// How many jobs may run at once; either this or `rate`.
        max: Count<1>,
        /// How many attempts may start in a time, as in 10/s; either this or `max`.
        rate: Rate,
        /// With `rate`: how many attempts may start together after a pause; 1 by default.
        burst: Count<1>,
    }
}

/// Returns the hint for a plain number or rate, which people often write first.
fn instead_of_a_limit(node: &Node<'_>) -> Option<String> {
    if let Some(rate) = node.text().filter(|text| text.contains('/')) {
        return Some(format!("write `{{rate: {rate}}}`"));
    }
    let max = node.number()?;
    Some(format!("write `{{max: {max}}}` for so many at a time"))
}
