//! The host's side of workers: the connection to each worker, its state, and the cause of its end.

pub(crate) mod config;
pub(crate) mod connection;
mod end_cause;
pub(crate) mod event;
pub(crate) mod state;

pub use crate::dispatch::{Reply, Retirement};
pub use crate::ids::WorkerName;
pub(crate) use end_cause::EndCause;
