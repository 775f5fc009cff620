//! The kinds of worker of a run, and which of them performs which task.

use std::collections::BTreeMap;
use std::sync::Arc;

use ratchet_ipc::TaskName;

use super::reuse::PerformerIdentity;
use super::service::Service;
use crate::dispatch::DeclaredTask;
use crate::ids::KindId;
use crate::job::{Job, Placement, Work};
use crate::os::ProcessConfig;
use crate::outcome::{Class, Failure};
use crate::process::StartedPrograms;
use crate::scheduling::ParallelizationHint;
use crate::scheduling::closest;
use crate::table::Table;

/// The kind that performs closures. Every run has it, and its number comes before those of the runner and of workers.
pub(super) const CLOSURES: KindId = KindId(0);
/// The kind that performs commands.
pub(super) const COMMANDS: KindId = KindId(1);

/// How many known tasks a message about an unknown task names at most. A longer list would hide the rest of the
/// message.
const NAMED: usize = 16;

/// A kind of worker, as the loop knows it.
#[derive(Debug, Clone)]
pub(crate) struct KindOfWorker {
    /// The name of the kind. If its workers declare no tasks, the kind may perform the task of this name.
    pub(crate) name: String,
    /// The tasks that the kind performs.
    pub(crate) tasks: Tasks,
    /// Where its workers run. A command runs where the terms of its job say.
    pub(crate) on: Placement,
    /// The program of its workers, on which cached results depend.
    pub(crate) process: Option<ProcessConfig>,
    /// The files of that program, as they were before the first worker of the kind started.
    pub(crate) programs: Option<Arc<StartedPrograms>>,
}

/// Which tasks a kind of worker performs, and how that becomes known.
#[derive(Debug, Clone)]
pub(crate) enum Tasks {
    /// The kind performs every task that no other kind performs.
    Any,
    /// The kind performs these tasks.
    Declared(Vec<(TaskName, ParallelizationHint)>),
    /// The kind performs these tasks, and those that its first worker declares. What is not set for a task here is
    /// taken from that declaration.
    Served(Vec<Service>),
    /// The kind performs the tasks that its first worker declares, and jobs without a hint of their own wait for that.
    /// If the worker declares none, the kind performs the task of its own name, or any task if it is the only kind.
    Introduced,
}

/// The kind that performs a task, and what is declared for the task.
#[derive(Debug)]
struct TaskEntry {
    /// The kind of worker that performs it.
    kind: KindId,
    /// The hint that the worker has declared.
    hint: Option<Result<ParallelizationHint, String>>,
    /// Whether results of the task can be used again, if that is declared.
    cacheable: Option<bool>,
}

/// Knows the kinds of worker, and finds the kind that performs a job.
#[derive(Debug)]
pub(super) struct Kinds {
    /// The kinds, indexed by their numbers.
    list: Vec<KindOfWorker>,
    /// The kind that performs each known task.
    tasks: Table<TaskName, TaskEntry>,
    /// The kind that performs every task that no other kind performs, if there is one.
    any: Option<KindId>,
    /// The kinds whose first worker was not heard yet.
    silent: Vec<KindId>,
    /// The kinds whose tasks were guessed, because their first worker said no hello.
    guessed: Vec<KindId>,
    /// The version that the workers of a kind declare.
    versions: Table<KindId, String>,
    /// The kinds that have no workers any more, each with the reason.
    broken: Table<KindId, Failure>,
}

/// The answer to the question which kind performs a job.
#[derive(Debug)]
pub(super) enum Resolved {
    /// This kind performs the job.
    Known { kind: KindId, cacheable: bool },
    /// The answer depends on a kind whose first worker was not heard yet.
    Later,
    /// No kind can perform the job.
    Refused(Failure),
}

impl Kinds {
    /// Makes the list of kinds. The number of a kind is its index in the list.
    pub(super) fn new(kinds: Vec<KindOfWorker>) -> Self {
        let mut table = Self {
            list: Vec::new(),
            tasks: Table::default(),
            any: None,
            silent: Vec::new(),
            guessed: Vec::new(),
            versions: Table::default(),
            broken: Table::default(),
        };
        for kind in kinds {
            table.add(kind);
        }
        table
    }

    fn add(&mut self, kind: KindOfWorker) {
        #[expect(
            clippy::expect_used,
            reason = "a run with more kinds is refused when it is started"
        )]
        let number = KindId(u16::try_from(self.list.len()).expect("kinds are counted by a u16"));
        match &kind.tasks {
            Tasks::Any => self.any = Some(number),
            Tasks::Introduced => self.silent.push(number),
            Tasks::Declared(tasks) => {
                for (task, hint) in tasks {
                    self.enter(task.clone(), number, Some(Ok(hint.clone())), Some(false));
                }
            }
            Tasks::Served(services) => {
                for service in services {
                    let hint = service.hint.clone().map(Ok);
                    self.enter(service.task.clone(), number, hint, service.cacheable);
                }
                self.silent.push(number);
            }
        }
        self.list.push(kind);
    }

    fn enter(
        &mut self,
        task: TaskName,
        kind: KindId,
        hint: Option<Result<ParallelizationHint, String>>,
        cacheable: Option<bool>,
    ) {
        // If several kinds declare a task, the first of them performs it.
        let entry = self.tasks.entry(task).or_insert(TaskEntry {
            kind,
            hint: None,
            cacheable: None,
        });
        if entry.kind == kind {
            entry.hint = entry.hint.take().or(hint);
            entry.cacheable = entry.cacheable.or(cacheable);
        }
    }

    /// Records what the worker of a kind has declared, or with `None` that it declares nothing. Returns whether jobs may
    /// have been resolved wrongly until now: by a guess, or by a task that the kind was said to serve and that its worker
    /// does not know.
    pub(super) fn introduced(&mut self, kind: KindId, tasks: Option<Vec<DeclaredTask>>) -> bool {
        let is_first = take(&mut self.silent, kind);
        let Some(tasks) = tasks else {
            if is_first {
                self.guess(kind);
            }
            return false;
        };
        let is_late = take(&mut self.guessed, kind);
        if !is_first && !is_late {
            return false; // A later worker of the kind says the same again.
        }
        if is_late && !self.is_served(kind) {
            // The declaration replaces all that was guessed.
            self.any = self.any.filter(|any| *any != kind);
            self.tasks.retain(|_, entry| entry.kind != kind);
        }
        let known = self.tasks.len();
        self.tasks.retain(|task, entry| {
            entry.kind != kind || tasks.iter().any(|declared| declared.task == *task)
        });
        let lacks_some = self.tasks.len() < known;
        for DeclaredTask {
            task,
            hint,
            cacheable,
        } in tasks
        {
            self.enter(task, kind, hint, Some(cacheable));
        }
        is_late || lacks_some
    }

    /// Guesses the tasks of a kind whose worker takes work and has declared none.
    fn guess(&mut self, kind: KindId) {
        self.guessed.push(kind);
        if self.is_served(kind) {
            return;
        }
        if self.is_only(kind) {
            self.any = Some(kind);
        } else {
            let name = TaskName::from(self.name(kind));
            self.enter(name, kind, None, None);
        }
    }

    /// Whether the tasks of a kind were guessed, so that its workers may still declare some.
    pub(super) fn is_guessed(&self, kind: KindId) -> bool {
        self.guessed.contains(&kind)
    }

    /// Whether the tasks of a kind are known without a declaration of its worker.
    fn is_served(&self, kind: KindId) -> bool {
        matches!(self.list[usize::from(kind.0)].tasks, Tasks::Served(_))
    }

    /// Whether no other kind performs named tasks.
    fn is_only(&self, kind: KindId) -> bool {
        let others = (0..).map(KindId).zip(&self.list);
        others
            .filter(|(other, _)| *other != kind && other.0 > COMMANDS.0)
            .all(|(_, other)| matches!(&other.tasks, Tasks::Declared(tasks) if tasks.is_empty()))
    }

    /// Records that a kind has no workers any more, for this reason.
    pub(super) fn broke(&mut self, kind: KindId, failure: Failure) {
        if self.silent.contains(&kind) {
            let name = TaskName::from(self.name(kind));
            self.introduced(kind, None);
            self.enter(name, kind, None, None);
        }
        self.broken.insert(kind, failure);
    }

    /// Returns the kinds whose first worker was not heard yet.
    pub(super) fn silent(&self) -> &[KindId] {
        &self.silent
    }

    /// Returns the name of a kind, for messages.
    pub(super) fn name(&self, kind: KindId) -> &str {
        &self.list[usize::from(kind.0)].name
    }

    /// Records the version that a worker of a kind declares.
    pub(super) fn set_version(&mut self, kind: KindId, version: String) {
        self.versions.insert(kind, version);
    }

    /// Returns the command and the version of the workers of a kind, on which cached results depend.
    pub(super) fn performer_identity(&self, kind: KindId) -> PerformerIdentity<'_> {
        let known = &self.list[usize::from(kind.0)];
        PerformerIdentity {
            process: known.process.as_ref(),
            programs: known.programs.as_ref(),
            version: self.versions.get(&kind).map(String::as_str),
            // The platform depends on the places of the job, so the caller sets it.
            platform: None,
        }
    }

    /// Finds the kind that performs a job.
    pub(super) fn resolve(&self, job: &Job) -> Resolved {
        let (kind, cacheable) = match &job.work {
            Work::Closure(_) => (CLOSURES, false),
            Work::Refused { failure, .. } => return Resolved::Refused((**failure).clone()),
            // An ended job is never resolved, because its outcome is passed on before that.
            Work::Command(_) | Work::Ended(_) => (COMMANDS, false),
            Work::Task { task, .. } => match self.find(task) {
                Ok((kind, _)) if self.may_still_say(kind, task, job) => return Resolved::Later,
                Ok(known) => known,
                Err(_) if !self.silent.is_empty() => return Resolved::Later,
                Err(failure) => return Resolved::Refused(failure),
            },
        };
        match self.broken.get(&kind) {
            Some(failure) => Resolved::Refused(failure.clone()),
            None => Resolved::Known { kind, cacheable },
        }
    }

    /// Checks that a kind can perform a job, as far as that is known by now.
    pub(super) fn check(&self, job: &Job) -> Result<(), Failure> {
        match self.resolve(job) {
            Resolved::Refused(failure) => Err(failure),
            Resolved::Known { .. } | Resolved::Later => Ok(()),
        }
    }

    /// Whether a hello that has not come may still declare the hint or the cacheability that this job leaves open.
    fn may_still_say(&self, kind: KindId, task: &TaskName, job: &Job) -> bool {
        let says = |entry: &TaskEntry| {
            (job.terms.hint.is_none() && entry.hint.is_none())
                || (job.terms.cache.is_none() && entry.cacheable.is_none())
        };
        self.silent.contains(&kind) && self.tasks.get(task).is_some_and(says)
    }

    fn find(&self, task: &TaskName) -> Result<(KindId, bool), Failure> {
        if let Some(entry) = self.tasks.get(task) {
            return Ok((entry.kind, entry.cacheable.unwrap_or(false)));
        }
        if let Some(kind) = self.any {
            return Ok((kind, false));
        }
        let has_workers = self.list.iter().any(|kind| kind.process.is_some());
        if self.tasks.is_empty() && self.silent.is_empty() && !has_workers {
            let nobody = crate::Error::NoWork.to_string();
            return Err(Failure::new(Class::Input, nobody));
        }
        let mut names: Vec<&str> = self.tasks.keys().map(TaskName::as_str).collect();
        names.sort_unstable();
        let meant = match closest(task.as_str(), names.iter().copied()) {
            Some(name) => format!(", did you mean `{name}`?"),
            None if (1..=NAMED).contains(&names.len()) => format!("; known: {}", names.join(", ")),
            None if names.is_empty() => "; the workers declare no tasks".to_owned(),
            None => String::new(),
        };
        let message = format!("unknown task `{task}`{meant}");
        Err(Failure::new(Class::Input, message).code("unknown_task"))
    }

    /// Returns where a job of a kind can run: at the places of its workers, or for a command, where its terms say.
    pub(super) fn placement<'a>(
        &'a self,
        kind: KindId,
        job: &'a Job,
    ) -> Result<&'a Placement, Failure> {
        let own = &job.terms.on;
        if matches!(job.work, Work::Command(_)) {
            return Ok(own);
        }
        if *own != Placement::Here {
            let message = "`on` is for commands: a task runs where its workers do, and a closure in this process";
            return Err(Failure::new(Class::Input, message));
        }
        Ok(&self.list[usize::from(kind.0)].on)
    }

    /// Returns where a job may run, as far as that is known: for each kind that performs it, or may yet turn out to
    /// perform it, the placement there. It is empty for a job that never runs.
    pub(super) fn placements<'a>(&'a self, job: &'a Job) -> Vec<&'a Placement> {
        let on = |kind: &KindId| &self.list[usize::from(kind.0)].on;
        match &job.work {
            Work::Command(_) => vec![&job.terms.on],
            Work::Closure(_) => vec![&Placement::Here],
            Work::Refused { .. } | Work::Ended(_) => Vec::new(),
            Work::Task { task, .. } => {
                let known = self.tasks.get(task).map(|entry| entry.kind).or(self.any);
                known.map_or_else(
                    || self.silent.iter().map(on).collect(),
                    |kind| vec![on(&kind)],
                )
            }
        }
    }

    /// Returns the hint of a job: its own, or the one that its worker declares, or fully parallel.
    pub(super) fn hint<'a>(&'a self, job: &'a Job) -> Result<&'a ParallelizationHint, Failure> {
        const FULLY: &ParallelizationHint = &ParallelizationHint::FullyParallel;
        if let Some(hint) = &job.terms.hint {
            return Ok(hint);
        }
        let Work::Task { task, .. } = &job.work else {
            return Ok(FULLY);
        };
        match self.tasks.get(task).and_then(|entry| entry.hint.as_ref()) {
            None => Ok(FULLY),
            Some(Ok(hint)) => Ok(hint),
            Some(Err(wrong)) => {
                let message =
                    format!("its worker declares a hint for `{task}` that is wrong: {wrong}");
                Err(Failure::new(Class::Input, message))
            }
        }
    }
}

impl Kinds {
    /// Returns the hints that are declared for the tasks of a kind, or of all kinds, by the names of the tasks.
    pub(super) fn declared_hints(
        &self,
        kind: Option<KindId>,
    ) -> BTreeMap<String, ParallelizationHint> {
        let entries = self.tasks.iter();
        entries
            .filter(|(_, entry)| kind.is_none_or(|kind| entry.kind == kind))
            .filter_map(|(task, entry)| match &entry.hint {
                Some(Ok(hint)) => Some((task.to_string(), hint.clone())),
                Some(Err(_)) | None => None,
            })
            .collect()
    }
}

/// Removes a kind from a list, and returns whether it was there.
fn take(kinds: &mut Vec<KindId>, kind: KindId) -> bool {
    let at = kinds.iter().position(|one| *one == kind);
    at.map(|at| kinds.remove(at)).is_some()
}
