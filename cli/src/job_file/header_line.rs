//! Tells the first line of a stream that has sections from one that is a job.

use crate::document::{Entry, Node, Value};

/// Whether a line is a header: it has a section for all jobs, and neither a task nor a command.
pub(super) fn is_header(node: &Node<'_>) -> bool {
    let Value::Map(entries) = &node.value else {
        return false;
    };
    let is_about_all = |entry: &Entry<'_>| match entry.name.as_ref() {
        // A job can have `resources`, too, but then it also has a task or a command.
        "version" | "workers" | "defaults" | "overrides" | "resources" => true,
        "limits" => entry.node.is_map(),
        _ => false,
    };
    let is_of_a_job = |entry: &Entry<'_>| matches!(entry.name.as_ref(), "task" | "run");
    entries.iter().any(is_about_all) && !entries.iter().any(is_of_a_job)
}
