//! The source of the jobs of a run: a list, or a stream that is read when there is room.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use ratchet_runtime::process::ProcessConfig;
use ratchet_runtime::{Executor, Job, JobKey, Placement, Run, Stopped, Work};
use tokio::sync::oneshot;

use super::earlier::{EarlierOutcomes, ResumeDifferences};
#[cfg(feature = "queue")]
use super::follow::QueuedSource;
use super::follow::{FollowEnd, FollowerParts, QueuedJobs};
use super::job_stream::JobStream;
use super::repeated_jobs::{EndedJobs, RepeatedJobs, Repetition};
use super::terminal::TerminalUse;
use crate::error::CliError;
use crate::job_file::{JobLines, Jobs, StreamError, may_use_cache};
use crate::map::MapJobs;
use crate::output_file::OutputFiles;

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
    #[cfg_attr(
        not(feature = "queue"),
        expect(dead_code, reason = "a command without queues has no such jobs")
    )]
    Queued(Box<QueuedJobs>),
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

    /// Makes the jobs ones that are to be submitted to a queue.
    #[cfg(feature = "queue")]
    pub(crate) fn into_submission(self) -> QueuedSource {
        match self {
            Self::List(jobs) => QueuedSource::Listed(jobs),
            Self::Stream(stream) => QueuedSource::Streamed(stream),
            Self::Queued(queued) => queued.jobs,
        }
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
    /// is called with the number of jobs of a stream, as soon as that is known. `files` begin when the first job is known.
    pub(super) fn begin(
        self,
        executor: &Executor,
        earlier: Option<EarlierOutcomes>,
        (announce, files): (impl Fn(u64) + Send + 'static, OutputFiles),
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
                files.begin();
                Ok((run, SourceEnd::Follower(follower)))
            }
            Self::List(jobs) => {
                let jobs = match &mut earlier {
                    Some(earlier) => earlier.look_up_all(jobs),
                    None => jobs,
                };
                let count = jobs.len() as u64;
                let run = executor.run_list(jobs)?;
                if count > 0 {
                    files.begin();
                }
                let differences = earlier.map(EarlierOutcomes::differences);
                Ok((run, SourceEnd::Known(count, differences)))
            }
            Self::Stream(stream) => {
                let (submitter, run) = executor.open()?;
                let (send, ended) = oneshot::channel();
                let runtime = tokio::runtime::Handle::current();
                let total = stream.total();
                if let Some(total) = total {
                    announce(total);
                }
                std::thread::Builder::new()
                    .name("jobs".to_owned())
                    .spawn(move || {
                        let submit = |jobs| runtime.block_on(submitter.submit_many(jobs)).is_ok();
                        let jobs = submit_all(stream, submit, &mut earlier, announce, &files);
                        let differences = earlier.map(EarlierOutcomes::differences);
                        // A run that was stopped has ended without waiting for this.
                        let _ = send.send(EndedStream { jobs, differences });
                    })
                    .map_err(|error| {
                        CliError::internal("the thread for jobs cannot be started").because(error)
                    })?;
                Ok((run, SourceEnd::Thread { total, ended }))
            }
        }
    }
}

/// The end of the source of the jobs of a run.
pub(super) enum SourceEnd {
    /// A list of so many jobs ends when it is submitted.
    Known(u64, Option<ResumeDifferences>),
    /// The thread that reads a stream sends its end.
    Thread {
        /// How many jobs there are, if that was known before they were read.
        total: Option<u64>,
        ended: oneshot::Receiver<EndedStream>,
    },
    /// The task that follows the jobs in a queue.
    Follower(tokio::task::JoinHandle<FollowEnd>),
}

/// The end of a stream of jobs.
pub(super) struct EndedStream {
    /// How many jobs it had, unless not all could be read or submitted.
    jobs: Result<Option<u64>, CliError>,
    differences: Option<ResumeDifferences>,
}

/// How the source of the jobs of a run ended.
pub(super) struct EndedSource {
    /// How many jobs the source had, if that is known.
    pub(super) jobs: Option<u64>,
    /// The error of the source, if not all jobs could be read.
    pub(super) result: Result<(), CliError>,
    /// How the jobs of a resumed run differ from those of its earlier part.
    pub(super) differences: Option<ResumeDifferences>,
    /// The rule by which the source itself ended the run.
    pub(super) stopped: Option<Stopped>,
}

impl SourceEnd {
    /// Returns how the source of a run that has ended came to its end. A stream that still waits for jobs has no error and no
    /// differences.
    pub(super) async fn end(self) -> EndedSource {
        let (jobs, result, differences) = match self {
            Self::Known(count, differences) => (Some(count), Ok(()), differences),
            Self::Thread { total, mut ended } => match ended.try_recv() {
                Ok(EndedStream { jobs, differences }) => match jobs {
                    Ok(jobs) => (jobs.or(total), Ok(()), differences),
                    Err(error) => (None, Err(error), differences),
                },
                Err(_) => (total, Ok(()), None),
            },
            Self::Follower(follower) => {
                return match follower.await {
                    Ok(FollowEnd {
                        result,
                        differences,
                        stopped,
                    }) => EndedSource {
                        jobs: None,
                        result,
                        differences,
                        stopped,
                    },
                    Err(error) => EndedSource {
                        jobs: None,
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
            jobs,
            result,
            differences,
            stopped: None,
        }
    }
}

/// Submits the jobs of a stream, in batches of the jobs that can be read without waiting. `submit` returns whether the run
/// has taken them. Returns how many jobs there were, unless the run took no more.
fn submit_all(
    mut stream: Box<dyn JobStream>,
    submit: impl Fn(Vec<Job>) -> bool,
    earlier: &mut Option<EarlierOutcomes>,
    announce: impl Fn(u64),
    files: &OutputFiles,
) -> Result<Option<u64>, CliError> {
    let mut total = 0;
    let mut batch = Vec::with_capacity(BATCH);
    let mut bytes = 0;
    let mut result = Ok(None);
    let break_off = |earlier: &mut Option<EarlierOutcomes>| {
        if let Some(earlier) = earlier {
            earlier.break_off();
        }
    };
    while let Some(job) = stream.next() {
        match job {
            Ok(job) => {
                if total == 0 {
                    files.begin();
                }
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
            if !submit(full) {
                // The run takes no more jobs, and reports the reason itself.
                break_off(earlier);
                return Ok(None);
            }
        }
    }
    announce(total);
    if !batch.is_empty() {
        // If the run takes no more jobs, it reports the reason itself.
        submit(batch);
    }
    result.map(|_: Option<u64>| Some(total))
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
