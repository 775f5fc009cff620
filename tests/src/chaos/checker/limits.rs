//! Checks that no more attempts run at once than a limit allows.

use std::collections::{BTreeMap, HashMap};

use super::super::notes::Fact;
use super::super::plan::Named;
use super::attempts::Attempt;
use super::profile::Profile;
use super::{Evidence, Report, Rule};

/// The number of slots in profiles of limits.
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
        let all = SharedLimit {
            rule: Rule::Slots,
            name: "slots",
            profile: profile(SLOTS, slots),
        };
        let weighed = attempts
            .iter()
            .map(|attempt| (*attempt, attempt.spec.slots));
        all.check_granted(weighed.clone(), report);
        if (evidence.declared.sends_ahead)(life) {
            all.check_all(weighed, report);
        }
        greatest(evidence, life, &all.profile, report);
        numbers(evidence, life, &attempts, &all.profile, report);
        for (limit, initial) in [(Named::Db, db), (Named::Disk, disk)] {
            let named_limit = SharedLimit {
                rule: Rule::Limit,
                name: limit.name(),
                profile: profile(limit as u32, initial),
            };
            let named = attempts.iter().filter(|it| it.spec.limits.contains(&limit));
            named_limit.check_granted(named.map(|attempt| (*attempt, 1)), report);
        }
    }
    let changes = evidence.host_notes.iter();
    let changes = changes.filter(|note| matches!(note.fact, Fact::Changed(..)));
    report.figures.changes = changes.count();
}

/// The attempts that share a limit, and the values of the limit.
struct SharedLimit {
    rule: Rule,
    name: &'static str,
    profile: Profile,
}

impl SharedLimit {
    /// Checks the limit at each grant: the attempts that were granted before and had not ended hold their shares as
    /// well.
    fn check_granted<'a>(
        &self,
        members: impl Iterator<Item = (&'a Attempt, u32)>,
        report: &mut Report,
    ) {
        let granted =
            members.filter_map(|(attempt, weight)| Some((attempt.granted?, attempt, weight)));
        let mut granted: Vec<_> = granted.collect();
        granted.sort_unstable_by_key(|(grant, ..)| grant.turn);
        let mut here: Vec<(&Attempt, u32)> = Vec::new();
        for (grant, attempt, weight) in granted {
            here.retain(|(other, _)| other.until > grant.told);
            here.push((attempt, weight));
            let most = self.profile.most(grant.from, grant.told);
            self.compare(&here, most, "when this was granted", attempt, report);
        }
    }

    /// Checks the limit at each start, for lives in which jobs are sent ahead and no note has the moment of their turn.
    /// At each start, the greatest value so far is allowed.
    fn check_all<'a>(
        &self,
        members: impl Iterator<Item = (&'a Attempt, u32)>,
        report: &mut Report,
    ) {
        let mut here: Vec<(&Attempt, u32)> = Vec::new();
        for (attempt, weight) in members {
            here.retain(|(other, _)| other.until > attempt.start);
            here.push((attempt, weight));
            let most = self.profile.most(0, attempt.start);
            self.compare(&here, most, "at the start of", attempt, report);
        }
    }

    fn compare(
        &self,
        here: &[(&Attempt, u32)],
        most: u32,
        when: &str,
        attempt: &Attempt,
        report: &mut Report,
    ) {
        let held: u32 = here.iter().map(|(_, weight)| weight).sum();
        if held > most {
            let name = self.name;
            report.add(
                self.rule,
                format!("{held} of {name} of which there are {most}, {when}: {attempt}"),
            );
        }
    }
}

/// Checks that no slot number is above the number of slots: a job that starts gets the lowest numbers that are free.
fn greatest(evidence: &Evidence, life: u32, slots: &Profile, report: &mut Report) {
    let mut granted = None;
    for note in evidence.host_notes.iter().filter(|it| it.life == life) {
        match note.fact {
            Fact::Grants(job, earlier) => {
                granted = Some((job, note.at.saturating_sub(earlier.into()), note.at));
            }
            Fact::Fills(job, slot) => {
                let grant = granted.filter(|(of, ..)| *of == job);
                let Some((_, from, told)) = grant else {
                    report.add(Rule::Notes, format!("nobody let job {job} begin: {note:?}"));
                    continue;
                };
                let most = if (evidence.declared.sends_ahead)(life) {
                    // A slot that no longer exists may have passed to a job that was sent ahead.
                    slots.most(0, told)
                } else {
                    slots.most(from, told)
                };
                if slot > most {
                    report.add(
                        Rule::Slots,
                        format!("job {job} got slot {slot} of {most} at {told}"),
                    );
                }
            }
            _ => {}
        }
    }
}

/// Checks the slot numbers in the records of jobs. None is above the number of slots, and no two attempts that run at
/// once have the same.
///
/// Commands do not know which attempt they are, so they are left out.
fn numbers(
    evidence: &Evidence,
    life: u32,
    attempts: &[&Attempt],
    slots: &Profile,
    report: &mut Report,
) {
    let endings = evidence.journal.iter().filter(|it| it.life == life);
    let numbered = endings.flat_map(|ending| {
        let of_attempts = ending.slots.iter();
        of_attempts.map(|(attempt, slot)| ((ending.job, *attempt), *slot))
    });
    let numbered: HashMap<(u32, u32), u32> = numbered.collect();
    let mut holders: HashMap<u32, &Attempt> = HashMap::new();
    for attempt in attempts.iter().filter(|it| !it.spec.performer.is_command()) {
        let Some(slot) = numbered.get(&(attempt.job, attempt.number)) else {
            continue;
        };
        report.figures.slot_numbers += 1;
        let most = match attempt.granted {
            Some(grant) => slots.most(grant.from, grant.told),
            // It may have taken over a slot that no longer exists.
            None => slots.most(0, attempt.start),
        };
        if *slot > most {
            report.add(
                Rule::Slots,
                format!("slot {slot} of {most} was that of {attempt}"),
            );
        }
        let last = holders.entry(*slot).or_insert(attempt);
        if last.start < attempt.start && last.until > attempt.start {
            report.add(
                Rule::Slots,
                format!("slot {slot} was that of {attempt} and of {last} at once"),
            );
        }
        if last.until < attempt.until {
            *last = attempt;
        }
    }
}
