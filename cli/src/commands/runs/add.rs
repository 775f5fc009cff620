//! `ratchet runs add`: adds jobs to a run in progress.

use std::ffi::OsStr;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use super::live::open;
use super::steer::write;
use crate::args::runs_live::AddArguments;
use crate::diagnostic::Diagnostics;
use crate::error::CliError;
use crate::escape::plain;
use crate::job_file::Addition;
use crate::live::{Added, AskError, Finding, Question};
use crate::style::{Style, When};

/// How many of the added jobs are named.
const NAMED: usize = 20;

/// Adds the jobs of a file or of stdin, and prints their ids.
pub(super) fn run(arguments: &AddArguments) -> Result<(), CliError> {
    let (run, file) = match &arguments.words[..] {
        [run, file] => (Some(run_name(run)?), file),
        [file, ..] => (None, file),
        [] => return Err(CliError::usage("no file is named")),
    };
    if file == "-" && io::stdin().is_terminal() {
        return Err(CliError::usage("there are no jobs: stdin is a terminal")
            .with_help("name a job file, or write jobs to stdin, a JSON object a line"));
    }
    let addition = Addition::read(Path::new(file))?;
    if addition.folder.to_str().is_none() {
        let folder = addition.folder.display();
        return Err(CliError::usage(format!(
            "the name of folder `{folder}` is not UTF-8, so a run cannot be told where the jobs are"
        )));
    }
    let mut live = open(&arguments.state, run)?;
    let asked = live.client.ask(&Question::Add(addition.clone()));
    let Added { jobs, warnings } = asked.map_err(|error| match error {
        AskError::Refused(refusal) if !refusal.findings.is_empty() => {
            let report = report(&addition, refusal.findings);
            CliError::usage(report.to_string()).with_diagnostics(vec![report])
        }
        error => error.into(),
    })?;
    if !warnings.is_empty() {
        let report = report(&addition, warnings);
        let text = report.render(Style::of_stderr(When::Auto));
        // If stderr is closed, the warnings are lost.
        let _ = io::stderr().write_all(text.as_bytes());
    }
    let names = jobs.iter().take(NAMED);
    let mut names: Vec<String> = names.map(|id| plain(id.as_str()).into_owned()).collect();
    if jobs.len() > NAMED {
        names.push(format!("and {} more", jobs.len() - NAMED));
    }
    let (count, names, id) = (jobs.len(), names.join(", "), live.id);
    let jobs = if count == 1 { "job" } else { "jobs" };
    write(&format!("{count} {jobs} added to run {id}: {names}\n"))
}

fn run_name(run: &OsStr) -> Result<&str, CliError> {
    run.to_str().ok_or_else(|| {
        CliError::usage(format!("there is no run `{}`", run.display()))
            .with_help("`ratchet runs` lists the runs")
    })
}

/// Returns what the run has found in a text, with the lines of the text.
fn report(addition: &Addition, findings: Vec<Finding>) -> Diagnostics {
    let findings = findings.into_iter();
    Diagnostics {
        diagnostics: findings
            .map(|found| found.in_text(&addition.text))
            .collect(),
        source: addition.source(),
    }
}
