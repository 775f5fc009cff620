//! Workers, seen from the host.

mod builtin;
mod name;

pub use builtin::{BuiltinTask, builtin};
pub use name::WorkerName;
