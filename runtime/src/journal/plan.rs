//! The part of a journal about how jobs and runs were planned: what can hold a job back.

use std::borrow::Cow;
use std::collections::BTreeMap;

use ratchet_ipc::JobKey;
use serde::{Deserialize, Serialize};

use crate::job::{Job, Terms};
use crate::scheduling::{Limit, ParallelizationHint, Priority};

/// What a job needed in order to start: other jobs, locks, limits and slots.
///
/// Reports and simulations read it. A resumed run reads the jobs themselves again and ignores it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobPlan<'a> {
    /// The position of the job in the order in which jobs were submitted, counted from 0; `None` if it is one less than the
    /// number that is the id of the job, as for items and for jobs without a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// The ids of the jobs that had to succeed first.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub needs: Cow<'a, [JobKey]>,
    /// The hint that the job named. One that was declared for its task is in an event of the journal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<Cow<'a, ParallelizationHint>>,
    /// The named limits that the job counted against.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub limits: Cow<'a, [String]>,
    /// How many units of resources the job took, by their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub resources: BTreeMap<String, u64>,
    /// How many slots the job filled; `None` if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<u32>,
    /// The priority of the job; `None` if it was the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
}

/// Returns the position of a job whose id is the number of an item, counted from 1.
pub fn position_of(id: &str) -> Option<u64> {
    let number: u64 = id.parse().ok()?;
    number.checked_sub(1)
}

fn is_empty<T>(list: &[T]) -> bool {
    list.is_empty()
}

impl<'a> JobPlan<'a> {
    /// Makes the plan of a job with its position; `None` if it needed only a slot and its id tells the position, as for most
    /// jobs of a long list.
    pub(super) fn at(job: &'a Job, position: u64) -> Option<Self> {
        let plan = Self::of(job);
        if position_of(job.id.as_str()) == Some(position) {
            return plan;
        }
        Some(Self {
            position: Some(position),
            ..plan.unwrap_or_default()
        })
    }

    /// Makes the plan of a job; `None` if it needed only a slot, as most jobs of a long list do.
    pub(super) fn of(job: &'a Job) -> Option<Self> {
        let Terms {
            hint,
            limits,
            resources,
            slots,
            priority,
            ..
        } = &*job.terms;
        let is_plain = job.needs.is_empty()
            && hint.is_none()
            && limits.is_empty()
            && resources.is_empty()
            && *slots == 1
            && *priority == Priority::default();
        if is_plain {
            return None;
        }
        Some(Self {
            position: None,
            needs: Cow::Borrowed(&job.needs),
            hint: hint.as_ref().map(Cow::Borrowed),
            limits: Cow::Borrowed(limits),
            resources: resources
                .iter()
                .map(|need| (need.name.clone(), need.units))
                .collect(),
            slots: Some(*slots).filter(|slots| *slots != 1),
            priority: Some(*priority).filter(|priority| *priority != Priority::default()),
        })
    }
}

/// What a run, or a part of a resumed run, could use: slots and limits.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RunPlan {
    /// How many jobs could run at once on the machine of the executor.
    pub slots: u32,
    /// The slots of other places, by their names, as far as they were known at the beginning.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub places: BTreeMap<String, u32>,
    /// The limits that jobs could name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, Limit>,
    /// How many units there were of the resources that jobs could take.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub resources: BTreeMap<String, u64>,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ratchet_ipc::Payload;

    use super::*;
    use crate::job::ResourceNeed;

    #[test]
    fn a_plan_names_only_what_is_not_usual() {
        let job = Job::task("a", "t", Payload::null());
        assert_eq!(JobPlan::of(&job), None);
        let plan = JobPlan::at(&job, 6).unwrap();
        assert_eq!(serde_json::to_string(&plan).unwrap(), r#"{"position":6}"#);
        let item = Job::task("7", "t", Payload::null());
        assert_eq!(JobPlan::at(&item, 6), None);
        assert_eq!(JobPlan::at(&item, 7).unwrap().position, Some(7));
        let terms = Terms {
            hint: Some(ParallelizationHint::HostExclusive),
            limits: vec!["api".to_owned()],
            resources: [ResourceNeed::new("gpu", 1)].into(),
            slots: 2,
            priority: Priority::High,
            ..Terms::default()
        };
        let job = job.needs(["b"]).terms(Arc::new(terms));
        let plan = JobPlan::of(&job).unwrap();
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(
            text,
            r#"{"needs":["b"],"hint":"host_exclusive","limits":["api"],"resources":{"gpu":1},"slots":2,"priority":"high"}"#
        );
        assert_eq!(serde_json::from_str::<JobPlan<'_>>(&text).unwrap(), plan);
    }
}
