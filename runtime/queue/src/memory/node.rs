//! A node, as the queue knows it.

use std::collections::BTreeSet;

use super::classes::ClassId;
use crate::clock::Moment;
use crate::names::JobName;
use crate::node::NodeSpec;

/// A node that has a session.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) spec: NodeSpec,
    /// The classes of which it can do the jobs.
    pub(super) classes: Vec<ClassId>,
    /// When its session ends.
    pub(super) deadline: Moment,
    /// The number of the latest change before its last claim.
    pub(super) seen: u64,
    /// The jobs that it has claimed.
    pub(super) held: BTreeSet<JobName>,
}
