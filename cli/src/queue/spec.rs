//! What a queue is asked for: a job in its own terms.

use std::path::PathBuf;
use std::time::Duration;

use ratchet_queue::{Declaration, InvalidName, JobName, JobSpec, Label};
use ratchet_runtime::{Job, JobKey, Limit, ParallelizationHint, Resource, Work};

use super::refusals::{self, Refused};
use super::work::QueuedWork;

/// The task of all commands in a queue. Every node can do it.
pub(crate) const COMMANDS: &str = "run";

/// Returns the name of a worker's task in a queue, which is never that of commands.
pub(crate) fn task_in_queue(task: &str) -> String {
    format!("task:{task}")
}

/// Returns the name of a job in a queue.
pub(crate) fn job_name(submission: &str, id: &str) -> Result<JobName, InvalidName> {
    format!("{submission}/{id}").parse()
}

/// Returns what a queue has to know of limits and resources before jobs can name them.
pub(crate) fn declarations(
    limits: &[(String, Limit)],
    resources: &[(String, Resource)],
) -> Vec<Declaration> {
    let limits = limits
        .iter()
        .map(|(name, limit)| Declaration::Limit(name.as_str().into(), *limit));
    let resources = resources
        .iter()
        .map(|(name, resource)| Declaration::Resource(name.as_str().into(), resource.clone()));
    limits.chain(resources).collect()
}

/// Turns the jobs of a submission into what the queue is asked for.
#[derive(Debug, Clone)]
pub(crate) struct SpecMaker {
    /// The name of the submission.
    pub(crate) submission: String,
    /// What the nodes need to have.
    pub(crate) labels: Vec<Label>,
    /// How long a job may wait while no living node could do it.
    pub(crate) unservable_after: Option<Duration>,
    /// The folder of commands that name none.
    pub(crate) folder: PathBuf,
}

impl SpecMaker {
    /// Makes the specification of a job, or says why it cannot go through a queue. `keeps` is whether a job that it needs is
    /// named, too: one that has succeeded in an earlier part of the run is not.
    pub(crate) fn spec(&self, job: &Job, keeps: impl Fn(&str) -> bool) -> Result<JobSpec, Refused> {
        refusals::check(job)?;
        let name = |id: &str| {
            job_name(&self.submission, id)
                .map_err(|error| Refused::new(error.to_string(), "choose a shorter id"))
        };
        let terms = &job.terms;
        let needs = job.needs.iter().map(JobKey::as_str);
        let needs: Result<Vec<_>, _> = needs.filter(|need| keeps(need)).map(name).collect();
        let task = match &job.work {
            Work::Task { task, .. } => task_in_queue(task.as_str()),
            _ => COMMANDS.to_owned(),
        };
        let resources = terms.resources.iter();
        Ok(JobSpec {
            hint: hint(job),
            host: job.host.as_ref().map(|host| host.as_str().into()),
            priority: terms.priority,
            slots: terms.slots,
            labels: self.labels.clone(),
            limits: terms
                .limits
                .iter()
                .map(|name| name.as_str().into())
                .collect(),
            resources: resources
                .map(|need| (need.name.as_str().into(), need.units))
                .collect(),
            needs: needs?,
            unservable_after: self.unservable_after,
            payload: QueuedWork::of(job, &self.submission, &self.folder)?.to_bytes()?,
            ..JobSpec::new(name(job.id.as_str())?, &task)
        })
    }
}

/// Returns the hint of a job. A rate without a key has the key that it has in a run.
fn hint(job: &Job) -> ParallelizationHint {
    match job.terms.hint.clone() {
        Some(ParallelizationHint::RateLimited {
            requests_per_second,
            burst,
            key: None,
        }) => ParallelizationHint::RateLimited {
            requests_per_second,
            burst,
            key: Some(job.task_name().into()),
        },
        hint => hint.unwrap_or_default(),
    }
}
