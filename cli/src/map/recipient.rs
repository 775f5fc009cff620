//! Where the outputs of a map go: to stdout and stderr, into the joblog, into files.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use ratchet_runtime::process::{Exit, Stream};
use ratchet_runtime::{Class, Failure, Outcome, Payload, Summary};

use super::printout::Known;
use super::runner::{Kept, Live, Printed, Shelf};
use super::{Item, Joblog, Printer, ResultsFolder, Spool, Template};
use crate::error::CliError;
use crate::escape::{plain, text_of};
use crate::report::{Place, Style, describe, stdout};
use crate::session::{Recipient, Screen};

/// What becomes of what a command has printed.
pub(crate) struct MapRecipient {
    pub(crate) shelf: Arc<Shelf>,
    /// Why an item has no command that ran is said here, as nobody else says it.
    pub(crate) tells_errors: bool,
    /// What commands print, or a report of how they ended.
    pub(crate) what: What,
    /// The command of an item, where there is one for each.
    pub(crate) template: Option<Template>,
    pub(crate) clock: fn() -> SystemTime,
    pub(crate) joblog: Option<(Joblog<Box<dyn Write + Send>>, PathBuf)>,
    pub(crate) results: Option<(ResultsFolder, PathBuf)>,
}

pub(crate) enum What {
    /// Their outputs.
    Outputs {
        printer: Printer<Box<dyn Write + Send>, Box<dyn Write + Send>>,
        place: Place,
    },
    /// Nothing is left to write: lines were written as they came.
    Live { live: Arc<Live>, place: Place },
    /// Results in a format.
    Report(Box<dyn Recipient>),
}

impl MapRecipient {
    fn keep(&mut self, printed: &Printed) -> Result<(), CliError> {
        let failed = |path: &PathBuf| {
            let path = path.clone();
            move |source| CliError::Write { path, source }
        };
        if let Some((joblog, path)) = &mut self.joblog {
            let written = joblog.ended(printed);
            if path.as_os_str() == "-" {
                written.map_err(CliError::Output)?;
            } else {
                written.map_err(failed(path))?;
            }
        }
        if let Some((results, path)) = &mut self.results {
            results.ended(printed).map_err(failed(path))?;
        }
        Ok(())
    }
}

impl Recipient for MapRecipient {
    fn outcome(&mut self, outcome: &Outcome) -> Result<(), CliError> {
        let (printed, ran) = match self.shelf.take(&outcome.id) {
            Some(Kept::Printed(printed)) => (Some(*printed), true),
            Some(Kept::Item(number, item)) => (self.again(number, item, outcome)?, false),
            None => (None, false),
        };
        // Of what was done in an earlier part of the run, log and files know already.
        let is_news = ran || outcome.cached;
        if let Some(printed) = printed.as_ref().filter(|_| is_news) {
            self.keep(printed)?;
        }
        let never_ran = |failure: &Failure| matches!(failure.class, Class::Input | Class::Spawn);
        if self.tells_errors && outcome.failure().is_some_and(never_ran) {
            self.note(&describe(outcome, Style::PLAIN))?;
        }
        match &mut self.what {
            What::Outputs { printer, place } => match printed {
                Some(printed) => printer.write(&printed).map_err(|error| place.error(error)),
                None => Ok(()),
            },
            What::Live { live, place } => live
                .broken()
                .map_or(Ok(()), |error| Err(place.error(error))),
            What::Report(report) => report.outcome(outcome),
        }
    }

    fn idle(&mut self) -> Result<(), CliError> {
        match &mut self.what {
            What::Outputs { printer, place } => printer.flush().map_err(|error| place.error(error)),
            What::Live { .. } => Ok(()),
            What::Report(report) => report.idle(),
        }
    }

    fn finish(&mut self, summary: &Summary) -> Result<(), CliError> {
        match &mut self.what {
            What::Outputs { .. } | What::Live { .. } => self.idle(),
            What::Report(report) => report.finish(summary),
        }
    }
}

impl MapRecipient {
    /// What is to be printed for a job that ran no command now: a filter has answered it, or it was done before.
    fn again(
        &mut self,
        number: u64,
        item: Arc<Item>,
        outcome: &Outcome,
    ) -> Result<Option<Printed>, CliError> {
        let Ok(answer) = &outcome.result else {
            return Ok(None);
        };
        let (stdout, stderr) = match Known::read(answer) {
            Some(Known::Whole { stdout, stderr }) => (stdout, stderr),
            Some(Known::TooLong) => {
                self.note(&format!(
                    "ratchet: what `{}` printed before was too long to be kept, so it is not printed again\n",
                    plain(&text_of(&item.joined()))
                ))?;
                return Ok(None);
            }
            None => (line(answer), Vec::new()),
        };
        if let What::Live { live, .. } = &self.what {
            // What cannot be written is known to `Live`, which says so at once.
            let _ = live.write_lines(Stream::Stdout, &stdout, number, &item);
            let _ = live.write_lines(Stream::Stderr, &stderr, number, &item);
        }
        let spool = |bytes: Vec<u8>| {
            let mut spool = Spool::default();
            spool.push(&bytes);
            spool
        };
        let template = self.template.as_ref();
        let command = template.map(|template| template.expand(&item, number));
        let command = command.unwrap_or_default();
        Ok(Some(Printed {
            number,
            item,
            command,
            // When its result was taken.
            started: (self.clock)(),
            ran: outcome.duration,
            exit: Exit::Code(0),
            stdout: spool(stdout),
            stderr: spool(stderr),
        }))
    }

    /// Says something of an output. A report has it in its results.
    fn note(&mut self, text: &str) -> Result<(), CliError> {
        match &mut self.what {
            What::Outputs { printer, place } => printer
                .note(text.as_bytes())
                .map_err(|error| place.error(error)),
            What::Live { live, .. } => {
                live.note(text.as_bytes());
                Ok(())
            }
            What::Report(_) => Ok(()),
        }
    }
}

/// What a filter has answered, as a line.
fn line(answer: &Payload) -> Vec<u8> {
    let mut line = match answer.read::<String>() {
        Ok(text) => text.into_bytes(),
        Err(_) => answer.as_str().as_bytes().to_vec(),
    };
    line.push(b'\n');
    line
}

/// Opens the joblog, which may be stdout; a run that is gone on with goes on with its log, too.
pub(crate) fn open_joblog(
    path: PathBuf,
    screen: &Screen,
    again: bool,
) -> Result<(Joblog<Box<dyn Write + Send>>, PathBuf), CliError> {
    if path.as_os_str() == "-" {
        let begun = Joblog::begin(stdout(screen)).map_err(CliError::Output)?;
        return Ok((begun, path));
    }
    let opened = if again {
        File::options().append(true).create(true).open(&path)
    } else {
        File::create(&path)
    };
    let begun = opened.and_then(|file| {
        let is_empty = file.metadata()?.len() == 0;
        let file: Box<dyn Write + Send> = Box::new(file);
        if is_empty {
            Joblog::begin(file)
        } else {
            Ok(Joblog::go_on(file))
        }
    });
    match begun {
        Ok(joblog) => Ok((joblog, path)),
        Err(source) => Err(CliError::Create { path, source }),
    }
}

/// Opens the folder of results.
pub(crate) fn open_results(path: PathBuf) -> Result<(ResultsFolder, PathBuf), CliError> {
    match ResultsFolder::create(&path) {
        Ok(results) => Ok((results, path)),
        Err(source) => Err(CliError::Create { path, source }),
    }
}
