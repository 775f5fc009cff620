//! The handlers of a play, and the lookup of handlers by name.

use std::collections::{BTreeSet, HashSet};
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
    /// The number of the list that the handler is in: one for each use of a role, and one for the play.
    list: usize,
    /// The topics to which the handler listens, besides its own name.
    listens: Vec<String>,
}

impl Handlers {
    /// Collects the handlers of a play. `render` renders the templates in names.
    pub(super) fn of(play: &Arc<Play>, render: impl Fn(&str) -> String) -> Self {
        let mut all = Self::default();
        let frame = Frame::of_play(play);
        for block in stages::roles(play) {
            all.add_role(&block, &frame, &render);
        }
        let list = all.next_list();
        all.add(&play.handlers, list, &Frame::of_handlers(play), &render);
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
        let list = self.next_list();
        self.add(&block.handlers, list, &frame, render);
    }

    fn next_list(&self) -> usize {
        self.0.last().map_or(0, |last| last.list + 1)
    }

    fn add(
        &mut self,
        steps: &[Step],
        list: usize,
        frame: &Arc<Frame>,
        render: &impl Fn(&str) -> String,
    ) {
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
                        list,
                        listens: listens.iter().map(|name| render(name)).collect(),
                    });
                }
                // The block that replaced an import of tasks.
                Step::Block(block) => {
                    let frame = frame.of_block(block);
                    let inner = {
                        let mut inner = Self(Arc::new(std::mem::take(all)));
                        inner.add(&block.steps, list, &frame, render);
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

    /// Returns the handlers that a name notifies: one of this name, and those that listen to it. `title` renders the
    /// name of a handler, without its role.
    ///
    /// Of several handlers of one name, the one in the latest list counts, because a role that is used again replaces
    /// its handlers; within a list the first one counts.
    pub(super) fn named(&self, name: &str, title: impl Fn(&TaskNode) -> String) -> BTreeSet<usize> {
        let mut order: Vec<usize> = (0..self.0.len()).collect();
        // A stable sort keeps the handlers of a list in their order.
        order.sort_by_key(|index| std::cmp::Reverse(self.0[*index].list));
        let mut found = BTreeSet::new();
        found.extend(order.iter().copied().find(|index| {
            let node = &self.0[*index].node;
            let own = title(node);
            let of_role = node.task.role.as_ref();
            own == name || of_role.is_some_and(|role| format!("{} : {own}", role.name) == name)
        }));
        let mut seen = HashSet::new();
        for index in order {
            let handler = &self.0[index];
            if handler.listens.iter().any(|topic| topic == name) {
                let own = title(&handler.node);
                if own.is_empty() || seen.insert(own) {
                    found.insert(index);
                }
            }
        }
        found
    }
}
