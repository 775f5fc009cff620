//! One job of a file.

use std::path::Path;
use std::sync::Arc;

use ratchet_runtime::{HostName, Job, JobKey, ParallelizationHint, Payload, Work};

use super::book::{Book, Unsettled};
use super::program;
use super::terms::Wishes;
use crate::diagnostic::{Diagnostic, Span};
use crate::document::{Entry, Node, Value};

/// What a job has to do with others, and where it says so.
pub(super) struct Links {
    pub(super) id: JobKey,
    /// Where its id is, if it says one.
    pub(super) place: Option<Span>,
    pub(super) whole: Span,
    /// Each once.
    pub(super) needs: Vec<(JobKey, Span)>,
}

impl Links {
    /// Reads them; `number` is what a job is called that says no id.
    pub(super) fn read(node: &Node, number: u64) -> Self {
        let id = node.get("id");
        let named = id
            .and_then(Node::text_or_number)
            .filter(|id| !id.is_empty());
        let mut needs: Vec<(JobKey, Span)> = Vec::new();
        for need in node.get("needs").map(Node::members).unwrap_or_default() {
            if let Some(key) = need.text_or_number().map(JobKey::from)
                && !needs.iter().any(|(known, _)| *known == key)
            {
                needs.push((key, need.span));
            }
        }
        Self {
            id: named.map_or_else(|| number.to_string().into(), JobKey::from),
            place: id.map(|id| id.span),
            whole: head(node),
            needs,
        }
    }
}

impl Book {
    /// Reads a job whose shape was checked; `json` is the text it was read from, where that is JSON.
    pub(super) fn job(
        &mut self,
        node: &Node,
        links: &Links,
        json: Option<&str>,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<Job> {
        let work = self.work(node, json, problems);
        let folder = self.folder.clone();
        let terms = self.job_terms(node, work.as_ref(), folder.as_deref(), problems);
        let host = node.get("host").and_then(Node::text_or_number);
        Some(Job {
            item: None,
            id: links.id.clone(),
            work: work?,
            host: host.map(HostName::from),
            needs: links.needs.iter().map(|(need, _)| need.clone()).collect(),
            terms: terms?,
        })
    }

    fn work(
        &mut self,
        node: &Node,
        json: Option<&str>,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<Work> {
        match (node.entry("task"), node.entry("run")) {
            (Some(task), Some(run)) => {
                problems.push(
                    Diagnostic::error(run.place, "a job has a task or a command, not both")
                        .other(task.place, "the task")
                        .help("make it two jobs"),
                );
                None
            }
            (None, None) => {
                // One that has another word for it was told of that already.
                if !node.entries().is_empty() && has_only_known(node) || node.entries().is_empty() {
                    problems.push(
                        Diagnostic::error(head(node), "a job that does nothing")
                            .help("say `task` to ask a worker, or `run` to start a program"),
                    );
                }
                None
            }
            (Some(task), None) => self.task_work(node, task, json, problems),
            (None, Some(run)) => {
                if let Some(input) = node.entry("input") {
                    problems.push(
                        Diagnostic::error(input.place, "a program of `run` gets no input")
                            .help("pass it as words of the command, or ask a worker with `task`"),
                    );
                }
                let folder = self.folder.clone();
                let process = program::process(node, &run.node, folder.as_deref(), problems)?;
                Some(Work::Command(Arc::new(process)))
            }
        }
    }

    fn task_work(
        &mut self,
        node: &Node,
        task: &Entry,
        json: Option<&str>,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<Work> {
        for key in ["env", "cwd"] {
            if let Some(entry) = node.entry(key) {
                let message =
                    format!("`{key}` is for `run`; a worker that runs already cannot change it");
                let help =
                    format!("put `{key}` into the worker's section, or what it needs into `input`");
                problems.push(Diagnostic::error(entry.place, message).help(help));
            }
        }
        let input = match node.get("input") {
            Some(input) => payload(input, json, problems)?,
            None => Payload::null(),
        };
        let name = task.node.text().filter(|name| !name.is_empty())?;
        let Some(task_name) = self.task(name) else {
            let error = Diagnostic::error(task.node.span, format!("no worker serves `{name}`"));
            let names = self.tasks();
            problems.push(if names.is_empty() {
                error.help(format!(
                    "add `workers: {{{name}: {{command: [..]}}}}`, or name a command with --worker"
                ))
            } else {
                error.did_you_mean(name, names.iter().copied(), "known tasks")
            });
            return None;
        };
        Some(Work::Task {
            task: task_name,
            input,
        })
    }

    fn job_terms(
        &mut self,
        node: &Node,
        work: Option<&Work>,
        folder: Option<&Path>,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<Arc<ratchet_runtime::Terms>> {
        let wishes = Wishes::read(node, folder, problems);
        self.check_limits(node, problems);
        let task = match work? {
            Work::Task { task, .. } => Some(task.as_str()),
            _ => None,
        };
        let place = |key| node.get(key).map(|node| node.span);
        let terms = match self.terms(task, wishes, place("retry")) {
            Ok(terms) => terms,
            Err(Unsettled { error, place }) => {
                let mut found = Diagnostic::error(place.unwrap_or(node.span), error.reason);
                found.help = error.hint;
                // Said once for all jobs that it holds for.
                if !problems.contains(&found) {
                    problems.push(found);
                }
                return None;
            }
        };
        if let Some(slots) = self.slots.filter(|slots| terms.slots > *slots) {
            let message = format!(
                "a job of {} slots can never run with {slots} in all",
                terms.slots
            );
            problems.push(
                Diagnostic::error(place("slots").unwrap_or(head(node)), message)
                    .help("lower `slots`, or raise --jobs"),
            );
        }
        self.check_rate(&terms, task, place("hint").unwrap_or(head(node)), problems);
        Some(terms)
    }

    /// Jobs that share a bucket have to agree on it.
    fn check_rate(
        &mut self,
        terms: &ratchet_runtime::Terms,
        task: Option<&str>,
        place: Span,
        problems: &mut Vec<Diagnostic>,
    ) {
        let Some(ParallelizationHint::RateLimited {
            requests_per_second,
            burst,
            key,
        }) = &terms.hint
        else {
            return;
        };
        // A command has no task's name; its bucket is its program's, which is told at its start.
        let Some(key) = key.as_deref().or(task) else {
            return;
        };
        match self.rates.get(key) {
            None => {
                let figures = (*requests_per_second, *burst, place);
                self.rates.insert(key.to_owned(), figures);
            }
            Some((rate, other, first)) => {
                if (rate, other) != (requests_per_second, burst) {
                    let message = format!(
                        "rate key `{key}` is {requests_per_second}/s with burst {burst} here, and {rate}/s with burst {other} elsewhere"
                    );
                    problems.push(
                        Diagnostic::error(place, message)
                            .other(*first, "declared first here")
                            .help("give one of them another `key`"),
                    );
                }
            }
        }
    }
}

/// Whether all keys are those of jobs.
fn has_only_known(node: &Node) -> bool {
    let known = |name: &str| super::JOB.keys.iter().any(|key| key.name == name);
    node.entries().iter().all(|entry| known(&entry.name))
}

/// Where a job begins: all of it would underline too much.
fn head(node: &Node) -> Span {
    let first = node.entries().first();
    first.map_or(node.span, |entry| entry.place)
}

/// An input as JSON: as it stands, where it is JSON already.
fn payload(node: &Node, json: Option<&str>, problems: &mut Vec<Diagnostic>) -> Option<Payload> {
    if let Some(json) = json {
        return Payload::from_json(json.get(node.span.start..node.span.end)?).ok();
    }
    let before = problems.len();
    refuse_twice(node, problems);
    if problems.len() > before {
        return None;
    }
    let mut text = String::new();
    node.write_json(&mut text);
    Payload::from_json(&text).ok()
}

/// In an input, too, a key that stands twice is a mistake.
fn refuse_twice(node: &Node, problems: &mut Vec<Diagnostic>) {
    match &node.value {
        Value::List(members) => members
            .iter()
            .for_each(|member| refuse_twice(member, problems)),
        Value::Map(entries) => {
            let mut names = std::collections::HashMap::new();
            for entry in entries {
                if let Some(first) = names.insert(&entry.name, entry.place) {
                    let message = format!("`{}` is said twice", entry.name);
                    problems
                        .push(Diagnostic::error(entry.place, message).other(first, "here first"));
                }
                refuse_twice(&entry.node, problems);
            }
        }
        _ => {}
    }
}
