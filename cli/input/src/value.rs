//! Reads values that are written by hand in flags, variables and files.
//!
//! Durations, sizes and the words of a command are read here rather than by a crate. The available crates read `30` as
//! seconds, `1M` as a million or `a | b` as five words, and none of them suggests what was meant.

mod amount;
mod duration;
mod size;
mod words;

use std::fmt;

pub use amount::{Amount, amount, count, positive, prefetch};
pub use duration::{duration, show_duration};
pub use ratchet_runtime::closest;
pub use size::{show_size, size, units as size_units};
pub use words::{CommandLine, split_words};

/// A value that cannot be read: the reason, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueError {
    /// What is wrong with the value.
    pub reason: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl ValueError {
    /// Makes an error without a hint.
    pub fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            hint: None,
        }
    }

    /// Adds what to write instead.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for ValueError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.reason)?;
        match &self.hint {
            Some(hint) => write!(out, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ValueError {}

/// Splits a text after its leading digits, which may include one decimal point.
fn split_number(text: &str) -> (&str, &str) {
    let mut points = 0;
    let end = text
        .find(|c: char| {
            points += usize::from(c == '.');
            !(c.is_ascii_digit() || c == '.' && points == 1)
        })
        .unwrap_or(text.len());
    text.split_at(end)
}
