//! The position of a host in its play, and the moves from there.

use std::fmt::Write as _;
use std::sync::Arc;

use super::frame::{Frame, TaskNode};
use super::handlers::Handlers;
use super::stages::Stage;
use crate::language::{Block, Step};

/// The position of a host in its play.
///
/// A play is a tree: stages contain blocks, and blocks contain tasks. The cursor is the path from the root to the next
/// task. While a host is in a block or an include, the list of steps above still points at that block or include. So of
/// two hosts of one play, the one with the smaller [position](Self::position) is behind the other.
#[derive(Debug)]
pub(super) struct Cursor {
    stages: Arc<[Stage]>,
    frame: Arc<Frame>,
    stage: usize,
    /// Within the stage: the list of steps, and inside of that the blocks and includes, the innermost last.
    levels: Vec<Level>,
}

/// A list of steps that the host goes through.
#[derive(Debug)]
struct Level {
    steps: Steps,
    frame: Arc<Frame>,
    /// The index of the next step.
    at: usize,
    /// Set in an `always` section that was entered because of a failure, which takes effect again at the end of the
    /// section.
    has_failed: bool,
}

/// The list of steps of a level.
#[derive(Debug)]
enum Steps {
    List(Arc<[Step]>),
    Block(Arc<Block>, Phase),
    /// The steps of includes, one list for each. The host goes through only those that are marked.
    Included(Arc<[Arc<IncludedSteps>]>, Vec<bool>),
    Handlers(Handlers),
}

/// The section of a block that the host is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Body,
    Rescue,
    Always,
}

/// The steps of one include.
#[derive(Debug)]
pub(super) struct IncludedSteps {
    pub(super) steps: Arc<[Step]>,
    pub(super) frame: Arc<Frame>,
}

/// What a host reaches next.
#[derive(Debug)]
pub(super) enum Next {
    Task(TaskNode),
    /// A handler that runs if the host has notified it.
    Handler(usize, TaskNode),
    /// The host has entered the block of a role.
    Role(Arc<Block>),
    /// The host has reached the end of a role.
    RoleEnd(Arc<Block>),
    /// The host has reached a stage in which handlers run.
    Flush,
    /// There is nothing left to do in the play.
    End,
}

/// What follows a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterFailure {
    /// A `rescue` section follows, and clears the failure.
    Rescued,
    /// An `always` section follows, and the failure takes effect again at its end.
    Always,
    /// The play is over for the host.
    Over,
}

impl Cursor {
    /// Returns a cursor at the beginning of a play.
    pub(super) fn new(stages: Arc<[Stage]>, frame: Arc<Frame>) -> Self {
        Self {
            stages,
            frame,
            stage: 0,
            levels: Vec::new(),
        }
    }

    /// Moves to the next task, handler or stage. The caller has to call [`pass`](Self::pass) after each that it has
    /// done.
    ///
    /// Returns `None` if a failure takes effect that was held back during an `always` section; see
    /// [`fail`](Self::fail).
    pub(super) fn next(&mut self) -> Option<Next> {
        loop {
            let Some(level) = self.levels.last_mut() else {
                match self.stages.get(self.stage) {
                    None => return Some(Next::End),
                    Some(Stage::Gather(task)) => {
                        return Some(Next::Task(TaskNode {
                            task: Arc::clone(task),
                            frame: Arc::clone(&self.frame),
                        }));
                    }
                    Some(Stage::Section(_, steps)) => {
                        let steps = Steps::List(Arc::clone(steps));
                        self.push(steps, Arc::clone(&self.frame));
                        continue;
                    }
                    Some(Stage::Handlers) => return Some(Next::Flush),
                }
            };
            let step = match &level.steps {
                Steps::List(steps) => steps.get(level.at),
                Steps::Block(block, phase) => phase.steps(block).get(level.at),
                Steps::Handlers(handlers) => {
                    if let Some(node) = handlers.get(level.at) {
                        return Some(Next::Handler(level.at, node.clone()));
                    }
                    None
                }
                Steps::Included(included, mine) => {
                    let rest = mine.iter().skip(level.at);
                    let next = rest.take_while(|is_mine| !**is_mine).count() + level.at;
                    level.at = next;
                    if let Some(next) = included.get(next) {
                        let (steps, frame) = (Arc::clone(&next.steps), Arc::clone(&next.frame));
                        self.push(Steps::List(steps), frame);
                        continue;
                    }
                    None
                }
            };
            match step {
                Some(Step::Task(task)) => {
                    return Some(Next::Task(TaskNode {
                        task: Arc::clone(task),
                        frame: Arc::clone(&level.frame),
                    }));
                }
                Some(Step::Block(block)) => {
                    let block = Arc::clone(block);
                    let frame = level.frame.of_block(&block);
                    self.push(Steps::Block(Arc::clone(&block), Phase::Body), frame);
                    if block.role.is_some() {
                        return Some(Next::Role(block));
                    }
                }
                None => match self.leave() {
                    Left::Failed => return None,
                    Left::Role(block) => return Some(Next::RoleEnd(block)),
                    Left::Inside => {}
                },
            }
        }
    }

    /// Leaves the innermost list of steps, which is done.
    fn leave(&mut self) -> Left {
        let Some(level) = self.levels.last_mut() else {
            return Left::Inside;
        };
        if let Steps::Block(block, phase) = &mut level.steps
            && *phase != Phase::Always
            && !block.always.is_empty()
        {
            *phase = Phase::Always;
            level.at = 0;
            return Left::Inside;
        }
        let Some(level) = self.levels.pop() else {
            return Left::Inside;
        };
        if level.has_failed {
            return Left::Failed;
        }
        self.pass();
        match level.steps {
            Steps::Block(block, _) if block.role.is_some() => Left::Role(block),
            _ => Left::Inside,
        }
    }

    fn push(&mut self, steps: Steps, frame: Arc<Frame>) {
        self.levels.push(Level {
            steps,
            frame,
            at: 0,
            has_failed: false,
        });
    }

    /// Moves past the task, the handler or the stage that [`next`](Self::next) returned.
    pub(super) fn pass(&mut self) {
        match self.levels.last_mut() {
            Some(level) => level.at += 1,
            None => self.stage += 1,
        }
    }

    /// Leaves the block that was just entered.
    pub(super) fn skip_block(&mut self) {
        self.levels.pop();
        self.pass();
    }

    /// Moves to the steps that follow a failure.
    pub(super) fn fail(&mut self) -> AfterFailure {
        while let Some(level) = self.levels.last_mut() {
            if let Steps::Block(block, phase) = &mut level.steps {
                if *phase == Phase::Body && !block.rescue.is_empty() {
                    *phase = Phase::Rescue;
                    level.at = 0;
                    return AfterFailure::Rescued;
                }
                if *phase != Phase::Always && !block.always.is_empty() {
                    *phase = Phase::Always;
                    level.at = 0;
                    level.has_failed = true;
                    return AfterFailure::Always;
                }
            }
            self.levels.pop();
        }
        AfterFailure::Over
    }

    /// Whether a failure here is rescued.
    pub(super) fn is_rescued(&self) -> bool {
        self.levels.iter().any(|level| {
            matches!(&level.steps, Steps::Block(block, Phase::Body) if !block.rescue.is_empty())
        })
    }

    /// Inserts the steps of includes before the next step. `mine` marks those that the host goes through.
    pub(super) fn include(&mut self, included: &Arc<[Arc<IncludedSteps>]>, mine: Vec<bool>) {
        let frame = Arc::clone(&self.frame);
        self.push(Steps::Included(Arc::clone(included), mine), frame);
    }

    /// Whether the next step gathers the facts of the play.
    pub(super) fn is_gathering(&self) -> bool {
        self.levels.is_empty() && matches!(self.stages.get(self.stage), Some(Stage::Gather(_)))
    }

    /// Whether the host goes through handlers.
    pub(super) fn is_in_handlers(&self) -> bool {
        let mut levels = self.levels.iter();
        levels.any(|level| matches!(level.steps, Steps::Handlers(_)))
    }

    /// Inserts the handlers before the next step.
    pub(super) fn flush(&mut self, handlers: Handlers) {
        let frame = Arc::clone(&self.frame);
        self.push(Steps::Handlers(handlers), frame);
    }

    /// Goes to the next stage in which handlers run, or to the end if there is none.
    pub(super) fn skip_to_handlers(&mut self) {
        self.levels.clear();
        let rest = self.stages.iter().skip(self.stage);
        self.stage += rest
            .take_while(|stage| !matches!(stage, Stage::Handlers))
            .count();
    }

    /// Leaves the role that the host is in.
    pub(super) fn leave_role(&mut self) {
        while let Some(level) = self.levels.pop() {
            if matches!(&level.steps, Steps::Block(block, _) if block.role.is_some()) {
                break;
            }
        }
        self.pass();
    }

    /// Returns the number of blocks and includes around the next step.
    pub(super) fn depth(&self) -> usize {
        self.levels.len()
    }

    /// Returns the place in the play. Places compare in the order in which a play is written.
    pub(super) fn position(&self) -> Vec<u32> {
        let index = |index: usize| u32::try_from(index).unwrap_or(u32::MAX);
        let mut position = vec![index(self.stage)];
        for level in &self.levels {
            let phase = match &level.steps {
                Steps::Block(_, Phase::Rescue) => 1,
                Steps::Block(_, Phase::Always) => 2,
                _ => 0,
            };
            position.extend([phase, index(level.at)]);
        }
        position
    }

    /// Returns the name of the place, for ids: `tasks.3`, `roles.0.2`, `tasks.1.rescue.0`.
    pub(super) fn path(&self) -> String {
        let mut path = match self.stages.get(self.stage) {
            Some(Stage::Gather(_)) => "facts".to_owned(),
            Some(Stage::Section(name, _)) => name.as_str().to_owned(),
            Some(Stage::Handlers) | None => format!("handlers{}", self.stage),
        };
        for (number, level) in self.levels.iter().enumerate() {
            match &level.steps {
                Steps::Block(_, Phase::Rescue) => path.push_str(".rescue"),
                Steps::Block(_, Phase::Always) => path.push_str(".always"),
                Steps::Handlers(_) if number > 0 => path.push_str(".handlers"),
                _ => {}
            }
            let _ = write!(path, ".{}", level.at);
        }
        path
    }
}

/// Where a host is when it has left a list of steps.
enum Left {
    Inside,
    /// At the end of an `always` section that was entered because of a failure.
    Failed,
    Role(Arc<Block>),
}

impl Phase {
    fn steps(self, block: &Block) -> &[Step] {
        match self {
            Self::Body => &block.steps,
            Self::Rescue => &block.rescue,
            Self::Always => &block.always,
        }
    }
}
