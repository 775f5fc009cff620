use std::fmt;
use std::time::Duration;

use super::{HookError, HookPoint, Phase};

/// What became of everything: the result of a shutdown.
#[derive(Debug)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// The last phase that was needed.
    pub reached: Phase,
    /// From the start of draining to the end of the last hook.
    pub took: Duration,
    /// The tasks that were alive when draining began or came after, in the order they ended; those that did not
    /// end stand last.
    pub tasks: Vec<TaskReport>,
    /// The hooks in the order they were due. Those of phases that were not reached are left out.
    pub hooks: Vec<HookReport>,
}

/// What became of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskReport {
    /// As given to `spawn`.
    pub name: String,
    /// How it ended.
    pub ending: TaskEnding,
}

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TaskEnding {
    /// By itself, before it was asked to.
    Finished,
    /// After it was asked to, or its own handle aborted it.
    Cancelled,
    /// It was aborted in the last phase.
    Killed,
    /// It panicked.
    Panicked,
    /// Not at all: it was aborted and still runs.
    Unanswered,
}

/// What became of a hook.
#[derive(Debug)]
#[non_exhaustive]
pub struct HookReport {
    /// Its name.
    pub name: String,
    /// When it was due.
    pub point: HookPoint,
    /// How it ended.
    pub ending: HookEnding,
    /// How long it ran.
    pub took: Duration,
}

/// How a hook ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum HookEnding {
    /// It did its work.
    Done,
    /// It could not do its work.
    Failed(HookError),
    /// It panicked.
    Panicked,
    /// It was dropped at its deadline.
    TimedOut,
    /// It was dropped because the next phase began.
    Interrupted,
    /// It was not run: the next phase began before its turn.
    Skipped,
}

impl ShutdownReport {
    /// Whether everything ended by itself and every hook did its work.
    pub fn is_clean(&self) -> bool {
        self.tasks
            .iter()
            .all(|task| task.ending == TaskEnding::Finished)
            && self
                .hooks
                .iter()
                .all(|hook| matches!(hook.ending, HookEnding::Done))
    }

    /// How the task of this name ended; of the first, if several have it.
    pub fn ending(&self, name: &str) -> Option<TaskEnding> {
        self.tasks
            .iter()
            .find(|task| task.name == name)
            .map(|task| task.ending)
    }

    /// How many tasks ended like this.
    pub fn count(&self, ending: TaskEnding) -> usize {
        self.tasks
            .iter()
            .filter(|task| task.ending == ending)
            .count()
    }
}

impl fmt::Display for TaskEnding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Finished => "finished",
            Self::Cancelled => "cancelled",
            Self::Killed => "killed",
            Self::Panicked => "panicked",
            Self::Unanswered => "did not answer",
        })
    }
}

impl fmt::Display for HookEnding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Failed(error) => write!(f, "failed: {error}"),
            Self::Panicked => f.write_str("panicked"),
            Self::TimedOut => f.write_str("timed out"),
            Self::Interrupted => f.write_str("was interrupted"),
            Self::Skipped => f.write_str("was skipped"),
        }
    }
}

/// One line: the counts, then by name whatever did not go well.
impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let finished = self.count(TaskEnding::Finished);
        write!(
            f,
            "{finished} of {} tasks finished, {} after {:?}",
            self.tasks.len(),
            self.reached,
            self.took
        )?;
        for task in self
            .tasks
            .iter()
            .filter(|task| task.ending != TaskEnding::Finished)
        {
            write!(f, "; task {} {}", task.name, task.ending)?;
        }
        for hook in self
            .hooks
            .iter()
            .filter(|hook| !matches!(hook.ending, HookEnding::Done))
        {
            write!(f, "; hook {} {}", hook.name, hook.ending)?;
        }
        Ok(())
    }
}
