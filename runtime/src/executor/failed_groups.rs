//! The groups of which a job has failed. None of their jobs starts any more.

use std::collections::HashMap;
use std::sync::Arc;

use super::cancelled::CancelReason;
use crate::job::Job;
use crate::outcome::{Class, Failure, Status};

/// Knows which groups have failed. It is empty if no terms name a group.
#[derive(Debug, Default)]
pub(super) struct FailedGroups {
    failed: HashMap<Arc<str>, CancelReason>,
    /// The failed groups whose jobs have yet to be ended.
    new: Vec<Arc<str>>,
}

impl FailedGroups {
    /// Records a job that did not succeed. If it is the first failed job of its group, the other jobs of the group are
    /// [to be ended](Self::pop).
    pub(super) fn failed(&mut self, job: &Job, class: Class) {
        let Some(group) = &job.terms.fail_fast else {
            return;
        };
        // A cancelled or skipped job does not make its group fail.
        let has_failed = !matches!(class.status(), Status::Cancelled | Status::Skipped);
        if !has_failed || self.failed.contains_key(group) {
            return;
        }
        let reason = CancelReason::Group {
            group: Arc::clone(group),
            failed: job.id.clone(),
        };
        self.failed.insert(Arc::clone(group), reason);
        self.new.push(Arc::clone(group));
    }

    /// Takes the next group whose jobs are to be ended, with the reason.
    pub(super) fn pop(&mut self) -> Option<(Arc<str>, CancelReason)> {
        let group = self.new.pop()?;
        let reason = self.failed.get(&group)?.clone();
        Some((group, reason))
    }

    /// Returns the failure of a job that may not start because its group has failed.
    pub(super) fn refusal(&self, job: &Job) -> Option<Failure> {
        if self.failed.is_empty() {
            return None;
        }
        let group = job.terms.fail_fast.as_ref()?;
        let reason = self.failed.get(group)?;
        Some(reason.while_waiting(0))
    }
}
