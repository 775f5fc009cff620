//! The jobs of a follower that are not in the queue yet.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use ratchet_queue::{JobName, JobSpec, JobState, Refusal, Submitted};
use ratchet_runtime::{Class, Failure, JobKey};
use tokio::time::Instant;

use super::BATCH;
use super::ends::Ended;
use super::reading::PlacedJob;
use crate::queue::SpecMaker;

/// The first and the longest pause before jobs are submitted again after the queue was full.
const FIRST_FULL_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_FULL_PAUSE: Duration = Duration::from_secs(2);

/// The jobs that are to be submitted, in the order in which that happens.
pub(super) struct Submissions {
    maker: SpecMaker,
    pending: VecDeque<PlacedJob>,
    /// Those of them whose old ends have to be forgotten first, because they are done again.
    redone: HashSet<JobKey>,
    /// The jobs that others need and that have succeeded in an earlier part of the run. The queue may have forgotten them.
    kept: HashSet<JobKey>,
    /// How many jobs were in the queue before.
    known: u64,
    /// No job is submitted before, because the queue was full.
    full_until: Option<Instant>,
    full_pause: Duration,
}

/// What one call submits.
#[derive(Default)]
pub(super) struct SubmitBatch {
    /// What the queue is asked for.
    pub(super) specs: Vec<JobSpec>,
    /// The jobs of these.
    pub(super) jobs: Vec<PlacedJob>,
    /// The names whose old ends have to be forgotten first.
    pub(super) forgotten: Vec<JobName>,
    /// Jobs that end without being submitted.
    pub(super) ended: Vec<Ended>,
}

/// What the answers to a submission say.
#[derive(Default)]
pub(super) struct SubmitAnswers {
    /// The jobs that are in the queue now.
    pub(super) accepted: Vec<(JobName, PlacedJob)>,
    /// Those of them that had ended before, so that no event will tell how.
    pub(super) had_ended: Vec<JobName>,
    /// The jobs that the queue refuses.
    pub(super) ended: Vec<Ended>,
    /// Whether the queue was full.
    pub(super) was_full: bool,
}

impl Submissions {
    /// Makes a line without jobs.
    pub(super) fn new(maker: SpecMaker) -> Self {
        Self {
            maker,
            pending: VecDeque::new(),
            redone: HashSet::new(),
            kept: HashSet::new(),
            known: 0,
            full_until: None,
            full_pause: FIRST_FULL_PAUSE,
        }
    }

    /// Returns how many jobs are in line.
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    /// Whether no job is in line.
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Returns how many jobs were in the queue before they were submitted.
    pub(super) fn known(&self) -> u64 {
        self.known
    }

    /// Returns the name of the submission.
    pub(super) fn name(&self) -> &str {
        &self.maker.submission
    }

    /// Puts a job in line. `is_redone` says that it has ended in an earlier part of the run and is done again.
    pub(super) fn push(&mut self, placed: PlacedJob, is_redone: bool) {
        if is_redone {
            self.redone.insert(placed.job.id.clone());
        }
        self.pending.push_back(placed);
    }

    /// Records that a job has succeeded in an earlier part of the run, so that the queue is not asked to wait for it.
    pub(super) fn keep(&mut self, id: JobKey) {
        self.kept.insert(id);
    }

    /// Takes all jobs out of the line.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = PlacedJob> {
        self.pending.drain(..)
    }

    /// Whether jobs may be submitted now.
    pub(super) fn may_submit(&self, now: Instant) -> bool {
        !self.is_empty() && self.full_until.is_none_or(|until| until <= now)
    }

    /// Takes jobs out of the line for one call. `has_failed` says which jobs have not succeeded.
    pub(super) fn next_batch(&mut self, has_failed: impl Fn(&JobKey) -> bool) -> SubmitBatch {
        let mut batch = SubmitBatch::default();
        while batch.jobs.len() < BATCH
            && let Some(placed) = self.pending.pop_front()
        {
            let job = &placed.job;
            if let Some(need) = job.needs.iter().find(|need| has_failed(need)) {
                let message = format!("it needs `{need}`, which did not succeed");
                let failure = Failure::new(Class::Need, message);
                batch.ended.push(Ended::failed(placed, failure));
                continue;
            }
            match self.maker.spec(job, |need| !self.kept.contains(need)) {
                Ok(spec) => {
                    if self.redone.contains(&job.id) {
                        batch.forgotten.push(spec.name.clone());
                    }
                    batch.specs.push(spec);
                    batch.jobs.push(placed);
                }
                Err(refused) => {
                    let message = format!("{}; {}", refused.message, refused.help);
                    let failure = Failure::new(Class::Input, message);
                    batch.ended.push(Ended::failed(placed, failure));
                }
            }
        }
        batch
    }

    /// Takes a batch back of which nothing was sent, because this job is too large. Returns the end of that job.
    pub(super) fn take_back(
        &mut self,
        (specs, jobs): (&[JobSpec], Vec<PlacedJob>),
        too_large: &JobName,
        message: &str,
    ) -> Vec<Ended> {
        let mut ended = Vec::new();
        for (placed, spec) in jobs.into_iter().zip(specs).rev() {
            if spec.name == *too_large {
                let failure = Failure::new(Class::TooLarge, message);
                ended.push(Ended::failed(placed, failure));
            } else {
                self.pending.push_front(placed);
            }
        }
        ended
    }

    /// Sorts the jobs of a call by the answers of the queue. Those that found it full wait in line again.
    pub(super) fn sort_answers(
        &mut self,
        answers: Vec<Submitted>,
        (specs, jobs): (&[JobSpec], Vec<PlacedJob>),
        now: Instant,
    ) -> SubmitAnswers {
        let mut sorted = SubmitAnswers::default();
        let mut full = Vec::new();
        for ((answer, placed), spec) in answers.into_iter().zip(jobs).zip(specs) {
            match answer {
                Submitted::Full => {
                    full.push(placed);
                    continue;
                }
                Submitted::Refused(refusal) => {
                    sorted.ended.push(Ended::failed(placed, refused(&refusal)));
                    continue;
                }
                Submitted::Accepted => {}
                Submitted::Known(state) => {
                    self.known += 1;
                    if let JobState::Ended(_) = state {
                        sorted.had_ended.push(spec.name.clone());
                    }
                }
            }
            self.redone.remove(&placed.job.id);
            sorted.accepted.push((spec.name.clone(), placed));
        }
        sorted.was_full = !full.is_empty();
        for placed in full.into_iter().rev() {
            self.pending.push_front(placed);
        }
        if sorted.was_full {
            self.full_until = Some(now + self.full_pause);
            self.full_pause = (self.full_pause * 2).min(LONGEST_FULL_PAUSE);
        } else {
            self.full_pause = FIRST_FULL_PAUSE;
            self.full_until = None;
        }
        sorted
    }
}

/// Returns the failure of a job that the queue does not take.
fn refused(refusal: &Refusal) -> Failure {
    Failure::new(
        Class::Input,
        format!("the queue does not take it: {refusal}"),
    )
}

#[cfg(test)]
mod tests {
    use ratchet_runtime::{Job, Payload};

    use super::*;

    fn submissions(ids: &[&str]) -> Submissions {
        let mut submissions = Submissions::new(SpecMaker {
            submission: "s".to_owned(),
            labels: Vec::new(),
            unservable_after: None,
            folder: "/".into(),
        });
        for (position, id) in (0..).zip(ids) {
            let job = Job::task(*id, "t", Payload::null());
            submissions.push(PlacedJob { position, job }, false);
        }
        submissions
    }

    fn ids(jobs: &[PlacedJob]) -> String {
        let ids: Vec<&str> = jobs.iter().map(|placed| placed.job.id.as_str()).collect();
        ids.join(" ")
    }

    #[tokio::test(start_paused = true)]
    async fn jobs_that_find_the_queue_full_are_submitted_again_in_their_order_after_a_growing_pause()
     {
        let mut submissions = submissions(&["a", "b", "c"]);
        for pause in [100, 200, 400, 800, 1600, 2000, 2000] {
            let now = Instant::now();
            assert!(submissions.may_submit(now));
            let SubmitBatch { specs, jobs, .. } = submissions.next_batch(|_| false);
            assert_eq!(ids(&jobs), "a b c");
            let answers = jobs.iter().map(|_| Submitted::Full).collect();
            let sorted = submissions.sort_answers(answers, (&specs, jobs), now);
            assert!(sorted.was_full && sorted.accepted.is_empty());
            let pause = Duration::from_millis(pause);
            assert!(!submissions.may_submit(now + pause - Duration::from_millis(1)));
            assert!(submissions.may_submit(now + pause));
            tokio::time::advance(pause).await;
        }
        let SubmitBatch { specs, jobs, .. } = submissions.next_batch(|_| false);
        let answers = vec![Submitted::Accepted, Submitted::Full, Submitted::Full];
        let sorted = submissions.sort_answers(answers, (&specs, jobs), Instant::now());
        assert_eq!(sorted.accepted.len(), 1);
        assert_eq!(submissions.len(), 2);
    }

    #[test]
    fn only_the_job_that_is_too_large_ends_and_the_others_keep_their_order() {
        let mut submissions = submissions(&["a", "b", "c"]);
        let SubmitBatch { specs, jobs, .. } = submissions.next_batch(|_| false);
        let ended = submissions.take_back((&specs, jobs), &specs[1].name, "too large");
        assert_eq!(ended.len(), 1);
        assert_eq!(ended[0].outcome.id.as_str(), "b");
        assert_eq!(ids(&submissions.next_batch(|_| false).jobs), "a c");
    }

    #[test]
    fn a_job_whose_need_has_failed_is_not_submitted() {
        let mut submissions = submissions(&["a"]);
        let job = Job::task("b", "t", Payload::null()).needs(["lost"]);
        submissions.push(PlacedJob { position: 1, job }, false);
        let batch = submissions.next_batch(|need| need.as_str() == "lost");
        assert_eq!(ids(&batch.jobs), "a");
        let message = &batch.ended[0].outcome.result.as_ref().unwrap_err().message;
        assert_eq!(message, "it needs `lost`, which did not succeed");
    }
}
