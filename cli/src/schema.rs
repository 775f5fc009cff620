//! JSON Schemas (draft 2020-12): of job files and config files, from the same shapes that they are
//! checked with, and of the lines that ratchet writes.

mod lines;
mod shapes;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod validator;

use serde_json::Value;

use crate::document::Shape;
use crate::job_file::{FILE, HEADER, JOB};
use crate::settings::SETTINGS;

pub(crate) use lines::{events, results};

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Of job files.
pub(crate) fn jobs() -> Value {
    shapes::document("A ratchet job file", &Shape::Section(&FILE))
}

/// Of one line of a stream of jobs: a job, or the first line, about all of them.
pub(crate) fn job_lines() -> Value {
    static EITHER: [Shape; 2] = [Shape::Section(&JOB), Shape::Section(&HEADER)];
    shapes::document("A line of a ratchet job stream", &Shape::Either(&EITHER))
}

/// Of config files.
pub(crate) fn config() -> Value {
    shapes::document("A ratchet config file", &Shape::Section(&SETTINGS))
}
