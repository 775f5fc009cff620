//! Playbooks for ratchet, in the language of Ansible.
//!
//! [`list`] reads playbooks with the roles and files that they import, refuses what is wrong in them, and returns a
//! listing of their hosts and tasks. [`prepare`] returns an [`Execution`], which creates jobs and reacts to their ends,
//! and a [`PlayRunner`], which performs the jobs on the executor of `ratchet-runtime`. [`PlayLines`] prints what
//! happens.

mod actions;
mod call;
mod calls;
mod configuration;
mod data;
mod execution;
mod facts;
mod files;
mod hint_file;
mod hints;
mod host_variables;
mod ini;
mod known_modules;
mod language;
mod listing;
mod module_check;
mod modules;
mod perform;
mod prepare;
mod programs;
mod report;
mod result;
mod runner;
mod selection;
mod targets;
mod templates;
mod vault;

use std::path::PathBuf;
use std::sync::Arc;

use ratchet_input::InputError;
use ratchet_input::inventory::Inventory;
use ratchet_runtime::ParallelizationHint;

pub use configuration::{Configuration, PlayFlags};
pub use execution::{Execution, HostCounts, PlayEvent, Recap, StepAnswer, TaskTimes, Timings};
pub use hints::{ModuleEntry, ModuleRegistry};
pub use listing::PlayListing;
pub use prepare::{MakeRunner, Passwords, Prepared, Question, check_syntax, prepare};
pub use report::PlayLines;
pub use result::{TaskResult, TaskStatus};
pub use runner::PlayRunner;
pub use vault::{Vault, VaultPassword};

/// The playbooks and the selections that are given on the command line.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The files of the playbooks.
    pub playbooks: Vec<PathBuf>,
    /// A pattern of hosts. The run is limited to those that it matches.
    pub limit: Option<String>,
    /// Variables that take precedence over all others: `name=value`, a map in YAML or JSON, or `@FILE`.
    pub extra_vars: Vec<String>,
    /// Whether tasks only report what they would change.
    pub check: bool,
    /// The name of the task at which to start.
    pub start_at: Option<String>,
    /// How often `-v` was given.
    pub verbosity: u8,
    /// The hints of modules in the settings. The file `hints.yml` beside a playbook overrides them.
    pub hints: Vec<(String, ParallelizationHint)>,
}

/// A listing of what playbooks would do.
#[derive(Debug)]
pub struct Listing {
    /// The text of the listing.
    pub text: String,
    /// The names of hosts and groups that the playbooks mention but that are not in the inventory.
    pub unknown: Vec<String>,
}

/// Reads playbooks, and lists what they would do.
pub fn list(
    request: &Request,
    configuration: &Configuration,
    listed: PlayListing,
    inventory: &Inventory,
) -> Result<Listing, InputError> {
    let limit = request.limit.as_deref();
    let limit = limit.map(|text| selection::Limit::new(text, inventory));
    let limit = limit.transpose()?;
    let vault = Arc::new(Vault::new(configuration.vault_passwords.clone(), None));
    let (_, playbooks) = language::read(
        &request.playbooks,
        &request.extra_vars,
        configuration,
        vault,
    )?;
    let tags = selection::Tags::of(configuration);
    let (text, unknown) = listing::listing(&playbooks, inventory, limit.as_ref(), &tags, listed);
    Ok(Listing { text, unknown })
}
