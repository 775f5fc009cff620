//! Where the outputs of a map go: to stdout and stderr, into the joblog, into files.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use ratchet_runtime::process::Exit;
use ratchet_runtime::{Outcome, Summary};

use super::runner::{Kept, Live, Printed, Shelf};
use super::{Joblog, Printer, ResultsFolder, Spool};
use crate::error::CliError;
use crate::report::Place;
use crate::session::Recipient;

/// What becomes of what a command has printed.
pub(crate) struct MapRecipient {
    pub(crate) shelf: Arc<Shelf>,
    /// What commands print, or a report of how they ended.
    pub(crate) what: What,
    pub(crate) joblog: Option<(Joblog<File>, PathBuf)>,
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
            joblog.ended(printed).map_err(failed(path))?;
        }
        if let Some((results, path)) = &mut self.results {
            results.ended(printed).map_err(failed(path))?;
        }
        Ok(())
    }
}

impl Recipient for MapRecipient {
    fn outcome(&mut self, outcome: &Outcome) -> Result<(), CliError> {
        let printed = self.shelf.take(&outcome.id).and_then(|kept| match kept {
            Kept::Printed(printed) => Some(*printed),
            Kept::Item(number, item) => answered(number, item, outcome),
        });
        if let Some(printed) = &printed {
            self.keep(printed)?;
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

/// What a filter has answered, as if a command had printed it.
fn answered(number: u64, item: Arc<super::Item>, outcome: &Outcome) -> Option<Printed> {
    let answer = outcome.result.as_ref().ok()?;
    let mut stdout = Spool::default();
    match answer.read::<String>() {
        Ok(text) => stdout.push(text.as_bytes()),
        Err(_) => stdout.push(answer.as_str().as_bytes()),
    }
    stdout.push(b"\n");
    Some(Printed {
        number,
        item,
        command: Vec::new(),
        started: SystemTime::UNIX_EPOCH,
        ran: outcome.duration,
        exit: Exit::Code(0),
        stdout,
        stderr: Spool::default(),
    })
}

/// Opens the joblog; a run that is gone on with goes on with its log, too.
pub(crate) fn open_joblog(path: PathBuf, again: bool) -> Result<(Joblog<File>, PathBuf), CliError> {
    let opened = if again {
        File::options().append(true).create(true).open(&path)
    } else {
        File::create(&path)
    };
    let begun = opened.and_then(|file| match file.metadata()?.len() {
        0 => Joblog::begin(file),
        _ => Ok(Joblog::go_on(file)),
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
