//! Checks that each cached result was computed from the same input and the same content of the script.

use std::collections::HashMap;

use super::super::notes::{Fact, Note};
use super::super::plan::Performer;
use super::attempts::{Attempt, End};
use super::journal::Success;
use super::{Evidence, Report, Rule};

/// A result that a worker or a command computed, and that may be in the cache.
#[derive(Debug, Clone, Copy)]
struct Computation {
    life: u32,
    /// The job that it was computed for. It is unknown for a command.
    job: Option<u32>,
    input: u32,
    content: u32,
}

/// Checks the source of each cached result that a job ended with.
pub(super) fn check(evidence: &Evidence, attempts: &[Attempt], report: &mut Report) {
    let computations = Computations::read(evidence, attempts);
    let contents = Contents::read(&evidence.driver_notes);
    let asked = Asked::read(&evidence.host_notes);
    for ending in &evidence.journal {
        let (Ok(success), Some(spec)) = (&ending.result, evidence.specs.get(ending.job as usize))
        else {
            continue;
        };
        if !spec.performer.is_cached() {
            if success.cached {
                report.add(
                    Rule::Cached,
                    format!("nobody said that it may be: {ending:?}"),
                );
            }
            continue;
        }
        let Some(computation) = computations.of(success) else {
            report.add(Rule::Result, format!("nobody has computed it: {ending:?}"));
            continue;
        };
        let Computation { input, content, .. } = computation;
        if success.computed != Some((input, content)) || input != spec.input {
            report.add(
                Rule::Cached,
                format!(
                    "{ending:?} has the result of {computation:?}, and its input is {}",
                    spec.input
                ),
            );
        }
        if !success.cached {
            let is_its_own = computation.job.is_none_or(|job| job == ending.job);
            if computation.life != ending.life || !is_its_own {
                report.add(Rule::Result, format!("{ending:?} is of {computation:?}"));
            }
            continue;
        }
        report.figures.cached += 1;
        let Some((from, to)) = asked.between(spec.performer, ending.life, ending.job) else {
            report.add(
                Rule::Notes,
                format!("nobody knows when this was asked: {ending:?}"),
            );
            continue;
        };
        if !contents.may_be(content, from, to) {
            report.add(
                Rule::Cached,
                format!(
                    "job {} in life {} got a result by content {content}, which the script did not have in {from}..{to}: \
                     {computation:?}",
                    ending.job, ending.life
                ),
            );
        }
    }
    let count = |is: fn(&Fact) -> bool| {
        let notes = evidence.driver_notes.iter();
        notes.filter(|note| is(&note.fact)).count()
    };
    report.figures.edits = count(|fact| matches!(fact, Fact::Edited(_))).saturating_sub(1);
    report.figures.stopped = count(|fact| matches!(fact, Fact::Stopped(_)));
    report.figures.short = count(|fact| matches!(fact, Fact::Short(_)));
}

/// All results that may be in the cache, by the start of their computation.
struct Computations(HashMap<u64, Vec<Computation>>);

impl Computations {
    fn read(evidence: &Evidence, attempts: &[Attempt]) -> Self {
        let mut computations = Self(HashMap::new());
        for attempt in attempts.iter().filter(|attempt| attempt.end == End::Done) {
            let computation = Computation {
                life: attempt.life,
                job: Some(attempt.job),
                input: attempt.spec.input,
                content: attempt.content,
            };
            computations.add(attempt.start, computation);
        }
        for note in &evidence.worker_notes {
            if let Fact::Computes(input, content) = note.fact {
                let computation = Computation {
                    life: note.life,
                    job: None,
                    input,
                    content,
                };
                computations.add(note.at, computation);
            }
        }
        computations
    }

    fn add(&mut self, start: u64, computation: Computation) {
        self.0.entry(start).or_default().push(computation);
    }

    /// Returns the computation that began when a result says that it did.
    ///
    /// The clock of some machines counts in steps of more than a nanosecond, so two workers can begin at the same moment.
    /// The result is then taken for that of the computation with its input and content.
    fn of(&self, success: &Success) -> Option<Computation> {
        let began = self.0.get(&success.start)?;
        let mut same = began.iter();
        let named = same.find(|one| success.computed == Some((one.input, one.content)));
        named.or(began.first()).copied()
    }
}

/// The contents of the script, each with the earliest and the latest time at which the script may have had it.
struct Contents(Vec<(u32, u64, u64)>);

impl Contents {
    fn read(notes: &[Note]) -> Self {
        let mut contents: Vec<(u32, u64, u64)> = Vec::new();
        for note in notes {
            match note.fact {
                Fact::Edits(content) => contents.push((content, note.at, u64::MAX)),
                Fact::Edited(_) => {
                    // Once the edit is complete, the content before is gone.
                    let before = contents.len().checked_sub(2);
                    if let Some((_, _, until)) = before.and_then(|place| contents.get_mut(place)) {
                        *until = note.at;
                    }
                }
                _ => {}
            }
        }
        Self(contents)
    }

    /// Whether the script may have had a content at some moment between these two.
    fn may_be(&self, content: u32, from: u64, to: u64) -> bool {
        let is_possible = |(which, since, until): &(u32, u64, u64)| {
            *which == content && *since <= to && *until >= from
        };
        self.0.iter().any(is_possible)
    }
}

/// The times at which the host may have read the script for the key of a job.
struct Asked {
    /// The time in which each life made its pools. The workers of a pool are assumed to run the content of that time.
    pools: HashMap<u32, (u64, u64)>,
    /// For each life and job, when the host took the job from its list, and when it heard of its outcome.
    jobs: HashMap<(u32, u32), (u64, u64)>,
}

impl Asked {
    fn read(notes: &[Note]) -> Self {
        let mut asked = Self {
            pools: HashMap::new(),
            jobs: HashMap::new(),
        };
        for note in notes {
            match note.fact {
                Fact::MakesPools => {
                    asked.pools.insert(note.life, (note.at, u64::MAX));
                }
                Fact::MadePools => {
                    if let Some((_, until)) = asked.pools.get_mut(&note.life) {
                        *until = note.at;
                    }
                }
                Fact::Takes(job) => {
                    asked.jobs.insert((note.life, job), (note.at, u64::MAX));
                }
                Fact::Hears(job, _) => {
                    if let Some((_, until)) = asked.jobs.get_mut(&(note.life, job)) {
                        *until = note.at;
                    }
                }
                _ => {}
            }
        }
        asked
    }

    /// Returns the times between which the host may have read the script for the key of a job.
    fn between(&self, performer: Performer, life: u32, job: u32) -> Option<(u64, u64)> {
        if performer.is_command() {
            self.jobs.get(&(life, job)).copied()
        } else {
            self.pools.get(&life).copied()
        }
    }
}
