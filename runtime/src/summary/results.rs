//! Questions about outcomes that somebody has collected.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ratchet_ipc::HostName;

use super::durations::rank;
use super::tally::{Tally, ran};
use super::{Counts, Summary};
use crate::outcome::{Failure, Outcome, Status};

/// Questions about a slice of outcomes, or of shared ones.
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
/// A part that failed is no reason to lose the rest:
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
    /// The outcomes themselves.
    fn outcomes(&self) -> impl Iterator<Item = &Outcome>;

    /// How many ended how.
    fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for outcome in self.outcomes() {
            counts.add(outcome.status());
        }
        counts
    }

    /// How many succeeded.
    fn count_successful(&self) -> usize {
        self.filter_successful().count()
    }

    /// How many failed, timed out or crashed.
    fn count_failed(&self) -> usize {
        self.filter_failed().count()
    }

    /// Those that succeeded.
    fn filter_successful(&self) -> impl Iterator<Item = &Outcome> {
        self.filter_by_status(Status::Succeeded)
    }

    /// Those that failed, timed out or crashed.
    fn filter_failed(&self) -> impl Iterator<Item = &Outcome> {
        self.outcomes().filter(|outcome| {
            matches!(
                outcome.status(),
                Status::Failed | Status::TimedOut | Status::Crashed
            )
        })
    }

    /// Those that ended like this.
    fn filter_by_status(&self, status: Status) -> impl Iterator<Item = &Outcome> {
        let all = self.outcomes();
        all.filter(move |outcome| outcome.status() == status)
    }

    /// Those of one host.
    fn filter_by_host(&self, host: &str) -> impl Iterator<Item = &Outcome> {
        self.outcomes().filter(move |outcome| {
            let own = outcome.host.as_ref();
            own.is_some_and(|own| own.as_str() == host)
        })
    }

    /// All by host, those without one left out.
    fn by_host(&self) -> BTreeMap<&str, Vec<&Outcome>> {
        group(self.outcomes(), |outcome| {
            outcome.host.as_ref().map(HostName::as_str)
        })
    }

    /// All by what they did.
    fn by_task(&self) -> BTreeMap<&str, Vec<&Outcome>> {
        group(self.outcomes(), |outcome| Some(outcome.task.as_str()))
    }

    /// All by how they ended.
    fn by_status(&self) -> BTreeMap<Status, Vec<&Outcome>> {
        group(self.outcomes(), |outcome| Some(outcome.status()))
    }

    /// How long those that ran did so on average; nothing if none ran.
    fn average_duration(&self) -> Option<Duration> {
        let times = run_times(self.outcomes());
        let sum: u128 = times.iter().map(Duration::as_nanos).sum();
        let average = sum.checked_div(times.len() as u128)?;
        Some(Duration::from_nanos(
            u64::try_from(average).unwrap_or(u64::MAX),
        ))
    }

    /// How long the quickest ran; nothing if none did.
    fn min_duration(&self) -> Option<Duration> {
        run_times(self.outcomes()).into_iter().min()
    }

    /// How long the slowest ran; nothing if none did.
    fn max_duration(&self) -> Option<Duration> {
        run_times(self.outcomes()).into_iter().max()
    }

    /// What so many of a hundred of those that ran did not exceed, exactly; nothing if none did.
    fn percentile_duration(&self, percent: f64) -> Option<Duration> {
        let mut times = run_times(self.outcomes());
        let place = usize::try_from(rank(percent, times.len() as u64)?).ok()? - 1;
        let (_, found, _) = times.select_nth_unstable(place);
        Some(*found)
    }

    /// How many of a hundred succeeded; 0 of none.
    fn success_rate(&self) -> f64 {
        self.counts().success_rate()
    }

    /// How many of a hundred failed, timed out or crashed; 0 of none.
    fn failure_rate(&self) -> f64 {
        self.counts().failure_rate()
    }

    /// Whether anything did not succeed, cancelled and skipped jobs included.
    fn has_errors(&self) -> bool {
        !self.all_successful()
    }

    /// Whether everything succeeded, which is so of nothing, too.
    fn all_successful(&self) -> bool {
        self.outcomes().all(Outcome::is_success)
    }

    /// All that did not succeed, and why.
    fn errors(&self) -> impl Iterator<Item = (&Outcome, &Failure)> {
        let all = self.outcomes();
        all.filter_map(|outcome| Some((outcome, outcome.failure()?)))
    }

    /// The hosts that occur.
    fn host_names(&self) -> BTreeSet<&str> {
        let all = self.outcomes();
        all.filter_map(|outcome| outcome.host.as_ref())
            .map(HostName::as_str)
            .collect()
    }

    /// What came of them in this time. The peak of concurrency and restarts of workers cannot be told from
    /// outcomes and stay 0.
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

/// How long those ran that did.
fn run_times<'a>(outcomes: impl Iterator<Item = &'a Outcome>) -> Vec<Duration> {
    let ran = outcomes.filter(|outcome| ran(outcome));
    ran.map(|outcome| outcome.duration).collect()
}
