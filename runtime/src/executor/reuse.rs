//! Results that are there already: the cache, asked before a job is queued and filled after it has succeeded.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ratchet_caching::{
    Begin, CacheError, FileHasher, Fingerprint, FingerprintBuilder, InputFiles, Labels, Permit,
    Policy, TaskCache, Waited,
};
use ratchet_ipc::Payload;
use tokio::task::{self, JoinSet};

use super::orchestrator::Arrival;
use crate::job::{CacheTerms, Job, Work};
use crate::outcome::{Class, Failure};
use crate::process::ProcessConfig;
use crate::scheduling::Kind;

/// The cache, and how it is used.
#[derive(Clone)]
pub(super) struct CacheUse {
    pub(super) cache: TaskCache,
    pub(super) hasher: Arc<FileHasher>,
    /// Results are stored, but none is used.
    pub(super) refresh: bool,
    /// Part of every key.
    pub(super) salt: Option<String>,
}

/// The right to fill the cache with a result.
#[derive(Debug)]
pub(super) struct Share(Permit);

/// What the cache says about a job.
pub(super) struct Consulted {
    pub(super) arrival: Arrival,
    pub(super) kind: Kind,
    pub(super) found: Found,
}

pub(super) enum Found {
    /// An earlier result, or that of another job that was the same.
    Result(Payload),
    /// Nothing; the job has the right to store its result.
    Share(Box<Share>),
    /// Nothing, and nothing is to be stored.
    Nothing,
    /// What the job says it depends on cannot be read.
    Refused(Failure),
}

/// What a job asks the cache.
pub(super) struct Question {
    cache: CacheUse,
    /// What the worker runs, if it is one that does the job.
    process: Option<ProcessConfig>,
    job: Arc<Job>,
    inputs: Vec<PathBuf>,
    env: Vec<String>,
    ttl: Option<std::time::Duration>,
}

pub(super) struct Reuse {
    cache: Option<CacheUse>,
    asking: JoinSet<Found>,
    /// The jobs that are asked about, by the task that asks.
    arrivals: HashMap<task::Id, (Arrival, Kind)>,
    storing: JoinSet<()>,
}

impl Reuse {
    pub(super) fn new(cache: Option<CacheUse>) -> Self {
        Self {
            cache,
            asking: JoinSet::new(),
            arrivals: HashMap::new(),
            storing: JoinSet::new(),
        }
    }

    /// What a job has to ask before it is queued, if anything.
    pub(super) fn wants(
        &self,
        job: &Arc<Job>,
        declared: bool,
        process: Option<&ProcessConfig>,
    ) -> Result<Option<Question>, Failure> {
        let (inputs, env, ttl) = match &job.terms.cache {
            None if declared => (Vec::new(), Vec::new(), None),
            None | Some(CacheTerms::Off) => return Ok(None),
            Some(CacheTerms::On { inputs, env, ttl }) => (inputs.clone(), env.clone(), *ttl),
        };
        if matches!(job.work, Work::Closure(_)) {
            let message = "a closure cannot be cached: nothing says what its result depends on";
            return Err(Failure::new(Class::Input, message));
        }
        let Some(cache) = &self.cache else {
            return Ok(None);
        };
        Ok(Some(Question {
            cache: cache.clone(),
            process: process.cloned(),
            job: Arc::clone(job),
            inputs,
            env,
            ttl,
        }))
    }

    /// Asks; the answer comes by [`next`](Self::next).
    pub(super) fn consult(&mut self, arrival: Arrival, kind: Kind, question: Question) {
        let asking = self.asking.spawn(question.ask());
        self.arrivals.insert(asking.id(), (arrival, kind));
    }

    /// Whether nothing is asked and nothing is stored.
    pub(super) fn is_idle(&self) -> bool {
        self.asking.is_empty() && self.storing.is_empty()
    }

    /// The next answer; nothing if a result has been stored instead. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Consulted> {
        let answer = tokio::select! {
            Some(answer) = self.asking.join_next_with_id() => answer,
            Some(_) = self.storing.join_next() => return None,
            else => return None,
        };
        let (id, found) = match answer {
            Ok(answered) => answered,
            Err(error) => {
                if error.is_panic() {
                    tracing::error!(%error, "the cache could not be asked");
                }
                (error.id(), Found::Nothing)
            }
        };
        // Those of a run that stops were given up before.
        let (arrival, kind) = self.arrivals.remove(&id)?;
        Some(Consulted {
            arrival,
            kind,
            found,
        })
    }

    /// Stores a result, beside the run.
    pub(super) fn store(&mut self, share: Share, payload: &Payload) {
        let Some(CacheUse { cache, .. }) = self.cache.clone() else {
            return;
        };
        let bytes: Arc<[u8]> = payload.as_str().as_bytes().into();
        self.storing.spawn(async move {
            if let Err(reason) = cache.commit(share.0, Ok(bytes)).await {
                tracing::debug!(%reason, "a result was not cached");
            }
        });
    }

    /// How many results are being stored.
    pub(super) fn storing(&self) -> usize {
        self.storing.len()
    }

    /// The jobs that are asked about, because the run stops.
    pub(super) fn give_up(&mut self) -> Vec<Arrival> {
        self.asking.abort_all();
        let arrivals = self.arrivals.drain();
        let mut arrivals: Vec<Arrival> = arrivals.map(|(_, (arrival, _))| arrival).collect();
        arrivals.sort_unstable_by_key(|arrival| arrival.place);
        arrivals
    }

    /// Lets results be stored to the end.
    pub(super) async fn finish(mut self) {
        while self.storing.join_next().await.is_some() {}
    }
}

impl Question {
    async fn ask(self) -> Found {
        let cache = self.cache.cache.clone();
        let (key, policy) = match task::spawn_blocking(move || self.prepare()).await {
            Ok(Ok(prepared)) => prepared,
            Ok(Err(failure)) => return Found::Refused(failure),
            // The runtime is going down.
            Err(_) => return Found::Nothing,
        };
        let mut begin = cache.begin(&key, &policy).await;
        loop {
            match begin {
                Begin::Hit(hit) => match hit.outcome() {
                    Ok(bytes) => return result(&bytes),
                    Err(_) => return Found::Nothing,
                },
                Begin::Lead(permit) => return Found::Share(Box::new(Share(permit))),
                Begin::Wait(waiter) => match waiter.wait().await {
                    Waited::Hit(hit) => begin = Begin::Hit(hit),
                    Waited::Lead(permit) => begin = Begin::Lead(permit),
                    Waited::Done(Ok(bytes)) => return result(&bytes),
                    Waited::Done(Err(_)) => begin = cache.begin(&key, &policy).await,
                },
            }
        }
    }

    /// The key: reads files, so it may wait.
    fn prepare(self) -> Result<(ratchet_caching::Key, Policy), Failure> {
        let unreadable = |error: CacheError| {
            let mut message = error.to_string();
            if let Some(cause) = std::error::Error::source(&error) {
                message = format!("{message}: {cause}");
            }
            Failure::new(Class::Input, message)
        };
        let hasher = &self.cache.hasher;
        let mut builder = Fingerprint::builder().task(self.job.task_name());
        if let Some(salt) = &self.cache.salt {
            builder = builder.salt(salt);
        }
        let timeouts = self.job.terms.timeouts;
        if let Some(limit) = timeouts.soft.or(timeouts.hard) {
            builder = builder.timeout(limit);
        }
        let mut base = Path::new(".");
        let mut declared: Option<&crate::process::Environment> = None;
        match &self.job.work {
            Work::Task { input, .. } => {
                builder = builder.input(input.as_str()).map_err(unreadable)?;
                if let Some(process) = &self.process {
                    base = process.working_dir.as_deref().unwrap_or(base);
                    declared = Some(&process.env);
                    builder = of_command(builder, process, hasher, base).map_err(unreadable)?;
                }
            }
            Work::Command(config) => {
                base = config.working_dir.as_deref().unwrap_or(base);
                declared = Some(&config.env);
                builder = of_command(builder, config, hasher, base).map_err(unreadable)?;
            }
            Work::Closure(_) | Work::Refused { .. } | Work::Ended(_) => {}
        }
        for name in &self.env {
            builder = builder.environment(name, variable(name.as_ref(), declared));
        }
        let files: InputFiles = hasher
            .snapshot(base, self.inputs.iter().cloned())
            .map_err(unreadable)?;
        let fingerprint: Fingerprint = builder.files(&files).build();
        let labels = Labels {
            task: self.job.task_name().to_owned(),
            ..Labels::default()
        };
        let mut policy = Policy::cacheable(labels).fingerprint(fingerprint.clone());
        if !files.is_empty() {
            policy = policy.verify_inputs(files, Arc::clone(hasher));
        }
        if let Some(ttl) = self.ttl {
            policy = policy.time_to_live(ttl);
        }
        if self.cache.refresh {
            policy = policy.refresh();
        }
        Ok((fingerprint.key(), policy))
    }
}

fn result(bytes: &[u8]) -> Found {
    let text = std::str::from_utf8(bytes).ok();
    let payload = text.and_then(|text| Payload::from_json(text).ok());
    // What was stored is what a worker answered, so anything else is a miss.
    payload.map_or(Found::Nothing, Found::Result)
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
fn variable(name: &OsStr, declared: Option<&crate::process::Environment>) -> Option<OsString> {
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
