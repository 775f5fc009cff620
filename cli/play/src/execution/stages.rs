//! The stages of a play: its sections one after the other, and its handlers.

use std::sync::Arc;

use crate::language::{Block, Play, Step, Task};

/// A part of a play that a host completes before the next one.
#[derive(Debug)]
pub(super) enum Stage {
    /// The facts of the host are gathered.
    Gather(Arc<Task>),
    /// The tasks of a section.
    Section(SectionName, Arc<[Step]>),
    /// The notified handlers run.
    Handlers,
}

/// A section of a play, as ids of jobs name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SectionName {
    PreTasks,
    Roles,
    Tasks,
    PostTasks,
}

impl SectionName {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::PreTasks => "pre_tasks",
            Self::Roles => "roles",
            Self::Tasks => "tasks",
            Self::PostTasks => "post_tasks",
        }
    }
}

/// Returns the stages of a play. `gather` is the task that gathers facts, if the play does.
pub(super) fn stages(play: &Play, gather: Option<Arc<Task>>) -> Vec<Stage> {
    let section = |name, steps: &[Step]| Stage::Section(name, steps.into());
    let mut stages: Vec<Stage> = gather.into_iter().map(Stage::Gather).collect();
    stages.extend([
        section(SectionName::PreTasks, &play.pre_tasks),
        Stage::Handlers,
        section(SectionName::Roles, &play.roles),
        section(SectionName::Tasks, &play.tasks),
        Stage::Handlers,
        section(SectionName::PostTasks, &play.post_tasks),
        Stage::Handlers,
    ]);
    stages
}

/// Returns the blocks of the roles in the `roles` list of a play. The dependencies of a role come before it.
pub(super) fn roles(play: &Play) -> Vec<Arc<Block>> {
    let mut found = Vec::new();
    for steps in play.sections() {
        roles_in(steps, &mut found);
    }
    found
}

/// Adds the blocks of the roles in these steps. The dependencies of a role come before it.
pub(super) fn roles_in(steps: &[Step], found: &mut Vec<Arc<Block>>) {
    for step in steps {
        if let Step::Block(block) = step {
            for inner in [&block.steps, &block.rescue, &block.always] {
                roles_in(inner, found);
            }
            if block.role.is_some() {
                found.push(Arc::clone(block));
            }
        }
    }
}
