//! The breakers of a run: which attempts may start, and which jobs ask again when a breaker changes.
//!
//! Each kind of worker with a breaker has one for its jobs without a host and one for each host. A host that is down so
//! stops neither the other hosts nor the jobs without one.
//!
//! The loop asks before an attempt takes any claim, tells how each attempt ended, and asks once more for the jobs that
//! were refused whenever a breaker has changed.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant, SystemTime};

use ratchet_ipc::HostName;
use ratchet_resilience::Rng;
use ratchet_resilience::circuit_breaker::{
    CallOutcome, CircuitBreaker, Permit, State, TransitionCause,
};

use crate::breaker::{BreakerConfig, BreakerReport, BreakerState};
use crate::ids::KindId;
use crate::ids::Ticket;
use crate::outcome::{Class, Failure};
use crate::suspension::past_system_time;
use crate::table::Table;

/// How long a job waits whose breaker cannot tell when to ask again: in practice, until the breaker changes.
const NO_TIME: Duration = Duration::from_hours(365 * 24);

/// How much is kept of what a failure says.
const LONGEST_MESSAGE: usize = 200;

/// Why an attempt may not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    /// When to ask again. A change of the breaker comes first where it can.
    pub(super) retry_at: Instant,
    /// The job fails instead of waiting.
    pub(super) fails: bool,
}

/// The breakers of a run.
pub(super) struct Breakers {
    /// The breakers of each kind, by its number; none for kinds without a breaker.
    kinds: Vec<Option<KindBreakers>>,
    /// The permits of attempts that run.
    running: Table<Ticket, RunningPermit>,
    /// Jobs that were refused, and that may be admitted since a breaker has changed.
    released: BTreeSet<Ticket>,
    /// One report for each breaker that has opened, in the order of the first opening.
    reports: Vec<BreakerReport>,
    /// The indices of the reports that have changed since they were last taken.
    changed: Vec<usize>,
    /// The same moment by the run's clock and by the wall clock.
    began: (Instant, SystemTime),
    /// The seed of the breakers' jitter, for tests; none in real runs, which are random.
    seed: Option<u64>,
    /// How many breakers were made, so that each gets a seed of its own.
    made: u64,
}

/// The breakers of a kind of worker.
struct KindBreakers {
    name: String,
    config: BreakerConfig,
    /// The breaker of jobs without a host.
    without_host: Option<BreakerEntry>,
    /// The breaker of each host that a job names. One without jobs and without failures is removed.
    hosts: HashMap<HostName, BreakerEntry>,
}

/// A breaker, and the jobs that it has refused.
struct BreakerEntry {
    breaker: CircuitBreaker,
    /// Jobs that are queued or run.
    jobs: u32,
    /// The jobs that it has refused, and that wait for it.
    refused: BTreeSet<Ticket>,
    /// The generation of the latest change of state that was noticed.
    seen: u64,
    /// When it opened, if it is open or half-open.
    open_since: Option<Instant>,
    /// What the last failed attempt failed with.
    failure: Option<String>,
    /// The index of its report, once it has opened.
    report: Option<usize>,
}

/// The permit of an attempt that runs, and whose breaker gave it.
struct RunningPermit {
    permit: Permit,
    kind: KindId,
    host: Option<HostName>,
}

impl Breakers {
    /// The breakers for these kinds of workers, by their numbers.
    pub(super) fn new(
        kinds: Vec<(String, Option<BreakerConfig>)>,
        began: (Instant, SystemTime),
        seed: Option<u64>,
    ) -> Self {
        let kinds = kinds.into_iter().map(|(name, config)| {
            config.map(|config| KindBreakers {
                name,
                config,
                without_host: None,
                hosts: HashMap::new(),
            })
        });
        Self {
            kinds: kinds.collect(),
            running: Table::default(),
            released: BTreeSet::new(),
            reports: Vec::new(),
            changed: Vec::new(),
            began,
            seed,
            made: 0,
        }
    }

    /// Whether a kind has breakers, so that its attempts have to ask before they start.
    pub(super) fn has_breaker(&self, kind: KindId) -> bool {
        self.kinds
            .get(usize::from(kind.0))
            .is_some_and(Option::is_some)
    }

    /// Counts a job that is queued now, and makes its breaker if there is none.
    pub(super) fn arrived(&mut self, kind: KindId, host: Option<&HostName>) {
        let Some(Some(breakers)) = self.kinds.get_mut(usize::from(kind.0)) else {
            return;
        };
        if let Some(entry) = breakers.find_entry(host) {
            entry.jobs += 1;
            return;
        }
        let rng = match self.seed {
            // Breakers with the same jitter would all ask again at once.
            Some(seed) => Rng::seeded(seed.wrapping_add(self.made)),
            None => Rng::new(),
        };
        self.made += 1;
        #[expect(
            clippy::expect_used,
            reason = "the settings were checked when the executor was built"
        )]
        let breaker = breakers
            .config
            .build(rng)
            .expect("checked settings make a breaker");
        let entry = BreakerEntry {
            breaker,
            jobs: 1,
            refused: BTreeSet::new(),
            seen: 0,
            open_since: None,
            failure: None,
            report: None,
        };
        match host {
            Some(host) => _ = breakers.hosts.insert(host.clone(), entry),
            None => breakers.without_host = Some(entry),
        }
    }

    /// Takes out a job that has left the queue, for whatever reason.
    pub(super) fn left(
        &mut self,
        ticket: Ticket,
        kind: KindId,
        host: Option<&HostName>,
        now: Instant,
    ) {
        if !self.has_breaker(kind) {
            return;
        }
        self.returned(ticket, now);
        self.released.remove(&ticket);
        let Some(Some(breakers)) = self.kinds.get_mut(usize::from(kind.0)) else {
            return;
        };
        let Some(entry) = breakers.find_entry(host) else {
            return;
        };
        entry.refused.remove(&ticket);
        entry.jobs -= 1;
        // Hosts come and go. A breaker goes with the last job of its host, unless it knows something against the host.
        if let (Some(host), 0) = (host, entry.jobs) {
            let known = entry.breaker.snapshot(now);
            if known.state == State::Closed && known.failures == 0 {
                breakers.hosts.remove(host);
            }
        }
    }

    /// Asks whether an attempt may start, which then has to start now.
    pub(super) fn admit(
        &mut self,
        ticket: Ticket,
        kind: KindId,
        host: Option<&HostName>,
        now: Instant,
    ) -> Result<(), Refusal> {
        let Some(Some(breakers)) = self.kinds.get_mut(usize::from(kind.0)) else {
            return Ok(());
        };
        let fails = breakers.config.reject;
        let entry = breakers.entry(host);
        let answer = entry.breaker.try_acquire(now);
        let result = match answer {
            Ok(permit) => {
                entry.refused.remove(&ticket);
                let host = host.cloned();
                self.running
                    .insert(ticket, RunningPermit { permit, kind, host });
                Ok(())
            }
            Err(rejection) => {
                if !fails {
                    entry.refused.insert(ticket);
                }
                let far = || now.checked_add(NO_TIME).unwrap_or(now);
                Err(Refusal {
                    retry_at: rejection.retry_at().unwrap_or_else(far),
                    fails,
                })
            }
        };
        self.notice(kind, host, now);
        if result.is_ok() {
            self.released.remove(&ticket);
        }
        result
    }

    /// Records that an attempt has ended.
    pub(super) fn ended(&mut self, ticket: Ticket, failure: Option<&Failure>, now: Instant) {
        let Some(RunningPermit { permit, kind, host }) = self.running.remove(&ticket) else {
            return;
        };
        let outcome = call_outcome(failure);
        let Some(Some(breakers)) = self.kinds.get_mut(usize::from(kind.0)) else {
            return;
        };
        let entry = breakers.entry(host.as_ref());
        if let (Some(failure), CallOutcome::Failure) = (failure, outcome) {
            entry.failure = Some(excerpt(failure));
        }
        let frees_a_probe = permit.is_probe() && outcome == CallOutcome::Ignored;
        permit.record(outcome, now);
        if frees_a_probe {
            self.released.append(&mut entry.refused);
        }
        self.notice(kind, host.as_ref(), now);
    }

    /// Gives back the permit of an attempt that did not begin, or whose end will not be reported.
    pub(super) fn returned(&mut self, ticket: Ticket, now: Instant) {
        let Some(RunningPermit { permit, kind, host }) = self.running.remove(&ticket) else {
            return;
        };
        let frees_a_probe = permit.is_probe();
        drop(permit);
        let Some(Some(breakers)) = self.kinds.get_mut(usize::from(kind.0)) else {
            return;
        };
        if frees_a_probe {
            let entry = breakers.entry(host.as_ref());
            self.released.append(&mut entry.refused);
        }
        self.notice(kind, host.as_ref(), now);
    }

    /// Says whether jobs that were refused may be admitted now.
    pub(super) fn has_released(&self) -> bool {
        !self.released.is_empty()
    }

    /// The jobs that were refused and may be admitted now.
    pub(super) fn take_released(&mut self) -> BTreeSet<Ticket> {
        std::mem::take(&mut self.released)
    }

    /// The reports of the breakers that have changed since they were taken last.
    pub(super) fn take_changed(&mut self) -> Vec<BreakerReport> {
        let changed = std::mem::take(&mut self.changed);
        changed
            .into_iter()
            .map(|number| self.reports[number].clone())
            .collect()
    }

    /// Returns the reports of all breakers that have opened so far.
    pub(super) fn reports(&self, now: Instant) -> Vec<BreakerReport> {
        let mut reports = self.reports.clone();
        let entries = self.kinds.iter().flatten().flat_map(KindBreakers::entries);
        for entry in entries {
            if let (Some(number), Some(since)) = (entry.report, entry.open_since) {
                reports[number].open_ms += millis(now.saturating_duration_since(since));
            }
        }
        reports
    }

    /// Why jobs of a kind are refused, for the failure of one that does not wait.
    pub(super) fn why_refused(&self, kind: KindId, host: Option<&HostName>) -> String {
        let known = self.kinds.get(usize::from(kind.0)).and_then(Option::as_ref);
        let Some(breakers) = known else {
            return "a breaker refused it".to_owned();
        };
        let entry = match host {
            Some(host) => breakers.hosts.get(host),
            None => breakers.without_host.as_ref(),
        };
        let on = host.map_or_else(String::new, |host| format!(" on {host}"));
        let (name, report) = (&breakers.name, entry.and_then(|entry| entry.report));
        match report {
            Some(number) => format!(
                "the breaker of {name}{on} is open: {}",
                self.reports[number].reason
            ),
            None => format!("the breaker of {name}{on} is open"),
        }
    }

    /// Takes note of the latest change of a breaker, and has the jobs that it refused ask again.
    fn notice(&mut self, kind: KindId, host: Option<&HostName>, now: Instant) {
        let Some(Some(breakers)) = self.kinds.get_mut(usize::from(kind.0)) else {
            return;
        };
        let name = &breakers.name;
        let entry = match host {
            Some(host) => breakers.hosts.get_mut(host),
            None => breakers.without_host.as_mut(),
        };
        let Some(entry) = entry else { return };
        // Each call of a breaker makes one change at most, so none is missed.
        let last = entry.breaker.last_transition();
        let Some(transition) = last.filter(|last| last.generation > entry.seen) else {
            return;
        };
        entry.seen = transition.generation;
        self.released.append(&mut entry.refused);
        let state = state(transition.to);
        let opens = matches!(transition.to, State::Open { .. });
        let reason = opens.then(|| reason(transition.cause, entry.failure.as_deref()));
        let number = *entry.report.get_or_insert_with(|| {
            let number = self.reports.len();
            let (began, at) = self.began;
            // The time of day does not stand still while everything is suspended.
            let since = past_system_time(now).saturating_duration_since(past_system_time(began));
            let at = at.checked_add(since);
            let at = at.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
            self.reports.push(BreakerReport {
                name: name.clone(),
                host: host.cloned(),
                state,
                reason: String::new(),
                opened: 0,
                open_ms: 0,
                first_opened_at_ms: at.map_or(0, millis),
            });
            number
        });
        let report = &mut self.reports[number];
        report.state = state;
        // What a failed probe says is no new reason: the outage began before it.
        if let Some(reason) = reason {
            report.opened += 1;
            if transition.cause != TransitionCause::ProbeFailed || report.reason.is_empty() {
                report.reason = reason;
            }
        }
        let is_open = matches!(state, BreakerState::Open | BreakerState::HalfOpen);
        match (is_open, entry.open_since) {
            (true, None) => entry.open_since = Some(now),
            (false, Some(since)) => {
                entry.open_since = None;
                report.open_ms += millis(now.saturating_duration_since(since));
            }
            (true, Some(_)) | (false, None) => {}
        }
        self.changed.push(number);
    }
}

impl KindBreakers {
    fn find_entry(&mut self, host: Option<&HostName>) -> Option<&mut BreakerEntry> {
        match host {
            Some(host) => self.hosts.get_mut(host),
            None => self.without_host.as_mut(),
        }
    }

    /// The breaker of a job that has arrived and has not left.
    fn entry(&mut self, host: Option<&HostName>) -> &mut BreakerEntry {
        #[expect(
            clippy::expect_used,
            reason = "the loop tells of a job's arrival before it asks about the job"
        )]
        self.find_entry(host)
            .expect("a job that has arrived has its breaker")
    }

    fn entries(&self) -> impl Iterator<Item = &BreakerEntry> {
        self.hosts.values().chain(&self.without_host)
    }
}

/// Returns what the end of an attempt tells its breaker: nothing if the job itself was wrong or was cancelled.
fn call_outcome(failure: Option<&Failure>) -> CallOutcome {
    let Some(failure) = failure else {
        return CallOutcome::Success;
    };
    match failure.class {
        Class::Cancelled | Class::Need | Class::Input | Class::TooLarge | Class::Breaker => {
            CallOutcome::Ignored
        }
        Class::Task | Class::Exit if !failure.retryable => CallOutcome::Ignored,
        Class::Task
        | Class::Exit
        | Class::Timeout
        | Class::Crash
        | Class::Poison
        | Class::Memory
        | Class::Spawn
        | Class::Protocol
        | Class::Host
        | Class::Unreachable
        | Class::Transfer => CallOutcome::Failure,
    }
}

fn state(state: State) -> BreakerState {
    match state {
        State::Closed | State::ForcedClosed => BreakerState::Closed,
        State::Open { .. } | State::ForcedOpen => BreakerState::Open,
        State::HalfOpen => BreakerState::HalfOpen,
        State::Ramping { .. } => BreakerState::Ramping,
    }
}

/// Which rule opened a breaker, and what the last failed attempt said.
fn reason(cause: TransitionCause, failure: Option<&str>) -> String {
    let rule = match cause {
        TransitionCause::FailureRate => "too many attempts failed",
        TransitionCause::ConsecutiveFailures => "too many attempts failed in a row",
        TransitionCause::SlowRate => return "too many attempts were slow".to_owned(),
        TransitionCause::ProbeFailed => "a probe failed",
        other => return other.to_string(),
    };
    match failure {
        Some(failure) => format!("{rule}; {failure}"),
        None => rule.to_owned(),
    }
}

/// The first line of what a failure says.
fn excerpt(failure: &Failure) -> String {
    let said = format!("{}: {failure}", failure.class);
    let line = said.lines().next().unwrap_or_default();
    match line.char_indices().nth(LONGEST_MESSAGE) {
        Some((end, _)) => format!("{}..", &line[..end]),
        None => line.to_owned(),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
