//! Sinks of the events of a run: the file of `--events`, and the journal, which keeps events for reports.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use ratchet_runtime::event::{EventRecord, RunEvent, WorkerNews};
use ratchet_runtime::{EventFilter, Journal, Sink};

use crate::error::CliError;
use crate::output_file::OutputFile;

/// Writes every event of a run to a file, one JSON object per line.
pub(super) struct EventFile {
    /// The file, which the first event begins.
    file: OutputFile,
    out: BufWriter<OutputFile>,
    /// The first error, after which nothing more is written. It is checked at the end of the run.
    failure: EventFailure,
}

/// Reports whether all events could be written.
#[derive(Clone)]
pub(super) struct EventFailure {
    path: PathBuf,
    error: Arc<Mutex<Option<io::Error>>>,
}

impl EventFailure {
    /// Fails if an event could not be written. It reports this once.
    pub(super) fn check(&self) -> Result<(), CliError> {
        let mut error = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(error) = error.take() else {
            return Ok(());
        };
        let path = self.path.display();
        Err(
            CliError::internal(format!("the events of the run are incomplete in `{path}`"))
                .because(error),
        )
    }
}

/// Refuses a path at which no file can take events.
pub(super) fn check_event_path(path: &Path) -> Result<(), CliError> {
    if path != Path::new("-") {
        return Ok(());
    }
    Err(
        CliError::usage("stdout carries results, so events cannot go there")
            .with_help("name a file, or /dev/stderr"),
    )
}

impl EventFile {
    /// Makes the sink from a file that was opened at this path.
    pub(super) fn to(file: OutputFile, path: PathBuf) -> Self {
        Self {
            file: file.clone(),
            out: BufWriter::new(file),
            failure: EventFailure {
                path,
                error: Arc::default(),
            },
        }
    }

    /// Returns what reports, at the end of the run, whether all events could be written.
    pub(super) fn failure(&self) -> EventFailure {
        self.failure.clone()
    }

    /// Keeps the error of a write, if it is the first one.
    fn keep_first_error(&self, written: io::Result<()>) {
        if let Err(error) = written {
            let mut kept = self
                .failure
                .error
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            kept.get_or_insert(error);
        }
    }
}

impl Sink for EventFile {
    fn on(&mut self, record: &EventRecord) {
        let has_failed = self.failure.error.lock();
        if has_failed.unwrap_or_else(PoisonError::into_inner).is_some() {
            return;
        }
        let begun = self.file.begin();
        let written = begun
            .and_then(|()| Ok(serde_json::to_writer(&mut self.out, record)?))
            .and_then(|()| self.out.write_all(b"\n"));
        self.keep_first_error(written);
    }

    fn caught_up(&mut self) {
        let flushed = self.out.flush();
        self.keep_first_error(flushed);
    }

    fn event_filter(&self) -> EventFilter {
        EventFilter::Complete
    }

    fn name(&self) -> &'static str {
        "--events"
    }
}

/// Records in the journal the events that reports need and that do not follow from outcomes.
pub(super) struct JournalEvents {
    /// The journal. It is closed with the record of the run, even if this value lives longer.
    journal: Weak<Mutex<Journal>>,
}

impl JournalEvents {
    /// Makes a sink that records into this journal.
    pub(super) fn into_journal(journal: &Arc<Mutex<Journal>>) -> Self {
        Self {
            journal: Arc::downgrade(journal),
        }
    }
}

impl Sink for JournalEvents {
    fn on(&mut self, record: &EventRecord) {
        if !is_kept(&record.event) {
            return;
        }
        let Some(journal) = self.journal.upgrade() else {
            return;
        };
        let mut journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
        // A journal that cannot be written to keeps its failure, and the run ends with it at its next outcome.
        let _ = journal.event(record);
    }

    fn event_filter(&self) -> EventFilter {
        EventFilter::Run
    }

    fn name(&self) -> &'static str {
        "the journal"
    }
}

/// Whether an event is recorded in the journal. The usual starts and ends of workers are not: a pool that replaces its
/// workers after each job has millions of them.
fn is_kept(event: &RunEvent) -> bool {
    match event {
        RunEvent::Worker(news) => match news {
            WorkerNews::Ended { unexpected, .. } => *unexpected,
            WorkerNews::Waiting { .. } | WorkerNews::Broken { .. } => true,
            _ => false,
        },
        RunEvent::BreakerChanged(_)
        | RunEvent::LimitChanged { .. }
        | RunEvent::Admission { .. }
        | RunEvent::HintsDeclared { .. }
        | RunEvent::RunStopping { .. } => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output_file::FormerContent;

    fn record(event: RunEvent) -> EventRecord {
        EventRecord {
            v: EventRecord::VERSION,
            at_ms: 1,
            event,
        }
    }

    #[test]
    fn a_file_of_events_that_cannot_be_written_is_told_once() {
        let path = Path::new("/dev/full");
        let file = OutputFile::open(path, FormerContent::Lost).unwrap();
        let mut sink = EventFile::to(file, path.to_path_buf());
        let failure = sink.failure();
        sink.on(&record(RunEvent::RunStarted { total: None }));
        sink.caught_up();
        sink.on(&record(RunEvent::RunStarted { total: None }));
        let error = failure.check().unwrap_err();
        assert!(format!("{error:?}").contains("/dev/full"), "{error:?}");
        assert!(failure.check().is_ok());
    }

    #[test]
    fn the_journal_keeps_the_unexpected_ends_of_workers_and_not_the_usual_ones() {
        let ended = |unexpected| {
            is_kept(&RunEvent::Worker(WorkerNews::Ended {
                worker: ratchet_runtime::worker::WorkerName::new("w", 1),
                cause: String::new(),
                unexpected,
            }))
        };
        assert!(ended(true));
        assert!(!ended(false));
    }
}
