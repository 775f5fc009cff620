//! What comes of a run, for people and for programs.

mod order;

pub(crate) use order::InOrder;
