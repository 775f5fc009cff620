//! Reconstructs the attempts of a soak from the notes of workers.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::super::notes::{Fact, Note};
use super::super::plan::JobSpec;
use super::grants::{self, Grant, Grants};
use super::{Evidence, Report, Rule};

/// An attempt, as its worker noted it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    /// The number of the job.
    pub(super) job: u32,
    /// Which attempt at the job it was; the first is 1.
    pub(super) number: u32,
    /// The life of the host in which it ran.
    pub(super) life: u32,
    /// The id of the worker's process.
    pub(super) process: u32,
    /// What the job asked for.
    pub(super) spec: JobSpec,
    /// The time since which its worker had been free.
    pub(super) free: u64,
    /// The time since which its worker read requests. The attempt began no earlier, whenever it was granted.
    pub(super) ready: u64,
    /// The content of the script that its worker ran.
    pub(super) content: u32,
    /// The grant by which it began. It is unknown if the attempt may have been sent ahead.
    pub(super) granted: Option<Grant>,
    /// The earliest time from which its timeout can count: its grant, or the time since which its worker was free if it was
    /// sent ahead.
    pub(super) timed_from: u64,
    /// The time by which it had certainly begun.
    pub(super) start: u64,
    /// The time until which it ran at least.
    pub(super) until: u64,
    /// The time by which its answer was written for certain.
    pub(super) answered: Option<u64>,
    /// How it ended.
    pub(super) end: End,
    /// The devices that it was given.
    pub(super) devices: [Option<u32>; 2],
}

impl Attempt {
    /// Returns the earliest time at which it can have been granted.
    pub(super) fn not_before(&self) -> u64 {
        self.granted.map_or(0, |grant| grant.from.min(self.free))
    }

    /// Whether its answer came so early that the host must not treat it as late.
    pub(super) fn is_in_time(&self) -> bool {
        let mut limit = self.spec.performer.hard_timeout();
        if self.spec.performer.is_command() {
            limit = limit.saturating_sub(EXIT_TIME);
        }
        let limit = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        self.answered
            .is_some_and(|answered| answered < self.timed_from.saturating_add(limit))
    }
}

/// The time before its timeout by which a command has to have printed its result to be in time for certain. What counts
/// is the end of its process, which it cannot note. For a worker's answer the time at which it was written counts, so
/// it needs no such margin.
const EXIT_TIME: Duration = Duration::from_millis(200);

/// How an attempt ended, as its worker noted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It succeeded.
    Done,
    /// It answered with a failure.
    Failed,
    /// Its worker ended by itself before it answered.
    Died,
    /// No end was noted, because the worker was killed.
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

/// The state of a worker, or of the process of a command, according to its notes.
struct Worker {
    free: u64,
    ready: u64,
    content: u32,
    /// The last attempt of the worker, which may still be running.
    last: Option<Attempt>,
}

/// Reads all attempts, sorted by their start.
pub(super) fn read(evidence: &Evidence, report: &mut Report) -> Vec<Attempt> {
    let grants = Grants::read(evidence);
    let mut workers: HashMap<(u32, u32), Worker> = HashMap::new();
    let mut commands: HashMap<(u32, u32), u32> = HashMap::new();
    let mut lives = HashSet::new();
    let mut attempts = Vec::new();
    for note in &evidence.worker_notes {
        lives.insert(note.life);
        let key = (note.life, note.process);
        if matches!(note.fact, Fact::Computes(..) | Fact::Computed(..)) {
            // These notes are of a command that does not know its job; see `cached.rs`.
            continue;
        }
        if note.fact == Fact::Born {
            report.figures.workers += 1;
            let newcomer = Worker {
                free: note.at,
                ready: 0,
                content: 0,
                last: None,
            };
            // The system reuses the id of a process that is gone, so a birth ends the earlier worker of this id.
            let earlier = workers.insert(key, newcomer);
            attempts.extend(earlier.and_then(|worker| worker.last));
            continue;
        }
        let told = match workers.get_mut(&key) {
            Some(worker) => follow(evidence, &grants, &mut commands, worker, note),
            None => Err("by nobody who was born"),
        };
        match told {
            Ok(ended) => attempts.extend(ended),
            Err(why) => report.add(Rule::Notes, format!("{why}: {note:?}")),
        }
    }
    attempts.extend(workers.into_values().filter_map(|worker| worker.last));
    attempts.sort_unstable_by_key(|attempt| (attempt.start, attempt.job));
    let count = |end: End| attempts.iter().filter(|attempt| attempt.end == end).count();
    report.figures.jobs = evidence.specs.len();
    report.figures.lives = lives.len();
    report.figures.attempts = attempts.len();
    report.figures.died = count(End::Died);
    report.figures.vanished = count(End::Vanished);
    attempts
}

/// Handles a note of a worker. Returns the attempt before, if the note shows that it is over.
fn follow(
    evidence: &Evidence,
    grants: &Grants,
    commands: &mut HashMap<(u32, u32), u32>,
    worker: &mut Worker,
    note: &Note,
) -> Result<Option<Attempt>, &'static str> {
    let (job, number, end) = match note.fact {
        Fact::Ready(content) => {
            (worker.ready, worker.content) = (note.at, content);
            return Ok(None);
        }
        Fact::Starts(job, number) => {
            if worker.last.is_some_and(|last| last.end == End::Vanished) {
                return Err("a worker begins while it is at another");
            }
            let spec = evidence.specs.get(job as usize);
            let spec = *spec.ok_or("there is no such job")?;
            let grant = grants.before(note.life, job, note.at);
            let may_go_ahead = grants::may_go_ahead(evidence, note.life, &spec);
            let granted = grant.filter(|_| !may_go_ahead);
            let sent_from = if may_go_ahead { worker.free } else { u64::MAX };
            let number = if spec.performer.is_command() {
                // A command does not know the number of its attempt. It can be counted, because no two attempts at a
                // job run at once.
                let count = commands.entry((note.life, job)).or_default();
                *count += 1;
                *count
            } else {
                number
            };
            return Ok(worker.last.replace(Attempt {
                job,
                number,
                life: note.life,
                process: note.process,
                spec,
                free: worker.free,
                ready: worker.ready,
                content: worker.content,
                granted,
                timed_from: grant.map_or(worker.free, |grant| grant.from.min(sent_from)),
                start: note.at,
                until: note.at,
                answered: None,
                end: End::Vanished,
                devices: [None; 2],
            }));
        }
        Fact::Has(job, device) => {
            let open = worker.last.as_mut();
            let open = open.filter(|last| last.job == job && last.end == End::Vanished);
            let attempt = open.ok_or("of an attempt that has not begun")?;
            let place = attempt.devices.iter_mut().find(|device| device.is_none());
            *place.ok_or("of more devices than a job takes")? = Some(device);
            attempt.until = note.at;
            return Ok(None);
        }
        Fact::Beats(job, number) | Fact::Answered(job, number) => (job, number, None),
        Fact::Done(job, number) => (job, number, Some(End::Done)),
        Fact::Fails(job, number) => (job, number, Some(End::Failed)),
        Fact::Dies(job, number) => (job, number, Some(End::Died)),
        _ => return Err("not a worker's note"),
    };
    let is_answer = matches!(note.fact, Fact::Answered(..));
    let is_meant = |attempt: &&mut Attempt| {
        let is_number = attempt.number == number || attempt.spec.performer.is_command();
        let is_open = (attempt.end == End::Done) == is_answer;
        attempt.job == job && is_number && is_open
    };
    let attempt = worker.last.as_mut().filter(is_meant);
    let attempt = attempt.ok_or("of an attempt that has not begun")?;
    if is_answer {
        attempt.answered = Some(note.at);
        return Ok(None);
    }
    attempt.until = note.at;
    if let Some(end) = end {
        attempt.end = end;
        worker.free = note.at;
    }
    Ok(None)
}
