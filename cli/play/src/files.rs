//! The files that playbooks are made of, each read once, with what is wrong in it.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ratchet_input::InputError;
use ratchet_input::diagnostic::{Diagnostic, Diagnostics, Problems, Source, Span};
use ratchet_input::document;
use ratchet_input::value::show_size;

use crate::vault::Vault;

/// The largest file that is read. Places in a text are counted in 32 bits.
const LARGEST: u64 = 64 << 20;

/// The number of a file among those that were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FileId(usize);

/// A place in one of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: FileId,
    pub(crate) span: Span,
}

/// All files that were read so far.
#[derive(Debug, Default)]
pub(crate) struct Files {
    read: Vec<(Arc<Source>, Problems)>,
    known: HashMap<PathBuf, FileId>,
    vault: Arc<Vault>,
}

impl Files {
    /// No files yet, and what decrypts those that are encrypted.
    pub(crate) fn with_vault(vault: Arc<Vault>) -> Self {
        Self {
            vault,
            ..Self::default()
        }
    }

    /// What decrypts files.
    pub(crate) fn vault(&self) -> Arc<Vault> {
        Arc::clone(&self.vault)
    }

    /// Reads a file, or says why it cannot be read.
    pub(crate) fn open(&mut self, path: &Path) -> Result<FileId, String> {
        if let Some(known) = self.known.get(path) {
            return Ok(*known);
        }
        let unreadable = |error| format!("`{}` cannot be read: {error}", path.display());
        let file = File::open(path).map_err(unreadable)?;
        let mut bytes = Vec::new();
        // A device may have no end, whatever size it tells.
        let read = file.take(LARGEST + 1).read_to_end(&mut bytes);
        if read.map_err(unreadable)? as u64 > LARGEST {
            let most = show_size(LARGEST);
            return Err(format!("`{}` is larger than {most}", path.display()));
        }
        if bytes.starts_with(b"$ANSIBLE_VAULT") {
            let plain = self.vault.decrypt(&String::from_utf8_lossy(&bytes));
            let refused = |reason| format!("`{}` cannot be read: {reason}", path.display());
            bytes = plain.map_err(refused)?.as_bytes().to_vec();
        }
        let (source, problems) = match document::source(&path.display().to_string(), bytes) {
            Ok(source) => (source, Vec::new()),
            Err(refused) => (refused.source, refused.diagnostics),
        };
        let id = FileId(self.read.len());
        self.read.push((Arc::new(source), problems));
        self.known.insert(path.to_path_buf(), id);
        Ok(id)
    }

    /// Adds a text that stands in no file.
    pub(crate) fn add_text(&mut self, name: &str, text: String) -> FileId {
        self.read
            .push((Arc::new(Source::new(name, text)), Vec::new()));
        FileId(self.read.len() - 1)
    }

    /// The text of a file, and the list that takes what is wrong with it.
    pub(crate) fn get(&mut self, file: FileId) -> (Arc<Source>, &mut Problems) {
        let (source, problems) = &mut self.read[file.0];
        (Arc::clone(source), problems)
    }

    /// Whether something is wrong with a file.
    pub(crate) fn is_refused(&self, file: FileId) -> bool {
        !self.read[file.0].1.is_empty()
    }

    /// Takes note of something that is wrong.
    pub(crate) fn refuse(&mut self, place: Place, message: impl Into<String>) {
        self.add(place, |span| Diagnostic::error(span, message));
    }

    /// Takes note of something that is wrong, and of what to do about it.
    pub(crate) fn refuse_with_help(
        &mut self,
        place: Place,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.add(place, |span| Diagnostic::error(span, message).help(help));
    }

    /// Takes note of what is wrong, as it is made for the span of a place.
    pub(crate) fn add(&mut self, place: Place, of: impl FnOnce(Span) -> Diagnostic) {
        let problems = &mut self.read[place.file.0].1;
        let found = of(place.span);
        // A file that is imported twice is wrong once.
        if !problems.contains(&found) {
            problems.push(found);
        }
    }

    /// Takes out all that is wrong with the files, as one error; nothing if they are sound.
    pub(crate) fn take_error(&mut self) -> Result<(), InputError> {
        let mut refused = Vec::new();
        for (source, diagnostics) in &mut self.read {
            if !diagnostics.is_empty() {
                refused.push(Diagnostics {
                    source: Source::clone(source),
                    diagnostics: std::mem::take(diagnostics),
                });
            }
        }
        if refused.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = refused.iter().map(|found| found.source.name()).collect();
        let message = format!("the playbook cannot be used: {}", names.join(", "));
        Err(InputError::new(message).with_diagnostics(refused))
    }
}
