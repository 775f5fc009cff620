//! The state of an inventory while its sources are read.

use std::fs;
use std::path::{Path, PathBuf};

use super::Inventory;
use crate::InputError;
use crate::diagnostic::{Diagnostics, Problems, Source};
use crate::document::{self, Node};

/// The largest file that is read. Offsets in a text have 32 bits.
const LARGEST: u64 = 256 << 20;

/// An inventory in the making.
pub(super) struct Loading<'a> {
    /// The contents of the sources that were read so far.
    pub(super) inventory: Inventory,
    /// The problems of the sources.
    pub(super) refused: Vec<Diagnostics>,
    /// The folders of inventories, in which there may be files of variables.
    pub(super) folders: Vec<PathBuf>,
    /// Decrypts files.
    pub(super) decrypt: &'a Decrypt<'a>,
}

/// Decrypts the text of a file, or returns why it cannot be decrypted.
pub type Decrypt<'a> = dyn Fn(&str) -> Result<String, String> + 'a;

impl Loading<'_> {
    /// Reads the text of a file; `None` if the file was refused.
    pub(super) fn text(&mut self, path: &Path) -> Result<Option<Source>, InputError> {
        let unreadable = |error| InputError::unreadable(path, error);
        let known = fs::metadata(path).map_err(unreadable)?;
        if known.len() > LARGEST {
            return Err(InputError::new(format!(
                "`{}` is larger than {}",
                path.display(),
                crate::value::show_size(LARGEST)
            )));
        }
        let mut bytes = fs::read(path).map_err(unreadable)?;
        if bytes.starts_with(b"$ANSIBLE_VAULT") {
            let plain = (self.decrypt)(&String::from_utf8_lossy(&bytes));
            let refused = |reason| format!("`{}` cannot be read: {reason}", path.display());
            bytes = plain
                .map_err(|reason| InputError::new(refused(reason)))?
                .into_bytes();
        }
        match document::source(&path.display().to_string(), bytes) {
            Ok(source) => Ok(Some(source)),
            Err(refused) => {
                self.refused.push(*refused);
                Ok(None)
            }
        }
    }

    /// Records the problems of a source.
    pub(super) fn refuse(&mut self, source: Source, diagnostics: Problems) {
        if !diagnostics.is_empty() {
            self.refused.push(Diagnostics {
                source,
                diagnostics,
            });
        }
    }
}

/// Reads a document in YAML or JSON, depending on the name of its file.
pub(super) fn read_node<'a>(
    path: &Path,
    source: &'a Source,
    problems: &mut Problems,
) -> Option<Node<'a>> {
    if path
        .extension()
        .is_some_and(|extension| extension == "json")
    {
        document::json_node(source.text(), problems)
    } else {
        document::ansible_node(source, problems)
    }
}
