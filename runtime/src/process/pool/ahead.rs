//! Decides how many attempts to send ahead to a worker of a pool.

use std::time::Duration;

use crate::worker::config::{PoolConfig, Prefetch, WorkerProtocol};

/// How much work may wait in a worker's pipe: enough to cover a round trip many times over, and so little that the
/// delay of a job is not noticeable.
const BUDGET: Duration = Duration::from_millis(2);

/// The highest number of attempts that are sent ahead. A larger number would not hide the round trip any better.
const MOST: u32 = 256;

/// The highest number of attempts that are sent ahead to a worker that cannot be asked to give them back.
const MAX_WITHOUT_RECALL: u32 = 4;

/// The longest duration of jobs that are sent ahead to a worker that cannot be asked to give them back.
const LONGEST_WITHOUT_RECALL: Duration = Duration::from_micros(500);

/// The weight of the latest jobs in the estimate.
const WEIGHT: f64 = 0.2;

/// The running estimate of how long the jobs of a kind take.
#[derive(Debug, Default)]
pub(in crate::process) struct Estimate(Option<f64>);

impl Estimate {
    /// Records that this many jobs took this long in total.
    pub(in crate::process) fn record_throughput(&mut self, jobs: u32, busy: Duration) {
        if jobs == 0 {
            return;
        }
        let each = busy.as_secs_f64() / f64::from(jobs);
        let known = self.0.unwrap_or(each);
        self.0 = Some(known + WEIGHT * (each - known));
    }

    /// Returns how many jobs to send ahead to a worker, beyond those that it works on.
    pub(in crate::process) fn ahead(
        &self,
        config: &PoolConfig,
        concurrency: u32,
        gives_back: bool,
    ) -> u32 {
        match (config.prefetch, config.language) {
            (Prefetch::Fixed(ahead), _) => ahead,
            // A filter and a Bazel worker cannot be asked to give anything back. An MCP server begins with each request
            // as it arrives.
            (
                Prefetch::Auto,
                WorkerProtocol::Lines { .. }
                | WorkerProtocol::Mcp
                | WorkerProtocol::BazelJson { .. },
            ) => 0,
            // A worker that works on several attempts at once hides the round trip that way.
            (Prefetch::Auto, WorkerProtocol::Native) if concurrency > 1 => 0,
            (Prefetch::Auto, WorkerProtocol::Native) => self.within_budget(gives_back),
        }
    }

    /// Returns how many jobs of the estimated length fit into the budget.
    fn within_budget(&self, gives_back: bool) -> u32 {
        let Some(each) = self.0 else { return 0 };
        if !gives_back && each > LONGEST_WITHOUT_RECALL.as_secs_f64() {
            return 0;
        }
        let most = if gives_back { MOST } else { MAX_WITHOUT_RECALL };
        let fits = BUDGET.as_secs_f64() / each.max(1e-9);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and MOST"
        )]
        let fits = fits.min(f64::from(most)) as u32;
        // The number is rounded down to a power of two, so that not every job changes it.
        fits.checked_ilog2().map_or(0, |power| 1 << power)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::ProcessConfig;

    fn ahead(jobs: &[(u32, Duration)], prefetch: Prefetch, gives_back: bool) -> u32 {
        let config = PoolConfig {
            prefetch,
            ..PoolConfig::new("x", ProcessConfig::new("x"))
        };
        let mut estimate = Estimate::default();
        for (count, busy) in jobs {
            estimate.record_throughput(*count, *busy);
        }
        estimate.ahead(&config, 1, gives_back)
    }

    #[test]
    fn nothing_is_sent_ahead_before_anything_is_known() {
        assert_eq!(ahead(&[], Prefetch::Auto, true), 0);
        assert_eq!(ahead(&[], Prefetch::Fixed(7), true), 7);
    }

    #[test]
    fn short_jobs_are_sent_ahead_and_long_ones_are_not() {
        for (each, expected) in [(1, 256), (20, 64), (300, 4), (1_000, 2), (3_000, 0)] {
            let jobs = [(10, Duration::from_micros(10 * each))];
            assert_eq!(ahead(&jobs, Prefetch::Auto, true), expected, "{each} us");
        }
        for (each, expected) in [(1, 4), (400, 4), (600, 0)] {
            let jobs = [(10, Duration::from_micros(10 * each))];
            assert_eq!(ahead(&jobs, Prefetch::Auto, false), expected, "{each} us");
        }
    }

    #[test]
    fn one_long_job_among_short_ones_is_noticed_at_once() {
        let short = (100, Duration::from_micros(100));
        let long = (1, Duration::from_secs(1));
        assert_eq!(ahead(&[short, short, long], Prefetch::Auto, true), 0);
        let jobs: Vec<_> = [long].into_iter().chain([short; 60]).collect();
        assert!(ahead(&jobs, Prefetch::Auto, true) > 64);
    }

    #[test]
    fn filters_and_concurrent_workers_are_sent_nothing_ahead_by_default() {
        let mut config = PoolConfig::new("x", ProcessConfig::new("x"));
        let mut estimate = Estimate::default();
        estimate.record_throughput(1, Duration::from_micros(1));
        assert_eq!(estimate.ahead(&config, 2, true), 0);
        config.language = WorkerProtocol::Lines {
            input: ratchet_ipc::LineFormat::Text,
            output: ratchet_ipc::LineFormat::Text,
        };
        assert_eq!(estimate.ahead(&config, 1, true), 0);
        config.prefetch = Prefetch::Fixed(3);
        assert_eq!(estimate.ahead(&config, 1, true), 3);
    }
}
