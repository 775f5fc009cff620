//! Workers: so far the one that is built in.

mod builtin;

pub use builtin::{BuiltinTask, builtin};
