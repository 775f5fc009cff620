//! The checker of a soak: decides from notes and the journal whether every promise was kept.
//!
//! It shares no code with what it checks. It reads what each job asked for ([`plan`]), what the workers noted about each
//! attempt, what the host noted about limits, grants and outcomes, and the lines of the journal.
//!
//! **When an attempt runs.** A worker writes a line when it has read a request, and one before it answers or dies; so
//! the attempt held its claims from the first of these stamps to the second at least. An attempt whose worker was
//! killed from outside has no last line. Those that hang write a line every few milliseconds, and the last one stands for
//! the end: it was there at least until then. So no stamp is ever taken for more than it proves, and two attempts that
//! overlap by their stamps did overlap.
//!
//! **When an attempt was granted** no worker knows, only that it was before the attempt's first line, and as a rule
//! after its worker had said that it was free (its last answer, or its birth). A window of time holds for certain the
//! starts of which both ends lie in it, and of those no window may hold more than `burst + rate x length`.
//!
//! **Limits and slots.** The host writes down what its executor grants (the executor logs it), in that order. Whoever was
//! granted before another one, and by its own notes had not ended when the other one was granted, held its share then:
//! together they are no more than the limit was at that moment. Apart from that, the journal says which slot each
//! attempt had: none has a number above the number of slots, and no two attempts that run at once have the same.
//!
//! **The exception to the rule.** What is granted because one worker is idle may go to another that becomes free while
//! it is on its way: a few attempts of a hundred, by microseconds, and by milliseconds when the machine stalls. So the
//! moment of the grant counts if it is the earlier one. It is
//! no excuse for one that is kept waiting with what it was granted: a pool gives out in the order of the grants, so
//! none may have begun that was granted later when the worker becomes free that one gets. And without a grant nobody
//! may begin.
//!
//! **Workers that load.** A worker that says no hello is given work while it still loads. It notes when it has loaded, and
//! did not begin before, so for rates that moment counts where it is later than the grant.
//!
//! **What was answered in time.** A worker notes that its answer is on its way when the call that wrote it has returned.
//! If that was before the attempt's timeout, it has to be the job's result, whatever happened to the host meanwhile.
//!
//! **Failures.** A job may fail only if as many attempts as are charged to it began and did not do well.
//!
//! **Cached results.** Each says from which input and by which content of the script it was computed, and when. The
//! driver notes before and after each edit, so the contents that a job may be given are known: those that the script may
//! have had when the pool was made, whose workers are taken to run that; and for a command those between when the host took
//! the job from its list and when it heard of its outcome.
//!
//! **Tolerance.** All stamps are of one clock (`CLOCK_MONOTONIC`, the same in all processes and on all processors), every
//! comparison goes by what is certain, and that a worker notes a start later than the scheduler granted it is in the
//! window's lower end. So there is none, but for commands: one is done when its process has ended, which it cannot note,
//! so its result has to be printed 200 ms before its timeout. What this costs is sharpness, and the report says how
//! much: the time that lies between the earliest moment for a grant and the start.
//!
//! **What it cannot see.** Rates and limits belong to a host process, and are checked for each of its lives. A limit
//! that is changed counts with both values from just before the change is asked for until it is confirmed. In lives in
//! which jobs are sent ahead of time, slots of those are only checked against the most there were, since nobody says when
//! their turn comes. A command with a cached result cannot say of which job it is, so it is left out where jobs are
//! counted.

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
pub use report::{Figures, Report, Rule, Violation};

/// Everything that is known about a soak: its plan, all notes, and the journal.
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
