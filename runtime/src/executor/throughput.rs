//! Measures how fast jobs end, which decides how many are held ready.

use std::time::{Duration, Instant};

/// How many ready jobs are enough while jobs end fast. A longer queue would only leave the cache of the processor
/// before it is used.
const FAST_BATCH_JOBS: usize = 512;

/// The time in which a batch of this many jobs has to end for jobs to count as fast.
const FAST_BATCH_TIME: Duration = Duration::from_millis(20);

/// Measures how fast jobs end, so that the intake keeps only a short queue while they end fast.
///
/// While jobs are slow, the queue is as long as the window. Among many jobs there may be one for an idle host or an
/// idle kind of worker, and a short queue would show it late.
#[derive(Debug)]
pub(super) struct Throughput {
    /// When the present batch began.
    since: Instant,
    before: u64,
    /// The time until which jobs count as fast, because the last batch ended fast.
    fast_until: Option<Instant>,
}

impl Throughput {
    /// Makes the measure of a run in which no job has ended. No job counts as fast then.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: now,
            before: 0,
            fast_until: None,
        }
    }

    /// Records how many jobs have ended by now.
    pub(super) fn ended(&mut self, ended: u64, now: Instant) {
        // `ended` is counted from the begin of the run, so it never falls.
        if ended - self.before < FAST_BATCH_JOBS as u64 {
            return;
        }
        let took = now.saturating_duration_since(self.since);
        self.fast_until = (took < FAST_BATCH_TIME)
            .then(|| now.checked_add(FAST_BATCH_TIME))
            .flatten();
        (self.since, self.before) = (now, ended);
    }

    /// Returns the time until which no more jobs have to be pulled, because jobs end fast and `ready` of them could
    /// start already. `ahead` returns how many attempts can be sent ahead at most.
    pub(super) fn enough_until(
        &self,
        ready: usize,
        ahead: impl FnOnce() -> usize,
        now: Instant,
    ) -> Option<Instant> {
        let fast_until = self.fast_until.filter(|until| now < *until)?;
        // This is called for each job, and nearly always too few are ready, so `ahead` is only called when it matters.
        (ready >= FAST_BATCH_JOBS && ready >= ahead()).then_some(fast_until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_short_queue_will_do_where_it_is_gone_in_no_time() {
        let begin = begin();
        let mut throughput = Throughput::new(begin);
        assert_eq!(
            throughput.enough_until(4000, || 0, begin),
            None,
            "nothing is known"
        );
        throughput.ended(511, begin + MS);
        assert_eq!(throughput.enough_until(4000, || 0, begin + MS), None);
        throughput.ended(512, begin + 2 * MS);
        let now = begin + 3 * MS;
        assert_eq!(
            throughput.enough_until(512, || 512, now),
            Some(begin + 22 * MS)
        );
        assert_eq!(
            throughput.enough_until(511, || 0, now),
            None,
            "too few are ready"
        );
        assert_eq!(
            throughput.enough_until(600, || 601, now),
            None,
            "more may be sent"
        );
    }

    #[test]
    fn slow_jobs_have_a_long_queue() {
        let begin = begin();
        let mut throughput = Throughput::new(begin);
        throughput.ended(512, begin + 20 * MS);
        assert_eq!(throughput.enough_until(4000, || 0, begin + 20 * MS), None);
        throughput.ended(1024, begin + 39 * MS);
        assert!(
            throughput
                .enough_until(4000, || 0, begin + 39 * MS)
                .is_some()
        );
        // And those that become slow, as soon as they should have ended.
        assert_eq!(throughput.enough_until(4000, || 0, begin + 59 * MS), None);
    }
}
