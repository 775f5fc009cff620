//! What lookups are needed for: a task of a host, the start of a task, or the start of a play.

use std::sync::Arc;

use super::frame::TaskNode;
use super::host_run::{Planned, Planning};
use super::scope::PlayVariables;
use super::start_at::StartAt;
use crate::language::Play;
use crate::programs::Answers;
use crate::templates::Variables;

/// What a lookup is needed for.
#[derive(Debug)]
pub(super) enum Purpose {
    /// Something of the task that this host runs.
    Task(String, Planned),
    /// The start of a task.
    Start(Box<Start>),
    /// The start of a play.
    Play(Box<Opening>),
}

/// A task that is about to start on hosts.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) node: TaskNode,
    /// The index of the task among the handlers, if it is one.
    pub(super) handler: Option<usize>,
    pub(super) hosts: Vec<String>,
    /// What was looked up for the keywords that decide how it starts.
    pub(super) planning: Planning,
}

impl Start {
    pub(super) fn new(node: TaskNode, handler: Option<usize>, hosts: Vec<String>) -> Self {
        Self {
            node,
            handler,
            hosts,
            planning: Planning::default(),
        }
    }
}

/// A play that is about to begin.
#[derive(Debug)]
pub(super) struct Opening {
    /// The play.
    pub(super) play: Arc<Play>,
    /// All of its hosts, and those of them that are not lost.
    pub(super) all: Vec<String>,
    pub(super) hosts: Vec<String>,
    /// The task at which the play starts.
    pub(super) start_at: Option<StartAt>,
    pub(super) variables: PlayVariables,
    /// The variables that its keywords can read.
    pub(super) general: Variables,
    /// What was looked up for its keywords.
    pub(super) answers: Answers,
}
