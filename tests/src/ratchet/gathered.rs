//! Collects the output of a program while it runs.

use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Instant;

use crate::condition::PATIENCE;

/// The output that a thread has read from a pipe so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Gathered(Arc<Shared>);

#[derive(Debug, Default)]
/// The state that the reading thread and the test share.
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
/// The bytes that were read, and whether there may be more.
struct State {
    bytes: Vec<u8>,
    /// Whether the pipe still has a writer. It is false from the beginning if nothing is read.
    open: bool,
}

impl Gathered {
    /// Starts a thread that reads a pipe to its end.
    pub(super) fn from_pipe(mut pipe: impl Read + Send + 'static) -> Self {
        let gathered = Self::default();
        gathered.lock().open = true;
        let shared = gathered.clone();
        std::thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            loop {
                let read = pipe.read(&mut buffer);
                let mut state = shared.lock();
                match read {
                    Ok(1..) => {
                        let read = read.unwrap_or_default();
                        state.bytes.extend_from_slice(&buffer[..read]);
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                    // A terminal that no process has open any more gives an error, not an end of file.
                    Ok(0) | Err(_) => state.open = false,
                }
                shared.0.changed.notify_all();
                if !state.open {
                    return;
                }
            }
        });
        gathered
    }

    /// Waits until a condition on the output holds, and returns all output until then. Fails the test if the output ends
    /// before, or if that takes too long.
    pub(super) fn wait_for(&self, what: &str, holds: impl Fn(&str) -> bool) -> String {
        let (text, held) = self.wait_until(|state| holds(&String::from_utf8_lossy(&state.bytes)));
        assert!(held, "not within {PATIENCE:?}: {what}; it said: {text}");
        text
    }

    /// Returns the output until now.
    pub(super) fn so_far(&self) -> Vec<u8> {
        self.lock().bytes.clone()
    }

    /// Waits for the end of the output, and returns all of it.
    pub(super) fn end(&self) -> Vec<u8> {
        let (text, ended) = self.wait_until(|state| !state.open);
        assert!(
            ended,
            "someone still holds what ratchet wrote to after {PATIENCE:?}; it said: {text}"
        );
        std::mem::take(&mut self.lock().bytes)
    }

    /// Waits until a condition holds, the output ends, or the patience ends. Returns the output and whether the
    /// condition holds.
    fn wait_until(&self, holds: impl Fn(&State) -> bool) -> (String, bool) {
        let deadline = tokio::time::Instant::now().into_std() + PATIENCE;
        let mut state = self.lock();
        loop {
            let held = holds(&state);
            let left = left_until(deadline);
            if held || !state.open || left.is_zero() {
                let text = String::from_utf8_lossy(&state.bytes).into_owned();
                return (text, held);
            }
            let waited = self.0.changed.wait_timeout(state, left);
            (state, _) = waited.unwrap_or_else(|_| panic!("the reader has panicked"));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        let locked = self.0.state.lock();
        locked.unwrap_or_else(|_| panic!("the reader has panicked"))
    }
}

fn left_until(deadline: Instant) -> std::time::Duration {
    deadline.saturating_duration_since(tokio::time::Instant::now().into_std())
}
