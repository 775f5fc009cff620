//! Reading the environment and the config files.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::keys::{SETTINGS, variable};
use super::{Origin, Setting, Settings, Surroundings};
use crate::diagnostic::{Diagnostic, Report, Source, Span};
use crate::document::{Format, Node, Shape, Value, check, source};
use crate::trust::Untrusted;
use crate::value;

#[derive(Debug, Error)]
pub(crate) enum SettingsError {
    /// All that is wrong, a report a file or variable.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Refused(Vec<Report>),
    #[error("the config file `{name}` cannot be read")]
    Unreadable {
        name: String,
        #[source]
        source: io::Error,
    },
    /// Somebody else may have written the project's file.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    #[error(
        "`{}` sets `trust`, which only the user's own config file may do: a project cannot say whom its users trust",
        path.display()
    )]
    ProjectTrusts { path: PathBuf },
    #[error("`{name}` is not read: put what it says into `config.toml` beside it, as TOML")]
    NotToml { name: String },
    #[error(
        "there is no place to record runs: neither HOME nor XDG_STATE_HOME is set to a folder; set one of them, or RATCHET_STATE_DIR, or say --state-dir"
    )]
    NoStateFolder,
}

pub(super) fn load(surroundings: &Surroundings) -> Result<Settings, SettingsError> {
    let mut refused = Vec::new();
    let (settings, read) = gather(surroundings, &mut refused);
    read?;
    if refused.is_empty() {
        Ok(settings)
    } else {
        Err(SettingsError::Refused(refused))
    }
}

/// What is sound, whatever else is not.
pub(super) fn sound(surroundings: &Surroundings) -> Settings {
    gather(surroundings, &mut Vec::new()).0
}

fn gather(
    surroundings: &Surroundings,
    refused: &mut Vec<Report>,
) -> (Settings, Result<(), SettingsError>) {
    let mut settings = Settings::default();
    variables(surroundings, &mut settings, refused);
    // The user's file says which project files of others may be used, so it is read first. The project's file comes
    // before it all the same: of each key the first value counts.
    let (mut users, mut users_refused) = (Settings::default(), Vec::new());
    let read_users = surroundings
        .user_file()
        .map_or(Ok(()), |path| file(&path, &mut users, &mut users_refused));
    settings.trusted = users.paths("trust");
    let trust = settings.trust(surroundings);
    let mut project = Settings::default();
    let read_project = surroundings.project_file().map_or(Ok(()), |path| {
        trust.file(&path)?;
        file(&path, &mut project, refused)?;
        match project.find("trust") {
            Some(_) => Err(SettingsError::ProjectTrusts { path }),
            None => Ok(()),
        }
    });
    for set in project.set.into_iter().chain(users.set) {
        settings.add(set.key, set.node, set.origin);
    }
    refused.append(&mut users_refused);
    let read = read_project
        .and(read_users)
        .and(refuse_other_formats(surroundings));
    (settings, read)
}

/// The user's settings in another format than ours would be ignored without a word.
fn refuse_other_formats(surroundings: &Surroundings) -> Result<(), SettingsError> {
    let file = surroundings.user_file();
    let others = ["yaml", "yml", "json"].map(|ending| Some(file.as_ref()?.with_extension(ending)));
    match others.into_iter().flatten().find(|other| other.is_file()) {
        Some(other) => Err(SettingsError::NotToml {
            name: other.display().to_string(),
        }),
        None => Ok(()),
    }
}

impl Settings {
    /// Who comes first counts.
    fn add(&mut self, key: &'static str, node: Node, origin: Origin) {
        if self.find(key).is_none() {
            self.set.push(Setting { key, node, origin });
        }
    }
}

fn variables(surroundings: &Surroundings, settings: &mut Settings, refused: &mut Vec<Report>) {
    let names: Vec<String> = SETTINGS.keys.iter().map(|key| variable(key.name)).collect();
    for (key, name) in SETTINGS.keys.iter().zip(&names) {
        let Some(value) = surroundings.variable(name) else {
            continue;
        };
        let mut problems = Vec::new();
        let text = value.to_string_lossy().into_owned();
        let span = Span::new(0, text.len());
        let node = from_text(&key.shape, &text, span);
        if value.to_str().is_none() {
            problems.push(Diagnostic::error(span, "this is not UTF-8"));
        } else {
            check(&node, &key.shape, &mut problems);
        }
        if problems.is_empty() {
            settings.add(key.name, node, Origin::Variable(name.clone()));
        } else {
            refused.push(Report {
                source: Source::new(name.as_str(), text),
                diagnostics: problems,
            });
        }
    }
    refuse_misspelt(surroundings, &names, refused);
}

/// Others may have variables that begin like ours; one that is nearly ours is meant for us.
fn refuse_misspelt(surroundings: &Surroundings, names: &[String], refused: &mut Vec<Report>) {
    /// What ratchet tells its workers, one of which may be a ratchet.
    const TOLD: [&str; 2] = [ratchet_ipc::PROTOCOLS_ENV, ratchet_ipc::WORKER_ID_ENV];
    for name in surroundings
        .variables
        .keys()
        .filter_map(|name| name.to_str())
    {
        let is_ours = names.iter().any(|known| known == name) || TOLD.contains(&name);
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
            refused.push(Report {
                source: Source::new("the environment", name.to_owned()),
                diagnostics: vec![error.help(format!("did you mean `RATCHET_{meant}`?"))],
            });
        }
    }
}

/// A text as what its key wants.
fn from_text(shape: &Shape, text: &str, span: Span) -> Node {
    let is_number = matches!(shape, Shape::Count(_) | Shape::Rate) && text.parse::<f64>().is_ok();
    let value = if is_number {
        Value::Number(text.to_owned())
    } else {
        Value::Text(text.to_owned())
    };
    Node::new(value, span)
}

fn file(
    path: &Path,
    settings: &mut Settings,
    refused: &mut Vec<Report>,
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
    let document = match Format::Toml.read(&source) {
        Ok(Some(document)) => document,
        Ok(None) => return Ok(()),
        Err(diagnostics) => {
            refused.push(Report {
                source,
                diagnostics,
            });
            return Ok(());
        }
    };
    for entry in document.entries() {
        let Some(key) = SETTINGS.keys.iter().find(|key| key.name == entry.name) else {
            continue;
        };
        let mut own = Vec::new();
        check(&entry.node, &key.shape, &mut own);
        if own.is_empty() {
            let origin = Origin::File {
                path: path.to_path_buf(),
                line: source.place(entry.place.start).line,
            };
            settings.add(key.name, entry.node.clone(), origin);
        }
    }
    let mut problems = Vec::new();
    check(&document, &Shape::Section(&SETTINGS), &mut problems);
    if !problems.is_empty() {
        refused.push(Report {
            source,
            diagnostics: problems,
        });
    }
    Ok(())
}
