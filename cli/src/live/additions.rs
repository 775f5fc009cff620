//! The jobs that were added to a run, and the record of them, with which `resume` goes on.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ratchet_runtime::journal::JournalError;
use ratchet_runtime::{History, Job, JobKey, JobState, Status};
use tokio::sync::Mutex;

use crate::job_file::{Addition, JobAdder, JobFate, StartedParts};

/// The folder in the folder of a run that has what was added to it, each text in a file that is called by its number.
const FOLDER: &str = "added";

/// The end of the names of these files.
const EXTENSION: &str = "json";

/// How jobs are added to a run.
pub(crate) struct JobAdding {
    /// Reads the next text.
    pub(super) adder: Mutex<Arc<JobAdder>>,
    /// What the run has begun with.
    pub(super) started: StartedParts,
    /// The record of what was added.
    pub(super) record: AdditionRecord,
    /// The journal of the run, which has the jobs that have ended.
    pub(super) journal: PathBuf,
    /// Does with each job what was done with those that the run began with.
    pub(super) prepare: Box<dyn Fn(Job) -> Job + Send + Sync>,
}

impl JobAdding {
    /// Adds jobs to the run that has this folder and this journal.
    pub(crate) fn new(
        adder: Arc<JobAdder>,
        started: StartedParts,
        (run_folder, journal): (&Path, PathBuf),
        prepare: impl Fn(Job) -> Job + Send + Sync + 'static,
    ) -> Self {
        Self {
            adder: Mutex::new(adder),
            started,
            record: AdditionRecord::of(run_folder),
            journal,
            prepare: Box::new(prepare),
        }
    }
}

/// The texts that were added to a run, in the order in which they were added.
#[derive(Debug)]
pub(crate) struct AdditionRecord {
    folder: PathBuf,
}

impl AdditionRecord {
    /// Returns the record of the run that has this folder.
    pub(crate) fn of(run_folder: &Path) -> Self {
        Self {
            folder: run_folder.join(FOLDER),
        }
    }

    /// Returns the folder of the record, for messages.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the number of the next text, from 1 on.
    pub(super) fn next_number(&self) -> io::Result<u32> {
        Ok(self.numbers()?.last().map_or(1, |last| last + 1))
    }

    /// Records a text, before its jobs are added: if this process is killed in between, `resume` runs them.
    pub(super) fn write(&self, number: u32, addition: &Addition) -> io::Result<()> {
        // Who could write there would say which commands `resume` runs.
        let mut folder = fs::DirBuilder::new();
        folder.recursive(true).mode(0o700).create(&self.folder)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        serde_json::to_writer(io::BufWriter::new(&mut file), addition)?;
        file.flush()?;
        file.as_file().sync_data()?;
        file.persist(self.path(number))?;
        Ok(())
    }

    /// Removes a text whose jobs were not added after all.
    pub(super) fn withdraw(&self, number: u32) -> io::Result<()> {
        fs::remove_file(self.path(number))
    }

    /// Reads the texts, each with its number.
    pub(crate) fn read(&self) -> io::Result<Vec<(u32, Addition)>> {
        let numbers = self.numbers()?.into_iter();
        let texts = numbers.map(|number| {
            let text = fs::read(self.path(number))?;
            Ok((number, serde_json::from_slice(&text)?))
        });
        texts.collect()
    }

    fn path(&self, number: u32) -> PathBuf {
        self.folder.join(format!("{number}.{EXTENSION}"))
    }

    /// Returns the numbers of the texts, in ascending order. Files of other names are what a killed process has left.
    fn numbers(&self) -> io::Result<Vec<u32>> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut numbers = Vec::new();
        for entry in entries {
            let path = PathBuf::from(entry?.file_name());
            let is_text = path.extension().is_some_and(|end| end == EXTENSION);
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            let number = stem.and_then(|stem| stem.parse::<u32>().ok());
            numbers.extend(number.filter(|_| is_text));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }
}

/// Returns what has become of these jobs, as far as the run knows them: `found` is what its loop knows of each, and its journal
/// has those that have ended.
pub(super) fn fates(
    journal: &Path,
    ids: Vec<JobKey>,
    found: &[Option<JobState>],
) -> Result<HashMap<JobKey, JobFate>, JournalError> {
    let history = History::load(journal)?;
    let mut fates = HashMap::new();
    for (id, found) in ids.into_iter().zip(found) {
        let recorded = || {
            let fate = match history.find(&id)?.status {
                Status::Succeeded => JobFate::Succeeded,
                other => JobFate::Lost(ended_as(other)),
            };
            Some(fate)
        };
        let fate = found.as_ref().map(|_| JobFate::Living).or_else(recorded);
        fates.extend(fate.map(|fate| (id, fate)));
    }
    Ok(fates)
}

/// Says how a job has ended, after `has`.
fn ended_as(status: Status) -> String {
    match status {
        Status::Failed => "failed".to_owned(),
        Status::Cancelled => "been cancelled".to_owned(),
        Status::Skipped => "been skipped".to_owned(),
        other => format!("ended as {}", other.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::DocumentFormat;

    fn addition(text: &str) -> Addition {
        Addition {
            name: "more.yaml".to_owned(),
            folder: "/".into(),
            format: DocumentFormat::Yaml,
            text: text.to_owned(),
        }
    }

    #[test]
    fn texts_are_read_in_the_order_in_which_they_were_added() {
        let folder = tempfile::tempdir().unwrap();
        let record = AdditionRecord::of(folder.path());
        assert!(record.read().unwrap().is_empty());
        for number in 1..=11 {
            assert_eq!(record.next_number().unwrap(), number);
            record
                .write(number, &addition(&number.to_string()))
                .unwrap();
        }
        record.withdraw(11).unwrap();
        assert_eq!(record.next_number().unwrap(), 11);
        // What a process has left that was killed while it wrote.
        fs::write(record.folder().join(".tmpabc"), "{").unwrap();
        let texts = record.read().unwrap();
        let expected = (1..=10).map(|number: u32| (number, addition(&number.to_string())));
        assert_eq!(texts, expected.collect::<Vec<_>>());
    }
}
