//! Tests of the checker with notes written by hand, each of which breaks one promise.

mod ending;
mod running;

use std::time::Duration;

use super::super::notes::{Fact, Note};
use super::super::plan::{Claim, JobSpec, Named, Performer, Quota};
use super::{Declared, Ending, Evidence, Rule, Success};

const MS: u64 = 1_000_000;

/// Makes a job with this claim and these limits, on host 1.
fn spec(claim: Claim, limits: &'static [Named]) -> JobSpec {
    JobSpec {
        host: 1,
        claim,
        limits,
        slots: 1,
        devices: 0,
        priority: 0,
        performer: Performer::Swift,
        input: 0,
        work: Duration::ZERO,
    }
}

/// Makes evidence with four slots, two of `db`, one of `disk`; ten starts per second of `api` and of the only key, one
/// at once.
fn evidence(specs: &[JobSpec]) -> Evidence {
    let quota = Quota {
        per_second: 10,
        burst: 1,
    };
    Evidence {
        specs: specs.to_vec(),
        declared: Declared {
            most: [4, 2, 1],
            devices: 2,
            api: quota,
            keys: vec![quota],
            crashes: 3,
            sends_ahead: |_| false,
        },
        worker_notes: Vec::new(),
        host_notes: vec![
            host_note(1, 1, Fact::Descriptors(9, 9)),
            host_note(1, 1, Fact::Children(0, 0)),
        ],
        driver_notes: Vec::new(),
        journal: Vec::new(),
    }
}

/// Makes the result of a job: a success whose attempt began at this millisecond, or a failure.
fn result(success: Option<u64>) -> Result<Success, String> {
    let start = success.ok_or("task: not today")?;
    Ok(Success {
        start: start * MS,
        computed: None,
        cached: false,
    })
}

fn host_note(at: u64, life: u32, fact: Fact) -> Note {
    Note {
        at: at * MS,
        life,
        process: 1,
        fact,
    }
}

impl Evidence {
    /// Adds a note of a worker. If the note is a start, a grant just before it is added as well.
    fn worker(&mut self, process: u32, at: u64, fact: Fact) {
        if let Fact::Starts(job, _) = fact {
            self.host_notes.push(Note {
                at: at * MS - 1,
                ..host_note(0, 1, Fact::Grants(job, 0))
            });
        }
        self.worker_notes.push(Note {
            process,
            ..host_note(at, 1, fact)
        });
    }

    /// Adds an attempt of a new worker, which is free at the first time, begins at the second, and is done at the third.
    /// The times are in milliseconds.
    fn attempt(&mut self, job: u32, [free, start, done]: [u64; 3]) {
        let process = 100 + u32::try_from(self.worker_notes.len()).unwrap();
        self.worker(process, free, Fact::Born);
        self.worker(process, start, Fact::Starts(job, 1));
        self.worker(process, done, Fact::Done(job, 1));
        self.ended(job, 1, Some(start));
    }

    /// Adds the record of a job's outcome, and the note that the host heard of it.
    fn ended(&mut self, job: u32, life: u32, success: Option<u64>) {
        self.journal.push(Ending {
            job,
            life,
            attempts: 1,
            slots: Vec::new(),
            result: result(success),
        });
        let heard = Fact::Hears(job, success.is_some().into());
        self.host_notes.push(host_note(999, life, heard));
    }

    /// Returns the promises that are broken, each once. The rule that jobs fail for a reason is left out: most tests
    /// write no attempts of jobs that fail.
    fn broken(&self) -> Vec<Rule> {
        let mut rules = self.all_broken();
        rules.retain(|rule| *rule != Rule::Failed);
        rules
    }

    /// Returns the rules that are broken, each once.
    fn all_broken(&self) -> Vec<Rule> {
        let report = self.check();
        let mut rules: Vec<Rule> = report.violations.iter().map(|broken| broken.rule).collect();
        rules.sort_unstable();
        rules.dedup();
        rules
    }
}

/// Returns the rules that are broken if these attempts run, each on a worker of its own.
fn broken(specs: &[JobSpec], times: &[[u64; 3]]) -> Vec<Rule> {
    let mut evidence = evidence(specs);
    for (job, times) in (0..).zip(times) {
        evidence.attempt(job, *times);
    }
    evidence.broken()
}
