//! The clock of work: it stands still while this process and its jobs are suspended, as by Ctrl-Z.
//!
//! The system's clock goes on while a process is stopped. A timeout that is measured with it would end a job that was
//! stopped and has not worked in that time.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// A timer that rings so much too late was not late by itself: the whole process was stopped, or starved.
pub(crate) const LATE: Duration = Duration::from_millis(100);

/// How long whoever was late looks at what has ended meanwhile before it judges by the clock. What a process printed
/// while this one was stopped lies in pipes that the system tells of only now.
pub(crate) const CATCH_UP: Duration = Duration::from_millis(20);

/// Set while the clock stands still.
const STANDS: u64 = 1 << 63;

/// The clock of this process.
static CLOCK: WorkClock = WorkClock::new();

/// Now, by the clock of work: the time of tokio's clock without all the time that this process was suspended.
///
/// Deadlines of jobs are kept in this time. A deadline and `now` have to come from the same clock.
pub(crate) fn working_now() -> Instant {
    CLOCK.now()
}

/// Waits until the clock of work shows this time, or for ever where there is no such time.
///
/// If this process was stopped meanwhile, it waits a moment longer: whoever selects between this and the end of a job
/// hears of the end first.
pub(crate) async fn until(time: Option<Instant>) {
    match time {
        Some(time) => CLOCK.until(time).await,
        None => std::future::pending().await,
    }
}

/// Lets the clock of work stand still until this is dropped. There is only one at a time.
#[must_use]
pub(crate) fn stand_still() -> StandStill {
    CLOCK.stop(Instant::now());
    StandStill(())
}

/// The clock of work stands still.
#[derive(Debug)]
pub(crate) struct StandStill(());

impl Drop for StandStill {
    fn drop(&mut self) {
        CLOCK.go_on(Instant::now());
    }
}

/// A clock that can stand still.
#[derive(Debug)]
struct WorkClock {
    /// When it was first stopped. Its times are stored relative to this.
    origin: OnceLock<Instant>,
    /// While the clock goes: for how many nanoseconds it has stood still so far. While it stands still: the nanoseconds
    /// from `origin` to what it shows, and [`STANDS`]. One atomic, so that no reader sees half of a change.
    state: AtomicU64,
}

impl WorkClock {
    const fn new() -> Self {
        Self {
            origin: OnceLock::new(),
            state: AtomicU64::new(0),
        }
    }

    fn now(&self) -> Instant {
        loop {
            // Acquire: pairs with the store in `stop`, which comes after `origin` was set.
            let state = self.state.load(Ordering::Acquire);
            if state & STANDS != 0
                && let Some(origin) = self.origin.get()
            {
                return *origin + Duration::from_nanos(state & !STANDS);
            }
            let now = Instant::now();
            // The process may have been stopped and continued between the two: then the time is that of after the
            // stop, and the state that of before, and their difference would lie far ahead.
            if self.state.load(Ordering::Acquire) == state {
                return now - Duration::from_nanos(state);
            }
        }
    }

    fn stop(&self, now: Instant) {
        let origin = *self.origin.get_or_init(|| now);
        let stood_still = Duration::from_nanos(self.state.load(Ordering::Relaxed));
        let shown = now.duration_since(origin).saturating_sub(stood_still);
        self.state.store(STANDS | nanos(shown), Ordering::Release);
    }

    fn go_on(&self, now: Instant) {
        let shown = Duration::from_nanos(self.state.load(Ordering::Relaxed) & !STANDS);
        let since_origin = self.origin.get().map(|origin| now.duration_since(*origin));
        let stood_still = since_origin.unwrap_or_default().saturating_sub(shown);
        self.state.store(nanos(stood_still), Ordering::Release);
    }

    async fn until(&self, time: Instant) {
        loop {
            let left = time.saturating_duration_since(self.now());
            if left.is_zero() {
                break;
            }
            // The clock may stand still meanwhile, so it is looked at again.
            sleep(left).await;
        }
        if self.now().saturating_duration_since(time) >= LATE {
            sleep(CATCH_UP).await;
        }
    }
}

/// Nanoseconds. They last for 292 years, longer than any process.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX) & !STANDS
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn the_clock_of_work_leaves_out_the_time_that_it_stood_still() {
        let clock = WorkClock::new();
        let start = Instant::now();
        assert_eq!(clock.now(), start);
        for round in 1..=3 {
            advance(SECOND).await;
            clock.stop(Instant::now());
            let shown = clock.now();
            assert_eq!(shown, start + SECOND * round);
            advance(SECOND * 100).await;
            assert_eq!(clock.now(), shown);
            clock.go_on(Instant::now());
            assert_eq!(clock.now(), shown);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_is_waited_for_again_when_the_clock_of_work_stood_still() {
        let clock = WorkClock::new();
        let start = Instant::now();
        let waits = clock.until(clock.now() + SECOND * 10);
        tokio::pin!(waits);
        tokio::select! {
            biased;
            () = &mut waits => panic!("it is too early"),
            () = sleep(SECOND * 4) => {}
        }
        clock.stop(Instant::now());
        advance(SECOND * 100).await;
        clock.go_on(Instant::now());
        waits.await;
        assert_eq!(start.elapsed(), SECOND * 110);
    }
}
