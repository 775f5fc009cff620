//! Runs blocking work on threads of this crate.
//!
//! `tokio::task::spawn_blocking` is not suitable. It panics when the system can start no thread, for example at a limit
//! of processes, and the refused work stays in its queue: a put that was reported as failed could take place later.
//! Here the caller gets an error, and refused work never runs.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

/// Blocking work waits for a disk or for another process, so more threads than processors help, up to a point.
const MAX_THREADS: usize = 16;
/// How long an idle thread stays.
const IDLE_TIME: Duration = Duration::from_secs(10);

/// The threads of this process, which all caches share.
static POOL: Pool = Pool::new(|| {
    let thread = thread::Builder::new().name("ratchet-cache".to_owned());
    thread.spawn(|| POOL.work()).map(drop)
});

/// Runs blocking work on a thread of the pool. It fails if the system can start no thread, or if the work panics.
///
/// If the future is dropped, the work is still done.
pub(crate) async fn run<T: Send + 'static>(
    act: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    POOL.run(act).await
}

/// A piece of work that may block.
type Work = Box<dyn FnOnce() + Send>;

/// A pool of threads that always has a thread while work is queued.
struct Pool {
    state: Mutex<PoolState>,
    has_work: Condvar,
    /// Starts a thread that calls [`Pool::work`].
    start_thread: fn() -> io::Result<()>,
}

/// What the lock of a pool protects.
struct PoolState {
    /// The work that no thread has taken yet, oldest first.
    waiting: VecDeque<Work>,
    /// The number of live threads, busy or idle.
    threads: usize,
    /// The number of threads that wait for work.
    idle: usize,
}

impl Pool {
    const fn new(start_thread: fn() -> io::Result<()>) -> Self {
        Self {
            state: Mutex::new(PoolState {
                waiting: VecDeque::new(),
                threads: 0,
                idle: 0,
            }),
            has_work: Condvar::new(),
            start_thread,
        }
    }

    /// Runs work on a thread, and waits for its result.
    async fn run<T: Send + 'static>(
        &self,
        act: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let (sender, receiver) = oneshot::channel();
        self.submit(Box::new(move || {
            // A caller that was dropped does not need the result.
            let _ = sender.send(act());
        }))?;
        // A panic drops the sender, and was already printed by the panic hook. The caller only sees that there is no
        // result.
        receiver
            .await
            .map_err(|_| io::Error::other("the operation panicked"))
    }

    /// Queues work for a thread, and starts one if all are busy. Refused work is dropped.
    fn submit(&self, work: Work) -> io::Result<()> {
        let mut state = self.state();
        state.waiting.push_back(work);
        if state.idle >= state.waiting.len() || state.threads == MAX_THREADS {
            self.has_work.notify_one();
            return Ok(());
        }
        match (self.start_thread)() {
            Ok(()) => state.threads += 1,
            // One of the other threads takes the work when it has finished its own.
            Err(_) if state.threads > 0 => self.has_work.notify_one(),
            Err(error) => {
                let refused = state.waiting.pop_back();
                // Dropping the work may close a cache, which must not happen under the lock, where it would block all
                // other callers.
                drop(state);
                drop(refused);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Runs queued work, and returns after it was idle for a while.
    fn work(&self) {
        let mut state = self.state();
        loop {
            if let Some(work) = state.waiting.pop_front() {
                drop(state);
                // A panic is the failure of this work only, and must not cost the pool a thread.
                let _ = catch_unwind(AssertUnwindSafe(work));
                state = self.state();
                continue;
            }
            state.idle += 1;
            let (woken, waited) = self
                .has_work
                .wait_timeout(state, IDLE_TIME)
                .unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            // Work that was queued at the last moment relies on this thread.
            if waited.timed_out() && state.waiting.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, PoolState> {
        // No code that holds the lock can panic in the middle of a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn work_that_no_thread_can_do_is_an_error_and_is_never_done_later() {
        static CAN_START: AtomicBool = AtomicBool::new(false);
        static LIMITED: Pool = Pool::new(|| {
            if CAN_START.load(Ordering::SeqCst) {
                return thread::Builder::new().spawn(|| LIMITED.work()).map(drop);
            }
            Err(io::ErrorKind::WouldBlock.into())
        });
        let done = Arc::new(AtomicUsize::new(0));
        let count = || {
            let done = Arc::clone(&done);
            LIMITED.run(move || done.fetch_add(1, Ordering::SeqCst))
        };
        let refused = count().await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);

        CAN_START.store(true, Ordering::SeqCst);
        assert_eq!(count().await.unwrap(), 0, "the refused work was not done");
        // A running thread is enough, even if no other one can be started.
        CAN_START.store(false, Ordering::SeqCst);
        for expected in 1..4 {
            assert_eq!(count().await.unwrap(), expected);
        }
    }

    #[tokio::test]
    async fn a_panic_of_the_work_is_an_error_of_its_caller_only() {
        let panicked = run(|| -> () { panic!("boom") }).await.unwrap_err();
        assert_eq!(panicked.to_string(), "the operation panicked");
        assert_eq!(run(|| 42).await.unwrap(), 42);
    }

    #[tokio::test]
    async fn many_callers_are_served_by_a_few_threads() {
        let many: Vec<_> = (0..500_usize)
            .map(|number| tokio::spawn(run(move || number)))
            .collect();
        for (expected, one) in many.into_iter().enumerate() {
            assert_eq!(one.await.unwrap().unwrap(), expected);
        }
        assert!(POOL.state().threads <= MAX_THREADS);
    }
}
