//! The length of command lines, as the limit of the system counts it.

use std::ops::Add;

/// The length of a command line, or of a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct LineLength {
    /// How many bytes the words have, including the zero byte at the end of each.
    pub(super) bytes: usize,
    /// How many words there are. The system keeps a pointer for each.
    pub(super) words: usize,
}

impl Add for LineLength {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            words: self.words.saturating_add(other.words),
        }
    }
}
