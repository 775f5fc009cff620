//! Why a text is not JSON.

/// Why a text is not JSON, or not JSON that has one meaning.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at byte {offset}")]
pub struct JsonError {
    /// Where, in bytes from the start.
    pub offset: usize,
    /// What is wrong there.
    pub problem: JsonProblem,
}

/// What is wrong with a JSON text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonProblem {
    /// The text ends too early.
    #[error("the text ends before the value does")]
    Unfinished,
    /// There is something that JSON does not have.
    #[error("unexpected character {0:?}")]
    Unexpected(char),
    /// There is more than one value.
    #[error("more text after the value")]
    Trailing,
    /// An object has two members of one name, of which readers keep one or the other.
    #[error("the key {0:?} occurs twice in one object")]
    DuplicateKey(String),
    /// A `\u` escape that is half of a pair.
    #[error("half of a surrogate pair")]
    LoneSurrogate,
    /// An exponent of more than eighteen digits.
    #[error("an exponent of more than eighteen digits")]
    HugeExponent,
}

impl JsonError {
    pub(super) fn at(offset: usize, problem: JsonProblem) -> Self {
        Self { offset, problem }
    }
}
