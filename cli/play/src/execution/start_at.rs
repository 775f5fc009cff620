//! The task at which a call starts.

use std::sync::Arc;

use ratchet_input::value::closest;

use super::frame::{Frame, TaskNode};
use crate::language::{Keyword, Play, Step};
use crate::selection::Tags;
use crate::templates::matches_glob;

/// The name of the task at which a call starts, which may be a pattern with `*`, `?` and `[..]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StartAt(String);

impl StartAt {
    /// Makes a start at the task of this name.
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// Returns the name or the pattern.
    pub(crate) fn name(&self) -> &str {
        &self.0
    }

    /// Whether the name means this task: its name, with or without its role, or its module if it has no name.
    pub(super) fn is_meant(&self, node: &TaskNode) -> bool {
        let own = node.task.settings.text(Keyword::Name);
        let names = [Some(node.title()), own];
        let mut names = names.into_iter().flatten();
        names.any(|name| name == self.0 || matches_glob(&self.0, &name))
    }

    /// Whether a play has the task, and its tags select it. Tasks of a `rescue` section and of files that are included
    /// later do not count, because a play cannot start there.
    pub(crate) fn is_in(&self, play: &Arc<Play>, tags: &Tags) -> bool {
        any_task(play, tags, &mut |node| self.is_meant(node))
    }

    /// Returns the name of the task in these plays that is most similar, if one is.
    pub(crate) fn similar<'a>(
        &self,
        plays: impl IntoIterator<Item = &'a Arc<Play>>,
        tags: &Tags,
    ) -> Option<String> {
        let mut names = Vec::new();
        for play in plays {
            any_task(play, tags, &mut |node| {
                names.extend(node.task.settings.text(Keyword::Name));
                false
            });
        }
        closest(&self.0, names.iter().map(String::as_str)).map(str::to_owned)
    }
}

/// Whether something holds for one of the tasks at which a play can start.
fn any_task(play: &Arc<Play>, tags: &Tags, holds: &mut dyn FnMut(&TaskNode) -> bool) -> bool {
    let frame = Frame::of_play(play);
    let mut sections = play.sections().into_iter();
    sections.any(|steps| any_step(steps, &frame, tags, holds))
}

fn any_step(
    steps: &[Step],
    frame: &Arc<Frame>,
    tags: &Tags,
    holds: &mut dyn FnMut(&TaskNode) -> bool,
) -> bool {
    steps.iter().any(|step| match step {
        Step::Task(task) => {
            let node = TaskNode {
                task: Arc::clone(task),
                frame: Arc::clone(frame),
            };
            tags.select(&frame.tags_of(task)) && holds(&node)
        }
        Step::Block(block) => {
            let inner = frame.of_block(block);
            any_step(&block.steps, &inner, tags, holds)
                || any_step(&block.always, &inner, tags, holds)
        }
    })
}
