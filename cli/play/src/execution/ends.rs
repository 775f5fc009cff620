//! Handles the end of an item on a host, and the end of its task with the last item.

use std::collections::BTreeSet;

use minijinja::Value;
use serde_json::{Map, Value as Json};

use super::cursor::AfterFailure;
use super::event::PlayEvent;
use super::host_run::{HostState, Planned, TaskRun};
use super::items::{breaks, describe_item};
use super::machine::Machine;
use super::play_run::Strategy;
use super::results::{failed, plain_result, registered};
use crate::actions::CACHEABLE;
use crate::call::{ReturnedFacts, returned_facts};
use crate::data::{Data, is_template};
use crate::language::Keyword;
use crate::programs;
use crate::result::{TaskResult, TaskStatus, flag};
use crate::templates::{Variables, from_json, is_truthy, render, render_data, text_of, to_json};

/// A name that a task notifies, and the handlers that it means.
type Notified = (String, BTreeSet<usize>);

/// What follows from the result of a task, by its keywords.
#[derive(Debug)]
struct Consequences {
    /// Whether a failure is one of all hosts.
    is_fatal: bool,
    shows_diff: bool,
    /// What the task notifies, or why it cannot.
    notified: Result<Vec<Notified>, String>,
}

impl Machine {
    /// Handles the end of a call.
    pub(super) fn ended(&mut self, id: &str, result: TaskResult) {
        let Some((name, index)) = self.under_way.remove(id) else {
            return;
        };
        self.item_ended(&name, index, result);
        self.fill();
    }

    /// Handles the end of an item, and ends the task with its last one.
    fn item_ended(&mut self, name: &str, index: usize, result: TaskResult) {
        self.apply_facts(name, index, &result);
        let Some(mut task) = self.take_running(name) else {
            return;
        };
        task.under_way = task.under_way.saturating_sub(1);
        if task.items.is_none() {
            self.put(name, task);
            self.finish(name, result, false);
            return;
        }
        let mut result = result;
        describe_item(&task, index, &mut result);
        let mut shown = if task.secrets.contains(&index) {
            result.censored()
        } else {
            result.clone()
        };
        if !self.shows_diff(&task) {
            shown.diff = None;
        }
        self.events.push(PlayEvent::Item(shown));
        task.is_broken |= result.status == TaskStatus::Unreachable || breaks(&task, index, &result);
        task.results[index] = Some(result);
        let is_done = task.is_done();
        // The next items see the variables that this one has set.
        task.variables = self.variables_of(&task.node, name);
        let ended = is_done.then(|| self.of_all_items(&task, name));
        self.put(name, task);
        if let Some(result) = ended {
            self.finish(name, result, true);
        }
    }

    /// Combines the results of a loop: those of its items, and whether any of them changed something or failed.
    pub(super) fn of_all_items(&self, task: &TaskRun, name: &str) -> TaskResult {
        let results: Vec<&TaskResult> = task.results.iter().flatten().collect();
        let any = |wanted: &dyn Fn(&TaskStatus) -> bool| {
            results.iter().any(|result| wanted(&result.status))
        };
        let has_failed = results.iter().any(|result| flag(&result.result, "failed"));
        let has_changed = results.iter().any(|result| result.changed);
        let is_skipped = results
            .iter()
            .all(|result| result.status == TaskStatus::Skipped);
        let message = if has_failed {
            "One or more items failed"
        } else if is_skipped {
            "All items skipped"
        } else {
            "All items completed"
        };
        let mut result = Map::new();
        let list = results.iter().map(|result| registered(result)).collect();
        result.insert("results".to_owned(), Json::Array(list));
        result.insert("skipped".to_owned(), is_skipped.into());
        if has_failed {
            result.insert("failed".to_owned(), true.into());
        }
        result.insert("msg".to_owned(), message.into());
        result.insert("changed".to_owned(), has_changed.into());
        let status = if any(&|status| *status == TaskStatus::Unreachable) {
            result.insert("unreachable".to_owned(), true.into());
            TaskStatus::Unreachable
        } else if has_failed {
            self.on_failure(task, name)
        } else if is_skipped {
            TaskStatus::Skipped
        } else if has_changed {
            TaskStatus::Changed
        } else {
            TaskStatus::Ok
        };
        plain_result(self.names(task, name, None), result, status)
    }

    /// Ends the task of a host, once the lookups have ended that decide what follows from its result.
    pub(super) fn finish(&mut self, name: &str, result: TaskResult, has_items: bool) {
        let Some(mut task) = self.take_running(name) else {
            return;
        };
        let answers = task.end.answers.clone();
        match programs::evaluate(&answers, || self.consequences(&task, name, &result)) {
            Ok(consequences) => self.apply_end(name, &task, &result, has_items, consequences),
            Err(program) => {
                let variables = task.variables.clone();
                self.look_up(&task, name, Planned::End, &variables, *program);
                task.ending = Some((result, has_items));
                self.put(name, task);
            }
        }
    }

    /// Evaluates the keywords that decide what follows from the result of a task, without any effect.
    fn consequences(&self, task: &TaskRun, name: &str, result: &TaskResult) -> Consequences {
        let wants = task.node.nearest(Keyword::AnyErrorsFatal);
        let any_fatal = wants.and_then(|data| render_data(data, &task.variables).ok());
        let notify = task.node.nearest(Keyword::Notify);
        let notify = notify.filter(|_| result.changed && !flag(&result.result, "failed"));
        Consequences {
            is_fatal: any_fatal.map_or(self.options.settings.any_errors_fatal, |value| {
                is_truthy(&value)
            }),
            shows_diff: self.shows_diff(task),
            notified: notify.map_or_else(
                || Ok(Vec::new()),
                |data| self.handlers_of(data, &task.variables, name),
            ),
        }
    }

    /// Ends the task of a host, and applies the consequences.
    fn apply_end(
        &mut self,
        name: &str,
        task: &TaskRun,
        result: &TaskResult,
        has_items: bool,
        consequences: Consequences,
    ) {
        let register = task.node.task.settings.text(Keyword::Register);
        let mut hosts = vec![name.to_owned()];
        hosts.extend(task.followers.iter().cloned());
        if let Some(variable) = &register {
            let mut value = registered(result);
            // Ansible registers the arguments of the module only within the results of items.
            if let Json::Object(map) = &mut value {
                map.shift_remove("invocation");
            }
            let value = from_json(value);
            for host in &hosts {
                self.known
                    .update(host, |known| known.register(variable, value.clone()));
            }
        }
        match consequences.notified {
            Ok(notified) => self.notify(notified, name),
            Err(reason) => {
                self.fail_after(name, task, &reason, has_items);
                self.end_all(reason);
                return;
            }
        }
        if flag(&result.result, "failed") || result.status == TaskStatus::Unreachable {
            for (host, before) in &task.before {
                let before = before.clone();
                self.known.update(host, |known| known.set_back(before));
            }
        } else {
            self.change_groups(task, name, result);
        }
        let status = result.status;
        // A task of `meta` only steers the play, so it is not counted.
        if !task.node.task.is_action("meta") {
            // The result of a loop contains those of all its items, so secret ones have to be removed.
            let mut shown = if task.secrets.is_empty() {
                result.clone()
            } else {
                result.censored()
            };
            if !consequences.shows_diff {
                shown.diff = None;
            }
            self.tell_result(shown, has_items);
            self.count_more_includes(task, result);
        }
        for host in &hosts {
            let Some(run) = self.host_mut(host) else {
                continue;
            };
            run.running = None;
            match status {
                TaskStatus::Failed | TaskStatus::Rescued => {
                    // A failed task includes nothing, not even for the items before the failed one.
                    run.includes.clear();
                    let is_rescued = run.cursor.is_rescued();
                    let after = run.cursor.fail();
                    // An `always` section may come before the `rescue` section of a block further out.
                    if is_rescued {
                        self.remember_failure(host, task, result);
                    }
                    self.after_failure(host, after);
                    self.fail_task(host, consequences.is_fatal, after);
                }
                TaskStatus::Unreachable => {
                    run.includes.clear();
                    run.state = HostState::Unreachable;
                    self.fail_task(host, consequences.is_fatal, AfterFailure::Over);
                }
                _ if run.includes.is_empty() => run.cursor.pass(),
                // Included tasks run before the next task.
                _ => {}
            }
        }
        self.hosts_changed();
    }

    /// Records that the task in progress has failed on a host. `is_fatal` says whether that fails the other hosts, too.
    fn fail_task(&mut self, host: &str, is_fatal: bool, after: AfterFailure) {
        let Some(run) = &mut self.current else {
            return;
        };
        match run.strategy {
            Strategy::Linear => {
                run.failed_in_task.insert(host.to_owned());
                run.fails_all_hosts |= is_fatal;
            }
            // The other hosts are at other tasks, so they have no part in the sections that follow this failure.
            Strategy::Free | Strategy::Pinned => {
                run.is_stopped |= is_fatal && after == AfterFailure::Over;
            }
        }
    }

    /// Fails the other hosts of the batch if the task that ran last has failed on one of them and `any_errors_fatal` is
    /// set for it. They go on as if the task had failed on them, so a `rescue` section can recover all hosts together.
    ///
    /// The caller waits until the task has ended on all hosts: a host on which it fails as well must not be failed twice,
    /// because the second failure would be one of its `rescue` section.
    pub(super) fn fail_other_hosts(&mut self) {
        let Some(run) = &mut self.current else {
            return;
        };
        let failed = std::mem::take(&mut run.failed_in_task);
        if !std::mem::take(&mut run.fails_all_hosts) {
            return;
        }
        run.has_failed_on_all_hosts = true;
        let others = run.batch.iter().filter(|name| !failed.contains(*name));
        for name in others.cloned().collect::<Vec<_>>() {
            let host = self.host_mut(&name);
            if let Some(host) = host.filter(|host| host.state == HostState::Going) {
                let after = host.cursor.fail();
                self.after_failure(&name, after);
            }
        }
        self.hosts_changed();
    }

    /// Whether the differences of a task are shown. Some modules return one whether or not that is wanted.
    fn shows_diff(&self, task: &TaskRun) -> bool {
        let wanted = task.node.value(Keyword::Diff, &task.variables);
        let wanted = wanted.ok().flatten();
        wanted.map_or(self.options.settings.always_diffs, |value| {
            is_truthy(&value)
        })
    }

    /// Counts a loop of includes once for each item that has included something. The first one is already counted.
    fn count_more_includes(&mut self, task: &TaskRun, result: &TaskResult) {
        if !task.node.task.is_action("include_tasks") && !task.node.task.is_action("include_role") {
            return;
        }
        let ended = task.results.iter().flatten();
        let included = ended
            .filter(|result| result.status == TaskStatus::Ok)
            .count();
        for _ in 1..included {
            self.recap.count(&result.host, TaskStatus::Ok, false);
        }
    }

    /// Fails a task that succeeded itself, because a step after it failed.
    fn fail_after(&mut self, name: &str, task: &TaskRun, reason: &str, has_items: bool) {
        let names = self.names(task, name, None);
        let status = self.on_failure(task, name);
        let result = plain_result(names, failed(reason), status);
        self.tell_result(result, has_items);
        if let Some(run) = self.host_mut(name) {
            let after = run.cursor.fail();
            self.after_failure(name, after);
        }
        self.hosts_changed();
    }

    /// Ends all plays for all hosts, because the playbook is wrong. Jobs in progress are not stopped.
    fn end_all(&mut self, reason: String) {
        self.has_error = true;
        self.events.push(PlayEvent::Error(reason));
        if let Some(run) = &mut self.current {
            run.is_stopped = true;
        }
    }

    /// Returns the names that a task notifies, with the handlers that each of them means.
    fn handlers_of(
        &self,
        data: &Data,
        variables: &Variables,
        name: &str,
    ) -> Result<Vec<Notified>, String> {
        let rendered =
            render_data(data, variables).map_err(|error| format!("`notify`: {error}"))?;
        let json = to_json(&rendered);
        let wanted: Vec<String> = match &json {
            Json::Array(members) => members
                .iter()
                .map(|member| {
                    member
                        .as_str()
                        .map_or_else(|| member.to_string(), str::to_owned)
                })
                .collect(),
            Json::String(text) => vec![text.clone()],
            _ => Vec::new(),
        };
        let mut notified = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            let found = self.handlers_named(&wanted, name);
            if found.is_empty() {
                return Err(format!("no handler is called `{wanted}` or listens to it"));
            }
            notified.push((wanted, found));
        }
        Ok(notified)
    }

    /// Marks the handlers that a task notifies.
    fn notify(&mut self, notified: Vec<Notified>, name: &str) {
        let Some(host) = self.host_mut(name) else {
            return;
        };
        for (wanted, found) in notified {
            if host.cursor.is_in_handlers() {
                // Handlers that come later in the same list run in the same turn.
                host.notified.extend(found);
            } else if !host.notifications.contains(&wanted) {
                host.notifications.push(wanted);
            }
        }
    }

    /// Returns the handlers that a name notifies on a host.
    pub(super) fn handlers_named(&self, wanted: &str, host: &str) -> BTreeSet<usize> {
        let Some(run) = &self.current else {
            return BTreeSet::new();
        };
        run.handlers.named(wanted, |node| {
            let own = node.task.settings.text(Keyword::Name).unwrap_or_default();
            if !is_template(&own) {
                return own;
            }
            render(&own, &self.variables_of(node, host)).map_or(own, |title| text_of(&title))
        })
    }

    /// Has a host go through the handlers that it has notified, before its next step.
    pub(super) fn flush_handlers(&mut self, name: &str) {
        let notifications = self
            .host_mut(name)
            .map(|host| std::mem::take(&mut host.notifications));
        let found = notifications.into_iter().flatten();
        let found: Vec<_> = found
            .map(|wanted| self.handlers_named(&wanted, name))
            .collect();
        let Some(run) = &mut self.current else {
            return;
        };
        let handlers = run.handlers.clone();
        if let Some(host) = run.hosts.get_mut(name) {
            host.notified.extend(found.into_iter().flatten());
            host.cursor.flush(handlers);
        }
    }

    /// Sets the variables that describe the failure to a `rescue` section.
    fn remember_failure(&mut self, host: &str, task: &TaskRun, result: &TaskResult) {
        let failed = from_json(registered(result));
        let own = &task.node.task;
        let is_named = own.settings.get(Keyword::Name).is_some();
        let name = if is_named { task.title.as_str() } else { "" };
        let role = own.role.as_ref();
        let role = role.and_then(|role| name.strip_prefix(role.name.as_str()));
        let name = role
            .and_then(|name| name.strip_prefix(" : "))
            .unwrap_or(name);
        let about = serde_json::json!({
            "name": name,
            "action": task.node.task.module,
            "args": {},
        });
        let about = from_json(about);
        self.known.update(host, |known| {
            known.register("ansible_failed_result", failed);
            known.register("ansible_failed_task", about);
        });
    }

    /// Updates the variables that list the hosts that are still in the play.
    pub(super) fn hosts_changed(&mut self) {
        let Some(run) = &mut self.current else { return };
        let lost = &self.lost;
        let all = run.all.iter().filter(|name| !lost.contains_key(*name));
        let all: Vec<_> = all.cloned().collect();
        run.tell_hosts(&all);
    }

    /// Stores the facts of a result, or the variables that `set_fact` or `include_vars` have set. A result that has failed
    /// sets nothing, except for the items of the same loop that follow.
    fn apply_facts(&mut self, name: &str, index: usize, result: &TaskResult) {
        let Some((kind, facts)) = returned_facts(&result.module, &result.result) else {
            return;
        };
        let Some(task) = self.host(name).and_then(|host| host.running.as_ref()) else {
            return;
        };
        let is_of_loop = task.items.is_some();
        if flag(&result.result, "failed") && !is_of_loop {
            return;
        }
        let included = task.included_variables.get(&index).cloned();
        let mut hosts = vec![name.to_owned()];
        hosts.extend(task.followers.iter().cloned());
        let values: Vec<(String, Value)> = facts
            .iter()
            .map(|(name, value)| {
                // If a resumed run evaluates to another value, the recorded one counts.
                let exact = task.values.get(&index).and_then(|values| values.get(name));
                let exact = exact.filter(|exact| to_json(exact) == *value).cloned();
                (
                    name.clone(),
                    exact.unwrap_or_else(|| from_json(value.clone())),
                )
            })
            .collect();
        if is_of_loop {
            self.remember_variables(name, &hosts);
        }
        for host in hosts {
            let (values, included) = (values.clone(), included.clone());
            self.known.update(&host, |known| match (kind, included) {
                (ReturnedFacts::OfHost, _) => known.set_facts(values),
                (ReturnedFacts::Variables, Some(layer)) => known.included.push(layer),
                (ReturnedFacts::Variables, None) => {
                    if flag(&result.result, CACHEABLE) {
                        known.set_facts(values.clone());
                    }
                    known.assign(values);
                }
            });
        }
    }
    /// Remembers what the variables of these hosts are, before an item of a loop sets some, unless an earlier item has done
    /// so.
    fn remember_variables(&mut self, name: &str, hosts: &[String]) {
        let Some(mut task) = self.take_running(name) else {
            return;
        };
        for host in hosts {
            if !task.before.contains_key(host)
                && let Some(known) = self.known.get(host)
            {
                task.before.insert(host.clone(), known.set_variables());
            }
        }
        self.put(name, task);
    }
}
