//! The handlers of a play, and the lookup of handlers by name.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::frame::{Frame, TaskNode};
use super::stages;
use crate::data::Data;
use crate::language::{Block, Keyword, Play, Step};

/// The handlers of a play in the order in which they run: those of its roles, then its own. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Handlers(Arc<Vec<Handler>>);

/// A handler with its topics.
#[derive(Debug, Clone)]
struct Handler {
    node: TaskNode,
    /// The topics to which the handler listens, besides its own name.
    listens: Vec<String>,
}

impl Handlers {
    /// Collects the handlers of a play. `render` renders the templates in names.
    pub(super) fn of(play: &Play, frame: &Arc<Frame>, render: impl Fn(&str) -> String) -> Self {
        let mut all = Self::default();
        for block in stages::roles(play) {
            all.add_role(&block, frame, &render);
        }
        all.add(&play.handlers, frame, &render);
        all
    }

    /// Adds the handlers of a role. If a role is used twice, its names refer to the handlers of the later use.
    pub(super) fn add_role(
        &mut self,
        block: &Arc<Block>,
        frame: &Arc<Frame>,
        render: &impl Fn(&str) -> String,
    ) {
        let frame = frame.of_block(block);
        self.add(&block.handlers, &frame, render);
    }

    fn add(&mut self, steps: &[Step], frame: &Arc<Frame>, render: &impl Fn(&str) -> String) {
        let all = Arc::make_mut(&mut self.0);
        for step in steps {
            match step {
                Step::Task(task) => {
                    let listens = task.settings.get(Keyword::Listen).map(Data::words);
                    let listens = listens.unwrap_or_default();
                    all.push(Handler {
                        node: TaskNode {
                            task: Arc::clone(task),
                            frame: Arc::clone(frame),
                        },
                        listens: listens.iter().map(|name| render(name)).collect(),
                    });
                }
                // The block that replaced an import of tasks.
                Step::Block(block) => {
                    let frame = frame.of_block(block);
                    let inner = {
                        let mut inner = Self(Arc::new(std::mem::take(all)));
                        inner.add(&block.steps, &frame, render);
                        inner
                    };
                    *all = Arc::unwrap_or_clone(inner.0);
                }
            }
        }
    }

    pub(super) fn get(&self, index: usize) -> Option<&TaskNode> {
        self.0.get(index).map(|handler| &handler.node)
    }

    /// Returns the handlers that a name notifies: the last one of this name, and all that listen to it. `title` renders
    /// the name of a handler, without its role.
    pub(super) fn named(&self, name: &str, title: impl Fn(&TaskNode) -> String) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let all = || self.0.iter().enumerate();
        let by_name = all().rev().find(|(_, handler)| {
            let own = title(&handler.node);
            let of_role = handler.node.task.role.as_ref();
            own == name || of_role.is_some_and(|role| format!("{} : {own}", role.name) == name)
        });
        found.extend(by_name.map(|(index, _)| index));
        let listening =
            all().filter(|(_, handler)| handler.listens.iter().any(|topic| topic == name));
        found.extend(listening.map(|(index, _)| index));
        found
    }
}
