//! The source of the jobs of a run: a list, or a stream that is read when there is room.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use ratchet_runtime::journal::{ResumeCounts, ResumeDecision, SourceIdentity};
use ratchet_runtime::process::ProcessConfig;
use ratchet_runtime::{
    Executor, History, Job, JobKey, Journal, Outcome, Placement, Resume, Run, Stopped, Submitter,
    Work,
};
use tokio::sync::oneshot;

use super::follow::{FollowEnd, FollowerParts, QueuedJobs};
use super::repeated_jobs::{EndedJobs, RepeatedJobs, Repetition};
use super::terminal::TerminalUse;
use crate::error::CliError;
use crate::job_file::{JobLines, Jobs, StreamError, may_use_cache};
use crate::map::MapJobs;

/// How many jobs are submitted together.
const BATCH: usize = 128;

/// How many bytes of jobs are submitted together. A batch of large jobs is submitted before it is full.
const BATCH_BYTES: usize = 1024 * 1024;

/// The source of the jobs of a run.
pub(crate) enum JobSource {
    /// All jobs are known before the run begins.
    List(Vec<Job>),
    /// Jobs are read when there is room for them.
    Stream(Box<dyn JobStream>),
    /// The nodes of a queue do the jobs.
    Queued(Box<QueuedJobs>),
}

/// Jobs that are read one by one. They are read on a thread of their own, so reading may wait.
pub(crate) trait JobStream: Send {
    /// Reads the next job. Returns `None` after the last one.
    fn next(&mut self) -> Option<Result<Job, CliError>>;

    /// Whether reading the next job may wait for the writer of the stream.
    fn may_wait(&self) -> bool;

    /// Returns how many jobs there are, if that is known before they are read.
    fn total(&self) -> Option<u64> {
        None
    }

    /// Returns where all jobs run, if that is known before they are read.
    fn placement(&self) -> Option<Placement> {
        None
    }

    /// Whether a job may use the cache, as far as that is known before they are read.
    fn may_use_cache(&self) -> bool {
        true
    }

    /// Returns the counter of ended jobs, if the jobs of a file are run again and again.
    fn ended_jobs(&self) -> Option<Arc<EndedJobs>> {
        None
    }
}

impl JobSource {
    /// Makes the source of the jobs of a job file, and of those that were added to the earlier part of the run. With `strict`, a
    /// stream ends at its first invalid line.
    pub(crate) fn of(jobs: Jobs, strict: bool, added: Vec<Job>) -> Self {
        match jobs {
            Jobs::Listed { mut jobs, .. } => {
                jobs.extend(added);
                Self::List(jobs)
            }
            Jobs::Streamed(lines) => Self::Stream(Box::new(FileLines {
                lines,
                strict,
                added: added.into(),
            })),
        }
    }

    /// Makes the source of jobs that are run again and again. Setup scripts are run once. `order` has each job after
    /// those that it needs, and `slots` is how many run at once.
    pub(crate) fn repeated(
        jobs: Vec<Job>,
        (order, setups): (&[usize], &HashSet<JobKey>),
        repetition: Repetition,
        slots: u32,
    ) -> Self {
        Self::Stream(Box::new(RepeatedJobs::new(
            jobs,
            (order, setups),
            repetition,
            slots,
        )))
    }

    /// Returns the counter of ended jobs, if the source waits for it.
    pub(super) fn ended_jobs(&self) -> Option<Arc<EndedJobs>> {
        match self {
            Self::Stream(stream) => stream.ended_jobs(),
            _ => None,
        }
    }

    /// Makes the source of the jobs of `ratchet map`.
    pub(crate) fn of_map(jobs: MapJobs) -> Self {
        Self::Stream(Box::new(jobs))
    }

    /// Whether a job may use the cache.
    pub(super) fn may_use_cache(&self) -> bool {
        match self {
            Self::List(jobs) => jobs.iter().any(may_use_cache),
            Self::Stream(stream) => stream.may_use_cache(),
            Self::Queued(_) => false,
        }
    }

    /// Gives the terminal to the jobs that are commands, if `terminal` is [`TerminalUse::Job`].
    pub(crate) fn with_terminal(self, terminal: TerminalUse) -> Self {
        match (terminal, self) {
            (TerminalUse::Progress | TerminalUse::Questions, feed) => feed,
            (TerminalUse::Job, Self::List(jobs)) => {
                Self::List(jobs.into_iter().map(on_terminal).collect())
            }
            (TerminalUse::Job, Self::Stream(stream)) => {
                Self::Stream(Box::new(TerminalJobs(stream)))
            }
            (TerminalUse::Job, queued @ Self::Queued(_)) => queued,
        }
    }

    /// Begins the run. The second part of the result reports, once the run has ended, how the source ended. `announce`
    /// is called with the number of jobs of a stream, as soon as that is known.
    pub(super) fn begin(
        self,
        executor: &Executor,
        earlier: Option<EarlierOutcomes>,
        announce: impl Fn(u64) + Send + 'static,
        follows: Option<FollowerParts>,
    ) -> Result<(Run, SourceEnd), CliError> {
        let mut earlier = earlier;
        match self {
            Self::Queued(queued) => {
                let follows = follows.ok_or_else(|| {
                    CliError::internal("the jobs of a queue are followed by nobody")
                })?;
                let (run, follower) =
                    follows.begin(*queued, executor, earlier, Box::new(announce))?;
                Ok((run, SourceEnd::Follower(follower)))
            }
            Self::List(jobs) => {
                let jobs = match &mut earlier {
                    Some(earlier) => earlier.look_up_all(jobs),
                    None => jobs,
                };
                let run = executor.run_list(jobs)?;
                let differences = earlier.map(EarlierOutcomes::differences);
                Ok((run, SourceEnd::Known(differences)))
            }
            Self::Stream(stream) => {
                let (submitter, run) = executor.open()?;
                let (send, ended) = oneshot::channel();
                let runtime = tokio::runtime::Handle::current();
                if let Some(total) = stream.total() {
                    announce(total);
                }
                std::thread::Builder::new()
                    .name("jobs".to_owned())
                    .spawn(move || {
                        let result =
                            submit_all(stream, &submitter, &runtime, &mut earlier, announce);
                        let differences = earlier.map(EarlierOutcomes::differences);
                        // A run that was stopped has ended without waiting for this.
                        let _ = send.send((result, differences));
                    })
                    .map_err(|error| {
                        CliError::internal("the thread for jobs cannot be started").because(error)
                    })?;
                Ok((run, SourceEnd::Thread(ended)))
            }
        }
    }
}

/// The end of the source of the jobs of a run.
pub(super) enum SourceEnd {
    /// A list ends when it is submitted.
    Known(Option<ResumeDifferences>),
    /// The thread that reads a stream sends its end.
    Thread(oneshot::Receiver<(Result<(), CliError>, Option<ResumeDifferences>)>),
    /// The task that follows the jobs in a queue.
    Follower(tokio::task::JoinHandle<FollowEnd>),
}

/// How the source of the jobs of a run ended.
pub(super) struct EndedSource {
    /// The error of the source, if not all jobs could be read.
    pub(super) result: Result<(), CliError>,
    /// How the jobs of a resumed run differ from those of its earlier part.
    pub(super) differences: Option<ResumeDifferences>,
    /// The rule by which the source itself ended the run.
    pub(super) stopped: Option<Stopped>,
}

/// How the jobs of a resumed run differ from those of its earlier part.
pub(super) struct ResumeDifferences {
    /// How many jobs are kept, and how many are run again, by the reason.
    pub(super) jobs: ResumeCounts,
    /// How many jobs of the earlier part are not among the jobs any more; 0 if the jobs were not read to their end.
    pub(super) gone: u64,
}

impl SourceEnd {
    /// Returns how the source of a run that has ended came to its end. A stream that still waits for jobs has no error and no
    /// differences.
    pub(super) async fn end(self) -> EndedSource {
        let (result, differences) = match self {
            Self::Known(differences) => (Ok(()), differences),
            Self::Thread(mut ended) => ended.try_recv().unwrap_or((Ok(()), None)),
            Self::Follower(follower) => {
                return match follower.await {
                    Ok(FollowEnd {
                        result,
                        differences,
                        stopped,
                    }) => EndedSource {
                        result,
                        differences,
                        stopped,
                    },
                    Err(error) => EndedSource {
                        result: Err(CliError::internal(
                            "the jobs of the queue are not followed any more",
                        )
                        .because(error)),
                        differences: None,
                        stopped: None,
                    },
                };
            }
        };
        EndedSource {
            result,
            differences,
            stopped: None,
        }
    }
}

/// The outcomes of an earlier part of the run.
pub(super) struct EarlierOutcomes {
    /// Decides which jobs have to be run again.
    resume: Resume,
    /// The journal, which this part of the run continues.
    journal: Arc<Mutex<Journal>>,
    /// Whether the jobs were not read to their end, so that nobody knows which of the earlier ones are not there.
    is_broken_off: bool,
}

impl EarlierOutcomes {
    /// Makes the look-up in the history of a run. This part of the run continues `journal`.
    pub(super) fn new(
        history: History,
        source: Option<&SourceIdentity>,
        journal: &Arc<Mutex<Journal>>,
    ) -> Self {
        Self {
            resume: Resume::new(Arc::new(history), source),
            journal: Arc::clone(journal),
            is_broken_off: false,
        }
    }

    /// Looks each job up after the jobs that it needs, and keeps the order of the list.
    #[expect(clippy::expect_used, reason = "the order contains each index once")]
    fn look_up_all(&mut self, jobs: Vec<Job>) -> Vec<Job> {
        let order = needs_first(&jobs);
        let mut jobs: Vec<Option<Job>> = jobs.into_iter().map(Some).collect();
        for index in order {
            let job = jobs[index].take().expect("each job is taken once");
            jobs[index] = Some(self.look_up(job));
        }
        jobs.into_iter().flatten().collect()
    }

    /// Whether an outcome of this job is recorded, whatever it is.
    #[cfg(feature = "queue")]
    pub(super) fn has_outcome(&self, job: &Job) -> bool {
        self.resume.history().find_job(job).is_some()
    }

    /// Turns a job that has succeeded before into one that has ended, unless a job that it needs is run again.
    pub(super) fn look_up(&mut self, job: Job) -> Job {
        let ResumeDecision::Keep(recorded) = self.resume.decide(&job) else {
            return job;
        };
        match self.resume.history().outcome(&recorded) {
            Ok(mut outcome) => {
                if outcome.id != job.id {
                    outcome.id = job.id.clone();
                    self.renumber(&job, &outcome);
                }
                Job {
                    needs: job.needs,
                    item: job.item,
                    kept_output: job.kept_output,
                    ..Job::ended(outcome)
                }
            }
            Err(error) => {
                tracing::warn!(%error, job = %job.id, "the result of a job cannot be read, so the job is run again");
                self.resume.run_again(&recorded);
                job
            }
        }
    }

    /// Records the new number of a kept result, because its item has another position in the list now.
    fn renumber(&self, job: &Job, outcome: &Outcome) {
        // No call leaves the journal half changed, so the lock is safe to use after a panic in another thread.
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = journal.append(job, outcome) {
            // A journal that failed once fails at every further call, so the run itself ends with this error.
            tracing::warn!(%error, job = %job.id, "the new number of a job cannot be recorded");
        }
    }

    pub(super) fn differences(self) -> ResumeDifferences {
        ResumeDifferences {
            jobs: self.resume.differences(),
            gone: if self.is_broken_off {
                0
            } else {
                self.resume.not_in_source()
            },
        }
    }
}

/// Returns the indexes of jobs, in an order in which each job comes after the jobs that it needs.
pub(super) fn needs_first(jobs: &[Job]) -> Vec<usize> {
    let in_file = || (0..jobs.len()).collect();
    if jobs.iter().all(|job| job.needs.is_empty()) {
        return in_file();
    }
    // The executor refuses jobs that cannot be ordered when the run begins.
    Job::order_by_needs(jobs).unwrap_or_else(|_| in_file())
}

/// Submits the jobs of a stream, in batches of the jobs that can be read without waiting.
fn submit_all(
    mut stream: Box<dyn JobStream>,
    submitter: &Submitter,
    runtime: &tokio::runtime::Handle,
    earlier: &mut Option<EarlierOutcomes>,
    announce: impl Fn(u64),
) -> Result<(), CliError> {
    let mut total = 0;
    let mut batch = Vec::with_capacity(BATCH);
    let mut bytes = 0;
    let mut result = Ok(());
    let break_off = |earlier: &mut Option<EarlierOutcomes>| {
        if let Some(earlier) = earlier {
            earlier.is_broken_off = true;
        }
    };
    while let Some(job) = stream.next() {
        match job {
            Ok(job) => {
                total += 1;
                if let Work::Task { input, .. } = &job.work {
                    bytes += input.as_str().len();
                }
                batch.push(match earlier {
                    Some(earlier) => earlier.look_up(job),
                    None => job,
                });
            }
            Err(error) => {
                break_off(earlier);
                result = Err(error);
                break;
            }
        }
        if batch.len() == BATCH || bytes >= BATCH_BYTES || stream.may_wait() {
            bytes = 0;
            let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
            if runtime.block_on(submitter.submit_many(full)).is_err() {
                // The run takes no more jobs, and reports the reason itself.
                break_off(earlier);
                return Ok(());
            }
        }
    }
    announce(total);
    if !batch.is_empty() {
        // If the run takes no more jobs, it reports the reason itself.
        let _ = runtime.block_on(submitter.submit_many(batch));
    }
    result
}

/// A stream whose commands get the terminal, one at a time.
struct TerminalJobs(Box<dyn JobStream>);

impl JobStream for TerminalJobs {
    fn next(&mut self) -> Option<Result<Job, CliError>> {
        Some(self.0.next()?.map(on_terminal))
    }

    fn may_wait(&self) -> bool {
        self.0.may_wait()
    }

    fn total(&self) -> Option<u64> {
        self.0.total()
    }

    fn placement(&self) -> Option<Placement> {
        self.0.placement()
    }

    fn may_use_cache(&self) -> bool {
        self.0.may_use_cache()
    }

    fn ended_jobs(&self) -> Option<Arc<EndedJobs>> {
        self.0.ended_jobs()
    }
}

/// Gives the terminal to a job, if it is a command.
pub(super) fn on_terminal(mut job: Job) -> Job {
    if let Work::Command(config) = &mut job.work {
        *config = Arc::new(ProcessConfig::clone(config).on_terminal());
    }
    job
}

/// The jobs of a JSON lines file, and those that were added to the earlier part of the run. A line that does not make a job is a
/// failed job, or an error with `--strict`.
struct FileLines {
    lines: Box<JobLines>,
    strict: bool,
    added: VecDeque<Job>,
}

impl JobStream for FileLines {
    fn next(&mut self) -> Option<Result<Job, CliError>> {
        let Some(line) = self.lines.next() else {
            return self.added.pop_front().map(Ok);
        };
        Some(match line {
            Ok(job) => Ok(job),
            Err(StreamError::Refused(line)) if self.strict => Err((*line).into()),
            Err(StreamError::Refused(line)) => Ok(line.job()),
            Err(StreamError::Unreadable(source)) => {
                let name = self.lines.name();
                // Jobs have run already, so this is not a usage error.
                Err(CliError::internal(format!("`{name}` cannot be read further")).because(source))
            }
        })
    }

    fn may_wait(&self) -> bool {
        self.lines.may_wait()
    }
}

impl JobStream for RepeatedJobs {
    fn next(&mut self) -> Option<Result<Job, CliError>> {
        self.next_job().map(Ok)
    }

    fn may_wait(&self) -> bool {
        Self::may_wait(self)
    }

    fn total(&self) -> Option<u64> {
        Self::total(self)
    }

    fn may_use_cache(&self) -> bool {
        false
    }

    fn ended_jobs(&self) -> Option<Arc<EndedJobs>> {
        Some(Self::ended_jobs(self))
    }
}

impl JobStream for MapJobs {
    fn next(&mut self) -> Option<Result<Job, CliError>> {
        Iterator::next(self).map(Ok)
    }

    fn may_wait(&self) -> bool {
        Self::may_wait(self)
    }

    fn total(&self) -> Option<u64> {
        Self::total(self)
    }

    fn placement(&self) -> Option<Placement> {
        Some(Self::placement(self))
    }

    fn may_use_cache(&self) -> bool {
        Self::may_use_cache(self)
    }
}
