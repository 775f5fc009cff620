//! Work that blocks, on a thread that may block.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

/// How long to wait before trying again to start a thread for waiting work.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// How often to try again to start a thread. After that, the work is given up.
const RETRIES: u32 = 300;

/// Work that waits for a thread. The first thread that takes it performs it, so it is performed at most once.
type PendingWork<W> = Arc<Mutex<Option<W>>>;

/// Performs blocking work on a thread of tokio's pool. It does not panic if the system cannot start a thread.
///
/// Dropping the future does not stop work that has begun.
pub(crate) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (tell, mut told) = oneshot::channel();
    let waiting: PendingWork<_> = Arc::new(Mutex::new(Some(move || {
        // An error means that the caller no longer waits for the result.
        let _ = tell.send(catch_unwind(AssertUnwindSafe(work)));
    })));
    let begins = Arc::clone(&waiting);
    let is_queued = start(move || {
        if let Some(work) = take(&begins) {
            work();
        }
    });
    let mut retries = 0;
    let done = loop {
        tokio::select! {
            biased;
            done = &mut told => break done,
            () = sleep(RETRY_INTERVAL), if is_waiting(&waiting) => {
                if retries == RETRIES {
                    match take(&waiting) {
                        Some(_) => return Err(no_thread()),
                        None => continue,
                    }
                }
                retries += 1;
                // The work is in the queue of the pool, whether a thread was started or not. Tokio tries again to start
                // a thread whenever more work comes. But if its pool has no thread at all and none can be started, it
                // panics. So the system is asked first whether it can start a thread.
                if is_queued || thread::Builder::new().spawn(|| ()).is_ok() {
                    start(|| ());
                }
            }
        }
    };
    match done {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(panic)) => resume_unwind(panic),
        Err(_) => Err(io::Error::other("the runtime is shutting down")),
    }
}

/// Gives work to tokio's pool. Returns whether the pool has a thread that will perform it.
fn start(work: impl FnOnce() + Send + 'static) -> bool {
    // Tokio panics if its pool has no thread and the system cannot start one. It has released its locks by then, and
    // the work stays in the queue of the pool.
    catch_unwind(AssertUnwindSafe(|| spawn_blocking(work))).is_ok()
}

fn take<W>(waiting: &PendingWork<W>) -> Option<W> {
    // The lock is held only while the work is taken out.
    waiting
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take()
}

fn is_waiting<W>(waiting: &PendingWork<W>) -> bool {
    waiting
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .is_some()
}

fn no_thread() -> io::Error {
    io::Error::new(
        io::ErrorKind::WouldBlock,
        "the system starts no thread: its limit of processes may be too low (`ulimit -u`)",
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use std::pin::pin;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc;

    use tokio::runtime::Builder;
    use tokio::time::{advance, pause};

    use super::*;

    /// Runs a future in a process that cannot start threads, because no address space has room for their stacks. The
    /// paused clock advances as fast as it can.
    pub(crate) fn run_without_threads<T>(future: impl Future<Output = T>) -> T {
        let mut builder = Builder::new_current_thread();
        builder.enable_all().thread_stack_size(1 << 60);
        builder.build().unwrap().block_on(async {
            // A paused clock does not advance by itself while work waits for a thread.
            pause();
            let mut future = pin!(future);
            loop {
                tokio::select! {
                    biased;
                    done = &mut future => return done,
                    () = advance(RETRY_INTERVAL) => {}
                }
            }
        })
    }

    #[test]
    fn work_without_a_thread_is_an_error_and_no_panic() {
        let result = run_without_threads(run_blocking(|| 7));
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn work_that_no_thread_takes_for_long_is_an_error_and_is_never_done() {
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_all().max_blocking_threads(1).build();
        runtime.unwrap().block_on(async {
            let (go_on, waits) = mpsc::channel::<()>();
            let busy = tokio::spawn(run_blocking(move || waits.recv()));
            pause();
            let done = Arc::new(AtomicBool::new(false));
            let does = Arc::clone(&done);
            let waiting = tokio::spawn(run_blocking(move || does.store(true, Ordering::Relaxed)));
            let mut intervals = 0;
            while !waiting.is_finished() {
                assert!(intervals <= 4 * RETRIES, "it is still waited for");
                advance(RETRY_INTERVAL).await;
                intervals += 1;
            }
            assert!(intervals >= RETRIES);
            let result = waiting.await.unwrap();
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::WouldBlock);
            drop(go_on);
            assert!(busy.await.unwrap().unwrap().is_err());
            run_blocking(|| ()).await.unwrap();
            assert!(!done.load(Ordering::Relaxed));
        });
    }

    #[tokio::test]
    #[should_panic(expected = "this is a bug")]
    async fn a_panic_of_the_work_is_passed_on() {
        let _ = run_blocking(|| panic!("this is a bug")).await;
    }
}
