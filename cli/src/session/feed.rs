//! Where the jobs of a run come from.

use std::sync::{Arc, Mutex, PoisonError};

use ratchet_runtime::journal::{Differences, Source, Verdict};
use ratchet_runtime::{
    Executor, History, Job, JobKey, Journal, Outcome, Resume, Run, Submitter, Work, order_by_needs,
};
use tokio::sync::oneshot;

use super::terminal::TerminalUse;
use crate::error::CliError;
use crate::job_file::{BadLine, Jobs, LineError, Lines};
use crate::map::MapJobs;

/// How many jobs are handed over together.
const BATCH: usize = 128;

/// Large jobs are handed over before there are so many, when they have as many bytes as this together.
const BATCH_BYTES: usize = 1024 * 1024;

/// The jobs of a run.
pub(crate) enum Feed {
    /// All of them are known.
    List(Vec<Job>),
    /// They are read as there is room.
    Stream(Box<dyn Stream>),
}

/// Jobs that are read one by one, on a thread where waiting for them holds up nobody.
pub(crate) trait Stream: Send {
    fn next(&mut self) -> Option<Result<Job, CliError>>;

    /// Whether asking for the next job may wait for whoever writes it.
    fn may_wait(&self) -> bool;

    /// How many jobs there are, where that is known before they are read.
    fn total(&self) -> Option<u64> {
        None
    }
}

impl Feed {
    pub(crate) fn of(jobs: Jobs, strict: bool) -> Self {
        match jobs {
            Jobs::Listed { jobs, .. } => Self::List(jobs),
            Jobs::Streamed(lines) => Self::Stream(Box::new(JobLines { lines, strict })),
        }
    }

    pub(crate) fn of_map(jobs: MapJobs) -> Self {
        Self::Stream(Box::new(jobs))
    }

    /// With the terminal for those of its jobs that are commands, if they are to have it.
    pub(crate) fn with_terminal(self, terminal: TerminalUse) -> Self {
        match (terminal, self) {
            (TerminalUse::Progress, feed) => feed,
            (TerminalUse::Job, Self::List(jobs)) => {
                Self::List(jobs.into_iter().map(on_terminal).collect())
            }
            (TerminalUse::Job, Self::Stream(stream)) => Self::Stream(Box::new(OnTerminal(stream))),
        }
    }

    /// Begins the run. What stops a stream is told by the second part, when the run has ended. `announce` is told how
    /// many jobs a stream has, as soon as that is known.
    pub(super) fn begin(
        self,
        executor: &Executor,
        earlier: Option<Earlier>,
        announce: impl Fn(u64) + Send + 'static,
    ) -> Result<(Run, Fed), CliError> {
        let mut earlier = earlier;
        match self {
            Self::List(jobs) => {
                let jobs = match &mut earlier {
                    Some(earlier) => earlier.look_up_all(jobs),
                    None => jobs,
                };
                let run = executor.run_list(jobs)?;
                let differences = earlier.map(Earlier::differences);
                Ok((run, Fed::Already(differences)))
            }
            Self::Stream(stream) => {
                let (submitter, run) = executor.open()?;
                let (told, fed) = oneshot::channel();
                let runtime = tokio::runtime::Handle::current();
                if let Some(total) = stream.total() {
                    announce(total);
                }
                std::thread::Builder::new()
                    .name("jobs".to_owned())
                    .spawn(move || {
                        let result = pour(stream, &submitter, &runtime, &mut earlier, announce);
                        let differences = earlier.map(Earlier::differences);
                        // The run may have ended without waiting for this.
                        let _ = told.send((result, differences));
                    })
                    .map_err(|error| CliError::Internal(format!("no thread for jobs: {error}")))?;
                Ok((run, Fed::Later(fed)))
            }
        }
    }
}

/// How the source of the jobs ended.
pub(super) enum Fed {
    Already(Option<Gone>),
    Later(oneshot::Receiver<(Result<(), CliError>, Option<Gone>)>),
}

/// How the jobs of now differ from those before, and how many of those before are not among them.
pub(super) type Gone = (Differences, u64);

impl Fed {
    /// What was read, once the run has ended; a source that still waits for jobs has nothing to say.
    pub(super) fn end(self) -> (Result<(), CliError>, Option<Gone>) {
        match self {
            Self::Already(differences) => (Ok(()), differences),
            Self::Later(mut fed) => fed.try_recv().unwrap_or((Ok(()), None)),
        }
    }
}

/// What became of the jobs in an earlier part of the run.
pub(super) struct Earlier {
    resume: Resume,
    /// The journal of the run, which goes on.
    journal: Arc<Mutex<Journal>>,
}

impl Earlier {
    pub(super) fn new(
        history: History,
        source: Option<&Source>,
        journal: &Arc<Mutex<Journal>>,
    ) -> Self {
        Self {
            resume: Resume::new(Arc::new(history), source),
            journal: Arc::clone(journal),
        }
    }

    /// Looks each job up after those that it needs, and leaves them in their order.
    fn look_up_all(&mut self, jobs: Vec<Job>) -> Vec<Job> {
        let order = order(&jobs);
        let mut jobs: Vec<Option<Job>> = jobs.into_iter().map(Some).collect();
        for place in order {
            let job = jobs.get_mut(place).and_then(Option::take);
            if let Some(job) = job {
                jobs[place] = Some(self.look_up(job));
            }
        }
        jobs.into_iter().flatten().collect()
    }

    /// A job that has succeeded before has ended, unless what it needs is done again.
    fn look_up(&mut self, job: Job) -> Job {
        let Verdict::Skip(recorded) = self.resume.decide(&job) else {
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
                    ..Job::ended(outcome)
                }
            }
            Err(error) => {
                tracing::warn!(%error, job = %job.id, "its result cannot be read, so it is run again");
                self.resume.redo(&recorded);
                job
            }
        }
    }

    /// Records that a result that is kept is that of another number now: its item stands elsewhere in the list.
    fn renumber(&self, job: &Job, outcome: &Outcome) {
        // Between two calls a journal is whole, whatever panicked then.
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = journal.append(job, outcome) {
            // A journal that failed once fails at each further call, so the run itself ends with this error.
            tracing::warn!(%error, job = %job.id, "its new number is not recorded");
        }
    }

    fn differences(self) -> Gone {
        (self.resume.differences(), self.resume.gone())
    }
}

/// The places of jobs, those that are needed first.
fn order(jobs: &[Job]) -> Vec<usize> {
    let in_file = || (0..jobs.len()).collect();
    if jobs.iter().all(|job| job.needs.is_empty()) {
        return in_file();
    }
    let names: Vec<(&str, Vec<&str>)> = jobs
        .iter()
        .map(|job| {
            let needs = job.needs.iter().map(JobKey::as_str);
            (job.id.as_str(), needs.collect())
        })
        .collect();
    // Jobs that cannot be ordered are refused when the run begins, in the words of the executor.
    order_by_needs(&names).unwrap_or_else(|_| in_file())
}

/// Hands the jobs of a stream over, together as long as there are more without waiting.
fn pour(
    mut stream: Box<dyn Stream>,
    submitter: &Submitter,
    runtime: &tokio::runtime::Handle,
    earlier: &mut Option<Earlier>,
    announce: impl Fn(u64),
) -> Result<(), CliError> {
    let mut total = 0;
    let mut batch = Vec::with_capacity(BATCH);
    let mut bytes = 0;
    let mut result = Ok(());
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
                result = Err(error);
                break;
            }
        }
        if batch.len() == BATCH || bytes >= BATCH_BYTES || stream.may_wait() {
            bytes = 0;
            let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
            if runtime.block_on(submitter.submit_many(full)).is_err() {
                // The run takes no more.
                return Ok(());
            }
        }
    }
    announce(total);
    if !batch.is_empty() {
        // If the run takes no more, it says why.
        let _ = runtime.block_on(submitter.submit_many(batch));
    }
    result
}

/// Jobs that have the terminal.
struct OnTerminal(Box<dyn Stream>);

impl Stream for OnTerminal {
    fn next(&mut self) -> Option<Result<Job, CliError>> {
        Some(self.0.next()?.map(on_terminal))
    }

    fn may_wait(&self) -> bool {
        self.0.may_wait()
    }
}

fn on_terminal(mut job: Job) -> Job {
    if let Work::Command(config) = &mut job.work {
        Arc::make_mut(config).terminal = true;
    }
    job
}

/// The lines of a job file.
struct JobLines {
    lines: Box<Lines>,
    strict: bool,
}

impl Stream for JobLines {
    fn next(&mut self) -> Option<Result<Job, CliError>> {
        Some(match self.lines.next()? {
            Ok(job) => Ok(job),
            Err(BadLine::Refused(error)) if self.strict => Err(refused(*error)),
            Err(BadLine::Refused(error)) => Ok(error.job()),
            Err(BadLine::Unreadable(source)) => Err(CliError::ReadFurther {
                name: self.lines.name().to_owned(),
                source,
            }),
        })
    }

    fn may_wait(&self) -> bool {
        self.lines.may_wait()
    }
}

fn refused(error: LineError) -> CliError {
    CliError::BadLine(Box::new(error.report))
}

impl Stream for MapJobs {
    fn next(&mut self) -> Option<Result<Job, CliError>> {
        Iterator::next(self).map(Ok)
    }

    fn may_wait(&self) -> bool {
        Self::may_wait(self)
    }

    fn total(&self) -> Option<u64> {
        Self::total(self)
    }
}
