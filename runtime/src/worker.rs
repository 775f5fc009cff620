//! Workers, as their host sees them: the connection to each, its state, and why it ended.

pub(crate) mod config;
pub(crate) mod connection;
mod end_cause;
pub(crate) mod event;
pub(crate) mod state;

pub use crate::dispatch::{Reply, Retirement};
pub use crate::ids::WorkerName;
pub(crate) use end_cause::EndCause;
