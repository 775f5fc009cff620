//! One verb a file.

pub(crate) mod completions;
pub(crate) mod man;
pub(crate) mod worker;
