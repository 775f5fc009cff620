//! Workers, seen from the host.

mod builtin;
mod cause;
pub(crate) mod connection;
mod name;
pub(crate) mod news;
pub(crate) mod state;

pub use crate::dispatch::{Reply, Retirement};
pub use builtin::{BuiltinTask, builtin};
pub(crate) use cause::Cause;
pub use name::WorkerName;
