//! The verbs of `ratchet`, one per file.

pub(crate) mod agent;
pub(crate) mod cache;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod help;
pub(crate) mod hosts;
pub(crate) mod inventory;
pub(crate) mod man;
pub(crate) mod map;
pub(crate) mod play;
pub(crate) mod resume;
pub(crate) mod run;
pub(crate) mod runs;
pub(crate) mod schema;
pub(crate) mod sem;
pub(crate) mod top;
pub(crate) mod worker;
