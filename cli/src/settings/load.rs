//! Reads the environment and the config files.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use ratchet_runtime::ATTEMPT_VARIABLES;
use thiserror::Error;

use super::keys::{PASSWORD_VARIABLE, SettingsSpec, variable};
use super::{Origin, Settings, Written};
use crate::diagnostic::{Diagnostic, Diagnostics, Problems, Source, Span};
use crate::document::{DocumentFormat, Entry, Node, Part, Section, Value, source, unknown_key};
use crate::environment::UserEnvironment;
use crate::error::CliError;
use crate::exit;
use crate::trust::Untrusted;
use crate::value;

/// The reason why settings cannot be read.
#[derive(Debug, Error)]
pub(crate) enum SettingsError {
    /// All settings that were refused: the diagnostics of each file or variable.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Refused(Vec<Diagnostics>),
    /// The config file cannot be read.
    #[error("the config file `{name}` cannot be read")]
    Unreadable {
        name: String,
        #[source]
        source: io::Error,
    },
    /// Another user may have written the config file.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// The config file of a project sets `trust`.
    #[error(
        "`{}` sets `trust`, which only the user's own config file may do: a project cannot decide whom its users trust",
        path.display()
    )]
    ProjectTrusts { path: PathBuf },
    /// The user's config file is not in TOML.
    #[error("`{name}` is not read: put what it says into `config.toml` beside it, as TOML")]
    NotToml { name: String },
    /// There is no folder in which runs could be recorded.
    #[error(
        "there is no place to record runs: neither HOME nor XDG_STATE_HOME is set to a folder; set one of them or RATCHET_STATE_DIR, or use --state-dir"
    )]
    NoStateFolder,
}

/// Reads all settings, and refuses invalid ones.
pub(super) fn load(environment: &UserEnvironment) -> Result<Settings, SettingsError> {
    let mut refused = Vec::new();
    let (settings, read) = gather(environment, &mut refused);
    read?;
    if refused.is_empty() {
        Ok(settings)
    } else {
        Err(SettingsError::Refused(refused))
    }
}

/// Reads all settings, and ignores invalid ones.
pub(super) fn load_valid(environment: &UserEnvironment) -> Settings {
    gather(environment, &mut Vec::new()).0
}

fn gather(
    environment: &UserEnvironment,
    refused: &mut Vec<Diagnostics>,
) -> (Settings, Result<(), SettingsError>) {
    let mut settings = Settings::default();
    variables(environment, &mut settings, refused);
    // The user's file is read first, because it decides which project files of other users may be used. The project's
    // file nevertheless takes precedence, so its settings are added first.
    let (mut users, mut users_refused) = (Settings::default(), Vec::new());
    // It names commands to run and folders to trust, so only the environment can vouch for one of another user.
    let read_users = environment.user_file().map_or(Ok(()), |path| {
        settings.trust(environment).file(&path)?;
        file(&path, &mut users, &mut users_refused)
    });
    settings.trusted = users.trust_folders();
    let trust = settings.trust(environment);
    let mut project = Settings::default();
    let read_project = environment.project_file().map_or(Ok(()), |path| {
        trust.file(&path)?;
        file(&path, &mut project, refused)?;
        if project.spec.trust.is_present() {
            return Err(SettingsError::ProjectTrusts { path });
        }
        Ok(())
    });
    settings.add(project.spec, project.written);
    settings.add(users.spec, users.written);
    refused.append(&mut users_refused);
    let read = read_project
        .and(read_users)
        .and(refuse_other_formats(environment));
    (settings, read)
}

/// Refuses a config file of the user in another format, which would otherwise be ignored silently.
fn refuse_other_formats(environment: &UserEnvironment) -> Result<(), SettingsError> {
    let file = environment.user_file();
    let others = ["yaml", "yml", "json"].map(|ending| Some(file.as_ref()?.with_extension(ending)));
    match others.into_iter().flatten().find(|other| other.is_file()) {
        Some(other) => Err(SettingsError::NotToml {
            name: other.display().to_string(),
        }),
        None => Ok(()),
    }
}

impl From<SettingsError> for CliError {
    fn from(error: SettingsError) -> Self {
        match error {
            SettingsError::Untrusted(error) => error.into(),
            SettingsError::Refused(refused) => {
                let message = SettingsError::Refused(refused.clone()).to_string();
                Self::usage(message).with_diagnostics(refused)
            }
            other => Self::new(exit::USAGE, other),
        }
    }
}

/// The settings of one source: the environment, or a file.
#[derive(Default)]
struct SourceSettings {
    spec: SettingsSpec,
    written: HashMap<String, Written>,
}

impl SourceSettings {
    /// Reads the value of a key.
    fn entry(&mut self, entry: Entry<'_>, origin: Origin, problems: &mut Problems) {
        let before = problems.len();
        let key = entry.name.to_string();
        let text = written(&entry.node);
        match self.spec.read_entry(entry, problems) {
            Err(entry) => problems.push(unknown_key::<SettingsSpec>(&entry)),
            Ok(()) if problems.len() == before => {
                self.written.insert(key, Written { text, origin });
            }
            Ok(()) => {}
        }
    }
}

/// Returns a value as text. Members of a list are joined with colons, as in a variable. Of a map only the names are
/// shown.
fn written(node: &Node<'_>) -> String {
    if let Ok(entries) = node.clone().into_map(&mut Vec::new()) {
        let names: Vec<_> = entries.iter().map(|entry| entry.name.as_ref()).collect();
        return names.join(", ");
    }
    match node.clone().into_list() {
        Ok(members) => {
            let members: Vec<_> = members.iter().filter_map(Node::text).collect();
            members.join(":")
        }
        Err(node) => node.text_or_number().unwrap_or_default().to_owned(),
    }
}

fn variables(
    environment: &UserEnvironment,
    settings: &mut Settings,
    refused: &mut Vec<Diagnostics>,
) {
    let keys = SettingsSpec::keys();
    let names: Vec<String> = keys.iter().map(|key| variable(key)).collect();
    let mut read = SourceSettings::default();
    for (key, name) in keys.iter().zip(&names) {
        let Some(value) = environment.variable(name) else {
            continue;
        };
        let mut problems = Vec::new();
        let text = value.to_string_lossy().into_owned();
        let span = Span::new(0, text.len());
        if value.to_str().is_none() {
            problems.push(Diagnostic::error(span, "this is not UTF-8"));
        } else {
            let entry = Entry {
                name: (*key).into(),
                place: span,
                node: Node::new(Value::Variable(&text), span),
            };
            read.entry(entry, Origin::Variable(name.clone()), &mut problems);
        }
        if !problems.is_empty() {
            refused.push(Diagnostics {
                source: Source::new(name.as_str(), text),
                diagnostics: problems,
            });
        }
    }
    settings.add(read.spec, read.written);
    refuse_misspelt(environment, &names, refused);
}

/// Refuses variables whose names are almost those of settings. Other unknown variables are accepted, because other
/// programs may use names that begin with `RATCHET_`.
fn refuse_misspelt(
    environment: &UserEnvironment,
    names: &[String],
    refused: &mut Vec<Diagnostics>,
) {
    if (ATTEMPT_VARIABLES.iter()).any(|name| environment.variable(name).is_some()) {
        // This ratchet is started by a job of another one, and a variable may be the share of a resource.
        return;
    }
    // The variables that ratchet sets for its workers and commands. They are accepted, because a worker or command may
    // be a ratchet itself.
    // The password of a queue is no setting, so that no list of settings shows it.
    let told = [
        ratchet_ipc::PROTOCOLS_ENV,
        ratchet_ipc::WORKER_ID_ENV,
        PASSWORD_VARIABLE,
    ];
    let is_told = |name: &str| told.contains(&name) || ATTEMPT_VARIABLES.contains(&name);
    for name in environment
        .variables
        .keys()
        .filter_map(|name| name.to_str())
    {
        let is_ours = names.iter().any(|known| known == name) || is_told(name);
        let Some(rest) = name.strip_prefix("RATCHET_").filter(|_| !is_ours) else {
            continue;
        };
        let rests = names
            .iter()
            .filter_map(|name| name.strip_prefix("RATCHET_"));
        if let Some(meant) = value::closest(rest, rests) {
            let error = Diagnostic::error(
                Span::new(0, name.len()),
                format!("there is no setting `{name}`"),
            );
            refused.push(Diagnostics {
                source: Source::new("the environment", name.to_owned()),
                diagnostics: vec![error.help(format!("did you mean `RATCHET_{meant}`?"))],
            });
        }
    }
}

fn file(
    path: &Path,
    settings: &mut Settings,
    refused: &mut Vec<Diagnostics>,
) -> Result<(), SettingsError> {
    let name = path.display().to_string();
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(SettingsError::Unreadable { name, source }),
    };
    let source = match source(&name, bytes) {
        Ok(source) => source,
        Err(report) => {
            refused.push(*report);
            return Ok(());
        }
    };
    let mut problems = Vec::new();
    let mut read = SourceSettings::default();
    let mut take = |part: Part<'_>, problems: &mut Problems| match part {
        Part::Entry(entry) => {
            let origin = Origin::File {
                path: path.to_path_buf(),
                line: source.place(entry.place.start()).line,
            };
            read.entry(entry, origin, problems);
        }
        // A TOML document is always a map, and no list is streamed.
        Part::Member(_) | Part::Whole(_) => {}
    };
    DocumentFormat::Toml.parts(&source, "", &mut take, &mut problems);
    settings.add(read.spec, read.written);
    if !problems.is_empty() {
        refused.push(Diagnostics {
            source,
            diagnostics: problems,
        });
    }
    Ok(())
}
