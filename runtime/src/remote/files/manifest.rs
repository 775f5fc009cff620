//! Collects what is to be pushed: the names, modes and digests of all files, folders and links.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ratchet_caching::{CacheError, FileHasher};

use super::wire::{
    ContentDigest, MANIFEST_BYTES, MODE_BITS, Manifest, ManifestEntry, ManifestKind,
    STAGING_PREFIX, leads_outside,
};
use crate::os::{FileError, WorkFiles, WorkPath};
use crate::remote::message::WireText;

/// The manifest of what is to be pushed, and the local path of each content.
#[derive(Debug)]
pub(super) struct CollectedFiles {
    /// The manifest as it is sent.
    pub(super) manifest: Vec<u8>,
    /// A local file for each content.
    pub(super) sources: BTreeMap<ContentDigest, SourceFile>,
}

/// A file with a content that may have to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SourceFile {
    /// The path here.
    pub(super) path: PathBuf,
    /// How many bytes the content has.
    pub(super) size: u64,
}

/// Walks through what is to be pushed, and hashes the files that are not known to be unchanged.
pub(super) fn collect(hasher: &FileHasher, files: &WorkFiles) -> Result<CollectedFiles, FileError> {
    let mut walk = Walk {
        hasher,
        entries: BTreeMap::new(),
        sources: BTreeMap::new(),
    };
    let mut links = VecDeque::new();
    for path in &files.push {
        if walk.add_named(path)? {
            links.push_back(path.clone());
        }
    }
    // A link that was named is a link there, too. Its target is pushed with it.
    while let Some(link) = links.pop_front() {
        if let Some(target) = walk.target_of(&link)?
            && walk.add_named(&target)?
        {
            links.push_back(target);
        }
    }
    let entries = walk.entries.into_iter().map(|(name, is)| ManifestEntry {
        name: name.as_os_str().into(),
        is,
    });
    let manifest = Manifest {
        keep: files.keep.clone(),
        entries: entries.collect(),
    };
    let first = files.push.first().map(WorkPath::here).unwrap_or_default();
    let not_pushable = |reason: String| FileError::NotPushable {
        path: first.clone(),
        reason,
    };
    let json = serde_json::to_vec(&manifest).map_err(|error| not_pushable(error.to_string()))?;
    if json.len() > MANIFEST_BYTES {
        let count = manifest.entries.len();
        let reason = format!("{count} files and folders are too many: push an archive of them");
        return Err(not_pushable(reason));
    }
    Ok(CollectedFiles {
        manifest: json,
        sources: walk.sources,
    })
}

/// A walk through the files that are to be pushed, with the entries and contents found so far.
struct Walk<'a> {
    hasher: &'a FileHasher,
    /// The entries by their names in the work folder, so a folder comes before its entries.
    entries: BTreeMap<PathBuf, ManifestKind>,
    sources: BTreeMap<ContentDigest, SourceFile>,
}

impl Walk<'_> {
    /// Adds a path that was named. Returns whether it is a link.
    fn add_named(&mut self, path: &WorkPath) -> Result<bool, FileError> {
        let here = path.here();
        let found = if path.is_folder() {
            fs::metadata(&here)
        } else {
            fs::symlink_metadata(&here)
        };
        let found = found.map_err(|error| unreadable(&here, error))?;
        if path.is_folder() && !found.is_dir() {
            return Err(FileError::NotPushable {
                path: here,
                reason: "it is not a folder: write it without the slash at its end".to_owned(),
            });
        }
        self.add(&here, path.name(), &found)?;
        Ok(found.is_symlink())
    }

    /// Adds the entry at a path, with everything in it.
    fn add(&mut self, here: &Path, name: &Path, found: &Metadata) -> Result<(), FileError> {
        let mode = found.permissions().mode() & MODE_BITS;
        if found.is_dir() {
            if !name.as_os_str().is_empty() {
                self.insert(here, name, ManifestKind::Folder { mode })?;
            }
            let read = |error| unreadable(here, error);
            for entry in fs::read_dir(here).map_err(read)? {
                let entry = entry.map_err(read)?;
                // Files of another job are being pulled into that folder, which exists only for a moment.
                if entry
                    .file_name()
                    .as_encoded_bytes()
                    .starts_with(STAGING_PREFIX.as_bytes())
                {
                    continue;
                }
                let (inner, name) = (entry.path(), name.join(entry.file_name()));
                let found = fs::symlink_metadata(&inner).map_err(|error| changed(&inner, error))?;
                self.add(&inner, &name, &found)?;
            }
            return Ok(());
        }
        if found.is_symlink() {
            let target = fs::read_link(here).map_err(|error| changed(here, error))?;
            let target = WireText::from(target.as_os_str());
            return self.insert(here, name, ManifestKind::Link { target });
        }
        if !found.is_file() {
            return Err(FileError::NotPushable {
                path: here.to_path_buf(),
                reason: "it is neither a file nor a folder nor a link".to_owned(),
            });
        }
        let content = self.hasher.content(here);
        let content = content.map_err(|error| unhashed(here, &error))?;
        let digest = ContentDigest(content.digest);
        let size = content.size;
        let mode = content.mode & MODE_BITS;
        self.insert(here, name, ManifestKind::File { digest, size, mode })?;
        self.sources.entry(digest).or_insert_with(|| SourceFile {
            path: here.to_path_buf(),
            size,
        });
        Ok(())
    }

    /// Adds an entry, unless another one has its name already.
    fn insert(&mut self, here: &Path, name: &Path, kind: ManifestKind) -> Result<(), FileError> {
        match self.entries.get(name) {
            Some(known) if *known != kind => Err(FileError::NotPushable {
                path: here.to_path_buf(),
                reason: format!("another pushed file has the name `{}`, too", name.display()),
            }),
            _ => {
                self.entries.insert(name.to_path_buf(), kind);
                Ok(())
            }
        }
    }

    /// Returns the target of a symbolic link, which has to be pushed with the link; `None` if it is pushed already.
    fn target_of(&self, link: &WorkPath) -> Result<Option<WorkPath>, FileError> {
        let here = link.here();
        let target = fs::read_link(&here).map_err(|error| changed(&here, error))?;
        let folder = link.name().parent().unwrap_or(Path::new(""));
        if leads_outside(&target, folder.components().count()) {
            return Err(FileError::NotPushable {
                path: here,
                reason: format!(
                    "it is a link to `{}`, which does not come along: push that, or write a slash at the end of a link \
                     to a folder",
                    target.display()
                ),
            });
        }
        let mut name = folder.to_path_buf();
        for part in target.components() {
            match part {
                std::path::Component::ParentDir => drop(name.pop()),
                part => name.push(part),
            }
        }
        if self.entries.contains_key(&name) {
            return Ok(None);
        }
        let target = WorkPath::parse(link.folder(), name.as_os_str());
        let target = target.map_err(|error| FileError::NotPushable {
            path: here,
            reason: error.to_string(),
        })?;
        Ok(Some(target))
    }
}

fn unreadable(path: &Path, source: io::Error) -> FileError {
    let path = path.to_path_buf();
    if source.kind() == io::ErrorKind::NotFound {
        FileError::Missing { path }
    } else {
        FileError::Read { path, source }
    }
}

/// Makes the error for an entry that existed a moment ago.
fn changed(path: &Path, source: io::Error) -> FileError {
    let path = path.to_path_buf();
    if source.kind() == io::ErrorKind::NotFound {
        FileError::Changed { path }
    } else {
        FileError::Read { path, source }
    }
}

fn unhashed(path: &Path, error: &CacheError) -> FileError {
    match error {
        CacheError::Io { source, .. } => {
            changed(path, io::Error::new(source.kind(), source.to_string()))
        }
        _ => FileError::Changed {
            path: path.to_path_buf(),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    struct Files(tempfile::TempDir);

    impl Files {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir_all(folder.path().join("model/deep")).unwrap();
            fs::write(folder.path().join("model/deep/weights"), "12345").unwrap();
            // A pull of another job that is not complete is not part of the model.
            fs::create_dir_all(folder.path().join("model/.ratchet-pull-1-0/top")).unwrap();
            fs::write(folder.path().join("in.png"), "pixels").unwrap();
            symlink("deep/weights", folder.path().join("model/latest")).unwrap();
            symlink("model/latest", folder.path().join("link")).unwrap();
            symlink("/etc/hosts", folder.path().join("out")).unwrap();
            symlink("model", folder.path().join("models")).unwrap();
            Self(folder)
        }

        fn collect(&self, push: &[&str]) -> Result<Vec<(String, ManifestKind)>, FileError> {
            let push = push
                .iter()
                .map(|path| WorkPath::parse(self.0.path(), path.as_ref()).unwrap());
            let files = WorkFiles {
                push: push.collect(),
                ..WorkFiles::default()
            };
            let collected = collect(&FileHasher::default(), &files)?;
            let manifest: Manifest = serde_json::from_slice(&collected.manifest).unwrap();
            let text = |text: WireText| std::ffi::OsString::from(text).into_string().unwrap();
            let entries = manifest.entries.into_iter();
            Ok(entries.map(|entry| (text(entry.name), entry.is)).collect())
        }

        fn names(&self, push: &[&str]) -> Vec<String> {
            let entries = self.collect(push).unwrap();
            entries.into_iter().map(|(name, _)| name).collect()
        }
    }

    #[test]
    fn a_folder_is_pushed_with_all_that_is_in_it_and_its_links_stay_links() {
        let files = Files::new();
        let entries = files.collect(&["model/", "in.png"]).unwrap();
        let names: Vec<&str> = entries.iter().map(|(name, _)| &**name).collect();
        let expected = [
            "in.png",
            "model",
            "model/deep",
            "model/deep/weights",
            "model/latest",
        ];
        assert_eq!(names, expected);
        assert!(matches!(entries[1].1, ManifestKind::Folder { .. }));
        assert!(matches!(entries[3].1, ManifestKind::File { size: 5, .. }));
        assert!(
            matches!(&entries[4].1, ManifestKind::Link { target } if *target == WireText::from("deep/weights".as_ref()))
        );
    }

    #[test]
    fn what_a_named_link_leads_to_goes_with_it() {
        let files = Files::new();
        let names = files.names(&["link"]);
        assert_eq!(names, ["link", "model/deep/weights", "model/latest"]);
        let error = files.collect(&["out"]).unwrap_err().to_string();
        assert!(error.contains("it is a link to `/etc/hosts`"), "{error}");
        // A slash at the end means the target of the link.
        assert!(
            files
                .names(&["models/"])
                .contains(&"models/latest".to_owned())
        );
    }

    #[test]
    fn what_is_not_there_or_cannot_be_pushed_is_named() {
        let files = Files::new();
        assert!(
            matches!(files.collect(&["no"]), Err(FileError::Missing { path }) if path.ends_with("no"))
        );
        assert!(matches!(
            files.collect(&["in.png/"]),
            Err(FileError::NotPushable { .. } | FileError::Read { .. })
        ));
        let socket = files.0.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
        assert!(matches!(
            files.collect(&["socket"]),
            Err(FileError::NotPushable { .. })
        ));
        fs::create_dir(files.0.path().join("other")).unwrap();
        fs::write(files.0.path().join("other/in.png"), "others").unwrap();
        let error = files.collect(&["in.png", "other/./in.png"]).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("another pushed file has the name `in.png`"),
            "{error}"
        );
    }
}
