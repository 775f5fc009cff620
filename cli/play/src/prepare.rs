//! Prepares playbooks to run: reads them, and checks everything that can be checked before anything runs.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::sync::Arc;

use ratchet_input::InputError;
use ratchet_input::inventory::Inventory;
use ratchet_runtime::Limit;
use ratchet_runtime::process::ProcessManager;

use crate::Request;
use crate::configuration::Configuration;
use crate::data::Value;
use crate::execution::{Execution, Options, StartAt};
use crate::hint_file;
use crate::hints::{ModuleEntry, ModuleRegistry};
use crate::language::{self, Keyword, Play, PlaybookReader};
use crate::module_check::{check_settings, check_steps, refused_connection, refused_method};
use crate::modules::{ModulePaths, Modules, Secret};
use crate::perform::ConnectionDefaults;
use crate::runner::PlayRunner;
use crate::selection::{self, Tags};
use crate::vault::Vault;

/// The passwords that the user has typed, or that were read from files.
#[derive(Debug, Default)]
pub struct Passwords {
    /// The password of the user who logs in to hosts.
    pub login: Option<String>,
    /// The password by which tasks become another user.
    pub privilege: Option<String>,
}

/// A question of `vars_prompt`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The text of the question.
    pub prompt: String,
    /// The value of an empty answer.
    pub default: Option<String>,
    /// Whether the answer is hidden while it is typed.
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

/// Makes the runner of jobs, whose processes the given manager starts.
pub type MakeRunner = Box<dyn FnOnce(Arc<dyn ProcessManager>) -> PlayRunner + Send>;

impl Prepared {
    /// Returns the limits that tasks can refer to.
    pub fn limits(&self) -> &[(String, Limit)] {
        &self.limits
    }

    /// Returns the execution, and the function that makes the runner of its jobs.
    pub fn into_parts(self) -> (Execution, MakeRunner) {
        let calls = self.execution.calls().clone();
        let (modules, defaults) = (self.modules, self.defaults);
        let make = move |manager| PlayRunner::new(calls, modules, defaults, manager);
        (self.execution, Box::new(make))
    }
}

/// Reads playbooks and checks them. `ask` asks a question of `vars_prompt`; `variable` looks up environment variables.
pub fn prepare(
    request: &Request,
    configuration: Configuration,
    passwords: Passwords,
    inventory: Inventory,
    variable: impl Fn(&str) -> Option<OsString>,
    ask: &mut dyn FnMut(&Question) -> Result<String, InputError>,
) -> Result<Prepared, InputError> {
    let limit = request.limit.as_deref();
    let limit = limit.map(|text| selection::Limit::new(text, &inventory));
    let limit = limit.transpose()?;
    let (mut reader, plays) = read_plays(request, &configuration)?;
    let KnownNames {
        modules,
        registry,
        limits,
    } = check_plays(
        &plays,
        &mut reader,
        (request, &configuration),
        variable("PATH"),
    )?;
    check_hosts(&plays, &inventory, limit.as_ref())?;
    let start_at = request.start_at.clone().map(StartAt::new);
    if let Some(start) = &start_at {
        check_start(start, &plays, &configuration)?;
    }
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
    let key = configuration.private_key_file.as_deref();
    let defaults = ConnectionDefaults {
        remote_user: configuration.remote_user.clone(),
        private_key: key.map(|path| path.display().to_string()),
        connection: configuration.transport.clone(),
        timeout: configuration.timeout.map(|timeout| timeout.as_secs()),
        ssh_common_args: configuration.ssh_arguments(),
        checks_host_keys: configuration.host_key_checking,
        password: passwords.login.map(Secret::new),
        become_password: passwords.privilege.map(Secret::new),
        port: configuration.remote_port,
        python: configuration.interpreter_python.clone(),
        ssh_executable: configuration.ssh_executable.clone(),
        verbosity: request.verbosity,
    };
    let machine_options = Options {
        limit,
        check: request.check,
        start_at,
        verbosity: request.verbosity,
        answers,
        modules: Some(Arc::clone(&modules)),
        limits: limits.iter().map(|(name, _)| name.clone()).collect(),
        settings: configuration,
    };
    let execution = Execution::new(plays, inventory, reader, registry, machine_options);
    Ok(Prepared {
        execution,
        modules,
        defaults,
        limits,
    })
}

/// The definitions that names in plays refer to.
struct KnownNames {
    /// The modules of this machine.
    modules: Arc<Modules>,
    /// The parallelization hints of modules.
    registry: ModuleRegistry,
    /// The limits that tasks can refer to.
    limits: Vec<(String, Limit)>,
}

/// Checks playbooks without the inventory: their contents, and whether the modules and limits that they name exist.
pub fn check_syntax(
    request: &Request,
    configuration: &Configuration,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<(), InputError> {
    let (mut reader, plays) = read_plays(request, configuration)?;
    check_plays(
        &plays,
        &mut reader,
        (request, configuration),
        variable("PATH"),
    )?;
    Ok(())
}

fn read_plays(
    request: &Request,
    configuration: &Configuration,
) -> Result<(PlaybookReader, Vec<Arc<Play>>), InputError> {
    let vault = Arc::new(Vault::new(configuration.vault_passwords.clone(), None));
    let (reader, playbooks) = language::read(
        &request.playbooks,
        &request.extra_vars,
        configuration,
        vault,
    )?;
    let plays = playbooks.into_iter().flat_map(|playbook| playbook.plays);
    Ok((reader, plays.map(Arc::new).collect()))
}

/// Checks whether the modules and limits that plays name exist. `programs` are the folders that are searched for
/// Ansible.
fn check_plays(
    plays: &[Arc<Play>],
    reader: &mut PlaybookReader,
    (request, configuration): (&Request, &Configuration),
    programs: Option<OsString>,
) -> Result<KnownNames, InputError> {
    let modules = Arc::new(Modules::find_ansible(ModulePaths {
        collections: reader.collections_path().to_vec(),
        libraries: configuration.library.clone(),
        programs,
    }));
    let mut registry = ModuleRegistry::with_builtins();
    for (name, hint) in &request.hints {
        registry.register(name.clone(), ModuleEntry::new(hint.clone()));
    }
    let folder = plays.first().map(|play| play.folder.clone());
    let limits = hint_file::read(reader, &folder.unwrap_or_default(), &mut registry)?;
    for play in plays {
        check_play(play, &modules, reader);
        hint_file::check_limits(play, &limits, reader);
    }
    reader.take_error()?;
    Ok(KnownNames {
        modules,
        registry,
        limits,
    })
}

fn check_play(play: &Play, modules: &Modules, reader: &mut PlaybookReader) {
    check_settings(&play.settings, modules, reader);
    let handlers = std::iter::once(play.handlers.as_slice());
    for steps in play.sections().into_iter().chain(handlers) {
        check_steps(steps, &play.folder, modules, reader);
    }
}

/// Refuses a start at a task that no play has.
fn check_start(
    start: &StartAt,
    plays: &[Arc<Play>],
    configuration: &Configuration,
) -> Result<(), InputError> {
    let tags = Tags::of(configuration);
    if plays.iter().any(|play| start.is_in(play, &tags)) {
        return Ok(());
    }
    let name = start.name();
    let message = format!("--start-at-task {name}: none of the tasks that would run has this name");
    let help = match start.similar(plays, &tags) {
        Some(similar) => format!("did you mean `{similar}`?"),
        None => "--list-tasks shows the names; a play cannot start in a `rescue` section, nor in files that are \
                 included while it runs"
            .to_owned(),
    };
    Err(InputError::new(message).with_help(help))
}

/// Refuses hosts of plays that use an unsupported connection, or an unsupported method of becoming another user.
fn check_hosts(
    plays: &[Arc<Play>],
    inventory: &Inventory,
    limit: Option<&selection::Limit>,
) -> Result<(), InputError> {
    let mut checked = HashSet::new();
    for play in plays {
        for name in selection::hosts(play, inventory, limit).names {
            let Some(host) = inventory
                .find_host(&name)
                .filter(|host| checked.insert(*host))
            else {
                continue;
            };
            let variables = inventory.variables_of(host);
            let text = |name: &str| {
                let text = variables.get(name)?.as_str()?;
                (!text.contains("{{")).then_some(text)
            };
            let reason = text("ansible_connection").and_then(refused_connection);
            let reason = reason.or_else(|| text("ansible_become_method").and_then(refused_method));
            if let Some(reason) = reason {
                return Err(
                    InputError::new(format!("host `{name}`: {reason}")).with_help(
                        "leave out the host with --limit, or change its variables in the inventory",
                    ),
                );
            }
        }
    }
    Ok(())
}

/// Returns the questions of a play, each with the name of the variable that takes the answer.
fn questions(
    play: &Play,
    reader: &mut PlaybookReader,
) -> Result<Vec<(String, Question)>, InputError> {
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
