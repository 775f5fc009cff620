//! The scheduler for code that only limits its own tasks: `acquire`, work, drop the guard.

mod acquire;
mod guard;
mod stats;
mod timekeeper;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use super::acquisitions::{OwnedAcquisition, are_traced};
use super::claims::SchedulerRequest;
use super::hints::ParallelizationHint;
use super::scheduler::{Decision, Scheduler, SchedulerSettings};
use crate::Error;
use crate::ids::Ticket;
use timekeeper::Timekeeper;

pub use acquire::Acquire;
pub use guard::ParallelizationGuard;
pub use stats::{ParallelizationStats, RateLimiterState, WaitTimes};

/// How many empty waiters are kept for later requests.
const KEEP: usize = 16_384;

/// Holds tasks back until they may run, by the rules of the [`Scheduler`].
///
/// Cloning it is cheap, and all clones are one manager. It needs a tokio runtime with time enabled only for rate limits
/// and timeouts. The timers of tokio have a resolution of a millisecond, so more than a thousand starts per second take
/// a `burst` above 1.
///
/// - **First come, first served**, within a priority.
/// - **Cancel safe.** Dropping a waiting `acquire` leaves the queue; dropping one that was just granted lets the next
///   one start.
/// - **Released on drop**, and so on a panic too.
/// - **Traced.** Debug events of `tracing` report which task has `acquired`, has `released` or `waits for` a hint on a
///   host. Their target is `ratchet_runtime::parallelization`. An [`Executor`](crate::Executor) emits them, too.
///
/// ```
/// use ratchet_runtime::{ParallelizationHint, ParallelizationManager};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), ratchet_runtime::Error> {
/// let manager = ParallelizationManager::new();
/// let hint = ParallelizationHint::HostExclusive;
///
/// let guard = manager.acquire(&hint, "web1", "apt").await?;
/// assert!(manager.try_acquire(&hint, "web1", "apt")?.is_none());
/// assert!(manager.try_acquire(&hint, "web2", "apt")?.is_some());
///
/// drop(guard);
/// assert!(manager.try_acquire(&hint, "web1", "apt")?.is_some());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ParallelizationManager {
    /// The state that all clones share.
    shared: Arc<Mutex<Shared>>,
}

/// The state that all clones of a manager share.
struct Shared {
    /// The scheduler that decides.
    scheduler: Scheduler,
    /// The `acquire` calls that wait, by the index of their tickets.
    waiters: Vec<Waiter>,
    /// How long requests waited until they were granted.
    waits: WaitTimes,
    /// The next moment at which time alone lets a request start, as of the last dispatch.
    next: Option<Instant>,
    /// The task that dispatches again when time lets a request start.
    timekeeper: Timekeeper,
}

/// The state of one `acquire` that waits.
#[derive(Default)]
struct Waiter {
    /// Wakes the task that waits.
    waker: Option<Waker>,
    /// Whether the scheduler has started the request.
    granted: bool,
}

impl ParallelizationManager {
    /// Makes a manager without a limit on how many run at once, and without named limits.
    pub fn new() -> Self {
        let SchedulerSettings {
            capacity, ageing, ..
        } = SchedulerSettings::default();
        Self::of(Scheduler::empty(u32::MAX, capacity, ageing, now()))
    }

    /// Makes a manager with these slots, limits, capacity and ageing.
    ///
    /// ```
    /// use ratchet_runtime::{Limit, ParallelizationManager, SchedulerRequest, SchedulerSettings};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), ratchet_runtime::Error> {
    /// let manager = ParallelizationManager::with_settings(SchedulerSettings {
    ///     slots: 8,
    ///     limits: vec![("db".to_owned(), Limit::max(1)?)],
    ///     ..SchedulerSettings::default()
    /// })?;
    /// let db = [manager.limit("db")?];
    /// let connection = manager.acquire_request(SchedulerRequest { limits: &db, ..SchedulerRequest::new("query") }).await?;
    /// drop(connection);
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_settings(settings: SchedulerSettings) -> Result<Self, Error> {
        Scheduler::new(settings, now()).map(Self::of)
    }

    fn of(scheduler: Scheduler) -> Self {
        Self {
            shared: Arc::new(Mutex::new(Shared {
                scheduler,
                waiters: Vec::new(),
                waits: WaitTimes::default(),
                next: None,
                timekeeper: Timekeeper::default(),
            })),
        }
    }

    /// Waits until a task with this hint may run on this host, and holds what it claims.
    ///
    /// The task's name is the rate key of a rate-limited hint that names no key. Fails at once on a hint that could
    /// never let a task run, or that contradicts another one in use.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the queue, whatever state it is in.
    pub fn acquire<'a>(
        &self,
        hint: &'a ParallelizationHint,
        host: &'a str,
        task: &'a str,
    ) -> Acquire<'a> {
        self.acquire_request(SchedulerRequest {
            hint,
            host: Some(host),
            ..SchedulerRequest::new(task)
        })
    }

    /// Waits for permission as [`acquire`](Self::acquire) does, for a request with priority, slots and named limits.
    pub fn acquire_request<'a>(&self, request: SchedulerRequest<'a>) -> Acquire<'a> {
        Acquire::new(self.clone(), request)
    }

    /// Takes what the task claims if it may run right now; never waits. Returns `None` if it may not.
    pub fn try_acquire(
        &self,
        hint: &ParallelizationHint,
        host: &str,
        task: &str,
    ) -> Result<Option<ParallelizationGuard>, Error> {
        let request = SchedulerRequest {
            hint,
            host: Some(host),
            ..SchedulerRequest::new(task)
        };
        let now = now();
        let mut shared = self.lock();
        let ticket = shared.scheduler.push(request, now)?;
        shared.add_waiter(ticket);
        let mut woken = shared.dispatch(now);
        let granted = shared.granted(ticket);
        if granted {
            shared.waits.record(Duration::ZERO);
        } else {
            // No waker was set for it, so there is none to drop.
            let _ = shared.withdraw(ticket);
            woken.extend(shared.dispatch(now));
        }
        drop(shared);
        wake(woken);
        Ok(granted.then(|| {
            let acquisition = || OwnedAcquisition::new(hint.name(), Some(host), task);
            let told = are_traced().then(|| Box::new(acquisition()));
            ParallelizationGuard::new(self.clone(), ticket, told)
        }))
    }

    /// Waits for permission as [`acquire`](Self::acquire) does, but gives up after this time. With a time of zero, it
    /// still gets what is free at once.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ratchet_runtime::{Error, ParallelizationHint, ParallelizationManager};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Error> {
    /// let manager = ParallelizationManager::new();
    /// let hint = ParallelizationHint::HostExclusive;
    /// let patience = Duration::from_secs(30);
    /// let upgrade = manager.acquire_timeout(&hint, "web1", "apt upgrade", patience).await?;
    /// // Another one has to wait, and says after half a minute that it could not start.
    /// let second = manager.acquire_timeout(&hint, "web1", "apt install", patience).await;
    /// assert!(matches!(second, Err(Error::AcquireTimeout { .. })));
    /// drop(upgrade);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn acquire_timeout(
        &self,
        hint: &ParallelizationHint,
        host: &str,
        task: &str,
        timeout: Duration,
    ) -> Result<ParallelizationGuard, Error> {
        timekeeper::runtime_with_time().ok_or(Error::NoTimer)?;
        let waited = tokio::time::timeout(timeout, self.acquire(hint, host, task)).await;
        waited.unwrap_or_else(|_| {
            Err(Error::AcquireTimeout {
                task: task.to_owned(),
                host: host.to_owned(),
                waited: timeout,
            })
        })
    }

    /// Returns the named limit, to be put into requests.
    pub fn limit(&self, name: &str) -> Result<super::LimitId, Error> {
        self.lock().scheduler.limit(name)
    }

    /// Returns what is held, what is left and how many wait, as of now.
    pub fn stats(&self) -> ParallelizationStats {
        let shared = self.lock();
        ParallelizationStats::of(&shared.scheduler, now())
    }

    /// Returns how long the requests that were granted had waited.
    pub fn wait_times(&self) -> WaitTimes {
        self.lock().waits.clone()
    }

    /// Releases what this ticket holds, or its place in the queue, and starts the requests that may run now.
    fn give_back(&self, ticket: Ticket) {
        let mut shared = self.lock();
        let unused = shared.withdraw(ticket);
        let woken = shared.dispatch(now());
        drop(shared);
        drop(unused);
        wake(woken);
    }

    /// Locks the shared state, even if it is poisoned. Our code does not panic while it holds the lock, and wakers,
    /// which may panic, are called only when the state is consistent. So the state behind a poisoned lock is valid.
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for ParallelizationManager {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ParallelizationManager {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ParallelizationManager")
            .field("load", &self.lock().scheduler.load())
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Adds an empty waiter for this ticket, in the place of an earlier one with the same index.
    fn add_waiter(&mut self, ticket: Ticket) {
        if self.waiters.len() <= ticket.index() {
            self.waiters
                .resize_with(ticket.index() + 1, Waiter::default);
        }
        self.waiters[ticket.index()] = Waiter::default();
    }

    /// Starts the requests that may run now. Returns the wakers of their tasks, to be woken once the lock
    /// is given back.
    fn dispatch(&mut self, now: Instant) -> Vec<Waker> {
        let mut woken = Vec::new();
        let next = loop {
            // Most of the time no request waits, and then there is nothing to ask.
            if self.scheduler.load().waiting == 0 {
                break None;
            }
            match self.scheduler.pop(now) {
                Decision::Start(ticket) => {
                    let waiter = &mut self.waiters[ticket.index()];
                    waiter.granted = true;
                    woken.extend(waiter.waker.take());
                }
                Decision::WaitUntil(next) => break Some(next),
                Decision::Idle => break None,
            }
        };
        if next != self.next {
            self.next = next;
            self.timekeeper.wake();
        }
        if next.is_some() && self.timekeeper.is_missing() {
            // A timekeeper can be started only while a future is polled, and any waiting future will do. If that future
            // is dropped instead, its drop dispatches again and comes back here.
            woken.extend(
                self.waiters
                    .iter_mut()
                    .find_map(|waiter| waiter.waker.take()),
            );
        }
        woken
    }

    /// Whether this ticket was granted.
    fn granted(&self, ticket: Ticket) -> bool {
        self.waiters[ticket.index()].granted
    }

    /// Sets the waker for the request of a ticket. Returns the waker that it replaces, to be dropped without the lock.
    #[must_use = "a waker may run any code when it is dropped, so not while the lock is held"]
    fn call(&mut self, ticket: Ticket, waker: &Waker) -> Option<Waker> {
        let called = &mut self.waiters[ticket.index()].waker;
        match called {
            Some(called) if called.will_wake(waker) => None,
            _ => called.replace(waker.clone()),
        }
    }

    /// Releases what this ticket holds, or removes it from the queue. Returns its waker, to be dropped without the lock.
    #[must_use = "a waker may run any code when it is dropped, so not while the lock is held"]
    fn withdraw(&mut self, ticket: Ticket) -> Option<Waker> {
        let unused = self.waiters[ticket.index()].waker.take();
        let gone = if self.scheduler.is_running(ticket) {
            self.scheduler.finish(ticket)
        } else {
            self.scheduler.cancel(ticket).map(|_| ())
        };
        debug_assert_eq!(gone, Ok(()), "a ticket is given back once");
        let load = self.scheduler.load();
        if load.waiting + load.running == 0 && self.waiters.len() > KEEP {
            self.waiters = Vec::new();
        }
        unused
    }
}

fn wake(woken: Vec<Waker>) {
    woken.into_iter().for_each(Waker::wake);
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests;
