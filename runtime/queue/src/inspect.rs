//! What a queue tells those who look after it: its nodes, its jobs, and why a job waits.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use smol_str::SmolStr;

use crate::job::{FinalStatus, JobState};
use crate::names::{JobName, Label, NodeId};
use crate::node::NodeSpec;

/// A node that has a session, as the queue knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeInfo {
    /// The number of its session.
    pub node: NodeId,
    /// What it said of itself when it joined.
    pub spec: NodeSpec,
    /// How many jobs it has claimed.
    pub running: u64,
    /// How long ago it renewed its session, or joined.
    pub renewed: Duration,
}

impl NodeInfo {
    pub(crate) fn new(node: NodeId, spec: NodeSpec, running: u64, renewed: Duration) -> Self {
        Self {
            node,
            spec,
            running,
            renewed,
        }
    }
}

/// A part of the list of all jobs, in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobPage {
    /// The jobs, each with where it is.
    pub jobs: Vec<(JobName, JobState)>,
    /// The name after which the next part begins; `None` if there is no more.
    pub next: Option<JobName>,
}

impl JobPage {
    /// Makes a page of at most this many jobs, of which more follow if it is full.
    pub(crate) fn new(jobs: Vec<(JobName, JobState)>, most: usize) -> Self {
        let next = (jobs.len() >= most)
            .then(|| jobs.last().map(|(name, _)| name.clone()))
            .flatten();
        Self { jobs, next }
    }
}

/// Where a job is, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// How many attempts it has had, with one that runs.
    pub attempts: u32,
    /// Where it is.
    pub state: ExplainedState,
}

impl Explanation {
    pub(crate) fn new(attempts: u32, state: ExplainedState) -> Self {
        Self { attempts, state }
    }
}

/// Where a job is, with what is known about that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExplainedState {
    /// It waits.
    Waiting {
        /// All that bars it now. If nothing does, it waits for its turn on a node with enough free slots.
        reasons: Vec<WaitReason>,
        /// How many jobs that claim the same are before it. `None` while it waits for its needs or for a moment.
        ahead: Option<u64>,
    },
    /// A node has claimed it.
    Running {
        /// The node.
        node: NodeId,
        /// What people call the node.
        name: SmolStr,
        /// Whether somebody has cancelled it, so that its node is stopping it.
        is_cancelled: bool,
    },
    /// It has ended.
    Ended {
        /// How it ended.
        status: FinalStatus,
        /// Whether it failed because no living node could do it for too long.
        is_unservable: bool,
        /// Its result; `None` if the event of its end is no longer kept.
        result: Option<Arc<[u8]>>,
    },
}

/// Something that bars a job from starting now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitReason {
    /// The queue is paused.
    Paused,
    /// Jobs that it needs have not succeeded yet.
    Needs {
        /// Those jobs.
        jobs: Vec<JobName>,
    },
    /// It must not start yet, because of its delay or of the pause before another attempt.
    Delay {
        /// How long it still waits.
        left: Duration,
    },
    /// No living node can do it.
    NoNode {
        /// What they lack.
        lack: NodeLack,
    },
    /// The server may have lost its latest steps, so nothing with claims starts for one session.
    Failover {
        /// How long that still takes.
        left: Duration,
    },
    /// Another job holds its host.
    Host {
        /// The host; empty for jobs that name none.
        host: SmolStr,
        /// The job that holds it.
        by: JobName,
    },
    /// Another job holds the global lock.
    Global {
        /// That job.
        by: JobName,
    },
    /// Its rate key has no token.
    RateKey {
        /// The key.
        key: SmolStr,
        /// When it has one, if nobody else takes it.
        left: Duration,
    },
    /// A limit of a rate has no token.
    RateLimit {
        /// The name of the limit.
        name: SmolStr,
        /// When it has one, if nobody else takes it.
        left: Duration,
    },
    /// A limit is full.
    Limit {
        /// The name of the limit.
        name: SmolStr,
        /// How many jobs run that count against it.
        running: u64,
        /// How many may.
        max: u64,
    },
    /// A resource has too few free units.
    Resource {
        /// The name of the resource.
        name: SmolStr,
        /// How many units the job takes.
        asked: u64,
        /// How many are free.
        free: u64,
    },
    /// It must be alone, and others run.
    Quiet {
        /// How many.
        running: u64,
    },
    /// Another job runs that must be alone.
    Alone {
        /// That job.
        by: JobName,
    },
}

impl fmt::Display for WaitReason {
    /// Writes it as the end of a sentence that begins with "the job waits because".
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paused => write!(out, "the queue is paused"),
            Self::Needs { jobs } => {
                write!(out, "it needs ")?;
                for (at, job) in jobs.iter().enumerate() {
                    let comma = if at == 0 { "" } else { ", " };
                    write!(out, "{comma}`{job}`")?;
                }
                write!(out, " to succeed first")
            }
            Self::Delay { left } => write!(out, "it may start in {left:?} at the earliest"),
            Self::NoNode { lack } => lack.fmt(out),
            Self::Failover { left } => write!(
                out,
                "the server may have lost its latest steps, and jobs that claim something start again in {left:?}"
            ),
            Self::Host { host, by } if host.is_empty() => {
                write!(out, "`{by}` holds the host without a name")
            }
            Self::Host { host, by } => write!(out, "`{by}` holds host `{host}`"),
            Self::Global { by } => write!(out, "`{by}` holds the global lock"),
            Self::RateKey { key, left } => {
                write!(out, "rate key `{key}` has its next token in {left:?}")
            }
            Self::RateLimit { name, left } => {
                write!(out, "limit `{name}` has its next token in {left:?}")
            }
            Self::Limit { name, running, max } => {
                write!(
                    out,
                    "{running} jobs run under limit `{name}`, which allows {max}"
                )
            }
            Self::Resource { name, asked, free } => {
                write!(
                    out,
                    "it takes {asked} of resource `{name}`, of which {free} are free"
                )
            }
            Self::Quiet { running } => write!(out, "it must be alone, and {running} jobs run"),
            Self::Alone { by } => write!(out, "`{by}` runs, which must be alone"),
        }
    }
}

/// What all living nodes lack for a job.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeLack {
    /// There are none.
    Nodes,
    /// None does the task.
    Task {
        /// The task.
        task: SmolStr,
    },
    /// No node that does the task has these labels.
    Labels {
        /// The labels.
        labels: Vec<Label>,
    },
    /// Each label is on some node that does the task, and no such node has all of them.
    LabelsTogether {
        /// The labels.
        labels: Vec<Label>,
    },
    /// Those that could do it have too few slots.
    Slots {
        /// How many slots the job fills.
        asked: u32,
        /// How many the greatest of these nodes has.
        most: u32,
    },
}

impl NodeLack {
    /// Returns what nodes lack for a job; `None` if one of them can do it.
    pub(crate) fn of(
        task: &str,
        labels: &[Label],
        slots: u32,
        nodes: &[&NodeSpec],
    ) -> Option<Self> {
        if nodes.is_empty() {
            return Some(Self::Nodes);
        }
        let does_task = |node: &&NodeSpec| node.can_do(task, &[], 0);
        let doing: Vec<&NodeSpec> = nodes.iter().copied().filter(does_task).collect();
        if doing.is_empty() {
            return Some(Self::Task { task: task.into() });
        }
        let is_missing = |label: &&Label| !doing.iter().any(|node| node.labels.contains(label));
        let missing: Vec<Label> = labels.iter().filter(is_missing).cloned().collect();
        if !missing.is_empty() {
            return Some(Self::Labels { labels: missing });
        }
        let fitting = (doing.iter()).filter(|node| node.can_do(task, labels, 0));
        match fitting.map(|node| node.slots).max() {
            None => Some(Self::LabelsTogether {
                labels: labels.to_vec(),
            }),
            Some(most) if most < slots => Some(Self::Slots { asked: slots, most }),
            Some(_) => None,
        }
    }
}

impl fmt::Display for NodeLack {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |labels: &[Label]| {
            let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
            labels.join(", ")
        };
        match self {
            Self::Nodes => write!(out, "no node has joined"),
            Self::Task { task } => write!(out, "no living node does task `{task}`"),
            Self::Labels { labels } => write!(
                out,
                "no living node that does its task has label {}",
                list(labels)
            ),
            Self::LabelsTogether { labels } => write!(
                out,
                "no living node that does its task has all of the labels {}",
                list(labels)
            ),
            Self::Slots { asked, most } => write!(
                out,
                "it fills {asked} slots, and no living node that could do it has more than {most}"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_thing_that_all_nodes_lack_is_told() {
        let labels = |names: &[&str]| -> Vec<Label> {
            names.iter().map(|name| name.parse().unwrap()).collect()
        };
        let node = |tasks: Option<&[&str]>, names: &[&str], slots| NodeSpec {
            tasks: tasks.map(|tasks| tasks.iter().map(|&task| task.into()).collect()),
            labels: labels(names),
            ..NodeSpec::new("node", slots)
        };
        let (other, gpu, ssd) = (
            node(Some(&["other"]), &["tpu"], 64),
            node(Some(&["train"]), &["gpu"], 4),
            node(None, &["ssd"], 8),
        );
        let lack = |names: &[&str], slots, nodes: &[&NodeSpec]| {
            NodeLack::of("train", &labels(names), slots, nodes)
        };
        assert_eq!(lack(&[], 1, &[]), Some(NodeLack::Nodes));
        let task = NodeLack::Task {
            task: "train".into(),
        };
        assert_eq!(lack(&[], 1, &[&other]), Some(task));
        // A node that does another task does not help with its label.
        let expected = NodeLack::Labels {
            labels: labels(&["tpu"]),
        };
        assert_eq!(lack(&["gpu", "tpu"], 1, &[&other, &gpu]), Some(expected));
        let expected = NodeLack::LabelsTogether {
            labels: labels(&["gpu", "ssd"]),
        };
        assert_eq!(lack(&["gpu", "ssd"], 1, &[&gpu, &ssd]), Some(expected));
        let expected = NodeLack::Slots { asked: 5, most: 4 };
        assert_eq!(lack(&["gpu"], 5, &[&gpu, &ssd]), Some(expected));
        assert_eq!(lack(&["gpu"], 4, &[&gpu, &ssd]), None);
    }
}
