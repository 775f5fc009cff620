//! Writes the results of `map`: outputs to stdout and stderr, lines into the joblog, and files into the results folder.

use std::io::Write;
use std::sync::Arc;
use std::time::SystemTime;

use ratchet_runtime::process::{Exit, Stream};
use ratchet_runtime::{Class, Failure, Outcome, Payload, Summary};
use serde::Deserialize;

use super::captured_output::RecordedOutput;
use super::command_line::ItemCommand;
use super::host_table::HostOutputs;
use super::item::Item;
use super::joblog::Joblog;
use super::live::LiveOutput;
use super::outputs::{CommandRecord, PendingOutput, PendingOutputs};
use super::print::Printer;
use super::results::ResultsFolder;
use super::results_table::ResultsTable;
use super::word::PlaceholderValues;
use crate::escape::{plain, text_of};
use crate::job_file::Protocol;
use crate::output::{Destination, OutputError};
use crate::report::{Report, describe};
use crate::spool::Spool;
use crate::style::Style;

/// Writes what the jobs of a map have printed, and their results.
pub(crate) struct MapReport {
    /// The outputs of commands whose outcomes have not arrived.
    pub(crate) outputs: Arc<PendingOutputs>,
    /// Whether items whose command could not be run are reported on stderr, because no summary reports them.
    pub(crate) reports_errors: bool,
    /// What is written to the output.
    pub(crate) written: MapOutput,
    /// The command of an item, unless a filter takes the items.
    pub(crate) command: Option<ItemCommand>,
    /// The protocol of the filter or worker that takes the items, if one does.
    pub(crate) protocol: Option<Protocol>,
    /// The clock for the times of day in the joblog.
    pub(crate) clock: fn() -> SystemTime,
    /// The log of commands, with `--joblog`.
    pub(crate) joblog: Option<Joblog>,
    /// Where the output of each command is kept, with `--results`.
    pub(crate) results: Option<KeptResults>,
}

/// Where the output of each command is kept.
pub(crate) enum KeptResults {
    /// A folder with files for each command.
    Folder(ResultsFolder),
    /// A file with a row for each command.
    Table(ResultsTable),
}

/// What a map writes to stdout.
pub(crate) enum MapOutput {
    /// The whole output of each command, once it has ended.
    Whole {
        printer: Printer,
        destination: Destination,
    },
    /// Nothing, because the lines were written as they came.
    Live {
        live: Arc<LiveOutput>,
        destination: Destination,
    },
    /// A table at the end of what each host printed, with `--each-host`.
    ByHost {
        table: HostOutputs,
        out: Box<dyn Write + Send>,
        destination: Destination,
    },
    /// Results in a format, with `--format`.
    Report(Box<dyn Report>),
}

impl Report for MapReport {
    fn outcome(&mut self, outcome: &Outcome) -> Result<(), OutputError> {
        // The jobs of a map are numbered, and their numbers are their names.
        let number: Option<u64> = outcome.id.as_str().parse().ok();
        if let (MapOutput::Live { live, .. }, Some(number)) = (&self.written, number) {
            live.begin_turn(number);
        }
        let (record, ran) = match self.outputs.take(&outcome.id) {
            Some(PendingOutput::Command(record)) => (Some(*record), true),
            Some(PendingOutput::Item(number, item)) => {
                (self.record_of(number, item, outcome)?, false)
            }
            None => (None, false),
        };
        // A result of an earlier part of the run was written to the joblog and to the results then.
        let is_new = ran || outcome.cached;
        if let Some(record) = record.as_ref().filter(|_| is_new) {
            self.write_record(record)?;
        }
        let never_ran = |failure: &Failure| matches!(failure.class, Class::Input | Class::Spawn);
        if self.reports_errors && outcome.failure().is_some_and(never_ran) {
            self.note(&describe(outcome, Style::PLAIN))?;
        }
        match &mut self.written {
            MapOutput::Whole {
                printer,
                destination,
            } => match record {
                Some(record) => printer
                    .write(&record)
                    .map_err(|error| destination.error(error)),
                None => Ok(()),
            },
            MapOutput::ByHost {
                table, destination, ..
            } => {
                let added = table.add(record, outcome);
                added.map_err(|error| destination.error(error))
            }
            MapOutput::Live { live, destination } => {
                if let Some(number) = number {
                    live.end_turn(number);
                }
                live.take_error()
                    .map_or(Ok(()), |error| Err(destination.error(error)))
            }
            MapOutput::Report(report) => report.outcome(outcome),
        }
    }

    fn idle(&mut self) -> Result<(), OutputError> {
        match &mut self.written {
            MapOutput::Whole {
                printer,
                destination,
            } => printer.flush().map_err(|error| destination.error(error)),
            MapOutput::Live { .. } | MapOutput::ByHost { .. } => Ok(()),
            MapOutput::Report(report) => report.idle(),
        }
    }

    fn finish(&mut self, summary: &Summary) -> Result<(), OutputError> {
        match &mut self.written {
            MapOutput::Whole { .. } | MapOutput::Live { .. } => self.idle(),
            MapOutput::ByHost {
                table,
                out,
                destination,
            } => {
                let written = table.write(out).and_then(|()| out.flush());
                written.map_err(|error| destination.error(error))
            }
            MapOutput::Report(report) => report.finish(summary),
        }
    }
}

impl MapReport {
    /// Writes a command into the joblog, and into the folder or table of results.
    fn write_record(&mut self, record: &CommandRecord) -> Result<(), OutputError> {
        if let Some(joblog) = &mut self.joblog {
            joblog.write(record)?;
        }
        match &mut self.results {
            Some(KeptResults::Folder(folder)) => folder.write(record)?,
            Some(KeptResults::Table(table)) => table.write(record)?,
            None => {}
        }
        Ok(())
    }

    /// Returns the record of a job that ran no command now, because a filter answered it or because its result is an
    /// earlier one.
    fn record_of(
        &mut self,
        number: u64,
        item: Arc<Item>,
        outcome: &Outcome,
    ) -> Result<Option<CommandRecord>, OutputError> {
        let Ok(answer) = &outcome.result else {
            return Ok(None);
        };
        // The result of a worker may have the form of a command's output, but is to be printed as it is.
        let is_command = self.protocol.is_none();
        let recorded = is_command.then(|| RecordedOutput::read(answer)).flatten();
        let (stdout, stderr) = match recorded {
            Some(RecordedOutput::Whole { stdout, stderr }) => (stdout, stderr),
            Some(RecordedOutput::TooLong) => {
                self.note(&format!(
                    "ratchet: the earlier output of `{}` was too long to be kept, so it is not printed again\n",
                    plain(&text_of(&item.joined()))
                ))?;
                return Ok(None);
            }
            None => (answer_line(self.protocol, answer), Vec::new()),
        };
        if let MapOutput::Live { live, .. } = &self.written {
            // `LiveOutput` remembers an error of stdout, and `outcome` returns it.
            let _ = live.write_lines(Stream::Stdout, &stdout, number, &item);
            let _ = live.write_lines(Stream::Stderr, &stderr, number, &item);
        }
        let spool = |bytes: Vec<u8>| {
            let mut spool = Spool::default();
            spool.push(&bytes);
            spool
        };
        let values = PlaceholderValues {
            item: &item,
            number,
            slot: None,
        };
        let command = self.command.as_ref();
        // `expand` fails for a line that is not a command. The job succeeded earlier, so its line was one.
        let command = command.and_then(|command| command.expand(values).ok());
        Ok(Some(CommandRecord {
            number,
            item,
            command: command.unwrap_or_default(),
            // Nobody knows when the command was started, so this is the time at which its result is used.
            started: (self.clock)(),
            ran: outcome.duration,
            exit: Exit::Code(0),
            stdout: spool(stdout),
            stderr: spool(stderr),
        }))
    }

    /// Writes a message about a job to stderr, unless the table or the results in a format contain it.
    fn note(&mut self, text: &str) -> Result<(), OutputError> {
        match &mut self.written {
            MapOutput::Whole {
                printer,
                destination,
            } => printer
                .note(text.as_bytes())
                .map_err(|error| destination.error(error)),
            MapOutput::Live { live, .. } => {
                live.note(text.as_bytes());
                Ok(())
            }
            // The table or the results contain the message.
            MapOutput::ByHost { .. } | MapOutput::Report(_) => Ok(()),
        }
    }
}

/// Returns the answer of a filter as a line.
fn answer_line(protocol: Option<Protocol>, answer: &Payload) -> Vec<u8> {
    let text = match protocol {
        Some(Protocol::Mcp) => text_of_tool(answer),
        Some(Protocol::BazelJson) => output_of_work(answer),
        _ => answer.read::<String>().ok(),
    };
    let mut line = text
        .unwrap_or_else(|| answer.as_str().to_owned())
        .into_bytes();
    if !line.ends_with(b"\n") {
        line.push(b'\n');
    }
    line
}

/// Returns the texts of a tool's result, if it consists of nothing else.
fn text_of_tool(answer: &Payload) -> Option<String> {
    #[derive(Deserialize)]
    struct Result {
        content: Vec<Block>,
    }
    #[derive(Deserialize)]
    struct Block {
        text: String,
    }
    let result: Result = answer.read().ok()?;
    let texts: Vec<String> = result.content.into_iter().map(|block| block.text).collect();
    Some(texts.join("\n"))
}

/// Returns the output in the answer of a Bazel worker.
fn output_of_work(answer: &Payload) -> Option<String> {
    /// The field of the answer that is read.
    #[derive(Deserialize)]
    struct Work {
        output: String,
    }
    Some(answer.read::<Work>().ok()?.output)
}
