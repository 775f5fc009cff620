//! Formats times and sizes for people.

mod size;
mod time;

pub use size::bytes;
pub use time::{ago, duration, timestamp};
