//! One verb a file.

pub(crate) mod cache;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod config;
mod idle;
pub(crate) mod man;
pub(crate) mod map;
mod overwrite;
pub(crate) mod resume;
pub(crate) mod run;
pub(crate) mod runs;
pub(crate) mod schema;
pub(crate) mod worker;
