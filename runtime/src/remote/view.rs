//! What is known here about a process on another host.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::stream::{Inbox, StreamEnd};
use crate::os::InputCount;

/// The dispatcher's copy of a process on another host: its output so far, the bytes written to its stdin, and its end.
#[derive(Debug, Default)]
pub(super) struct RemoteView {
    pub(super) stdout: Inbox,
    pub(super) stderr: Inbox,
    /// How many bytes were written to its stdin.
    pub(super) written: Arc<AtomicU64>,
    state: Mutex<ViewState>,
}

/// The part of a process's state that its agent reports.
#[derive(Debug, Default)]
struct ViewState {
    /// How many bytes of its stdin it has read; `None` until its agent has reported that.
    read: Option<u64>,
    /// For how long it surely ran; `None` until its agent has reported its end.
    ran: Option<Duration>,
    has_ended: bool,
}

impl RemoteView {
    fn state(&self) -> MutexGuard<'_, ViewState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that the process has closed its stdin, of which it has read this many bytes.
    pub(super) fn has_closed_input(&self, read: Option<u64>) {
        self.state().read = read;
    }

    /// Records that the process has ended after this time, and has read this many bytes of its stdin. Its output may
    /// still be on its way.
    pub(super) fn has_ended(&self, read: Option<u64>, ran: Duration) {
        let mut state = self.state();
        state.read = read.or(state.read);
        state.ran = Some(ran);
        state.has_ended = true;
    }

    /// Records that the process has ended because its host is lost, so that no more output comes.
    pub(super) fn is_lost(&self) {
        self.cut();
        self.state().has_ended = true;
    }

    /// Returns how many bytes of its stdin were written and read, as far as that is known.
    pub(super) fn input(&self) -> Option<InputCount> {
        let written = self.written();
        // A host could report any number.
        let read = self.state().read?.min(written);
        Some(InputCount { written, read })
    }

    /// Returns how many bytes were written to its stdin.
    pub(super) fn written(&self) -> u64 {
        // Relaxed: the count orders nothing.
        self.written.load(Ordering::Relaxed)
    }

    /// Whether its agent has reported its end, or its host is lost.
    pub(super) fn is_over(&self) -> bool {
        self.state().has_ended
    }

    /// Returns for how long it surely ran, once its agent has reported its end.
    pub(super) fn ran(&self) -> Option<Duration> {
        self.state().ran
    }

    /// Ends both streams of a process for which no more data will come.
    pub(super) fn cut(&self) {
        self.stdout.end(StreamEnd::Cut);
        self.stderr.end(StreamEnd::Cut);
    }
}
