//! The report of the checker: the rules that were broken, and figures.

use std::collections::BTreeMap;
use std::fmt;

/// A promise of ratchet that the checker checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// The notes do not contradict each other.
    Notes,
    /// No two host-exclusive jobs run on one host at once.
    Host,
    /// No two global-exclusive jobs run at once.
    Global,
    /// Nothing runs at the same time as a job with the hint `alone`.
    Alone,
    /// No attempt begins without a grant, and none with a grant is overtaken by one with a later grant.
    Granted,
    /// No two attempts at a job run at once.
    Twice,
    /// No rate is exceeded.
    Rate,
    /// No limit is exceeded.
    Limit,
    /// No more slots are in use than there are.
    Slots,
    /// No identity of a resource is held by two attempts at once, and each attempt has as many as its job takes.
    Resource,
    /// Every job ends, and at most once in a life.
    Ended,
    /// A job that has succeeded is not done again.
    Again,
    /// A success has the result of an attempt that succeeded.
    Result,
    /// A job fails only after attempts that failed.
    Failed,
    /// An answer that came in time is the result of its job.
    Late,
    /// A cached result was computed from the same input and the same content of the script.
    Cached,
    /// A job kills no more workers than it may.
    Poison,
    /// An outcome that the host heard of is in the journal.
    Heard,
    /// No process, descriptor or child is left behind.
    LeftBehind,
    /// ratchet logs no error.
    Complaint,
}

/// A case in which a rule was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The rule that was broken.
    pub rule: Rule,
    /// What happened, as text for people.
    pub what: String,
}

impl Violation {
    /// Makes a violation of a rule.
    pub fn new(rule: Rule, what: String) -> Self {
        Self { rule, what }
    }
}

/// How much the soak exercised, which shows how much a clean report is worth.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// How many jobs the plan has.
    pub jobs: usize,
    /// How many lives there were in which a worker wrote a note.
    pub lives: usize,
    /// How many workers were started.
    pub workers: usize,
    /// How many attempts began.
    pub attempts: usize,
    /// How many attempts killed their worker.
    pub died: usize,
    /// How many attempts have no noted end, because they were killed with their worker or with the host.
    pub vanished: usize,
    /// How many attempts held the lock of a host, or all locks.
    pub exclusive: usize,
    /// How many attempts took a token of a rate.
    pub rated: usize,
    /// The uncertainty about grants: how many nanoseconds before its start an attempt may have been granted, as the
    /// median and the 90th percentile. The lower it is, the sharper the checks of rates and limits are.
    pub blur: (u64, u64),
    /// How many attempts were granted before their worker was free, and by how many nanoseconds at most.
    pub early: (usize, u64),
    /// How full the fullest window of a rate was for certain, in percent of the starts that it may hold.
    pub fullest: u64,
    /// How many changes of limits there were.
    pub changes: usize,
    /// How many attempts of workers have a slot that the journal names.
    pub slot_numbers: usize,
    /// How many devices attempts were given.
    pub devices: usize,
    /// How many jobs succeeded in the end.
    pub succeeded: usize,
    /// How many outcomes were recorded.
    pub recorded: usize,
    /// How many answers were followed by another attempt or another outcome, because they came too late or were lost with the
    /// host.
    pub in_vain: usize,
    /// How many attempts took a token and were granted before their worker had loaded.
    pub loading: usize,
    /// How many results came from the cache.
    pub cached: usize,
    /// How many times the script was edited.
    pub edits: usize,
    /// How many times the host was stopped for longer than an attempt may take.
    pub stopped: usize,
    /// How many times the host could start nothing for a while.
    pub short: usize,
    /// The resource that the host was short of then.
    pub short_of: String,
}

/// The result of a check.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// How much the soak exercised.
    pub figures: Figures,
    /// The violations that were found. None means that every promise was kept.
    pub violations: Vec<Violation>,
}

/// How many violations of each rule are printed one by one.
const TOLD: usize = 5;

impl Report {
    /// Adds a violation.
    pub(super) fn add(&mut self, rule: Rule, what: String) {
        self.violations.push(Violation::new(rule, what));
    }

    /// Whether every promise was kept.
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures {
            jobs,
            lives,
            workers,
            attempts,
            died,
            vanished,
            exclusive,
            rated,
            blur: (median, most),
            early: (early, earliest),
            fullest,
            changes,
            slot_numbers,
            devices,
            succeeded,
            recorded,
            in_vain,
            loading,
            cached,
            edits,
            stopped,
            short,
            short_of,
        } = &self.figures;
        writeln!(
            f,
            "{jobs} jobs, {succeeded} succeeded; {recorded} outcomes recorded"
        )?;
        writeln!(
            f,
            "{lives} lives of the host, {workers} workers, {changes} changes of limits"
        )?;
        writeln!(
            f,
            "{attempts} attempts: {died} took their worker with them, {vanished} were killed with it, \
             {in_vain} answered in vain"
        )?;
        writeln!(
            f,
            "{exclusive} exclusive attempts, {slot_numbers} whose slot is known, {devices} devices that attempts had"
        )?;
        writeln!(
            f,
            "{rated} rated attempts, known to {} us (median; 90 %: {} us); the fullest window is {fullest} % full",
            median / 1000,
            most / 1000
        )?;
        writeln!(
            f,
            "{early} attempts were granted before the worker that got them was free, by {} us at most",
            earliest / 1000
        )?;
        writeln!(
            f,
            "{loading} rated attempts were granted before their worker had loaded"
        )?;
        writeln!(
            f,
            "{cached} results came from the cache, {edits} edits of the script"
        )?;
        writeln!(
            f,
            "the host was stopped {stopped} times, and could start nothing {short} times (too few {short_of})"
        )?;
        write_violations(&self.violations, f)
    }
}

/// Writes the violations: the first ones of each rule, and how many there are of it.
pub(in crate::chaos) fn write_violations(
    violations: &[Violation],
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    let mut counts: BTreeMap<Rule, usize> = BTreeMap::new();
    for Violation { rule, what } in violations {
        let count = counts.entry(*rule).or_default();
        *count += 1;
        if *count <= TOLD {
            writeln!(f, "BROKEN {rule:?}: {what}")?;
        }
    }
    for (rule, count) in counts {
        writeln!(f, "{rule:?}: broken {count} times")?;
    }
    if violations.is_empty() {
        writeln!(f, "every promise was kept")?;
    }
    Ok(())
}
