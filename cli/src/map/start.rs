//! How the commands of a map start: in which folder, with which variables, and how nice.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use ratchet_runtime::process::ProcessConfig;

use crate::error::CliError;
use crate::escape::{plain, text_of};

/// The folder, the variables and the niceness of all commands of a map.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CommandStart {
    folder: Option<PathBuf>,
    variables: Vec<(OsString, OsString)>,
    /// The number that `nice` gets.
    nice: Option<i8>,
}

impl CommandStart {
    /// Parses the flags. A variable is `NAME=VALUE`, or a name whose value is taken from this process.
    pub(crate) fn of(
        folder: Option<&PathBuf>,
        variables: &[OsString],
        nice: Option<i8>,
    ) -> Result<Self, CliError> {
        let variables = variables.iter().map(|typed| variable(typed));
        Ok(Self {
            folder: folder.cloned(),
            variables: variables.collect::<Result<_, _>>()?,
            nice,
        })
    }

    /// Returns the process with this folder and these variables.
    pub(crate) fn apply(&self, mut process: ProcessConfig) -> ProcessConfig {
        if let Some(folder) = &self.folder {
            process.working_dir = Some(folder.clone());
        }
        for (name, value) in &self.variables {
            process.env = process.env.set(name, value);
        }
        process
    }

    /// Returns the process, started by the program `nice` if `--nice` was typed. `nice` then looks for the command.
    pub(crate) fn with_niceness(&self, process: ProcessConfig) -> ProcessConfig {
        let Some(nice) = self.nice else {
            return process;
        };
        let program = process.command.into_os_string();
        let words = [OsString::from("-n"), nice.to_string().into(), program];
        ProcessConfig {
            command: "nice".into(),
            args: words.into_iter().chain(process.args).collect(),
            ..process
        }
    }

    /// Returns the process with a command that can be looked for from the folder of this process. A relative path of a
    /// program starts at the folder of the commands.
    pub(crate) fn with_resolved_program(&self, process: ProcessConfig) -> ProcessConfig {
        let mut process = self.apply(process);
        if let Some(folder) = &self.folder
            && process.command.components().count() > 1
        {
            process.command = folder.join(&process.command);
        }
        process
    }

    /// Refuses a folder in which no command can start on this machine.
    pub(crate) fn check_folder(&self) -> Result<(), CliError> {
        let Some(folder) = &self.folder else {
            return Ok(());
        };
        let name = plain(&text_of(folder.as_os_str().as_bytes())).into_owned();
        match folder.metadata() {
            Ok(found) if found.is_dir() => Ok(()),
            Ok(_) => Err(CliError::usage(format!("--cwd: `{name}` is not a folder"))),
            Err(error) => Err(
                CliError::usage(format!("--cwd: no command can start in `{name}`")).because(error),
            ),
        }
    }
}

fn variable(typed: &OsStr) -> Result<(OsString, OsString), CliError> {
    let refuse = |reason: &str| {
        let typed = plain(&text_of(typed.as_bytes())).into_owned();
        Err(CliError::usage(format!("--env {typed}: {reason}")).with_help("write NAME=VALUE"))
    };
    let bytes = typed.as_bytes();
    let Some(end) = bytes.iter().position(|byte| *byte == b'=') else {
        // A function that bash has exported is a variable of a longer name.
        let function = [OsStr::new("BASH_FUNC_"), typed, OsStr::new("%%")].join(OsStr::new(""));
        let mut names = [typed.to_owned(), function].into_iter();
        return match names.find_map(|name| Some((std::env::var_os(&name)?, name))) {
            Some((value, name)) => Ok((name, value)),
            None => refuse(
                "this process has no variable of that name, and bash has exported no such function",
            ),
        };
    };
    let (name, value) = (&bytes[..end], &bytes[end + 1..]);
    if name.is_empty() {
        return refuse("the variable has no name");
    }
    let owned = |bytes| OsStr::from_bytes(bytes).to_owned();
    Ok((owned(name), owned(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_have_a_value_or_that_of_this_process() {
        assert_eq!(
            variable("A=b=c".as_ref()).unwrap(),
            ("A".into(), "b=c".into())
        );
        assert_eq!(variable("A=".as_ref()).unwrap(), ("A".into(), "".into()));
        let path = variable("PATH".as_ref()).unwrap();
        assert_eq!(Some(path.1), std::env::var_os("PATH"));
        for wrong in ["=b", "NO_SUCH_VARIABLE_HERE", ""] {
            let error = variable(wrong.as_ref()).unwrap_err();
            assert!(error.to_string().contains("--env"), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_nice_command_is_started_by_nice() {
        let start = |nice| CommandStart::of(None, &[], nice).unwrap();
        let niced = |nice| {
            start(nice)
                .with_niceness(ProcessConfig::new("x").arg("y"))
                .to_string()
        };
        assert_eq!(
            (niced(Some(-5)), niced(None)),
            ("nice -n -5 x y".into(), "x y".into())
        );
    }

    #[test]
    fn a_program_is_looked_for_from_the_folder_of_commands() {
        let start = CommandStart::of(Some(&"/srv".into()), &["A=b".into()], None).unwrap();
        let found = |program: &str| {
            start
                .with_resolved_program(ProcessConfig::new(program))
                .command
        };
        assert_eq!(found("./x"), PathBuf::from("/srv/./x"));
        assert_eq!(found("/bin/x"), PathBuf::from("/bin/x"));
        assert_eq!(found("x"), PathBuf::from("x"));
        let applied = start.apply(ProcessConfig::new("./x"));
        assert_eq!(applied.command, PathBuf::from("./x"));
        assert_eq!(applied.working_dir, Some("/srv".into()));
        let variables: Vec<_> = applied.env.declared().collect();
        assert_eq!(variables, [("A".as_ref(), "b".as_ref())]);
        let nowhere = CommandStart::of(Some(&"/no/such/folder".into()), &[], None).unwrap();
        assert!(nowhere.check_folder().is_err() && start.clone().folder.is_some());
    }
}
