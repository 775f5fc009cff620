//! Results that are there already: the cache, asked before a job is queued and filled after it has succeeded.

mod dependencies;

use std::collections::HashMap;
use std::sync::Arc;

use ratchet_caching::{Begin, FileHasher, Permit, TaskCache, Waited};
use ratchet_ipc::Payload;
use tokio::task::{self, JoinSet};

use super::orchestrator::Arrival;
use crate::job::{CacheTerms, Job, Work};
use crate::outcome::{Class, Failure};
use crate::process::ProcessConfig;
use crate::scheduling::Kind;
pub use dependencies::Dependencies;

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
        match &job.terms.cache {
            None if declared => {}
            None | Some(CacheTerms::Off) => return Ok(None),
            Some(CacheTerms::On { .. }) => {}
        }
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
        let CacheUse {
            cache,
            hasher,
            refresh,
            salt,
        } = self.cache;
        let (job, process) = (self.job, self.process);
        let looking = move || Dependencies::of(&job, process.as_ref(), &hasher, salt.as_deref());
        let dependencies = match task::spawn_blocking(looking).await {
            Ok(Ok(dependencies)) => dependencies,
            Ok(Err(failure)) => return Found::Refused(failure),
            // The runtime is going down.
            Err(_) => return Found::Nothing,
        };
        let key = dependencies.fingerprint().key();
        let mut policy = dependencies.into_policy();
        if refresh {
            policy = policy.refresh();
        }
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
}

fn result(bytes: &[u8]) -> Found {
    let text = std::str::from_utf8(bytes).ok();
    let payload = text.and_then(|text| Payload::from_json(text).ok());
    // What was stored is what a worker answered, so anything else is a miss.
    payload.map_or(Found::Nothing, Found::Result)
}
