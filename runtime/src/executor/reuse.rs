//! The use of the cache in a run: it is asked before a job is queued, and filled after the job has succeeded.

mod dependencies;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ratchet_caching::{
    Begin, ComputePermit, FileHasher, Hit, Key, NotStored, Policy, Selector, TaskCache, WaitResult,
    Waiter,
};
use ratchet_ipc::{JobKey, Payload};
use tokio::task::{self, AbortHandle, JoinSet};

use super::arrival::Arrival;
use super::platforms::Platform;
use crate::blocking::run_blocking;
use crate::ids::KindId;
use crate::ids::{Ticket, WorkerName};
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

/// The cache key of a job, and how the result of the job is stored.
///
/// Equal jobs have the same key. What else is here can differ between them: the time to live, for example, or the kind of
/// worker.
#[derive(Debug)]
pub(super) struct CacheKey {
    key: Key,
    policy: Policy,
    /// The files from which the workers of its kind were started. Their content is a part of the key.
    programs: Option<Arc<StartedPrograms>>,
    /// The platform that is a part of the key.
    platform: Platform,
    permit: HeldPermit,
}

/// Whether a job has the permit to compute and store the result of its key.
#[derive(Debug)]
enum HeldPermit {
    /// The job has none, because it does not compute. One that is equal may have it.
    None,
    /// The job has the permit that it shares with equal jobs. Dropping it lets a job of another run compute.
    Shared(ComputePermit),
    /// The job has a permit of its own, because the result of an equal job could not be shared with it.
    Own(ComputePermit),
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
    /// No result. The job shares the permit that it got with equal jobs of the run.
    Compute(Box<CacheKey>),
    /// No result. An equal job has the permit: one of this run, or of another run that uses the same cache.
    Shared(Box<CacheKey>, Waiter),
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

/// An answer of the cache.
pub(super) enum CacheReport {
    /// An answer for a job that is not queued yet.
    Arrival(CacheAnswer),
    /// An answer for a job of the queue that waited for the result of an equal one.
    Parked(Ticket, ParkedAnswer),
}

/// The answer of the cache for a job of the queue, after an equal job has computed the result.
pub(super) enum ParkedAnswer {
    /// The result of the equal job.
    Result(Payload),
    /// The result cannot be shared, so the job computes its own. With a key it has a permit of its own to store it.
    Compute(Option<Box<CacheKey>>),
}

/// Looks results up in the cache of a run, and stores results, on tasks beside the loop.
pub(super) struct RunCache {
    cache: Option<CacheUse>,
    /// The tasks that ask the cache. There is one for each entry of `asked` without an answer.
    asking: JoinSet<CacheLookup>,
    /// The jobs for which the cache is asked. They are answered in the order in which they came.
    asked: VecDeque<PendingQuery>,
    /// The tasks that wait for a result that another job computes or has computed.
    sharing: JoinSet<SharedResult>,
    /// The jobs that wait for such a result, by the task that waits.
    sharers: HashMap<task::Id, Sharer>,
    /// The tasks that store results. The end of a run waits for them.
    storing: JoinSet<()>,
    /// The keys of results that proved wrong after they were stored.
    withdrawn: Vec<Key>,
}

impl CacheKey {
    /// Makes the key of a job in a test, with or without the permit that equal jobs share.
    #[cfg(test)]
    pub(super) fn new(key: Key, permit: Option<ComputePermit>) -> Self {
        Self {
            key,
            policy: Policy::never(),
            programs: None,
            platform: None,
            permit: permit.map_or(HeldPermit::None, HeldPermit::Shared),
        }
    }

    /// Returns the key itself.
    pub(super) fn key(&self) -> Key {
        self.key
    }

    /// Returns the platform that is a part of the key.
    pub(super) fn platform(&self) -> &Platform {
        &self.platform
    }

    /// Whether the job has a permit, so that it may compute.
    pub(super) fn has_permit(&self) -> bool {
        !matches!(self.permit, HeldPermit::None)
    }

    /// Whether the job has a permit of its own, so that it computes whatever equal jobs do.
    pub(super) fn has_own_permit(&self) -> bool {
        matches!(self.permit, HeldPermit::Own(_))
    }

    /// Gives the permit that equal jobs share to this one, because it computes now.
    pub(super) fn give_permit(&mut self, permit: ComputePermit) {
        let permit = permit.with_policy(self.policy.clone());
        self.permit = HeldPermit::Shared(permit);
    }

    /// Takes back the permit that equal jobs share, because this one does not compute any longer. Returns `None` if it has
    /// one of its own, which it keeps.
    pub(super) fn take_permit(&mut self) -> Option<ComputePermit> {
        match std::mem::replace(&mut self.permit, HeldPermit::None) {
            HeldPermit::Shared(permit) => Some(permit),
            HeldPermit::None => None,
            own @ HeldPermit::Own(_) => {
                self.permit = own;
                None
            }
        }
    }

    /// Returns the permit of a job that has a result.
    fn permit(&self) -> &ComputePermit {
        match &self.permit {
            HeldPermit::Shared(permit) | HeldPermit::Own(permit) => permit,
            #[expect(clippy::panic, reason = "a job with a key starts with a permit")]
            HeldPermit::None => panic!("a job computed the result of a key without a permit"),
        }
    }

    /// Returns the permit of a job that has a result, to store the result with it.
    fn into_permit(self) -> ComputePermit {
        match self.permit {
            HeldPermit::Shared(permit) | HeldPermit::Own(permit) => permit,
            #[expect(clippy::panic, reason = "a job with a key starts with a permit")]
            HeldPermit::None => panic!("a job computed the result of a key without a permit"),
        }
    }
}

/// A job that waits for a result that another job computes or has computed.
struct Sharer {
    key: Box<CacheKey>,
    job: SharerJob,
    /// Ends the task that waits.
    task: AbortHandle,
}

/// Where a job is that waits for the result of another one.
enum SharerJob {
    /// It is not queued, and no equal job of this run is.
    Arrival(Arrival, KindId),
    /// It is parked in the queue.
    Parked(Ticket),
}

impl Sharer {
    /// Returns the job if it is not queued.
    fn arrival(&self) -> Option<&Arrival> {
        match &self.job {
            SharerJob::Arrival(arrival, _) => Some(arrival),
            SharerJob::Parked(_) => None,
        }
    }

    fn into_arrival(self) -> Option<Arrival> {
        match self.job {
            SharerJob::Arrival(arrival, _) => Some(arrival),
            SharerJob::Parked(_) => None,
        }
    }

    /// Makes the report for the job from what the task has found.
    fn report(self, found: SharedResult) -> CacheReport {
        let Self {
            mut key,
            job,
            task: _,
        } = self;
        match job {
            SharerJob::Arrival(arrival, kind) => CacheReport::Arrival(CacheAnswer {
                arrival,
                kind,
                found: match found {
                    SharedResult::Result(payload) => CacheLookup::Result(payload),
                    SharedResult::Permit(permit) => {
                        key.permit = HeldPermit::Shared(permit);
                        CacheLookup::Compute(key)
                    }
                    SharedResult::Nothing => CacheLookup::Nothing,
                },
            }),
            SharerJob::Parked(ticket) => {
                let answer = match found {
                    SharedResult::Result(payload) => ParkedAnswer::Result(payload),
                    SharedResult::Permit(permit) => {
                        key.permit = HeldPermit::Own(permit);
                        ParkedAnswer::Compute(Some(key))
                    }
                    SharedResult::Nothing => ParkedAnswer::Compute(None),
                };
                CacheReport::Parked(ticket, answer)
            }
        }
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
    answer: Option<CacheLookup>,
}

/// What became of the result that another job computed.
enum SharedResult {
    /// The result, which can be shared.
    Result(Payload),
    /// There is no result that can be shared, and this permit to compute it.
    Permit(ComputePermit),
    /// The task that waited has found nothing.
    Nothing,
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
    pub(super) async fn next(&mut self) -> Option<CacheReport> {
        loop {
            if let Some(answer) = self.first_answered() {
                return Some(CacheReport::Arrival(answer));
            }
            tokio::select! {
                Some(answer) = self.asking.join_next_with_id() => {
                    let (by, answer) = joined_value(answer, || CacheLookup::Nothing);
                    // The job may have been removed in the meantime.
                    if let Some(asked) = self.asked.iter_mut().find(|asked| asked.by == by) {
                        asked.answer = Some(answer);
                    }
                }
                Some(found) = self.sharing.join_next_with_id() => {
                    let (by, found) = joined_value(found, || SharedResult::Nothing);
                    // The job may have been removed in the meantime.
                    let sharer = self.sharers.remove(&by)?;
                    return Some(sharer.report(found));
                }
                Some(_) = self.storing.join_next() => return None,
                else => return None,
            }
        }
    }

    fn first_answered(&mut self) -> Option<CacheAnswer> {
        let first = self.asked.pop_front_if(|asked| asked.answer.is_some())?;
        let PendingQuery { arrival, kind, .. } = first;
        let found = first.answer?;
        Some(CacheAnswer {
            arrival,
            kind,
            found,
        })
    }

    /// Has a job wait outside of the queue for the result of an equal job that is not in the queue either.
    pub(super) fn share(
        &mut self,
        (arrival, kind): (Arrival, KindId),
        key: Box<CacheKey>,
        waiter: Waiter,
    ) {
        self.wait(SharerJob::Arrival(arrival, kind), key, waiter);
    }

    fn wait(&mut self, job: SharerJob, key: Box<CacheKey>, waiter: Waiter) {
        let waiting = wait_for_result(self.cache(), key.key, key.policy.clone(), waiter);
        let task = self.sharing.spawn(waiting);
        self.sharers.insert(task.id(), Sharer { key, job, task });
    }

    /// Removes and returns the jobs that wait outside of the queue for the result of this key, because an equal job was
    /// queued.
    pub(super) fn take_sharers(&mut self, key: &Key) -> Vec<(Arrival, KindId, Box<CacheKey>)> {
        let is_equal = |sharer: &Sharer| sharer.key.key == *key && sharer.arrival().is_some();
        let taken = (self.sharers).extract_if(|_, sharer| is_equal(sharer));
        let taken = taken.filter_map(|(_, sharer)| {
            sharer.task.abort();
            match sharer.job {
                SharerJob::Arrival(arrival, kind) => Some((arrival, kind, sharer.key)),
                SharerJob::Parked(_) => None,
            }
        });
        taken.collect()
    }

    /// Returns the cache of a run in which a job has a key.
    fn cache(&self) -> TaskCache {
        #[expect(
            clippy::expect_used,
            reason = "only a job that was looked up has a key"
        )]
        let using = self.cache.as_ref().expect("a key comes from the cache");
        using.cache.clone()
    }

    /// Answers the jobs of the queue that wait for the result of this one. The answers come from [`next`](Self::next)
    /// after the result was stored or given up.
    pub(super) fn answer(&mut self, computed: &CacheKey, parked: Vec<(Ticket, Box<CacheKey>)>) {
        let cache = self.cache();
        for (ticket, key) in parked {
            let waiter = cache.join(computed.permit(), &key.policy);
            self.wait(SharerJob::Parked(ticket), key, waiter);
        }
    }

    /// Stores the result of a job in the background. `worker` is the worker that made it, or `None` for a command.
    pub(super) fn store(
        &mut self,
        job: JobKey,
        key: CacheKey,
        payload: &Payload,
        worker: Option<WorkerName>,
    ) {
        #[expect(
            clippy::expect_used,
            reason = "only a job that was looked up has a key"
        )]
        let cache = (self.cache.clone()).expect("a key comes from the cache");
        let bytes: Arc<[u8]> = payload.as_str().as_bytes().into();
        self.storing.spawn(async move {
            let programs = key.programs.clone();
            let permit = key.into_permit();
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
    pub(super) fn abandon(&self, job: &JobKey, key: CacheKey) {
        if let Some(cache) = &self.cache {
            let reason = "it ran on a host of another platform than those that had been reached";
            cache.warn(job, reason);
            cache.cache.abandon(key.into_permit());
        }
    }

    /// Returns how many results are being stored.
    pub(super) fn storing(&self) -> usize {
        self.storing.len()
    }

    /// Iterates over the jobs outside of the queue for which the cache is asked, or that wait for the result of an equal
    /// job.
    pub(super) fn asking(&self) -> impl Iterator<Item = &Arrival> {
        let asked = self.asked.iter().map(|asked| &asked.arrival);
        asked.chain(self.sharers.values().filter_map(Sharer::arrival))
    }

    /// Removes and returns the jobs outside of the queue that wait for the cache and for which the condition holds. Their
    /// answers are dropped. If such an answer is a permit, it passes to a job that waits for the same result.
    pub(super) fn take(&mut self, is_wanted: impl Fn(&Arrival) -> bool) -> Vec<Arrival> {
        let mut taken = Vec::new();
        for asked in std::mem::take(&mut self.asked) {
            if is_wanted(&asked.arrival) {
                taken.push(asked.arrival);
            } else {
                self.asked.push_back(asked);
            }
        }
        let sharers =
            (self.sharers).extract_if(|_, sharer| sharer.arrival().is_some_and(&is_wanted));
        taken.extend(sharers.filter_map(|(_, sharer)| {
            sharer.task.abort();
            sharer.into_arrival()
        }));
        taken
    }

    /// Removes and returns all jobs that wait for the cache, because the run stops.
    pub(super) fn give_up(&mut self) -> Vec<Arrival> {
        self.asking.abort_all();
        self.sharing.abort_all();
        let asked = self.asked.drain(..).map(|asked| asked.arrival);
        // The parked jobs of the queue end by themselves.
        let sharers = self
            .sharers
            .drain()
            .filter_map(|(_, sharer)| sharer.into_arrival());
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

    async fn ask(self) -> CacheLookup {
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
                return CacheLookup::Refused(failure);
            }
            Ok(Err(NoCacheKey::Uncached(reason))) => {
                using.warn(&id, &reason);
                return CacheLookup::Nothing;
            }
            Err(error) => {
                using.warn(
                    &id,
                    &format!("the files that it depends on could not be read: {error}"),
                );
                return CacheLookup::Nothing;
            }
        };
        let key = dependencies.fingerprint().key();
        let mut policy = dependencies.into_policy();
        if using.refresh {
            policy = policy.refresh();
        }
        let begin = using.cache.begin(&key, &policy).await;
        let make_key = |permit| {
            Box::new(CacheKey {
                key,
                policy,
                programs,
                platform,
                permit,
            })
        };
        match begin {
            Begin::Hit(hit) => stored(&hit).map_or(CacheLookup::Nothing, CacheLookup::Result),
            Begin::Lead(permit) => CacheLookup::Compute(make_key(HeldPermit::Shared(permit))),
            Begin::Wait(waiter) => CacheLookup::Shared(make_key(HeldPermit::None), waiter),
        }
    }
}

/// Waits for a result that another job computes, or for the permit to compute it.
async fn wait_for_result(
    cache: TaskCache,
    key: Key,
    policy: Policy,
    mut waiter: Waiter,
) -> SharedResult {
    let or_nothing =
        |found: Option<Payload>| found.map_or(SharedResult::Nothing, SharedResult::Result);
    loop {
        match waiter.wait().await {
            WaitResult::Hit(hit) => return or_nothing(stored(&hit)),
            WaitResult::Lead(permit) => return SharedResult::Permit(permit),
            WaitResult::Done(Ok(bytes)) => return or_nothing(payload(&bytes)),
            // The failure of another job is not the failure of this one.
            WaitResult::Done(Err(_)) => match cache.begin(&key, &policy).await {
                Begin::Hit(hit) => return or_nothing(stored(&hit)),
                Begin::Lead(permit) => return SharedResult::Permit(permit),
                Begin::Wait(another) => waiter = another,
            },
        }
    }
}

/// Returns the result that is stored; `None` if it is a failure or damaged.
fn stored(hit: &Hit) -> Option<Payload> {
    payload(&hit.outcome().ok()?)
}

/// Returns the payload of a result. Only payloads are stored, so anything else is damaged and counts as a miss.
fn payload(bytes: &[u8]) -> Option<Payload> {
    Payload::from_json(std::str::from_utf8(bytes).ok()?).ok()
}
