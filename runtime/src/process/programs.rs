//! The files that workers and commands are started from. Cached results depend on their content.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ratchet_caching::{CacheError, FileHasher, InputFiles, ProgramStamps};

use crate::ids::WorkerName;
use crate::os::ProcessConfig;

/// The words of a command, and the folders in which the files that they name are searched.
#[derive(Debug)]
pub(crate) struct CommandLine {
    /// The program and its arguments.
    pub(crate) words: Vec<OsString>,
    /// The folder it runs in, absolute.
    pub(crate) folder: PathBuf,
    /// The `PATH` in which the program is searched.
    search_path: Option<OsString>,
}

impl CommandLine {
    /// Collects what the command line of a process depends on. It fails if the folder cannot be resolved.
    pub(crate) fn of(process: &ProcessConfig) -> Result<Self, CacheError> {
        let program = process.command.clone().into_os_string();
        Ok(Self {
            words: std::iter::once(program)
                .chain(process.args.iter().cloned())
                .collect(),
            folder: absolute(process.working_dir.as_deref().unwrap_or(Path::new(".")))?,
            search_path: process.env.value_of("PATH".as_ref()),
        })
    }

    /// Hashes the files that the words name.
    pub(crate) fn read(&self, hasher: &FileHasher) -> Result<InputFiles, CacheError> {
        let search_path = self.search_path.as_deref();
        InputFiles::of_command(hasher, &self.folder, &self.words, search_path)
    }

    fn stamps(&self) -> Result<ProgramStamps, CacheError> {
        ProgramStamps::of(&self.folder, &self.words, self.search_path.as_deref())
    }
}

/// Returns the absolute path of a folder.
pub(crate) fn absolute(folder: &Path) -> Result<PathBuf, CacheError> {
    std::path::absolute(folder).map_err(|error| CacheError::Io {
        action: "find the folder of",
        path: folder.to_path_buf(),
        source: Arc::new(error),
    })
}

/// The content of the files that the workers of a pool run, as it was when the pool was made.
///
/// A worker reads its program once, when it starts, and then works for a long time. A script that is edited in that
/// time does not change what the worker answers, so its results belong to the content from before the edit. A worker
/// that replaces another one after the edit runs the new content, and for one that starts at that very moment the
/// content is unknown. So:
///
/// 1. The stamps of the files are taken before the first worker starts.
/// 2. What is read later counts only if it still has these stamps; then it is the content from before the start.
/// 3. A worker whose first result comes while the files still have them was started from that content, whatever
///    happens to the files afterwards. The results of any other worker are not kept.
#[derive(Debug)]
pub(crate) struct StartedPrograms {
    /// The command with the stamps of its files, or why they cannot be read.
    command: Result<(CommandLine, ProgramStamps), CacheError>,
    /// The digests of the files, once they were computed.
    content: OnceLock<InputFiles>,
    /// The workers that were started from this content. The name of a worker is never reused.
    started_from_it: Mutex<HashSet<WorkerName>>,
}

impl StartedPrograms {
    /// Takes the stamps of the files of a process. Call it before the first worker starts.
    pub(crate) fn about_to_start(process: &ProcessConfig) -> Self {
        let look = || {
            let command = CommandLine::of(process)?;
            let stamps = command.stamps()?;
            Ok((command, stamps))
        };
        Self {
            command: look(),
            content: OnceLock::new(),
            started_from_it: Mutex::default(),
        }
    }

    /// Returns the content that the first workers were started from, or why it is not known.
    pub(crate) fn content(&self, hasher: &FileHasher) -> Result<InputFiles, String> {
        if let Some(content) = self.content.get() {
            return Ok(content.clone());
        }
        let (command, stamps) = self.command.as_ref().map_err(ToString::to_string)?;
        let content = command.read(hasher).map_err(|error| error.to_string())?;
        if !content.have_stamps(stamps) {
            return Err("the files of its worker changed after the worker was started".to_owned());
        }
        Ok(self.content.get_or_init(|| content).clone())
    }

    /// Whether a worker is known to have been started from that content.
    pub(crate) fn is_known(&self, worker: &WorkerName) -> bool {
        let known = self.started_from_it.lock();
        known
            .unwrap_or_else(PoisonError::into_inner)
            .contains(worker)
    }

    /// Checks whether a worker that has a result was started from that content. It reads files, so it blocks.
    pub(crate) fn find_out(&self, worker: &WorkerName, hasher: &FileHasher) -> bool {
        let unchanged = self
            .content
            .get()
            .is_some_and(|content| content.verify(hasher).is_ok());
        if unchanged {
            let known = self.started_from_it.lock();
            known
                .unwrap_or_else(PoisonError::into_inner)
                .insert(worker.clone());
        }
        unchanged
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_worker_belongs_to_the_content_it_was_started_from() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("worker.py");
        fs::write(&script, "one").unwrap();
        let process = ProcessConfig::new("python3").arg("worker.py");
        let process = process.working_dir(folder.path());
        let hasher = FileHasher::default();
        let (early, late) = (WorkerName::new("w", 1), WorkerName::new("w", 2));

        let programs = StartedPrograms::about_to_start(&process);
        let content = programs.content(&hasher).unwrap();
        assert!(programs.find_out(&early, &hasher));
        fs::write(&script, "two").unwrap();
        // Lookups continue to use the content of that time, which the early worker still runs.
        assert_eq!(programs.content(&hasher), Ok(content));
        assert!(programs.is_known(&early) && !programs.is_known(&late));
        assert!(!programs.find_out(&late, &hasher));

        // The file was edited between the start and the first check, so it is unknown what the workers run.
        let programs = StartedPrograms::about_to_start(&process);
        fs::write(&script, "three").unwrap();
        assert!(programs.content(&hasher).is_err());
        assert!(!programs.find_out(&early, &hasher));
    }
}
