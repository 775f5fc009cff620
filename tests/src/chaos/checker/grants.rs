//! Checks that each attempt began by a grant, and that grants were used in their order.

use std::collections::{BTreeMap, HashMap};

use super::super::notes::Fact;
use super::super::plan::{Claim, JobSpec, Performer};
use super::attempts::Attempt;
use super::{Evidence, Report, Rule};

/// A grant: the host's permission for an attempt to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grant {
    /// The earliest time at which it can have been given.
    pub(super) from: u64,
    /// When the host noted it, which was before the attempt was sent.
    pub(super) told: u64,
    /// How many grants had been given before.
    pub(super) turn: usize,
}

/// All grants that hosts noted, by life and job.
pub(super) struct Grants(HashMap<(u32, u32), Vec<Grant>>);

impl Grants {
    /// Reads all grants from the notes of the hosts.
    pub(super) fn read(evidence: &Evidence) -> Self {
        let mut grants: HashMap<(u32, u32), Vec<Grant>> = HashMap::new();
        for (turn, note) in evidence.host_notes.iter().enumerate() {
            if let Fact::Grants(job, earlier) = note.fact {
                grants.entry((note.life, job)).or_default().push(Grant {
                    from: note.at.saturating_sub(earlier.into()),
                    told: note.at,
                    turn,
                });
            }
        }
        Self(grants)
    }

    /// Returns the grant by which an attempt at a job began. A job may have several, because a worker can return an
    /// attempt, which is then granted again.
    pub(super) fn before(&self, life: u32, job: u32, start: u64) -> Option<Grant> {
        let grants = self.0.get(&(life, job))?;
        let mut earlier = grants.iter().filter(|grant| grant.told < start);
        earlier.next_back().copied()
    }
}

/// Whether a job may be sent to a busy worker before its turn. Then no grant shows when its turn comes.
pub(super) fn may_go_ahead(evidence: &Evidence, life: u32, spec: &JobSpec) -> bool {
    (evidence.declared.sends_ahead)(life)
        && spec.claim == Claim::Nothing
        && spec.limits.is_empty()
        && spec.devices == 0
        && !spec.performer.is_command()
}

/// Checks that each attempt began by a grant of its own, in the order of the grants.
pub(super) fn check(evidence: &Evidence, attempts: &[Attempt], report: &mut Report) {
    let of_workers = attempts.iter().filter(|it| !it.spec.performer.is_command());
    let early = of_workers.filter_map(|attempt| {
        let granted = attempt.granted?.from;
        attempt.free.checked_sub(granted).filter(|by| *by > 0)
    });
    report.figures.early = early.fold((0, 0), |(count, most), by| (count + 1, most.max(by)));
    let mut pools: BTreeMap<(u32, Performer), Vec<(Grant, &Attempt)>> = BTreeMap::new();
    for attempt in attempts {
        match attempt.granted {
            // The attempt of a command has a process of its own, so no other grant could be used for it.
            Some(_) if attempt.spec.performer.is_command() => {}
            Some(grant) => {
                let pool = (attempt.life, attempt.spec.performer);
                pools.entry(pool).or_default().push((grant, attempt));
            }
            None if may_go_ahead(evidence, attempt.life, &attempt.spec) => {}
            None => report.add(Rule::Granted, format!("nobody let {attempt} begin")),
        }
    }
    for pool in pools.values_mut() {
        pool.sort_unstable_by_key(|(grant, _)| std::cmp::Reverse(grant.turn));
        let mut first: Option<&Attempt> = None;
        for (grant, attempt) in pool {
            if let Some(later) = first.filter(|later| later.start < attempt.free) {
                report.add(
                    Rule::Granted,
                    format!(
                        "{attempt} was granted at {} and got a worker at {}, after {later}",
                        grant.from, attempt.free
                    ),
                );
            }
            if first.is_none_or(|first| attempt.start < first.start) {
                first = Some(attempt);
            }
        }
    }
}
