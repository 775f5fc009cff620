//! What all jobs of a file share: workers, limits, and the terms they have in common.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use ratchet_runtime::{Limit, Rate, TaskName, Terms};

use super::plan::{Options, Served, WorkerPlan};
use super::terms::{Wishes, count};
use super::{program, worker};
use crate::diagnostic::{Diagnostic, Span};
use crate::document::{Entry, Node};
use crate::value::Unreadable;

/// Names and terms beyond these are made anew each time, so that a stream's memory stays bounded.
const MOST_KEPT: usize = 4096;

pub(super) struct Book {
    /// What paths are relative to; nothing for what has no folder.
    pub(super) folder: Option<PathBuf>,
    pub(super) workers: Vec<WorkerPlan>,
    pub(super) limits: Vec<(String, Limit)>,
    pub(super) slots: Option<u32>,
    tasks: HashMap<TaskName, Post>,
    /// Where tasks go that nobody names, if they go anywhere.
    everything: Option<Post>,
    /// For jobs without a worker.
    commands: Post,
    interned: HashMap<Wishes, Arc<Terms>>,
    /// The figures of rate keys, and where they were written.
    pub(super) rates: HashMap<String, (f64, u32, Span)>,
}

/// What holds for the jobs of a worker, or for commands.
#[derive(Clone)]
pub(super) struct Post {
    wishes: Wishes,
    /// Where `retry` is said for all of them, if it is.
    retry: Option<Span>,
    /// The terms of a job that says nothing, once one was wanted.
    plain: Option<Arc<Terms>>,
}

impl Book {
    /// Reads the sections before the jobs.
    pub(super) fn open(
        document: &Node,
        folder: Option<PathBuf>,
        options: &Options,
        problems: &mut Vec<Diagnostic>,
    ) -> Self {
        let at = folder.as_deref();
        let defaults = document.get("defaults");
        let retry = |node: Option<&Node>| {
            node.and_then(|node| node.get("retry"))
                .map(|node| node.span)
        };
        let outer = options
            .flags
            .clone()
            .or(&defaults
                .map(|node| Wishes::read(node, at, problems))
                .unwrap_or_default())
            .or(&options.settings);
        let post = |wishes: Wishes, place: Option<Span>| Post {
            wishes: wishes.or(&outer),
            retry: place.or(retry(defaults)),
            plain: None,
        };
        let mut book = Self {
            workers: Vec::new(),
            limits: limits(document, problems),
            slots: options.slots,
            tasks: HashMap::new(),
            everything: None,
            commands: post(Wishes::default(), None),
            interned: HashMap::new(),
            rates: HashMap::new(),
            folder: None,
        };
        let mut named: HashMap<String, Span> = HashMap::new();
        let path = std::env::var_os("PATH");
        for entry in document
            .get("workers")
            .map(Node::entries)
            .unwrap_or_default()
        {
            let wishes = Wishes::read(&entry.node, at, problems);
            let own = post(wishes, retry(Some(&entry.node)));
            book.serve(entry, &own, &mut named, problems);
            book.check_limits(&entry.node, problems);
            let Some(pool) = worker::pool(entry, at, options, problems) else {
                continue;
            };
            if let Some(missing) = program::missing(&pool.process, path.as_ref()) {
                let place = entry.node.get("command").unwrap_or(&entry.node).span;
                let message = format!("worker `{}` cannot start: {missing}", entry.name);
                problems.push(Diagnostic::error(place, message));
            }
            let serves = Served::Tasks(tasks_of(entry));
            book.workers.push(WorkerPlan { pool, serves });
        }
        if let Some(defaults) = defaults {
            book.check_limits(defaults, problems);
        }
        if let Some(pool) = &options.worker {
            if let Some(workers) = document.entry("workers") {
                let message = "this file has workers, and another one was typed";
                let help = "leave --worker out, or the section";
                problems.push(Diagnostic::error(workers.place, message).help(help));
            }
            book.everything = Some(post(Wishes::default(), None));
            let mut pool = pool.clone();
            options.pools.apply(&mut pool);
            book.workers.push(WorkerPlan {
                pool,
                serves: Served::Everything,
            });
        }
        book.folder = folder;
        book
    }

    /// Enters the tasks of a worker.
    fn serve(
        &mut self,
        entry: &Entry,
        post: &Post,
        named: &mut HashMap<String, Span>,
        problems: &mut Vec<Diagnostic>,
    ) {
        let list = entry.node.get("tasks").map(Node::members);
        let places: Vec<Span> = match list {
            Some(list) => list.iter().map(|node| node.span).collect(),
            None => vec![entry.place],
        };
        if places.is_empty()
            && let Some(tasks) = entry.node.get("tasks")
        {
            let message = format!("worker `{}` serves nothing", entry.name);
            problems
                .push(Diagnostic::error(tasks.span, message).help("name a task, or leave it out"));
        }
        for (task, place) in tasks_of(entry).into_iter().zip(places) {
            if let Some(first) = named.insert(task.as_str().to_owned(), place) {
                let message = format!("two workers serve `{task}`");
                problems.push(
                    Diagnostic::error(place, message)
                        .other(first, "one of them")
                        .help("a task has one worker; `tasks` says which a worker serves"),
                );
            }
            self.tasks.insert(task, post.clone());
        }
    }

    /// Refuses limits that nobody declared.
    pub(super) fn check_limits(&self, node: &Node, problems: &mut Vec<Diagnostic>) {
        for limit in node.get("limits").map(Node::members).unwrap_or_default() {
            let Some(name) = limit.text() else {
                continue;
            };
            if self.limits.iter().any(|(known, _)| known == name) {
                continue;
            }
            let names = self.limits.iter().map(|(name, _)| name.as_str());
            let error = Diagnostic::error(limit.span, format!("unknown limit `{name}`"));
            let error = error.help("declare it, as in `limits: {db: {max: 4}}`");
            problems.push(error.did_you_mean(name, names, "known limits"));
        }
    }

    /// The task of this name, if somebody serves it.
    pub(super) fn task(&mut self, name: &str) -> Option<TaskName> {
        if let Some((known, _)) = self.tasks.get_key_value(name) {
            return Some(known.clone());
        }
        let post = self.everything.as_ref()?;
        let task = TaskName::from(name);
        if self.tasks.len() < MOST_KEPT {
            self.tasks.insert(task.clone(), post.clone());
        }
        Some(task)
    }

    /// The tasks that somebody serves.
    pub(super) fn tasks(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.tasks.keys().map(TaskName::as_str).collect();
        names.sort_unstable();
        names
    }

    /// The terms of a job that says nothing itself.
    pub(super) fn plain_terms(&mut self, task: Option<&str>) -> Result<Arc<Terms>, Unsettled> {
        let post = match task {
            Some(task) => match self.tasks.get_mut(task) {
                Some(post) => post,
                None => self.everything.as_mut().unwrap_or(&mut self.commands),
            },
            None => &mut self.commands,
        };
        if let Some(terms) = &post.plain {
            return Ok(Arc::clone(terms));
        }
        let terms = post.wishes.clone().settle();
        let terms = Arc::new(terms.map_err(|error| Unsettled {
            error,
            place: post.retry,
        })?);
        post.plain = Some(Arc::clone(&terms));
        Ok(terms)
    }

    /// The terms of a job that says something. Equal terms are one.
    pub(super) fn terms(
        &mut self,
        task: Option<&str>,
        wishes: Wishes,
        retry: Option<Span>,
    ) -> Result<Arc<Terms>, Unsettled> {
        if wishes == Wishes::default() {
            return self.plain_terms(task);
        }
        let post = task
            .and_then(|task| self.tasks.get(task))
            .or(task.and(self.everything.as_ref()))
            .unwrap_or(&self.commands);
        let wishes = wishes.or(&post.wishes);
        if let Some(terms) = self.interned.get(&wishes) {
            return Ok(Arc::clone(terms));
        }
        let terms = Arc::new(wishes.clone().settle().map_err(|error| Unsettled {
            error,
            place: retry.or(post.retry),
        })?);
        if self.interned.len() >= MOST_KEPT {
            self.interned.clear();
        }
        self.interned.insert(wishes, Arc::clone(&terms));
        Ok(terms)
    }
}

/// Wishes that do not go together, and where they are, if they are in the file.
pub(super) struct Unsettled {
    pub(super) error: Unreadable,
    pub(super) place: Option<Span>,
}

fn tasks_of(entry: &Entry) -> Vec<TaskName> {
    match entry.node.get("tasks") {
        Some(tasks) => tasks
            .members()
            .iter()
            .map(|node| TaskName::from(node.text().unwrap_or_default()))
            .collect(),
        None => vec![TaskName::from(entry.name.as_str())],
    }
}

fn limits(document: &Node, problems: &mut Vec<Diagnostic>) -> Vec<(String, Limit)> {
    let entries = document.get("limits").map(Node::entries);
    entries
        .unwrap_or_default()
        .iter()
        .filter_map(|entry| Some((entry.name.clone(), limit(entry, problems)?)))
        .collect()
}

fn limit(entry: &Entry, problems: &mut Vec<Diagnostic>) -> Option<Limit> {
    let node = &entry.node;
    let name = &entry.name;
    let mut refuse = |message: String, help: &str| {
        problems.push(Diagnostic::error(entry.place, message).help(help));
    };
    // A limit that was refused is known all the same, so that its users are not refused too.
    let made = match (node.get("max"), node.get("rate")) {
        (Some(_), Some(_)) => {
            refuse(
                format!("limit `{name}` has both a max and a rate"),
                "make it two limits; a job can name both",
            );
            None
        }
        (None, None) => {
            if !node.entries().is_empty() || node.text().is_none() {
                refuse(
                    format!("limit `{name}` limits nothing"),
                    "write {max: 4} or {rate: 10/s}",
                );
            }
            None
        }
        (Some(max), None) => {
            if let Some(burst) = node.entry("burst") {
                problems.push(
                    Diagnostic::error(burst.place, "`burst` belongs to a rate")
                        .help("with `max`, leave it out"),
                );
            }
            count(max).and_then(|max| Limit::max(max).ok())
        }
        (None, Some(rate)) => rate.text().and_then(|text| {
            let burst = node.get("burst").map_or(Some(1), count)?;
            Limit::rate(text.parse::<Rate>().ok()?, burst).ok()
        }),
    };
    made.or_else(|| Limit::max(1).ok())
}
