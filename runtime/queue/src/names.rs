//! The names of jobs, nodes and labels.

use std::fmt;
use std::str::FromStr;

use smol_str::SmolStr;

/// The greatest length of a name in bytes.
const LONGEST: usize = 200;

/// The error for a text that cannot be a name in a queue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no {what}: it {reason}", .text.escape_debug())]
pub struct InvalidName {
    /// What the text was to name, as in `name of a job`.
    pub(crate) what: &'static str,
    /// The text.
    pub(crate) text: String,
    /// What is wrong with it.
    pub(crate) reason: &'static str,
}

/// Refuses a text that cannot be a name. Control characters separate names on a server, so no name has any.
pub(crate) fn check(what: &'static str, text: &str) -> Result<(), InvalidName> {
    let reason = if text.is_empty() {
        "is empty"
    } else if text.len() > LONGEST {
        "has more than 200 bytes"
    } else if text.contains(|letter: char| letter.is_control()) {
        "contains a control character"
    } else {
        return Ok(());
    };
    Err(InvalidName {
        what,
        text: text.to_owned(),
        reason,
    })
}

/// The name of a job, which no other job of its queue has.
///
/// It has 1 to 200 bytes, without control characters. Submitting a name twice runs it once, so a submitter that got no
/// answer can submit again.
///
/// ```
/// use ratchet_queue::JobName;
///
/// let name: JobName = "nightly/2026-03-01/tables".parse()?;
/// assert_eq!(name.as_str(), "nightly/2026-03-01/tables");
/// assert!("".parse::<JobName>().is_err());
/// # Ok::<(), ratchet_queue::InvalidName>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobName(SmolStr);

impl JobName {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for JobName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        check("name of a job", text)?;
        Ok(Self(text.into()))
    }
}

impl fmt::Display for JobName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// A property of a node that a job can ask for, as in `gpu` or `zone=b`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(SmolStr);

impl Label {
    /// Returns the label as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Label {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        check("label", text)?;
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Label {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// The number of a node's session. A node that joins again gets another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(crate) u64);

impl fmt::Display for NodeId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "node {}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_without_control_characters() {
        let long = "x".repeat(201);
        for (text, reason) in [
            ("", "is empty"),
            (&*long, "more than 200 bytes"),
            ("a\nb", "control character"),
            ("a\u{1f}", "control character"),
        ] {
            let error = text.parse::<JobName>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
        assert!("ü ☃/1".parse::<JobName>().is_ok());
    }
}
