//! Reads a file, or a folder and everything in it.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::CacheError;
use crate::fingerprint::hasher::FileHasher;
use crate::fingerprint::stamp::Stamp;

/// The bits of a mode that `chmod` sets.
const PERMISSION_BITS: u32 = 0o7777;

/// How much is read of each file.
#[derive(Clone, Copy)]
pub(super) enum Depth<'a> {
    /// Only the stamp.
    Stamps,
    /// The stamp and the content.
    Contents(&'a FileHasher),
}

/// A declared file or folder in the state in which it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InputDigest {
    /// The path as the job declares it.
    pub(super) declared: PathBuf,
    /// The digest of names, permission bits and contents, which is part of the key.
    pub(super) content: [u8; 32],
    /// The digest of the stamps, which shows that a file was changed and changed back.
    pub(super) stamps: [u8; 32],
}

/// Reads a declared file or folder. More than `limit` files and folders are an error.
pub(super) fn read(
    depth: Depth<'_>,
    base: &Path,
    declared: PathBuf,
    limit: usize,
) -> Result<InputDigest, CacheError> {
    let mut visited = 0;
    let mut walk = Walk {
        depth,
        content: blake3::Hasher::new(),
        stamps: blake3::Hasher::new(),
        entered: HashMap::new(),
    };
    // The paths that are not read yet, in reverse order, each with its name relative to the declared path.
    let mut pending = vec![(base.join(&declared), PathBuf::new())];
    while let Some((path, name)) = pending.pop() {
        let children = walk.visit(&path, &name)?;
        visited += 1;
        if visited + pending.len() + children.len() > limit {
            return Err(CacheError::TooManyFiles {
                path: declared,
                limit,
            });
        }
        pending.extend(
            children
                .into_iter()
                .rev()
                .map(|child| (path.join(&child), name.join(child))),
        );
    }
    Ok(InputDigest {
        declared,
        content: *walk.content.finalize().as_bytes(),
        stamps: *walk.stamps.finalize().as_bytes(),
    })
}

/// The digests of the names that were visited so far.
struct Walk<'a> {
    depth: Depth<'a>,
    /// Becomes [`InputDigest::content`].
    content: blake3::Hasher,
    stamps: blake3::Hasher,
    /// The folders that were entered, by device and inode. A link may lead to one of them again, even to one that
    /// contains the link itself.
    entered: HashMap<(u64, u64), PathBuf>,
}

impl Walk<'_> {
    /// Adds one name to the digests. If it is a folder that was not entered yet, returns the names in it.
    fn visit(&mut self, path: &Path, name: &Path) -> Result<Vec<PathBuf>, CacheError> {
        let io_error = |source| CacheError::io("read", path, source);
        self.text(b'n', name);
        let is_inside = !name.as_os_str().is_empty();
        if is_inside && path.symlink_metadata().map_err(io_error)?.is_symlink() {
            self.text(b'l', &fs::read_link(path).map_err(io_error)?);
            if matches!(path.try_exists(), Ok(false)) {
                self.content.update(b"dangling");
                return Ok(Vec::new());
            }
        }
        let metadata = path.metadata().map_err(io_error)?;
        if metadata.is_file() {
            let stamp = match self.depth {
                Depth::Stamps => Stamp::of(&metadata),
                Depth::Contents(hasher) => {
                    let (stamp, digest) = hasher.digest(path)?;
                    self.content
                        .update(b"f")
                        .update(&(stamp.mode() & PERMISSION_BITS).to_le_bytes())
                        .update(&digest);
                    stamp
                }
            };
            stamp.hash_into(&mut self.stamps);
            return Ok(Vec::new());
        }
        if !metadata.is_dir() {
            return Err(CacheError::NotAFile {
                path: path.to_path_buf(),
            });
        }
        self.content
            .update(b"d")
            .update(&(metadata.mode() & PERMISSION_BITS).to_le_bytes());
        if let Some(first) = self.entered.get(&(metadata.dev(), metadata.ino())).cloned() {
            self.text(b's', &first);
            return Ok(Vec::new());
        }
        self.entered
            .insert((metadata.dev(), metadata.ino()), name.to_path_buf());
        // A file that appears and disappears in the meantime changes the stamp of its folder.
        Stamp::of(&metadata).hash_into(&mut self.stamps);
        let mut children = fs::read_dir(path)
            .and_then(|entries| {
                entries
                    .map(|entry| Ok(PathBuf::from(entry?.file_name())))
                    .collect::<Result<Vec<_>, _>>()
            })
            .map_err(io_error)?;
        children.sort_unstable();
        self.content.update(&(children.len() as u64).to_le_bytes());
        Ok(children)
    }

    /// Adds a name or a link target to the digest of contents, with its length and its kind.
    fn text(&mut self, kind: u8, text: &Path) {
        let bytes = text.as_os_str().as_encoded_bytes();
        self.content
            .update(&[kind])
            .update(&(bytes.len() as u64).to_le_bytes())
            .update(bytes);
    }
}
