//! Reads job files in YAML, JSON, TOML or as JSON lines.
//!
//! [`open()`] reads a file, refuses what can never work, and returns a [`Plan`]. Documents are read to their end, so
//! that jobs can need each other in any order. JSON lines are read on demand in constant memory, and a line that makes
//! no job is a [`StreamError`] among good jobs.
//!
//! The sections of a file are defined in `spec`, and are read from text to typed values in one pass. A `JobReader`
//! turns the section of one job into a [`Job`](ratchet_runtime::Job). A `JobBuilder` then adds what depends on the rest
//! of the file: the terms, and whether the task, the limits and the needs exist.
//!
//! The terms of a job are taken from the first of these that sets them: the job, the section of its worker, the flags,
//! the `defaults` of the file, the settings, the hello of its worker. `retry` is merged key by key; everything else is
//! taken as a whole.
//!
//! A document can include others, whose texts are appended to its own. Relative paths are relative to the file in which they stand. Its workers and commands start in its folder; a `cwd` and a program with a
//! slash in its name are looked for from there. A program without a slash is looked for in `PATH`. What comes from
//! stdin has no folder, and is relative to the current one.

mod breaker;
mod builder;
mod documents;
mod error;
mod expand;
mod files;
mod folders;
mod groups;
mod hosts;
mod job;
mod open;
mod options;
mod outputs;
mod paths;
mod pool;
mod program;
mod resources;
mod seen_ids;
mod selection;
mod setup;
pub(crate) mod spec;
mod stdin;
mod stream;
mod terms;
#[cfg(test)]
mod tests;
mod variables;

pub(crate) use breaker::typed_breaker;
pub(crate) use hosts::{AgentPlan, HostAccess, HostPlan, HostRegistry, HostTimes, LOCAL, OWN_HOST};
pub(crate) use open::{Jobs, Plan, open};
pub(crate) use options::{BreakerAndBudget, PlanOptions, PoolDefaults, ServedTasks, WorkerPlan};
pub(crate) use program::{cannot_start, typed_worker};
pub(crate) use resources::{Resources, TypedNeeds, check_typed, typed_needs, typed_resource};
pub(crate) use selection::{GroupPattern, JobPattern, Partition, Selection};
pub(crate) use spec::{FileSpec, HeaderSpec, JobSpec, PlainHint, Protocol};
pub(crate) use stream::{JobLines, LONGEST, LineRead, StreamError, read_until};
pub(crate) use terms::{PartialRetry, PartialTerms, typed_hint};
