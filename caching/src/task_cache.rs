//! Results of tasks: looked up, computed once, stored if they may be.

mod answer;
mod flights;
mod policy;
mod wait;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::runtime::Handle;
use tokio::sync::RwLock;

use crate::blocking;
use crate::cache::{Cache, Entry, Metadata};
use crate::clock::{Clock, SystemClock};
use crate::error::CacheError;
use crate::fingerprint::{Fingerprint, explain};
use crate::invalidation::Selector;
use crate::key::Key;
use flights::{Boarding, FlightName, Flights, Lead};

pub use answer::{Answer, Begin, Committed, Explanation, Hit, Lookup, Source, TaskStats};
pub use policy::{Failure, FailureKind, NotStored, Outcome, Policy};
pub use wait::{Permit, Waited, Waiter};

/// Computes what is not stored, once for everyone who asks at the same time.
///
/// [`get_or_compute`](Self::get_or_compute) is for those who can wait in place. A scheduler, which must not hold
/// anything while it waits, takes the steps one by one:
///
/// ```text
/// lookup -> Hit      use it
///        -> Miss     queue the job; when it is about to run:
/// begin  -> Hit      stored in the meantime: use it
///        -> Lead     run it, then commit (dropping the permit lets another asker lead)
///        -> Wait     put it aside; the waiter resolves to an outcome, a hit, or a permit
/// ```
///
/// A store that fails never fails a job. It counts as a miss, is warned about once, and is counted in
/// [`TaskStats::failures`]. Clones share everything.
#[derive(Clone)]
pub struct TaskCache {
    core: Arc<Core>,
}

struct Core {
    store: Arc<dyn Cache>,
    clock: Arc<dyn Clock>,
    flights: Arc<Flights>,
    /// Held to read while a result is put, and to write while entries are dropped: a put is either before an invalidation
    /// and found by it, or after it and refused.
    puts: RwLock<()>,
    warned: AtomicBool,
    computed: AtomicU64,
    shared: AtomicU64,
    stored: AtomicU64,
    failures: AtomicU64,
}

impl fmt::Debug for TaskCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskCache")
            .field("flights", &self.core.flights)
            .finish_non_exhaustive()
    }
}

impl TaskCache {
    /// A task cache over a store.
    pub fn new(store: Arc<dyn Cache>) -> Self {
        Self::with_clock(store, Arc::new(SystemClock))
    }

    /// A task cache that takes the time from this clock.
    pub fn with_clock(store: Arc<dyn Cache>, clock: Arc<dyn Clock>) -> Self {
        let core = Core {
            store,
            clock,
            flights: Arc::default(),
            puts: RwLock::default(),
            warned: AtomicBool::new(false),
            computed: AtomicU64::new(0),
            shared: AtomicU64::new(0),
            stored: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        };
        Self {
            core: Arc::new(core),
        }
    }

    /// The stored outcome of a key, or else the computed one.
    ///
    /// Of those who ask for one key at the same time, one runs its `compute`; the others wait and have its outcome, be
    /// it a result or a failure. If the one goes away, by cancellation or a panic, another takes its place. Cancel safe.
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
        Fut: Future<Output = Outcome>,
    {
        let stored = |hit: Hit| Answer {
            outcome: hit.outcome(),
            source: Source::Stored,
        };
        let permit = match self.begin(key, policy).await {
            Begin::Hit(hit) => return stored(hit),
            Begin::Lead(permit) => permit,
            Begin::Wait(waiter) => match waiter.wait().await {
                Waited::Hit(hit) => return stored(hit),
                Waited::Done(outcome) => {
                    return Answer {
                        outcome,
                        source: Source::Shared,
                    };
                }
                Waited::Lead(permit) => permit,
            },
        };
        let outcome = compute().await;
        let committed = self.commit(permit, outcome.clone()).await;
        Answer {
            outcome,
            source: Source::Computed(committed),
        }
    }

    /// The stored outcome of a key, if the policy lets it be used.
    pub async fn lookup(&self, key: &Key, policy: &Policy) -> Lookup {
        match self.core.look_up(key, policy).await {
            Some(hit) => Lookup::Hit(hit),
            None => Lookup::Miss,
        }
    }

    /// Finds out who computes a key.
    ///
    /// Looks it up once more, because it may have been stored since the last look. Cancel safe: dropped half-way, it hands
    /// over to those who wait.
    pub async fn begin(&self, key: &Key, policy: &Policy) -> Begin {
        let name = FlightName {
            key: *key,
            refresh: policy.refresh,
        };
        let now = self.core.clock.now();
        if !policy.cacheable {
            let lead = self.core.flights.untracked(name, &policy.labels, now);
            return Begin::Lead(Permit {
                lead,
                policy: Box::new(policy.clone()),
            });
        }
        let lead = match self.core.flights.board(name, &policy.labels, now) {
            Boarding::Lead(lead) => lead,
            Boarding::Join(phase) => {
                return Begin::Wait(Waiter {
                    cache: self.clone(),
                    phase,
                    name,
                    policy: Box::new(policy.clone()),
                });
            }
        };
        match self.core.look_up(key, policy).await {
            Some(hit) => {
                lead.found(&hit);
                Begin::Hit(hit)
            }
            None => Begin::Lead(Permit {
                lead,
                policy: Box::new(policy.clone()),
            }),
        }
    }

    /// Ends a computation: everyone who waits has the outcome, and it is stored if it may be.
    ///
    /// An outcome whose inputs changed is the leader's alone: those who wait compute for themselves. A cancelled one is
    /// nobody's: one of those who wait computes next. Dropped before its end, it hands over like a dropped permit, unless
    /// the outcome was given out already: then it is stored all the same.
    pub async fn commit(&self, permit: Permit, outcome: Outcome) -> Committed {
        let Permit { lead, policy } = permit;
        let policy = *policy;
        let core = &self.core;
        core.computed.fetch_add(1, Ordering::Relaxed);
        if let Err(Failure {
            kind: FailureKind::Cancelled,
            ..
        }) = outcome
        {
            return Err(NotStored::Failed(FailureKind::Cancelled));
        }
        if let Err(changed) = verify_inputs(&policy).await {
            tracing::warn!(key = %lead.name().key, task = policy.labels.task, reason = %changed, "a result is not cached");
            lead.dissolve();
            return Err(changed);
        }
        lead.land(&outcome);
        let now = core.clock.now();
        let (kind, expires) = policy.storable(&outcome, now)?;
        let value = match outcome {
            Ok(value) => value,
            Err(failure) => failure.description,
        };
        let metadata = Metadata {
            kind,
            created: now,
            expires,
            cost: now.duration_since(lead.begun()).unwrap_or_default(),
            labels: policy.labels,
            fingerprint: policy.fingerprint,
        };
        let (core, entry) = (Arc::clone(core), Entry::new(value, metadata));
        let storing = async move { core.store(&lead, entry).await };
        // On a task of its own it is carried through even if this future is dropped: a put that nobody looks after could
        // outlast an invalidation.
        match Handle::try_current() {
            Ok(runtime) => runtime
                .spawn(storing)
                .await
                .unwrap_or(Err(NotStored::StoreFailed)),
            Err(_) => storing.await,
        }
    }

    /// Ends a computation whose outcome nobody else may have, because it is not known what it depends on: it is neither
    /// stored nor shared, and those who wait compute for themselves.
    pub fn withhold(&self, permit: Permit) {
        self.core.computed.fetch_add(1, Ordering::Relaxed);
        permit.lead.dissolve();
    }

    /// Drops the selected entries and says how many there were.
    ///
    /// What is being computed and would be selected is not stored when it is done. Unlike everything else here, this
    /// reports a failing store: who asks for entries to be gone must know that they are not.
    pub async fn invalidate(&self, selector: &Selector) -> Result<u64, CacheError> {
        self.core.flights.invalidate(selector);
        // Who looked at a flight before that puts first, and is found by the store.
        let _no_puts = self.core.puts.write().await;
        self.core.store.invalidate(selector).await
    }

    /// Says why a job with this fingerprint hits or misses.
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
            // The fewest differences; among equals the most recent one.
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

    /// What is stored, and how the cache has fared since it was made.
    pub async fn stats(&self) -> Result<TaskStats, CacheError> {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Ok(TaskStats {
            store: self.core.store.stats().await?,
            computed: count(&self.core.computed),
            shared: count(&self.core.shared),
            stored: count(&self.core.stored),
            failures: count(&self.core.failures),
        })
    }
}

impl Core {
    async fn look_up(&self, key: &Key, policy: &Policy) -> Option<Hit> {
        if !policy.cacheable || policy.refresh {
            return None;
        }
        let entry = match self.store.get(key).await {
            Ok(entry) => entry?,
            Err(error) => {
                self.degrade("read", &error);
                return None;
            }
        };
        policy
            .accepts(entry.metadata(), self.clock.now())
            .then_some(Hit { entry })
    }

    async fn store(&self, lead: &Lead, entry: Entry) -> Committed {
        let _no_invalidation = self.puts.read().await;
        if lead.is_invalidated() {
            return Err(NotStored::Invalidated);
        }
        if let Err(error) = self.store.put(&lead.name().key, entry).await {
            self.degrade("write", &error);
            return Err(NotStored::StoreFailed);
        }
        self.stored.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Notes that the store failed. People hear of it once: a full disk would otherwise say so for every job.
    fn degrade(&self, operation: &'static str, error: &CacheError) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let cause = std::error::Error::source(error).map(ToString::to_string);
        if self.warned.swap(true, Ordering::Relaxed) {
            tracing::debug!(operation, %error, cause, "the result cache failed again");
        } else {
            tracing::warn!(operation, %error, cause, "the result cache failed; jobs run without it where it does");
        }
    }
}

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
        Some(verified) => verified.map_err(|changed| NotStored::InputsChanged(changed.path)),
        None => Err(NotStored::Unverified),
    }
}

#[cfg(test)]
mod tests;
