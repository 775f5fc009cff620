//! What the checker has to say.

use std::collections::BTreeMap;
use std::fmt;

/// What was promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// The notes make sense.
    Notes,
    /// One host-exclusive job a host.
    Host,
    /// One global-exclusive job everywhere.
    Global,
    /// Who must be alone is.
    Alone,
    /// Nobody begins who was not let, or is kept waiting who was.
    Granted,
    /// No two attempts of a job at once.
    Twice,
    /// No rate is exceeded.
    Rate,
    /// No limit is exceeded.
    Limit,
    /// No more slots are filled than there are.
    Slots,
    /// Every job ends, and once in a life.
    Ended,
    /// What has succeeded is not done again.
    Again,
    /// A success is that of one attempt which says so.
    Result,
    /// A job fails because its attempts did.
    Failed,
    /// What was answered in time counts.
    Late,
    /// A cached result is that of the same input and of the content that the script had.
    Cached,
    /// A job takes no more workers with it than it may.
    Poison,
    /// What is heard of stands in the journal.
    Heard,
    /// Nothing is left behind.
    LeftBehind,
    /// ratchet finds nothing wrong with itself.
    Complaint,
}

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub rule: Rule,
    /// What happened.
    pub what: String,
}

impl Violation {
    /// A broken promise, and how.
    pub fn new(rule: Rule, what: String) -> Self {
        Self { rule, what }
    }
}

/// What was seen, so that one knows what the verdict is worth.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// Jobs asked for.
    pub jobs: usize,
    /// Lives in which a worker wrote something.
    pub lives: usize,
    /// Workers that were there.
    pub workers: usize,
    /// Attempts that began.
    pub attempts: usize,
    /// Those whose worker died of them.
    pub died: usize,
    /// Those of which nobody noted the end: killed with their worker, or with the host.
    pub vanished: usize,
    /// Those that held a host, or all.
    pub exclusive: usize,
    /// Those that took a token.
    pub rated: usize,
    /// How long before its start one may have been granted, the lower the sharper: the median, and of ninety in a
    /// hundred; in nanoseconds.
    pub blur: (u64, u64),
    /// Attempts that were granted before the worker that got them was free, and by how many nanoseconds at most.
    pub early: (usize, u64),
    /// The fullest window: how many starts of a hundred that it may hold it holds for certain.
    pub fullest: u64,
    /// Changes of limits.
    pub changes: usize,
    /// Jobs that succeeded at last.
    pub succeeded: usize,
    /// Outcomes that were recorded.
    pub recorded: usize,
    /// Answers that were followed by another attempt, or another outcome: too late, or lost with the host.
    pub in_vain: usize,
    /// Attempts that took a token and were granted before their worker had loaded.
    pub loading: usize,
    /// Results that came from the cache.
    pub cached: usize,
    /// Edits of the script.
    pub edits: usize,
    /// How often the host was stopped for longer than an attempt may take.
    pub stopped: usize,
    /// How often it could start nothing for a while.
    pub short: usize,
    /// Of what it had too few then.
    pub short_of: String,
}

/// The verdict.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// What was seen.
    pub figures: Figures,
    /// What was broken, if anything.
    pub violations: Vec<Violation>,
}

/// Of each rule, so many violations are told in words.
const TOLD: usize = 5;

impl Report {
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
        writeln!(f, "{exclusive} exclusive attempts")?;
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
        let mut told: BTreeMap<Rule, usize> = BTreeMap::new();
        for Violation { rule, what } in &self.violations {
            let count = told.entry(*rule).or_default();
            *count += 1;
            if *count <= TOLD {
                writeln!(f, "BROKEN {rule:?}: {what}")?;
            }
        }
        for (rule, count) in told {
            writeln!(f, "{rule:?}: broken {count} times")?;
        }
        if self.is_clean() {
            writeln!(f, "every promise was kept")?;
        }
        Ok(())
    }
}
