//! The record of how a run was steered, from which `resume` repeats the changes.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::num::NonZeroU32;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ratchet_runtime::Limit;
use serde::{Deserialize, Serialize};

/// The file in the folder of a run with its changes.
const FILE: &str = "steering";

/// A change that holds for the rest of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SteeringChange {
    /// The number of slots.
    Slots(NonZeroU32),
    /// A named limit.
    Limit(String, Limit),
}

/// The record of the changes that were made to a run in progress.
#[derive(Debug)]
pub(crate) struct SteeringRecord {
    path: PathBuf,
}

impl SteeringRecord {
    /// Returns the record of the run that has this folder.
    pub(crate) fn of(run_folder: &Path) -> Self {
        Self {
            path: run_folder.join(FILE),
        }
    }

    /// Adds a change, and syncs it to the disk before the client is told that the change was made.
    pub(super) fn add(&self, change: &SteeringChange) -> io::Result<()> {
        let mut line = serde_json::to_vec(change)?;
        line.push(b'\n');
        let mut options = OpenOptions::new();
        let mut file = options
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&self.path)?;
        file.write_all(&line)?;
        file.sync_data()
    }

    /// Reads the changes in the order in which they were made. An incomplete last line is left out.
    pub(crate) fn read(&self) -> io::Result<Vec<SteeringChange>> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut changes = Vec::new();
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 {
            if line.ends_with(b"\n") {
                changes.push(serde_json::from_slice(&line)?);
            }
            line.clear();
        }
        Ok(changes)
    }

    /// Returns the path of the record.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_read_as_they_were_made_and_a_torn_one_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let record = SteeringRecord::of(folder.path());
        assert!(record.read().unwrap().is_empty());
        let changes = [
            SteeringChange::Slots(NonZeroU32::new(3).unwrap()),
            SteeringChange::Limit("db".to_owned(), Limit::max(2).unwrap()),
        ];
        for change in &changes {
            record.add(change).unwrap();
        }
        let mut file = OpenOptions::new().append(true).open(record.path()).unwrap();
        file.write_all(b"{\"slots\":").unwrap();
        assert_eq!(record.read().unwrap(), changes);
    }
}
