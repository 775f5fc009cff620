//! Where the time of a job goes: what it waits for, and its attempts.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ratchet_caching::Clock;

use crate::outcome::{AttemptDetail, Attempts};
use crate::scheduling::{Blocker, Waits};
use crate::suspension::past_system_time;
use crate::timestamp::Timestamp;

/// How long a moment is told by an earlier look at the wall clock.
const WALL_CLOCK_INTERVAL: Duration = Duration::from_secs(1);

/// Tells the moments of a run by the wall clock.
///
/// It looks at the system's clock once a second at most. In between it counts on with the clock of the run, so that
/// what follows within a second is in order even if the system's clock is set.
pub(super) struct WallClock {
    clock: Arc<dyn Clock>,
    /// The last look: when it was by the system's clock that nobody sets, and what the wall clock showed, as the time since
    /// the Unix epoch.
    looked: (Instant, Duration),
}

impl WallClock {
    /// Reads both clocks once, so that each later moment of one can be told by the other.
    pub(super) fn new(clock: Arc<dyn Clock>, now: Instant) -> Self {
        let time = since_epoch(clock.now());
        Self {
            clock,
            looked: (past_system_time(now), time),
        }
    }

    /// Looks at the system's clock again if it is time.
    pub(super) fn keep(&mut self, now: Instant) {
        // The wall clock does not stand still while this process is stopped, as the clock of work does.
        let now = past_system_time(now);
        if now.saturating_duration_since(self.looked.0) >= WALL_CLOCK_INTERVAL {
            self.looked = (now, since_epoch(self.clock.now()));
        }
    }

    /// What the wall clock showed at a moment that is over.
    pub(super) fn at(&self, moment: Instant) -> Timestamp {
        let (looked, time) = self.looked;
        let moment = past_system_time(moment);
        // Every job asks twice, and nearly always for a moment since the last look.
        let time = match moment.checked_duration_since(looked) {
            Some(later) => time.saturating_add(later),
            None => time.saturating_sub(looked.saturating_duration_since(moment)),
        };
        Timestamp::since_epoch(time)
    }
}

/// The time since the Unix epoch. A clock that is set before it shows its beginning.
fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

/// What the time of a job was charged to so far. Each moment since it came is charged to what it waited for, or to an
/// attempt.
#[derive(Debug)]
pub(super) struct JobTimes {
    /// When the job came.
    pub(super) arrived: Instant,
    /// What it has waited for.
    pub(super) waits: Waits,
    /// When its first attempt began.
    pub(super) first_began: Option<Instant>,
    /// Its attempts, if there was another one than the one with which it ends.
    pub(super) several: Option<Box<Attempts>>,
    /// Up to this moment its time outside of the queue is charged.
    charged_to: Instant,
    /// How long the run had been paused by then.
    paused_before: Duration,
}

impl JobTimes {
    /// The times of a job that comes now.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            arrived: now,
            waits: Waits::default(),
            first_began: None,
            several: None,
            charged_to: now,
            // What a job waits for first are its needs, which come before a pause.
            paused_before: Duration::ZERO,
        }
    }

    /// Charges the time since the last charge to what the job waited for outside of the queue.
    pub(super) fn waited_for(&mut self, blocker: Blocker, now: Instant, paused: Duration) {
        let time = now.saturating_duration_since(self.charged_to);
        let was_paused = match blocker {
            // These come before a pause in the order of blockers.
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

    /// An attempt that was started at one moment has ended by another, and ran for a part of that time: the rest of it was
    /// the way to whoever performed it and back, which is charged to this. Says when the attempt began.
    ///
    /// One that was sent ahead may have begun before anybody heard of it, so that it ran while it was taken to wait.
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

    /// Takes note of an attempt that is not the last one.
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
        let mut wall = WallClock::new(Arc::clone(&clock) as Arc<dyn Clock>, begin);
        clock.advance(1_000 * SECOND);
        wall.keep(begin + SECOND / 2);
        assert_eq!(wall.at(begin + SECOND), Timestamp::from_system(time(1_001)));
        wall.keep(begin + SECOND);
        assert_eq!(wall.at(begin + SECOND), Timestamp::from_system(time(2_000)));
        assert_eq!(wall.at(begin), Timestamp::from_system(time(1_999)));
    }
}
