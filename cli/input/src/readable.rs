//! Times and sizes as people read them.

mod size;
mod time;

pub use size::bytes;
pub use time::{ago, duration, timestamp};
