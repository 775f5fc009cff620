//! Refuses calls that would destroy what they read, or whose flags would have no effect, before anything runs.

pub(crate) mod overwrite;
pub(crate) mod unused_flags;
