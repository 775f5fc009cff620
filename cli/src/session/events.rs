//! Sinks of the events of a run: the file of `--events`, and the journal, which keeps events for reports.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use ratchet_runtime::event::{EventRecord, RunEvent, WorkerNews};
use ratchet_runtime::{EventFilter, Journal, Sink};

use crate::error::CliError;

/// Writes every event of a run to a file, one JSON object per line.
pub(super) struct EventFile {
    out: BufWriter<File>,
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

impl EventFile {
    /// Opens the file of events. Its former content is lost, unless the run `continues` it.
    pub(super) fn open(path: &Path, continues: bool) -> Result<(Self, EventFailure), CliError> {
        if path == Path::new("-") {
            return Err(
                CliError::usage("stdout carries results, so events cannot go there")
                    .with_help("name a file, or /dev/stderr"),
            );
        }
        let file = if continues {
            continued(path)
        } else {
            File::create(path)
        };
        let file = file.map_err(|error| CliError::unwritable(path, error))?;
        let failure = EventFailure {
            path: path.to_path_buf(),
            error: Arc::default(),
        };
        let sink = Self {
            out: BufWriter::new(file),
            failure: failure.clone(),
        };
        Ok((sink, failure))
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

/// Opens a file to append to it. A last line that was cut off, because the process was killed that wrote it, is removed.
fn continued(path: &Path) -> io::Result<File> {
    /// The most bytes that an event has, and more.
    const LONGEST: u64 = 64 << 20;
    let mut options = OpenOptions::new();
    let mut file = options.create(true).read(true).append(true).open(path)?;
    let length = file.metadata()?.len();
    if !file.metadata()?.is_file() || length == 0 {
        return Ok(file);
    }
    let from = length.saturating_sub(LONGEST);
    file.seek(SeekFrom::Start(from))?;
    let mut end = Vec::new();
    (&file).take(length - from).read_to_end(&mut end)?;
    let whole = memchr::memrchr(b'\n', &end).map_or(0, |at| at + 1);
    file.set_len(from + whole as u64)?;
    Ok(file)
}

impl Sink for EventFile {
    fn on(&mut self, record: &EventRecord) {
        let has_failed = self.failure.error.lock();
        if has_failed.unwrap_or_else(PoisonError::into_inner).is_some() {
            return;
        }
        let written = serde_json::to_writer(&mut self.out, record)
            .map_err(io::Error::from)
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

    fn record(event: RunEvent) -> EventRecord {
        EventRecord {
            v: EventRecord::VERSION,
            at_ms: 1,
            event,
        }
    }

    #[test]
    fn a_file_of_events_that_cannot_be_written_is_told_once() {
        let (mut sink, failure) = match EventFile::open(Path::new("/dev/full"), false) {
            Ok(opened) => opened,
            Err(error) => panic!("{error:?}"),
        };
        sink.on(&record(RunEvent::RunStarted { total: None }));
        sink.caught_up();
        sink.on(&record(RunEvent::RunStarted { total: None }));
        let error = failure.check().unwrap_err();
        assert!(format!("{error:?}").contains("/dev/full"), "{error:?}");
        assert!(failure.check().is_ok());
    }

    #[test]
    fn a_file_of_events_is_continued_without_a_line_that_was_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        for (before, kept) in [("", ""), ("{", ""), ("a\n", "a\n"), ("a\nb", "a\n")] {
            std::fs::write(&path, before).unwrap();
            let mut file = continued(&path).unwrap();
            file.write_all(b"c\n").unwrap();
            let all = std::fs::read_to_string(&path).unwrap();
            assert_eq!(all, format!("{kept}c\n"), "{before}");
        }
        // What has no content is written to as well.
        assert!(continued(Path::new("/dev/null")).is_ok());
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
