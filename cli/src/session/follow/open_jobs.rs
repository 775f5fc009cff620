//! The jobs of a follower that are in the queue, and what its events say about them.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use ratchet_queue::{
    Event, EventKind, ExplainedState, Explanation, FinalStatus, JobName, NodeId, NodeInfo,
};
use ratchet_runtime::process::working_now;
use ratchet_runtime::{
    AttemptDetail, AttemptEnd, Class, Failure, Job, JobKey, PlaceName, Timestamp,
};

use super::ends::Ended;
use super::live_events::LiveEvents;
use super::reading::PlacedJob;
use crate::queue::{EndFacts, Handover, QueuedProgress, outcome_of};

/// The jobs that are in the queue.
pub(super) struct OpenJobs {
    jobs: HashMap<JobName, OpenJob>,
    running: HashSet<JobName>,
    /// Jobs that fail next because no node could do them.
    unservable: HashSet<JobName>,
    /// What nodes are called.
    nodes: HashMap<NodeId, PlaceName>,
    /// Who hears what happens to jobs before they end.
    live: LiveEvents,
}

/// A job in the queue.
struct OpenJob {
    placed: PlacedJob,
    submitted: std::time::Instant,
    /// The number of its latest attempt, as far as it was heard of.
    attempt: u32,
    /// When that attempt began, by the clock of the queue, and where.
    begun: Option<(Timestamp, Option<PlaceName>)>,
    /// Its attempts that have failed on nodes.
    failed: Option<Handover>,
    /// Its attempts that were lost with their nodes, of which no node tells.
    lost: Vec<AttemptDetail>,
}

impl OpenJob {
    /// Notes that the attempt that ran was lost at a moment.
    fn lose_attempt(&mut self, at: Timestamp, (class, why): (Class, &str)) {
        let Some((started, place)) = self.begun.take() else {
            // It began before the queue was followed.
            return;
        };
        let millis = at.as_millis().saturating_sub(started.as_millis());
        self.lost.push(AttemptDetail {
            number: self.attempt,
            slot: None,
            worker: None,
            place,
            started,
            duration: Duration::from_millis(millis),
            usage: None,
            end: AttemptEnd::Failed(class),
            failure: Some(Box::new(Failure::new(class, why))),
        });
    }
}

/// What the queue says of the end of a job.
struct EndReport<'a> {
    status: FinalStatus,
    attempts: u32,
    is_unservable: bool,
    result: &'a [u8],
}

impl OpenJobs {
    /// Makes a table without jobs. `live` hears what happens to jobs before they end.
    pub(super) fn new(live: LiveEvents) -> Self {
        Self {
            jobs: HashMap::new(),
            running: HashSet::new(),
            unservable: HashSet::new(),
            nodes: HashMap::new(),
            live,
        }
    }

    /// Returns how many jobs are in the queue.
    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whether no job is in the queue.
    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Returns how many jobs run.
    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    /// Returns the names of all jobs.
    pub(super) fn names(&self) -> Vec<JobName> {
        self.jobs.keys().cloned().collect()
    }

    /// Tells that a job is about to be submitted.
    pub(super) fn tell_queued(&self, job: &Job) {
        self.live.queued(job);
    }

    /// Adds a job that is in the queue now.
    pub(super) fn add(&mut self, name: JobName, placed: PlacedJob) {
        let open = OpenJob {
            placed,
            submitted: working_now(),
            attempt: 0,
            begun: None,
            failed: None,
            lost: Vec::new(),
        };
        self.jobs.insert(name, open);
    }

    /// Adds jobs that another call has submitted. Only their names are known.
    pub(super) fn attach(&mut self, names: Vec<JobName>) {
        for (position, name) in (0..).zip(names) {
            let id = name.as_str().split_once('/').map_or("", |(_, id)| id);
            let unknown = Failure::new(Class::Input, "it was submitted elsewhere");
            let job = Job::refused(id, "unknown", unknown);
            self.tell_queued(&job);
            self.add(name, PlacedJob { position, job });
        }
    }

    /// Learns what the nodes are called.
    pub(super) fn know_nodes(&mut self, nodes: Vec<NodeInfo>) {
        let named = nodes
            .into_iter()
            .map(|info| (info.node, PlaceName::new(&info.spec.name)));
        self.nodes.extend(named);
    }

    /// Takes an event in. Returns the end of a job, if the event tells one. `has_failed` says which jobs have not
    /// succeeded.
    pub(super) fn take_event(
        &mut self,
        event: Event,
        has_failed: impl Fn(&JobKey) -> bool,
    ) -> Option<Ended> {
        let at = Timestamp::from_millis(event.cursor.millis());
        match event.kind {
            EventKind::NodeJoined { node, name } => {
                self.nodes.insert(node, PlaceName::new(&name));
            }
            EventKind::Started { job, node, attempt } => {
                if let Some(open) = self.jobs.get_mut(&job) {
                    open.attempt = attempt;
                    let id = open.placed.job.id.clone();
                    let place = self.nodes.get(&node).cloned();
                    open.begun = Some((at, place.clone()));
                    self.live.started(id, attempt, place);
                    self.running.insert(job);
                }
            }
            EventKind::Progress { job, message } => {
                if let Some(open) = self.jobs.get(&job) {
                    if let Some(progress) = QueuedProgress::read(&message) {
                        self.live.progress(open.placed.job.id.clone(), progress);
                    } else {
                        // A node of another version may report something else.
                        tracing::debug!(%job, "a report of progress cannot be read");
                    }
                }
            }
            EventKind::Retried {
                job,
                delay,
                handover,
            } => {
                let failed = Handover::read(&handover);
                let failure = failed.as_ref().and_then(|failed| failed.outcome.failure());
                let why = failure.map_or((Class::Task, "the attempt failed"), |failure| {
                    (failure.class, &*failure.message)
                });
                self.attempt_ended(&job, why, delay);
                if let Some(open) = self.jobs.get_mut(&job) {
                    open.failed = failed;
                }
            }
            EventKind::AttemptLost { job, .. } => {
                let why = (Class::Host, "its node was lost");
                self.attempt_ended(&job, why, Duration::ZERO);
                if let Some(open) = self.jobs.get_mut(&job) {
                    open.lose_attempt(at, why);
                }
            }
            EventKind::GivenBack { job } => {
                let why = (Class::Host, "its node gave it back");
                self.attempt_ended(&job, why, Duration::ZERO);
            }
            EventKind::Unservable { job } if self.jobs.contains_key(&job) => {
                self.unservable.insert(job);
            }
            EventKind::Ended {
                job,
                status,
                attempts,
                result,
            } => {
                let report = EndReport {
                    status,
                    attempts,
                    is_unservable: self.unservable.contains(&job),
                    result: &result,
                };
                return self.end(&job, &report, has_failed);
            }
            _ => {}
        }
        None
    }

    /// Takes the answer to a question about a job whose end was perhaps not heard. Returns its end, if it has ended.
    pub(super) fn take_answer(
        &mut self,
        name: &JobName,
        answer: Option<Explanation>,
        has_failed: impl Fn(&JobKey) -> bool,
    ) -> Option<Ended> {
        let Some(explained) = answer else {
            return self.remove(name).map(|open| Ended::lost(open.placed));
        };
        let ExplainedState::Ended {
            status,
            result,
            is_unservable,
        } = explained.state
        else {
            return None;
        };
        let Some(result) = result else {
            return self.remove(name).map(|open| Ended::lost(open.placed));
        };
        let report = EndReport {
            status,
            attempts: explained.attempts,
            is_unservable,
            result: &result,
        };
        self.end(name, &report, has_failed)
    }

    /// Removes a job from the table.
    fn remove(&mut self, name: &JobName) -> Option<OpenJob> {
        self.running.remove(name);
        self.unservable.remove(name);
        self.jobs.remove(name)
    }

    /// Removes a job that has ended, and makes its end from what the queue says.
    fn end(
        &mut self,
        name: &JobName,
        report: &EndReport<'_>,
        has_failed: impl Fn(&JobKey) -> bool,
    ) -> Option<Ended> {
        let open = self.remove(name)?;
        let job = &open.placed.job;
        let lost = job.needs.iter().find(|need| has_failed(need));
        let facts = EndFacts {
            attempts: report.attempts,
            lost_need: lost.or(job.needs.first()).map(JobKey::as_str),
            is_unservable: report.is_unservable,
        };
        let mut outcome = outcome_of(job, report.status, report.result, facts);
        // A node tells the attempts before its own. An end that the queue itself has made tells none.
        if let Some(failed) = open.failed.filter(|_| report.result.is_empty()) {
            outcome.continue_from(&failed.outcome);
        }
        outcome.add_attempts(open.lost);
        // What is not the time of attempts was spent in the queue.
        let age = working_now().saturating_duration_since(open.submitted);
        let performed = outcome.attempts_detail().duration().max(outcome.duration);
        outcome.queued = outcome.queued.max(age.saturating_sub(performed));
        Some(Ended::new(open.placed, outcome))
    }

    /// Tells that an attempt has ended and another one follows.
    fn attempt_ended(&mut self, job: &JobName, (class, why): (Class, &str), delay: Duration) {
        if self.running.remove(job)
            && let Some(open) = self.jobs.get(job)
        {
            let attempt = (&open.placed.job.id, open.attempt);
            self.live.failed(attempt, (class, why), delay);
        }
    }
}
