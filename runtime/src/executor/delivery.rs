//! The delivery of outcomes: each is made once, counted, recorded, and handed over in order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ratchet_ipc::{Payload, TaskName};
use tokio::sync::mpsc;

use super::arrival::{Arrival, Refused};
use super::ended_attempt::EndedAttempt;
use super::entry::JobEntry;
use super::job_window::{MAX_BYTES, UndeliveredOutcomes};
use super::outcome_order::Outgoing;
use super::recording::{OutgoingOutcome, Recording, unrecorded};
use super::stop::EndCounts;
use super::times::{JobTimes, WallClock};
use crate::ids::{PlaceName, SlotNumber, WorkerName};
use crate::job::{Job, Work};
use crate::outcome::{AttemptDetail, AttemptEnd, AttemptUsage, Failure, Outcome};

/// A job that ends now, with the parts of its outcome.
#[derive(Debug)]
pub(super) struct EndedJob {
    /// The job itself.
    pub(super) job: Arc<Job>,
    /// The position of the job in the order of submission.
    pub(super) position: u64,
    /// The result, or the failure.
    pub(super) result: Result<Payload, Box<Failure>>,
    /// How many charged attempts the job had.
    pub(super) attempts: u32,
    /// Whether the result came from the cache.
    pub(super) cached: bool,
    /// The worker of the last attempt.
    pub(super) worker: Option<WorkerName>,
    /// How long the last attempt ran.
    pub(super) duration: Duration,
    /// The resource usage of the last attempt, as far as it is known.
    pub(super) usage: Option<Box<AttemptUsage>>,
    /// When the last attempt began.
    pub(super) began: Option<Instant>,
    /// The first slot of the last attempt.
    pub(super) slot: Option<SlotNumber>,
    /// The place of the last attempt; `None` for the local place.
    pub(super) place: Option<PlaceName>,
    /// The times of the job, charged to attempts and blockers.
    pub(super) times: Box<JobTimes>,
    /// Whether the job has no id, or the id of another job, so that no other job can depend on it.
    pub(super) lacks_own_id: bool,
}

impl EndedJob {
    /// Makes the end of a job that was never queued.
    pub(super) fn unqueued(arrival: Arrival, result: Result<Payload, Box<Failure>>) -> Self {
        Self {
            job: arrival.job,
            position: arrival.position,
            result,
            attempts: 0,
            cached: false,
            worker: None,
            duration: Duration::ZERO,
            usage: None,
            began: None,
            slot: None,
            place: None,
            times: arrival.times,
            lacks_own_id: false,
        }
    }

    /// Makes the end of a job that was refused before it was queued.
    pub(super) fn refused(refused: Refused) -> Self {
        Self {
            lacks_own_id: refused.lacks_own_id,
            ..Self::unqueued(refused.arrival, Err(refused.failure))
        }
    }

    /// Makes the end of a job that has left the queue, with the end of its last attempt.
    ///
    /// A job can also end while it waits for another attempt. Then its last attempt is the last one that is listed.
    pub(super) fn attempted(entry: JobEntry, attempted: EndedAttempt) -> Self {
        let mut ended = Self {
            job: entry.job,
            position: entry.position,
            result: attempted.result,
            attempts: entry.attempts,
            cached: false,
            worker: attempted.worker,
            duration: attempted.ran,
            usage: attempted.usage,
            began: attempted.began,
            slot: attempted.slot,
            place: attempted.place,
            times: entry.times,
            lacks_own_id: false,
        };
        if ended.began.is_none() {
            ended.take_last_listed();
        }
        ended
    }

    /// Copies what is listed of the last attempt that was charged, if there is one.
    fn take_last_listed(&mut self) {
        let listed = self.times.several.iter().flat_map(|all| all.listed());
        let Some(last) = listed.rev().find(|attempt| attempt.end.is_charged()) else {
            return;
        };
        self.worker.clone_from(&last.worker);
        self.duration = last.duration;
        self.usage = last.usage.map(Box::new);
        self.slot = last.slot;
        self.place.clone_from(&last.place);
    }

    /// Makes the end of a job that was removed from the queue while it waited.
    pub(super) fn waited(entry: JobEntry, failure: Box<Failure>) -> Self {
        Self::attempted(entry, EndedAttempt::none(Err(failure)))
    }

    /// Makes the end of a job that was parked in the queue, and got the result of an equal job.
    pub(super) fn answered(entry: JobEntry, payload: Payload) -> Self {
        Self {
            cached: true,
            ..Self::attempted(entry, EndedAttempt::none(Ok(payload)))
        }
    }

    /// Adds the last attempt to the list of attempts, if the job had earlier ones. A job with a single attempt has no
    /// list.
    fn close(&mut self, wall: &WallClock) {
        let (Some(_), Some(began)) = (&self.times.several, self.began) else {
            return;
        };
        self.times.push(AttemptDetail {
            number: self.attempts,
            slot: self.slot,
            worker: self.worker.clone(),
            place: self.place.clone(),
            started: wall.at(began),
            duration: self.duration,
            usage: self.usage.as_deref().copied(),
            end: match &self.result {
                Ok(_) => AttemptEnd::Succeeded,
                Err(failure) => AttemptEnd::Failed(failure.class),
            },
            failure: None,
        });
    }
}

/// Owns outcomes from their creation until they are delivered. It records them, and keeps them in the requested order.
pub(super) struct Delivery {
    /// The outcomes that are not recorded yet.
    recording: Recording,
    /// The recorded outcomes, in the order in which they are delivered.
    outgoing: Outgoing,
    /// The channel to the receiver of the outcomes.
    out: mpsc::Sender<Arc<Outcome>>,
    /// How many bytes the undelivered outcomes have.
    bytes: usize,
    tally: EndCounts,
    /// The task name of closures, made once because many jobs share it.
    closure: TaskName,
}

impl Delivery {
    /// Makes a delivery that holds no outcome.
    pub(super) fn new(
        recording: Recording,
        outgoing: Outgoing,
        out: mpsc::Sender<Arc<Outcome>>,
    ) -> Self {
        Self {
            recording,
            outgoing,
            out,
            bytes: 0,
            tally: EndCounts::default(),
            closure: "closure".into(),
        }
    }

    /// Makes the outcome of a job and counts it. Without a ledger the outcome is final at once and is returned. With a
    /// ledger this returns `None`, and [`next_recorded`](Self::next_recorded) returns the outcome after it was
    /// recorded. `awaited` says that other jobs wait for it, so that it is recorded sooner.
    pub(super) fn conclude(
        &mut self,
        mut done: EndedJob,
        awaited: bool,
        now: Instant,
        wall: &WallClock,
    ) -> Option<OutgoingOutcome> {
        done.close(wall);
        debug_assert_eq!(
            now.saturating_duration_since(done.times.arrived),
            done.times.waits.total() + done.times.ran(done.duration),
            "each moment of a job is charged once: {:?}",
            done.times
        );
        let queued = done.times.waits.total();
        let JobTimes {
            first_began,
            waits,
            several,
            ..
        } = *done.times;
        let job = done.job;
        let task = match &job.work {
            Work::Task { task, .. } | Work::Refused { task, .. } => task.clone(),
            Work::Closure(_) => self.closure.clone(),
            Work::Command(_) | Work::Ended(_) => job.task_name().into(),
        };
        let outcome = Arc::new(Outcome {
            id: job.id.clone(),
            item: job.item.as_ref().map(|item| item.name.clone()),
            task,
            host: job.host.clone(),
            result: done.result,
            attempts: done.attempts,
            cached: done.cached,
            worker: done.worker,
            queued,
            duration: done.duration,
            usage: done.usage,
            slot: done.slot,
            place: done.place,
            started: first_began.map(|began| wall.at(began)),
            ended: Some(wall.at(now)),
            waits,
            several,
            unrecorded: false,
        });
        let leaving = self.count(done.position, outcome, done.lacks_own_id);
        if self.recording.is_wanted() {
            self.recording.push(job, leaving, awaited);
            None
        } else if self.recording.has_failed() {
            Some(unrecorded(leaving))
        } else {
            Some(leaving)
        }
    }

    /// Counts the outcome of a job that had ended before it came. It was recorded by the run in which it ended, so it
    /// is final.
    pub(super) fn pass_on(&mut self, arrival: &Arrival, outcome: Arc<Outcome>) -> OutgoingOutcome {
        self.count(arrival.position, outcome, false)
    }

    /// Counts an outcome that now exists.
    fn count(&mut self, position: u64, outcome: Arc<Outcome>, nameless: bool) -> OutgoingOutcome {
        self.bytes += outcome.weight();
        self.tally.count(outcome.status());
        OutgoingOutcome {
            position,
            outcome,
            nameless,
        }
    }

    /// Queues a final outcome for delivery. It leaves when its turn in the order has come.
    pub(super) fn push(&mut self, position: u64, outcome: Arc<Outcome>) {
        self.outgoing.push(position, outcome);
    }

    /// Begins to record the outcomes that were gathered. A small batch is put off if `more` outcomes are about to come.
    pub(super) fn record(&mut self, more: bool, now: Instant) {
        self.recording.begin(more, now);
    }

    /// Returns when [`record`](Self::record) has to be called again, if a small batch was put off.
    pub(super) fn record_at(&self) -> Option<Instant> {
        self.recording.due()
    }

    /// Takes the next recorded outcome, which is final.
    pub(super) fn next_recorded(&mut self) -> Option<OutgoingOutcome> {
        self.recording.pop()
    }

    /// Returns why outcomes could not be recorded. The reason is returned only once.
    pub(super) fn recording_failure(&mut self) -> Option<String> {
        self.recording.failure()
    }

    /// Records in the ledger that the results of these jobs may be wrong.
    pub(super) fn suspect(&mut self, ids: &[ratchet_ipc::JobKey]) {
        self.recording.suspect(ids);
    }

    /// Waits until a batch was recorded, or the receiver has room for an outcome that is ready. Cancel safe.
    pub(super) async fn changed(&mut self) {
        let is_ready = self.outgoing.is_ready();
        tokio::select! {
            biased;
            () = self.recording.done() => {}
            // An error says that the receiver is gone, which `send` handles.
            _ = self.out.reserve(), if is_ready => {}
        }
    }

    /// Sends recorded outcomes to the receiver, as far as its channel has room.
    pub(super) fn send(&mut self) {
        while self.outgoing.is_ready() {
            let permit = match self.out.try_reserve() {
                Ok(permit) => Some(permit),
                Err(mpsc::error::TrySendError::Full(())) => return,
                // The receiver is gone, so outcomes are dropped. The run itself is about to be dropped.
                Err(mpsc::error::TrySendError::Closed(())) => None,
            };
            let Some(outcome) = self.outgoing.pop() else {
                return;
            };
            self.bytes -= outcome.weight();
            if let Some(permit) = permit {
                permit.send(outcome);
            }
        }
    }

    /// Returns how many jobs have ended, by status.
    pub(super) fn tally(&self) -> &EndCounts {
        &self.tally
    }

    /// Returns the undelivered outcomes, which count against the window. If all jobs are `known` beforehand, outcomes
    /// that wait for an earlier job do not count: the whole list of jobs is in memory anyway.
    pub(super) fn on_the_way_out(&self, known: bool) -> UndeliveredOutcomes {
        let early = if known { 0 } else { self.outgoing.held_count() };
        UndeliveredOutcomes {
            outcomes: self.recording.len() + self.outgoing.ready() + early,
            bytes: self.bytes,
        }
    }

    /// Whether outcomes pile up because the receiver does not take them. It is false while outcomes wait for an earlier
    /// job, because that job has to start before they can leave.
    pub(super) fn has_untaken_outcomes(&self) -> bool {
        self.bytes >= MAX_BYTES && self.outgoing.held_count() == 0
    }

    /// Whether no outcome is being recorded, and none is ready to be delivered.
    pub(super) fn is_idle(&self) -> bool {
        self.recording.is_idle() && !self.outgoing.is_ready()
    }

    /// Waits until the recording thread has released the ledger.
    pub(super) async fn finish(self) {
        self.recording.finish().await;
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Mutex;

    use super::*;
    use crate::executor::ledger::Ledger;
    use crate::executor::outcome_order::OutcomeOrder;
    use crate::outcome::Class;
    use crate::scheduling::Blocker;

    /// Takes note of everything, or of nothing.
    struct Taking(bool);

    impl Ledger for Taking {
        fn append(&mut self, _job: &Job, _outcome: &Outcome) -> io::Result<()> {
            if self.0 {
                Ok(())
            } else {
                Err(io::Error::other("no room"))
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn delivery(
        ledger: Option<Taking>,
        ordering: OutcomeOrder,
    ) -> (Delivery, mpsc::Receiver<Arc<Outcome>>) {
        let ledger = ledger.map(|ledger| {
            let ledger: Box<dyn Ledger> = Box::new(ledger);
            Arc::new(Mutex::new(ledger))
        });
        let (out, taken) = mpsc::channel(2);
        let recording = Recording::start(ledger).unwrap();
        (
            Delivery::new(recording, Outgoing::new(ordering), out),
            taken,
        )
    }

    fn done(position: u64, bytes: usize) -> EndedJob {
        let now = tokio::time::Instant::now().into_std();
        let arrival = Arrival {
            job: Arc::new(Job::task(position.to_string(), "t", Payload::null())),
            position,
            times: Box::new(JobTimes::new(now)),
        };
        EndedJob::unqueued(arrival, Ok(Payload::from_text(&"x".repeat(bytes))))
    }

    /// Concludes a job after it has waited for a while.
    fn conclude(
        delivery: &mut Delivery,
        done: EndedJob,
        waited: Duration,
    ) -> Option<OutgoingOutcome> {
        let now = done.times.arrived + waited;
        let wall = WallClock::new(
            Arc::new(ratchet_caching::SystemClock),
            (now, std::time::UNIX_EPOCH),
        );
        delivery.conclude(done, false, now, &wall)
    }

    fn leave(delivery: &mut Delivery, leaving: OutgoingOutcome) {
        delivery.push(leaving.position, leaving.outcome);
    }

    #[test]
    fn an_outcome_without_a_ledger_is_final_at_once_and_leaves_as_there_is_room() {
        let (mut delivery, mut taken) = delivery(None, OutcomeOrder::Completion);
        for position in 0..3 {
            let leaving = conclude(&mut delivery, done(position, 10), Duration::ZERO).unwrap();
            leave(&mut delivery, leaving);
        }
        assert_eq!(delivery.tally().succeeded, 3);
        assert_eq!(delivery.on_the_way_out(false).outcomes, 3);
        delivery.send();
        assert_eq!(delivery.on_the_way_out(false).outcomes, 1);
        assert_eq!(taken.try_recv().unwrap().id.as_str(), "0");
        delivery.send();
        assert!(delivery.is_idle());
        assert_eq!(delivery.on_the_way_out(false).bytes, 0);
    }

    #[test]
    fn outcomes_that_wait_for_an_earlier_one_count_only_where_jobs_are_not_known() {
        let (mut delivery, _taken) = delivery(None, OutcomeOrder::Submission);
        let leaving = conclude(&mut delivery, done(1, MAX_BYTES), Duration::ZERO).unwrap();
        leave(&mut delivery, leaving);
        assert_eq!(delivery.on_the_way_out(false).outcomes, 1);
        assert_eq!(delivery.on_the_way_out(true).outcomes, 0);
        assert!(
            !delivery.has_untaken_outcomes(),
            "job 0 has to start for it to leave"
        );
        let leaving = conclude(&mut delivery, done(0, 1), Duration::ZERO).unwrap();
        leave(&mut delivery, leaving);
        assert!(delivery.has_untaken_outcomes());
    }

    #[tokio::test]
    async fn an_outcome_is_final_when_it_is_recorded() {
        let (mut delivery, _taken) = delivery(Some(Taking(true)), OutcomeOrder::Completion);
        let now = tokio::time::Instant::now().into_std();
        assert!(conclude(&mut delivery, done(0, 1), Duration::ZERO).is_none());
        assert!(!delivery.is_idle() && delivery.next_recorded().is_none());
        delivery.record(false, now);
        delivery.changed().await;
        let leaving = delivery.next_recorded().unwrap();
        assert_eq!(leaving.outcome.id.as_str(), "0");
        assert!(!leaving.outcome.unrecorded);
        assert_eq!(delivery.recording_failure(), None);
        leave(&mut delivery, leaving);
        delivery.send();
        assert!(delivery.is_idle());
        delivery.finish().await;
    }

    #[tokio::test]
    async fn an_outcome_that_cannot_be_recorded_leaves_all_the_same_and_the_reason_is_told_once() {
        let (mut delivery, _taken) = delivery(Some(Taking(false)), OutcomeOrder::Completion);
        let now = tokio::time::Instant::now().into_std();
        assert!(conclude(&mut delivery, done(0, 1), Duration::ZERO).is_none());
        delivery.record(false, now);
        delivery.changed().await;
        assert!(delivery.next_recorded().unwrap().outcome.unrecorded);
        assert_eq!(delivery.recording_failure().unwrap(), "no room");
        assert_eq!(delivery.recording_failure(), None);
        // What ends later is not recorded either.
        let leaving = conclude(&mut delivery, done(1, 1), Duration::ZERO);
        assert!(leaving.unwrap().outcome.unrecorded);
    }

    #[test]
    fn an_outcome_tells_what_its_job_waited_for_and_when_it_ended() {
        let (mut delivery, _taken) = delivery(None, OutcomeOrder::Completion);
        let now = tokio::time::Instant::now().into_std();
        let waited = Duration::from_secs(5);
        let mut entry = crate::executor::entry::tests::entry(done(0, 1).job, now);
        entry.times.waits.add(Blocker::Slot, waited);
        let failure = Box::new(Failure::new(Class::Cancelled, "no"));
        let leaving = conclude(&mut delivery, EndedJob::waited(entry, failure), waited).unwrap();
        let outcome = leaving.outcome;
        assert_eq!((outcome.attempts, outcome.duration), (0, Duration::ZERO));
        assert_eq!((outcome.queued, outcome.started), (waited, None));
        assert_eq!(outcome.waits.of(&Blocker::Slot), waited);
        assert!(outcome.ended.is_some());
    }

    #[test]
    fn a_job_that_ends_while_it_waits_for_another_attempt_has_the_times_of_its_last_one() {
        let (mut delivery, _taken) = delivery(None, OutcomeOrder::Completion);
        let now = tokio::time::Instant::now().into_std();
        let (waited, ran) = (Duration::from_secs(5), Duration::from_secs(2));
        let mut entry = crate::executor::entry::tests::entry(done(0, 1).job, now);
        entry.attempts = 1;
        entry.times.waits.add(Blocker::Retry, waited);
        entry.times.push(AttemptDetail {
            number: 1,
            slot: SlotNumber::new(3),
            worker: Some(WorkerName::new("resize", 2)),
            place: None,
            started: crate::timestamp::Timestamp::from_millis(7),
            duration: ran,
            usage: None,
            failure: None,
            end: AttemptEnd::Failed(Class::Task),
        });
        let failure = Box::new(Failure::new(Class::Cancelled, "no"));
        let ended = EndedJob::waited(entry, failure);
        let outcome = conclude(&mut delivery, ended, waited + ran)
            .unwrap()
            .outcome;
        assert_eq!((outcome.attempts, outcome.duration), (1, ran));
        assert_eq!(outcome.worker, Some(WorkerName::new("resize", 2)));
        assert_eq!(outcome.slot, SlotNumber::new(3));
        assert_eq!(outcome.queued, waited);
        assert_eq!(outcome.attempts_detail().listed().len(), 1);
    }
}
