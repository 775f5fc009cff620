//! The use of the cache in a run: it is asked before a job is queued, and filled after the job has succeeded.

mod dependencies;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ratchet_caching::{
    Begin, ComputePermit, FileHasher, Key, NotStored, Policy, Selector, TaskCache, WaitResult,
    Waiter,
};
use ratchet_ipc::{JobKey, Payload};
use tokio::task::{self, JoinSet};

use super::arrival::Arrival;
use super::platforms::Platform;
use crate::blocking::run_blocking;
use crate::ids::KindId;
use crate::ids::WorkerName;
use crate::job::{CacheTerms, Job, Work};
use crate::os::ProcessConfig;
use crate::outcome::{Class, Failure};
use crate::process::StartedPrograms;
pub(super) use dependencies::PerformerIdentity;
pub use dependencies::{Dependencies, NoCacheKey, SESSION_VARIABLES};

/// The cache, and how it is used.
#[derive(Clone)]
pub(super) struct CacheUse {
    /// The cache that is asked before a job is queued and filled after it has succeeded.
    pub(super) cache: TaskCache,
    /// Hashes the files that keys depend on, and remembers the hashes of files that have not changed.
    pub(super) hasher: Arc<FileHasher>,
    /// Whether results are only stored, and none is taken from the cache.
    pub(super) refresh: bool,
    /// A text that is part of every key.
    pub(super) salt: Option<String>,
    /// Whether the warning about results that are not cached was logged. It is logged once.
    pub(super) has_warned: Arc<AtomicBool>,
}

impl CacheUse {
    /// Logs that a result is not cached. The first message is a warning and the others are debug messages, because the
    /// reason is often the same for every job.
    fn warn(&self, job: &JobKey, reason: &str) {
        // Relaxed: no other memory is read depending on this flag.
        if self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::debug!(%job, "a result is not cached: {reason}");
        } else {
            tracing::warn!(%job, "a result is not cached: {reason}");
        }
    }
}

/// The permit to compute and store the result of a cache key. Other jobs with the same key wait for that result.
#[derive(Debug)]
pub(super) struct StorePermit {
    /// The permit of the cache. Dropping it lets another job with the same key compute the result.
    permit: ComputePermit,
    job: JobKey,
    /// The files from which the workers of its kind were started. Their content is a part of the key.
    programs: Option<Arc<StartedPrograms>>,
    /// The platform that is a part of the key.
    platform: Platform,
}

/// The answer of the cache for a job.
pub(super) struct CacheAnswer {
    /// The job for which the cache was asked.
    pub(super) arrival: Arrival,
    /// The kind of worker that performs the job if the cache has no result of it.
    pub(super) kind: KindId,
    /// The answer of the cache.
    pub(super) found: CacheLookup,
}

/// What the cache has for a job.
pub(super) enum CacheLookup {
    /// A result: an earlier one, or that of an equal job that has just ended.
    Result(Payload),
    /// No result. The job has the permit to store its own.
    Compute(Box<StorePermit>),
    /// No result, and the result of the job is not stored.
    Nothing,
    /// The files on which the job depends by its own account cannot be read.
    Refused(Failure),
}

/// A lookup of a job in the cache.
pub(super) struct CacheQuery {
    cache: CacheUse,
    /// The process of the worker, if a worker performs the job.
    process: Option<ProcessConfig>,
    /// The version that the worker declares.
    version: Option<String>,
    /// The files from which the workers were started.
    programs: Option<Arc<StartedPrograms>>,
    /// The platform on which the job will run.
    platform: Platform,
    job: Arc<Job>,
}

/// Looks results up in the cache of a run, and stores results, on tasks beside the loop.
pub(super) struct RunCache {
    cache: Option<CacheUse>,
    /// The tasks that ask the cache. There is one for each entry of `asked` without an answer.
    asking: JoinSet<Answer>,
    /// The jobs for which the cache is asked. They are answered in the order in which they came.
    asked: VecDeque<PendingQuery>,
    /// The tasks that wait for the result of another job.
    sharing: JoinSet<CacheLookup>,
    /// The jobs that wait for the result of an equal job, by the task that waits.
    sharers: HashMap<task::Id, (Arrival, KindId)>,
    /// The tasks that store results. The end of a run waits for them.
    storing: JoinSet<()>,
    /// The keys of results that proved wrong after they were stored.
    withdrawn: Vec<Key>,
}

impl StorePermit {
    /// Returns the key under which the result is stored.
    pub(super) fn key(&self) -> Key {
        self.permit.key()
    }

    /// Returns the platform that is a part of the key.
    pub(super) fn platform(&self) -> &Platform {
        &self.platform
    }
}

/// A job for which the cache is asked.
struct PendingQuery {
    /// The task that asks.
    by: task::Id,
    arrival: Arrival,
    /// The kind of worker that performs the job if the cache has no result of it.
    kind: KindId,
    /// The answer, which is kept while an earlier job has none.
    answer: Option<Answer>,
}

/// The outcome of a question to the cache.
enum Answer {
    /// The cache has answered.
    Found(CacheLookup),
    /// An equal job runs, and its result is waited for.
    Shared(Box<PendingSharedResult>),
}

/// The lookup of a job that waits for the result of an equal job.
struct PendingSharedResult {
    cache: TaskCache,
    key: Key,
    policy: Policy,
    waiter: Waiter,
    job: JobKey,
    programs: Option<Arc<StartedPrograms>>,
    platform: Platform,
}

impl RunCache {
    /// Makes the cache's part of a run; without a cache, no job is looked up.
    pub(super) fn new(cache: Option<CacheUse>) -> Self {
        Self {
            cache,
            asking: JoinSet::new(),
            asked: VecDeque::new(),
            sharing: JoinSet::new(),
            sharers: HashMap::new(),
            storing: JoinSet::new(),
            withdrawn: Vec::new(),
        }
    }

    /// Returns the question that a job has for the cache before it is queued; `None` if it need not ask. `declared`
    /// says that its worker declares the task as cacheable.
    pub(super) fn wants(
        &self,
        job: &Arc<Job>,
        declared: bool,
        performer_identity: PerformerIdentity<'_>,
    ) -> Result<Option<CacheQuery>, Failure> {
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
        Ok(Some(CacheQuery {
            cache: cache.clone(),
            process: performer_identity.process.cloned(),
            version: performer_identity.version.map(str::to_owned),
            programs: performer_identity.programs.cloned(),
            platform: None,
            job: Arc::clone(job),
        }))
    }

    /// Asks the cache for a job. The answer comes from [`next`](Self::next).
    pub(super) fn consult(&mut self, arrival: Arrival, kind: KindId, question: CacheQuery) {
        self.asked.push_back(PendingQuery {
            by: self.asking.spawn(question.ask()).id(),
            arrival,
            kind,
            answer: None,
        });
    }

    /// Whether no question is open and no result is being stored.
    pub(super) fn is_idle(&self) -> bool {
        self.asked.is_empty() && self.sharing.is_empty() && self.storing.is_empty()
    }

    /// Returns the next answer; `None` if a result was stored instead. Cancel safe.
    ///
    /// Questions are answered in the order in which they were asked, so that jobs are queued in the order in which they
    /// came. A job that waits for the result of an equal job holds up no other.
    pub(super) async fn next(&mut self) -> Option<CacheAnswer> {
        loop {
            if let Some(consulted) = self.first_answered() {
                return Some(consulted);
            }
            tokio::select! {
                Some(answer) = self.asking.join_next_with_id() => {
                    let (by, answer) = joined_value(answer, || Answer::Found(CacheLookup::Nothing));
                    // The job may have been removed in the meantime.
                    if let Some(asked) = self.asked.iter_mut().find(|asked| asked.by == by) {
                        asked.answer = Some(answer);
                    }
                }
                Some(found) = self.sharing.join_next_with_id() => {
                    let (by, found) = joined_value(found, || CacheLookup::Nothing);
                    let (arrival, kind) = self.sharers.remove(&by)?;
                    return Some(CacheAnswer { arrival, kind, found });
                }
                Some(_) = self.storing.join_next() => return None,
                else => return None,
            }
        }
    }

    fn first_answered(&mut self) -> Option<CacheAnswer> {
        loop {
            let first = self.asked.pop_front_if(|asked| asked.answer.is_some())?;
            let PendingQuery { arrival, kind, .. } = first;
            match first.answer? {
                Answer::Found(found) => {
                    return Some(CacheAnswer {
                        arrival,
                        kind,
                        found,
                    });
                }
                Answer::Shared(sharing) => {
                    let by = self.sharing.spawn(sharing.wait()).id();
                    self.sharers.insert(by, (arrival, kind));
                }
            }
        }
    }

    /// Stores a result in the background. `worker` is the worker that made it, or `None` for a command.
    pub(super) fn store(
        &mut self,
        store_permit: StorePermit,
        payload: &Payload,
        worker: Option<WorkerName>,
    ) {
        #[expect(clippy::expect_used, reason = "only the cache gives permits to store")]
        let cache = (self.cache.clone()).expect("a permit comes from the cache");
        let bytes: Arc<[u8]> = payload.as_str().as_bytes().into();
        self.storing.spawn(async move {
            let StorePermit {
                permit,
                job,
                programs,
                platform: _,
            } = store_permit;
            if let Some(programs) = programs
                && let Err(reason) = check_started_content(programs, worker, &cache.hasher).await
            {
                cache.cache.abandon(permit);
                cache.warn(&job, &reason);
                return;
            }
            match cache.cache.commit(permit, Ok(bytes)).await {
                Ok(()) => {}
                Err(reason @ (NotStored::InputsChanged(_) | NotStored::Unverified)) => {
                    cache.warn(&job, &reason.to_string());
                }
                Err(reason) => tracing::debug!(%reason, "a result was not cached"),
            }
        });
    }

    /// Gives up the permit for a result that was made on another platform than that of its key.
    pub(super) fn abandon(&self, store_permit: StorePermit) {
        if let Some(cache) = &self.cache {
            let reason = "it ran on a host of another platform than those that had been reached";
            cache.warn(&store_permit.job, reason);
            cache.cache.abandon(store_permit.permit);
        }
    }

    /// Returns how many results are being stored.
    pub(super) fn storing(&self) -> usize {
        self.storing.len()
    }

    /// Iterates over the jobs for which the cache is asked, and those that wait for the result of an equal job.
    pub(super) fn asking(&self) -> impl Iterator<Item = &Arrival> {
        let asked = self.asked.iter().map(|asked| &asked.arrival);
        asked.chain(self.sharers.values().map(|(arrival, _)| arrival))
    }

    /// Removes and returns the jobs that wait for the cache and for which the condition holds. Their answers are
    /// dropped. If such an answer is a permit, it passes to a job that waits for the same result.
    pub(super) fn take(&mut self, is_wanted: impl Fn(&Arrival) -> bool) -> Vec<Arrival> {
        let mut taken = Vec::new();
        for asked in std::mem::take(&mut self.asked) {
            if is_wanted(&asked.arrival) {
                taken.push(asked.arrival);
            } else {
                self.asked.push_back(asked);
            }
        }
        let sharers = self
            .sharers
            .extract_if(|_, (arrival, _)| is_wanted(arrival));
        taken.extend(sharers.map(|(_, (arrival, _))| arrival));
        taken
    }

    /// Removes and returns all jobs that wait for the cache, because the run stops.
    pub(super) fn give_up(&mut self) -> Vec<Arrival> {
        self.asking.abort_all();
        self.sharing.abort_all();
        let asked = self.asked.drain(..).map(|asked| asked.arrival);
        let sharers = self.sharers.drain().map(|(_, (arrival, _))| arrival);
        let mut arrivals: Vec<Arrival> = asked.chain(sharers).collect();
        arrivals.sort_unstable_by_key(|arrival| arrival.position);
        arrivals
    }

    /// Removes results from the cache that proved wrong after they were stored.
    pub(super) fn withdraw(&mut self, keys: Vec<Key>) {
        if keys.is_empty() {
            return;
        }
        #[expect(
            clippy::expect_used,
            reason = "the key is that of a result in the cache"
        )]
        let CacheUse { cache, .. } = (self.cache.clone()).expect("only the cache has results");
        // Such a result may be on its way into the cache, so `finish` removes them once more when all are stored.
        self.withdrawn.extend(keys.iter().copied());
        self.storing
            .spawn(async move { remove(&cache, keys).await });
    }

    /// Waits until all results are stored.
    pub(super) async fn finish(mut self) {
        while self.storing.join_next().await.is_some() {}
        if let Some(CacheUse { cache, .. }) = self.cache {
            remove(&cache, self.withdrawn).await;
        }
    }
}

async fn remove(cache: &TaskCache, keys: Vec<Key>) {
    for key in keys {
        if let Err(error) = cache.invalidate(&Selector::key(key)).await {
            tracing::error!(%error, "a wrong result could not be removed from the cache; clear the cache with `ratchet cache clear`");
        }
    }
}

/// Returns the value of a task that has ended, and the id of the task.
fn joined_value<T>(
    joined: Result<(task::Id, T), task::JoinError>,
    nothing: impl FnOnce() -> T,
) -> (task::Id, T) {
    joined.unwrap_or_else(|error| {
        if error.is_panic() {
            tracing::error!(%error, "the cache could not be asked");
        }
        (error.id(), nothing())
    })
}

/// Checks that a worker was started from the content that the key contains. Returns why its result must not be stored
/// if it was not.
async fn check_started_content(
    programs: Arc<StartedPrograms>,
    worker: Option<WorkerName>,
    hasher: &Arc<FileHasher>,
) -> Result<(), String> {
    #[expect(
        clippy::expect_used,
        reason = "workers perform the jobs of a pool, and each worker has a name"
    )]
    let worker = worker.expect("the result of a pool's job comes from a worker");
    if programs.is_known(&worker) {
        return Ok(());
    }
    let hasher = Arc::clone(hasher);
    match run_blocking(move || programs.find_out(&worker, &hasher)).await {
        Ok(true) => Ok(()),
        Ok(false) => Err("the files of its worker changed while the worker started".to_owned()),
        Err(error) => Err(format!(
            "the files of its worker could not be read: {error}"
        )),
    }
}

impl CacheQuery {
    /// Sets the platform on which the job will run.
    pub(super) fn on(mut self, platform: Platform) -> Self {
        self.platform = platform;
        self
    }

    /// Logs why the cache cannot be asked.
    pub(super) fn give_up(self, reason: &str) {
        self.cache.warn(&self.job.id, reason);
    }

    async fn ask(self) -> Answer {
        let (id, programs) = (self.job.id.clone(), self.programs.clone());
        let platform = self.platform.clone();
        let using = self.cache.clone();
        let looking = move || {
            let performer_identity = PerformerIdentity {
                process: self.process.as_ref(),
                version: self.version.as_deref(),
                programs: self.programs.as_ref(),
                platform: self.platform.as_deref(),
            };
            let CacheUse { hasher, salt, .. } = &self.cache;
            Dependencies::on(&self.job, performer_identity, hasher, salt.as_deref())
        };
        let dependencies = match run_blocking(looking).await {
            Ok(Ok(dependencies)) => dependencies,
            Ok(Err(NoCacheKey::Refused(failure))) => {
                return Answer::Found(CacheLookup::Refused(failure));
            }
            Ok(Err(NoCacheKey::Uncached(reason))) => {
                using.warn(&id, &reason);
                return Answer::Found(CacheLookup::Nothing);
            }
            Err(error) => {
                using.warn(
                    &id,
                    &format!("the files that it depends on could not be read: {error}"),
                );
                return Answer::Found(CacheLookup::Nothing);
            }
        };
        let key = dependencies.fingerprint().key();
        let mut policy = dependencies.into_policy();
        if using.refresh {
            policy = policy.refresh();
        }
        let make_permit = |permit| StorePermit {
            permit,
            job: id.clone(),
            programs: programs.clone(),
            platform: platform.clone(),
        };
        match settled(using.cache.begin(&key, &policy).await, make_permit) {
            Ok(found) => Answer::Found(found),
            Err(waiter) => Answer::Shared(Box::new(PendingSharedResult {
                cache: using.cache,
                key,
                policy,
                waiter,
                job: id,
                programs,
                platform,
            })),
        }
    }
}

impl PendingSharedResult {
    async fn wait(self) -> CacheLookup {
        let Self {
            cache,
            key,
            policy,
            mut waiter,
            job,
            programs,
            platform,
        } = self;
        let make_permit = |permit| StorePermit {
            permit,
            job: job.clone(),
            programs: programs.clone(),
            platform: platform.clone(),
        };
        loop {
            let begin = match waiter.wait().await {
                WaitResult::Hit(hit) => Begin::Hit(hit),
                WaitResult::Lead(permit) => Begin::Lead(permit),
                WaitResult::Done(Ok(bytes)) => return result(&bytes),
                WaitResult::Done(Err(_)) => cache.begin(&key, &policy).await,
            };
            match settled(begin, make_permit) {
                Ok(found) => return found,
                Err(another) => waiter = another,
            }
        }
    }
}

/// Returns the answer of the cache, or the waiter if the job has to wait for an equal one.
fn settled(
    begin: Begin,
    make_permit: impl Fn(ComputePermit) -> StorePermit,
) -> Result<CacheLookup, Waiter> {
    match begin {
        Begin::Hit(hit) => Ok(hit
            .outcome()
            .map_or(CacheLookup::Nothing, |bytes| result(&bytes))),
        Begin::Lead(permit) => Ok(CacheLookup::Compute(Box::new(make_permit(permit)))),
        Begin::Wait(waiter) => Err(waiter),
    }
}

fn result(bytes: &[u8]) -> CacheLookup {
    let text = std::str::from_utf8(bytes).ok();
    let payload = text.and_then(|text| Payload::from_json(text).ok());
    // Only payloads are stored, so anything else is damaged and counts as a miss.
    payload.map_or(CacheLookup::Nothing, CacheLookup::Result)
}
