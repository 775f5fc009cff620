//! Workers, as their host sees them: the connection to each, its state, and why it ended.

mod cause;
pub(crate) mod config;
pub(crate) mod connection;
pub(crate) mod news;
pub(crate) mod state;

pub use crate::dispatch::{Reply, Retirement};
pub use crate::ids::WorkerName;
pub(crate) use cause::Cause;
