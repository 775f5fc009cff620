//! Syncs a file in the background, a moment after it was written.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::error::JournalError;

/// The longest time that written data stays unsynced. Syncs that take ten milliseconds then take a twentieth of the
/// time, and a crash of the machine loses a fifth of a second of work.
const INTERVAL: Duration = Duration::from_millis(200);

/// A thread that syncs a file in the background. Dropping the syncer syncs what is left and waits for that.
#[derive(Debug)]
pub(super) struct Syncer {
    shared: Arc<Shared>,
    /// The thread; `None` once the syncer was dropped and waits for it.
    thread: Option<JoinHandle<()>>,
}

/// The part that the writer and the thread share.
#[derive(Debug)]
struct Shared {
    path: PathBuf,
    state: Mutex<SyncState>,
    /// Wakes the thread when the state has changed, and the tasks that wait for the end of a sync.
    wake: Condvar,
}

/// What the thread has to do, and its result.
#[derive(Debug, Default)]
struct SyncState {
    /// Whether something was written that is not synced.
    dirty: bool,
    /// Whether a sync is in progress.
    syncing: bool,
    /// Whether the thread has to end after a last sync.
    closing: bool,
    /// The error of a failed sync. It stays forever, because it is unknown what is in the file after it, even if a
    /// later sync succeeds.
    failure: Option<JournalError>,
}

impl Syncer {
    /// Starts the thread for a file. The path is used only in errors.
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

    /// Notifies the thread that data was written. Fails if an earlier sync has failed.
    pub(super) fn notify_written(&self) -> Result<(), JournalError> {
        let mut state = self.shared.lock();
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        if !std::mem::replace(&mut state.dirty, true) {
            self.shared.wake.notify_all();
        }
        Ok(())
    }

    /// Waits for the end of a sync in progress. Fails if any sync so far has failed.
    pub(super) fn wait_idle(&self) -> Result<(), JournalError> {
        let state = self.shared.lock();
        let state = self.shared.wake.wait_while(state, |state| state.syncing);
        let state = state.unwrap_or_else(PoisonError::into_inner);
        state.failure.clone().map_or(Ok(()), Err)
    }

    /// Ends the thread after a last sync. Fails if any sync has failed.
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
            // Callers that want the error call `close` themselves.
            let _ = self.close();
        }
    }
}

impl Shared {
    /// Runs the thread: syncs the file a moment after each write, until it is closed or a sync fails.
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
            // Waiting combines many writes into one sync. A close does not wait.
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

    /// Locks the state. Nothing panics under the lock, so the state is consistent and poisoning can be ignored.
    fn lock(&self) -> MutexGuard<'_, SyncState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_sync_is_reported_by_all_later_calls() {
        // A pipe accepts writes but cannot be synced.
        let (_reader, pipe) = io::pipe().unwrap();
        let file = File::from(std::os::fd::OwnedFd::from(pipe));
        let mut syncer = Syncer::spawn(Path::new("journal"), file).unwrap();
        syncer.notify_written().unwrap();
        let failure = syncer.close().unwrap_err();
        assert_eq!(failure.to_string(), "could not sync journal");
        assert!(syncer.notify_written().is_err());
    }

    #[test]
    fn waiting_for_a_running_sync_reports_its_failure() {
        let (_reader, pipe) = io::pipe().unwrap();
        let file = File::from(std::os::fd::OwnedFd::from(pipe));
        let syncer = Syncer::spawn(Path::new("journal"), file).unwrap();
        syncer.wait_idle().unwrap();
        syncer.shared.lock().syncing = true;
        let failure = std::thread::scope(|scope| {
            let settling = scope.spawn(|| syncer.wait_idle());
            // Whether it waits already or not, it is notified of the end only now.
            syncer.notify_written().unwrap();
            settling.join().unwrap()
        });
        assert_eq!(failure.unwrap_err().to_string(), "could not sync journal");
    }

    #[test]
    fn closing_a_syncer_without_writes_does_not_sync() {
        let file = tempfile::tempfile().unwrap();
        let mut syncer = Syncer::spawn(Path::new("journal"), file).unwrap();
        syncer.close().unwrap();
    }
}
