//! The work clock: it is paused while this process and its jobs are suspended, as by Ctrl-Z.
//!
//! The system's clock continues while a process is stopped. A timeout that is measured with it would end a job that was
//! stopped and has not worked in that time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::sleep;

/// How late a timer has to fire to show that the whole process was held up, because it was stopped or got no processor
/// time.
pub(crate) const LATE: Duration = Duration::from_millis(100);

/// How long to handle pending events after such a delay, before the clock decides on closures and waiting jobs. For
/// workers and programs no such time is needed: the system is asked whether they have ended.
pub(crate) const CATCH_UP: Duration = TURN.saturating_mul(TURNS);

/// A wait of this length lets the event loop take a turn and receive pending events, however little processor time it
/// gets.
const TURN: Duration = Duration::from_millis(1);

/// How many turns the event loop takes to catch up.
const TURNS: u32 = 20;

/// The bit of [`WorkClock::state`] that is set while the clock is paused.
const PAUSED_BIT: u64 = 1 << 63;

/// The work clock of this process, by which all deadlines of jobs and runs are kept.
static CLOCK: WorkClock = WorkClock::new();

/// Returns the time by the work clock: the system's time without all the time that [`suspend_while`] has taken so far.
///
/// Deadlines, waits and durations of jobs and runs are kept in this time. Code that compares another time with one of
/// these has to take that from here as well. It is not a time of day.
///
/// [`suspend_while`]: crate::process::suspend_while
pub fn working_now() -> Instant {
    CLOCK.now()
}

/// Returns what the system's clock shows when the work clock shows this time, if the work clock is not paused between
/// now and then.
pub(crate) fn system_time_of(time: Instant) -> Instant {
    CLOCK.system_time_of(time)
}

/// Returns what the system's clock showed when the work clock showed this time, which is in the past. Unlike
/// [`system_time_of`] it does not add the pauses since then.
pub(crate) fn past_system_time(time: Instant) -> Instant {
    CLOCK.past_system_time(time)
}

/// Waits until the work clock shows this time; for `None` it waits forever.
///
/// If this process was stopped in the meantime, it waits a moment longer, so that a caller that selects between this
/// and the end of a job sees the end of the job first.
pub(crate) async fn until(time: Option<Instant>) {
    match time {
        Some(time) => CLOCK.until(time).await,
        None => std::future::pending().await,
    }
}

/// Pauses the work clock until the returned guard is dropped. There is only one such guard at a time.
#[must_use]
pub(crate) fn pause_clock() -> SuspensionGuard {
    CLOCK.stop(system_now());
    SuspensionGuard(())
}

/// Keeps the work clock paused until it is dropped.
#[derive(Debug)]
pub(crate) struct SuspensionGuard(());

impl Drop for SuspensionGuard {
    fn drop(&mut self) {
        CLOCK.resume(system_now());
    }
}

/// A clock that can be paused.
#[derive(Debug)]
struct WorkClock {
    /// When the clock was first stopped. The times in `state` are relative to this.
    origin: OnceLock<Instant>,
    /// While the clock runs: for how many nanoseconds it was paused so far. While it is paused: the nanoseconds from
    /// `origin` to what it shows, and [`PAUSED_BIT`]. One atomic, so that no reader sees half of a change.
    state: AtomicU64,
    /// The past pauses, in order. They are few: each takes a Ctrl-Z.
    pauses: Mutex<Vec<PastPause>>,
}

/// A past interval in which the clock was paused.
#[derive(Debug)]
struct PastPause {
    /// What the clock showed during the pause.
    shown: Instant,
    /// How long the clock had been paused in all when this pause ended.
    total: Duration,
}

impl WorkClock {
    const fn new() -> Self {
        Self {
            origin: OnceLock::new(),
            state: AtomicU64::new(0),
            pauses: Mutex::new(Vec::new()),
        }
    }

    fn now(&self) -> Instant {
        loop {
            // Acquire: pairs with the store in `stop`, which comes after `origin` was set.
            let state = self.state.load(Ordering::Acquire);
            if state & PAUSED_BIT != 0
                && let Some(origin) = self.origin.get()
            {
                return *origin + Duration::from_nanos(state & !PAUSED_BIT);
            }
            let now = system_now();
            // The process may have been stopped and continued between the two reads. Then `now` is a time after the stop and
            // `state` one from before it, and their difference would lie far in the future. So the state is read again.
            if self.state.load(Ordering::Acquire) == state {
                #[expect(
                    clippy::unchecked_time_subtraction,
                    reason = "the clock has stood still for no longer than the system's clock has run"
                )]
                return now - Duration::from_nanos(state);
            }
        }
    }

    fn system_time_of(&self, time: Instant) -> Instant {
        // Acquire: pairs with the store in `stop`, which comes after `origin` was set.
        let state = self.state.load(Ordering::Acquire);
        match self.origin.get() {
            Some(origin) if state & PAUSED_BIT != 0 => {
                let shown = *origin + Duration::from_nanos(state & !PAUSED_BIT);
                // The clock has shown this time since it was paused.
                system_now() + time.saturating_duration_since(shown)
            }
            _ => time + Duration::from_nanos(state & !PAUSED_BIT),
        }
    }

    fn past_system_time(&self, time: Instant) -> Instant {
        // This is called for every job, and almost no process is ever stopped.
        if self.state.load(Ordering::Acquire) == 0 {
            return time;
        }
        let pauses = self.pauses();
        // An event at the moment of a pause happened before the pause.
        let earlier = pauses.partition_point(|pause| pause.shown < time);
        let last = earlier.checked_sub(1).and_then(|last| pauses.get(last));
        time + last.map_or(Duration::ZERO, |pause| pause.total)
    }

    /// Locks the pauses. A poisoned lock is used all the same: a pause is pushed whole or not at all.
    fn pauses(&self) -> MutexGuard<'_, Vec<PastPause>> {
        self.pauses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pauses the clock.
    fn stop(&self, now: Instant) {
        let origin = *self.origin.get_or_init(|| now);
        let stood_still = Duration::from_nanos(self.state.load(Ordering::Relaxed));
        let shown = now.duration_since(origin).saturating_sub(stood_still);
        self.state
            .store(PAUSED_BIT | nanos(shown), Ordering::Release);
    }

    /// Resumes the clock from the time that it shows.
    fn resume(&self, now: Instant) {
        let shown = Duration::from_nanos(self.state.load(Ordering::Relaxed) & !PAUSED_BIT);
        let since_origin = self.origin.get().map(|origin| now.duration_since(*origin));
        let stood_still = since_origin.unwrap_or_default().saturating_sub(shown);
        if let Some(origin) = self.origin.get() {
            self.pauses().push(PastPause {
                shown: *origin + shown,
                total: stood_still,
            });
        }
        self.state.store(nanos(stood_still), Ordering::Release);
    }

    async fn until(&self, time: Instant) {
        loop {
            let left = time.saturating_duration_since(self.now());
            if left.is_zero() {
                break;
            }
            // The clock may have been paused in the meantime, so it is read again.
            sleep(left).await;
        }
        if self.now().saturating_duration_since(time) >= LATE {
            // Several sleeps: a single one may be over at once if this process gets no processor time or is stopped
            // again.
            for _ in 0..TURNS {
                sleep(TURN).await;
            }
        }
    }
}

/// Returns the time by the system's clock, or by the paused clock of a test.
fn system_now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Returns the nanoseconds of a duration. A u64 holds 292 years, longer than any process runs.
#[expect(clippy::expect_used, reason = "no process runs for 292 years")]
fn nanos(duration: Duration) -> u64 {
    let nanos = u64::try_from(duration.as_nanos()).ok();
    let nanos = nanos.filter(|nanos| nanos & PAUSED_BIT == 0);
    nanos.expect("a process runs for less than 292 years")
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn the_clock_of_work_leaves_out_the_time_that_it_stood_still() {
        let clock = WorkClock::new();
        let start = system_now();
        assert_eq!(clock.now(), start);
        for round in 1..=3 {
            advance(SECOND).await;
            clock.stop(system_now());
            let shown = clock.now();
            assert_eq!(shown, start + SECOND * round);
            advance(SECOND * 100).await;
            assert_eq!(clock.now(), shown);
            clock.resume(system_now());
            assert_eq!(clock.now(), shown);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_is_waited_for_again_when_the_clock_of_work_stood_still() {
        let clock = WorkClock::new();
        let start = system_now();
        let waits = clock.until(clock.now() + SECOND * 10);
        tokio::pin!(waits);
        tokio::select! {
            biased;
            () = &mut waits => panic!("it is too early"),
            () = sleep(SECOND * 4) => {}
        }
        clock.stop(system_now());
        advance(SECOND * 100).await;
        clock.resume(system_now());
        waits.await;
        assert_eq!(system_now() - start, SECOND * 110);
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_of_the_clock_of_work_is_later_by_the_systems_clock_by_all_that_it_stood_still()
    {
        let clock = WorkClock::new();
        let deadline = clock.now() + SECOND * 10;
        assert_eq!(clock.system_time_of(deadline), deadline);
        advance(SECOND).await;
        clock.stop(system_now());
        advance(SECOND * 100).await;
        assert_eq!(clock.system_time_of(deadline), deadline + SECOND * 100);
        clock.resume(system_now());
        advance(SECOND).await;
        assert_eq!(clock.system_time_of(deadline), deadline + SECOND * 100);
        assert_eq!(clock.system_time_of(clock.now()), system_now());
    }

    #[tokio::test(start_paused = true)]
    async fn a_past_time_of_the_clock_of_work_is_later_only_by_what_it_had_stood_still_before() {
        let clock = WorkClock::new();
        let mut moments = Vec::new();
        for _ in 0..3 {
            moments.push((clock.now(), system_now()));
            advance(SECOND).await;
            moments.push((clock.now(), system_now()));
            clock.stop(system_now());
            advance(SECOND * 100).await;
            clock.resume(system_now());
            advance(SECOND).await;
        }
        moments.push((clock.now(), system_now()));
        for (shown, time) in moments {
            assert_eq!(clock.past_system_time(shown), time);
        }
    }
}
