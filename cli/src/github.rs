//! What a step of a workflow on GitHub is told at the end of a run: a summary, and annotations for failed jobs.

use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::path::PathBuf;

use ratchet_report::{RunModel, annotations, markdown};

use crate::error::CliError;
use crate::style::When;

/// Returns the file that takes the summary of a step, if there is one.
pub(crate) fn step_summary() -> Option<PathBuf> {
    let path = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty());
    path.map(PathBuf::from)
}

/// Returns the file to which a run adds its summary: none where nobody wants one, and an error where it was asked for
/// and there is no such file.
pub(crate) fn wanted_summary(
    when: When,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<PathBuf>, CliError> {
    let path = variable("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty());
    let path = path.map(PathBuf::from);
    match when {
        When::Never => Ok(None),
        When::Auto => {
            let is_workflow = variable("GITHUB_ACTIONS").as_deref() == Some(OsStr::new("true"));
            Ok(path.filter(|_| is_workflow))
        }
        When::Always => path.map(Some).ok_or_else(|| {
            CliError::usage("--github needs the variable GITHUB_STEP_SUMMARY, which is not set")
                .with_help(
                    "GitHub sets it for the steps of a workflow; leave out --github elsewhere",
                )
        }),
    }
}

/// Adds the summary of a run to a file, and returns the annotations of its failed jobs.
pub(crate) fn write_summary(model: &RunModel, path: &std::path::Path) -> Result<String, CliError> {
    let failed = |error| CliError::unwritable(path, error);
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .map_err(failed)?;
    markdown(model, &mut file).map_err(failed)?;
    let mut text = Vec::new();
    annotations(model, &mut text).map_err(failed)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(when: When, variables: &[(&str, &str)]) -> Result<Option<PathBuf>, CliError> {
        wanted_summary(when, |name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn a_summary_is_written_in_workflows_and_where_it_is_asked_for() {
        let file = ("GITHUB_STEP_SUMMARY", "/s.md");
        let action = ("GITHUB_ACTIONS", "true");
        assert_eq!(wanted(When::Auto, &[file]).ok(), Some(None));
        assert_eq!(wanted(When::Auto, &[action]).ok(), Some(None));
        assert_eq!(
            wanted(When::Auto, &[file, action]).ok(),
            Some(Some("/s.md".into()))
        );
        assert_eq!(wanted(When::Never, &[file, action]).ok(), Some(None));
        assert_eq!(
            wanted(When::Always, &[file]).ok(),
            Some(Some("/s.md".into()))
        );
        assert!(wanted(When::Always, &[action]).is_err());
    }
}
