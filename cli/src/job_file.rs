//! Reads job files in YAML, JSON, TOML or as JSON lines.
//!
//! [`open()`] reads a file, refuses what can never work, and returns a [`Plan`]. Documents are read to their end, so
//! jobs can need each other in any order. JSON lines are read on demand in constant memory, and a line that makes no
//! job becomes a [`StreamError`] among the jobs.
//!
//! The sections of a file are defined in `spec`, and are read from text to typed values in one pass. A `JobReader`
//! turns the section of one job into a [`Job`](ratchet_runtime::Job). A `JobBuilder` then does what depends on the rest
//! of the file: it sets the terms, and checks that the task, the limits and the resources exist.
//!
//! Each term of a job is taken from the first of these that sets it: the job, the overrides that match it, the section
//! of its worker, the flags, the `defaults` of the file, the settings, the hello of its worker. `retry` is merged key
//! by key. Everything else is taken as a whole.
//!
//! A document can include others, whose texts are appended to its own. Relative paths in a file start at the folder of
//! that file. Its workers and commands start in this folder, and a `cwd` and a program with a slash in its name are
//! looked for from there. A program without a slash is looked for in `PATH`. A job file from stdin has no folder, so
//! its paths start at the current one.

mod addition;
mod breaker;
mod builder;
mod documents;
mod error;
mod expand;
mod files;
mod folders;
mod found;
mod groups;
mod header_line;
mod hosts;
mod job;
mod limits;
mod open;
mod options;
mod outputs;
mod paths;
mod pool;
mod program;
mod relations;
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

pub(crate) use addition::{Addition, JobAdder, JobFate, StartedParts, may_use_cache};
pub(crate) use breaker::typed_breaker;
pub(crate) use hosts::{AgentPlan, HostAccess, HostPlan, HostRegistry, HostTimes, LOCAL, OWN_HOST};
pub(crate) use open::{Jobs, Plan, open};
pub(crate) use options::{BreakerAndBudget, PlanOptions, PoolDefaults, ServedTasks, WorkerPlan};
pub(crate) use program::{cannot_start, typed_worker};
pub(crate) use resources::{Resources, TypedNeeds, check_typed, typed_needs, typed_resource};
pub(crate) use selection::{GroupPattern, JobPattern, Partition, Selection};
pub(crate) use spec::{FileSpec, HeaderSpec, JobSpec, PlainHint, Protocol};
pub(crate) use stream::{JobLines, LONGEST, LineRead, StreamError, read_until};
pub(crate) use terms::{AnyHint, PartialRetry, PartialTerms, typed_hint};
