//! Breakers before kinds of workers and hosts.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ratchet_ipc::HostName;
use ratchet_resilience::circuit_breaker::{
    CallOutcome, CircuitBreaker, CircuitBreakerBuilder, Permit, State,
};

use crate::job::Job;
use crate::outcome::{Class, Failure};
use crate::scheduling::Kind;

/// When a breaker that was forced open is asked again: it cannot say when somebody will close it.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Makes the breakers of a scope, all alike.
pub(super) type MakeBreaker = Arc<dyn Fn() -> CircuitBreakerBuilder + Send + Sync>;

/// The right to make one attempt, from each breaker before it.
#[derive(Debug)]
pub(super) struct Admission {
    kind: Option<(Kind, Permit)>,
    host: Option<(HostName, Permit)>,
}

/// Whether an attempt may start.
#[derive(Debug)]
pub(super) enum Verdict {
    /// No breaker is before it.
    Free,
    Admitted(Admission),
    Rejected {
        until: Instant,
    },
}

struct Host {
    breaker: CircuitBreaker,
    /// How many jobs there are for it.
    jobs: u32,
}

/// Whose breaker it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Side {
    Kind,
    Host,
}

/// The breakers of a run.
pub(super) struct Breakers {
    for_kinds: Option<MakeBreaker>,
    for_hosts: Option<MakeBreaker>,
    kinds: HashMap<Kind, (String, CircuitBreaker)>,
    hosts: HashMap<HostName, Host>,
    /// The states that were told last, of those that are not closed; a host may be called as a kind is.
    told: HashMap<(Side, String), &'static str>,
    news: Vec<(String, &'static str)>,
}

impl Breakers {
    pub(super) fn new(for_kinds: Option<MakeBreaker>, for_hosts: Option<MakeBreaker>) -> Self {
        Self {
            for_kinds,
            for_hosts,
            kinds: HashMap::new(),
            hosts: HashMap::new(),
            told: HashMap::new(),
            news: Vec::new(),
        }
    }

    /// Whether any attempt has to ask.
    pub(super) fn is_empty(&self) -> bool {
        self.for_kinds.is_none() && self.for_hosts.is_none()
    }

    /// A job is queued.
    pub(super) fn arrived(&mut self, job: &Job) {
        let (Some(make), Some(host)) = (&self.for_hosts, &job.host) else {
            return;
        };
        if let Some(known) = self.hosts.get_mut(host) {
            known.jobs += 1;
        } else if let Ok(breaker) = make().build() {
            // Settings were checked when the executor was built.
            self.hosts.insert(host.clone(), Host { breaker, jobs: 1 });
        }
    }

    /// A job has left. What is known of a host goes with its last job, unless it speaks against it.
    pub(super) fn left(&mut self, job: &Job, now: Instant) {
        let (Some(_), Some(name)) = (&self.for_hosts, &job.host) else {
            return;
        };
        let Some(host) = self.hosts.get_mut(name) else {
            return;
        };
        host.jobs = host.jobs.saturating_sub(1);
        if host.jobs == 0 {
            let known = host.breaker.snapshot(now);
            if known.state == State::Closed && known.failures == 0 {
                self.hosts.remove(name);
            }
        }
    }

    /// Asks every breaker before a job; `name` is that of its kind.
    pub(super) fn admit(&mut self, job: &Job, kind: Kind, name: &str, now: Instant) -> Verdict {
        if self.is_empty() {
            return Verdict::Free;
        }
        let mut admission = Admission {
            kind: None,
            host: None,
        };
        if let Some(make) = &self.for_kinds {
            if !self.kinds.contains_key(&kind)
                && let Ok(breaker) = make().build()
            {
                self.kinds.insert(kind, (name.to_owned(), breaker));
            }
            if let Some((_, breaker)) = self.kinds.get(&kind) {
                let answer = breaker.try_acquire(now);
                self.note_kind(kind);
                match answer {
                    Ok(permit) => admission.kind = Some((kind, permit)),
                    Err(rejection) => return rejected(rejection.retry_at(), now),
                }
            }
        }
        if let Some(name) = &job.host
            && let Some(host) = self.hosts.get(name)
        {
            let answer = host.breaker.try_acquire(now);
            self.note_host(name);
            match answer {
                Ok(permit) => admission.host = Some((name.clone(), permit)),
                Err(rejection) => return rejected(rejection.retry_at(), now),
            }
        }
        Verdict::Admitted(admission)
    }

    /// An attempt has ended.
    pub(super) fn record(&mut self, admission: Admission, failure: Option<&Failure>, now: Instant) {
        let outcome = judge(failure);
        if let Some((kind, permit)) = admission.kind {
            permit.record(outcome, now);
            self.note_kind(kind);
        }
        if let Some((host, permit)) = admission.host {
            permit.record(outcome, now);
            self.note_host(&host);
        }
    }

    /// The breakers whose state has changed, by the names of what they are before.
    pub(super) fn news(&mut self) -> Vec<(String, &'static str)> {
        std::mem::take(&mut self.news)
    }

    fn note(&mut self, side: Side, name: String, state: State) {
        let word = word(state);
        let key = (side, name);
        let told = self.told.get(&key).copied().unwrap_or("closed");
        if word == told {
            return;
        }
        self.news.push((key.1.clone(), word));
        if word == "closed" {
            self.told.remove(&key);
        } else {
            self.told.insert(key, word);
        }
    }

    fn note_kind(&mut self, kind: Kind) {
        if let Some((name, breaker)) = self.kinds.get(&kind) {
            let (name, state) = (name.clone(), breaker.state());
            self.note(Side::Kind, name, state);
        }
    }

    fn note_host(&mut self, name: &HostName) {
        if let Some(host) = self.hosts.get(name) {
            let state = host.breaker.state();
            self.note(Side::Host, name.to_string(), state);
        }
    }
}

fn rejected(until: Option<Instant>, now: Instant) -> Verdict {
    let later = now.checked_add(ASK_AGAIN).unwrap_or(now);
    // A probe may come back before its lease ends, but never at once: no turn may follow itself.
    let until = until.filter(|until| *until > now).unwrap_or(later);
    Verdict::Rejected { until }
}

/// What speaks against the other side: not what the job got wrong, and not that nobody wanted it any more.
fn judge(failure: Option<&Failure>) -> CallOutcome {
    match failure {
        None => CallOutcome::Success,
        Some(failure) => match failure.class {
            Class::Cancelled | Class::Need | Class::Input | Class::TooLarge | Class::Breaker => {
                CallOutcome::Ignored
            }
            Class::Task | Class::Exit if !failure.retryable => CallOutcome::Ignored,
            _ => CallOutcome::Failure,
        },
    }
}

fn word(state: State) -> &'static str {
    match state {
        State::Closed | State::Ramping { .. } | State::ForcedClosed => "closed",
        State::Open { .. } | State::ForcedOpen => "open",
        State::HalfOpen => "half_open",
    }
}
