//! Checks that no more attempts run at once than a limit allows.

use std::collections::BTreeMap;

use super::super::plan::Named;
use super::attempts::Attempt;
use super::profile::Profile;
use super::{Evidence, Report, Rule};

/// The number that stands for slots in profiles of limits.
const SLOTS: u32 = 0;

/// Checks the slots and each named limit, life by life.
pub(super) fn check(evidence: &Evidence, attempts: &[Attempt], report: &mut Report) {
    let mut lives: BTreeMap<u32, Vec<&Attempt>> = BTreeMap::new();
    for attempt in attempts {
        lives.entry(attempt.life).or_default().push(attempt);
    }
    let [slots, db, disk] = evidence.declared.most;
    for (life, attempts) in lives {
        let profile = |limit: u32, initial| Profile::of(&evidence.host_notes, life, limit, initial);
        let ahead = (evidence.declared.sends_ahead)(life);
        let all = SharedLimit {
            rule: Rule::Slots,
            name: "slots",
            profile: profile(SLOTS, slots),
            any_time: ahead,
        };
        all.check(
            attempts
                .iter()
                .map(|attempt| (*attempt, attempt.spec.slots)),
            report,
        );
        for (limit, initial) in [(Named::Db, db), (Named::Disk, disk)] {
            let crowd = SharedLimit {
                rule: Rule::Limit,
                name: limit.name(),
                profile: profile(limit as u32, initial),
                any_time: false,
            };
            let named = attempts.iter().filter(|it| it.spec.limits.contains(&limit));
            crowd.check(named.map(|attempt| (*attempt, 1)), report);
        }
    }
    let changes = evidence.host_notes.iter();
    let changes =
        changes.filter(|note| matches!(note.fact, super::super::notes::Fact::Changed(..)));
    report.figures.changes = changes.count();
}

/// The attempts that share a limit, and how high the limit was.
struct SharedLimit {
    rule: Rule,
    name: &'static str,
    profile: Profile,
    /// Whether it is unknown when each of them was dispatched, so that the limit may have been any that ever held.
    any_time: bool,
}

impl SharedLimit {
    fn check<'a>(&self, members: impl Iterator<Item = (&'a Attempt, u32)>, report: &mut Report) {
        let mut here: Vec<(&Attempt, u32)> = Vec::new();
        for (attempt, weight) in members {
            here.retain(|(other, _)| other.until > attempt.start);
            here.push((attempt, weight));
            let held: u32 = here.iter().map(|(_, weight)| weight).sum();
            let granted = here.iter().map(|(other, _)| other.not_before()).max();
            let from = granted.filter(|_| !self.any_time).unwrap_or_default();
            let most = self.profile.most(from, attempt.start);
            if held > most {
                report.add(
                    self.rule,
                    format!(
                        "{held} of {} at the start of {attempt}, which is {most}",
                        self.name
                    ),
                );
            }
        }
    }
}
