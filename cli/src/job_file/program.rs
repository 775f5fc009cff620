//! Turns commands into processes that can be started.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use ratchet_ipc::LineFormat;
use ratchet_runtime::process::{Environment, PoolConfig, ProcessConfig, WorkerProtocol};
use ratchet_runtime::{Job, Placement, Work};

use super::paths::within;
use super::spec::Protocol;
use crate::diagnostic::{Diagnostic, Problems, Span};
use crate::document::{Field, Named, ScalarText};
use crate::error::CliError;
use crate::value::{self, CommandLine, ValueError};

/// Makes the process of a section from its command, `env` and `cwd`.
pub(super) fn process(
    command: Field<CommandLine>,
    env: Field<Vec<Named<ScalarText>>>,
    cwd: Field<String>,
    folder: Option<&Path>,
    problems: &mut Problems,
) -> Option<ProcessConfig> {
    let place = command.span()?;
    let environment = env.into_value().map(|env| environment(env, problems));
    let command = command.into_value()?;
    if let Some(shell) = command.shell_syntax {
        problems.push(
            Diagnostic::warning(place, format!("no shell interprets `{shell}`"))
                .label("the program gets it as one of its words")
                .help(
                    "write [sh, -c, \"..\"] to use a shell, or quote it if it is meant as a word",
                ),
        );
    }
    let mut config = from_words(&command.words, folder)?;
    if let Some(cwd) = cwd.into_value() {
        config.working_dir = Some(within(folder, cwd));
    }
    if let Some(environment) = environment {
        config.env = environment;
    }
    Some(config)
}

/// Changes a process that was made for this machine so that it starts on another one. Paths below `folder`, the folder
/// of the job file, become relative to the folder in which commands start there.
pub(super) fn prepare_for_remote(process: &mut ProcessConfig, folder: Option<&Path>) {
    let Some(folder) = folder else { return };
    if process.working_dir.as_deref() == Some(folder) {
        process.working_dir = None;
    }
    // A name without a slash would be looked for in PATH.
    let as_written = |path: &Path| Some(Path::new(".").join(path.strip_prefix(folder).ok()?));
    if let Some(program) = as_written(&process.command) {
        process.command = program;
    }
    let working_dir = process.working_dir.as_deref();
    if let Some(relative) = working_dir.and_then(|inner| inner.strip_prefix(folder).ok()) {
        process.working_dir = Some(relative.to_path_buf());
    }
}

/// Makes the pool of a worker whose command was typed.
pub(crate) fn typed_worker(command: &str, protocol: Protocol) -> Result<PoolConfig, CliError> {
    let pool = worker_of(command, protocol).map_err(|error| {
        let message = format!("the worker's command cannot be read: {}", error.reason);
        match error.hint {
            Some(hint) => CliError::usage(message).with_help(hint),
            None => CliError::usage(message),
        }
    })?;
    match cannot_start(&pool.process) {
        Some(missing) => Err(CliError::usage(format!(
            "the worker cannot start: {missing}"
        ))),
        None => Ok(pool),
    }
}

fn worker_of(command: &str, protocol: Protocol) -> Result<PoolConfig, ValueError> {
    let words = value::split_words(command)?.words;
    let program = words.first().filter(|program| !program.is_empty());
    let (Some(program), Some(process)) = (program, from_words(&words, None)) else {
        return Err(ValueError::new("it is empty").hint("name a program"));
    };
    if command.contains('\0') {
        return Err(ValueError::new("it contains a NUL character"));
    }
    let name = Path::new(program)
        .file_name()
        .and_then(|name| name.to_str());
    let mut pool = PoolConfig::new(name.unwrap_or(program), process);
    pool.language = language(protocol, false);
    Ok(pool)
}

/// Returns the protocol in the words of the runtime. The lines of filters are texts.
pub(super) fn language(protocol: Protocol, understands_cancel: bool) -> WorkerProtocol {
    match protocol {
        Protocol::Ratchet => WorkerProtocol::Native,
        Protocol::Lines => WorkerProtocol::Lines {
            input: LineFormat::Text,
            output: LineFormat::Text,
        },
        Protocol::Mcp => WorkerProtocol::Mcp,
        Protocol::BazelJson => WorkerProtocol::BazelJson { understands_cancel },
    }
}

/// Makes a process that starts in a folder. A program with a slash in its name is looked for from there.
pub(super) fn from_words(words: &[String], folder: Option<&Path>) -> Option<ProcessConfig> {
    let (program, args) = words.split_first()?;
    let program = if program.contains('/') {
        within(folder, program)
    } else {
        PathBuf::from(program)
    };
    let mut config = ProcessConfig::new(program).args(args);
    config.working_dir = folder.map(Path::to_path_buf);
    Some(config)
}

fn environment(env: Vec<Named<ScalarText>>, problems: &mut Problems) -> Environment {
    let variables = checked(env, problems).into_iter();
    variables.fold(Environment::inherited(), |environment, (name, value)| {
        environment.set(name, value)
    })
}

/// Returns the variables of a section, without those that are refused.
pub(super) fn variables(
    env: Field<Vec<Named<ScalarText>>>,
    problems: &mut Problems,
) -> Vec<(String, String)> {
    checked(env.into_value().unwrap_or_default(), problems)
}

fn checked(env: Vec<Named<ScalarText>>, problems: &mut Problems) -> Vec<(String, String)> {
    let mut variables = Vec::with_capacity(env.len());
    for variable in env {
        let Some(ScalarText(value)) = variable.value else {
            continue;
        };
        if variable.name.contains(['=', '\0']) {
            let message = "the name of a variable cannot contain `=` or NUL";
            problems.push(Diagnostic::error(variable.place, message));
        } else if value.contains('\0') {
            let message = "the value of a variable cannot contain NUL";
            problems.push(Diagnostic::error(variable.span, message));
        } else {
            variables.push((variable.name, value));
        }
    }
    variables
}

/// Returns the reason why a typed program cannot be started, as far as it is known without trying.
pub(crate) fn cannot_start(config: &ProcessConfig) -> Option<String> {
    missing(config, std::env::var_os("PATH").as_ref())
}

/// Returns the reason why a program cannot be started, as far as it is known without trying.
pub(super) fn missing(config: &ProcessConfig, path: Option<&OsString>) -> Option<String> {
    let program = &config.command;
    if program.components().count() > 1 || program.is_absolute() {
        return match std::fs::metadata(program) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Some(format!("there is no `{}`", program.display()))
            }
            Err(error) => Some(format!("`{}`: {error}", program.display())),
            Ok(found) if found.is_dir() => Some(format!("`{}` is a folder", program.display())),
            Ok(found) if !may_run(&found) => {
                Some(format!("`{}` is not executable", program.display()))
            }
            Ok(_) => None,
        };
    }
    let own = config.env.declared().find(|(name, _)| *name == "PATH");
    let path = own
        .map(|(_, path)| path)
        .or(path.map(OsString::as_os_str))?;
    let found = std::env::split_paths(path).any(|folder| {
        let found = std::fs::metadata(folder.join(program));
        found.is_ok_and(|found| found.is_file() && may_run(&found))
    });
    (!found).then(|| format!("there is no program `{}` in PATH", program.display()))
}

/// Warns of a program that does not exist. A job with needs is not checked, because one of them may create the program.
pub(super) fn warn_missing(
    job: &Job,
    place: Span,
    programs: &mut ProgramSearch,
) -> Option<Diagnostic> {
    let Work::Command(process) = &job.work else {
        return None;
    };
    if !job.needs.is_empty() || job.terms.on != Placement::Here {
        return None;
    }
    let missing = programs.missing(process)?;
    let warning = Diagnostic::warning(place, format!("this cannot start: {missing}"));
    Some(warning.help("the job fails unless the program exists when the job starts"))
}

/// Looks for the programs of commands, for each program only once.
#[derive(Debug)]
pub(super) struct ProgramSearch {
    path: Option<OsString>,
    sought: HashSet<(PathBuf, Option<OsString>)>,
}

impl ProgramSearch {
    /// Makes a search that has looked for no program yet.
    pub(super) fn new() -> Self {
        Self {
            path: std::env::var_os("PATH"),
            sought: HashSet::new(),
        }
    }

    /// Returns the reason why a program cannot be started. Returns nothing for a program that was looked for before.
    pub(super) fn missing(&mut self, config: &ProcessConfig) -> Option<String> {
        let mut declared = config.env.declared();
        let own = declared.find(|(name, _)| *name == "PATH");
        let own = own.map(|(_, path)| path.to_owned());
        let is_new = self.sought.insert((config.command.clone(), own));
        is_new.then(|| missing(config, self.path.as_ref()))?
    }
}

fn may_run(found: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    found.permissions().mode() & 0o111 != 0
}
