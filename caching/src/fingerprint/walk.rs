//! Reading a file, or a folder and all that is in it.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::CacheError;
use crate::fingerprint::files::{FileHasher, InputFile, Stamp};

/// The bits of a mode that `chmod` sets.
const PERMISSIONS: u32 = 0o7777;

/// What of the files is looked at.
#[derive(Clone, Copy)]
pub(super) enum Depth<'a> {
    /// What the system says about them.
    Stamps,
    /// Their contents as well.
    Contents(&'a FileHasher),
}

/// Reads what was declared, file or folder, if no more than `limit` files and folders are in it.
pub(super) fn read(
    depth: Depth<'_>,
    base: &Path,
    declared: PathBuf,
    limit: usize,
) -> Result<InputFile, CacheError> {
    let mut visited = 0;
    let mut walk = Walk {
        depth,
        content: blake3::Hasher::new(),
        state: blake3::Hasher::new(),
        seen: HashMap::new(),
    };
    // What is still to be read, in reverse order: the path on disk, and the name below what was declared.
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
    Ok(InputFile {
        declared,
        content: *walk.content.finalize().as_bytes(),
        state: *walk.state.finalize().as_bytes(),
    })
}

struct Walk<'a> {
    depth: Depth<'a>,
    content: blake3::Hasher,
    state: blake3::Hasher,
    /// The folders that were entered. Links may lead to one again, even to one that they are in.
    seen: HashMap<(u64, u64), PathBuf>,
}

impl Walk<'_> {
    /// Takes one name into the digests, and answers with the names in it if it is a folder to enter.
    fn visit(&mut self, path: &Path, name: &Path) -> Result<Vec<PathBuf>, CacheError> {
        let io_error = |source| CacheError::io("read", path, source);
        self.text(b'n', name);
        let inside = !name.as_os_str().is_empty();
        if inside && path.symlink_metadata().map_err(io_error)?.is_symlink() {
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
                    let (stamp, digest) = hasher.file(path)?;
                    self.content
                        .update(b"f")
                        .update(&(stamp.mode() & PERMISSIONS).to_le_bytes())
                        .update(&digest);
                    stamp
                }
            };
            stamp.hash_into(&mut self.state);
            return Ok(Vec::new());
        }
        if !metadata.is_dir() {
            return Err(CacheError::NotAFile {
                path: path.to_path_buf(),
            });
        }
        self.content
            .update(b"d")
            .update(&(metadata.mode() & PERMISSIONS).to_le_bytes());
        if let Some(first) = self.seen.get(&(metadata.dev(), metadata.ino())).cloned() {
            self.text(b's', &first);
            return Ok(Vec::new());
        }
        self.seen
            .insert((metadata.dev(), metadata.ino()), name.to_path_buf());
        // A file that appears and disappears again leaves its mark on the folder's stamp.
        Stamp::of(&metadata).hash_into(&mut self.state);
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

    fn text(&mut self, kind: u8, text: &Path) {
        let bytes = text.as_os_str().as_encoded_bytes();
        self.content
            .update(&[kind])
            .update(&(bytes.len() as u64).to_le_bytes())
            .update(bytes);
    }
}
