//! The context of a task: its play, and the blocks, roles and includes around it, whose keywords it inherits.

use std::sync::Arc;

use minijinja::Value;
use serde_json::Map;

use crate::data::Data;
use crate::language::{Block, Condition, Keyword, Play, Settings, Task};
use crate::templates::{Layer, Variables, is_omitted, render_data};

/// A play, a block or an include around a task, with the frames around it.
#[derive(Debug)]
pub(super) struct Frame {
    owner: Owner,
    outer: Option<Arc<Self>>,
    /// The tags of this frame and of all frames around it.
    tags: Vec<String>,
}

/// The play, block or include to which a frame belongs.
#[derive(Debug)]
enum Owner {
    /// A play, for its tasks.
    Play(Arc<Play>),
    /// A play, for the handlers that it sets itself. The conditions of its imports do not apply to them.
    Handlers(Arc<Play>),
    Block(Arc<Block>),
    Include(Arc<Include>),
}

/// The keywords and variables that an include passes to its tasks.
#[derive(Debug, Default)]
pub(super) struct Include {
    /// The keywords under `apply`.
    pub(super) apply: Settings,
    /// The variables of the include, which are rendered when they are read.
    pub(super) variables: Layer,
    /// The variables of its loop: the item, and those that describe the loop.
    pub(super) item: Arc<Map<String, serde_json::Value>>,
}

impl Frame {
    /// Returns the frame of a play.
    pub(super) fn of_play(play: &Arc<Play>) -> Arc<Self> {
        Arc::new(Self {
            tags: play.tags(),
            owner: Owner::Play(Arc::clone(play)),
            outer: None,
        })
    }

    /// Returns the frame of the handlers that a play sets itself.
    pub(super) fn of_handlers(play: &Arc<Play>) -> Arc<Self> {
        Arc::new(Self {
            tags: play.tags(),
            owner: Owner::Handlers(Arc::clone(play)),
            outer: None,
        })
    }

    /// Returns the frame of a block within this one.
    pub(super) fn of_block(self: &Arc<Self>, block: &Arc<Block>) -> Arc<Self> {
        self.within(Owner::Block(Arc::clone(block)), block.settings.tags())
    }

    /// Returns the frame of an include within this one.
    pub(super) fn of_include(self: &Arc<Self>, include: &Arc<Include>) -> Arc<Self> {
        self.within(Owner::Include(Arc::clone(include)), include.apply.tags())
    }

    fn within(self: &Arc<Self>, owner: Owner, own: Vec<String>) -> Arc<Self> {
        let mut tags = self.tags.clone();
        tags.extend(own);
        Arc::new(Self {
            owner,
            outer: Some(Arc::clone(self)),
            tags,
        })
    }

    /// Iterates over this frame and those around it, the innermost first.
    pub(super) fn chain(self: &Arc<Self>) -> impl Iterator<Item = &Arc<Self>> {
        std::iter::successors(Some(self), |frame| frame.outer.as_ref())
    }

    /// Returns the keywords that the frame itself sets.
    pub(super) fn settings(&self) -> &Settings {
        match &self.owner {
            Owner::Play(play) | Owner::Handlers(play) => &play.settings,
            Owner::Block(block) => &block.settings,
            Owner::Include(include) => &include.apply,
        }
    }

    /// Whether this is the frame of the play itself.
    pub(super) fn is_play(&self) -> bool {
        matches!(self.owner, Owner::Play(_) | Owner::Handlers(_))
    }

    /// Returns the conditions of the imports through which the play was read, if this is the frame of its tasks.
    fn imported_conditions(&self) -> &[Data] {
        match &self.owner {
            Owner::Play(play) => &play.imported_conditions,
            _ => &[],
        }
    }

    pub(super) fn include(&self) -> Option<&Arc<Include>> {
        match &self.owner {
            Owner::Include(include) => Some(include),
            _ => None,
        }
    }

    /// Returns the tags of a task in this frame, including its own.
    pub(super) fn tags_of(&self, task: &Task) -> Vec<String> {
        let mut tags = self.tags.clone();
        tags.extend(task.settings.tags());
        tags
    }
}

/// A task within its frames.
#[derive(Debug, Clone)]
pub(super) struct TaskNode {
    pub(super) task: Arc<Task>,
    pub(super) frame: Arc<Frame>,
}

impl TaskNode {
    /// Returns the conditions of the task. Those of the outermost frame come first.
    pub(super) fn when(&self) -> Vec<Condition> {
        let frames = self.frame.chain();
        let imported = frames.flat_map(|frame| frame.imported_conditions());
        let all = imported.chain(self.all(Keyword::When));
        all.flat_map(Condition::all).collect()
    }

    /// Returns the rendered value of a keyword, from the innermost frame that sets it.
    pub(super) fn value(
        &self,
        keyword: Keyword,
        variables: &Variables,
    ) -> Result<Option<Value>, String> {
        let Some(data) = self.nearest(keyword) else {
            return Ok(None);
        };
        let value = render_data(data, variables)
            .map_err(|error| format!("`{}`: {error}", keyword.word()))?;
        Ok(Some(value).filter(|value| !is_omitted(value)))
    }

    /// Returns the unrendered value of a keyword, from the innermost frame that sets it.
    pub(super) fn nearest(&self, keyword: Keyword) -> Option<&Data> {
        self.task.settings.get(keyword).or_else(|| {
            let mut around = self.frame.chain();
            around.find_map(|frame| frame.settings().get(keyword))
        })
    }

    /// Returns all values of a keyword, the outermost first.
    pub(super) fn all(&self, keyword: Keyword) -> Vec<&Data> {
        let around = self.frame.chain();
        let mut all: Vec<_> = std::iter::once(&self.task.settings)
            .chain(around.map(|frame| frame.settings()))
            .filter_map(|settings| settings.get(keyword))
            .collect();
        all.reverse();
        all
    }

    /// Returns the name of the task as it is written, with its role; its module if it has no name. One that includes a role
    /// is named after that role, as with Ansible.
    pub(super) fn title(&self) -> String {
        let role = self.task.role.as_ref().map(|role| role.name.as_str());
        let name = self.task.settings.text(Keyword::Name);
        if self.task.is_action("include_role") {
            return name.unwrap_or_else(|| {
                let included = self.task.arguments.get("name");
                let included = included.or_else(|| self.task.arguments.get("role"));
                let included = included.and_then(|entry| entry.data.word());
                let included = included.unwrap_or_default();
                format!("{} : {included}", self.task.module)
            });
        }
        let name = name.unwrap_or_else(|| self.task.module.clone());
        match role {
            Some(role) => format!("{role} : {name}"),
            None => name,
        }
    }
}
