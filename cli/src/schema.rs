//! JSON Schemas (draft 2020-12) of what ratchet reads and writes. Those of job files and config files come from the
//! definitions by which these are read.

mod lines;

#[cfg(test)]
mod tests;

use serde_json::Value;

use crate::document::{DRAFT, Either, document_schema};
use crate::job_file::{FileSpec, HeaderSpec, JobSpec};
use crate::settings::SettingsSpec;

pub(crate) use lines::{events, results};

/// Returns the schema of job files.
pub(crate) fn jobs() -> Value {
    document_schema::<FileSpec>("A ratchet job file")
}

/// Returns the schema of a line of a stream: a job, or the header in the first line.
pub(crate) fn job_lines() -> Value {
    document_schema::<Either<JobSpec, HeaderSpec>>("A line of a ratchet job stream")
}

/// Returns the schema of config files.
pub(crate) fn config() -> Value {
    document_schema::<SettingsSpec>("A ratchet config file")
}
