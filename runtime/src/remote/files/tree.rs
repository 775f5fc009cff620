//! A folder in which no link is followed.
//!
//! What is written into a work folder, or pulled from a host, must not leave its folder, even if a link that leads
//! elsewhere is in the way or is put there during the work. So each part of a path is opened by itself, from the folder
//! before it.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, fchmod, mkdirat, openat, renameat, statat,
    symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::wire::MODE_BITS;

/// The mode of a file or folder that is being filled.
const PRIVATE: Mode = Mode::RWXU;

/// How often the removal of a folder is retried while something is still being written into it.
const MAX_REMOVALS: u32 = 100;

/// The flags that open a folder itself, and never the target of a link.
const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// A folder that is open. Everything is done beneath it.
#[derive(Debug)]
pub(super) struct Tree {
    root: OwnedFd,
}

impl Tree {
    /// Opens a folder. Only here links are followed.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        let flags = FOLDER.difference(OFlags::NOFOLLOW);
        let root = openat(CWD, folder, flags, Mode::empty())?;
        Ok(Self { root })
    }

    /// Makes a folder with its parent folders. An existing one stays.
    pub(super) fn make_folder(&self, path: &Path) -> io::Result<()> {
        self.folder(path, true).map(drop)
    }

    /// Makes a new file for its owner alone, with its parent folders.
    pub(super) fn make_file(&self, path: &Path) -> io::Result<File> {
        let (folder, name) = self.parent(path, true)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&folder, name, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(file.into())
    }

    /// Makes a symbolic link, with its parent folders.
    pub(super) fn make_link(&self, path: &Path, target: &OsStr) -> io::Result<()> {
        let (folder, name) = self.parent(path, true)?;
        Ok(symlinkat(target, &folder, name)?)
    }

    /// Sets the mode of a folder.
    pub(super) fn set_folder_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        let folder = self.folder(path, false)?;
        Ok(fchmod(&folder, Mode::from_raw_mode(mode & MODE_BITS))?)
    }

    /// Returns the kind of the entry at a path, if there is one.
    pub(super) fn kind(&self, path: &Path) -> io::Result<Option<FileType>> {
        let found = self
            .parent(path, false)
            .and_then(|(folder, name)| Ok(statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)?));
        match found {
            Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Moves the entry at a path to a path of another tree, where it replaces what exists.
    pub(super) fn rename(&self, from: &Path, to: &Self, target: &Path) -> io::Result<()> {
        let (from_folder, from_name) = self.parent(from, false)?;
        let (to_folder, to_name) = to.parent(target, true)?;
        Ok(renameat(&from_folder, from_name, &to_folder, to_name)?)
    }

    /// Opens the folder that a path is in.
    fn parent<'a>(&self, path: &'a Path, makes: bool) -> io::Result<(OwnedFd, &'a OsStr)> {
        let name = path.file_name().ok_or(Errno::INVAL)?;
        let folder = self.folder(path.parent().unwrap_or(Path::new("")), makes)?;
        Ok((folder, name))
    }

    /// Opens a folder beneath this one, part by part without following links. With `makes`, missing folders are made.
    fn folder(&self, path: &Path, makes: bool) -> io::Result<OwnedFd> {
        let mut folder = self.root.try_clone()?;
        for part in path.components() {
            let Component::Normal(name) = part else {
                return Err(Errno::INVAL.into());
            };
            folder = match openat(&folder, name, FOLDER, Mode::empty()) {
                Err(Errno::NOENT) if makes => {
                    match mkdirat(&folder, name, PRIVATE) {
                        // Another task may have made it in between.
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(error) => return Err(error.into()),
                    }
                    openat(&folder, name, FOLDER, Mode::empty())?
                }
                opened => opened?,
            };
        }
        Ok(folder)
    }
}

/// Removes a folder with everything in it, even read-only folders. A folder that does not exist is not an error.
pub(super) fn remove(folder: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (folder.parent(), folder.file_name()) else {
        return Err(Errno::INVAL.into());
    };
    let parent = match Tree::open(parent) {
        Ok(parent) => parent,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut tries = 0;
    loop {
        match remove_at(&parent.root, name) {
            // A process that is being killed may still write into it.
            Err(Errno::NOTEMPTY | Errno::EXIST) if tries < MAX_REMOVALS => tries += 1,
            removed => return Ok(removed?),
        }
    }
}

/// Removes an entry, and if it is a folder, first everything in it. Links are removed, not followed.
fn remove_at(parent: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
    let folder = match openat(parent, name, FOLDER, Mode::empty()) {
        Ok(folder) => folder,
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTDIR | Errno::LOOP) => return unlink(parent, name, AtFlags::empty()),
        Err(Errno::ACCESS) => {
            // The folder is ours, and its mode does not let its owner read it.
            rustix::fs::chmodat(parent, name, PRIVATE, AtFlags::empty())?;
            openat(parent, name, FOLDER, Mode::empty())?
        }
        Err(error) => return Err(error),
    };
    fchmod(&folder, PRIVATE)?;
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        let name: &OsStr = std::os::unix::ffi::OsStrExt::from_bytes(name);
        remove_at(&folder, name)?;
    }
    unlink(parent, name, AtFlags::REMOVEDIR)
}

fn unlink(parent: &OwnedFd, name: &OsStr, flags: AtFlags) -> Result<(), Errno> {
    match unlinkat(parent, name, flags) {
        Err(Errno::NOENT) => Ok(()),
        unlinked => unlinked,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn nothing_is_written_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        symlink(outside.path(), folder.path().join("out")).unwrap();
        symlink(outside.path().join("file"), folder.path().join("file")).unwrap();
        let tree = Tree::open(folder.path()).unwrap();
        assert!(tree.make_file(Path::new("out/a")).is_err());
        assert!(tree.make_file(Path::new("file")).is_err());
        assert!(tree.make_folder(Path::new("out/a")).is_err());
        assert!(tree.make_link(Path::new("out/a"), "b".as_ref()).is_err());
        assert!(tree.set_folder_mode(Path::new("out"), 0o700).is_err());
        assert!(tree.make_file(Path::new("../a")).is_err());
        assert!(tree.make_file(Path::new("/tmp/a")).is_err());
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_is_removed_whatever_its_modes_are_and_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("kept"), "").unwrap();
        let top = folder.path().join("top");
        fs::create_dir_all(top.join("a/b")).unwrap();
        fs::write(top.join("a/b/file"), "").unwrap();
        symlink(outside.path(), top.join("a/link")).unwrap();
        for path in ["a/b", "a"] {
            fs::set_permissions(top.join(path), fs::Permissions::from_mode(0o000)).unwrap();
        }
        remove(&top).unwrap();
        assert!(!top.exists());
        assert!(outside.path().join("kept").exists());
        remove(&top).unwrap();
    }
}
