//! The times of a job: what it waited for, and its attempts.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ratchet_caching::Clock;

use crate::outcome::{AttemptDetail, Attempts};
use crate::scheduling::{Blocker, Waits};
use crate::suspension::past_system_time;
use crate::timestamp::Timestamp;

/// How long a reading of the wall clock is used before it is read again.
const WALL_CLOCK_INTERVAL: Duration = Duration::from_secs(1);

/// Converts moments of a run into times of day.
///
/// It reads the wall clock at most once a second and counts on with the clock of the run in between. So times within a
/// second are in order even if somebody sets the wall clock.
pub(super) struct WallClock {
    clock: Arc<dyn Clock>,
    /// The last reading: its moment by the monotonic clock of the system, and what the wall clock showed, as the time
    /// since the Unix epoch.
    looked: (Instant, Duration),
}

impl WallClock {
    /// Makes a clock from a first reading: a moment of the clock of work, and the time of day at that moment.
    pub(super) fn new(clock: Arc<dyn Clock>, (now, time_of_day): (Instant, SystemTime)) -> Self {
        Self {
            clock,
            looked: (past_system_time(now), since_epoch(time_of_day)),
        }
    }

    /// Reads the wall clock again if that is due.
    pub(super) fn refresh(&mut self, now: Instant) {
        // Unlike the clock of work, the wall clock does not stand still while this process is stopped.
        let now = past_system_time(now);
        if now.saturating_duration_since(self.looked.0) >= WALL_CLOCK_INTERVAL {
            self.looked = (now, since_epoch(self.clock.now()));
        }
    }

    /// Returns what the wall clock showed at a past moment.
    pub(super) fn at(&self, moment: Instant) -> Timestamp {
        let (looked, time) = self.looked;
        let moment = past_system_time(moment);
        // This is called twice for every job, nearly always for a moment after the last reading.
        let time = match moment.checked_duration_since(looked) {
            Some(later) => time.saturating_add(later),
            None => time.saturating_sub(looked.saturating_duration_since(moment)),
        };
        Timestamp::since_epoch(time)
    }
}

/// Returns the time since the Unix epoch. A clock that is set to an earlier time counts as showing the epoch.
fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

/// The times of a job so far. Each moment since its arrival is charged once: to a blocker, or to an attempt.
#[derive(Debug)]
pub(super) struct JobTimes {
    /// When the job arrived.
    pub(super) arrived: Instant,
    /// How long the job has waited for each blocker.
    pub(super) waits: Waits,
    /// When its first attempt began.
    pub(super) first_began: Option<Instant>,
    /// The attempts of the job, if there was one before the last one.
    pub(super) several: Option<Box<Attempts>>,
    /// The moment up to which its time outside of the queue is charged.
    charged_to: Instant,
    /// How long the run had been paused in all at that moment.
    paused_before: Duration,
}

impl JobTimes {
    /// Returns the moment at which the jobs that it needs had succeeded: from then on it waits for its turn, whatever
    /// else it lacks.
    pub(super) fn needs_met(&self) -> Instant {
        self.arrived + self.waits.of(&Blocker::Needs)
    }

    /// Returns the moment by which the job has to have started, if it may wait for so long. The time in which it waits
    /// for its needs does not count.
    pub(super) fn start_deadline(&self, limit: Option<Duration>) -> Option<Instant> {
        // A limit beyond the range of the clock never passes.
        limit.and_then(|limit| self.needs_met().checked_add(limit))
    }

    /// Makes the times of a job that arrives now.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            arrived: now,
            waits: Waits::default(),
            first_began: None,
            several: None,
            charged_to: now,
            // The first charge of a job is for its needs, which leaves pauses out, so this value is not used before it
            // is set.
            paused_before: Duration::ZERO,
        }
    }

    /// Charges the time since the last charge to what the job waited for outside of the queue.
    pub(super) fn waited_for(&mut self, blocker: Blocker, now: Instant, paused: Duration) {
        let time = now.saturating_duration_since(self.charged_to);
        let was_paused = match blocker {
            // These blockers come before a pause in the order of blockers.
            Blocker::Needs | Blocker::Retry => Duration::ZERO,
            _ => time.min(paused.saturating_sub(self.paused_before)),
        };
        self.waits.add(Blocker::Paused, was_paused);
        self.waits.add(blocker, time.saturating_sub(was_paused));
        self.skip_to(now, paused);
    }

    /// Charges nothing for the time until now, because the scheduler has charged it while the job was queued.
    pub(super) fn skip_to(&mut self, now: Instant, paused: Duration) {
        self.charged_to = now;
        self.paused_before = paused;
    }

    /// Charges an attempt that was started at `started`, has ended by `now`, and ran for `ran`. The rest of that time
    /// was its way to the performer and back, which is charged to `way`. Returns when the attempt began.
    ///
    /// An attempt that was sent ahead may have begun before the loop heard of it. Then it ran while its job was charged
    /// for waiting, and that wait is taken back.
    pub(super) fn attempt_ended(
        &mut self,
        started: Instant,
        ran: Duration,
        way: Blocker,
        now: Instant,
    ) -> Instant {
        let taken = now.saturating_duration_since(started);
        let began = if let Some(on_the_way) = taken.checked_sub(ran) {
            self.waits.add(way, on_the_way);
            started
        } else {
            self.waits.take_back(ran.saturating_sub(taken));
            now.checked_sub(ran).unwrap_or(started)
        };
        self.first_began.get_or_insert(began);
        began
    }

    /// Adds an attempt that is not the last one.
    pub(super) fn push(&mut self, attempt: AttemptDetail) {
        self.several.get_or_insert_default().push(attempt);
    }

    /// Returns how long all attempts ran together, given how long the last one ran.
    pub(super) fn ran(&self, last: Duration) -> Duration {
        match &self.several {
            Some(several) => several.duration(),
            None => last,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_pause_is_charged_before_what_a_job_waits_for_besides_and_after_its_needs() {
        let begin = tokio::time::Instant::now().into_std();
        let mut times = JobTimes::new(begin);
        times.waited_for(Blocker::Needs, begin + 2 * SECOND, 2 * SECOND);
        times.waited_for(Blocker::Cache, begin + 5 * SECOND, 3 * SECOND);
        assert_eq!(times.waits.of(&Blocker::Needs), 2 * SECOND);
        assert_eq!(times.waits.of(&Blocker::Paused), SECOND);
        assert_eq!(times.waits.of(&Blocker::Cache), 2 * SECOND);
        assert_eq!(times.waits.total(), 5 * SECOND);
    }

    #[test]
    fn the_way_to_a_worker_is_waiting_and_what_ran_before_anybody_heard_of_it_is_not() {
        let begin = tokio::time::Instant::now().into_std();
        let mut times = JobTimes::new(begin);
        times.waits.add(Blocker::Worker, 4 * SECOND);
        let (started, now) = (begin + 4 * SECOND, begin + 7 * SECOND);
        let ran_from = times.attempt_ended(started, 2 * SECOND, Blocker::Worker, now);
        assert_eq!((ran_from, times.waits.total()), (started, 5 * SECOND));

        let mut times = JobTimes::new(begin);
        times.waits.add(Blocker::Worker, 4 * SECOND);
        let ran_from = times.attempt_ended(started, 5 * SECOND, Blocker::Worker, now);
        assert_eq!(
            (ran_from, times.waits.total()),
            (begin + 2 * SECOND, 2 * SECOND)
        );
    }

    #[test]
    fn the_wall_clock_is_looked_at_once_a_second_and_counts_on_in_between() {
        let begin = tokio::time::Instant::now().into_std();
        let time = |seconds| SystemTime::UNIX_EPOCH + seconds * SECOND;
        let clock = Arc::new(ratchet_caching::ManualClock::at(time(1_000)));
        let first = (begin, clock.now());
        let mut wall = WallClock::new(Arc::clone(&clock) as Arc<dyn Clock>, first);
        clock.advance(1_000 * SECOND);
        wall.refresh(begin + SECOND / 2);
        assert_eq!(wall.at(begin + SECOND), Timestamp::from_system(time(1_001)));
        wall.refresh(begin + SECOND);
        assert_eq!(wall.at(begin + SECOND), Timestamp::from_system(time(2_000)));
        assert_eq!(wall.at(begin), Timestamp::from_system(time(1_999)));
    }
}
