//! The runs of the executor of a node: one at a time, and another one after each that was killed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ratchet_runtime::{Executor, Job, JobKey, Outcome, RunHandle, Submitter};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::error::CliError;
use crate::live::describe;

/// Owns the executor of a node, and the run that takes its jobs.
pub(super) struct NodeRuns {
    executor: Executor,
    /// The run that takes jobs; `None` while a killed one ends. It is locked for as long as a run ends, so whoever wants to
    /// begin another one waits until nothing of the last one runs any more.
    current: tokio::sync::Mutex<Option<OpenRun>>,
    /// The handle of that run, for orders that must not wait.
    handle: Mutex<Option<RunHandle>>,
    running: AtomicU64,
}

/// A run that takes jobs.
struct OpenRun {
    submitter: Submitter,
    handle: RunHandle,
    waiting: Waiting,
    /// Ends when everything of the run has ended.
    ended: JoinHandle<()>,
}

/// Those who wait for the outcomes of jobs.
type Waiting = Arc<Mutex<HashMap<JobKey, oneshot::Sender<Arc<Outcome>>>>>;

/// A job that was given to the executor.
pub(super) struct StartedJob {
    /// The run that does it.
    pub(super) handle: RunHandle,
    /// Its outcome. An error says that the run was killed.
    pub(super) outcome: oneshot::Receiver<Arc<Outcome>>,
}

impl NodeRuns {
    /// Opens the first run.
    pub(super) fn open(executor: Executor) -> Result<Self, CliError> {
        let runs = Self {
            executor,
            current: tokio::sync::Mutex::new(None),
            handle: Mutex::new(None),
            running: AtomicU64::new(0),
        };
        let first = runs.begin()?;
        *runs.handle() = Some(first.handle.clone());
        Ok(Self {
            current: tokio::sync::Mutex::new(Some(first)),
            ..runs
        })
    }

    /// Gives a job to the run, and begins another run if the last one was killed. `None` if no job can be given.
    pub(super) async fn start(&self, job: Job) -> Option<StartedJob> {
        let mut current = self.current.lock().await;
        if current.as_ref().is_none_or(|run| run.ended.is_finished()) {
            let begun = self.begin();
            let run =
                begun.inspect_err(|error| tracing::error!(%error, "the executor does not go on"));
            let run = run.ok()?;
            *self.handle() = Some(run.handle.clone());
            *current = Some(run);
        }
        let run = current.as_ref()?;
        let (tell, outcome) = oneshot::channel();
        let key = job.id.clone();
        lock(&run.waiting).insert(key.clone(), tell);
        if let Err(error) = run.submitter.submit(job).await {
            lock(&run.waiting).remove(&key);
            tracing::debug!(%error, "a job cannot be given to the executor");
            return None;
        }
        Some(StartedJob {
            handle: run.handle.clone(),
            outcome,
        })
    }

    /// Kills all that runs, and returns when nothing runs any more.
    pub(super) async fn kill(&self) {
        // The order comes first: a job that is being given to the run must not hold it up.
        self.order(RunHandle::kill);
        let mut current = self.current.lock().await;
        *self.handle() = None;
        if let Some(OpenRun {
            submitter,
            handle,
            ended,
            ..
        }) = current.take()
        {
            handle.kill();
            drop(submitter);
            // An error would mean that the task has panicked, which it does not.
            let _ = ended.await;
        }
    }

    /// Passes an order to the run at once.
    pub(super) fn order(&self, order: impl FnOnce(&RunHandle)) {
        if let Some(handle) = &*self.handle() {
            order(handle);
        }
    }

    /// Returns how many jobs were given to the executor and have not ended.
    pub(super) fn running(&self) -> u64 {
        // Relaxed: nothing else is published with the number.
        self.running.load(Ordering::Relaxed)
    }

    /// Counts a job until the returned value is dropped.
    pub(super) fn count(self: &Arc<Self>) -> RunningJob {
        self.running.fetch_add(1, Ordering::Relaxed);
        RunningJob(Arc::clone(self))
    }

    /// Describes what runs, for people.
    pub(super) async fn describe(&self) -> String {
        let handle = self.handle().clone();
        let Some(handle) = handle else {
            return "ratchet: nothing runs\n".to_owned();
        };
        match handle.snapshot().await {
            Ok(snapshot) => describe(&snapshot, &handle.status()),
            Err(_) => "ratchet: nothing runs\n".to_owned(),
        }
    }

    fn begin(&self) -> Result<OpenRun, CliError> {
        let (submitter, mut run) = self.executor.open()?;
        let waiting = Waiting::default();
        let handle = run.handle();
        let tellers = Arc::clone(&waiting);
        let ended = tokio::spawn(async move {
            while let Some(outcome) = run.next().await {
                let teller = lock(&tellers).remove(&outcome.id);
                if let Some(teller) = teller {
                    // Whoever wanted to hear it may be gone.
                    let _ = teller.send(outcome);
                }
            }
            // Those who still wait hear that the run has ended.
            lock(&tellers).clear();
        });
        Ok(OpenRun {
            submitter,
            handle,
            waiting,
            ended,
        })
    }

    fn handle(&self) -> MutexGuard<'_, Option<RunHandle>> {
        lock(&self.handle)
    }
}

/// A job that counts as running.
pub(super) struct RunningJob(Arc<NodeRuns>);

impl Drop for RunningJob {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Locks a value that no panic can leave half changed.
fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}
