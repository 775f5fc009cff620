//! The record of a run: what is needed to go on with it.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use ratchet_caching::{Clock, SystemClock};
use ratchet_runtime::journal::{JournalError, Source};
use ratchet_runtime::{Durability, History, Journal, Payload, RunId, RunStore, Summary};
use serde::{Deserialize, Serialize};

use super::rules::Rules;
use crate::error::CliError;

/// A run that is written down.
#[derive(Debug)]
pub(super) struct Record {
    store: RunStore,
    id: RunId,
    pub(super) journal: Arc<Mutex<Journal>>,
}

/// How a run was begun: by these words in that folder.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct About {
    words: Vec<Word>,
    folder: Word,
}

/// A word that was typed: text, or bytes that are none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Word {
    Text(String),
    Bytes(Vec<u8>),
}

impl From<OsString> for Word {
    fn from(word: OsString) -> Self {
        match word.into_string() {
            Ok(text) => Self::Text(text),
            Err(word) => Self::Bytes(word.as_bytes().to_vec()),
        }
    }
}

impl From<Word> for OsString {
    fn from(word: Word) -> Self {
        match word {
            Word::Text(text) => text.into(),
            Word::Bytes(bytes) => Self::from_vec(bytes),
        }
    }
}

impl About {
    /// This process.
    fn current(folder: &Path) -> Self {
        Self {
            words: std::env::args_os().skip(1).map(Word::from).collect(),
            folder: folder.as_os_str().to_owned().into(),
        }
    }

    pub(crate) fn words(&self) -> impl Iterator<Item = OsString> {
        self.words.iter().cloned().map(OsString::from)
    }

    pub(crate) fn folder(&self) -> PathBuf {
        OsString::from(self.folder.clone()).into()
    }
}

/// A run that is gone on with.
#[derive(Debug)]
pub(crate) struct Again {
    pub(crate) store: RunStore,
    pub(crate) id: RunId,
}

impl Record {
    /// Begins the record of a run, unless none is wanted; of one that is gone on with, gives what it has
    /// come to so far.
    pub(super) fn begin(
        rules: &Rules,
        folder: &Path,
        source: Option<Source>,
        again: Option<Again>,
    ) -> Result<Option<(Self, Option<History>)>, CliError> {
        let about = Payload::from_value(&About::current(folder))
            .map_err(|error| CliError::Internal(error.to_string()))?;
        if let Some(Again { store, id }) = again {
            let path = store.journal(id);
            let (journal, history) =
                Journal::resume(path, SystemClock.now(), &about, rules.durability)?;
            let record = Self::new(store, id, journal);
            return Ok(Some((record, Some(history))));
        }
        if rules.no_record {
            return Ok(None);
        }
        let store = RunStore::at(rules.state_dir()?);
        let (id, journal) = store.create(SystemClock.now(), source, about, rules.durability)?;
        Ok(Some((Self::new(store, id, journal), None)))
    }

    fn new(store: RunStore, id: RunId, journal: Journal) -> Self {
        Self {
            store,
            id,
            journal: Arc::new(Mutex::new(journal)),
        }
    }

    /// The command that goes on with it.
    pub(super) fn rerun(&self, rules: &Rules) -> String {
        let mut words = vec![OsString::from("ratchet"), "resume".into()];
        words.push(self.id.to_string().into());
        if let Some(folder) = &rules.typed_state_dir {
            words.extend(["--state-dir".into(), folder.clone().into_os_string()]);
        }
        String::from_utf8_lossy(&crate::map::shell_line(&words)).into_owned()
    }

    /// The run has come to its end, or to a stop from which it can be gone on with. One without jobs is
    /// not kept.
    pub(super) fn end(self, summary: &Summary, done: bool) -> Result<(), JournalError> {
        if summary.total == 0 {
            drop(self.journal);
            return self.store.remove(self.id);
        }
        let journal = self.journal.lock();
        let mut journal = journal.unwrap_or_else(std::sync::PoisonError::into_inner);
        if done {
            journal.end(SystemClock.now(), summary)
        } else {
            journal.save()
        }
    }
}

/// A file as a source of jobs: by its size and its time one tells whether it is still the same.
pub(crate) fn source_of(path: &Path) -> Option<Source> {
    let path = std::path::absolute(path).ok()?;
    let known = std::fs::metadata(&path).ok()?;
    if !known.is_file() {
        return None;
    }
    let changed = known.modified().ok()?.duration_since(std::time::UNIX_EPOCH);
    Some(Source {
        name: path.display().to_string(),
        digest: format!("{}-{}", known.len(), changed.ok()?.as_nanos()),
    })
}

impl Rules {
    /// Where runs are recorded.
    fn state_dir(&self) -> Result<PathBuf, CliError> {
        match &self.state_dir {
            Some(folder) => Ok(folder.clone()),
            None => Err(crate::settings::SettingsError::NoStateFolder.into()),
        }
    }
}

/// How soon the record is safe from a power cut.
pub(super) fn durability(word: Option<&str>) -> Durability {
    match word {
        Some("none") => Durability::None,
        Some("each") => Durability::Each,
        _ => Durability::Batch,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back_as_they_were_typed() {
        let typed = [OsString::from("map"), OsString::from_vec(vec![b'a', 0xff])];
        let about = About {
            words: typed.iter().cloned().map(Word::from).collect(),
            folder: OsString::from("/tmp/ä").into(),
        };
        let text = serde_json::to_string(&about).unwrap();
        let back: About = serde_json::from_str(&text).unwrap();
        assert_eq!(back.words().collect::<Vec<_>>(), typed);
        assert_eq!(back.folder(), Path::new("/tmp/ä"));
    }
}
