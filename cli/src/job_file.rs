//! Job files: what is to be done, in YAML, JSON, TOML or as JSON lines.
//!
//! [`open()`] reads a file, refuses what can never work, and gives a [`Plan`]. Documents are read
//! whole, so that jobs can need each other in any order; JSON lines are read as they are wanted, in
//! constant memory, and a bad line is a [`BadLine`] among good jobs.
//!
//! What holds for a job is looked for in this order: what it says itself, what its worker's section
//! says, what was typed as a flag, the file's `defaults`, the settings, and at last what the worker
//! declares in its hello. `retry` is put together key by key, everything else is taken as one.
//!
//! Relative paths are relative to the file: its workers and commands start in its folder, a `cwd`
//! is looked for from there, and so is a program that is named with a slash. One without a slash is
//! looked for in `PATH`, as everywhere. What comes from stdin has no folder, and is relative to the
//! current one.

mod book;
mod error;
mod ids;
mod job;
mod keys;
mod open;
mod plan;
mod program;
mod stream;
mod terms;
#[cfg(test)]
mod tests;
mod worker;

pub(crate) use error::FileError;
pub(crate) use keys::{FILE, HEADER, JOB};
pub(crate) use open::open;
pub(crate) use plan::{Jobs, Options, Plan, PoolDefaults, Served, WorkerPlan};
pub(crate) use program::{Protocol, cannot_start, command_worker};
pub(crate) use stream::{BadLine, LONGEST, LineError, Lines, Read, read_until};
pub(crate) use terms::{Retry, Wishes, typed_hint};
