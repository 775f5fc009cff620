//! How many jobs run at once: the value of `-j` and of the setting `jobs`.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use crate::diagnostic::{Diagnostic, Problems};
use crate::document::{FromNode, Node, Schemas};
use crate::error::CliError;
use crate::value;

/// What may be written where the number cannot change.
const FIXED_FORMS: &str = "write a number, 50% of the cores, +1 or -1 relative to the cores, or 0 for as many as possible";

/// How many jobs run at once, as somebody has written it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum JobCount {
    /// This many.
    Number(u32),
    /// This many percent of the number of cores.
    Percent(u32),
    /// The number of cores plus this number, which may be negative.
    Beside(i32),
    /// As many as the limits of this process allow.
    Most,
    /// The value in the first line of this file, which is read again whenever it changes.
    File(PathBuf),
}

impl JobCount {
    /// Returns the number, if it was typed as a plain number.
    pub(crate) fn number(&self) -> Option<u32> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// Returns the number of jobs on a machine with this many cores, at least 1. `most` returns how many the limits of
    /// this process allow.
    pub(crate) fn resolve(&self, cores: u32, most: impl Fn() -> u32) -> Result<u32, CliError> {
        Ok(match self {
            Self::Number(number) => *number,
            Self::Percent(percent) => {
                let jobs = u64::from(cores) * u64::from(*percent) / 100;
                u32::try_from(jobs).unwrap_or(u32::MAX)
            }
            Self::Beside(more) => cores.saturating_add_signed(*more),
            Self::Most => most(),
            Self::File(path) => return Self::read(path)?.resolve(cores, most),
        }
        .max(1))
    }

    /// Reads a file whose first line contains the value.
    pub(crate) fn read(path: &Path) -> Result<Self, CliError> {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|error| CliError::unreadable(path, error))?;
        let line = text.lines().next().unwrap_or_default().trim();
        match parse(line) {
            Ok(Self::File(_)) | Err(_) => Err(CliError::usage(format!(
                "the first line of `{}` is not a number of jobs: `{line}`",
                path.display()
            ))
            .with_help("write a number into it, or 50%, or +1")),
            Ok(count) => Ok(count),
        }
    }
}

/// Parses a value that cannot change while it is in use, as that of a node or of a setting: no file.
pub(crate) fn fixed(text: &str) -> Result<JobCount, String> {
    match parse(text) {
        Ok(JobCount::File(_)) | Err(_) => Err(FIXED_FORMS.to_owned()),
        Ok(count) => Ok(count),
    }
}

impl FromNode for JobCount {
    fn from_node(node: Node<'_>, problems: &mut Problems) -> Option<Self> {
        let read = match node.text_or_number() {
            Some(text) => fixed(text).map_err(|_| format!("`{text}` is not a number of jobs")),
            None => Err(format!(
                "expected {}, found {}",
                Self::expected(),
                node.kind()
            )),
        };
        let refuse = |message| {
            problems.push(Diagnostic::error(node.span, message).help(FIXED_FORMS));
        };
        read.map_err(refuse).ok()
    }

    fn accepts(node: &Node<'_>) -> bool {
        node.text_or_number().is_some()
    }

    fn expected() -> Cow<'static, str> {
        "a number of jobs".into()
    }

    fn schema(_: &mut Schemas) -> Json {
        json!({"anyOf": [
            {"type": "integer", "minimum": i32::MIN, "maximum": u32::MAX},
            {"type": "string", "pattern": "^(0|[1-9][0-9]{0,8}%?|[+-][0-9]{1,9})$"},
        ]})
    }
}

/// Parses the value of `-j`.
pub(crate) fn parse(text: &str) -> Result<JobCount, String> {
    const FORMS: &str = "write a number, 50% of the cores, +1 or -1 relative to the cores, 0 for as many as possible, or the name of a file that contains one of these";
    if text == "0" {
        return Ok(JobCount::Most);
    }
    if let Some(percent) = text.strip_suffix('%') {
        return match percent.parse() {
            Ok(0) | Err(_) => Err(FORMS.to_owned()),
            Ok(percent) => Ok(JobCount::Percent(percent)),
        };
    }
    if text.starts_with(['+', '-'])
        && let Ok(more) = text.parse()
    {
        return Ok(JobCount::Beside(more));
    }
    match value::positive(text) {
        Ok(number) => Ok(JobCount::Number(number.get())),
        Err(_) if Path::new(text).is_file() => Ok(JobCount::File(text.into())),
        Err(_) => Err(FORMS.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_jobs_is_typed_in_many_forms() {
        let jobs = |text: &str| parse(text).unwrap().resolve(4, || 1000).unwrap();
        for (text, expected) in [
            ("3", 3),
            ("50%", 2),
            ("150%", 6),
            ("1%", 1),
            ("+1", 5),
            ("-1", 3),
            ("-9", 1),
            ("0", 1000),
        ] {
            assert_eq!(jobs(text), expected, "{text}");
        }
        for text in ["", "x", "%", "0%", "1.5", "+", "/no/such/file"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_file_says_how_many_jobs_run_at_once() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let name = file.path().to_str().unwrap();
        std::fs::write(name, "50%\nmore\n").unwrap();
        let count = parse(name).unwrap();
        assert_eq!(count.resolve(4, || 0).unwrap(), 2);
        for wrong in ["", "many\n", name] {
            std::fs::write(name, wrong).unwrap();
            assert!(count.resolve(4, || 0).is_err(), "{wrong}");
        }
    }
}
