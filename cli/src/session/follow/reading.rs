//! Where the jobs of a follower come from.

use ratchet_runtime::Job;
use tokio::sync::mpsc::{self, error::TryRecvError};

use super::BATCH;
use crate::error::CliError;
use crate::session::earlier::needs_first;
use crate::session::job_stream::JobStream;

/// How many batches of a stream are read ahead.
const READ_AHEAD: usize = 4;

/// A job with its position in the order in which the jobs were given.
pub(super) struct PlacedJob {
    /// The position, from 0 on.
    pub(super) position: u64,
    /// The job.
    pub(super) job: Job,
}

/// The part of the jobs that was not read yet.
pub(super) enum Reading {
    /// Jobs that are all known, in an order in which each comes after those that it needs.
    List(std::vec::IntoIter<PlacedJob>),
    /// A stream of jobs.
    Stream {
        /// The batches that were read ahead.
        batches: mpsc::Receiver<Vec<Result<Job, CliError>>>,
        /// The position of the next job.
        next: u64,
    },
    /// Nothing: all jobs were read.
    Over,
}

/// What one look at the source has found.
#[derive(Default)]
pub(super) struct JobsRead {
    /// The jobs, which may be none.
    pub(super) jobs: Vec<PlacedJob>,
    /// Why the source ends here, if it is broken. The jobs came before that.
    pub(super) error: Option<CliError>,
    /// Whether this look has found the end of the source.
    pub(super) is_end: bool,
}

impl Reading {
    /// Reads a list of jobs.
    pub(super) fn list(jobs: Vec<Job>) -> Self {
        let order = needs_first(&jobs);
        let mut jobs: Vec<Option<Job>> = jobs.into_iter().map(Some).collect();
        let ordered = order.into_iter().filter_map(|at| {
            let position = at as u64;
            jobs[at].take().map(|job| PlacedJob { position, job })
        });
        let ordered: Vec<PlacedJob> = ordered.collect();
        Self::List(ordered.into_iter())
    }

    /// Reads a stream on a thread of its own, because reading may wait.
    pub(super) fn stream(mut stream: Box<dyn JobStream>) -> Result<Self, CliError> {
        let (send, batches) = mpsc::channel(READ_AHEAD);
        std::thread::Builder::new()
            .name("jobs".to_owned())
            .spawn(move || {
                let mut batch = Vec::new();
                loop {
                    let next = stream.next();
                    let is_end = !matches!(next, Some(Ok(_)));
                    batch.extend(next);
                    if (is_end || batch.len() == BATCH || stream.may_wait())
                        && (send.blocking_send(std::mem::take(&mut batch)).is_err() || is_end)
                    {
                        return;
                    }
                }
            })
            .map_err(|error| {
                CliError::internal("the thread for jobs cannot be started").because(error)
            })?;
        Ok(Self::Stream { batches, next: 0 })
    }

    /// Whether all jobs were read.
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Over)
    }

    /// Takes at most a batch of the jobs that are there, without waiting.
    pub(super) fn read(&mut self) -> JobsRead {
        let mut read = JobsRead::default();
        match self {
            Self::Over => {}
            Self::List(jobs) => {
                read.jobs.extend(jobs.take(BATCH));
                read.is_end = read.jobs.is_empty();
            }
            Self::Stream { batches, next } => match batches.try_recv() {
                Ok(batch) => {
                    for job in batch {
                        match job {
                            Ok(job) => {
                                let position = *next;
                                *next += 1;
                                read.jobs.push(PlacedJob { position, job });
                            }
                            Err(error) => read.error = Some(error),
                        }
                    }
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => read.is_end = true,
            },
        }
        if read.is_end {
            *self = Self::Over;
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use ratchet_runtime::Payload;

    use super::*;

    #[test]
    fn a_list_is_read_in_batches_with_what_a_job_needs_before_it() {
        let mut jobs: Vec<Job> = (0..BATCH)
            .map(|number| Job::task(number.to_string(), "t", Payload::null()))
            .collect();
        jobs[0] = Job::task("0", "t", Payload::null()).needs(["1"]);
        let mut reading = Reading::list(jobs);
        let read = reading.read();
        assert_eq!(read.jobs.len(), BATCH);
        let positions: Vec<u64> = read.jobs.iter().map(|placed| placed.position).collect();
        let at = |wanted| positions.iter().position(|position| *position == wanted);
        assert!(at(1) < at(0), "{:?}", &positions[..3]);
        assert!(!read.is_end && !reading.is_over());
        let read = reading.read();
        assert!(read.jobs.is_empty() && read.is_end && reading.is_over());
        assert!(!reading.read().is_end, "the end is told once");
    }
}
