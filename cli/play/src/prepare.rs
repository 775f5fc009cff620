//! Prepares playbooks to run: reads and checks everything that is known before anything runs.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use ratchet_input::InputError;
use ratchet_input::inventory::Inventory;
use ratchet_runtime::Limit;
use ratchet_runtime::process::ProcessManager;

use crate::Request;
use crate::configuration::Configuration;
use crate::data::Value;
use crate::execution::{Execution, Options};
use crate::hint_file;
use crate::hints::ModuleRegistry;
use crate::language::{self, Keyword, Play, Reader};
use crate::module_check::check_steps;
use crate::modules::{ModulePaths, Modules, Secret};
use crate::perform::ConnectionDefaults;
use crate::runner::PlayRunner;
use crate::selection;
use crate::vault::{Vault, VaultPassword};

/// How playbooks run.
#[derive(Debug, Clone, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is asked for by a flag that can be typed with any other"
)]
pub struct PlayOptions {
    /// Whether tasks only say what they would change.
    pub check: bool,
    /// Whether results tell how files change.
    pub diff: bool,
    /// How many jobs may run at once.
    pub forks: u32,
    /// The name of the task at which to start.
    pub start_at: Option<String>,
    /// Whether handlers run on hosts that have failed.
    pub force_handlers: bool,
    /// Whether plays gather facts that do not say whether they do.
    pub gathers_facts: bool,
    /// Whether tasks become another user that do not say it.
    pub becomes: bool,
    /// The user whom tasks become.
    pub become_user: Option<String>,
    /// The way in which they become that user.
    pub become_method: Option<String>,
    /// The password of that.
    pub become_password: Option<String>,
    /// The user who logs in to hosts.
    pub remote_user: Option<String>,
    /// The password of that user.
    pub password: Option<String>,
    /// The file with the key of that user.
    pub private_key: Option<String>,
    /// The kind of connection.
    pub connection: Option<String>,
    /// How many seconds it may take to connect.
    pub timeout: Option<u64>,
    /// More arguments for ssh.
    pub ssh_common_args: Option<String>,
    /// Whether the keys of hosts have to be known.
    pub checks_host_keys: Option<bool>,
    /// How often `-v` was given.
    pub verbosity: u8,
    /// Where passwords of encrypted files come from.
    pub vault_passwords: Vec<VaultPassword>,
    /// The folders of modules for all playbooks.
    pub libraries: Vec<PathBuf>,
    /// The first source of the inventory.
    pub inventory_file: Option<PathBuf>,
    /// What is known of modules beside what is known of all.
    pub registry: ModuleRegistry,
}

/// A question of `vars_prompt`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// What is asked.
    pub prompt: String,
    /// What an empty answer means.
    pub default: Option<String>,
    /// Whether the answer is not shown while it is typed.
    pub is_private: bool,
    /// Whether the answer has to be typed twice.
    pub is_confirmed: bool,
}

/// Playbooks that are ready to run.
#[derive(Debug)]
pub struct Prepared {
    execution: Execution,
    modules: Arc<Modules>,
    defaults: ConnectionDefaults,
    limits: Vec<(String, Limit)>,
}

/// Makes the runner of jobs. Its processes are started by the manager that it is given.
pub type MakeRunner = Box<dyn FnOnce(Arc<dyn ProcessManager>) -> PlayRunner + Send>;

impl Prepared {
    /// The limits that tasks can name.
    pub fn limits(&self) -> &[(String, Limit)] {
        &self.limits
    }

    /// The execution, and what makes the runner of its jobs.
    pub fn into_parts(self) -> (Execution, MakeRunner) {
        let calls = self.execution.calls().clone();
        let (modules, defaults) = (self.modules, self.defaults);
        let make = move |manager| PlayRunner::new(calls, modules, defaults, manager);
        (self.execution, Box::new(make))
    }
}

/// Reads playbooks and checks them. `ask` asks a question of `vars_prompt`; `variable` looks up variables of the environment.
pub fn prepare(
    request: &Request,
    options: PlayOptions,
    configuration: &Configuration,
    inventory: Inventory,
    variable: impl Fn(&str) -> Option<OsString>,
    ask: &mut dyn FnMut(&Question) -> Result<String, InputError>,
) -> Result<Prepared, InputError> {
    let limit = request.limit.as_deref();
    let limit = limit.map(|text| selection::Limit::new(text, &inventory));
    let limit = limit.transpose()?;
    let vault = Arc::new(Vault::new(options.vault_passwords, None));
    let (mut reader, playbooks) = language::read(
        &request.playbooks,
        &request.extra_vars,
        configuration,
        vault,
    )?;
    let plays: Vec<Arc<Play>> = playbooks
        .into_iter()
        .flat_map(|playbook| playbook.plays)
        .map(Arc::new)
        .collect();
    let modules = Arc::new(Modules::find_ansible(ModulePaths {
        collections: reader.collections_path().to_vec(),
        libraries: options.libraries.clone(),
        programs: variable("PATH"),
    }));
    let mut registry = options.registry;
    let folder = plays.first().map(|play| play.folder.clone());
    let limits = hint_file::read(&mut reader, &folder.unwrap_or_default(), &mut registry)?;
    for play in &plays {
        check_play(play, &modules, &mut reader);
        hint_file::check_limits(play, &limits, &mut reader);
    }
    reader.take_error()?;
    let mut answers = HashMap::new();
    for (number, play) in (1..).zip(&plays) {
        let asked = questions(play, &mut reader)?;
        for (name, question) in asked {
            if reader.extra().contains(&name) {
                continue;
            }
            let answer = ask(&question)?;
            let of_play: &mut BTreeMap<String, String> = answers.entry(number).or_default();
            of_play.insert(name, answer);
        }
    }
    let defaults = ConnectionDefaults {
        remote_user: options.remote_user,
        private_key: options.private_key,
        connection: options.connection,
        timeout: options.timeout,
        ssh_common_args: options.ssh_common_args,
        checks_host_keys: options.checks_host_keys,
        password: options.password.map(Secret::new),
        become_password: options.become_password.map(Secret::new),
        port: configuration.remote_port,
        python: configuration.interpreter_python.clone(),
        ssh_executable: configuration.ssh_executable.clone(),
        verbosity: options.verbosity,
    };
    let machine_options = Options {
        limit,
        tags: request.tags.clone(),
        check: options.check,
        diff: options.diff,
        forks: options.forks,
        start_at: options.start_at,
        force_handlers: options.force_handlers,
        gathers_facts: options.gathers_facts,
        becomes: options.becomes,
        become_user: options.become_user,
        become_method: options.become_method,
        become_exe: configuration.become_exe.clone(),
        become_flags: configuration.become_flags.clone(),
        any_errors_fatal: configuration.any_errors_fatal,
        strategy: configuration.strategy.clone(),
        no_log: configuration.no_log,
        task_timeout: configuration.task_timeout,
        ansible_managed: configuration.ansible_managed.clone(),
        verbosity: options.verbosity,
        answers,
        inventory_file: options.inventory_file,
        modules: Some(Arc::clone(&modules)),
        limits: limits.iter().map(|(name, _)| name.clone()).collect(),
    };
    let execution = Execution::new(plays, inventory, reader, registry, machine_options);
    Ok(Prepared {
        execution,
        modules,
        defaults,
        limits,
    })
}

fn check_play(play: &Play, modules: &Modules, reader: &mut Reader) {
    let handlers = std::iter::once(play.handlers.as_slice());
    for steps in play.sections().into_iter().chain(handlers) {
        check_steps(steps, &play.folder, modules, reader);
    }
}

/// The questions of a play with the names of the variables that take the answers.
fn questions(play: &Play, reader: &mut Reader) -> Result<Vec<(String, Question)>, InputError> {
    let mut found = Vec::new();
    let Some(data) = play.settings.get(Keyword::VarsPrompt) else {
        return Ok(found);
    };
    let members = match &data.value {
        Value::List(members) => members.iter().collect(),
        _ => vec![data],
    };
    for member in members {
        let Value::Map(entries) = &member.value else {
            continue;
        };
        let get = |name: &str| entries.iter().find(|entry| entry.name == name);
        let text = |name: &str| get(name).and_then(|entry| entry.data.word());
        let flag = |name: &str, usual: bool| {
            let word = text(name).map(|word| word.to_lowercase());
            word.map_or(usual, |word| {
                matches!(word.as_str(), "true" | "yes" | "on" | "1")
            })
        };
        let known = ["name", "prompt", "default", "private", "confirm", "unsafe"];
        for entry in entries {
            if !known.contains(&entry.name.as_str()) {
                let help = "hash the answer by the filter `password_hash` where it is used";
                let message = format!("`{}` of `vars_prompt` is not supported", entry.name);
                reader.refuse(entry.place, message, Some(help.to_owned()));
            }
        }
        let Some(name) = text("name") else {
            reader.refuse(
                member.place,
                "a question of `vars_prompt` needs `name`",
                None,
            );
            continue;
        };
        let question = Question {
            prompt: text("prompt").unwrap_or_else(|| name.clone()),
            default: text("default"),
            is_private: flag("private", true),
            is_confirmed: flag("confirm", false),
        };
        found.push((name, question));
    }
    reader.take_error()?;
    Ok(found)
}
