//! Work that blocks, on a thread that may block.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use tokio::task::spawn_blocking;

/// Performs work that blocks on a thread of tokio's pool, without a panic where the system starts no thread.
///
/// Dropping the future does not stop work that has begun.
pub(crate) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    // Tokio panics if its pool is empty and the system starts no thread. It has left its locks by then. The work stays in
    // the queue of the pool, so it may still be performed later, when nobody waits for its result any more.
    let started = catch_unwind(AssertUnwindSafe(|| spawn_blocking(work)));
    let Ok(started) = started else {
        return Err(io::Error::new(
            io::ErrorKind::WouldBlock,
            "the system starts no thread: its limit of processes may be too low (`ulimit -u`)",
        ));
    };
    match started.await {
        Ok(done) => Ok(done),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(_) => Err(io::Error::other("the runtime is shutting down")),
        },
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use tokio::runtime::{Builder, Runtime};

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

    #[tokio::test]
    #[should_panic(expected = "this is a bug")]
    async fn a_panic_of_the_work_is_passed_on() {
        let _ = run_blocking(|| panic!("this is a bug")).await;
    }
}
