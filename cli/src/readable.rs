//! Times, sizes and the names of jobs as people read them.

mod name;

pub(crate) use name::{job_name, name_of};
pub(crate) use ratchet_input::readable::{ago, bytes, duration, timestamp};
