//! What a job cannot have in a queue, with the way out.

use ratchet_runtime::{CacheTerms, Job, Placement, Work};

/// Why a job cannot go through a queue, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// What is wrong.
    pub(crate) message: String,
    /// What to do.
    pub(crate) help: &'static str,
}

impl Refused {
    /// Makes a refusal.
    pub(crate) fn new(message: impl Into<String>, help: &'static str) -> Self {
        Self {
            message: message.into(),
            help,
        }
    }
}

/// Refuses a job with terms that no queue keeps, so that none is left out silently.
pub(super) fn check(job: &Job) -> Result<(), Refused> {
    let terms = &job.terms;
    let refuse = |message: &str, help| Err(Refused::new(message, help));
    if terms.on != Placement::Here {
        return refuse(
            "`on` names hosts of one run, and the jobs of a queue run on its nodes",
            "leave `on` out; give nodes labels by `ratchet node --label`, and submit with --label",
        );
    }
    if matches!(terms.cache, Some(CacheTerms::On { .. })) {
        return refuse(
            "`cache` is kept on one machine, and the jobs of a queue run on several",
            "leave `cache` out",
        );
    }
    if terms.timeouts.queue.is_some() {
        return refuse(
            "`timeout.queue` is not kept by a queue",
            "leave it out; `ratchet queue explain JOB` says what a job waits for",
        );
    }
    if terms.fail_fast.is_some() {
        return refuse(
            "its group is given up when a job of it fails, which a queue does not know",
            "leave `fail_fast` out, or let the jobs need each other",
        );
    }
    if terms.slow.is_some() {
        return refuse(
            "`slow` is watched by the run that does the job, and a node does this one",
            "leave `slow` out, or set a timeout",
        );
    }
    #[expect(clippy::float_cmp, reason = "1 is written for a need that never grows")]
    let grows = terms.memory_growth != 1.0;
    if grows {
        return refuse(
            "`retry.memory` changes what a job takes of a resource, which a queue keeps as it was submitted",
            "leave `memory` out of `retry`, and let the job take enough",
        );
    }
    match &job.work {
        Work::Command(process) if process.files.is_some() => refuse(
            "`push` and `pull` copy files to hosts of one run",
            "leave them out, and let the nodes share a folder",
        ),
        Work::Task { pull: Some(_), .. } => refuse(
            "`pull` copies files from hosts of one run",
            "leave it out, and let the nodes share a folder",
        ),
        _ => Ok(()),
    }
}
