//! The terms that jobs have in common: those of each task, and those of commands.

use std::collections::HashMap;
use std::sync::Arc;

use ratchet_runtime::{Placement, TaskName, Terms};

use crate::diagnostic::{Diagnostic, Span};
use crate::document::ClapWord;
use crate::job_file::hosts::HostRegistry;
use crate::job_file::spec::{Protocol, WorkerSpec};
use crate::job_file::terms::PartialTerms;
use crate::value::ValueError;

/// How many names and terms are kept for reuse, so that the memory of a stream stays bounded.
const MAX_KEPT: usize = 4096;

/// The tasks that are served. Each job looks its task up twice, and the standard hash would take most of that time.
/// This hash does not protect against names that are made to collide. A stream adds at most [`MAX_KEPT`] names, so such
/// names cannot slow it down by much.
type KnownTasks = HashMap<TaskName, SharedTerms, foldhash::fast::RandomState>;

/// The terms that the jobs of a worker, or all commands, have in common.
#[derive(Clone)]
pub(super) struct SharedTerms {
    terms: PartialTerms,
    /// The place of the `retry` that holds for all of them, if there is one.
    retry: Option<Span>,
    /// The terms of a job that sets none itself. They are computed for the first such job.
    plain: Option<Arc<Terms>>,
    /// Why the jobs cannot bring files back, if they cannot.
    no_pull: Option<NoPull>,
}

/// Why the jobs of a worker cannot bring files back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoPull {
    /// The worker has no work folder on its host.
    NoFolder,
    /// The worker is a filter, whose answers may belong to other items.
    Filter,
}

impl NoPull {
    /// Returns why the jobs of a worker that runs there cannot bring files back, if that is so.
    pub(super) fn of(spec: &WorkerSpec, on: &Placement) -> Option<Self> {
        let has_folder = *on == Placement::Here || spec.push.is_present();
        match spec.protocol.get() {
            Some(ClapWord(Protocol::Lines)) => Some(Self::Filter),
            _ => (!has_folder).then_some(Self::NoFolder),
        }
    }
}

impl SharedTerms {
    /// Makes the terms of the jobs of a worker, or of commands. `retry` is the place of their `retry`.
    pub(super) fn new(terms: PartialTerms, retry: Option<Span>) -> Self {
        Self {
            terms,
            retry,
            plain: None,
            no_pull: None,
        }
    }

    /// Takes out where the jobs run. A task runs where its worker does.
    pub(super) fn take_placement(&mut self, hosts: &HostRegistry) -> Placement {
        let on = self.terms.on.take();
        on.map_or(Placement::Here, |words| hosts.placement(&words))
    }

    /// Sets why the jobs cannot bring files back, if they cannot.
    pub(super) fn set_no_pull(&mut self, reason: Option<NoPull>) {
        self.no_pull = reason;
    }
}

/// The terms of the tasks that are served and of commands, and the terms of jobs that were computed from them.
#[derive(Clone)]
pub(super) struct TermsTable {
    tasks: KnownTasks,
    /// The terms of tasks without a worker of their own, if one worker serves every task.
    other_tasks: Option<SharedTerms>,
    /// The terms of commands.
    commands: SharedTerms,
    /// The terms of jobs that set some themselves. Jobs with equal terms share them.
    settled: HashMap<PartialTerms, Arc<Terms>>,
}

impl TermsTable {
    /// Makes the table of a file without workers.
    pub(super) fn new(commands: SharedTerms) -> Self {
        Self {
            tasks: KnownTasks::default(),
            other_tasks: None,
            commands,
            settled: HashMap::new(),
        }
    }

    /// Adds a task that a worker serves.
    pub(super) fn serve(&mut self, task: TaskName, terms: SharedTerms) {
        self.tasks.insert(task, terms);
    }

    /// Sets the terms of all tasks without a worker of their own. Returns whether such terms were set already.
    pub(super) fn serve_others(&mut self, terms: SharedTerms) -> bool {
        self.other_tasks.replace(terms).is_some()
    }

    /// Returns why the jobs of a task cannot bring files back, if they cannot.
    pub(super) fn no_pull(&mut self, task: Option<&str>) -> Option<NoPull> {
        self.shared(task).no_pull
    }

    /// Returns the name of a task that is served. All jobs of the task share its memory.
    pub(super) fn task(&mut self, name: &TaskName) -> Option<TaskName> {
        if let Some((known, _)) = self.tasks.get_key_value(name) {
            return Some(known.clone());
        }
        let shared = self.other_tasks.as_ref()?;
        if self.tasks.len() < MAX_KEPT {
            self.tasks.insert(name.clone(), shared.clone());
        }
        Some(name.clone())
    }

    /// Returns the error of a job whose task nobody serves.
    pub(super) fn unknown_task(&self, name: &TaskName, place: Span) -> Diagnostic {
        let error = Diagnostic::error(place, format!("no worker serves `{name}`"));
        let mut names: Vec<_> = self.tasks.keys().map(TaskName::as_str).collect();
        names.sort_unstable();
        if names.is_empty() {
            return error.help(format!(
                "add `workers: {{{name}: {{command: [..]}}}}`, or name a command with --worker"
            ));
        }
        error.did_you_mean(name.as_str(), names, "known tasks")
    }

    /// Returns the shared terms of a task, or of commands.
    fn shared(&mut self, task: Option<&str>) -> &mut SharedTerms {
        let Some(task) = task else {
            return &mut self.commands;
        };
        match self.tasks.get_mut(task) {
            Some(shared) => shared,
            None => self.other_tasks.as_mut().unwrap_or(&mut self.commands),
        }
    }

    /// Returns the terms of a job that sets none itself.
    pub(super) fn plain(
        &mut self,
        task: Option<&str>,
        hosts: &HostRegistry,
    ) -> Result<Arc<Terms>, TermsError> {
        let shared = self.shared(task);
        if let Some(terms) = &shared.plain {
            return Ok(Arc::clone(terms));
        }
        let (terms, place) = (shared.terms.clone(), shared.retry);
        let terms = terms.settle(hosts);
        let terms = Arc::new(terms.map_err(|error| TermsError { error, place })?);
        self.shared(task).plain = Some(Arc::clone(&terms));
        Ok(terms)
    }

    /// Returns the terms of a job that sets some itself. Jobs with equal terms share them.
    pub(super) fn own(
        &mut self,
        task: Option<&str>,
        own: &PartialTerms,
        retry: Option<Span>,
        hosts: &HostRegistry,
    ) -> Result<Arc<Terms>, TermsError> {
        let shared = self.shared(task);
        let place = retry.or(shared.retry);
        let terms = own.clone().or(&shared.terms);
        if let Some(settled) = self.settled.get(&terms) {
            return Ok(Arc::clone(settled));
        }
        let settled = terms.clone().settle(hosts);
        let settled = Arc::new(settled.map_err(|error| TermsError { error, place })?);
        if self.settled.len() >= MAX_KEPT {
            self.settled.clear();
        }
        self.settled.insert(terms, Arc::clone(&settled));
        Ok(settled)
    }
}

/// The reason why terms contradict each other, with their place if they are in the file.
pub(super) struct TermsError {
    error: ValueError,
    place: Option<Span>,
}

impl TermsError {
    /// Returns the error with its place, or with this one if the terms are not in the file.
    pub(super) fn into_diagnostic(self, place: Span) -> Diagnostic {
        let mut error = Diagnostic::error(self.place.unwrap_or(place), self.error.reason);
        error.help = self.error.hint;
        error
    }
}
