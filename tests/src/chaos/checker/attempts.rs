//! What the workers' notes tell of attempts.

use std::collections::{HashMap, HashSet};

use super::super::notes::{Fact, Note};
use super::super::plan::Wish;
use super::grants::{self, Grant, Grants};
use super::{Evidence, Report, Rule};

/// One attempt, as its worker saw it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    pub(super) job: u32,
    pub(super) number: u32,
    pub(super) life: u32,
    pub(super) process: u32,
    /// What the job asked for.
    pub(super) wish: Wish,
    /// Since when its worker had been free.
    pub(super) free: u64,
    /// That the host let it begin; unknown if it may have been sent ahead.
    pub(super) granted: Option<Grant>,
    /// When it had begun.
    pub(super) start: u64,
    /// Until when it ran, at least.
    pub(super) until: u64,
    pub(super) end: End,
}

impl Attempt {
    /// Before this moment it was not granted.
    pub(super) fn not_before(&self) -> u64 {
        self.granted.map_or(0, |grant| grant.from.min(self.free))
    }
}

/// How an attempt ended, as its worker saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Done,
    Failed,
    Died,
    /// Nobody noted it.
    Vanished,
}

impl std::fmt::Display for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            job,
            number,
            life,
            process,
            start,
            until,
            ..
        } = self;
        write!(
            f,
            "job {job} attempt {number} (life {life}, process {process}, {start}..{until})"
        )
    }
}

/// What a worker is at.
struct Worker {
    free: u64,
    at: Option<Attempt>,
}

/// All attempts, by their start.
pub(super) fn read(evidence: &Evidence, report: &mut Report) -> Vec<Attempt> {
    let grants = Grants::read(evidence);
    let mut workers: HashMap<(u32, u32), Worker> = HashMap::new();
    let mut lives = HashSet::new();
    let mut attempts = Vec::new();
    for note in &evidence.worker_notes {
        lives.insert(note.life);
        let key = (note.life, note.process);
        if note.fact == Fact::Born {
            report.figures.workers += 1;
            let newcomer = Worker {
                free: note.at,
                at: None,
            };
            // The system gives a number again when its process is gone.
            let earlier = workers.insert(key, newcomer);
            attempts.extend(earlier.and_then(|worker| worker.at));
            continue;
        }
        let told = match workers.get_mut(&key) {
            Some(worker) => follow(evidence, &grants, worker, note),
            None => Err("by nobody who was born"),
        };
        match told {
            Ok(ended) => attempts.extend(ended),
            Err(why) => report.add(Rule::Notes, format!("{why}: {note:?}")),
        }
    }
    attempts.extend(workers.into_values().filter_map(|worker| worker.at));
    attempts.sort_unstable_by_key(|attempt| (attempt.start, attempt.job));
    let count = |end: End| attempts.iter().filter(|attempt| attempt.end == end).count();
    report.figures.jobs = evidence.wishes.len();
    report.figures.lives = lives.len();
    report.figures.attempts = attempts.len();
    report.figures.died = count(End::Died);
    report.figures.vanished = count(End::Vanished);
    attempts
}

/// A worker has noted something. Gives the attempt that has ended by it.
fn follow(
    evidence: &Evidence,
    grants: &Grants,
    worker: &mut Worker,
    note: &Note,
) -> Result<Option<Attempt>, &'static str> {
    let (job, number, end) = match note.fact {
        Fact::Starts(job, number) => {
            if worker.at.is_some() {
                return Err("a worker begins while it is at another");
            }
            let wish = evidence.wishes.get(job as usize);
            let wish = *wish.ok_or("there is no such job")?;
            let granted = if grants::may_go_ahead(evidence, note.life, &wish) {
                None
            } else {
                grants.before(note.life, job, note.at)
            };
            worker.at = Some(Attempt {
                job,
                number,
                life: note.life,
                process: note.process,
                wish,
                free: worker.free,
                granted,
                start: note.at,
                until: note.at,
                end: End::Vanished,
            });
            return Ok(None);
        }
        Fact::Beats(job, number) => (job, number, None),
        Fact::Done(job, number) => (job, number, Some(End::Done)),
        Fact::Fails(job, number) => (job, number, Some(End::Failed)),
        Fact::Dies(job, number) => (job, number, Some(End::Died)),
        _ => return Err("not a worker's note"),
    };
    let attempt = worker.at.as_mut();
    let attempt = attempt.filter(|attempt| (attempt.job, attempt.number) == (job, number));
    let attempt = attempt.ok_or("of an attempt that has not begun")?;
    attempt.until = note.at;
    let Some(end) = end else { return Ok(None) };
    attempt.end = end;
    worker.free = note.at;
    Ok(worker.at.take())
}
