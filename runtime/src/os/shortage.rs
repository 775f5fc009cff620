//! Retries to start a process when the system is short of descriptors, processes or memory.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::suspension::working_now;

/// How long a shortage may last before a start fails, counted while no process of ours runs whose end could relieve it.
const SHORTAGE_LIMIT: Duration = Duration::from_secs(30);

/// The first pause between two tries. The pause doubles, and ends early when a process of ours ends.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Counts the processes of one runner or manager. All starts that wait because of a shortage share it.
#[derive(Debug, Default)]
pub(super) struct RunningProcesses {
    /// How many processes run. Relaxed accesses are enough: the count decides only whether waiting may help, and orders
    /// nothing.
    running: AtomicUsize,
    /// Wakes one start that waits.
    ended: Notify,
    /// Whether the first shortage was logged, so that later ones are not.
    is_logged: AtomicBool,
}

/// The retries of one start: how long it has failed, and how long to pause before the next try.
#[derive(Debug)]
pub(super) struct StartRetry<'a> {
    /// Notifies when a process has ended, so that the pause can be cut short.
    starts: &'a RunningProcesses,
    /// When the start first failed; `None` if it has not.
    since: Option<Instant>,
    /// How long the next pause is. It grows from try to try.
    pause: Duration,
}

impl RunningProcesses {
    /// Counts a process that was started.
    pub(super) fn started(&self) {
        self.running.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a process that has ended, and wakes a start that waits.
    pub(super) fn ended(&self) {
        self.running.fetch_sub(1, Ordering::Relaxed);
        self.ended.notify_one();
    }

    /// Makes the retries of one start.
    pub(super) fn retry(&self) -> StartRetry<'_> {
        StartRetry {
            starts: self,
            since: None,
            pause: FIRST_PAUSE,
        }
    }

    /// Logs the shortage if it is the first one.
    fn log_once(&self, error: &io::Error) {
        if !self.is_logged.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                %error,
                "a process cannot be started for now; it is tried again, and fewer processes run at once until then"
            );
        }
    }
}

impl StartRetry<'_> {
    /// Waits until another try is worthwhile, and returns whether it is.
    ///
    /// Another try is not worthwhile if the error is not a shortage, or if the shortage lasts. While processes run,
    /// their ends may relieve a shortage of descriptors, processes or memory; only time relieves a program that is
    /// being written.
    pub(super) async fn wait(&mut self, error: &io::Error) -> bool {
        if !is_shortage(error) {
            return false;
        }
        // The clock of work is used, because the time for which this process was stopped does not count as waiting.
        let now = working_now();
        let is_being_written = error.raw_os_error() == Some(Errno::TXTBSY.raw_os_error());
        let has_hope = !is_being_written && self.starts.running.load(Ordering::Relaxed) > 0;
        let since = *self.since.get_or_insert(now);
        if has_hope {
            self.since = Some(now);
        } else if now.duration_since(since) >= SHORTAGE_LIMIT {
            return false;
        }
        self.starts.log_once(error);
        // The start is retried whether a process has ended or the pause is over.
        let _ = timeout(self.pause, self.starts.ended.notified()).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        true
    }
}

/// Whether an error means that the system is short of something at the moment.
fn is_shortage(error: &io::Error) -> bool {
    const SHORTAGES: [Errno; 5] = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::AGAIN,
        Errno::NOMEM,
        Errno::TXTBSY,
    ];
    let number = error.raw_os_error();
    SHORTAGES
        .iter()
        .any(|errno| number == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(errno: Errno) -> io::Error {
        io::Error::from_raw_os_error(errno.raw_os_error())
    }

    #[tokio::test(start_paused = true)]
    async fn a_shortage_that_lasts_fails_a_start_when_nothing_of_ours_runs() {
        for errno in [
            Errno::MFILE,
            Errno::NFILE,
            Errno::AGAIN,
            Errno::NOMEM,
            Errno::TXTBSY,
        ] {
            let starts = RunningProcesses::default();
            let (mut retry, start) = (starts.retry(), working_now());
            while retry.wait(&error(errno)).await {}
            assert!(working_now() - start >= SHORTAGE_LIMIT, "{errno:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_that_is_no_shortage_fails_a_start_at_once() {
        let starts = RunningProcesses::default();
        assert!(!starts.retry().wait(&error(Errno::NOENT)).await);
        assert!(!starts.retry().wait(&error(Errno::TOOBIG)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_waits_as_long_as_something_runs_and_is_woken_by_its_end() {
        let starts = RunningProcesses::default();
        starts.started();
        let mut retry = starts.retry();
        for _ in 0..1000 {
            assert!(retry.wait(&error(Errno::MFILE)).await);
        }
        starts.ended();
        let before = working_now();
        assert!(retry.wait(&error(Errno::MFILE)).await);
        assert_eq!(working_now() - before, Duration::ZERO);
    }
}
