//! Times, sizes and the names of jobs as people read them.

mod name;
mod size;
mod time;

pub(crate) use name::{job_name, name_of};
pub(crate) use size::bytes;
pub(crate) use time::{ago, duration, timestamp};
