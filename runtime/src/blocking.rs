//! Work that blocks, on a thread that may block.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::sleep;

/// How often work that waits for a thread has tokio try again to start one.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// How often the work is tried again. Work for which there is no thread by then is given up.
const RETRIES: u32 = 300;

/// Performs work that blocks on a thread of tokio's pool, without a panic where the system starts no thread.
///
/// Dropping the future does not stop work that has begun.
pub(crate) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let begun = Arc::new(AtomicBool::new(false));
    let begins = Arc::clone(&begun);
    let mut running = start(move || {
        begins.store(true, Ordering::Relaxed);
        work()
    })?;
    let mut retries = 0;
    let done = loop {
        tokio::select! {
            biased;
            done = &mut running => break done,
            () = sleep(RETRY_INTERVAL), if !begun.load(Ordering::Relaxed) => {
                // On a runtime of several threads, tokio takes these for threads of its pool, and waits for one of them where
                // the system starts no other. None of them takes the work, so it could wait for ever. Whenever there is
                // more work, tokio tries again to start a thread.
                if retries == RETRIES || start(|| ()).is_err() {
                    running.abort();
                    return Err(no_thread());
                }
                retries += 1;
            }
        }
    };
    match done {
        Ok(done) => Ok(done),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(_) => Err(io::Error::other("the runtime is shutting down")),
        },
    }
}

/// Gives work to tokio's pool.
fn start<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    // Tokio panics if its pool is empty and the system starts no thread. It has left its locks by then. The work stays in
    // the queue of the pool, so it may still be performed later, when nobody waits for its result any more.
    let started = catch_unwind(AssertUnwindSafe(|| spawn_blocking(work)));
    started.map_err(|_| no_thread())
}

fn no_thread() -> io::Error {
    io::Error::new(
        io::ErrorKind::WouldBlock,
        "the system starts no thread: its limit of processes may be too low (`ulimit -u`)",
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::mpsc;

    use tokio::runtime::{Builder, Runtime};
    use tokio::time::{advance, pause};

    use super::*;

    /// A runtime that cannot start a thread: no address space has room for such a stack.
    ///
    /// Its clock is not paused. Work that waits for a thread would keep a paused clock from going on.
    pub(crate) fn runtime_without_threads() -> Runtime {
        let mut builder = Builder::new_current_thread();
        builder.enable_all().thread_stack_size(1 << 60);
        builder.build().unwrap()
    }

    #[test]
    fn work_without_a_thread_is_an_error_and_no_panic() {
        let result = runtime_without_threads().block_on(run_blocking(|| 7));
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
