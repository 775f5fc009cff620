//! How the ends of jobs leave a follower: recorded first, then passed on to the run.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use ratchet_runtime::{Job, JobKey, Journal, MaxFailures, Outcome, Submitter};

use super::ends::{self, EndCounts, EndOrder, Ended};
use crate::error::CliError;

/// Records, counts and passes on what has ended.
pub(super) struct Deliveries {
    submitter: Submitter,
    journal: Option<Arc<Mutex<Journal>>>,
    counts: EndCounts,
    /// Jobs that others may need and that did not succeed.
    failed: HashSet<JobKey>,
    /// Holds outcomes back until those of earlier jobs are there, if they are wanted in the order of the jobs.
    order: Option<EndOrder>,
    /// Whether the run takes no more outcomes. They are only recorded then.
    is_run_over: bool,
}

impl Deliveries {
    /// Passes outcomes on to this run, in the order of the jobs if `keeps_order`, and records them in the journal before.
    pub(super) fn new(
        submitter: Submitter,
        journal: Option<Arc<Mutex<Journal>>>,
        keeps_order: bool,
    ) -> Self {
        Self {
            submitter,
            journal,
            counts: EndCounts::default(),
            failed: HashSet::new(),
            order: keeps_order.then(EndOrder::default),
            is_run_over: false,
        }
    }

    /// Whether this job has ended without success.
    pub(super) fn has_failed(&self, id: &JobKey) -> bool {
        self.failed.contains(id)
    }

    /// Returns how many jobs have ended.
    pub(super) fn ended(&self) -> u64 {
        self.counts.ended()
    }

    /// Returns how many jobs have failed, if that are more than the rule allows. `total` is how many jobs there are, if
    /// that is known.
    pub(super) fn too_many_failed(&self, rule: MaxFailures, total: Option<u64>) -> Option<u64> {
        let is_broken = self.counts.breaks(rule, total);
        is_broken.then(|| self.counts.failed())
    }

    /// Passes nothing on any more, because the run is over.
    pub(super) fn end_run(&mut self) {
        self.is_run_over = true;
    }

    /// Records ends, and passes them on to the run.
    pub(super) async fn deliver(&mut self, ended: Vec<Ended>) -> Result<(), CliError> {
        if ended.is_empty() {
            return Ok(());
        }
        for Ended { outcome, .. } in &ended {
            self.counts.count(outcome.status());
            if !outcome.is_success() {
                self.failed.insert(outcome.id.clone());
            }
        }
        let outcomes = ended
            .iter()
            .map(|one| (one.position, Arc::clone(&one.outcome)));
        let outcomes = match &mut self.order {
            None => outcomes.map(|(_, outcome)| outcome).collect(),
            Some(order) => order.sort(outcomes),
        };
        self.record(ended).await?;
        self.pass_on(outcomes).await;
        Ok(())
    }

    /// Records ends in the journal, if there is one.
    async fn record(&self, ended: Vec<Ended>) -> Result<(), CliError> {
        let Some(journal) = self.journal.clone() else {
            return Ok(());
        };
        let recorded = tokio::task::spawn_blocking(move || ends::record(&journal, &ended)).await;
        let recorded = recorded
            .map_err(|error| CliError::internal("an outcome cannot be recorded").because(error))?;
        recorded.map_err(|error| {
            let message = "the run was stopped because its results could not be recorded";
            let help = "what was recorded is safe: remove the cause, then run `ratchet resume`";
            CliError::internal(message).because(error).with_help(help)
        })
    }

    /// Passes outcomes on to the run, unless it takes no more.
    async fn pass_on(&mut self, outcomes: Vec<Arc<Outcome>>) {
        if self.is_run_over || outcomes.is_empty() {
            return;
        }
        let jobs: Vec<Job> = outcomes.into_iter().map(Job::ended).collect();
        if self.submitter.submit_many(jobs).await.is_err() {
            self.is_run_over = true;
        }
    }
}
