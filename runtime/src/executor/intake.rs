//! The intake of a run pulls jobs from their source, and checks their ids and their dependencies.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use ratchet_ipc::JobKey;

use super::arrival::{Arrival, Refused};
use super::cancelled::CancelReason;
use super::job_window::{JobWindow, UndeliveredOutcomes};
use super::needs::{Needs, NeedsStatus, RetainedJobs};
use super::source::{Batch, Pulled, Source, check};
use super::times::JobTimes;
use crate::Error;
use crate::job::{Job, Work};
use crate::outcome::{Class, Failure};
use crate::table::{Names, Table};

/// The decision about a job that was pulled.
#[derive(Debug)]
pub(super) enum Admitted {
    /// No need of the job is left to wait for.
    Clear(Arrival),
    /// The job waits for other jobs, and [`Intake::release`] returns it later.
    Waits,
    /// The job ends without an attempt.
    Refused(Refused),
}

/// Owns the source of jobs, and knows which pulled jobs are unfinished and which of them wait for others.
pub(super) struct Intake {
    source: Source,
    /// How many jobs the run will have, if that is known.
    total: Option<u64>,
    /// How many jobs were pulled.
    taken: u64,
    /// The ids of unfinished jobs; `None` if the source has already checked that ids are unique.
    names: Option<Names<JobKey>>,
    needs: Needs,
    /// The jobs that have ended and whose dependents were not released yet, each with whether it succeeded.
    ended: VecDeque<(JobKey, bool)>,
    in_hand: JobWindow,
    /// The jobs that were added during the run. Each has its position, if the source has a known number of jobs.
    added: VecDeque<(Option<u64>, Arc<Job>)>,
    /// The ids of jobs that were cancelled before they were pulled.
    cancelled: Names<JobKey>,
}

impl Intake {
    /// Makes an intake from a source that was not pulled from yet.
    pub(super) fn new(
        mut source: Source,
        memory: RetainedJobs,
        window: usize,
        now: Instant,
    ) -> Self {
        let total = source.total();
        let (needs, names) = match &mut source {
            // A list has already counted which jobs are needed, and checked that ids are unique.
            Source::List { needed, .. } => (
                Needs::new(std::mem::take(needed), RetainedJobs::Nothing),
                None,
            ),
            _ => (Needs::new(Table::default(), memory), Some(Names::default())),
        };
        Self {
            source,
            total,
            taken: 0,
            names,
            needs,
            ended: VecDeque::new(),
            in_hand: JobWindow::new(window, now),
            added: VecDeque::new(),
            cancelled: Names::default(),
        }
    }

    /// Returns how many jobs the run will have, if that is known.
    pub(super) fn total(&self) -> Option<u64> {
        self.total
    }

    /// Returns how many jobs were pulled so far.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Returns how many jobs were pulled and have no outcome yet.
    pub(super) fn unfinished(&self) -> usize {
        self.in_hand.unfinished()
    }

    /// Whether no more jobs will come.
    pub(super) fn is_exhausted(&self) -> bool {
        self.source.is_exhausted() && self.added.is_empty()
    }

    /// Whether pulling would return a job now, or find that no more jobs come.
    pub(super) fn has_more(&self) -> bool {
        self.source.has_more() || !self.added.is_empty()
    }

    /// Whether the window has room for another job, besides the outcomes that are not delivered yet.
    pub(super) fn has_room(&self, out: UndeliveredOutcomes) -> bool {
        self.in_hand.has_room(out)
    }

    /// Records how many jobs have ended since the run began.
    pub(super) fn note_ended(&mut self, ended: u64, now: Instant) {
        self.in_hand.note_ended(ended, now);
    }

    /// Returns the time until which no more jobs have to be pulled, because jobs end fast and `ready` of them could
    /// start already. `ahead` returns how many attempts can be sent ahead at most.
    pub(super) fn enough_until(
        &self,
        ready: usize,
        ahead: impl FnOnce() -> usize,
        now: Instant,
    ) -> Option<Instant> {
        self.in_hand.enough_until(ready, ahead, now)
    }

    /// Waits for the next submitted jobs; `None` says that no more come. It waits forever if the source is no channel,
    /// or if earlier submitted jobs were not pulled yet. Cancel safe.
    pub(super) async fn submitted(&mut self) -> Option<Vec<Arc<Job>>> {
        match &mut self.source {
            Source::Submitted { coming, here } if here.len() == 0 => coming.recv().await,
            _ => std::future::pending().await,
        }
    }

    /// Takes submitted jobs; `None` ends the source.
    pub(super) fn received(&mut self, jobs: Option<Vec<Arc<Job>>>) {
        match jobs {
            Some(jobs) => self.source.received(jobs),
            None => self.source = Source::Exhausted,
        }
    }

    /// Stops taking jobs from outside. Jobs that were already handed over can still be pulled.
    pub(super) fn close(&mut self) {
        self.source.close();
    }

    /// Takes the next job from the source.
    ///
    /// Added jobs may need jobs of a list, so they come after the list. Any other source may never end, so added jobs
    /// come before it.
    pub(super) fn pull(&mut self) -> Pulled {
        if self.added.is_empty() || self.source.is_list() {
            match self.source.pull() {
                Pulled::Exhausted | Pulled::Nothing if !self.added.is_empty() => {}
                pulled => return pulled,
            }
        }
        match self.added.pop_front() {
            Some((position, job)) => Pulled::Job { position, job },
            None => Pulled::Nothing,
        }
    }

    /// Iterates over the ids of the jobs that the run knows and that were not pulled yet.
    pub(super) fn pending(&self) -> impl Iterator<Item = &JobKey> {
        let added = self.added.iter().map(|(_, job)| &job.id);
        self.source.handed_over().map(|job| &job.id).chain(added)
    }

    /// Iterates over the jobs that the run knows and that were not pulled yet, without those that were cancelled.
    pub(super) fn pending_jobs(&self) -> impl Iterator<Item = &Job> {
        let added = self.added.iter().map(|(_, job)| &**job);
        let pending = self.source.handed_over().chain(added);
        pending.filter(|job| !self.cancelled.contains(&job.id))
    }

    /// Marks jobs that were not pulled yet as cancelled. Each ends without an attempt when it is pulled.
    pub(super) fn cancel_pending(&mut self, ids: impl IntoIterator<Item = JobKey>) {
        self.cancelled.extend(ids);
    }

    /// Adds jobs to the run. Each may need jobs before it in the batch, and unfinished jobs of the run. `unfinished` has
    /// the ids of the jobs that were pulled and have not ended.
    ///
    /// All are added or none is.
    pub(super) fn add(&mut self, jobs: Batch, unfinished: &Names<JobKey>) -> Result<(), Error> {
        let mut added: Names<&JobKey> = Names::default();
        let is_list = self.source.is_list();
        let pending: Names<&JobKey> = self.pending().collect();
        for job in &jobs {
            check(job)?;
            let id = &job.id;
            if unfinished.contains(id)
                || pending.contains(id)
                || self.needs.remembers(id)
                || !added.insert(id)
            {
                let id = id.to_string();
                return Err(Error::DuplicateJob { id });
            }
            let is_known = |need: &JobKey| {
                let comes_before = added.contains(need) && need != id;
                let is_pending = is_list && pending.contains(need);
                comes_before || is_pending || unfinished.contains(need) || self.needs.knows(need)
            };
            if let Some(need) = job.needs.iter().find(|need| !is_known(need)) {
                return Err(Error::UnknownNeed {
                    job: id.to_string(),
                    need: need.to_string(),
                    suggestion: None,
                });
            }
        }
        for job in jobs {
            for need in &job.needs {
                self.needs.expect(need, unfinished.contains(need));
            }
            let position = self.total;
            if let Some(total) = &mut self.total {
                *total += 1;
            }
            self.added.push_back((position, job));
        }
        Ok(())
    }

    /// Counts a pulled job. The caller has to pass it to [`admit`](Self::admit).
    pub(super) fn arrive(&mut self, position: Option<u64>, job: Arc<Job>, now: Instant) -> Arrival {
        let arrival = Arrival {
            job,
            position: position.unwrap_or(self.taken),
            times: Box::new(JobTimes::new(now)),
        };
        self.taken += 1;
        self.in_hand.add(arrival.job.weight());
        arrival
    }

    /// Checks the id and the needs of a pulled job, and decides whether it can proceed.
    pub(super) fn admit(&mut self, arrival: Arrival) -> Admitted {
        let id = &arrival.job.id;
        if id.as_str().is_empty() {
            return refuse_nameless(arrival, &Error::NoName);
        }
        let names = self.names.as_mut();
        if self.needs.remembers(id) || !names.is_none_or(|names| names.insert(id.clone())) {
            let id = id.to_string();
            return refuse_nameless(arrival, &Error::DuplicateJob { id });
        }
        self.needs.arrived(id);
        if !self.cancelled.is_empty() && self.cancelled.remove(id) {
            return Admitted::Refused(Refused::new(
                arrival,
                CancelReason::Request.while_waiting(0),
            ));
        }
        let names = self.names.as_ref();
        let lives = |id: &JobKey| names.is_some_and(|names| names.contains(id));
        admitted(self.needs.admit(arrival, lives))
    }

    /// Whether a waiting job needs this one.
    pub(super) fn is_needed(&self, id: &JobKey) -> bool {
        self.needs.is_needed(id)
    }

    /// Removes a job that has its outcome from the count of unfinished jobs.
    pub(super) fn concluded(&mut self, job: &Job) {
        self.in_hand.remove(job.weight());
    }

    /// Records that the outcome of a job is final: its id is free again, and its dependents may proceed.
    pub(super) fn ended(&mut self, id: &JobKey, well: bool) {
        if let Some(names) = &mut self.names {
            names.remove(id);
        }
        if self.needs.record_end(id, well) {
            self.ended.push_back((id.clone(), well));
        }
    }

    /// Returns the jobs that waited for one ended job and no longer wait; `None` once all ended jobs were handled.
    pub(super) fn release(&mut self) -> Option<impl Iterator<Item = Admitted> + use<>> {
        let (id, well) = self.ended.pop_front()?;
        Some(self.needs.ended(&id, well).into_iter().map(admitted))
    }

    /// Whether jobs have ended whose dependents were not released yet.
    pub(super) fn has_unreleased(&self) -> bool {
        !self.ended.is_empty()
    }

    /// Iterates over the jobs that wait for other jobs, each with the ids of those that have not ended yet.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (&Arrival, Vec<JobKey>)> {
        self.needs.waiting()
    }

    /// Iterates over the jobs that wait for other jobs.
    pub(super) fn waiting_jobs(&self) -> impl Iterator<Item = &Arrival> {
        self.needs.waiting_jobs()
    }

    /// Removes and returns the jobs that wait for others and for which the condition holds.
    pub(super) fn take(&mut self, is_wanted: impl Fn(&Arrival) -> bool) -> Vec<Arrival> {
        self.needs.take(is_wanted)
    }

    /// Removes and returns all jobs that wait for others, because the run stops.
    pub(super) fn give_up(&mut self) -> Vec<Arrival> {
        self.needs.give_up()
    }
}

/// Turns the state of a job's dependencies into the decision about the job.
fn admitted(status: NeedsStatus) -> Admitted {
    match status {
        NeedsStatus::Clear(arrival) => Admitted::Clear(arrival),
        NeedsStatus::Waits => Admitted::Waits,
        NeedsStatus::Lost(arrival, need) => {
            let message = format!("it needs `{need}`, which did not succeed");
            Admitted::Refused(Refused::new(arrival, Failure::new(Class::Need, message)))
        }
        NeedsStatus::Unknown(arrival, need) => {
            let message = format!(
                "it needs `{need}`, which has not come before it: give the jobs as a list, or let the executor remember"
            );
            Admitted::Refused(Refused::new(arrival, Failure::new(Class::Input, message)))
        }
    }
}

/// Refuses a job that has no id, or the id of another job.
fn refuse_nameless(arrival: Arrival, error: &Error) -> Admitted {
    let failure = match &arrival.job.work {
        // The job was refused before, and that failure says better what is wrong and where.
        Work::Refused { failure, .. } => failure.clone(),
        _ => Box::new(Failure::new(Class::Input, error.to_string())),
    };
    Admitted::Refused(Refused {
        arrival,
        failure,
        lacks_own_id: true,
    })
}

#[cfg(test)]
mod tests {
    use ratchet_ipc::Payload;

    use super::*;

    fn job(id: &str, needs: &[&str]) -> Job {
        let job = Job::closure(id, |_| async { Ok(Payload::null()) });
        job.needs(needs.iter().copied())
    }

    fn intake(source: Source, memory: RetainedJobs) -> Intake {
        Intake::new(source, memory, 10, tokio::time::Instant::now().into_std())
    }

    fn stream(jobs: Vec<Job>) -> Source {
        Source::Stream(Box::new(jobs.into_iter()))
    }

    /// Pulls and admits all there is, and tells what became of it.
    fn admit_all(intake: &mut Intake) -> Vec<String> {
        let now = tokio::time::Instant::now().into_std();
        let mut told = Vec::new();
        while let Pulled::Job { position, job } = intake.pull() {
            let arrival = intake.arrive(position, job, now);
            told.push(tell(intake.admit(arrival)));
        }
        told
    }

    fn tell(admitted: Admitted) -> String {
        match admitted {
            Admitted::Clear(arrival) => format!("{} is clear", arrival.job.id),
            Admitted::Waits => "one waits".to_owned(),
            Admitted::Refused(refused) => {
                format!("{}: {}", refused.arrival.job.id, refused.failure.message)
            }
        }
    }

    fn release_all(intake: &mut Intake) -> Vec<String> {
        let mut told = Vec::new();
        while let Some(released) = intake.release() {
            told.extend(released.map(tell));
        }
        told
    }

    #[test]
    fn a_job_of_a_list_waits_until_all_that_it_needs_has_succeeded() {
        let jobs = vec![job("last", &["a", "b"]), job("a", &[]), job("b", &[])];
        let mut intake = intake(Source::list(jobs).unwrap(), RetainedJobs::Nothing);
        assert_eq!(intake.total(), Some(3));
        assert_eq!(
            admit_all(&mut intake),
            ["a is clear", "b is clear", "one waits"]
        );
        assert!(intake.is_exhausted() && intake.unfinished() == 3);
        intake.ended(&"a".into(), true);
        assert!(intake.has_unreleased());
        assert!(release_all(&mut intake).is_empty());
        intake.ended(&"b".into(), true);
        assert_eq!(release_all(&mut intake), ["last is clear"]);
    }

    #[test]
    fn a_job_is_refused_whose_need_did_not_succeed() {
        let jobs = vec![job("a", &[]), job("b", &["a"])];
        let mut intake = intake(Source::list(jobs).unwrap(), RetainedJobs::Nothing);
        admit_all(&mut intake);
        intake.ended(&"a".into(), false);
        let told = release_all(&mut intake);
        assert_eq!(told, ["b: it needs `a`, which did not succeed"]);
    }

    #[test]
    fn the_name_of_a_job_that_lives_is_refused_and_that_of_one_that_has_ended_is_not() {
        let jobs = vec![job("a", &[]), job("a", &[])];
        let mut intake = intake(stream(jobs), RetainedJobs::Nothing);
        let told = admit_all(&mut intake);
        assert_eq!(told[0], "a is clear");
        assert!(told[1].contains("is there twice"), "{told:?}");
        intake.ended(&"a".into(), true);
        let now = tokio::time::Instant::now().into_std();
        let again = intake.arrive(None, Arc::new(job("a", &[])), now);
        assert_eq!(tell(intake.admit(again)), "a is clear");
    }

    #[test]
    fn a_run_that_stops_takes_back_those_that_wait() {
        let jobs = vec![job("a", &[]), job("c", &["a"]), job("b", &["a"])];
        let mut intake = intake(Source::list(jobs).unwrap(), RetainedJobs::Nothing);
        admit_all(&mut intake);
        let left = intake.give_up();
        let names: Vec<&str> = left.iter().map(|arrival| arrival.job.id.as_str()).collect();
        assert_eq!(names, ["c", "b"]);
        intake.ended(&"a".into(), true);
        assert!(release_all(&mut intake).is_empty());
    }
}
