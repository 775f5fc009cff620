//! Answers questions about outcomes that a caller has collected.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ratchet_ipc::HostName;

use super::durations::rank;
use super::tally::{Tally, ran};
use super::{Counts, Summary};
use crate::outcome::{Failure, Outcome, Status};

/// Methods that filter, group and count a slice of outcomes, or of `Arc`s or `Box`es of outcomes.
///
/// ```
/// use std::time::Duration;
/// use ratchet_runtime::summary::Results;
/// use ratchet_runtime::{Class, Failure, Outcome, Payload, Status};
///
/// let outcome = |id: &str, host: &str, result| Outcome {
///     host: Some(host.into()),
///     attempts: 1,
///     duration: Duration::from_millis(20),
///     ..Outcome::new(id, "ping", result)
/// };
/// let refused = Failure::new(Class::Task, "connection refused");
/// let outcomes = [
///     outcome("a", "web1", Ok(Payload::null())),
///     outcome("b", "web2", Err(refused)),
/// ];
///
/// assert_eq!(outcomes.success_rate(), 50.0);
/// assert!(outcomes.has_errors());
/// for (failed, why) in outcomes.errors() {
///     println!("{} on {}: {why}", failed.id, failed.host.as_ref().unwrap());
/// }
/// assert_eq!(outcomes.by_host()["web1"].len(), 1);
/// assert_eq!(outcomes.host_names().into_iter().collect::<Vec<_>>(), ["web1", "web2"]);
/// ```
///
/// If some jobs failed, the results of the others are still there:
///
/// ```
/// use std::time::Duration;
/// use ratchet_runtime::summary::Results;
/// use ratchet_runtime::{Class, Executor, Failure, Job, Payload};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pods = |cluster: &'static str| {
///     Job::closure(cluster, move |_| async move {
///         match cluster {
///             "staging" => Err(Failure::new(Class::Task, "no route to the cluster")),
///             _ => Ok(Payload::from_value(&12).expect("a number is JSON")),
///         }
///     })
///     .on_host(cluster)
/// };
/// let executor = Executor::builder().build()?;
/// let outcomes = executor.run_all(["prod-us-east", "prod-eu-west", "staging"].map(pods)).await?;
///
/// if outcomes.has_errors() {
///     for failed in outcomes.filter_failed() {
///         eprintln!("{} failed: {}", failed.id, failed.failure().unwrap());
///     }
/// }
/// let mut pods = 0;
/// for done in outcomes.filter_successful() {
///     pods += done.result.as_ref().unwrap().read::<u32>()?;
/// }
/// assert_eq!(pods, 24);
///
/// let summary = outcomes.summarize(Duration::from_secs(1));
/// assert_eq!((summary.total, summary.counts.succeeded, summary.counts.failed), (3, 2, 1));
/// assert_eq!(format!("{:.1}%", summary.success_rate), "66.7%");
/// # Ok(())
/// # }
/// ```
pub trait Results {
    /// Returns the outcomes themselves.
    fn outcomes(&self) -> impl Iterator<Item = &Outcome>;

    /// Returns the number of jobs that ended with each status.
    fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for outcome in self.outcomes() {
            counts.add(outcome.status());
        }
        counts
    }

    /// Returns the number of jobs that succeeded.
    fn count_successful(&self) -> usize {
        self.filter_successful().count()
    }

    /// Returns the number of jobs that failed, timed out or crashed.
    fn count_failed(&self) -> usize {
        self.filter_failed().count()
    }

    /// Returns the outcomes of jobs that succeeded.
    fn filter_successful(&self) -> impl Iterator<Item = &Outcome> {
        self.filter_by_status(Status::Succeeded)
    }

    /// Returns the outcomes of jobs that failed, timed out or crashed.
    fn filter_failed(&self) -> impl Iterator<Item = &Outcome> {
        self.outcomes().filter(|outcome| {
            matches!(
                outcome.status(),
                Status::Failed | Status::TimedOut | Status::Crashed
            )
        })
    }

    /// Returns the outcomes with this status.
    fn filter_by_status(&self, status: Status) -> impl Iterator<Item = &Outcome> {
        let all = self.outcomes();
        all.filter(move |outcome| outcome.status() == status)
    }

    /// Returns the outcomes of jobs that named this host.
    fn filter_by_host(&self, host: &str) -> impl Iterator<Item = &Outcome> {
        self.outcomes().filter(move |outcome| {
            let own = outcome.host.as_ref();
            own.is_some_and(|own| own.as_str() == host)
        })
    }

    /// Groups the outcomes by host. Those of jobs that named none are left out.
    fn by_host(&self) -> BTreeMap<&str, Vec<&Outcome>> {
        group(self.outcomes(), |outcome| {
            outcome.host.as_ref().map(HostName::as_str)
        })
    }

    /// Groups the outcomes by the name of their task.
    fn by_task(&self) -> BTreeMap<&str, Vec<&Outcome>> {
        group(self.outcomes(), |outcome| Some(outcome.task.as_str()))
    }

    /// Groups the outcomes by status.
    fn by_status(&self) -> BTreeMap<Status, Vec<&Outcome>> {
        group(self.outcomes(), |outcome| Some(outcome.status()))
    }

    /// Returns the average run time of the jobs that ran, or `None` if no job ran.
    fn average_duration(&self) -> Option<Duration> {
        let times = run_times(self.outcomes());
        let sum: u128 = times.iter().map(Duration::as_nanos).sum();
        let average = sum.checked_div(times.len() as u128)?;
        Some(Duration::from_nanos(
            u64::try_from(average).unwrap_or(u64::MAX),
        ))
    }

    /// Returns the shortest run time, or `None` if no job ran.
    fn min_duration(&self) -> Option<Duration> {
        run_times(self.outcomes()).into_iter().min()
    }

    /// Returns the longest run time, or `None` if no job ran.
    fn max_duration(&self) -> Option<Duration> {
        run_times(self.outcomes()).into_iter().max()
    }

    /// Returns the exact run time that this many percent of the jobs that ran did not exceed, or `None` if no job ran.
    fn percentile_duration(&self, percent: f64) -> Option<Duration> {
        let mut times = run_times(self.outcomes());
        let place = usize::try_from(rank(percent, times.len() as u64)?).ok()? - 1;
        let (_, found, _) = times.select_nth_unstable(place);
        Some(*found)
    }

    /// Returns the share of jobs that succeeded, in percent; 0 if there are no outcomes.
    fn success_rate(&self) -> f64 {
        self.counts().success_rate()
    }

    /// Returns the share of jobs that failed, timed out or crashed, in percent; 0 if there are no outcomes.
    fn failure_rate(&self) -> f64 {
        self.counts().failure_rate()
    }

    /// Whether any job did not succeed. Cancelled and skipped jobs count as well.
    fn has_errors(&self) -> bool {
        !self.all_successful()
    }

    /// Whether all jobs succeeded. It is true if there are no outcomes.
    fn all_successful(&self) -> bool {
        self.outcomes().all(Outcome::is_success)
    }

    /// Returns the outcomes of jobs that did not succeed, each with its failure.
    fn errors(&self) -> impl Iterator<Item = (&Outcome, &Failure)> {
        let all = self.outcomes();
        all.filter_map(|outcome| Some((outcome, outcome.failure()?)))
    }

    /// Returns the hosts that these jobs named.
    fn host_names(&self) -> BTreeSet<&str> {
        let all = self.outcomes();
        all.filter_map(|outcome| outcome.host.as_ref())
            .map(HostName::as_str)
            .collect()
    }

    /// Returns the figures of these outcomes, for a run that took this long. The peak of concurrency and the number of
    /// restarts do not follow from outcomes and stay 0.
    fn summarize(&self, elapsed: Duration) -> Summary {
        let mut tally = Tally::default();
        for outcome in self.outcomes() {
            tally.record(outcome);
        }
        tally.summary(elapsed)
    }
}

impl<T: Borrow<Outcome>> Results for [T] {
    fn outcomes(&self) -> impl Iterator<Item = &Outcome> {
        self.iter().map(Borrow::borrow)
    }
}

fn group<'a, K: Ord>(
    outcomes: impl Iterator<Item = &'a Outcome>,
    key: impl Fn(&'a Outcome) -> Option<K>,
) -> BTreeMap<K, Vec<&'a Outcome>> {
    let mut groups: BTreeMap<K, Vec<&Outcome>> = BTreeMap::new();
    for outcome in outcomes {
        if let Some(key) = key(outcome) {
            groups.entry(key).or_default().push(outcome);
        }
    }
    groups
}

/// Returns the run times of the jobs that ran.
fn run_times<'a>(outcomes: impl Iterator<Item = &'a Outcome>) -> Vec<Duration> {
    let ran = outcomes.filter(|outcome| ran(outcome));
    ran.map(|outcome| outcome.duration).collect()
}
