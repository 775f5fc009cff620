//! The arguments of the scripts. Names contain no control characters, so these can separate them.

use ratchet_runtime::{Ageing, Limit, Quota, Resource};

use super::payload::pack;
use crate::clock::micros;
use crate::error::Error;
use crate::job::{Declaration, JobSpec};
use crate::names::{JobName, Label, NodeId};
use crate::node::{AttemptEnd, Fence, Finish, NodeSpec};
use crate::rates::interval;

/// Separates the entries of a list.
pub(super) const LIST: char = '\u{1e}';
/// Separates the parts of an entry.
pub(super) const PART: char = '\u{1f}';
/// Separates the labels of a class, which is an entry itself.
pub(super) const LABEL: char = '\u{1c}';

/// An operation and its arguments.
#[derive(Clone)]
pub(super) struct Arguments {
    /// The operation.
    pub(super) operation: &'static str,
    /// Its arguments, in order.
    pub(super) values: Vec<Vec<u8>>,
}

impl Arguments {
    /// Begins with an operation.
    pub(super) fn new(operation: &'static str) -> Self {
        Self {
            operation,
            values: Vec::new(),
        }
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.values.push(bytes.to_vec());
    }

    pub(super) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub(super) fn number(&mut self, number: u64) {
        self.text(&number.to_string());
    }

    /// Adds the number of values, and returns them to be added.
    pub(super) fn counted<'a, T>(&mut self, values: &'a [T]) -> &'a [T] {
        self.number(values.len() as u64);
        values
    }

    /// Adds the number of values, and each of them.
    pub(super) fn list<T>(&mut self, values: &[T], add: impl Fn(&mut Self, &T)) {
        for value in self.counted(values) {
            add(self, value);
        }
    }

    /// Adds the names of jobs.
    pub(super) fn jobs(&mut self, jobs: &[JobName]) {
        self.list(jobs, |arguments, job| arguments.text(job.as_str()));
    }

    /// Adds the number of an attempt of a job.
    pub(super) fn attempt(&mut self, job: &JobName, fence: Fence) {
        self.text(job.as_str());
        self.text(&fence.to_string());
    }

    /// Adds what a claim takes at most: slots, attempts, and bytes of payloads.
    pub(super) fn claim(&mut self, node: NodeId, slots: u32, most: usize, bytes: usize) {
        self.number(node.0);
        self.number(slots.into());
        self.number(most as u64);
        self.number(bytes as u64);
    }

    /// Adds the end of an attempt.
    pub(super) fn finish(&mut self, finish: &Finish) {
        self.attempt(&finish.job, finish.fence);
        match &finish.end {
            AttemptEnd::Over { status, result } => {
                self.text("over");
                self.text(status.as_str());
                self.values.push(pack(result));
            }
            AttemptEnd::Again { delay, handover } => {
                self.text("again");
                self.number(micros(*delay));
                self.values.push(if handover.is_empty() {
                    Vec::new()
                } else {
                    pack(handover)
                });
            }
            AttemptEnd::NotBegun => {
                self.text("not_begun");
                self.text("");
                self.text("");
            }
        }
    }

    /// Adds what a node says of itself.
    pub(super) fn node(&mut self, node: &NodeSpec) {
        self.text(&node.name);
        self.number(node.slots.into());
        match &node.tasks {
            Some(tasks) => self.text(&enclosed(tasks.iter().map(|task| &**task))),
            None => self.text("*"),
        }
        self.text(&enclosed(node.labels.iter().map(Label::as_str)));
    }

    /// Adds a declaration: its gate, its quota, and its identities.
    pub(super) fn declaration(&mut self, declaration: &Declaration) {
        let (gate, quota, identities) = match declaration {
            Declaration::Limit(name, Limit::Max(max)) => {
                (format!("l:{name}"), format!("max {max}"), String::new())
            }
            Declaration::Limit(name, Limit::Rate(quota)) => {
                (format!("l:{name}"), rate(*quota), String::new())
            }
            Declaration::Resource(name, resource) => resource_parts(name, resource),
        };
        self.text(&gate);
        self.text(&quota);
        self.text(&identities);
    }

    /// Adds a job.
    pub(super) fn job(&mut self, job: &JobSpec, ageing: Ageing) -> Result<(), Error> {
        let key = job.rate()?.map(|(key, quota)| (format!("k:{key}"), quota));
        self.text(job.name.as_str());
        self.text(&class(job));
        self.text(&claims(job));
        self.number(micros(ageing.span(job.priority)));
        self.number(micros(job.delay));
        self.number(job.crash_limit.into());
        match job.unservable_after {
            Some(time) => self.number(micros(time)),
            None => self.text(""),
        }
        let mut needs: Vec<&str> = Vec::new();
        for need in &job.needs {
            if !needs.contains(&need.as_str()) {
                needs.push(need.as_str());
            }
        }
        self.text(&joined(needs.into_iter()));
        let (gate, quota) = match key {
            Some((gate, quota)) => (gate, rate(quota)),
            None => (String::new(), String::new()),
        };
        self.text(&gate);
        self.text(&quota);
        self.values.push(pack(&job.payload));
        Ok(())
    }
}

/// Joins the entries of a list.
fn joined<'a>(entries: impl Iterator<Item = &'a str>) -> String {
    let mut joined = String::new();
    for entry in entries {
        if !joined.is_empty() {
            joined.push(LIST);
        }
        joined.push_str(entry);
    }
    joined
}

/// Joins entries with a separator around each, so that a script can find one.
fn enclosed<'a>(entries: impl Iterator<Item = &'a str>) -> String {
    let mut enclosed = String::from(LIST);
    for entry in entries {
        enclosed.push_str(entry);
        enclosed.push(LIST);
    }
    enclosed
}

/// Returns the class of a job: what a node must have to do it.
fn class(job: &JobSpec) -> String {
    let labels = job.sorted_labels();
    let labels: Vec<&str> = labels.iter().map(Label::as_str).collect();
    let labels = labels.join(&LABEL.to_string());
    format!("{}{PART}{labels}{PART}{}", job.task, job.slots)
}

/// Returns what a job claims, as a list.
fn claims(job: &JobSpec) -> String {
    let entries: Vec<String> = (job.claims().into_iter())
        .map(|(gate, units)| format!("{gate}{PART}{units}"))
        .collect();
    joined(entries.iter().map(String::as_str))
}

/// Returns a rate in the numbers of a script.
fn rate(quota: Quota) -> String {
    // `rates::check` has refused what has no such numbers.
    interval(quota).map_or_else(String::new, |interval| {
        let (whole, rest, den) = (interval.whole, interval.rest, interval.den);
        format!("rate {whole} {rest} {den} {}", quota.burst)
    })
}

/// Returns the gate of a resource, how much there is, and its identities.
fn resource_parts(name: &str, resource: &Resource) -> (String, String, String) {
    let identities = joined(resource.names());
    let kind = if identities.is_empty() {
        "count"
    } else {
        "named"
    };
    let total = resource.total();
    (format!("u:{name}"), format!("{kind} {total}"), identities)
}
