//! Syncs a file behind its writer's back, a while after it was written to.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::error::JournalError;

/// How long what is written may stay unsynced. Syncs that take ten milliseconds are then a twentieth of the
/// time, and few would notice the loss of a fifth of a second's work.
const INTERVAL: Duration = Duration::from_millis(200);

/// A thread that syncs. Dropping it syncs what is left and waits for that.
#[derive(Debug)]
pub(super) struct Syncer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    state: Mutex<State>,
    /// Tells the thread that the state has changed.
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Something was written that is not synced.
    dirty: bool,
    syncing: bool,
    closing: bool,
    /// Nobody knows what is in a file after a failed sync, so no later one is believed.
    failure: Option<JournalError>,
}

impl Syncer {
    pub(super) fn spawn(path: &Path, file: File) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            path: path.to_path_buf(),
            state: Mutex::default(),
            wake: Condvar::new(),
        });
        let thread = std::thread::Builder::new()
            .name("ratchet-journal".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || shared.run(&file)
            })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Something was written. Says what went wrong meanwhile.
    pub(super) fn written(&self) -> Result<(), JournalError> {
        let mut state = self.shared.lock();
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        if !std::mem::replace(&mut state.dirty, true) {
            self.shared.wake.notify_all();
        }
        Ok(())
    }

    /// Waits for a sync that is under way, and says what went wrong so far.
    pub(super) fn settle(&self) -> Result<(), JournalError> {
        let state = self.shared.lock();
        let state = self.shared.wake.wait_while(state, |state| state.syncing);
        let state = state.unwrap_or_else(PoisonError::into_inner);
        state.failure.clone().map_or(Ok(()), Err)
    }

    /// Ends the thread after a last sync, and says what went wrong.
    pub(super) fn close(&mut self) -> Result<(), JournalError> {
        self.shared.lock().closing = true;
        self.shared.wake.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            let died = io::Error::other("the thread that syncs it has panicked");
            return Err(JournalError::io("sync", &self.shared.path, died));
        }
        self.shared.lock().failure.clone().map_or(Ok(()), Err)
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        if self.thread.is_some() {
            // Who wants to know closes it.
            let _ = self.close();
        }
    }
}

impl Shared {
    fn run(&self, file: &File) {
        let mut state = self.lock();
        loop {
            state = self
                .wake
                .wait_while(state, |state| !state.dirty && !state.closing)
                .unwrap_or_else(PoisonError::into_inner);
            if !state.dirty {
                return;
            }
            // More may come and go along; the end cannot wait.
            state = self
                .wake
                .wait_timeout_while(state, INTERVAL, |state| !state.closing)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            (state.dirty, state.syncing) = (false, true);
            drop(state);
            let synced = file.sync_data();
            state = self.lock();
            state.syncing = false;
            self.wake.notify_all();
            if let Err(error) = synced {
                state.failure = Some(JournalError::io("sync", &self.path, error));
                return;
            }
        }
    }

    /// Nothing panics while this is held.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_synced_is_said_then_and_ever_after() {
        // A pipe takes writes and refuses to be synced.
        let (_reader, pipe) = io::pipe().unwrap();
        let file = File::from(std::os::fd::OwnedFd::from(pipe));
        let mut syncer = Syncer::spawn(Path::new("journal"), file).unwrap();
        syncer.written().unwrap();
        let failure = syncer.close().unwrap_err();
        assert_eq!(failure.to_string(), "could not sync journal");
        assert!(syncer.written().is_err());
    }

    #[test]
    fn who_syncs_too_hears_of_a_failure_that_is_told_once() {
        let (_reader, pipe) = io::pipe().unwrap();
        let file = File::from(std::os::fd::OwnedFd::from(pipe));
        let syncer = Syncer::spawn(Path::new("journal"), file).unwrap();
        syncer.settle().unwrap();
        syncer.shared.lock().syncing = true;
        let failure = std::thread::scope(|scope| {
            let settling = scope.spawn(|| syncer.settle());
            // Whether it waits already or not: it hears of what ends only now.
            syncer.written().unwrap();
            settling.join().unwrap()
        });
        assert_eq!(failure.unwrap_err().to_string(), "could not sync journal");
    }

    #[test]
    fn closing_does_not_wait_for_what_was_not_written() {
        let file = tempfile::tempfile().unwrap();
        let mut syncer = Syncer::spawn(Path::new("journal"), file).unwrap();
        syncer.close().unwrap();
    }
}
