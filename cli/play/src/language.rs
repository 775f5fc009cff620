//! Reads playbooks, and the roles and files of tasks that they import, into values that keep their places in the files.
//!
//! Everything is read in one pass, and all problems are reported at once. Templates are checked only for their syntax,
//! and for the names of their filters, tests and lookups.

mod arguments;
mod condition;
mod extra;
mod include;
mod keyword;
mod playbook;
mod role;
mod settings;
mod steps;
mod templated;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ratchet_input::InputError;
use ratchet_input::document;

use crate::configuration::Configuration;
use crate::data::Data;
use crate::files::{FileId, Files, Place};
use crate::templates::{Layer, Variables};
use crate::vault::Vault;

pub(crate) use condition::Condition;
pub(crate) use include::{layer_of_localhost, layer_of_unknown_host};
pub(crate) use keyword::{Keyword, Section};
use playbook::Imported;
pub(crate) use playbook::{Play, Playbook};
pub(crate) use role::RoleParts;
pub(crate) use settings::{Settings, is_name};
pub(crate) use steps::{Block, Role, Step, Task, nearest};

/// Reads playbooks before a run, and included files during the run.
#[derive(Debug)]
pub(crate) struct PlaybookReader {
    files: Files,
    /// The folder of the playbook whose plays are read.
    folder: PathBuf,
    roles_path: Vec<PathBuf>,
    collections_path: Vec<PathBuf>,
    /// The variables of the command line.
    extra: Layer,
    /// The variables that tags can refer to: those of the play and the role that are being read.
    of_tags: Variables,
}

/// Reads playbooks. The configuration has more folders to search for roles.
pub(crate) fn read(
    paths: &[PathBuf],
    extra: &[String],
    configuration: &Configuration,
    vault: Arc<Vault>,
) -> Result<(PlaybookReader, Vec<Playbook>), InputError> {
    let mut reader = PlaybookReader {
        files: Files::with_vault(vault),
        folder: PathBuf::new(),
        roles_path: configuration.roles_path.clone(),
        collections_path: configuration.collections_path.clone(),
        extra: Layer::default(),
        of_tags: Variables::default(),
    };
    let mut all = Vec::new();
    for text in extra {
        reader.extra_variables(text, &mut all)?;
    }
    // The last of two variables with one name wins.
    all.reverse();
    reader.extra = Layer::from(all);
    reader.of_tags = Variables::new(reader.extra.clone());
    let mut playbooks = Vec::new();
    for path in paths {
        let plays = reader
            .plays(path, &Imported::default(), &mut Vec::new())
            .map_err(InputError::new)?;
        playbooks.push(Playbook {
            name: path.display().to_string(),
            plays,
        });
    }
    reader.files.take_error()?;
    Ok((reader, playbooks))
}

impl PlaybookReader {
    /// Reads a file that is named at a place; a blank file is null. Returns `None` if the file was refused.
    fn document(&mut self, path: &Path, place: Place) -> Option<Data> {
        let file = match self.files.open(path) {
            Ok(file) => file,
            Err(reason) => {
                self.files.refuse(place, reason);
                return None;
            }
        };
        let data = self.parsed(file);
        if data.is_none() && !self.files.is_refused(file) {
            return Some(Data::null(file));
        }
        data
    }

    fn parsed(&mut self, file: FileId) -> Option<Data> {
        // A file that was refused is reported only once.
        if self.files.is_refused(file) {
            return None;
        }
        let (source, problems) = self.files.get(file);
        let node = document::ansible_node(&source, problems)?;
        let data = Data::read(node, file, problems);
        templated::check(&data, None, problems);
        Some(data)
    }
}

/// Strips the collection from the name of one of Ansible's builtin modules.
pub(crate) fn builtin(name: &str) -> &str {
    name.strip_prefix("ansible.builtin.")
        .or_else(|| name.strip_prefix("ansible.legacy."))
        .unwrap_or(name)
}
