//! Makes the work folder of a process out of a manifest and the contents of the store.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use ratchet_caching::{Clock as _, SystemClock};
use rustix::fs::{Mode, fchmod};

use super::lock::FolderLock;
use super::session::HostFolders;
use super::tree::{self, Tree};
use super::wire::{
    ContentDigest, FolderAnswer, MODE_BITS, Manifest, ManifestEntry, ManifestKind, Problem,
    relative,
};

/// A work folder that was made.
#[derive(Debug)]
pub(super) struct MadeFolder {
    /// Where it is.
    pub(super) path: PathBuf,
    /// The lock on a folder that stays when its process has ended, held until then. Other folders have no lock of their
    /// own.
    pub(super) kept: Option<FolderLock>,
}

impl MadeFolder {
    /// Removes the folder, or keeps it if that was asked for.
    pub(super) fn give_up(self) -> io::Result<()> {
        if self.kept.is_none() {
            return tree::remove(&self.path);
        }
        // The time for which the folder stays starts now.
        File::open(&self.path)?.set_modified(SystemClock.now())
    }
}

/// Removes a folder whose making has failed, on drop.
struct UnfinishedFolder(Option<PathBuf>);

impl Drop for UnfinishedFolder {
    fn drop(&mut self) {
        if let Some(folder) = &self.0 {
            // If the removal fails, the folder is removed with the session of its agent.
            let _ = tree::remove(folder);
        }
    }
}

/// Makes the work folder of a process, unless contents are missing.
pub(super) fn make(
    folders: &HostFolders,
    id: u64,
    manifest: Manifest,
) -> Result<(FolderAnswer, Option<MadeFolder>), Problem> {
    let is_missing = |entry: &ManifestEntry| match entry.is {
        ManifestKind::File { digest, size, .. } => {
            (!folders.store.has(digest, size)).then_some(digest)
        }
        ManifestKind::Folder { .. } | ManifestKind::Link { .. } => None,
    };
    let mut contents: Vec<ContentDigest> = manifest.entries.iter().filter_map(is_missing).collect();
    if !contents.is_empty() {
        contents.sort_unstable();
        contents.dedup();
        return Ok((FolderAnswer::Missing { contents }, None));
    }
    let not_made = |error: io::Error| Problem::io("no work folder can be made", &error);
    let folder = folders.make_work_folder(id, manifest.keep.as_deref());
    let folder = folder.map_err(not_made)?;
    let kept = (manifest.keep.as_ref()).map(|_| FolderLock::hold_itself(&folder));
    let kept = kept.transpose().map_err(not_made)?;
    let mut guard = UnfinishedFolder(Some(folder.clone()));
    if let Some(missing) = fill(folders, &folder, manifest.entries)? {
        let contents = vec![missing];
        return Ok((FolderAnswer::Missing { contents }, None));
    }
    guard.0 = None;
    let made = MadeFolder {
        path: folder.clone(),
        kept,
    };
    let folder = folder.as_os_str().into();
    Ok((FolderAnswer::Made { folder }, Some(made)))
}

/// Fills a folder. Returns a content that was removed from the store in the meantime, if there is one.
fn fill(
    folders: &HostFolders,
    folder: &Path,
    entries: Vec<ManifestEntry>,
) -> Result<Option<ContentDigest>, Problem> {
    let tree = Tree::open(folder).map_err(|error| Problem::io(folder.display(), &error))?;
    let mut folder_modes = Vec::new();
    for ManifestEntry { name, is } in entries {
        let name = relative(name).map_err(|why| Problem::Other {
            message: format!("a name that was pushed is refused: {why}"),
        })?;
        let failed = |error: io::Error| {
            let path = folder.join(&name);
            Problem::io(format!("{} cannot be written", path.display()), &error)
        };
        match is {
            ManifestKind::Folder { mode } => {
                tree.make_folder(&name).map_err(failed)?;
                folder_modes.push((name, mode));
            }
            ManifestKind::Link { target } => {
                let target = OsString::from(target);
                tree.make_link(&name, &target).map_err(failed)?;
            }
            ManifestKind::File { digest, size, mode } => {
                let mut file = tree.make_file(&name).map_err(failed)?;
                if !folders
                    .store
                    .copy(digest, size, &mut file)
                    .map_err(failed)?
                {
                    return Ok(Some(digest));
                }
                let mode = Mode::from_raw_mode(mode & MODE_BITS);
                fchmod(&file, mode).map_err(|error| failed(error.into()))?;
            }
        }
    }
    // Modes are set at the end, because nothing could be written into a read-only folder.
    for (name, mode) in folder_modes.into_iter().rev() {
        tree.set_folder_mode(&name, mode).map_err(|error| {
            Problem::io(format!("{} cannot be changed", name.display()), &error)
        })?;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;

    use super::*;
    use crate::remote::message::WireText;

    fn entry(name: &str, is: ManifestKind) -> ManifestEntry {
        ManifestEntry {
            name: WireText::from(OsStr::new(name)),
            is,
        }
    }

    fn link(target: &str) -> ManifestKind {
        ManifestKind::Link {
            target: WireText::from(OsStr::new(target)),
        }
    }

    #[test]
    fn a_manifest_that_would_write_outside_of_its_folder_makes_none() {
        let cache = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        let folders = HostFolders::open(cache.path()).unwrap();
        let folder = || ManifestKind::Folder { mode: 0o755 };
        let path = outside.path().to_str().unwrap();
        for entries in [
            vec![entry("../up", folder())],
            vec![entry(&format!("{path}/a"), folder())],
            vec![entry("out", link(path)), entry("out/a", folder())],
            vec![entry("out", link(path)), entry("out/a", link("b"))],
        ] {
            let manifest = Manifest {
                keep: None,
                entries,
            };
            let made = make(&folders, 1, manifest.clone());
            assert!(made.is_err(), "{manifest:?}");
        }
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
        // The folder was removed each time, or it could not be made again.
        let manifest = Manifest {
            keep: None,
            entries: vec![entry("a/b", folder()), entry("a/l", link("b"))],
        };
        let (answer, made) = make(&folders, 1, manifest).unwrap();
        assert!(matches!(answer, FolderAnswer::Made { .. }));
        assert!(made.unwrap().path.join("a/b").is_dir());
    }
}
