//! Executors that are told what becomes of a kind.

use std::time::{Duration, Instant};

use ratchet_ipc::Profile;

use super::{Listener, Repertoire, Roster, filters};
use crate::executor::crew::{Introduction, Prospect, Report};
use crate::executor::reporter::Reporter;
use crate::scheduling::{Kind, ParallelizationHint};
use crate::worker::orders::Order;

/// How long executors have to say that what has just ended was the last.
const HEED: Duration = Duration::from_millis(2);

impl Roster {
    /// An executor is gone, and nobody wants its attempts any more.
    pub(in crate::process::supervisor) fn abandon(&mut self, executor: &Reporter) {
        self.listeners
            .retain(|listener| !listener.reporter.is(executor));
        self.pending.retain(|work| !work.is_of(executor));
        self.sum_up();
        for member in self.members.iter().filter(|member| member.state.jobs() > 0) {
            member.order(Order::Abandon(executor.clone()));
        }
    }

    /// An executor says what it has left.
    pub(in crate::process::supervisor) fn expect(&mut self, executor: u64, prospect: Prospect) {
        for listener in &mut self.listeners {
            if listener.reporter.number() == executor {
                listener.prospect = prospect;
            }
        }
        self.sum_up();
    }

    /// The number of the one executor that there is. Several are sent nothing ahead: what one may send would have to
    /// follow what the others have sent.
    pub(super) fn only_executor(&self) -> Option<u64> {
        match self.listeners.as_slice() {
            [only] => Some(only.reporter.number()),
            _ => None,
        }
    }

    /// Who is gone has nothing left, and what was killed stays so until somebody else comes.
    fn sum_up(&mut self) {
        let before = match self.prospect {
            Prospect::Open { .. } | Prospect::Last | Prospect::Over => Prospect::Over,
            Prospect::Killed => Prospect::Killed,
        };
        let prospects = self.listeners.iter().map(|listener| listener.prospect);
        self.prospect = prospects.fold(before, Prospect::and);
        self.tell_filters();
    }

    /// Whether nobody needs a worker: it was only executors who did, and they have nothing left.
    pub(super) fn rests(&self) -> bool {
        !self.called && !matches!(self.prospect, Prospect::Open { .. })
    }

    /// Something has ended, of which its executor hears at the same time.
    pub(super) fn heed(&mut self, now: Instant) {
        self.heeds_until = self.heeds_until.or(now.checked_add(HEED));
    }

    /// Whether an executor may be about to say that nothing is left.
    pub(super) fn heeds(&mut self, now: Instant) -> bool {
        self.heeds_until = self.heeds_until.filter(|until| *until > now);
        self.heeds_until.is_some() && !self.called && self.prospect.waiting() == 0
    }

    /// Tells executors how many attempts the kind takes, where that has changed.
    pub(in crate::process::supervisor) fn announce(&mut self) {
        let mut places = 0_u32;
        let mut ahead = 0_u32;
        let only = self.only_executor();
        for member in &self.members {
            if member.takes_work() && !member.leased {
                let takes = member.concurrency;
                // What workers say of themselves can be any number.
                places = places.saturating_add(takes);
                if member.is_all_of(only) {
                    let wanted = filters::ahead(member, &self.config, &self.estimate);
                    ahead = ahead.saturating_add(wanted);
                }
            } else if !member.leased {
                places = places.saturating_add(member.running());
            }
        }
        if (places, ahead) != self.announced {
            self.edition += u64::from(places != self.announced.0);
            self.announced = (places, ahead);
            let edition = self.edition;
            self.tell(|kind| Report::Places {
                kind,
                places,
                ahead,
                edition,
            });
            // Whoever sent it knows better by now.
            self.return_outdated();
        }
    }

    /// Takes on a listener, and tells it where things stand.
    pub(in crate::process::supervisor) fn greet(&mut self, listener: Listener) {
        let Listener { reporter, kind, .. } = &listener;
        let kind = *kind;
        let (places, ahead) = self.announced;
        reporter.tell(Report::Places {
            kind,
            places,
            ahead,
            edition: self.edition,
        });
        if let Some(repertoire) = &self.repertoire {
            reporter.tell(repertoire.clone().told(kind));
        }
        if let Some(failure) = &self.broken {
            let failure = failure.clone();
            reporter.tell(Report::Broken { kind, failure });
        }
        self.listeners.retain(|other| !other.reporter.is_closed());
        self.listeners.push(listener);
        self.sum_up();
    }

    pub(in crate::process::supervisor) fn tell(&self, report: impl Fn(Kind) -> Report) {
        for listener in &self.listeners {
            listener.reporter.tell(report(listener.kind));
        }
    }
}

impl Repertoire {
    /// As an executor hears it, by the name that it has for the kind.
    pub(super) fn told(self, kind: Kind) -> Report {
        let Self { version, tasks } = self;
        Report::Introduced {
            kind,
            version,
            tasks,
        }
    }
}

pub(super) fn repertoire(profile: &Profile) -> Repertoire {
    let introductions = profile.tasks.iter().flatten();
    let introductions = introductions.map(|(task, declaration)| Introduction {
        task: task.clone(),
        hint: declaration.hint.as_ref().map(|hint| {
            hint.read::<ParallelizationHint>()
                .map_err(|error| error.to_string())
        }),
        cacheable: declaration.cacheable,
    });
    Repertoire {
        version: profile.worker_version.clone(),
        tasks: profile.tasks.is_some().then(|| introductions.collect()),
    }
}
