//! Reads the input of users into typed values that keep their place in the text, so that errors can point to it.
//!
//! [`document`] reads YAML, JSON and TOML, [`inventory`] reads hosts and their groups, and [`value`] reads durations,
//! sizes and similar values, which [`readable`] formats for people. Problems become a [`diagnostic`] that points into
//! the text, or an [`InputError`].

pub mod diagnostic;
pub mod document;
mod error;
pub mod escape;
pub mod inventory;
pub mod readable;
pub mod style;
pub mod value;

pub use error::InputError;
