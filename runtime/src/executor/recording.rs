//! Records outcomes in the ledger, a batch at a time.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ratchet_ipc::{JobKey, error_chain};
use tokio::sync::mpsc;

use super::ledger::Ledger;
use crate::error::panic_message;
use crate::job::Job;
use crate::outcome::Outcome;

/// A ledger that several runs use, one after the other.
pub(super) type SharedLedger = Arc<Mutex<Box<dyn Ledger>>>;

/// An outcome on its way out of the run.
pub(super) struct OutgoingOutcome {
    /// The position of its job in the order of submission.
    pub(super) position: u64,
    /// The outcome, which the ledger records before anybody sees it.
    pub(super) outcome: Arc<Outcome>,
    /// Whether the job has no id, or the id of another job.
    pub(super) nameless: bool,
}

type OutcomeBatch = Vec<(Arc<Job>, OutgoingOutcome)>;

/// The outcomes that the ledger has recorded. Their jobs were dropped on the thread that recorded them, which costs the
/// loop nothing.
type RecordedBatch = (Vec<OutgoingOutcome>, io::Result<()>);

/// How many outcomes make a batch that is written without waiting for more.
const BATCH: usize = 256;

/// The least time between two small batches while more outcomes are about to come. Writes that follow each other faster
/// cost more than their content.
const MIN_BATCH_DELAY: Duration = Duration::from_millis(1);

/// The thread on which the ledger may wait for the disk. It starts and ends with the run. Starting it early tells a
/// failure to start a thread from a full disk.
struct Writer {
    batches: mpsc::UnboundedSender<(OutcomeBatch, Vec<JobKey>)>,
    written: mpsc::UnboundedReceiver<RecordedBatch>,
}

impl Writer {
    fn start(ledger: SharedLedger) -> io::Result<Self> {
        let (batches, mut received) = mpsc::unbounded_channel::<(OutcomeBatch, Vec<JobKey>)>();
        let (tell, written) = mpsc::unbounded_channel();
        std::thread::Builder::new()
            .name("ledger".into())
            .spawn(move || {
                while let Some((batch, suspects)) = received.blocking_recv() {
                    let result = write(&ledger, &batch, &suspects);
                    // The run was dropped, so nobody waits for the answer.
                    if tell.send((without_jobs(batch), result)).is_err() {
                        return;
                    }
                }
                // The order matters. The end of `written` tells the run that the ledger is released, and its owner may
                // then open the journal itself.
                drop(ledger);
                drop(tell);
            })?;
        Ok(Self { batches, written })
    }
}

/// Writes outcomes to the ledger in batches. While one batch is written and flushed, the next one gathers, so a slower
/// disk gets larger batches.
pub(super) struct Recording {
    writer: Option<Writer>,
    gathering: OutcomeBatch,
    /// The jobs whose outcomes may be wrong. The outcomes were recorded before, or are in the batch that gathers.
    suspects: Vec<JobKey>,
    is_writing: bool,
    in_writing: usize,
    /// When the next small batch may be written.
    next: Option<Instant>,
    /// Whether somebody waits for an outcome of the batch that gathers.
    awaited: bool,
    written: VecDeque<OutgoingOutcome>,
    failure: Option<String>,
    /// An outcome could not be written, so no later one is.
    has_failed: bool,
}

impl Recording {
    /// Starts the ledger's thread, if there is a ledger.
    pub(super) fn start(ledger: Option<SharedLedger>) -> io::Result<Self> {
        Ok(Self {
            writer: ledger.map(Writer::start).transpose()?,
            gathering: Vec::new(),
            suspects: Vec::new(),
            is_writing: false,
            in_writing: 0,
            next: None,
            awaited: false,
            written: VecDeque::new(),
            failure: None,
            has_failed: false,
        })
    }

    /// Whether outcomes are recorded at all.
    pub(super) fn is_wanted(&self) -> bool {
        self.writer.is_some()
    }

    /// Whether an earlier outcome could not be recorded, so that no later one is.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// Adds an outcome to the batch. If it is `awaited`, the batch is written at once.
    pub(super) fn push(&mut self, job: Arc<Job>, leaving: OutgoingOutcome, awaited: bool) {
        self.gathering.push((job, leaving));
        self.awaited |= awaited;
    }

    /// Records that the outcomes of these jobs, which were pushed earlier, may be wrong.
    pub(super) fn suspect(&mut self, ids: &[JobKey]) {
        if self.writer.is_some() {
            self.suspects.extend_from_slice(ids);
            self.awaited = true;
        }
    }

    /// Returns how many outcomes were pushed and not popped.
    pub(super) fn len(&self) -> usize {
        self.gathering.len() + self.in_writing + self.written.len()
    }

    /// Whether everything was written, and taken by the loop.
    pub(super) fn is_idle(&self) -> bool {
        self.len() == 0 && self.suspects.is_empty() && !self.is_writing
    }

    /// Writes the batch that has gathered, unless another one is being written. A small batch is put off for a moment
    /// after the last one if `more` outcomes are about to come.
    pub(super) fn begin(&mut self, more: bool, now: Instant) {
        let Some(writer) = &self.writer else { return };
        if self.is_writing || (self.gathering.is_empty() && self.suspects.is_empty()) {
            return;
        }
        let is_early = self.next.is_some_and(|next| now < next);
        if more && is_early && self.gathering.len() < BATCH && !self.awaited {
            return;
        }
        self.awaited = false;
        self.next = now.checked_add(MIN_BATCH_DELAY);
        let batch = std::mem::take(&mut self.gathering);
        let suspects = std::mem::take(&mut self.suspects);
        self.in_writing = batch.len();
        self.is_writing = true;
        if let Err(mpsc::error::SendError((batch, _))) = writer.batches.send((batch, suspects)) {
            self.gathering = batch;
            self.fail("the thread that writes them has ended".to_owned());
        }
    }

    /// Returns when to call [`begin`](Self::begin) again, if a small batch was put off.
    pub(super) fn due(&self) -> Option<Instant> {
        let waits = !self.is_writing && !self.gathering.is_empty();
        self.next.filter(|_| waits)
    }

    /// Waits until the batch is written. Cancel safe.
    pub(super) async fn done(&mut self) {
        let Some(writer) = self.writer.as_mut().filter(|_| self.is_writing) else {
            return std::future::pending().await;
        };
        match writer.written.recv().await {
            Some((written, result)) => {
                self.in_writing = 0;
                self.is_writing = false;
                match result {
                    Ok(()) => self.written.extend(written),
                    Err(error) => {
                        self.written.extend(written.into_iter().map(unrecorded));
                        self.fail(error_chain(&error));
                    }
                }
            }
            // The thread catches panics of the ledger, so its end is a bug. The outcomes that it had are lost.
            None => self.fail("the thread that writes them has ended".to_owned()),
        }
    }

    /// Stops recording after a failure. Nothing more is written, and the outcomes that have gathered are delivered
    /// as unrecorded.
    fn fail(&mut self, reason: String) {
        self.writer = None;
        self.has_failed = true;
        self.suspects.clear();
        self.in_writing = 0;
        self.is_writing = false;
        let gathered = std::mem::take(&mut self.gathering);
        let gathered = without_jobs(gathered).into_iter();
        self.written.extend(gathered.map(unrecorded));
        self.failure.get_or_insert(reason);
    }

    /// Waits until the thread has released the ledger.
    pub(super) async fn finish(self) {
        if let Some(Writer {
            batches,
            mut written,
        }) = self.writer
        {
            drop(batches);
            while written.recv().await.is_some() {}
        }
    }

    /// Takes the next outcome that may be delivered.
    pub(super) fn pop(&mut self) -> Option<OutgoingOutcome> {
        self.written.pop_front()
    }

    /// Returns why outcomes could not be written. It is returned once.
    pub(super) fn failure(&mut self) -> Option<String> {
        self.failure.take()
    }
}

/// Marks an outcome that could not be recorded.
pub(super) fn unrecorded(mut leaving: OutgoingOutcome) -> OutgoingOutcome {
    // Nobody else has seen it yet, so nothing is copied.
    Arc::make_mut(&mut leaving.outcome).unrecorded = true;
    leaving
}

fn without_jobs(batch: OutcomeBatch) -> Vec<OutgoingOutcome> {
    batch.into_iter().map(|(_, leaving)| leaving).collect()
}

fn write(ledger: &SharedLedger, batch: &OutcomeBatch, suspects: &[JobKey]) -> io::Result<()> {
    let writing = std::panic::AssertUnwindSafe(|| {
        let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
        for (job, leaving) in batch {
            ledger.append_at(job, &leaving.outcome, leaving.position)?;
        }
        if !suspects.is_empty() {
            ledger.suspect(suspects)?;
        }
        ledger.flush()
    });
    std::panic::catch_unwind(writing).unwrap_or_else(|panic| {
        let said = panic_message(&*panic);
        Err(io::Error::other(format!("the ledger panicked: {said}")))
    })
}

#[cfg(test)]
mod tests {
    use ratchet_ipc::Payload;

    use super::*;

    /// Takes note of nothing.
    struct Blank;

    impl Ledger for Blank {
        fn append(&mut self, _: &Job, _: &Outcome) -> io::Result<()> {
            Ok(())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn recording() -> Recording {
        let ledger: Box<dyn Ledger> = Box::new(Blank);
        Recording::start(Some(Arc::new(Mutex::new(ledger)))).unwrap()
    }

    fn push(recording: &mut Recording, count: usize) {
        for _ in 0..count {
            let outcome = Outcome::new("a", "t", Ok(Payload::null()));
            let job = Job::task("a", "t", Payload::null());
            let leaving = OutgoingOutcome {
                position: 0,
                outcome: Arc::new(outcome),
                nameless: false,
            };
            recording.push(Arc::new(job), leaving, false);
        }
    }

    async fn written(recording: &mut Recording) -> usize {
        recording.done().await;
        std::iter::from_fn(|| recording.pop()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn small_batches_do_not_follow_close_upon_each_other() {
        let mut recording = recording();
        let now = tokio::time::Instant::now().into_std();
        push(&mut recording, 1);
        recording.begin(true, now);
        assert_eq!(written(&mut recording).await, 1, "the first is not held up");

        push(&mut recording, 1);
        recording.begin(true, now);
        assert_eq!(recording.due(), Some(now + MIN_BATCH_DELAY));
        push(&mut recording, 1);
        recording.begin(true, now + MIN_BATCH_DELAY);
        assert_eq!(recording.due(), None);
        assert_eq!(written(&mut recording).await, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_batch_waits_for_nothing_nor_does_the_last() {
        let mut recording = recording();
        let now = tokio::time::Instant::now().into_std();
        for (count, more) in [(1, true), (BATCH, true), (1, false)] {
            push(&mut recording, count);
            recording.begin(more, now);
            assert_eq!(written(&mut recording).await, count);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_who_waits_for_one_waits_for_company() {
        let mut recording = recording();
        let now = tokio::time::Instant::now().into_std();
        for _ in 0..2 {
            push(&mut recording, 1);
            recording.awaited = true;
            recording.begin(true, now);
            assert_eq!(written(&mut recording).await, 1);
        }
        push(&mut recording, 1);
        recording.begin(true, now);
        assert!(recording.due().is_some(), "and that is over with them");
    }
}
