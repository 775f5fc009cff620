//! Compacts a journal: removes the records that do not count any more.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ratchet_ipc::{JobKey, Payload};

use super::error::JournalError;
use super::history::History;
use super::plan::RunPlan;
use super::record::{self, FullRecord, Record};
use super::{CHUNK, Durability, Journal, lock, sync_folder_of, syncer};
use crate::summary::Summary;

impl Journal {
    /// Rewrites the journal of a run that has [ended](Self::end), so that it has only the last outcome of each job.
    /// Returns whether there was anything to remove.
    ///
    /// The new journal is written next to the old one and replaces it by a rename, so a crash leaves either the old
    /// journal or the new one. A damaged journal is left as it is, so that people can still see what is wrong with it.
    pub fn compact(&mut self) -> Result<bool, JournalError> {
        self.save()?;
        let history = History::load(&self.path)?;
        let is_whole = history.damaged() == 0 && history.torn().is_none();
        let Some((at, summary)) = history.ended().filter(|_| is_whole) else {
            return Ok(false);
        };
        if !history.has_superseded() {
            return Ok(false);
        }
        let path = compacted_path(&self.path);
        let written = self.write_compacted(&path, &history, at, summary);
        let file = match written {
            Ok(Some(file)) => file,
            Ok(None) => {
                try_remove(&path);
                return Ok(false);
            }
            Err(error) => {
                try_remove(&path);
                return Err(error);
            }
        };
        // Closing the old file releases its lock. A process that waited for the lock checks that the file is still at
        // its path (`open_locked`) and then opens the new one.
        self.file = file;
        self.recorded = history.jobs() as u64;
        // The replaced syncer has the old file, where nothing is left to sync.
        match syncer(&self.path, &self.file, self.durability) {
            Ok(syncer) => self.syncer = syncer,
            Err(error) => self.keep_failure(Err(error))?,
        }
        Ok(true)
    }

    /// Writes the new journal and replaces the old one by it. Returns `None` and replaces nothing if a record cannot be
    /// copied.
    fn write_compacted(
        &self,
        path: &Path,
        history: &History,
        at: SystemTime,
        summary: &Summary,
    ) -> Result<Option<File>, JournalError> {
        let failed = |action| move |error| JournalError::io(action, path, error);
        // A file of this name may be left from a process that died during a compaction.
        try_remove(path);
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(failed("create"))?;
        // The new file has to be locked before it gets the journal's name, so that no other process opens it in
        // between.
        lock(path, &file)?;
        let old =
            File::open(&self.path).map_err(|error| JournalError::io("open", &self.path, error))?;
        let mut input = BufReader::with_capacity(CHUNK, old);
        let mut output = BufWriter::with_capacity(CHUNK, &file);
        let Some(last) = copy(&mut input, &mut output, history).map_err(failed("write"))? else {
            return Ok(None);
        };
        let (jobs, mut end) = (history.jobs() as u64, Vec::new());
        if let Some((planned_at, plan)) = &last.plan {
            record::write_planned(&mut end, jobs, *planned_at, plan)?;
        }
        if let Some((resumed_at, about)) = last.resumption {
            record::write_resumed(&mut end, jobs, history.resumed(), resumed_at, &about)?;
        }
        record::write_ended(&mut end, jobs, at, summary)?;
        output
            .write_all(&end)
            .and_then(|()| output.flush())
            .map_err(failed("write"))?;
        drop(output);
        if self.durability != Durability::None {
            // The content has to be on disk before the rename, or a crash could leave an empty file in place of an
            // intact journal.
            file.sync_all().map_err(failed("sync"))?;
        }
        fs::rename(path, &self.path).map_err(failed("rename"))?;
        if self.durability != Durability::None {
            sync_folder_of(&self.path)?;
        }
        Ok(Some(file))
    }
}

/// Of what each part of a run records, what the last part recorded.
#[derive(Default)]
struct LastPart {
    /// When the run was last resumed, and what the caller recorded about that. `None` if it was never resumed.
    resumption: Option<(SystemTime, Payload)>,
    /// When the last part began, and with which slots and limits.
    plan: Option<(SystemTime, RunPlan)>,
}

/// Copies the header and the outcomes that count, and returns what the last part recorded. Returns `None` if a record is not
/// what the history has read.
fn copy(
    input: &mut impl BufRead,
    output: &mut impl Write,
    history: &History,
) -> io::Result<Option<LastPart>> {
    let offsets = history.offsets();
    let mut counting = offsets.iter().peekable();
    let (mut line, mut copied) = (Vec::new(), Vec::new());
    let (mut offset, mut n, mut last) = (0, 0, LastPart::default());
    while offset < history.end() {
        line.clear();
        let read = input.read_until(b'\n', &mut line)? as u64;
        if line.pop_if(|end| *end == b'\n').is_none() {
            return Ok(None);
        }
        copied.clear();
        match record::read(&line) {
            Ok(Record::Header(_)) => {
                copied.extend_from_slice(&line);
                copied.push(b'\n');
            }
            Ok(Record::Job(_)) if counting.next_if_eq(&&offset).is_some() => {
                n += 1;
                if record::renumber(&mut copied, &line, n).is_none() {
                    return Ok(None);
                }
            }
            Ok(Record::Resumed { .. }) => match record::read_resumed(&line) {
                Ok(resumed) => last.resumption = Some(resumed),
                Err(_) => return Ok(None),
            },
            Ok(Record::Planned { .. }) => match record::read_full(&line) {
                Ok(FullRecord::Planned { at, plan }) => last.plan = Some((at, plan)),
                _ => return Ok(None),
            },
            // The record applies to the outcomes before it, so it keeps its place among them.
            Ok(Record::Suspect { ids, .. }) => {
                let ids: Vec<JobKey> = ids.iter().map(|id| JobKey::from(&**id)).collect();
                record::write_suspect(&mut copied, n, &ids)?;
            }
            Ok(Record::Suspended { at, .. }) => record::write_suspended(&mut copied, n, at)?,
            Ok(Record::Continued { at, .. }) => record::write_continued(&mut copied, n, at)?,
            Ok(Record::Remark { .. }) => {
                if record::renumber(&mut copied, &line, n).is_none() {
                    return Ok(None);
                }
            }
            // Superseded outcomes are dropped, and so are ends, since the last one is written again.
            Ok(Record::Job(_) | Record::Ended { .. }) => {}
            Err(_) => return Ok(None),
        }
        output.write_all(&copied)?;
        offset += read;
    }
    Ok(counting.peek().is_none().then_some(last))
}

/// Returns the path at which the new journal is written.
fn compacted_path(path: &Path) -> PathBuf {
    path.with_extension("compacted")
}

/// Removes a file if that is possible. The error is ignored: the next operation that needs the name fails with an error
/// of its own.
fn try_remove(path: &Path) {
    let _ = fs::remove_file(path);
}
