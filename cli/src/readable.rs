//! Formats times, sizes and the names of jobs for people.

mod name;

pub(crate) use name::{job_name, name_of};
pub(crate) use ratchet_input::readable::{ago, bytes, duration, timestamp};
