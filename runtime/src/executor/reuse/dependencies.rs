//! What the result of a job depends on, and the terms on which it is cached.

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

/// What a job's result depends on, and the terms on which it is cached. The executor asks its cache with this.
///
/// A caller can ask the cache with it as well, to find out without running the job whether an earlier result would be
/// used.
#[derive(Debug, Clone)]
pub struct Dependencies {
    fingerprint: Fingerprint,
    policy: Policy,
}

/// Why there is no key under which a job's result could be looked up.
#[derive(Debug, Clone, PartialEq)]
pub enum NoCacheKey {
    /// The files on which the job depends by its own account cannot be read, so the job cannot be performed as
    /// intended.
    Refused(Failure),
    /// The job is performed and its result is not cached, because it is not known what the result depends on. The text
    /// says why.
    Uncached(String),
}

/// The environment variables that are left out of what a result depends on. They differ between two terminals, logins
/// or runs, and no program should compute its result from them. A name that ends with `*` stands for all names that
/// begin like it.
pub const SESSION_VARIABLES: [&str; 20] = [
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
    "TRACESTATE",
    "RATCHET_*",
];

/// The part of a cache key that describes who performs the job.
#[derive(Debug, Clone, Copy)]
pub(in crate::executor) struct PerformerIdentity<'a> {
    /// The process of the worker, if a worker performs the job.
    pub(in crate::executor) process: Option<&'a ProcessConfig>,
    /// The version that the worker declares. It is `None` for a job that did not wait for its worker's hello.
    pub(in crate::executor) version: Option<&'a str>,
    /// The files of the worker's program, as they were when the worker was started.
    pub(in crate::executor) programs: Option<&'a Arc<StartedPrograms>>,
    /// The platform where the job runs, as in `linux-x86_64`; `None` for the platform of this machine.
    pub(in crate::executor) platform: Option<&'a str>,
}

impl Dependencies {
    /// Reads all that a job depends on. `process` is the process of its worker, if a worker performs it, and `salt` is
    /// the text that was given to the executor.
    ///
    /// This reads files, so it may block. A job whose terms do not mention the cache is treated as one whose worker
    /// declares the task as cacheable. Results also depend on the version that a worker declares and on the platform of
    /// a host. These are not known here, so no version and the platform of this machine are assumed.
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

    /// Returns the terms on which the result is cached, and an earlier one is used.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Returns the terms alone, which the cache asks for.
    pub(super) fn into_policy(self) -> Policy {
        self.policy
    }

    /// Reads all that a job depends on, including the version and the platform of its performer.
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
        // The folder is a part of the key: the same command in another folder is another job.
        let folder = process.and_then(|process| process.working_dir.as_deref());
        let base = absolute(folder.unwrap_or(Path::new("."))).map_err(refused)?;
        let mut read_again = Vec::new();
        if let Some(process) = process {
            let command = CommandLine::of(process).map_err(refused)?;
            let files = if let Some(programs) = programs {
                // The key contains the files from which the workers of the kind were started. Whether this very worker
                // was started from them is checked when it has a result.
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

/// Describes an error of the cache together with its cause.
fn with_cause(error: &CacheError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "`map_err` passes the error by value"
)]
fn refused(error: CacheError) -> NoCacheKey {
    NoCacheKey::Refused(Failure::new(Class::Input, with_cause(&error)))
}

/// Adds the environment of a process: each declared variable by its name, and all inherited ones as one part.
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

/// Adds what a process reads from its stdin, apart from the content of a file.
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

/// Returns the file that a process reads as its stdin.
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
