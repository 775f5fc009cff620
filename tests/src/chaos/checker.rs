//! The checker of a soak: decides from notes and the journal whether every promise was kept.
//!
//! It shares no code with what it checks. It reads what each job asked for ([`plan`]), what the workers noted about each
//! attempt, what the host noted about limits, grants and outcomes, and the lines of the journal.
//!
//! **When an attempt runs.** A worker writes a line when it has read a request, and one before it answers or dies. So
//! the attempt held its claims at least from the first of these stamps to the second. An attempt whose worker was
//! killed from outside has no last line. Attempts that hang write a line every few milliseconds, and the last of these
//! counts as the end: the attempt ran at least until then. So no stamp is taken for more than it proves, and two
//! attempts that overlap by their stamps did overlap.
//!
//! **When an attempt was granted** is not known to any worker. It is only known that this was before the attempt's
//! first line, and as a rule after its worker had reported that it was free (its last answer, or its birth). A window
//! of time contains for certain the starts for which both of these bounds lie in it, and no window may contain more of
//! those than `burst + rate x length`.
//!
//! **Limits and slots.** The host writes down what its executor grants (the executor logs it), in that order. When an
//! attempt is granted, all attempts that were granted before and had not ended by their own notes hold their shares.
//! Together these are no more than the limit was at that moment. Apart from that, the journal has the slot of each
//! attempt: none has a number above the number of slots, and no two attempts that run at once have the same.
//!
//! **The exception to the rule.** An attempt that is granted because one worker is idle may go to another worker that
//! becomes free while the attempt is on its way. This happens to a few attempts in a hundred, by microseconds, or by
//! milliseconds when the machine stalls. So the moment of the grant counts if it is the earlier one. This does not
//! excuse an attempt that is granted and kept waiting: a pool assigns attempts in the order of their grants, so when a
//! worker becomes free for an attempt, no attempt with a later grant may have begun. And no attempt may begin without a
//! grant.
//!
//! **Workers that load.** A worker that says no hello is given work while it still loads. It notes when it has loaded,
//! and did not begin before. So for rates, that moment counts if it is later than the grant.
//!
//! **Answers in time.** A worker notes that its answer is on its way when the call that wrote it has returned. If that
//! was before the attempt's timeout, the answer has to be the job's result, whatever happened to the host in between.
//!
//! **Failures.** A job may fail only if at least as many attempts as are charged to it began and did not succeed.
//!
//! **Cached results.** Each result names the input and the content of the script from which it was computed, and when.
//! The driver notes before and after each edit, so the contents that a job may be given are known. For a worker, these
//! are the contents that the script may have had when the pool was made, since the workers of the pool are assumed to
//! run that content. For a command, they are the contents between the time when the host took the job from its list and
//! the time when it heard of its outcome.
//!
//! **Tolerance.** There is none, except for commands. All stamps are of one clock (`CLOCK_MONOTONIC`, the same in all
//! processes and on all processors), every comparison uses what is certain, and the delay from the grant of the
//! scheduler to the worker's note of the start is part of the lower bound of a window. A command is done when its
//! process has ended, which it cannot note, so its result has to be printed 200 ms before its timeout. The cost is
//! sharpness, and the report has the amount: the time between the earliest moment for a grant and the start.
//!
//! **Limitations.** Rates and limits belong to a host process, and are checked for each of its lives. A limit that is
//! changed counts with both values from just before the change is requested until it is confirmed. In lives in which
//! jobs are sent ahead of time, slots of those jobs are only checked against the greatest number of slots so far, since
//! no note has the moment of their turn. A command with a cached result does not know its job, so it is left out where
//! jobs are counted.

mod attempts;
mod cached;
mod devices;
mod endings;
mod grants;
mod journal;
mod limits;
mod overlaps;
mod profile;
mod rates;
mod report;
#[cfg(test)]
mod tests;

use super::notes::Note;
use super::plan::{self, JobSpec, Plan, Quota};
pub use journal::{Ending, Success, read as read_journal};
pub(in crate::chaos) use report::write_violations;
pub use report::{Figures, Report, Rule, Violation};

/// All evidence about a soak: its plan, all notes, and the journal.
#[derive(Debug)]
pub struct Evidence {
    /// What each job asked for.
    pub specs: Vec<JobSpec>,
    /// What the host declared at the beginning of each life.
    pub declared: Declared,
    /// The notes of the workers.
    pub worker_notes: Vec<Note>,
    /// The notes of the hosts.
    pub host_notes: Vec<Note>,
    /// The notes of the driver.
    pub driver_notes: Vec<Note>,
    /// The endings of jobs in the journal.
    pub journal: Vec<Ending>,
}

/// The limits and rates that are declared when a life of the host begins.
#[derive(Debug, Clone)]
pub struct Declared {
    /// The number of slots, and the highest numbers of jobs at once with the limits `db` and `disk`.
    pub most: [u32; 3],
    /// How many identities the resource `device` has.
    pub devices: u32,
    /// The rate of the limit `api`.
    pub api: Quota,
    /// The rate of each key.
    pub keys: Vec<Quota>,
    /// How many workers a job may kill in one life before it counts as poison.
    pub crashes: u32,
    /// Whether jobs may be sent to busy workers in a life, before it is their turn.
    pub sends_ahead: fn(u32) -> bool,
}

impl Evidence {
    /// Makes evidence of a plan without any notes.
    pub fn of(plan: Plan) -> Self {
        Self {
            specs: (0..plan.jobs).map(|job| plan.spec(job)).collect(),
            declared: Declared {
                most: [plan::SLOTS, plan::DB, plan::DISK],
                devices: plan::DEVICES,
                api: plan::API,
                keys: (0..plan::KEYS).map(plan::quota).collect(),
                crashes: plan::CRASHES,
                sends_ahead: plan::sends_ahead,
            },
            worker_notes: Vec::new(),
            host_notes: Vec::new(),
            driver_notes: Vec::new(),
            journal: Vec::new(),
        }
    }

    /// Checks every rule.
    pub fn check(&self) -> Report {
        let mut report = Report::default();
        let attempts = attempts::read(self, &mut report);
        overlaps::check(self, &attempts, &mut report);
        grants::check(self, &attempts, &mut report);
        rates::check(self, &attempts, &mut report);
        limits::check(self, &attempts, &mut report);
        devices::check(self, &attempts, &mut report);
        endings::check(self, &attempts, &mut report);
        cached::check(self, &attempts, &mut report);
        report
    }
}
