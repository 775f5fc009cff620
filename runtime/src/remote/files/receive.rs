//! Writes the files that are pulled from a host. The host is not trusted.
//!
//! Everything is written into a new folder next to its target, and renamed when all has come. No link is followed in
//! it.

mod staging;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, fchmod};
use rustix::io::Errno;

use self::staging::Staging;
use super::frames::{Frame, Frames};
use super::pieces::PieceReceiver;
use super::tree::Tree;
use super::wire::{
    ContentDigest, MODE_BITS, Problem, PulledEntry, PulledKind, leads_outside, relative,
};
use crate::os::{FileError, WorkPath};
use crate::remote::text::printable;

/// How many files, folders and links a pull may bring.
const MAX_ENTRIES: usize = 500_000;

/// How many characters of a host's message are shown.
const MESSAGE_CHARACTERS: usize = 500;

/// The name of a pulled path within its staging folder.
const TOP: &str = "top";

/// Why a pull has failed.
#[derive(Debug)]
pub(super) enum ReceiveError {
    /// What came is not acceptable, or cannot be written.
    Files(FileError),
    /// The stream broke off.
    Cut,
}

impl From<FileError> for ReceiveError {
    fn from(error: FileError) -> Self {
        Self::Files(error)
    }
}

/// Receives all frames of a pull. The files appear under their names at the end, or not at all.
pub(super) fn receive(
    host: &str,
    paths: Vec<WorkPath>,
    pieces: &mut PieceReceiver,
) -> Result<(), ReceiveError> {
    let mut receiving = Receiving {
        host,
        paths: paths.into_iter().map(PulledPathState::new).collect(),
        current: 0,
        entries: 0,
        file: None,
    };
    let mut frames = Frames::default();
    while let Some(piece) = pieces.blocking_recv() {
        frames.push(&piece);
        loop {
            match frames.next() {
                Ok(None) => break,
                Ok(Some(Frame::Done)) => return Ok(receiving.finish()?),
                Ok(Some(frame)) => receiving.take(frame)?,
                Err(reason) => return Err(receiving.refuse(&reason).into()),
            }
        }
    }
    Err(ReceiveError::Cut)
}

/// The state of a pull: the paths, and the position in the stream of frames.
struct Receiving<'a> {
    host: &'a str,
    paths: Vec<PulledPathState>,
    /// The number of the path that is being received.
    current: usize,
    entries: usize,
    /// The file whose content is being received.
    file: Option<OpenFile>,
}

/// A file whose content is being received.
struct OpenFile {
    file: File,
    path: PathBuf,
    left: u64,
    mode: u32,
    hash: blake3::Hasher,
}

/// A path that is pulled, and the entries that have come of it.
struct PulledPathState {
    path: WorkPath,
    staging: Option<Staging>,
    /// The entries that have come, by names beneath the path. The first one is the path itself.
    entries: Vec<StagedEntry>,
}

/// An entry that was written into the staging folder.
struct StagedEntry {
    name: PathBuf,
    /// The mode of a folder.
    folder_mode: Option<u32>,
}

impl PulledPathState {
    fn new(path: WorkPath) -> Self {
        Self {
            path,
            staging: None,
            entries: Vec::new(),
        }
    }
}

impl Receiving<'_> {
    fn refuse(&self, reason: &str) -> FileError {
        let path = self.paths.get(self.current).map(|state| state.path.here());
        FileError::Refused {
            host: self.host.to_owned(),
            path: path.unwrap_or_default(),
            reason: printable(reason.as_bytes(), MESSAGE_CHARACTERS),
        }
    }

    /// Handles one frame.
    fn take(&mut self, frame: Frame) -> Result<(), FileError> {
        match frame {
            Frame::Entry(entry) => self.entry(entry),
            Frame::Data(bytes) => self.data(&bytes),
            Frame::End(digest) => self.end(digest),
            Frame::Problem(Problem::NotMade { path }) => match self.paths.get(path) {
                Some(state) => Err(FileError::NotMade {
                    path: state.path.here(),
                }),
                None => Err(self.refuse("it is about a path that was not requested")),
            },
            Frame::Problem(Problem::Other { message }) => Err(FileError::OnHost {
                host: self.host.to_owned(),
                message: printable(message.as_bytes(), MESSAGE_CHARACTERS),
            }),
            Frame::Done => Ok(()),
        }
    }

    /// Handles the head of an entry: checks its name and kind, and makes it in the staging folder.
    fn entry(&mut self, entry: PulledEntry) -> Result<(), FileError> {
        if self.file.is_some() {
            return Err(self.refuse("a file was not complete"));
        }
        let name = relative(entry.name).map_err(|why| self.refuse(why))?;
        let is_top = name.as_os_str().is_empty();
        if is_top {
            let expected = match self.paths.first() {
                Some(first) if first.entries.is_empty() => 0,
                _ => self.current + 1,
            };
            if entry.path != expected || expected >= self.paths.len() {
                return Err(self.refuse("it is about a path that was not requested"));
            }
            self.current = expected;
        } else if entry.path != self.current || self.paths[self.current].entries.is_empty() {
            return Err(self.refuse("an entry came before its folder"));
        }
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            return Err(self.refuse(&format!("more than {MAX_ENTRIES} files and folders came")));
        }
        if has_control(&name) {
            return Err(self.refuse("a name has control characters"));
        }
        let asked_for_folder = self.paths[self.current].path.is_folder();
        if is_top && asked_for_folder && !matches!(entry.is, PulledKind::Folder { .. }) {
            return Err(self.refuse("it is no folder"));
        }
        if let PulledKind::Link { target } = &entry.is {
            self.check_link(&name, &PathBuf::from(OsString::from(target.clone())))?;
        }
        let state = &mut self.paths[self.current];
        let staging = match &mut state.staging {
            Some(staging) => staging,
            none => none.insert(Staging::beside(&state.path)?),
        };
        let inside = Path::new(TOP).join(&name);
        let inside: PathBuf = inside.components().collect();
        let failed = |source| FileError::Write {
            path: beneath(&state.path.here(), &name),
            source,
        };
        let mut folder_mode = None;
        match entry.is {
            PulledKind::Folder { mode } => {
                staging.tree.make_folder(&inside).map_err(failed)?;
                folder_mode = Some(mode & MODE_BITS);
            }
            PulledKind::Link { target } => {
                let target = OsString::from(target);
                staging.tree.make_link(&inside, &target).map_err(failed)?;
            }
            PulledKind::File { size, mode } => {
                if size > staging.free().map_err(failed)? {
                    return Err(failed(Errno::NOSPC.into()));
                }
                self.file = Some(OpenFile {
                    file: staging.tree.make_file(&inside).map_err(failed)?,
                    path: beneath(&state.path.here(), &name),
                    left: size,
                    mode: mode & MODE_BITS,
                    hash: blake3::Hasher::new(),
                });
            }
        }
        state.entries.push(StagedEntry { name, folder_mode });
        Ok(())
    }

    /// Refuses a link that leads out of the folder that the pulled paths are relative to.
    fn check_link(&self, name: &Path, target: &Path) -> Result<(), FileError> {
        let path = self.paths[self.current].path.name();
        let parts = path.components().count() + name.components().count();
        if has_control(target) {
            return Err(self.refuse("the target of a link has control characters"));
        }
        if target.as_os_str().is_empty() || leads_outside(target, parts.saturating_sub(1)) {
            let link = beneath(path, name);
            return Err(self.refuse(&format!(
                "`{}` is a link that leads outside, to `{}`",
                link.display(),
                target.display()
            )));
        }
        Ok(())
    }

    /// Writes a piece of the current file.
    fn data(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        let Some(file) = &mut self.file else {
            return Err(self.refuse("a content came before its file"));
        };
        let Some(left) = file.left.checked_sub(bytes.len() as u64) else {
            return Err(self.refuse("a file was longer than announced"));
        };
        file.left = left;
        file.hash.update(bytes);
        file.file
            .write_all(bytes)
            .map_err(|source| FileError::Write {
                path: file.path.clone(),
                source,
            })
    }

    /// Ends the current file: checks its size and digest, and sets its mode.
    fn end(&mut self, digest: ContentDigest) -> Result<(), FileError> {
        let Some(file) = self.file.take() else {
            return Err(self.refuse("a content ended before its file came"));
        };
        if file.left > 0 {
            return Err(self.refuse("a file was shorter than announced"));
        }
        if *file.hash.finalize().as_bytes() != digest.0 {
            return Err(self.refuse("a file came damaged"));
        }
        fchmod(&file.file, Mode::from_raw_mode(file.mode)).map_err(|error| FileError::Write {
            path: file.path,
            source: error.into(),
        })
    }

    /// Gives all entries their names. Obstacles are found before anything is renamed.
    fn finish(mut self) -> Result<(), FileError> {
        if self.file.is_some() {
            return Err(self.refuse("a file was not complete"));
        }
        if let Some(missing) = self.paths.iter().position(|state| state.entries.is_empty()) {
            self.current = missing;
            return Err(self.refuse("it did not come"));
        }
        for state in &self.paths {
            state.check_target()?;
        }
        self.paths.iter().try_for_each(PulledPathState::commit)
    }
}

/// Whether a name has control characters, which a terminal obeys.
fn has_control(name: &Path) -> bool {
    name.to_string_lossy().chars().any(char::is_control)
}

/// Joins a name that may be empty.
fn beneath(path: &Path, name: &Path) -> PathBuf {
    path.components().chain(name.components()).collect()
}

impl PulledPathState {
    fn failed(&self, name: &Path, source: io::Error) -> FileError {
        FileError::Write {
            path: beneath(&self.path.here(), name),
            source,
        }
    }

    /// Returns the folder that already exists where a pulled folder goes, if there is one. A link may lead to it.
    fn present_folder(&self) -> Result<Option<Tree>, FileError> {
        match Tree::open(&self.path.here()) {
            Ok(tree) => Ok(Some(tree)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed(Path::new(""), error)),
        }
    }

    /// Refuses a target where an entry of another kind exists.
    fn check_target(&self) -> Result<(), FileError> {
        let is_folder = |entry: &StagedEntry| entry.folder_mode.is_some();
        let is_folder_here = |found: Option<FileType>| found == Some(FileType::Directory);
        let [top, ..] = &self.entries[..] else {
            return Ok(());
        };
        if !is_folder(top) {
            let here = self.path.here();
            return match here.symlink_metadata() {
                Ok(found) if found.is_dir() => Err(self.failed(Path::new(""), Errno::ISDIR.into())),
                _ => Ok(()),
            };
        }
        let Some(present) = self.present_folder()? else {
            return Ok(());
        };
        for entry in &self.entries[1..] {
            let found = present
                .kind(&entry.name)
                .map_err(|error| self.failed(&entry.name, error))?;
            if found.is_some() && is_folder_here(found) != is_folder(entry) {
                let error = if is_folder(entry) {
                    Errno::NOTDIR
                } else {
                    Errno::ISDIR
                };
                return Err(self.failed(&entry.name, error.into()));
            }
        }
        Ok(())
    }

    /// Renames what has come. An existing folder stays, and gets the entries of the pulled one.
    fn commit(&self) -> Result<(), FileError> {
        let (Some(staging), [top, ..]) = (&self.staging, &self.entries[..]) else {
            return Ok(());
        };
        let whole = |error| self.failed(Path::new(""), error);
        let Some(top_mode) = top.folder_mode else {
            return staging.rename_top(&self.path).map_err(whole);
        };
        if let Some(present) = self.present_folder()? {
            return self.merge(staging, &present);
        }
        // The mode of the top folder is set after the rename, because a read-only folder cannot be moved.
        for StagedEntry { name, folder_mode } in self.entries[1..].iter().rev() {
            if let Some(mode) = folder_mode {
                let inside = Path::new(TOP).join(name);
                let set = staging.tree.set_folder_mode(&inside, *mode);
                set.map_err(|error| self.failed(name, error))?;
            }
        }
        staging.rename_top(&self.path).map_err(whole)?;
        let moved = Tree::open(&self.path.here()).map_err(whole)?;
        moved
            .set_folder_mode(Path::new(""), top_mode)
            .map_err(whole)
    }

    /// Moves each file into an existing folder. Folders that are new get their modes.
    fn merge(&self, staging: &Staging, present: &Tree) -> Result<(), FileError> {
        let mut new_folders = Vec::new();
        for StagedEntry { name, folder_mode } in &self.entries[1..] {
            let failed = |error| self.failed(name, error);
            if let Some(mode) = folder_mode {
                if present.kind(name).map_err(failed)?.is_none() {
                    present.make_folder(name).map_err(failed)?;
                    new_folders.push((name, *mode));
                }
            } else {
                let inside = Path::new(TOP).join(name);
                let moved = staging.tree.rename(&inside, present, name);
                moved.map_err(failed)?;
            }
        }
        for (name, mode) in new_folders.into_iter().rev() {
            let set = present.set_folder_mode(name, mode);
            set.map_err(|error| self.failed(name, error))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
