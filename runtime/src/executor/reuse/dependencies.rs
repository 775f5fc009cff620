//! What a result depends on, and on what terms it is kept.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ratchet_caching::{CacheError, FileHasher, Fingerprint, FingerprintBuilder, Labels, Policy};

use crate::job::{CacheTerms, Job, Work};
use crate::outcome::{Class, Failure};
use crate::process::{Environment, ProcessConfig};

/// What a job's result depends on, and on what terms it is kept: what the executor asks its cache by.
///
/// With it one can ask the same without running the job, to find out whether an earlier result would be used.
#[derive(Debug, Clone)]
pub struct Dependencies {
    fingerprint: Fingerprint,
    policy: Policy,
}

/// Who does a job.
#[derive(Debug, Clone, Copy)]
pub(in crate::executor) struct Doer<'a> {
    /// What it runs, if it is a worker.
    pub(in crate::executor) process: Option<&'a ProcessConfig>,
    /// Which version it says it is. A job that need not wait for its worker's hello is looked up without one.
    pub(in crate::executor) version: Option<&'a str>,
}

impl Dependencies {
    /// Looks at all that a job depends on; `process` is what its worker runs, if a worker does it, and `salt`
    /// what the executor was given.
    ///
    /// Reads files, so it may wait for the disk. What the job says it depends on and cannot be read is a
    /// failure of the job. A job that says nothing of the cache is taken to be one whose worker does. Which version
    /// a worker says it is, on which its results depend too, is not known here.
    pub fn of(
        job: &Job,
        process: Option<&ProcessConfig>,
        hasher: &Arc<FileHasher>,
        salt: Option<&str>,
    ) -> Result<Self, Failure> {
        let version = None;
        Self::on(job, Doer { process, version }, hasher, salt)
    }

    /// Looks at all that a job depends on, its worker's version included.
    pub(super) fn on(
        job: &Job,
        doer: Doer<'_>,
        hasher: &Arc<FileHasher>,
        salt: Option<&str>,
    ) -> Result<Self, Failure> {
        Self::look(job, doer, hasher, salt).map_err(|error| {
            let mut message = error.to_string();
            if let Some(cause) = std::error::Error::source(&error) {
                message = format!("{message}: {cause}");
            }
            Failure::new(Class::Input, message)
        })
    }

    /// What the result depends on.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// On what terms it is kept, and an earlier one used.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    pub(super) fn into_policy(self) -> Policy {
        self.policy
    }

    fn look(
        job: &Job,
        Doer { process, version }: Doer<'_>,
        hasher: &Arc<FileHasher>,
        salt: Option<&str>,
    ) -> Result<Self, CacheError> {
        let (inputs, names, ttl) = match &job.terms.cache {
            Some(CacheTerms::On { inputs, env, ttl }) => (&inputs[..], &env[..], *ttl),
            None | Some(CacheTerms::Off) => (&[][..], &[][..], None),
        };
        let mut builder = Fingerprint::builder().task(job.task_name());
        if let Some(salt) = salt {
            builder = builder.salt(salt);
        }
        let timeouts = job.terms.timeouts;
        if let Some(limit) = timeouts.soft.or(timeouts.hard) {
            builder = builder.timeout(limit);
        }
        let process = match &job.work {
            Work::Task { input, .. } => {
                builder = builder.input(input.as_str())?;
                if let Some(version) = version {
                    builder = builder.worker_version(version);
                }
                process
            }
            Work::Command(config) => Some(&**config),
            Work::Closure(_) | Work::Refused { .. } | Work::Ended(_) => None,
        };
        let folder = process.and_then(|process| process.working_dir.as_deref());
        // What is done here is not the same as what is done elsewhere.
        let base = absolute(folder.unwrap_or(Path::new(".")))?;
        if let Some(process) = process {
            builder = of_command(builder, process, hasher, &base)?;
        }
        let declared = process.map(|process| &process.env);
        for name in names {
            builder = builder.environment(name, variable(name.as_ref(), declared));
        }
        let files = hasher.snapshot(&base, inputs.iter().cloned())?;
        let fingerprint = builder.files(&files).build();
        let labels = Labels {
            task: job.task_name().to_owned(),
            ..Labels::default()
        };
        let mut policy = Policy::cacheable(labels).fingerprint(fingerprint.clone());
        if !files.is_empty() {
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

fn absolute(folder: &Path) -> Result<PathBuf, CacheError> {
    std::path::absolute(folder).map_err(|error| CacheError::Io {
        action: "find the folder of",
        path: folder.to_path_buf(),
        source: Arc::new(error),
    })
}

fn of_command(
    builder: FingerprintBuilder,
    config: &ProcessConfig,
    hasher: &FileHasher,
    base: &Path,
) -> Result<FingerprintBuilder, CacheError> {
    let command: Vec<OsString> = std::iter::once(config.command.clone().into_os_string())
        .chain(config.args.iter().cloned())
        .collect();
    let path = variable("PATH".as_ref(), Some(&config.env));
    let programs = hasher.programs(base, &command, path.as_deref())?;
    let mut builder = builder
        .worker_command(command)
        .worker_programs(&programs)
        .extra("folder", base.as_os_str().as_encoded_bytes())
        .extra("inherits", &[u8::from(config.env.inherits())]);
    for (name, value) in config.env.declared() {
        builder = builder.environment(name, Some(value));
    }
    Ok(builder)
}

/// A variable as the work sees it.
fn variable(name: &OsStr, declared: Option<&Environment>) -> Option<OsString> {
    let Some(environment) = declared else {
        return std::env::var_os(name);
    };
    let own = environment.declared().find(|(known, _)| *known == name);
    match own {
        Some((_, value)) => Some(value.to_owned()),
        None if environment.inherits() => std::env::var_os(name),
        None => None,
    }
}
