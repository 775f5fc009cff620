//! Decides from the notes of a soak over hosts whether every promise was kept.
//!
//! An attempt runs at least from its first note to its last one, wherever it was killed. So two attempts that overlap
//! by their notes did overlap, and no clock of ratchet is trusted.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use super::HERE;
use super::plan::{self, Claim, HostPlan, Where};
use crate::chaos::checker::write_violations;
use crate::chaos::notes::{Fact, Note};
use crate::chaos::{Rule, Violation};

/// The result of a check of the notes of a soak over hosts.
#[derive(Debug, Default)]
pub struct HostReport {
    /// The promises that were broken.
    pub(super) violations: Vec<Violation>,
    jobs: u32,
    attempts: usize,
    /// How many attempts ran on another host.
    remote: usize,
    /// How many attempts were killed.
    vanished: usize,
    /// How many times each disturbance was done to a host.
    pub(super) deeds: BTreeMap<&'static str, u32>,
    pub(super) lives: u32,
}

impl HostReport {
    /// Whether every promise was kept.
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    pub(super) fn add(&mut self, rule: Rule, what: String) {
        self.violations.push(Violation::new(rule, what));
    }
}

impl fmt::Display for HostReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            jobs,
            attempts,
            remote,
            vanished,
            lives,
            ..
        } = self;
        writeln!(f, "{jobs} jobs in {lives} lives of the dispatcher")?;
        writeln!(
            f,
            "{attempts} attempts, {remote} of them on other hosts, {vanished} killed"
        )?;
        for (deed, count) in &self.deeds {
            writeln!(f, "{count} times {deed}")?;
        }
        write_violations(&self.violations, f)
    }
}

/// An attempt, according to its own notes.
#[derive(Debug, Clone)]
struct Attempt {
    job: u32,
    host: u32,
    life: u32,
    process: u32,
    start: u64,
    /// The time until which it ran at least.
    until: u64,
    /// The devices of its place that it had.
    devices: Vec<u32>,
    end: Option<Fact>,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            job,
            host,
            life,
            process,
            start,
            until,
            ..
        } = self;
        write!(
            f,
            "job {job} on host {host} (life {life}, process {process}, {start}..{until})"
        )
    }
}

/// Checks the notes of attempts, and those of the dispatcher about outcomes.
pub(super) fn check(plan: HostPlan, worker_notes: &[Note], host_notes: &[Note]) -> HostReport {
    let mut report = HostReport {
        jobs: plan.plan.jobs,
        ..HostReport::default()
    };
    let attempts = read(worker_notes, &mut report);
    report.attempts = attempts.len();
    report.remote = attempts.iter().filter(|one| one.host != HERE).count();
    report.vanished = attempts.iter().filter(|one| one.end.is_none()).count();
    let groups = |group: fn(&HostPlan, &Attempt) -> Option<u32>| {
        let mut groups: BTreeMap<u32, Vec<Attempt>> = BTreeMap::new();
        for attempt in &attempts {
            if let Some(group) = group(&plan, attempt) {
                groups.entry(group).or_default().push(attempt.clone());
            }
        }
        groups.into_values().collect::<Vec<_>>()
    };
    let slots = usize::try_from(plan::SLOTS).unwrap_or(usize::MAX);
    for (rule, most, groups) in [
        (Rule::Twice, 1, groups(|_, attempt| Some(attempt.job))),
        (
            Rule::Host,
            1,
            groups(|plan, attempt| match plan.job(attempt.job).claim {
                Claim::Concern(concern) => Some(concern),
                _ => None,
            }),
        ),
        (
            Rule::Global,
            1,
            groups(|plan, attempt| (plan.job(attempt.job).claim == Claim::Global).then_some(0)),
        ),
        (
            Rule::Limit,
            plan::DB,
            groups(|plan, attempt| (plan.job(attempt.job).claim == Claim::Db).then_some(0)),
        ),
        (Rule::Slots, slots, groups(|_, attempt| Some(attempt.host))),
    ] {
        for group in groups {
            check_overlaps(rule, most, &group, &mut report);
        }
    }
    check_devices(plan, &attempts, &mut report);
    for attempt in &attempts {
        if let Where::At(host) = plan.job(attempt.job).place
            && host != attempt.host
        {
            report.add(
                Rule::Granted,
                format!("{attempt} may run only on host {host}"),
            );
        }
    }
    check_outcomes(plan, &attempts, host_notes, &mut report);
    report
}

/// Collects the notes of each attempt.
fn read(notes: &[Note], report: &mut HostReport) -> Vec<Attempt> {
    let mut running: HashMap<(u32, u32), Attempt> = HashMap::new();
    let mut ended = Vec::new();
    for note in notes {
        let key = (note.life, note.process);
        if let Fact::Starts(job, host) = note.fact {
            let attempt = Attempt {
                job,
                host,
                life: note.life,
                process: note.process,
                start: note.at,
                until: note.at,
                devices: Vec::new(),
                end: None,
            };
            // The system reuses the id of a process that is gone.
            ended.extend(running.insert(key, attempt));
            continue;
        }
        let Some(attempt) = running
            .get_mut(&key)
            .filter(|attempt| attempt.end.is_none())
        else {
            report.add(Rule::Notes, format!("by nobody who runs: {note:?}"));
            continue;
        };
        attempt.until = note.at;
        if let Fact::Has(_, device) = note.fact {
            attempt.devices.push(device);
        }
        if matches!(note.fact, Fact::Done(..) | Fact::Fails(..)) {
            attempt.end = Some(note.fact);
        }
    }
    ended.extend(running.into_values());
    ended.sort_unstable_by_key(|attempt| attempt.start);
    ended
}

/// Checks that each attempt had as many devices as its job takes, and that no two had the same one of their place at
/// once.
fn check_devices(plan: HostPlan, attempts: &[Attempt], report: &mut HostReport) {
    let mut holders: BTreeMap<(u32, u32), Vec<Attempt>> = BTreeMap::new();
    for attempt in attempts {
        let devices: BTreeSet<u32> = attempt.devices.iter().copied().collect();
        let wanted = usize::try_from(plan.job(attempt.job).devices).unwrap_or(usize::MAX);
        let are_known = devices.iter().all(|device| *device < plan::DEVICES);
        // An attempt that was killed may have noted only some of them.
        let is_cut = attempt.end.is_none() && devices.len() < wanted;
        if !are_known || (devices.len() != wanted && !is_cut) {
            let had = &attempt.devices;
            report.add(
                Rule::Resource,
                format!("{attempt} had the devices {had:?}, and takes {wanted}"),
            );
        }
        for device in devices {
            let place = (attempt.host, device);
            holders.entry(place).or_default().push(attempt.clone());
        }
    }
    for holders in holders.values() {
        check_overlaps(Rule::Resource, 1, holders, report);
    }
}

/// Checks that no more than `most` attempts ran at once.
fn check_overlaps(rule: Rule, most: usize, attempts: &[Attempt], report: &mut HostReport) {
    let mut running: Vec<Attempt> = Vec::new();
    for attempt in attempts {
        running.retain(|other| other.until > attempt.start);
        running.push(attempt.clone());
        if running.len() > most {
            let told = running.iter().map(Attempt::to_string);
            report.add(rule, told.collect::<Vec<_>>().join(" beside "));
        }
    }
}

/// Checks that each job has succeeded once if its attempt succeeded, and was not done again.
fn check_outcomes(
    plan: HostPlan,
    attempts: &[Attempt],
    host_notes: &[Note],
    report: &mut HostReport,
) {
    let done: BTreeSet<(u32, u32, u32)> = attempts
        .iter()
        .filter(|attempt| matches!(attempt.end, Some(Fact::Done(..))))
        .map(|attempt| (attempt.job, attempt.life, attempt.host))
        .collect();
    let mut heard: BTreeMap<u32, &Note> = BTreeMap::new();
    for note in host_notes {
        let Fact::Hears(job, place) = note.fact else {
            report.add(
                Rule::Notes,
                format!("not a note of the dispatcher: {note:?}"),
            );
            continue;
        };
        match place.checked_sub(1) {
            None => report.add(Rule::Failed, format!("job {job} has failed")),
            Some(host) if !done.contains(&(job, note.life, host)) => report.add(
                Rule::Result,
                format!("job {job} succeeded on host {host}, and no attempt there did"),
            ),
            Some(_) => {}
        }
        if heard.insert(job, note).is_some() {
            report.add(Rule::Again, format!("job {job} has two outcomes"));
        }
    }
    for attempt in attempts {
        let earlier = heard.get(&attempt.job);
        if earlier.is_some_and(|note| note.at < attempt.start) {
            report.add(Rule::Again, format!("{attempt} had succeeded before"));
        }
    }
    // An outcome may be in the journal although the host was killed before it heard of it. Then a success was noted by
    // the attempt.
    for job in (0..plan.plan.jobs).filter(|job| !heard.contains_key(job)) {
        let is_done = done.range((job, 0, 0)..=(job, u32::MAX, u32::MAX)).next();
        if is_done.is_none() {
            report.add(Rule::Ended, format!("job {job} never ended"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::Plan;

    const PLAN: HostPlan = HostPlan {
        plan: Plan { seed: 7, jobs: 300 },
        hosts: 3,
    };

    fn note(at: u64, process: u32, fact: Fact) -> Note {
        Note {
            at,
            life: 1,
            process,
            fact,
        }
    }

    /// Makes the notes of an attempt at a job where it may run, by a process of its own.
    fn attempt(job: u32, [start, until]: [u64; 2]) -> [Note; 2] {
        let host = match PLAN.job(job).place {
            Where::At(host) => host,
            Where::Anywhere => 1 + job % 3,
        };
        let process = 1000 + job * 10 + u32::try_from(start % 10).unwrap();
        [
            note(start, process, Fact::Starts(job, host)),
            note(until, process, Fact::Done(job, host)),
        ]
    }

    /// The same for a job that takes devices.
    fn with_devices(job: u32, [start, until]: [u64; 2], devices: &[u32]) -> Vec<Note> {
        let [starts, done] = attempt(job, [start, until]);
        let had = devices
            .iter()
            .map(|device| note(start, starts.process, Fact::Has(job, *device)));
        [starts].into_iter().chain(had).chain([done]).collect()
    }

    /// Returns the rules that are broken, apart from jobs that never ended: most tests write down only a few jobs.
    fn broken(worker_notes: &[Note], host_notes: &[Note]) -> Vec<Rule> {
        let report = check(PLAN, worker_notes, host_notes);
        let mut rules: Vec<Rule> = report.violations.iter().map(|one| one.rule).collect();
        rules.retain(|rule| *rule != Rule::Ended);
        rules.sort_unstable();
        rules.dedup();
        rules
    }

    /// Returns two jobs with claims of one kind, so that they exclude each other.
    fn two(is_wanted: impl Fn(Claim) -> bool) -> [u32; 2] {
        let mut jobs = (0..PLAN.plan.jobs)
            .filter(|job| is_wanted(PLAN.job(*job).claim) && PLAN.job(*job).devices == 0);
        [jobs.next().unwrap(), jobs.next().unwrap()]
    }

    #[test]
    fn attempts_that_overlap_although_their_jobs_exclude_each_other_are_found() {
        for (rule, [one, other]) in [
            (Rule::Host, two(|claim| claim == Claim::Concern(3))),
            (Rule::Global, two(|claim| claim == Claim::Global)),
        ] {
            let after = [attempt(one, [10, 20]), attempt(other, [20, 30])].concat();
            assert_eq!(broken(&after, &[]), []);
            let beside = [attempt(one, [10, 20]), attempt(other, [19, 30])].concat();
            assert_eq!(broken(&beside, &[]), [rule]);
        }
        let [job, _] = two(|claim| claim == Claim::Nothing);
        let beside = [attempt(job, [10, 20]), attempt(job, [15, 30])].concat();
        assert_eq!(broken(&beside, &[]), [Rule::Twice]);
    }

    #[test]
    fn more_attempts_than_a_place_or_a_limit_allows_are_found() {
        let at_one = |claim: Claim| {
            let is_there = move |job: &u32| {
                let spec = PLAN.job(*job);
                spec.claim == claim && spec.place == Where::At(1) && spec.devices == 0
            };
            (0..PLAN.plan.jobs).filter(is_there).collect::<Vec<u32>>()
        };
        let many = |jobs: &[u32], count: usize| -> Vec<Note> {
            jobs.iter()
                .take(count)
                .flat_map(|job| attempt(*job, [10, 20]))
                .collect()
        };
        let jobs = at_one(Claim::Nothing);
        assert_eq!(broken(&many(&jobs, 3), &[]), []);
        assert_eq!(broken(&many(&jobs, 4), &[]), [Rule::Slots]);
        let limited: Vec<u32> = (0..PLAN.plan.jobs)
            .filter(|job| {
                let spec = PLAN.job(*job);
                spec.claim == Claim::Db && spec.place == Where::Anywhere && spec.devices == 0
            })
            .collect();
        assert_eq!(broken(&many(&limited, 2), &[]), []);
        assert_eq!(broken(&many(&limited, 3), &[]), [Rule::Limit]);
    }

    #[test]
    fn a_device_that_two_attempts_have_at_one_place_is_found() {
        let mut jobs = (0..PLAN.plan.jobs).filter(|job| {
            let spec = PLAN.job(*job);
            (spec.claim, spec.devices) == (Claim::Nothing, 1) && spec.place == Where::At(1)
        });
        let (one, other) = (jobs.next().unwrap(), jobs.next().unwrap());
        let of_other_place = (0..PLAN.plan.jobs).find(|job| {
            let spec = PLAN.job(*job);
            (spec.claim, spec.devices) == (Claim::Nothing, 1) && spec.place == Where::At(2)
        });
        let beside = |job: u32, devices: [&[u32]; 2]| {
            let [first, second] = devices;
            let first = with_devices(one, [10, 20], first);
            let second = with_devices(job, [15, 30], second);
            broken(&[first, second].concat(), &[])
        };
        assert_eq!(beside(other, [&[0], &[1]]), []);
        assert_eq!(beside(other, [&[0], &[0]]), [Rule::Resource]);
        assert_eq!(beside(of_other_place.unwrap(), [&[0], &[0]]), []);
        for wrong in [&[][..], &[0, 1], &[plan::DEVICES]] {
            assert_eq!(beside(other, [&[0], wrong]), [Rule::Resource], "{wrong:?}");
        }
        let mut killed = with_devices(one, [10, 20], &[]);
        killed.pop();
        assert_eq!(broken(&killed, &[]), []);
    }

    #[test]
    fn outcomes_that_no_attempt_had_and_jobs_that_are_done_again_are_found() {
        let [job, other] = two(|claim| claim == Claim::Nothing);
        let notes = attempt(job, [10, 20]);
        let Fact::Done(_, host) = notes[1].fact else {
            panic!("it is the end")
        };
        let hears = |job, place| note(25, 1, Fact::Hears(job, place));
        assert_eq!(broken(&notes, &[hears(job, host + 1)]), []);
        assert_eq!(broken(&notes, &[hears(job, host + 2)]), [Rule::Result]);
        assert_eq!(broken(&notes, &[hears(other, 1)]), [Rule::Result]);
        assert_eq!(broken(&notes, &[hears(job, 0)]), [Rule::Failed]);
        let again = [notes, attempt(job, [31, 40])].concat();
        assert_eq!(broken(&again, &[hears(job, host + 1)]), [Rule::Again]);
        let report = check(PLAN, &notes, &[]);
        let ended = report
            .violations
            .iter()
            .filter(|one| one.rule == Rule::Ended);
        assert_eq!(ended.count(), 299);
    }
}
