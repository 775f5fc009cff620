//! What a result depends on, and on what terms it is kept.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ratchet_caching::{
    CacheError, FileHasher, Fingerprint, FingerprintBuilder, InputFiles, Labels, Policy,
};

use crate::job::{CacheTerms, Job, Work};
use crate::os::{Environment, ProcessConfig, ProgramInput, umask};
use crate::outcome::{Class, Failure};
use crate::process::{CommandLine, StartedPrograms, absolute};

/// What a job's result depends on, and on what terms it is kept: what the executor asks its cache by.
///
/// With it one can ask the same without running the job, to find out whether an earlier result would be used.
#[derive(Debug, Clone)]
pub struct Dependencies {
    fingerprint: Fingerprint,
    policy: Policy,
}

/// Why there is no key to look a job's result up by.
#[derive(Debug, Clone, PartialEq)]
pub enum NoCacheKey {
    /// What the job says it depends on cannot be read, so the job cannot be done as it is meant.
    Refused(Failure),
    /// The job is done and its result is not kept, because it is not known what the result depends on. This says why.
    Uncached(String),
}

/// The variables that differ between two terminals, two logins or two runs, and that no program should compute anything
/// from. They are not part of what a result depends on. A name that ends with `*` means all that begin so.
pub const SESSION_VARIABLES: [&str; 19] = [
    "_",
    "SHLVL",
    "PWD",
    "OLDPWD",
    "TERM",
    "TERM_*",
    "COLORTERM",
    "COLUMNS",
    "LINES",
    "WINDOWID",
    "SSH_*",
    "GPG_TTY",
    "DBUS_SESSION_BUS_ADDRESS",
    "XDG_SESSION_*",
    "TMUX*",
    "STY",
    "INVOCATION_ID",
    "TRACEPARENT",
    "RATCHET_*",
];

/// What a cached result depends on of whoever does the job.
#[derive(Debug, Clone, Copy)]
pub(in crate::executor) struct PerformerIdentity<'a> {
    /// What it runs, if it is a worker.
    pub(in crate::executor) process: Option<&'a ProcessConfig>,
    /// Which version it says it is. A job that need not wait for its worker's hello is looked up without one.
    pub(in crate::executor) version: Option<&'a str>,
    /// The files of what it runs, as they were when it was started.
    pub(in crate::executor) programs: Option<&'a Arc<StartedPrograms>>,
    /// Where it does the job, as in `linux-x86_64`, unless that is this platform.
    pub(in crate::executor) platform: Option<&'a str>,
}

impl Dependencies {
    /// Looks at all that a job depends on; `process` is what its worker runs, if a worker does it, and `salt`
    /// what the executor was given.
    ///
    /// Reads files, so it may wait for the disk. A job that says nothing of the cache is taken to be one whose worker
    /// does. Which version a worker says it is, and on which platform a host does the job, on which its results depend too,
    /// is not known here: the platform is taken to be that of this machine.
    pub fn of(
        job: &Job,
        process: Option<&ProcessConfig>,
        hasher: &Arc<FileHasher>,
        salt: Option<&str>,
    ) -> Result<Self, NoCacheKey> {
        let performer_identity = PerformerIdentity {
            process,
            version: None,
            programs: None,
            platform: None,
        };
        Self::on(job, performer_identity, hasher, salt)
    }

    /// Returns what the result depends on.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// Returns on what terms the result is kept, and an earlier one used.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Turns the terms into what the cache understands.
    pub(super) fn into_policy(self) -> Policy {
        self.policy
    }

    /// Looks at all that a job depends on, its worker's version included.
    pub(super) fn on(
        job: &Job,
        PerformerIdentity {
            process,
            version,
            programs,
            platform,
        }: PerformerIdentity<'_>,
        hasher: &Arc<FileHasher>,
        salt: Option<&str>,
    ) -> Result<Self, NoCacheKey> {
        let (inputs, names, ttl) = match &job.terms.cache {
            Some(CacheTerms::On { inputs, env, ttl }) => (&inputs[..], &env[..], *ttl),
            None | Some(CacheTerms::Off) => (&[][..], &[][..], None),
        };
        let mut builder = Fingerprint::builder().task(job.task_name());
        if let Some(platform) = platform {
            let (system, processor) = platform.split_once('-').unwrap_or((platform, ""));
            builder = builder.platform(system, processor);
        }
        if let Some(salt) = salt {
            builder = builder.salt(salt);
        }
        let timeouts = job.terms.timeouts;
        if let Some(limit) = timeouts.soft.or(timeouts.hard) {
            builder = builder.timeout(limit);
        }
        let process = match &job.work {
            Work::Task { input, .. } => {
                builder = builder.input(input.as_str());
                if let Some(version) = version {
                    builder = builder.worker_version(version);
                }
                process
            }
            Work::Command(config) => Some(&**config),
            Work::Closure(_) | Work::Refused { .. } | Work::Ended(_) => None,
        };
        // A job that is done here is not the same as one that is done elsewhere.
        let folder = process.and_then(|process| process.working_dir.as_deref());
        let base = absolute(folder.unwrap_or(Path::new("."))).map_err(refused)?;
        let mut read_again = Vec::new();
        if let Some(process) = process {
            let command = CommandLine::of(process).map_err(refused)?;
            let files = if let Some(programs) = programs {
                // What the worker runs is what it was started from. Whether this very worker was is found out when it
                // has a result.
                programs.content(hasher).map_err(NoCacheKey::Uncached)?
            } else {
                let files = command.read(hasher);
                let files = files.map_err(|error| NoCacheKey::Uncached(with_cause(&error)))?;
                read_again.push(files.clone());
                files
            };
            builder = builder
                .worker_command(command.words)
                .worker_programs(&files)
                .extra("folder", base.as_os_str().as_encoded_bytes())
                .extra("umask", &umask().to_le_bytes());
            builder = with_environment(builder, &process.env);
            builder = with_stdin(builder, &process.stdin)?;
        }
        for name in names {
            let value = match process {
                Some(process) => process.env.value_of(name.as_ref()),
                None => std::env::var_os(name),
            };
            builder = builder.environment(name, value);
        }
        let inputs = inputs
            .iter()
            .chain(process.and_then(|process| file_of_stdin(&process.stdin)));
        let files = InputFiles::read(hasher, &base, inputs.cloned()).map_err(refused)?;
        let fingerprint = builder.files(&files).build();
        read_again.push(files);
        let labels = Labels {
            task: job.task_name().to_owned(),
            ..Labels::default()
        };
        let mut policy = Policy::cacheable(labels).fingerprint(fingerprint.clone());
        for files in read_again {
            policy = policy.verify_inputs(files, Arc::clone(hasher));
        }
        if let Some(ttl) = ttl {
            policy = policy.time_to_live(ttl);
        }
        Ok(Self {
            fingerprint,
            policy,
        })
    }
}

/// Tells an error of the cache together with its cause.
fn with_cause(error: &CacheError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it stands in `map_err`")]
fn refused(error: CacheError) -> NoCacheKey {
    NoCacheKey::Refused(Failure::new(Class::Input, with_cause(&error)))
}

/// What a process has in its environment: what is declared by name, and the rest as one part.
fn with_environment(
    mut builder: FingerprintBuilder,
    environment: &Environment,
) -> FingerprintBuilder {
    for (name, value) in environment.declared() {
        builder = builder.environment(name, Some(value));
    }
    if !environment.inherits() {
        return builder;
    }
    let mut inherited: Vec<(OsString, OsString)> = std::env::vars_os()
        .filter(|(name, _)| !is_of_the_session(name))
        .collect();
    inherited.sort_unstable();
    builder.inherited_environment(inherited)
}

/// What a process reads from its stdin, apart from the content of a file.
fn with_stdin(
    builder: FingerprintBuilder,
    input: &ProgramInput,
) -> Result<FingerprintBuilder, NoCacheKey> {
    Ok(match input {
        ProgramInput::Nothing => builder,
        ProgramInput::Bytes(bytes) => builder.extra("stdin", bytes.as_slice()),
        ProgramInput::File(_) => builder.extra("stdin of a file", b""),
        ProgramInput::Part {
            start,
            bytes,
            header,
            ..
        } => {
            let mut part = [start.to_le_bytes(), bytes.to_le_bytes()].concat();
            if let Some(header) = header {
                part.extend_from_slice(header.as_slice());
            }
            builder.extra("stdin of a part", &part)
        }
        ProgramInput::Output(output) => {
            let given = output.bytes();
            let given = given.map_err(|error| NoCacheKey::Uncached(error.to_string()))?;
            builder.extra("stdin", given.as_slice())
        }
        ProgramInput::Terminal | ProgramInput::Pipe(_) => {
            let reason = "its stdin is not known before it reads it";
            return Err(NoCacheKey::Uncached(reason.to_owned()));
        }
    })
}

/// The file that a process reads as its stdin.
fn file_of_stdin(input: &ProgramInput) -> Option<&PathBuf> {
    match input {
        ProgramInput::File(path) | ProgramInput::Part { path, .. } => Some(path),
        _ => None,
    }
}

fn is_of_the_session(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    SESSION_VARIABLES
        .iter()
        .any(|known| match known.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix.as_bytes()),
            None => name == known.as_bytes(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::{InputBytes, InputPipe};

    #[test]
    fn a_result_depends_on_the_stdin_of_its_command() {
        let hasher = Arc::new(FileHasher::default());
        let key = |stdin: ProgramInput| {
            let job = Job::command("a", ProcessConfig::new("cat").stdin(stdin));
            Dependencies::of(&job, None, &hasher, None).map(|of| of.fingerprint().clone())
        };
        let bytes = |text: &'static str| ProgramInput::Bytes(InputBytes::new(text));
        let file = tempfile::NamedTempFile::new().unwrap();
        let of_file = || key(ProgramInput::File(file.path().into())).unwrap();
        let empty = of_file();
        std::fs::write(file.path(), "changed").unwrap();
        let keys = [
            key(ProgramInput::Nothing).unwrap(),
            key(bytes("a")).unwrap(),
            key(bytes("b")).unwrap(),
            empty,
            of_file(),
        ];
        for (index, one) in keys.iter().enumerate() {
            assert!(!keys[..index].contains(one), "{index}");
        }
        let (reader, _writer) = std::io::pipe().unwrap();
        let pipe = ProgramInput::Pipe(InputPipe::new(reader));
        assert!(matches!(key(pipe), Err(NoCacheKey::Uncached(_))));
    }

    #[test]
    fn variables_of_the_terminal_and_of_ratchet_are_not_part_of_the_key() {
        for name in ["_", "PWD", "TERM", "TERM_PROGRAM", "RATCHET_SLOT", "TMUX"] {
            assert!(is_of_the_session(name.as_ref()), "{name}");
        }
        for name in ["", "PATH", "HOME", "LANG", "TERMINFO", "PWDX", "__"] {
            assert!(!is_of_the_session(name.as_ref()), "{name}");
        }
    }
}
