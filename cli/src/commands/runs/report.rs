//! `ratchet runs report`: writes a report on a run.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use ratchet_caching::{Clock, SystemClock};
use ratchet_report::{RunModel, html, json, markdown, trace};
use ratchet_runtime::summary::Tally;

use super::{OpenedRun, model, open, show};
use crate::args::runs::{ReportArguments, ReportFormat};
use crate::error::CliError;
use crate::github::{step_summary, write_summary};
use crate::output::{Destination, Output};
use crate::report::{self, Report};

/// Writes a report on a recorded run.
pub(super) fn run(arguments: &ReportArguments) -> Result<(), CliError> {
    let format = arguments.format.unwrap_or_else(|| usual(arguments));
    let is_page = matches!(format, ReportFormat::Html | ReportFormat::Trace);
    if is_page && arguments.output.is_none() && io::stdout().is_terminal() {
        return Err(
            CliError::usage("this report cannot be shown on a terminal").with_help(match format {
                ReportFormat::Trace => {
                    "write it to a file: -o trace.json, and open that in Perfetto"
                }
                _ => "write it to a file: -o report.html, and open that in a browser",
            }),
        );
    }
    let opened = open(&arguments.state, arguments.run.as_deref())?;
    if arguments.github {
        let model = model(&opened)?;
        return write_for_github(&model);
    }
    let destination = match &arguments.output {
        Some(path) => Destination::of(path.clone()),
        None => Destination::Stdout,
    };
    // A report that cannot be made must not change an existing file, so the file is opened when all has been read.
    if format == ReportFormat::Junit {
        return write_junit(&opened, arguments.outputs, destination);
    }
    let model = model(&opened)?;
    let mut out = output(destination)?;
    out.write_by(|out| match format {
        ReportFormat::Html => html(&model, out),
        ReportFormat::Trace => trace(&model, out),
        ReportFormat::Markdown => markdown(&model, out),
        ReportFormat::Json | ReportFormat::Junit => json(&model, out),
    })?;
    Ok(out.flush()?)
}

/// Returns the format that the name of the file implies; HTML if it implies none.
fn usual(arguments: &ReportArguments) -> ReportFormat {
    if arguments.github {
        return ReportFormat::Markdown;
    }
    let extension = arguments.output.as_deref().and_then(Path::extension);
    match extension.and_then(std::ffi::OsStr::to_str) {
        Some("json") => ReportFormat::Json,
        Some("md") => ReportFormat::Markdown,
        Some("xml") => ReportFormat::Junit,
        _ => ReportFormat::Html,
    }
}

fn output(destination: Destination) -> Result<Output<'static>, CliError> {
    let writer: Box<dyn Write + Send> = match &destination {
        Destination::Stdout => Box::new(io::stdout()),
        Destination::File(path) => {
            Box::new(File::create(path).map_err(|error| CliError::unwritable(path, error))?)
        }
    };
    Ok(Output::new(writer, destination))
}

/// Writes the report as `JUnit` XML from the outcomes in the journal, which the model does not keep.
fn write_junit(
    opened: &OpenedRun,
    outputs: bool,
    destination: Destination,
) -> Result<(), CliError> {
    let started = opened.history.header().started;
    let mut report = report::junit(output(destination)?, started, outputs);
    let mut tally = Tally::default();
    for outcome in opened.history.outcomes() {
        let outcome = outcome?;
        tally.record(&outcome);
        report.outcome(&outcome)?;
    }
    report.finish(&show::summary(
        &opened.run,
        &opened.history,
        SystemClock.now(),
        &tally,
    ))?;
    Ok(())
}

/// Appends the report to the summary of the step, and prints annotations to stdout, from where GitHub takes them.
fn write_for_github(model: &RunModel) -> Result<(), CliError> {
    let Some(path) = step_summary() else {
        return Err(CliError::usage("GITHUB_STEP_SUMMARY is not set").with_help(
            "this format is for a step of a GitHub workflow; elsewhere use --format markdown",
        ));
    };
    let text = write_summary(model, &path)?;
    let written = io::stdout().write_all(text.as_bytes());
    written.map_err(|error| Destination::Stdout.error(error).into())
}
