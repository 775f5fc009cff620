//! Explains how two fingerprints differ.

use std::cmp::Ordering;
use std::fmt;

use crate::fingerprint::{Component, Fingerprint};

/// A difference between two fingerprints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The component that differs.
    pub component: Component,
    /// The name of the variable, file or extra; empty for a component that occurs once.
    pub name: String,
    /// How the component differs.
    pub change: Change,
}

/// How a part differs between a first and a second fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Both fingerprints have the part, with different contents.
    Changed,
    /// Only the first fingerprint has the part.
    Removed,
    /// Only the second fingerprint has the part.
    Added,
}

/// Lists the parts in which `second` differs from `first`. The list is empty if their keys are equal.
///
/// ```
/// use ratchet_caching::{Change, Component, Fingerprint, explain};
///
/// let base = Fingerprint::builder().task("resize");
/// let yesterday = base.clone().input(r#"{"width": 100}"#).build();
/// let today = base.input(r#"{"width": 200}"#).environment("LANG", Some("C")).build();
///
/// let differences: Vec<String> = explain(&yesterday, &today).iter().map(ToString::to_string).collect();
/// assert_eq!(differences, ["the input changed", "the environment variable LANG was added"]);
/// ```
pub fn explain(first: &Fingerprint, second: &Fingerprint) -> Vec<Difference> {
    let (mut left, mut right) = (first.parts().peekable(), second.parts().peekable());
    let mut differences = Vec::new();
    loop {
        // Both lists are sorted, so the smaller of two names is missing in the other list.
        let order = match (left.peek(), right.peek()) {
            (Some(a), Some(b)) => a.name().cmp(&b.name()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return differences,
        };
        let a = if order.is_le() { left.next() } else { None };
        let b = if order.is_ge() { right.next() } else { None };
        let (part, change) = match (a, b) {
            (Some(a), Some(b)) if a.digest == b.digest => continue,
            (Some(a), Some(_)) => (a, Change::Changed),
            (Some(a), None) => (a, Change::Removed),
            (None, Some(b)) => (b, Change::Added),
            (None, None) => return differences,
        };
        differences.push(Difference {
            component: part.component,
            name: part.name.clone(),
            change,
        });
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.component == Component::Environment && self.name.is_empty() {
            f.write_str("the inherited environment")?;
        } else {
            write!(f, "{}", self.component)?;
        }
        if !self.name.is_empty() {
            write!(f, " {}", self.name)?;
        }
        f.write_str(match self.change {
            Change::Changed => " changed",
            Change::Removed => " was removed",
            Change::Added => " was added",
        })
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Schema => "the schema of fingerprints",
            Self::Platform => "the platform",
            Self::Salt => "the salt",
            Self::WorkerCommand => "the command",
            Self::WorkerProgram => "the command's file",
            Self::WorkerVersion => "the worker's version",
            Self::Task => "the task",
            Self::TaskVersion => "the task's version",
            Self::Input => "the input",
            Self::Environment => "the environment variable",
            Self::File => "the input file",
            Self::Timeout => "the timeout",
            Self::Extra => "the extra",
        })
    }
}
