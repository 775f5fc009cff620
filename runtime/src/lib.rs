//! The engine of ratchet. So far it holds the [built-in worker](worker::BuiltinTask), which is of use
//! for trying things out, for tests and for measuring.

pub mod worker;
