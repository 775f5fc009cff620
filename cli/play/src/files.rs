//! The files of playbooks. Each is read once, and keeps the problems that were found in it.

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

/// The largest file that is read. Offsets in a text have 32 bits.
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
    /// Makes an empty set of files. `vault` decrypts those that are encrypted.
    pub(crate) fn with_vault(vault: Arc<Vault>) -> Self {
        Self {
            vault,
            ..Self::default()
        }
    }

    /// Returns the vault that decrypts files.
    pub(crate) fn vault(&self) -> Arc<Vault> {
        Arc::clone(&self.vault)
    }

    /// Reads a file, or returns why it cannot be read.
    pub(crate) fn open(&mut self, path: &Path) -> Result<FileId, String> {
        if let Some(known) = self.known.get(path) {
            return Ok(*known);
        }
        let unreadable = |error| format!("`{}` cannot be read: {error}", path.display());
        let file = File::open(path).map_err(unreadable)?;
        let mut bytes = Vec::new();
        // The size of a file cannot be trusted: a device may be endless, whatever size it reports.
        let read = file.take(LARGEST + 1).read_to_end(&mut bytes);
        if read.map_err(unreadable)? as u64 > LARGEST {
            let most = show_size(LARGEST);
            return Err(format!("`{}` is larger than {most}", path.display()));
        }
        let refused = |reason| format!("`{}` cannot be read: {reason}", path.display());
        let bytes = self.vault.plain(bytes).map_err(refused)?;
        let (source, problems) = match document::source(&path.display().to_string(), bytes) {
            Ok(source) => (source, Vec::new()),
            Err(refused) => (refused.source, refused.diagnostics),
        };
        let id = FileId(self.read.len());
        self.read.push((Arc::new(source), problems));
        self.known.insert(path.to_path_buf(), id);
        Ok(id)
    }

    /// Adds a text that is not in a file.
    pub(crate) fn add_text(&mut self, name: &str, text: String) -> FileId {
        self.read
            .push((Arc::new(Source::new(name, text)), Vec::new()));
        FileId(self.read.len() - 1)
    }

    /// Returns the text of a file, and the list that collects the problems in it.
    pub(crate) fn get(&mut self, file: FileId) -> (Arc<Source>, &mut Problems) {
        let (source, problems) = &mut self.read[file.0];
        (Arc::clone(source), problems)
    }

    /// Whether a file has problems.
    pub(crate) fn is_refused(&self, file: FileId) -> bool {
        !self.read[file.0].1.is_empty()
    }

    /// Records a problem.
    pub(crate) fn refuse(&mut self, place: Place, message: impl Into<String>) {
        self.add(place, |span| Diagnostic::error(span, message));
    }

    /// Records a problem, with advice on how to solve it.
    pub(crate) fn refuse_with_help(
        &mut self,
        place: Place,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.add(place, |span| Diagnostic::error(span, message).help(help));
    }

    /// Records a problem, which `of` makes for the span of a place.
    pub(crate) fn add(&mut self, place: Place, of: impl FnOnce(Span) -> Diagnostic) {
        let problems = &mut self.read[place.file.0].1;
        let found = of(place.span);
        // A file that is imported twice reports each problem once.
        if !problems.contains(&found) {
            problems.push(found);
        }
    }

    /// Takes all problems of the files as one error; `Ok` if there are none.
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
