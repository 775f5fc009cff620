//! JSON Schemas (draft 2020-12): of job files and config files, from the same definitions that they are read
//! with, and of the lines that ratchet writes.

mod lines;

#[cfg(test)]
mod tests;

use serde_json::Value;

use crate::document::{DRAFT, Either, document_schema};
use crate::job_file::{FileSpec, HeaderSpec, JobSpec};
use crate::settings::SettingsSpec;

pub(crate) use lines::{events, results};

/// Of job files.
pub(crate) fn jobs() -> Value {
    document_schema::<FileSpec>("A ratchet job file")
}

/// Of one line of a stream of jobs: a job, or the first line, about all of them.
pub(crate) fn job_lines() -> Value {
    document_schema::<Either<JobSpec, HeaderSpec>>("A line of a ratchet job stream")
}

/// Of config files.
pub(crate) fn config() -> Value {
    document_schema::<SettingsSpec>("A ratchet config file")
}
