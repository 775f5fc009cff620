//! Reads the content of a file that is pushed, and checks that it is still the one that was hashed.

use std::fs::File;
use std::io::Read;

use bytes::Bytes;

use super::manifest::SourceFile;
use super::pieces::{PIECE, PieceSender};
use super::wire::ContentDigest;
use crate::os::FileError;

/// Forwards the content of a file. An error means that the host must not take what was sent for the content.
pub(super) fn read_content(
    source: &SourceFile,
    digest: ContentDigest,
    pieces: &PieceSender,
) -> Result<(), FileError> {
    let path = || source.path.clone();
    let mut file = File::open(&source.path).map_err(|_| FileError::Changed { path: path() })?;
    let mut hash = blake3::Hasher::new();
    let mut left = source.size;
    loop {
        let mut piece = vec![0; PIECE];
        let read = file.read(&mut piece).map_err(|source| FileError::Read {
            path: path(),
            source,
        })?;
        if read == 0 {
            break;
        }
        let Some(rest) = left.checked_sub(read as u64) else {
            return Err(FileError::Changed { path: path() });
        };
        left = rest;
        piece.truncate(read);
        hash.update(&piece);
        if pieces.blocking_send(Bytes::from(piece)).is_err() {
            // The host takes no more, and its answer holds the reason.
            return Ok(());
        }
    }
    if left == 0 && *hash.finalize().as_bytes() == digest.0 {
        Ok(())
    } else {
        Err(FileError::Changed { path: path() })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::pieces;
    use super::*;

    #[test]
    fn a_file_that_changed_since_it_was_hashed_is_no_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let digest = ContentDigest(*blake3::hash(b"before").as_bytes());
        let source = SourceFile {
            path: path.clone(),
            size: 6,
        };
        let read = || {
            let (sender, receiver) = pieces::channel();
            let read = read_content(&source, digest, &sender);
            drop(receiver);
            read
        };
        for changed in ["after!", "longer than before", "less"] {
            fs::write(&path, changed).unwrap();
            assert!(
                matches!(read(), Err(FileError::Changed { .. })),
                "{changed}"
            );
        }
        fs::remove_file(&path).unwrap();
        assert!(matches!(read(), Err(FileError::Changed { .. })));
        fs::write(&path, "before").unwrap();
        read().unwrap();
    }
}
