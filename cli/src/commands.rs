//! One verb a file.

pub(crate) mod check;
pub(crate) mod config;
pub(crate) mod worker;
