//! The variables and the folder that all commands of a file have in common.

use std::collections::BTreeMap;
use std::sync::Arc;

use ratchet_runtime::{Job, Work};

use crate::diagnostic::{Diagnostic, Problems, Span};
use crate::document::{Field, Named, ScalarText, Spanned};
use crate::job_file::folders::FileFolders;
use crate::job_file::job::JobPlaces;
use crate::job_file::paths::within;
use crate::job_file::program;
use crate::job_file::variables::{self, VariablesError};

/// What commands start with if they do not set it themselves.
#[derive(Clone)]
pub(super) struct CommandStart {
    /// The variables of commands that do not set them.
    env: Vec<(String, String)>,
    /// The folder of commands that do not set one.
    cwd: Option<Spanned<String>>,
}

impl CommandStart {
    /// Reads the variables and the folder of `defaults`.
    pub(super) fn read(
        (env, cwd): (Field<Vec<Named<ScalarText>>>, Option<Spanned<String>>),
        problems: &mut Problems,
    ) -> Self {
        Self {
            env: program::variables(env, problems),
            cwd,
        }
    }

    /// Adds the variables and the folder of all commands where a command does not set its own, and fills in the
    /// variables that values name.
    pub(super) fn complete(
        &self,
        job: &mut Job,
        places: &JobPlaces,
        folders: &FileFolders,
        problems: &mut Problems,
    ) {
        let Work::Command(process) = &mut job.work else {
            return;
        };
        let names_any = |value: &std::ffi::OsStr| value.as_encoded_bytes().contains(&b'$');
        let has_names = process.env.declared().any(|(_, value)| names_any(value));
        if self.env.is_empty() && self.cwd.is_none() && places.cwd.is_none() && !has_names {
            return;
        }
        let process = Arc::make_mut(process);
        let mut env = process.env.clone();
        for (name, value) in &self.env {
            if !env.declared().any(|(own, _)| *own == **name) {
                env = env.set(name, value);
            }
        }
        let declared: BTreeMap<String, String> = env
            .declared()
            .filter_map(|(name, value)| {
                Some((name.to_str()?.to_owned(), value.to_str()?.to_owned()))
            })
            .collect();
        for (name, value) in declared.iter().filter(|(_, value)| value.contains('$')) {
            match variables::expand(&declared, value) {
                Ok(expanded) => env = env.set(name, expanded),
                Err(error) => problems.push(not_expanded(name, &error, places.work)),
            }
        }
        process.env = env;
        let of_all = self.cwd.as_ref().filter(|_| !places.has_cwd);
        if let Some(cwd) = places.cwd.as_deref().or(of_all)
            && let Some(path) = expanded_cwd(&declared, cwd, problems)
        {
            process.working_dir = Some(within(folders.at(cwd.span), path));
        }
    }
}

/// Returns the error of a variable whose value names variables that cannot be filled in.
fn not_expanded(name: &str, error: &VariablesError, place: Span) -> Diagnostic {
    match error {
        VariablesError::Circle(at) => {
            let message =
                format!("variable `{name}` cannot be expanded: `${{{at}}}` refers to itself");
            // Who writes `PATH: ${PATH}:/more` means the variable of the environment.
            Diagnostic::error(place, message).help(
                "only variables that `env` declares are filled in; a shell knows the inherited ones: \
                 `run: [sh, -c, ...]`; write `$${` for the characters `${`",
            )
        }
        VariablesError::TooLong(at) => {
            let message =
                format!("variable `{name}` becomes too long when `${{{at}}}` is expanded");
            Diagnostic::error(place, message).help("write `$${` for the characters `${`")
        }
    }
}

/// Returns the folder of a command, in which variables were replaced by their values.
fn expanded_cwd(
    declared: &BTreeMap<String, String>,
    cwd: &Spanned<String>,
    problems: &mut Problems,
) -> Option<String> {
    let mut refuse = |message: String, help: &str| {
        let error = Diagnostic::error(cwd.span, message).help(help);
        // A folder that many jobs have in common is reported once.
        if !problems.contains(&error) {
            problems.push(error);
        }
        None
    };
    if let Some(name) = variables::undeclared(declared, &cwd.value) {
        return refuse(
            format!(
                "`cwd` refers to `${{{name}}}`, which is not a variable of the job or of the file"
            ),
            "declare it in `env` of the job or of `defaults`; write `$${` for the characters `${`",
        );
    }
    match variables::expand(declared, &cwd.value) {
        Ok(cwd) => Some(cwd),
        // The variable itself is reported as well.
        Err(VariablesError::Circle(name) | VariablesError::TooLong(name)) => refuse(
            format!("`cwd` refers to `${{{name}}}`, which cannot be expanded"),
            "correct the variable",
        ),
    }
}
