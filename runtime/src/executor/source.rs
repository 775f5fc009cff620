//! The source of a run, from which its jobs are pulled.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ratchet_ipc::JobKey;
use tokio::sync::mpsc;

use crate::Error;
use crate::error::panic_message;
use crate::job::{Job, Work};
use crate::table::{Names, Table};

/// Refuses a job without an id, or a command without a program.
pub(super) fn check(job: &Job) -> Result<(), Error> {
    if job.id.as_str().is_empty() {
        return Err(Error::NoName);
    }
    match &job.work {
        Work::Command(config) if config.command.as_os_str().is_empty() => Err(Error::NoWork),
        _ => Ok(()),
    }
}

/// Jobs that were submitted together.
pub(super) type Batch = Vec<Arc<Job>>;

/// The source of the jobs of a run, which are pulled as the window has room.
pub(super) enum Source {
    /// A list of which all jobs are known. Each job comes after those that it needs, with its position in the original
    /// list.
    List {
        jobs: VecDeque<(u64, Job)>,
        total: u64,
        /// How many jobs need each needed job.
        needed: Table<JobKey, u32>,
    },
    /// A stream, whose jobs are known only when they are pulled.
    Stream(Box<dyn Iterator<Item = Job> + Send>),
    /// The jobs that a [`Submitter`](super::Submitter) sends.
    Submitted {
        coming: mpsc::Receiver<Vec<Arc<Job>>>,
        here: std::vec::IntoIter<Arc<Job>>,
    },
    /// No more jobs come.
    Exhausted,
}

/// The answer of a source that was asked for a job.
pub(super) enum Pulled {
    /// The next job, with its position if the source knows it.
    Job {
        position: Option<u64>,
        job: Arc<Job>,
    },
    /// No job has come yet. A submission wakes the loop.
    Nothing,
    /// No more jobs will come.
    Exhausted,
    /// The source panicked with this message, and has ended.
    Panicked(String),
}

impl Source {
    /// Makes a list in an order in which each job comes after those that it needs.
    ///
    /// Two jobs with the same id, a need that is not in the list, and a circle of needs are refused.
    pub(super) fn list(jobs: Vec<Job>) -> Result<Self, Error> {
        let mut names = Names::default();
        let mut needed: Table<JobKey, u32> = Table::default();
        for job in &jobs {
            if !names.insert(&job.id) {
                return Err(Error::DuplicateJob {
                    id: job.id.to_string(),
                });
            }
            for need in &job.needs {
                *needed.entry(need.clone()).or_default() += 1;
            }
        }
        drop(names);
        let total = jobs.len() as u64;
        let jobs = if needed.is_empty() {
            (0..).zip(jobs).collect()
        } else {
            in_order(jobs)?
        };
        Ok(Self::List {
            jobs,
            total,
            needed,
        })
    }

    /// Takes the next job, if there is one.
    pub(super) fn pull(&mut self) -> Pulled {
        let dry = match self {
            Self::List { jobs, .. } => match jobs.pop_front() {
                Some((position, job)) => {
                    let (position, job) = (Some(position), Arc::new(job));
                    return Pulled::Job { position, job };
                }
                None => Pulled::Exhausted,
            },
            // The iterator is foreign code, and the run has to end properly even if it panics.
            Self::Stream(jobs) => match catch_unwind(AssertUnwindSafe(|| jobs.next())) {
                Ok(Some(job)) => {
                    let job = Arc::new(job);
                    return Pulled::Job {
                        position: None,
                        job,
                    };
                }
                Ok(None) => Pulled::Exhausted,
                Err(panic) => Pulled::Panicked(panic_message(&*panic).to_owned()),
            },
            Self::Submitted { coming, here } => loop {
                if let Some(job) = here.next() {
                    return Pulled::Job {
                        position: None,
                        job,
                    };
                }
                match coming.try_recv() {
                    Ok(jobs) => *here = jobs.into_iter(),
                    Err(mpsc::error::TryRecvError::Empty) => return Pulled::Nothing,
                    Err(mpsc::error::TryRecvError::Disconnected) => break Pulled::Exhausted,
                }
            },
            Self::Exhausted => Pulled::Exhausted,
        };
        *self = Self::Exhausted;
        dry
    }

    /// Takes jobs that were submitted together.
    pub(super) fn received(&mut self, jobs: Vec<Arc<Job>>) {
        if let Self::Submitted { here, .. } = self {
            *here = jobs.into_iter();
        }
    }

    /// Stops taking jobs from outside. Jobs that were already handed over can still be pulled.
    pub(super) fn close(&mut self) {
        match self {
            Self::Submitted { coming, .. } => coming.close(),
            // The jobs of a stream were not handed over yet.
            Self::Stream(_) => *self = Self::Exhausted,
            Self::List { .. } | Self::Exhausted => {}
        }
    }

    /// Whether pulling would return a job now, or find that no more jobs come.
    pub(super) fn has_more(&self) -> bool {
        match self {
            Self::List { .. } | Self::Stream(_) => true,
            Self::Submitted { coming, here } => here.len() > 0 || !coming.is_empty(),
            Self::Exhausted => false,
        }
    }

    /// Whether the source is a list of which some jobs were not pulled yet.
    pub(super) fn is_list(&self) -> bool {
        matches!(self, Self::List { .. })
    }

    /// Whether no more jobs come.
    pub(super) fn is_exhausted(&self) -> bool {
        matches!(self, Self::Exhausted)
    }

    /// Iterates over the jobs that were handed over and not pulled yet.
    pub(super) fn handed_over(&self) -> impl Iterator<Item = &Job> {
        let (listed, submitted) = match self {
            Self::List { jobs, .. } => (Some(jobs), None),
            Self::Submitted { here, .. } => (None, Some(here.as_slice())),
            Self::Stream(_) | Self::Exhausted => (None, None),
        };
        let listed = listed.into_iter().flatten().map(|(_, job)| job);
        let submitted = submitted.into_iter().flatten().map(Arc::as_ref);
        listed.chain(submitted)
    }

    /// Returns how many jobs there are in all, if that is known.
    pub(super) fn total(&self) -> Option<u64> {
        match self {
            Self::List { total, .. } => Some(*total),
            _ => None,
        }
    }
}

/// Sorts jobs so that each comes after those that it needs. Each keeps its position in the list.
fn in_order(jobs: Vec<Job>) -> Result<VecDeque<(u64, Job)>, Error> {
    let order = Job::order_by_needs(&jobs)?;
    let mut positions: Vec<Option<Job>> = jobs.into_iter().map(Some).collect();
    let ordered = order.into_iter().map(|position| {
        #[expect(clippy::expect_used, reason = "an order has each position once")]
        let job = positions[position]
            .take()
            .expect("an order has each position once");
        (position as u64, job)
    });
    Ok(ordered.collect())
}
