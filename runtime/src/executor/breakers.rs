//! The breakers of a run decide which attempts may start, and which refused jobs ask again after a breaker has changed.
//!
//! Each kind of worker with a breaker has one for its jobs without a host and one for each host. So a host that is down
//! stops neither the jobs of other hosts nor those without a host.
//!
//! The loop asks the breaker before an attempt takes any claim, and reports how each attempt ended. Whenever a breaker
//! has changed, the loop asks again for the jobs that the breaker had refused.

/// Returns the breakers of a kind of which one was asked. They are made before the first job and never removed.
#[expect(
    clippy::expect_used,
    reason = "only a kind with breakers gives out permits, and its breakers stay"
)]
fn asked(kinds: &mut [Option<KindBreakers>], kind: KindId) -> &mut KindBreakers {
    let breakers = kinds.get_mut(usize::from(kind.0)).and_then(Option::as_mut);
    breakers.expect("a breaker that was asked belongs to a kind with breakers")
}

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

/// How long a job waits if its breaker cannot tell when to ask again. It is so long that in practice the job waits
/// until the breaker changes.
const NO_TIME: Duration = Duration::from_hours(365 * 24);

/// How many characters of a failure are kept for the report of a breaker.
const LONGEST_MESSAGE: usize = 200;

/// The answer of a breaker that does not admit an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    /// When to ask again. If the breaker changes before that, the job is asked for again at once.
    pub(super) retry_at: Instant,
    /// Whether the job fails instead of waiting.
    pub(super) fails: bool,
}

/// All breakers of a run, and the permits that they have given.
pub(super) struct Breakers {
    /// The breakers of each kind, by its number; none for kinds without a breaker.
    kinds: Vec<Option<KindBreakers>>,
    /// The permits of attempts that run.
    running: Table<Ticket, RunningPermit>,
    /// Jobs that were refused, and that have to ask again because a breaker has changed since.
    released: BTreeSet<Ticket>,
    /// One report for each breaker that has opened, in the order of the first opening.
    reports: Vec<BreakerReport>,
    /// The indices of the reports that have changed since they were last taken.
    changed: Vec<usize>,
    /// The begin of the run, by the clock of work and by the wall clock.
    began: (Instant, SystemTime),
    /// The seed of the breakers' jitter, which tests set. Without a seed the jitter is random.
    seed: Option<u64>,
    /// How many breakers were made. It is added to the seed, so that each breaker gets a seed of its own.
    made: u64,
}

/// The breakers of a kind of worker.
struct KindBreakers {
    name: String,
    config: BreakerConfig,
    /// The breaker of jobs without a host.
    without_host: Option<BreakerEntry>,
    /// The breaker of each host that a job names. A breaker without jobs and without failures is removed.
    hosts: HashMap<HostName, BreakerEntry>,
}

/// A breaker, its jobs, and what its report needs.
struct BreakerEntry {
    breaker: CircuitBreaker,
    /// How many jobs of this breaker are queued or run.
    jobs: u32,
    /// The jobs that the breaker has refused and that wait for it.
    refused: BTreeSet<Ticket>,
    /// The generation of the latest change of state that [`Breakers::notice`] has handled.
    seen: u64,
    /// When the breaker opened, if it is open or half-open.
    open_since: Option<Instant>,
    /// The first line of the last failure that the breaker counted.
    failure: Option<String>,
    /// The index of the breaker's report, if it has opened before.
    report: Option<usize>,
}

/// The permit of a running attempt, and the breaker to which the permit belongs.
struct RunningPermit {
    permit: Permit,
    kind: KindId,
    host: Option<HostName>,
}

impl Breakers {
    /// Makes the breakers for these kinds of workers, given in the order of their numbers.
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

    /// Counts a job that was queued, and makes its breaker if there is none.
    pub(super) fn arrived(&mut self, kind: KindId, host: Option<&HostName>) {
        let Some(Some(breakers)) = self.kinds.get_mut(usize::from(kind.0)) else {
            return;
        };
        if let Some(entry) = breakers.find_entry(host) {
            entry.jobs += 1;
            return;
        }
        let rng = match self.seed {
            // Each breaker gets its own seed. With the same jitter, all would probe at the same moment.
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

    /// Removes a job that has left the queue, for whatever reason.
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
        // The breaker of a host is removed with the host's last job, or the map would grow with every host ever named.
        // A breaker that has counted failures stays, because the next job of the host needs it.
        if let (Some(host), 0) = (host, entry.jobs) {
            let known = entry.breaker.snapshot(now);
            if known.state == State::Closed && known.failures == 0 {
                breakers.hosts.remove(host);
            }
        }
    }

    /// Asks whether an attempt may start. If it is admitted, the caller has to start it now, because it holds a permit.
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
        self.handle_change(kind, host, now);
        if result.is_ok() {
            self.released.remove(&ticket);
        }
        result
    }

    /// Records that an attempt has ended, with its failure if it failed.
    pub(super) fn ended(&mut self, ticket: Ticket, failure: Option<&Failure>, now: Instant) {
        let Some(RunningPermit { permit, kind, host }) = self.running.remove(&ticket) else {
            return;
        };
        let outcome = call_outcome(failure);
        let breakers = asked(&mut self.kinds, kind);
        let entry = breakers.entry(host.as_ref());
        if let (Some(failure), CallOutcome::Failure) = (failure, outcome) {
            entry.failure = Some(excerpt(failure));
        }
        let frees_a_probe = permit.is_probe() && outcome == CallOutcome::Ignored;
        permit.record(outcome, now);
        if frees_a_probe {
            self.released.append(&mut entry.refused);
        }
        self.handle_change(kind, host.as_ref(), now);
    }

    /// Returns the permit of an attempt that did not begin, or whose end will not be reported.
    pub(super) fn returned(&mut self, ticket: Ticket, now: Instant) {
        let Some(RunningPermit { permit, kind, host }) = self.running.remove(&ticket) else {
            return;
        };
        let frees_a_probe = permit.is_probe();
        drop(permit);
        let breakers = asked(&mut self.kinds, kind);
        if frees_a_probe {
            let entry = breakers.entry(host.as_ref());
            self.released.append(&mut entry.refused);
        }
        self.handle_change(kind, host.as_ref(), now);
    }

    /// Whether there are refused jobs that have to ask again.
    pub(super) fn has_released(&self) -> bool {
        !self.released.is_empty()
    }

    /// Takes the refused jobs that have to ask again.
    pub(super) fn take_released(&mut self) -> BTreeSet<Ticket> {
        std::mem::take(&mut self.released)
    }

    /// Takes the reports of the breakers that have changed since the last call.
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

    /// Describes why jobs of a kind are refused. It is the failure of a job that does not wait.
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

    /// Handles the latest change of a breaker: updates its report, and has the jobs that it refused ask again.
    fn handle_change(&mut self, kind: KindId, host: Option<&HostName>, now: Instant) {
        let breakers = asked(&mut self.kinds, kind);
        let name = &breakers.name;
        let entry = match host {
            Some(host) => breakers.hosts.get_mut(host),
            None => breakers.without_host.as_mut(),
        };
        let Some(entry) = entry else { return };
        // Each call of a breaker changes its state once at most, and `notice` follows each call, so no change is
        // missed.
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
            // `now` and `began` are times of the clock of work, which stands still during suspensions. The time of day
            // does not.
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
        // A failed probe gives no new reason, because the outage began before it.
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

    /// Returns the breaker of a job that has arrived and has not left.
    fn entry(&mut self, host: Option<&HostName>) -> &mut BreakerEntry {
        #[expect(
            clippy::expect_used,
            reason = "the loop reports the arrival of a job before it asks about the job"
        )]
        self.find_entry(host)
            .expect("a job that has arrived has its breaker")
    }

    fn entries(&self) -> impl Iterator<Item = &BreakerEntry> {
        self.hosts.values().chain(&self.without_host)
    }
}

/// Returns what the end of an attempt means for its breaker. A failure for which the job itself is to blame, or its
/// cancellation, is ignored.
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

/// Describes which rule opened a breaker, and how the last attempt failed.
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

/// Returns the first line of a failure, shortened to [`LONGEST_MESSAGE`].
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
