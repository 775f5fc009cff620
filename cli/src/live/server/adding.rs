//! Adds jobs to a run for those who ask it.

use std::sync::Arc;
use std::time::Duration;

use ratchet_runtime::Error as RunError;

use super::super::additions;
use super::super::message::{Added, Finding, Refusal};
use super::{Answers, refusal};
use crate::diagnostic::Diagnostics;
use crate::job_file::Addition;

/// How long a job may be on its way into the journal after its end.
const RECORDING_DELAY: Duration = Duration::from_millis(50);

/// How often jobs are compared with those of the run before they are refused, if some of these end meanwhile.
const JOIN_ATTEMPTS: u32 = 3;

impl Answers {
    /// Adds jobs, all or none, and records them before they are added.
    pub(super) async fn add(&self, addition: Addition) -> Result<Added, Refusal> {
        let (handle, question_limiter) = (&self.served.handle, &self.question_limiter);
        let Some(adding) = &self.served.adding else {
            return Err(Refusal::new("this run takes no more jobs").with_help(
                "jobs are added to `ratchet run` without --repeat and --stress; begin another run for these",
            ));
        };
        // One addition at a time: the next one is read with what this one has settled.
        let mut adder = adding.adder.lock().await;
        let number = adding.record.next_number().map_err(unrecorded)?;
        let slots = handle.status().slots;
        let (more, next, addition) = {
            let adder = Arc::clone(&adder);
            on_own_thread(move || {
                let read = adder.read(&addition, number, slots);
                read.map(|(more, next)| (more, next, addition))
            })
            .await?
            .map_err(|report| refused(&report))?
        };
        let ids = more.ids();
        let mut attempts = 0;
        loop {
            attempts += 1;
            let found = question_limiter.pass(handle.find(ids.clone())).await;
            let found = found.map_err(refusal)?;
            // What had ended by then is looked up in the journal.
            tokio::time::sleep(RECORDING_DELAY).await;
            let (journal, ids) = (adding.journal.clone(), ids.clone());
            let fates = on_own_thread(move || additions::fates(&journal, ids, &found)).await?;
            let fates = fates.map_err(unrecorded)?;
            let jobs = more.join(&fates, &adding.started);
            let jobs = jobs.map_err(|report| refused(&report))?;
            let names = jobs.iter().map(|job| job.id.clone()).collect();
            let jobs = jobs.into_iter().map(&adding.prepare).collect();
            adding.record.write(number, &addition).map_err(unrecorded)?;
            let error = match question_limiter.pass(handle.add_jobs(jobs)).await {
                Ok(()) => {
                    *adder = Arc::new(next);
                    question_limiter.forget().await;
                    let warnings = more.warnings().iter().map(Finding::from).collect();
                    return Ok(Added {
                        jobs: names,
                        warnings,
                    });
                }
                Err(error) => error,
            };
            adding.record.withdraw(number).map_err(unrecorded)?;
            let may_have_changed = matches!(
                error,
                RunError::UnknownNeed { .. } | RunError::DuplicateJob { .. }
            );
            if !may_have_changed || attempts == JOIN_ATTEMPTS {
                return Err(refusal(error));
            }
        }
    }
}

/// Does what takes a while without keeping others from being answered.
async fn on_own_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Refusal::new(format!("the run cannot read this: {error}")))
}

/// Refuses a text for what is wrong with it.
fn refused(report: &Diagnostics) -> Refusal {
    Refusal {
        findings: report.diagnostics.iter().map(Finding::from).collect(),
        ..Refusal::new(report.to_string())
    }
}

/// Refuses jobs because the record of the run cannot be read or written.
fn unrecorded(error: impl std::fmt::Display) -> Refusal {
    Refusal::new(format!(
        "the record of the run cannot be used, so nothing was added: {error}"
    ))
}
