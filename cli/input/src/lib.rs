//! Reads what users of ratchet write into typed values that keep their place in the text, so that errors can point to it.
//!
//! [`document`] reads YAML, JSON and TOML, [`inventory`] reads hosts and their groups, and [`value`] reads durations,
//! sizes and the like, which [`readable`] writes for people. What is wrong with them becomes a [`diagnostic`] that points
//! into the text, or an [`InputError`].

pub mod diagnostic;
pub mod document;
mod error;
pub mod escape;
pub mod inventory;
pub mod readable;
pub mod style;
pub mod value;

pub use error::InputError;
