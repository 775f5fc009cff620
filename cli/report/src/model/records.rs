//! Records of runs for tests: their jobs and outcomes are written to a journal, and read again as a model.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ratchet_ipc::Payload;
use ratchet_runtime::journal::{Header, RunPlan};
use ratchet_runtime::summary::Results;
use ratchet_runtime::worker::WorkerName;
use ratchet_runtime::{
    AttemptDetail, AttemptEnd, Attempts, Blocker, Class, Durability, Failure, History, Job,
    Journal, Outcome, ResourceNeed, RunId, SlotNumber, Terms, Timestamp,
};

use super::{RunEnd, RunModel, Source};

/// When the recorded runs began, in milliseconds since the Unix epoch.
const BEGAN_MS: u64 = 1_790_000_000_000;

/// Returns the moment at which the recorded runs began.
pub(crate) fn epoch() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(BEGAN_MS)
}

/// Records the outcomes of jobs in their order, and reads the record. The order of the jobs is that of submission.
pub(crate) fn model_of(plan: &RunPlan, jobs: &[Job], outcomes: &[Arc<Outcome>]) -> RunModel {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let header = Header::new(RunId::at(epoch()), epoch(), Payload::null());
    let mut journal = Journal::create(&path, &header, Durability::None).unwrap();
    journal.planned(epoch(), plan).unwrap();
    for outcome in outcomes {
        let position = jobs.iter().position(|job| job.id == outcome.id).unwrap();
        journal
            .append_at(&jobs[position], outcome, position as u64)
            .unwrap();
    }
    let summary = outcomes.summarize(Duration::from_secs(1));
    journal.end(epoch(), &summary).unwrap();
    drop(journal);
    let history = History::load(&path).unwrap();
    RunModel::load(Source {
        history: &history,
        id: "test".to_owned(),
        command: String::new(),
        end: RunEnd::Ended,
        last: epoch(),
    })
    .unwrap()
}

/// A job with its outcome, in milliseconds since the run began.
pub(crate) struct RecordedJob {
    pub(crate) id: &'static str,
    /// The name of the resource of which the job takes a unit.
    pub(crate) resource: Option<&'static str>,
    /// The attempts: when each began, how long it ran, and in which slot. All but the last one failed.
    pub(crate) attempts: Vec<(u64, u64, u32)>,
    /// The kind of the workers that performed the attempts; `None` for commands.
    pub(crate) worker: Option<&'static str>,
    /// What the job waited for, in microseconds.
    pub(crate) waits: Vec<(Blocker, u64)>,
    /// When the job ended.
    pub(crate) ended: u64,
    /// Whether the job succeeded.
    pub(crate) is_success: bool,
}

impl RecordedJob {
    /// Makes a command of a single attempt that succeeded in the first slot and waited for nothing.
    pub(crate) fn new(id: &'static str, began: u64, ran: u64) -> Self {
        Self {
            id,
            resource: None,
            attempts: vec![(began, ran, 1)],
            worker: None,
            waits: Vec::new(),
            ended: began + ran,
            is_success: true,
        }
    }

    fn job(&self) -> Job {
        let need = self.resource.map(|name| ResourceNeed::new(name, 1));
        Job::task(self.id, "work", Payload::null()).terms(Terms {
            resources: need.into_iter().collect(),
            ..Terms::default()
        })
    }

    fn outcome(&self) -> Outcome {
        let failed = || Failure::new(Class::Task, "it failed");
        let result = if self.is_success {
            Ok(Payload::null())
        } else {
            Err(failed())
        };
        let worker = self.worker.map(|kind| WorkerName::new(kind, 1));
        let mut attempts = Attempts::default();
        for (number, (began, ran, slot)) in (1..).zip(&self.attempts) {
            let is_last = number as usize == self.attempts.len();
            attempts.push(AttemptDetail {
                number,
                slot: SlotNumber::new(*slot),
                worker: worker.clone(),
                place: None,
                started: Timestamp::from_millis(BEGAN_MS + began),
                duration: Duration::from_millis(*ran),
                usage: None,
                failure: None,
                end: if is_last && self.is_success {
                    AttemptEnd::Succeeded
                } else {
                    AttemptEnd::Failed(Class::Task)
                },
            });
        }
        let waits = self.waits.iter();
        let waits = waits.map(|(blocker, time)| (blocker.clone(), Duration::from_micros(*time)));
        let last = attempts.listed().last().unwrap().clone();
        Outcome {
            attempts: last.number,
            worker,
            queued: Duration::from_micros(self.waits.iter().map(|(_, time)| time).sum()),
            duration: last.duration,
            slot: last.slot,
            started: attempts.listed().first().map(|first| first.started),
            ended: Some(Timestamp::from_millis(BEGAN_MS + self.ended)),
            waits: waits.collect(),
            several: Some(Box::new(attempts)),
            ..Outcome::new(self.id, "work", result)
        }
    }
}

/// Records jobs in the order of their ends, which is also that of their submission.
pub(crate) fn recorded_jobs(plan: &RunPlan, jobs: &[RecordedJob]) -> RunModel {
    let outcomes: Vec<_> = jobs.iter().map(|job| Arc::new(job.outcome())).collect();
    let jobs: Vec<_> = jobs.iter().map(RecordedJob::job).collect();
    model_of(plan, &jobs, &outcomes)
}
