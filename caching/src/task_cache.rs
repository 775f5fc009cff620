//! The cache for results of tasks: it looks them up, computes each once, and stores what may be stored.

mod answer;
mod flights;
mod lookups;
mod outcome;
mod policy;
mod wait;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::runtime::Handle;
use tokio::sync::RwLock;

use crate::blocking;
use crate::cache::Cache;
use crate::clock::{Clock, SystemClock};
use crate::entry::{Entry, Metadata};
use crate::error::CacheError;
use crate::fingerprint::{Fingerprint, explain};
use crate::invalidation::Selector;
use crate::key::Key;
use flights::{FlightId, Flights, Leader, Role};
use lookups::Lookups;

pub use answer::{Answer, Committed, Explanation, Lookup, Misses, Source, TaskStats};
pub(crate) use lookups::MissCause;
pub use outcome::{ComputeFailure, ComputeResult, FailureKind, Hit};
pub use policy::{NotStored, Policy};
pub use wait::{Begin, ComputePermit, WaitResult, Waiter};

/// Looks up results, and computes each missing one once for all callers that ask at the same time.
///
/// [`get_or_compute`](Self::get_or_compute) is for callers that can wait in place. A scheduler must not hold a slot
/// while it waits, so it performs the steps one by one:
///
/// ```text
/// lookup -> Hit      use the result
///        -> Miss     queue the job; when it is about to run:
/// begin  -> Hit      the result was stored meanwhile: use it
///        -> Lead     run the job, then commit (dropping the permit lets another caller lead)
///        -> Wait     put the job aside; the waiter returns an outcome, a hit, or a permit
/// ```
///
/// A failure of the store never fails a job. It is treated as a miss and counted in [`TaskStats::failures`], and the
/// first one is logged as a warning. Clones share all state.
#[derive(Clone)]
pub struct TaskCache {
    core: Arc<Core>,
}

/// The state that all clones of a cache share.
struct Core {
    store: Arc<dyn Cache>,
    clock: Arc<dyn Clock>,
    /// The computations in progress, each shared by all callers that request its result.
    flights: Arc<Flights>,
    /// A put holds this lock for reading, and an invalidation for writing. So each put is either done before an
    /// invalidation, which then drops the entry, or checks after it whether the flight was invalidated, and stores
    /// nothing.
    puts: RwLock<()>,
    /// Whether a failure of the store was already logged, so that the next ones are only counted.
    has_warned: AtomicBool,
    /// How many results were computed. Relaxed, like the other counts: they order no other memory.
    computed: AtomicU64,
    /// How many callers waited for a computation and received its result.
    shared: AtomicU64,
    /// How many results were put into the store.
    stored: AtomicU64,
    /// How many operations of the store failed.
    failures: AtomicU64,
    lookups: Lookups,
}

impl fmt::Debug for TaskCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskCache")
            .field("flights", &self.core.flights)
            .finish_non_exhaustive()
    }
}

impl TaskCache {
    /// Makes a task cache over a store.
    pub fn new(store: Arc<dyn Cache>) -> Self {
        Self::with_clock(store, Arc::new(SystemClock))
    }

    /// Makes a task cache that reads the time from this clock.
    pub fn with_clock(store: Arc<dyn Cache>, clock: Arc<dyn Clock>) -> Self {
        let core = Core {
            store,
            clock,
            flights: Arc::default(),
            puts: RwLock::default(),
            has_warned: AtomicBool::new(false),
            computed: AtomicU64::new(0),
            shared: AtomicU64::new(0),
            stored: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            lookups: Lookups::default(),
        };
        Self {
            core: Arc::new(core),
        }
    }

    /// Returns the stored outcome of a key, or computes it.
    ///
    /// Of all callers that request one key at the same time, one runs its `compute`. The others wait and receive its
    /// outcome, whether it is a result or a failure. If that caller is dropped, by cancellation or a panic, another one
    /// takes its place. Cancel safe.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use ratchet_caching::{Key, Labels, MemoryCache, Policy, Source, TaskCache};
    /// use std::sync::Arc;
    ///
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let cache = TaskCache::new(Arc::new(MemoryCache::new(1 << 20)));
    /// let policy = Policy::cacheable(Labels::default());
    /// let key = Key::of(b"21 * 2");
    ///
    /// let first = cache.get_or_compute(&key, &policy, || async { Ok(Arc::from(*b"42")) }).await;
    /// let second = cache.get_or_compute(&key, &policy, || async { unreachable!("it is stored") }).await;
    /// assert_eq!(first.source, Source::Computed(Ok(())));
    /// assert_eq!(second.source, Source::Stored);
    /// assert_eq!(first.outcome, second.outcome);
    /// # });
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn get_or_compute<F, Fut>(&self, key: &Key, policy: &Policy, compute: F) -> Answer
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = ComputeResult>,
    {
        let stored = |hit: Hit| Answer {
            outcome: hit.outcome(),
            source: Source::Stored,
        };
        let permit = match self.begin(key, policy).await {
            Begin::Hit(hit) => return stored(hit),
            Begin::Lead(permit) => permit,
            Begin::Wait(waiter) => match waiter.wait().await {
                WaitResult::Hit(hit) => return stored(hit),
                WaitResult::Done(outcome) => {
                    return Answer {
                        outcome,
                        source: Source::Shared,
                    };
                }
                WaitResult::Lead(permit) => permit,
            },
        };
        let outcome = compute().await;
        let committed = self.commit(permit, outcome.clone()).await;
        Answer {
            outcome,
            source: Source::Computed(committed),
        }
    }

    /// Returns the stored outcome of a key, if the policy allows its use.
    pub async fn lookup(&self, key: &Key, policy: &Policy) -> Lookup {
        match self.core.look_up(key, policy).await {
            Some(hit) => Lookup::Hit(hit),
            None => Lookup::Miss,
        }
    }

    /// Decides who computes a key.
    ///
    /// It looks up the key again, because the result may have been stored since the last lookup. Cancel safe: if the
    /// future is dropped half-way, one of the waiting callers becomes the leader.
    pub async fn begin(&self, key: &Key, policy: &Policy) -> Begin {
        let id = FlightId {
            key: *key,
            is_refresh: policy.is_refresh,
        };
        let now = self.core.clock.now();
        if !policy.is_cacheable {
            let leader = self.core.flights.start_untracked(id, &policy.labels, now);
            return Begin::Lead(ComputePermit {
                leader,
                policy: Box::new(policy.clone()),
            });
        }
        let leader = match self.core.flights.join_or_start(id, &policy.labels, now) {
            Role::Leader(leader) => leader,
            Role::Waiter(state) => {
                return Begin::Wait(Waiter {
                    cache: self.clone(),
                    state,
                    id,
                    policy: Box::new(policy.clone()),
                });
            }
        };
        match self.core.look_up(key, policy).await {
            Some(hit) => {
                leader.found_stored(&hit);
                Begin::Hit(hit)
            }
            None => Begin::Lead(ComputePermit {
                leader,
                policy: Box::new(policy.clone()),
            }),
        }
    }

    /// Returns a waiter for the outcome that this permit is for, for a caller with this policy.
    ///
    /// It is for a scheduler that has the permit of a key and queues several jobs with that key. Whichever of them starts
    /// gets the permit. When it has a result, and before that is [committed](Self::commit), the others join to receive it.
    pub fn join(&self, permit: &ComputePermit, policy: &Policy) -> Waiter {
        Waiter {
            cache: self.clone(),
            state: permit.leader.subscribe(),
            id: permit.leader.id(),
            policy: Box::new(policy.clone()),
        }
    }

    /// Ends a computation: every waiting caller receives the outcome, and it is stored if the policy allows that.
    ///
    /// If inputs changed meanwhile, only the leader may use the outcome, and those who wait compute for themselves. After a
    /// cancellation, one of those who wait computes next. If the future is dropped before the outcome was shared, that is
    /// like dropping the permit. If it is dropped later, the outcome is stored all the same.
    pub async fn commit(&self, permit: ComputePermit, outcome: ComputeResult) -> Committed {
        let ComputePermit { leader, policy } = permit;
        let policy = *policy;
        let core = &self.core;
        core.computed.fetch_add(1, Ordering::Relaxed);
        if let Err(ComputeFailure {
            kind: FailureKind::Cancelled,
            ..
        }) = outcome
        {
            return Err(NotStored::Failed(FailureKind::Cancelled));
        }
        if let Err(changed) = verify_inputs(&policy).await {
            tracing::warn!(key = %leader.id().key, task = policy.labels.task, reason = %changed, "a result is not cached");
            leader.refuse_to_share();
            return Err(changed);
        }
        leader.complete(&outcome);
        let now = core.clock.now();
        let (kind, expires) = policy.storage_of(&outcome, now)?;
        let value = match outcome {
            Ok(value) => value,
            Err(failure) => failure.description,
        };
        let metadata = Metadata {
            kind,
            created: now,
            expires,
            cost: now.duration_since(leader.begun()).unwrap_or_default(),
            labels: policy.labels,
            fingerprint: policy.fingerprint,
        };
        let (core, entry) = (Arc::clone(core), Entry::new(value, metadata));
        let storing = async move { core.store(&leader, entry).await };
        // The put runs on a separate task, which is not dropped with this future. A put that continued without its
        // guard of `puts` could complete after an invalidation.
        match Handle::try_current() {
            Ok(runtime) => runtime
                .spawn(storing)
                .await
                .unwrap_or(Err(NotStored::StoreFailed)),
            Err(_) => storing.await,
        }
    }

    /// Ends a computation whose outcome is neither stored nor shared, because nobody knows what it depends on. Those who
    /// wait compute for themselves.
    pub fn abandon(&self, permit: ComputePermit) {
        self.core.computed.fetch_add(1, Ordering::Relaxed);
        permit.leader.refuse_to_share();
    }

    /// Drops the selected entries, and returns how many there were.
    ///
    /// Results that are being computed and would be selected are not stored. Unlike the other methods, this one returns
    /// a failure of the store, because the caller has to know that the entries still exist.
    pub async fn invalidate(&self, selector: &Selector) -> Result<u64, CacheError> {
        self.core.flights.invalidate(selector);
        // A put that checked its flight before the flight was marked holds this lock. So it completes first, and the
        // store drops its entry.
        let _no_puts = self.core.puts.write().await;
        self.core.store.invalidate(selector).await
    }

    /// Explains why a job with this fingerprint hits or misses.
    pub async fn explain(
        &self,
        task: &str,
        fingerprint: &Fingerprint,
    ) -> Result<Explanation, CacheError> {
        let mut known = self
            .core
            .store
            .list(&Selector::key(fingerprint.key()))
            .await?;
        if let Some(listing) = known.pop() {
            return Ok(Explanation::Stored(listing));
        }
        let known = self.core.store.list(&Selector::task(task)).await?;
        let nearest = known
            .into_iter()
            .filter_map(|listing| {
                let differences = explain(listing.metadata.fingerprint.as_ref()?, fingerprint);
                Some((listing, differences))
            })
            // The nearest entry is the one with the fewest differences, and among several of these the latest.
            .min_by_key(|(listing, differences)| {
                (
                    differences.len(),
                    std::cmp::Reverse(listing.metadata.created),
                )
            });
        Ok(match nearest {
            Some((nearest, differences)) => Explanation::Differs {
                nearest,
                differences,
            },
            None => Explanation::Unknown,
        })
    }

    /// Counts a lookup whose result turned out to be unusable.
    #[cfg(feature = "memo")]
    pub(crate) fn count_miss(&self, cause: MissCause) {
        self.core.lookups.count_miss(cause);
    }

    /// Returns the counts of this cache and of its store.
    pub async fn stats(&self) -> Result<TaskStats, CacheError> {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Ok(TaskStats {
            store: self.core.store.stats().await?,
            hits: self.core.lookups.hits(),
            misses: self.core.lookups.misses(),
            bytes_read: self.core.lookups.bytes_read(),
            bytes_written: self.core.lookups.bytes_written(),
            computed: count(&self.core.computed),
            shared: count(&self.core.shared),
            stored: count(&self.core.stored),
            failures: count(&self.core.failures),
        })
    }
}

impl Core {
    /// Finds a stored entry that the policy allows the caller to use.
    async fn look_up(&self, key: &Key, policy: &Policy) -> Option<Hit> {
        if !policy.is_cacheable {
            return None;
        }
        match self.find(key, policy).await {
            Ok(hit) => {
                self.lookups.count_hit(hit.entry.size());
                Some(hit)
            }
            Err(cause) => {
                self.lookups.count_miss(cause);
                None
            }
        }
    }

    async fn find(&self, key: &Key, policy: &Policy) -> Result<Hit, MissCause> {
        if policy.is_refresh {
            return Err(MissCause::Refreshed);
        }
        let found = self.store.get(key).await.map_err(|error| {
            self.report_failure("read", &error);
            MissCause::Failed
        })?;
        let entry = found.ok_or(MissCause::Absent)?;
        if policy.accepts(entry.metadata(), self.clock.now()) {
            Ok(Hit { entry })
        } else {
            Err(MissCause::Refused)
        }
    }

    /// Stores the outcome of a flight, unless the flight was invalidated.
    async fn store(&self, leader: &Leader, entry: Entry) -> Committed {
        let _no_invalidation = self.puts.read().await;
        if leader.is_invalidated() {
            return Err(NotStored::Invalidated);
        }
        let size = entry.size();
        if let Err(error) = self.store.put(&leader.id().key, entry).await {
            self.report_failure("write", &error);
            return Err(NotStored::StoreFailed);
        }
        self.stored.fetch_add(1, Ordering::Relaxed);
        self.lookups.count_written(size);
        Ok(())
    }

    /// Counts a failure of the store. Only the first one is a warning, because a full disk would cause one for each
    /// job.
    fn report_failure(&self, operation: &'static str, error: &CacheError) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let cause = std::error::Error::source(error).map(ToString::to_string);
        if self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::debug!(operation, %error, cause, "the result cache failed again");
        } else {
            tracing::warn!(operation, %error, cause, "the result cache failed; jobs run without it where it fails");
        }
    }
}

/// Checks that the inputs of a computation did not change while it ran.
async fn verify_inputs(policy: &Policy) -> Result<(), NotStored> {
    let mut inputs = policy.inputs.clone();
    inputs.retain(|(files, _)| !files.is_empty());
    if inputs.is_empty() {
        return Ok(());
    }
    let verify = move || {
        inputs
            .iter()
            .try_for_each(|(files, hasher)| files.verify(hasher))
    };
    match blocking::run(verify).await {
        Ok(verified) => verified.map_err(|changed| NotStored::InputsChanged(changed.path)),
        Err(error) => {
            tracing::debug!(%error, "the inputs of a result could not be read again");
            Err(NotStored::Unverified)
        }
    }
}

#[cfg(test)]
mod tests;
