//! Turns the section of a job into a job, as far as this does not depend on the rest of the file.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ratchet_runtime::{Class, Failure, Job, JobKey, Payload, TaskName, Terms, Work};

use super::files::{Presence, work_files};
use super::hosts::words_of;
use super::program;
use super::resources;
use super::spec::{JobSpec, TermsSpec};
use super::stdin::{self, JobInput};
use super::terms::PartialTerms;
use super::variables;
use crate::diagnostic::{Diagnostic, Problems, Span};
use crate::document::{Either, Spanned};

/// The places of the parts of a job, for the checks that are made when the whole file is known.
#[derive(Debug)]
pub(super) struct JobPlaces {
    /// The first key of the job, which errors underline instead of the whole job.
    pub(super) head: Span,
    /// The id, if the job has one.
    pub(super) id: Option<Span>,
    /// The task or the command.
    pub(super) work: Span,
    /// The group of the job.
    pub(super) group: Option<Box<str>>,
    /// Whether the job sets its folder itself.
    pub(super) has_cwd: bool,
    /// The job whose output this one reads, if it reads one.
    pub(super) stdin: Option<Box<Spanned<JobKey>>>,
    /// Whether the job is a setup script.
    pub(super) is_setup: bool,
    /// The folder that the job sets, if its text names variables.
    pub(super) cwd: Option<Box<Spanned<String>>>,
    /// The needs, in the order of `Job::needs`.
    pub(super) needs: Box<[Span]>,
    /// The terms that the job sets itself, if any.
    pub(super) terms: Option<Box<OwnTerms>>,
}

/// The terms that a job sets itself.
#[derive(Debug)]
pub(super) struct OwnTerms {
    /// The terms that the job sets itself.
    pub(super) terms: Arc<PartialTerms>,
    /// The places of the names of limits.
    pub(super) limits: Vec<Span>,
    /// The names of resources, with their places.
    pub(super) resources: Vec<(String, Span)>,
    /// The place of `slots`.
    pub(super) slots: Option<Span>,
    /// The place of the idle timeout.
    pub(super) idle: Option<Span>,
    /// The place of the key `memory`.
    pub(super) memory: Option<Span>,
    /// The place of `hint`.
    pub(super) hint: Option<Span>,
    /// The place of `retry`.
    pub(super) retry: Option<Span>,
    /// The place of the key `on`.
    pub(super) on_key: Option<Span>,
    /// The words of `on`, with their places.
    pub(super) on: Vec<Spanned<String>>,
}

/// Turns sections into jobs. Jobs with equal terms share them, because most jobs of a file have the same terms.
pub(super) struct JobReader {
    /// The folder to which paths are relative. It is nothing for stdin.
    folder: Option<PathBuf>,
    /// What stands before the number of a job that has no id.
    number_prefix: String,
    known: HashSet<Arc<PartialTerms>>,
}

impl JobReader {
    /// How many different terms are kept, so that the memory of a stream stays bounded.
    const MAX_KNOWN: usize = 4096;

    /// Makes a reader for a file in this folder.
    pub(super) fn new(folder: Option<PathBuf>) -> Self {
        Self {
            folder,
            number_prefix: String::new(),
            known: HashSet::new(),
        }
    }

    /// Puts this before the number of a job that has no id.
    pub(super) fn with_number_prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.number_prefix);
        self
    }

    /// Makes a job. Without an id, its id is `number`, after the prefix of numbers. The job has the standard terms, and its task, its limits and its
    /// needs are not checked yet.
    ///
    /// A refused job is made, too, so that its relations to other jobs are checked. The id and the task stay in the
    /// section, because the caller needs them to report a refused job.
    pub(super) fn read(
        &mut self,
        spec: &mut JobSpec,
        number: u64,
        problems: &mut Problems,
    ) -> (Job, JobPlaces) {
        let head = spec.place.head;
        let terms = spec.terms.take();
        let id_place = spec.id.span();
        let id = spec.id.get().cloned();
        let host = std::mem::take(&mut spec.host).into_value();
        let needs = std::mem::take(&mut spec.needs).into_value();
        let mut needs = needs.unwrap_or_default();
        let input = if spec.run.is_present() {
            stdin::input(
                std::mem::take(&mut spec.stdin),
                self.folder.as_deref(),
                problems,
            )
        } else {
            None
        };
        let (input, stdin) = match input {
            Some(JobInput::Of(of)) => {
                needs.push(of.clone());
                (None, Some(of))
            }
            Some(JobInput::Known(input)) => (Some(input), None),
            None => (None, None),
        };
        let (needs, need_places) = each_once(needs);
        let place = spec.task.span().or(spec.run.span());
        let id = id.unwrap_or_else(|| format!("{}{number}", self.number_prefix).into());
        let presence = if needs.is_empty() {
            Presence::Now
        } else {
            Presence::Later
        };
        for (key, place) in [
            ("matrix", spec.matrix.key()),
            ("for_each", spec.for_each.key()),
        ] {
            let Some(place) = place else { continue };
            let message = format!("`{key}` makes several jobs, and each line of a stream is one");
            let help = "write one line for each job, or a file in YAML, JSON or TOML";
            problems.push(Diagnostic::error(place, message).help(help));
        }
        let has_cwd = spec.cwd.is_present();
        let cwd = variables::naming(&spec.cwd);
        let group = std::mem::take(&mut spec.group).into_value();
        let (push, pull) = (&spec.push, &spec.pull);
        let folder = self.folder.as_deref();
        let files = work_files(push, pull, Some(id.as_str()), folder, presence, problems);
        let mut work = work(spec, folder, problems);
        if let Some(Work::Command(process)) = &mut work {
            let process = Arc::make_mut(process);
            process.files = files;
            if let Some(input) = input {
                process.stdin = input;
            }
        } else if let (Some(Work::Task { pull, .. }), Some(files)) = (&mut work, files) {
            *pull = (!files.pull.is_empty()).then(|| Arc::new(files.pull.clone()));
        }
        let job = Job {
            item: None,
            id,
            work: work.unwrap_or_else(refused),
            host,
            needs,
            kept_output: None,
            terms: Terms::standard(),
        };
        let places = JobPlaces {
            head,
            id: id_place,
            work: place.unwrap_or(head),
            group: group.map(String::into_boxed_str),
            has_cwd,
            cwd: cwd.map(Box::new),
            stdin: stdin.map(Box::new),
            is_setup: false,
            needs: need_places,
            terms: terms.map(|terms| Box::new(self.own_terms(*terms, problems))),
        };
        (job, places)
    }

    fn own_terms(&mut self, spec: TermsSpec, problems: &mut Problems) -> OwnTerms {
        let limits = spec.limits.get().into_iter().flatten();
        let limits = limits.map(|limit| limit.span).collect();
        let (slots, hint, retry) = (spec.slots.span(), spec.hint.span(), spec.retry.span());
        let idle = idle_timeout(&spec);
        let (resources, memory) = (resources::places(&spec), spec.memory.key());
        let (on_key, on) = (spec.on.key(), words_of(&spec.on));
        if let (true, Some(place)) = (on.is_empty(), spec.on.span()) {
            let message = "`on`: the list is empty, so nothing could run";
            let help = "name a host or a group, or leave `on` out";
            problems.push(Diagnostic::error(place, message).help(help));
        }
        let terms = PartialTerms::from_spec(spec, self.folder.as_deref(), problems);
        let known = self.known.get(&terms).cloned();
        let terms = known.unwrap_or_else(|| {
            let terms = Arc::new(terms);
            if self.known.len() < Self::MAX_KNOWN {
                self.known.insert(Arc::clone(&terms));
            }
            terms
        });
        OwnTerms {
            terms,
            limits,
            resources,
            slots,
            idle,
            memory,
            hint,
            retry,
            on_key,
            on,
        }
    }
}

/// Returns the place of the idle timeout of a section, if it sets one.
pub(super) fn idle_timeout(spec: &TermsSpec) -> Option<Span> {
    match spec.timeout.get()? {
        Either::Second(timeout) => timeout.idle.key(),
        Either::First(_) => None,
    }
}

/// Returns the work of a refused job, which is never run.
fn refused() -> Work {
    Work::Refused {
        task: TaskName::from("unknown"),
        failure: Box::new(Failure::new(Class::Input, "the job was refused")),
    }
}

/// Removes duplicates from needs, and returns the places of those that are left.
fn each_once(said: Vec<Spanned<JobKey>>) -> (Vec<JobKey>, Box<[Span]>) {
    let mut needs: Vec<JobKey> = Vec::with_capacity(said.len());
    let mut places = Vec::with_capacity(said.len());
    let mut seen = HashSet::new();
    for need in said {
        // Most jobs have few needs, and comparing a few ids is faster than hashing them.
        let is_new = match needs.len() {
            0..8 => !needs.contains(&need.value),
            8 => {
                seen.extend(needs.iter().cloned());
                seen.insert(need.value.clone())
            }
            _ => seen.insert(need.value.clone()),
        };
        if is_new {
            needs.push(need.value);
            places.push(need.span);
        }
    }
    (needs, places.into())
}

fn work(spec: &mut JobSpec, folder: Option<&Path>, problems: &mut Problems) -> Option<Work> {
    match (spec.task.key(), spec.run.key()) {
        (Some(task), Some(run)) => {
            problems.push(
                Diagnostic::error(run, "a job has a task or a command, not both")
                    .other(task, "the task")
                    .help("write two jobs"),
            );
            None
        }
        (None, None) => {
            // An unknown key was reported, and was probably meant to be one of these.
            if !spec.place.has_unknown {
                problems.push(
                    Diagnostic::error(spec.place.head, "this job does nothing")
                        .help("add `task` to ask a worker, or `run` to start a program"),
                );
            }
            None
        }
        (Some(_), None) => {
            if let Some(place) = spec.stdin.key() {
                let message =
                    "`stdin` has an effect only with `run`; a worker reads requests from its stdin";
                problems.push(Diagnostic::error(place, message).help("put the data into `input`"));
            }
            for (key, place) in [("env", spec.env.key()), ("cwd", spec.cwd.key())] {
                let Some(place) = place else { continue };
                let message = format!(
                    "`{key}` has an effect only with `run`; a running worker cannot change it"
                );
                let help =
                    format!("set `{key}` in the worker's section, or pass the value in `input`");
                problems.push(Diagnostic::error(place, message).help(help));
            }
            if let Some(place) = spec.push.key() {
                let message = "`push` has an effect only with `run`: the jobs of a worker share its work folder";
                let help = "set `push` in the section of the worker";
                problems.push(Diagnostic::error(place, message).help(help));
            }
            let input = if spec.input.is_present() {
                std::mem::take(&mut spec.input).into_value()?.0
            } else {
                Payload::null()
            };
            Some(Work::Task {
                task: spec.task.get()?.clone(),
                input,
                pull: None,
            })
        }
        (None, Some(_)) => {
            if let Some(input) = spec.input.key() {
                problems.push(
                    Diagnostic::error(input, "a program of `run` gets no input")
                        .help("pass it as words of the command, or ask a worker with `task`"),
                );
            }
            let (run, env, cwd) = (
                std::mem::take(&mut spec.run),
                std::mem::take(&mut spec.env),
                std::mem::take(&mut spec.cwd),
            );
            let process = program::process(run, env, cwd, folder, problems)?;
            Some(Work::Command(Arc::new(process)))
        }
    }
}
