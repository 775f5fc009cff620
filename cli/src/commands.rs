//! The verbs of `ratchet`, one per file.

pub(crate) mod agent;
pub(crate) mod cache;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod config;
mod file_jobs;
pub(crate) mod help;
pub(crate) mod hosts;
pub(crate) mod inventory;
pub(crate) mod man;
pub(crate) mod map;
#[cfg(feature = "queue")]
pub(crate) mod node;
pub(crate) mod play;
#[cfg(feature = "queue")]
pub(crate) mod queue;
#[cfg(feature = "queue")]
mod queued;
pub(crate) mod resume;
pub(crate) mod run;
pub(crate) mod runs;
pub(crate) mod schema;
pub(crate) mod sem;
#[cfg(feature = "queue")]
pub(crate) mod submit;
pub(crate) mod top;
pub(crate) mod worker;
