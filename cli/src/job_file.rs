//! Job files: what is to be done, in YAML, JSON, TOML or as JSON lines.
//!
//! [`open()`] reads a file, refuses what can never work, and gives a [`Plan`]. Documents are read to their end, so
//! that jobs can need each other in any order; JSON lines are read as they are wanted, in constant memory, and
//! a bad line is a [`StreamError`] among good jobs.
//!
//! The sections of a file are defined in `spec`, and are read from text to typed values in one pass. A
//! `JobReader` makes a [`Job`](ratchet_runtime::Job) of what one job says, and a `JobBuilder` settles what
//! depends on the rest of the file: its terms, and whether its task, limits and needs exist.
//!
//! The terms of a job are looked for in this order: what it says itself, what its worker's section says, what was
//! typed as a flag, the file's `defaults`, the settings, and at last what the worker declares in its hello.
//! `retry` is put together key by key, everything else is taken as one.
//!
//! Relative paths are relative to the file: its workers and commands start in its folder, a `cwd` is looked for
//! from there, and so is a program that is named with a slash. One without a slash is looked for in `PATH`, as
//! everywhere. What comes from stdin has no folder, and is relative to the current one.

mod builder;
mod error;
mod job;
mod open;
mod options;
mod pool;
mod program;
mod seen_ids;
pub(crate) mod spec;
mod stream;
mod terms;
#[cfg(test)]
mod tests;

pub(crate) use open::{Jobs, Plan, open};
pub(crate) use options::{PlanOptions, PoolDefaults, ServedTasks, WorkerPlan};
pub(crate) use program::{cannot_start, typed_worker};
pub(crate) use spec::{FileSpec, HeaderSpec, JobSpec, PlainHint, Protocol};
pub(crate) use stream::{JobLines, LONGEST, LineRead, StreamError, read_until};
pub(crate) use terms::{PartialRetry, PartialTerms, typed_hint};
