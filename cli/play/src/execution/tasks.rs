//! A task on its hosts: its loop, the calls of its items, and what follows from their ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use minijinja::Value;
use ratchet_runtime::{ParallelizationHint, Timeouts};
use serde_json::{Map, Value as Json};

use super::arguments::arguments;
use super::cursor::AfterFailure;
use super::event::Event;
use super::frame::TaskNode;
use super::host_run::{HostState, LoopControl, TaskRun};
use super::machine::{Machine, is_action, meta_word};
use crate::actions::{self, Planned, Request};
use crate::call::{Action, ActionCall, Call, CallTerms, Names, Privilege, Rules, Work, hold};
use crate::data::{Data, Value as DataValue};
use crate::language::{Condition, Keyword, builtin, layer_of_unknown_host};
use crate::result::{TaskResult, TaskStatus, flag};
use crate::templates::{
    SearchPath, Variables, from_json, is_truthy, loop_items, render, render_data, text_of, to_json,
};

/// How often a task with `until` is tried if it does not say.
const USUAL_ATTEMPTS: u32 = 3;

/// How long a task with `until` waits between two attempts if it does not say.
const USUAL_DELAY: Duration = Duration::from_secs(5);

impl Machine {
    /// Begins a task on hosts.
    pub(super) fn begin_task(&mut self, node: &TaskNode, handler: Option<usize>, hosts: &[String]) {
        let name = builtin(&node.task.module).to_owned();
        let resets = meta_word(&node.task) == "reset_connection";
        if name == "meta" && !resets {
            for host in hosts {
                self.meta(node, host);
            }
            return;
        }
        let runs_once = actions::is_for_all_hosts(&node.task.module)
            || self
                .flag_of(node, Keyword::RunOnce, &hosts[0])
                .unwrap_or(false);
        if runs_once {
            let (first, followers) = (hosts[0].clone(), hosts[1..].to_vec());
            for host in &followers {
                self.begin_on_host(node, handler, host, None);
            }
            self.begin_on_host(node, handler, &first, Some(followers));
        } else {
            for host in hosts {
                self.begin_on_host(node, handler, host, Some(Vec::new()));
            }
        }
        self.fill();
    }

    /// A keyword that is true or false, for a host; nothing if it cannot be told.
    fn flag_of(&self, node: &TaskNode, keyword: Keyword, host: &str) -> Option<bool> {
        let data = node.nearest(keyword)?;
        if let DataValue::Bool(value) = data.value {
            return Some(value);
        }
        let value = render_data(data, &self.variables_of(node, host)).ok()?;
        Some(is_truthy(&value))
    }

    /// The variables of a task on a host, without those of its loop.
    pub(super) fn variables_of(&self, node: &TaskNode, host: &str) -> Variables {
        let Some(run) = &self.current else {
            return Variables::default();
        };
        let known = self.known.get(host).unwrap_or_default();
        let files = run.hosts.get(host).map(|host| host.files.as_slice());
        let search = SearchPath {
            folders: actions::folders_of(&node.task, &run.play.folder),
            inventory: Some(Arc::clone(&self.inventory)),
        };
        run.variables
            .of_task(node, &known, &self.known, files.unwrap_or_default())
            .with_search(Arc::new(search))
    }

    /// Begins a task on a host. Without `followers`, the host takes over the result of another one.
    fn begin_on_host(
        &mut self,
        node: &TaskNode,
        handler: Option<usize>,
        name: &str,
        followers: Option<Vec<String>>,
    ) {
        self.read_files_of_facts(name);
        let variables = self.variables_of(node, name);
        let title = node.title();
        // A name that cannot be rendered is shown as it is written.
        let title = render(&title, &variables).map_or(title, |title| text_of(&title));
        let path = self
            .host(name)
            .map(|host| host.cursor.path())
            .unwrap_or_default();
        let is_follower = followers.is_none();
        let mut task = TaskRun {
            node: node.clone(),
            title,
            path,
            variables,
            items: None,
            control: LoopControl::default(),
            results: Vec::new(),
            next: 0,
            under_way: usize::from(is_follower),
            is_broken: is_follower,
            followers: followers.unwrap_or_default(),
            decided: None,
            is_secret: false,
            handler,
        };
        if let (Some(index), Some(host)) = (handler, self.host_mut(name)) {
            host.notified.remove(&index);
        }
        if is_follower {
            self.put(name, task);
            return;
        }
        self.tell_task(&task.path, &task.title, handler.is_some());
        match Self::items(&mut task) {
            Ok(()) => {}
            Err(Refused::Skip) => task.decided = Some(skipped("False")),
            Err(Refused::Fail(reason)) => task.decided = Some(failed(&reason)),
        }
        if task.items.as_ref().is_some_and(Vec::is_empty) {
            task.items = None;
            let mut result = skipped("");
            result.remove("false_condition");
            result.insert("skip_reason".to_owned(), "No items in the list".into());
            result.insert("results".to_owned(), Json::Array(Vec::new()));
            task.decided = Some(result);
        }
        task.results.resize(task.count(), None);
        self.put(name, task);
    }

    fn put(&mut self, name: &str, task: TaskRun) {
        if let Some(host) = self.host_mut(name) {
            host.running = Some(task);
        }
    }

    /// Tells that a task begins, unless that of another host is the same one.
    fn tell_task(&mut self, path: &str, title: &str, is_handler: bool) {
        let key = format!("{path}/{title}");
        if self.told_task.as_ref() != Some(&key) {
            self.told_task = Some(key);
            self.events.push(Event::Task {
                name: title.to_owned(),
                is_handler,
            });
        }
    }

    /// Finds out what a task loops over.
    fn items(task: &mut TaskRun) -> Result<(), Refused> {
        let settings = &task.node.task.settings;
        let written = settings.get(Keyword::Loop);
        let lookups = task.node.task.lookup.as_ref();
        if written.is_none() && lookups.is_none() {
            return Ok(());
        }
        task.control = loop_control(settings.get(Keyword::LoopControl), &task.variables)
            .map_err(Refused::Fail)?;
        let items = match (written, lookups) {
            (Some(data), _) => render_data(data, &task.variables)
                .map_err(|error| error.to_string())
                .and_then(|value| list_of(&value)),
            (None, Some(entry)) => {
                let name = entry.name.strip_prefix("with_").unwrap_or(&entry.name);
                loop_items(name, &entry.data, &task.variables, &task.node.task.module)
                    .map_err(|error| error.to_string())
            }
            (None, None) => return Ok(()),
        };
        match items {
            Ok(items) => {
                task.items = Some(items);
                Ok(())
            }
            // The list may be there only where the task applies.
            Err(reason) => {
                let conditions = when(&task.node);
                match hold(&conditions, &task.variables) {
                    Ok(false) => Err(Refused::Skip),
                    _ => Err(Refused::Fail(format!(
                        "the list of the loop is not known: {reason}"
                    ))),
                }
            }
        }
    }

    /// Begins items as far as hosts and limits have room.
    pub(super) fn fill(&mut self) {
        let Some(run) = &self.current else { return };
        for name in run.batch.clone() {
            while self.begin_item(&name) {}
        }
    }

    /// How many hosts and items of a task run now, of those that share its limit.
    fn running_of(&self, task: &Arc<crate::language::Task>) -> usize {
        let hosts = self.current.iter().flat_map(|run| run.hosts.values());
        let runs = hosts.filter_map(|host| host.running.as_ref());
        runs.filter(|run| Arc::ptr_eq(&run.node.task, task))
            .map(|run| {
                if run.followers.is_empty() && run.is_broken {
                    0
                } else {
                    run.under_way
                }
            })
            .sum()
    }

    /// Begins the next item of a host, if there is one that may begin.
    fn begin_item(&mut self, name: &str) -> bool {
        let Some(task) = self.host(name).and_then(|host| host.running.as_ref()) else {
            return false;
        };
        if task.is_broken || task.next >= task.count() || task.under_way >= task.control.parallel {
            return false;
        }
        let throttle = task.node.nearest(Keyword::Throttle);
        let throttle = throttle.and_then(|data| render_data(data, &task.variables).ok());
        let throttle = throttle.and_then(|value| text_of(&value).trim().parse::<usize>().ok());
        if throttle.is_some_and(|most| most > 0 && self.running_of(&task.node.task) >= most) {
            return false;
        }
        let Some(mut task) = self.take_running(name) else {
            return false;
        };
        let index = task.next;
        task.next += 1;
        let variables = item_variables(&task, index);
        let item = task.items.as_ref().map(|items| items[index].clone());
        let label = item.as_ref().map(|item| match &task.control.label {
            Some(label) => {
                render(label, &variables).map_or_else(|_| to_json(item), |label| to_json(&label))
            }
            None => to_json(item),
        });
        let names = self.names(&task, name, label);
        let planned = match task.decided.take() {
            Some(result) => Err(result),
            None => self.planned(&task, name, index, &variables, names.clone()),
        };
        let call = planned.unwrap_or_else(|result| self.decided(&task, name, index, names, result));
        task.under_way += 1;
        task.is_secret |= call.no_log;
        let id = call.id.as_str().to_owned();
        self.under_way.insert(id, (name.to_owned(), index));
        self.calls.push(call);
        self.put(name, task);
        true
    }

    /// Makes the call of an item, or says with which result the item ends without one.
    fn planned(
        &mut self,
        task: &TaskRun,
        name: &str,
        index: usize,
        variables: &Variables,
        names: Names,
    ) -> Result<Call, Map<String, Json>> {
        for condition in when(&task.node) {
            let holds = hold(std::slice::from_ref(&condition), variables)
                .map_err(|error| failed(&format!("the condition `{condition}` fails: {error}")))?;
            if !holds {
                return Err(skipped(&condition.to_string()));
            }
        }
        let wanted = builtin(&task.node.task.module);
        if matches!(wanted, "include_tasks" | "include_role" | "include_vars") {
            let wanted = wanted.to_owned();
            let included = self.include(&wanted, task, name, index, variables);
            return Err(included.unwrap_or_else(|reason| failed(&reason)));
        }
        self.call(task, name, index, variables, names)
            .map_err(|reason| failed(&reason))
    }

    /// The call of an item whose result is known without any work. It is a job like any other, so that results, records and
    /// exit codes know of it.
    fn decided(
        &self,
        task: &TaskRun,
        name: &str,
        index: usize,
        names: Names,
        result: Map<String, Json>,
    ) -> Call {
        let no_log = keyword_value(&task.node, Keyword::NoLog, &task.variables);
        Call {
            id: self.id(task, name, index).into(),
            names,
            work: Work::Done(result),
            terms: CallTerms {
                lock: name.to_owned(),
                hint: ParallelizationHint::FullyParallel,
                limits: Vec::new(),
                timeouts: Timeouts::default(),
                delay: Duration::ZERO,
            },
            rules: Rules::without_conditions(self.on_failure(task, name)),
            // What cannot be told to be public is kept secret.
            no_log: match no_log {
                Ok(None) => self.options.no_log,
                Ok(Some(value)) => is_truthy(&value),
                Err(_) => true,
            },
        }
    }

    /// Makes the call of an item.
    fn call(
        &mut self,
        task: &TaskRun,
        name: &str,
        index: usize,
        variables: &Variables,
        names: Names,
    ) -> Result<Call, String> {
        let node = &task.node;
        let value = |keyword| keyword_value(node, keyword, variables);
        let check =
            value(Keyword::CheckMode)?.map_or(self.options.check, |value| is_truthy(&value));
        let diff = value(Keyword::Diff)?.map_or(self.options.diff, |value| is_truthy(&value));
        let no_log = value(Keyword::NoLog)?.map_or(self.options.no_log, |value| is_truthy(&value));
        let delegate = value(Keyword::DelegateTo)?.map(|value| text_of(&value));
        let delegate = delegate.filter(|text| !text.trim().is_empty());
        let target = delegate.clone().unwrap_or_else(|| name.to_owned());
        let (arguments, free) = arguments(node, variables)?;
        let request = Request {
            task: &node.task,
            variables,
            arguments,
            free,
        };
        let planned = actions::plan(request)?;
        let mut timeouts = Timeouts {
            hard: self.options.task_timeout,
            ..Timeouts::default()
        };
        if let Some(value) = value(Keyword::Timeout)? {
            let seconds: u64 = text_of(&value)
                .trim()
                .parse()
                .map_err(|_| "`timeout` has to be a whole number of seconds".to_owned())?;
            timeouts.hard = (seconds > 0).then(|| Duration::from_secs(seconds));
        }
        let lock = self.lock_of(&target);
        let hint = match value(Keyword::Hint)? {
            Some(hint) => serde_json::from_value(to_json(&hint))
                .map_err(|error| format!("`hint`: {error}"))?,
            None if matches!(planned, Planned::Local(_)) => ParallelizationHint::FullyParallel,
            None => self.registry.hint(&node.task.module),
        };
        let limits = value(Keyword::Limits)?.map(|value| to_json(&value));
        let limits = actions::names_of(limits.as_ref());
        if let Some(unknown) = limits
            .iter()
            .find(|name| !self.options.limits.contains(name))
        {
            return Err(format!(
                "no limit is called `{unknown}`; declare it in `hints.yml` beside the playbook"
            ));
        }
        let rules = self.rules(task, name, variables)?;
        let delay = match value(Keyword::Delay)? {
            Some(value) => {
                let seconds: f64 = text_of(&value)
                    .trim()
                    .parse()
                    .map_err(|_| "`delay` has to be a number of seconds".to_owned())?;
                Duration::try_from_secs_f64(seconds.max(0.0))
                    .map_err(|error| format!("`delay`: {error}"))?
            }
            None => USUAL_DELAY,
        };
        let work = match planned {
            Planned::Local(work) => match (work, task.control.pause.filter(|_| index > 0)) {
                (Work::Done(result), Some(pause)) => Work::Wait(pause, result),
                (work, _) => work,
            },
            Planned::Remote(action, arguments) => {
                let action =
                    self.action(task, name, &target, delegate.is_some(), variables, action)?;
                Work::Action(Box::new(ActionCall {
                    arguments,
                    check,
                    diff,
                    no_log,
                    pause: task.control.pause.filter(|_| index > 0),
                    ..action
                }))
            }
        };
        let id = self.id(task, name, index);
        Ok(Call {
            id: id.into(),
            names,
            work,
            terms: CallTerms {
                lock,
                hint,
                limits,
                timeouts,
                delay,
            },
            rules,
            no_log,
        })
    }

    /// The id of a job: the number of the play, the place of the task, the host and the item.
    fn id(&self, task: &TaskRun, name: &str, index: usize) -> String {
        let play = self
            .current
            .as_ref()
            .map(|run| run.number)
            .unwrap_or_default();
        match &task.items {
            Some(_) => format!("{play}/{}/{name}/{index}", task.path),
            None => format!("{play}/{}/{name}", task.path),
        }
    }

    /// Everything about an action but its arguments: as whom, with which environment, and on which host.
    fn action(
        &self,
        task: &TaskRun,
        name: &str,
        target: &str,
        is_delegated: bool,
        variables: &Variables,
        action: Action,
    ) -> Result<ActionCall, String> {
        let node = &task.node;
        let value = |keyword| keyword_value(node, keyword, variables);
        // A delegated task reaches the other host as that host's own variables say.
        let connection = if is_delegated && target != name {
            match self.known.variables_of(target) {
                Some(known) => known,
                None => Variables::default().layered(layer_of_unknown_host(target)),
            }
        } else {
            variables.clone()
        };
        let overrides = |keyword: Keyword, variable: &str| -> Result<Option<String>, String> {
            let from_variable = connection
                .get(variable)
                .map_err(|error| error.to_string())?;
            match from_variable {
                Some(value) => Ok(Some(text_of(&value))),
                None => Ok(value(keyword)?.map(|value| text_of(&value))),
            }
        };
        let becomes = match connection
            .get("ansible_become")
            .map_err(|error| error.to_string())?
        {
            Some(value) => is_truthy(&value),
            None => value(Keyword::Become)?.map_or(self.options.becomes, |value| is_truthy(&value)),
        };
        let privilege = if becomes {
            let user = overrides(Keyword::BecomeUser, "ansible_become_user")?;
            let method = overrides(Keyword::BecomeMethod, "ansible_become_method")?;
            let method = method.or_else(|| self.options.become_method.clone());
            let method = method.unwrap_or_else(|| "sudo".to_owned());
            if builtin(&method) != "sudo" {
                return Err(format!(
                    "`become_method: {method}` is not supported; `sudo` is"
                ));
            }
            Some(Privilege {
                user: user
                    .or_else(|| self.options.become_user.clone())
                    .unwrap_or_else(|| "root".to_owned()),
                flags: overrides(Keyword::BecomeFlags, "ansible_become_flags")?
                    .or_else(|| self.options.become_flags.clone()),
                exe: overrides(Keyword::BecomeExe, "ansible_become_exe")?
                    .or_else(|| self.options.become_exe.clone()),
            })
        } else {
            None
        };
        let mut environment = BTreeMap::new();
        for data in node.all(Keyword::Environment) {
            let value =
                render_data(data, variables).map_err(|error| format!("`environment`: {error}"))?;
            let maps = match to_json(&value) {
                Json::Array(maps) => maps,
                map => vec![map],
            };
            for map in maps {
                let Json::Object(map) = map else {
                    return Err("`environment` has to be a map".to_owned());
                };
                for (name, value) in map {
                    let text = match value {
                        Json::String(text) => text,
                        Json::Null => String::new(),
                        Json::Bool(true) => "True".to_owned(),
                        Json::Bool(false) => "False".to_owned(),
                        other => other.to_string(),
                    };
                    environment.insert(name, text);
                }
            }
        }
        let playbook = self.current.as_ref().map(|run| run.play.folder.clone());
        let playbook = playbook.unwrap_or_default();
        let libraries = crate::module_check::libraries_of(&node.task, &playbook);
        let collections = node.nearest(Keyword::Collections);
        Ok(ActionCall {
            action,
            arguments: Map::new(),
            connection,
            host: target.to_owned(),
            privilege,
            environment: environment.into_iter().collect(),
            check: false,
            diff: false,
            no_log: false,
            libraries,
            collections: collections.map(Data::words).unwrap_or_default(),
            remote_user: value(Keyword::RemoteUser)?.map(|value| text_of(&value)),
            port: value(Keyword::Port)?.map(|value| text_of(&value)),
            connection_kind: value(Keyword::Connection)?.map(|value| text_of(&value)),
            pause: None,
            folder: playbook,
            inventory_name: name.to_owned(),
        })
    }

    /// The host whose lock a task takes that runs on this one. The machine of the controller has one lock.
    fn lock_of(&self, target: &str) -> String {
        if matches!(target, "localhost" | "127.0.0.1" | "::1") {
            return "localhost".to_owned();
        }
        let lock = self.known.variables_of(target);
        let lock = lock.and_then(|variables| variables.get("ratchet_lock").ok().flatten());
        lock.map_or_else(|| target.to_owned(), |lock| text_of(&lock))
    }

    fn rules(&self, task: &TaskRun, name: &str, variables: &Variables) -> Result<Rules, String> {
        let settings = &task.node.task.settings;
        let conditions = |keyword| {
            settings
                .get(keyword)
                .map(Condition::all)
                .unwrap_or_default()
        };
        let until = conditions(Keyword::Until);
        let retries = keyword_value(&task.node, Keyword::Retries, variables)?;
        let retries = match retries {
            None => None,
            Some(value) => Some(
                text_of(&value)
                    .trim()
                    .parse::<i64>()
                    .map_err(|_| "`retries` has to be a whole number".to_owned())?,
            ),
        };
        let attempts = match (until.is_empty(), retries) {
            (true, None) => 1,
            (false, None) => USUAL_ATTEMPTS,
            (_, Some(retries)) => u32::try_from(retries.max(0))
                .unwrap_or(u32::MAX - 1)
                .saturating_add(1),
        };
        Ok(Rules {
            changed_when: conditions(Keyword::ChangedWhen),
            failed_when: conditions(Keyword::FailedWhen),
            until,
            attempts,
            register: settings.text(Keyword::Register),
            variables: variables.clone(),
            on_failure: self.on_failure(task, name),
            on_unreachable: match self.flag_of(&task.node, Keyword::IgnoreUnreachable, name) {
                Some(true) => TaskStatus::Ignored,
                _ => TaskStatus::Unreachable,
            },
        })
    }

    /// What a failure of a task is on a host.
    fn on_failure(&self, task: &TaskRun, name: &str) -> TaskStatus {
        let ignores = keyword_value(&task.node, Keyword::IgnoreErrors, &task.variables);
        if ignores
            .ok()
            .flatten()
            .is_some_and(|value| is_truthy(&value))
        {
            TaskStatus::Ignored
        } else if self.host(name).is_some_and(|host| host.cursor.is_rescued()) {
            TaskStatus::Rescued
        } else {
            TaskStatus::Failed
        }
    }

    pub(super) fn names(&self, task: &TaskRun, host: &str, item: Option<Json>) -> Names {
        let play = self.current.as_ref().map(|run| run.play.name.clone());
        Names {
            play: play.unwrap_or_default(),
            task: task.title.clone(),
            module: task.node.task.module.clone(),
            host: host.to_owned(),
            item,
        }
    }

    /// Takes in how a call ended.
    pub(super) fn ended(&mut self, id: &str, result: TaskResult) {
        let Some((name, index)) = self.under_way.remove(id) else {
            return;
        };
        self.item_ended(&name, index, result);
        self.fill();
    }

    /// Takes in how an item ended, and ends the task with its last one.
    fn item_ended(&mut self, name: &str, index: usize, result: TaskResult) {
        self.apply_facts(name, &result);
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
        let shown = if task.is_secret {
            result.censored()
        } else {
            result.clone()
        };
        self.events.push(Event::Item(shown));
        task.is_broken |= result.status == TaskStatus::Unreachable || breaks(&task, index, &result);
        task.results[index] = Some(result);
        let is_done = task.is_done();
        // The next items see what this one has found out.
        task.variables = self.variables_of(&task.node, name);
        let ended = is_done.then(|| self.of_all_items(&task, name));
        self.put(name, task);
        if let Some(result) = ended {
            self.finish(name, result, true);
        }
    }

    /// The result of a loop: those of its items, and whether any of them changed something or failed.
    fn of_all_items(&self, task: &TaskRun, name: &str) -> TaskResult {
        let results: Vec<&TaskResult> = task.results.iter().flatten().collect();
        let any = |wanted: &dyn Fn(&TaskStatus) -> bool| {
            results.iter().any(|result| wanted(&result.status))
        };
        let has_failed = results.iter().any(|result| flag(&result.result, "failed"));
        let has_changed = results.iter().any(|result| result.changed);
        let is_skipped = results
            .iter()
            .all(|result| result.status == TaskStatus::Skipped);
        let mut result = Map::new();
        let list = results.iter().map(|result| registered(result)).collect();
        result.insert("results".to_owned(), Json::Array(list));
        result.insert("changed".to_owned(), has_changed.into());
        let message = if has_failed {
            "One or more items failed"
        } else if is_skipped {
            result.insert("skipped".to_owned(), true.into());
            "All items skipped"
        } else {
            "All items completed"
        };
        if has_failed {
            result.insert("failed".to_owned(), true.into());
        }
        result.insert("msg".to_owned(), message.into());
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

    /// Ends the task of a host, and lets follow what follows from that.
    fn finish(&mut self, name: &str, mut result: TaskResult, has_items: bool) {
        let Some(task) = self.take_running(name) else {
            return;
        };
        let register = task.node.task.settings.text(Keyword::Register);
        let mut hosts = vec![name.to_owned()];
        hosts.extend(task.followers.iter().cloned());
        if let Some(variable) = &register {
            let value = from_json(registered(&result));
            for host in &hosts {
                self.known
                    .update(host, |known| known.register(variable, value.clone()));
            }
        }
        let wants = task.node.nearest(Keyword::AnyErrorsFatal);
        let any_fatal = wants.and_then(|data| render_data(data, &task.variables).ok());
        let any_fatal = any_fatal.map_or(self.options.any_errors_fatal, |value| is_truthy(&value));
        if result.changed
            && !flag(&result.result, "failed")
            && let Some(data) = task.node.nearest(Keyword::Notify)
            && let Err(reason) = self.notify(data, &task.variables, name)
        {
            self.fail_after(name, &task, &reason, has_items);
            return;
        }
        if is_action(&task.node.task, "add_host") || is_action(&task.node.task, "group_by") {
            let is_new = self.change_groups(&task, name, &result);
            if is_new && result.status == TaskStatus::Ok {
                result.status = TaskStatus::Changed;
                result.changed = true;
            }
        }
        let status = result.status;
        // A task that only steers the play is not counted.
        if !is_action(&task.node.task, "meta") {
            let shown = if task.is_secret {
                result.censored()
            } else {
                result.clone()
            };
            self.tell_result(shown, has_items);
            self.count_more_includes(&task, &result);
        }
        for host in &hosts {
            let Some(run) = self.host_mut(host) else {
                continue;
            };
            run.running = None;
            match status {
                TaskStatus::Failed | TaskStatus::Rescued => {
                    // What items before the failed one have included is not brought in.
                    run.includes.clear();
                    let after = run.cursor.fail();
                    if after == AfterFailure::Rescued {
                        self.remember_failure(host, &task, &result);
                    }
                    self.after_failure(host, after);
                    if any_fatal
                        && after == AfterFailure::Over
                        && let Some(run) = &mut self.current
                    {
                        run.is_stopped = true;
                    }
                }
                TaskStatus::Unreachable => {
                    run.includes.clear();
                    run.state = HostState::Unreachable;
                    if any_fatal && let Some(run) = &mut self.current {
                        run.is_stopped = true;
                    }
                }
                _ if run.includes.is_empty() => run.cursor.pass(),
                // The tasks that were brought in come first.
                _ => {}
            }
        }
        self.hosts_changed();
    }

    /// A loop of includes counts once for each that has brought something in.
    fn count_more_includes(&mut self, task: &TaskRun, result: &TaskResult) {
        if !is_action(&task.node.task, "include_tasks")
            && !is_action(&task.node.task, "include_role")
        {
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

    /// The task succeeded, and what was to follow did not.
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

    /// Notes the handlers that a task notifies.
    fn notify(&mut self, data: &Data, variables: &Variables, name: &str) -> Result<(), String> {
        let rendered =
            render_data(data, variables).map_err(|error| format!("`notify`: {error}"))?;
        let json = to_json(&rendered);
        let wanted = match &json {
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
        for wanted in wanted {
            let Some(run) = &mut self.current else {
                return Ok(());
            };
            let title = |node: &TaskNode| {
                let own = node.task.settings.text(Keyword::Name).unwrap_or_default();
                render(&own, variables).map_or(own, |title| text_of(&title))
            };
            let found = run.handlers.named(&wanted, title);
            if found.is_empty() {
                return Err(format!("no handler is called `{wanted}` or listens to it"));
            }
            if let Some(host) = run.hosts.get_mut(name) {
                host.notified.extend(found);
            }
        }
        Ok(())
    }

    /// Sets the variables by which a `rescue` knows what has failed.
    fn remember_failure(&mut self, host: &str, task: &TaskRun, result: &TaskResult) {
        let failed = from_json(registered(result));
        let is_named = task.node.task.settings.get(Keyword::Name).is_some();
        let name = if is_named { task.title.as_str() } else { "" };
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

    /// Renews the variables that tell which hosts still go on.
    fn hosts_changed(&mut self) {
        let Some(run) = &mut self.current else { return };
        let going = run.going();
        let gone: Vec<&String> = run
            .batch
            .iter()
            .filter(|name| !going.contains(name))
            .collect();
        let all: Vec<String> = run
            .all
            .iter()
            .filter(|name| !gone.contains(name))
            .cloned()
            .collect();
        let magic = Arc::make_mut(&mut run.variables.magic);
        magic.insert("ansible_play_batch".to_owned(), Value::from(going));
        for name in ["ansible_play_hosts", "play_hosts"] {
            magic.insert(name.to_owned(), Value::from(all.clone()));
        }
    }

    /// Takes in the facts and variables that a result has.
    fn apply_facts(&mut self, name: &str, result: &TaskResult) {
        let Some(Json::Object(facts)) = result.result.get("ansible_facts") else {
            return;
        };
        let Some(task) = self.host(name).and_then(|host| host.running.as_ref()) else {
            return;
        };
        let is_set = is_action(&task.node.task, "set_fact");
        let is_included = is_action(&task.node.task, "include_vars");
        let mut hosts = vec![name.to_owned()];
        hosts.extend(task.followers.iter().cloned());
        let values: Vec<(String, Value)> = facts
            .iter()
            .map(|(name, value)| (name.clone(), from_json(value.clone())))
            .collect();
        for host in hosts {
            let values = values.clone();
            self.known.update(&host, |known| {
                if is_set {
                    known.assign(values);
                } else if !is_included {
                    known.learn(values);
                }
            });
        }
    }
}

/// Why a task has no items.
enum Refused {
    Skip,
    Fail(String),
}

/// The conditions of a task, those of what is around it first.
pub(super) fn when(node: &TaskNode) -> Vec<Condition> {
    let all = node.all(Keyword::When).into_iter();
    all.flat_map(Condition::all).collect()
}

/// The value of a keyword that is nearest to a task.
pub(super) fn keyword_value(
    node: &TaskNode,
    keyword: Keyword,
    variables: &Variables,
) -> Result<Option<Value>, String> {
    let Some(data) = node.nearest(keyword) else {
        return Ok(None);
    };
    let value =
        render_data(data, variables).map_err(|error| format!("`{}`: {error}", keyword.word()))?;
    Ok(Some(value).filter(|value| !crate::templates::is_omitted(value)))
}

/// The members of a list.
fn list_of(value: &Value) -> Result<Vec<Value>, String> {
    use minijinja::value::ValueKind;
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => {
            let members = value.try_iter().map_err(|error| error.to_string())?;
            Ok(members.collect())
        }
        kind => Err(format!("`loop` needs a list, not a {kind}")),
    }
}

/// Reads `loop_control`.
fn loop_control(data: Option<&Data>, variables: &Variables) -> Result<LoopControl, String> {
    let mut control = LoopControl::default();
    let Some(DataValue::Map(entries)) = data.map(|data| &data.value) else {
        return Ok(control);
    };
    for entry in entries {
        let name = entry.name.as_str();
        if name == "label" {
            control.label = entry.data.word();
            continue;
        }
        if name == "break_when" {
            continue;
        }
        let value = render_data(&entry.data, variables)
            .map_err(|error| format!("`loop_control.{name}`: {error}"))?;
        match name {
            "loop_var" => control.variable = text_of(&value),
            "index_var" => control.index = Some(text_of(&value)),
            "pause" => {
                let seconds: f64 = text_of(&value)
                    .trim()
                    .parse()
                    .map_err(|_| "`loop_control.pause` has to be a number of seconds".to_owned())?;
                let pause = Duration::try_from_secs_f64(seconds.max(0.0));
                control.pause =
                    Some(pause.map_err(|error| format!("`loop_control.pause`: {error}"))?);
            }
            "extended" => control.is_extended = is_truthy(&value),
            "extended_allitems" => control.has_all_items = is_truthy(&value),
            "parallel" => {
                let count: usize = text_of(&value)
                    .trim()
                    .parse()
                    .map_err(|_| "`loop_control.parallel` has to be a whole number".to_owned())?;
                control.parallel = count.max(1);
            }
            _ => {}
        }
    }
    Ok(control)
}

/// The variables of an item.
pub(super) fn item_variables(task: &TaskRun, index: usize) -> Variables {
    let Some(items) = &task.items else {
        return task.variables.clone();
    };
    let control = &task.control;
    let mut values = BTreeMap::new();
    values.insert(control.variable.clone(), items[index].clone());
    values.insert(
        "ansible_loop_var".to_owned(),
        Value::from(control.variable.as_str()),
    );
    if let Some(name) = &control.index {
        values.insert(name.clone(), Value::from(index));
        values.insert("ansible_index_var".to_owned(), Value::from(name.as_str()));
    }
    if control.is_extended {
        let mut about = vec![
            ("index", Value::from(index + 1)),
            ("index0", Value::from(index)),
            ("first", Value::from(index == 0)),
            ("last", Value::from(index + 1 == items.len())),
            ("length", Value::from(items.len())),
            ("revindex", Value::from(items.len() - index)),
            ("revindex0", Value::from(items.len() - index - 1)),
        ];
        if control.has_all_items {
            about.push(("allitems", Value::from(items.clone())));
        }
        if index > 0 {
            about.push(("previtem", items[index - 1].clone()));
        }
        if let Some(next) = items.get(index + 1) {
            about.push(("nextitem", next.clone()));
        }
        let about = about
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value));
        values.insert(
            "ansible_loop".to_owned(),
            crate::templates::map_of_names(about.collect()),
        );
    }
    task.variables.with_magic(Arc::new(values))
}

/// Adds to a result which item it is of.
fn describe_item(task: &TaskRun, index: usize, result: &mut TaskResult) {
    let Some(items) = &task.items else { return };
    let control = &task.control;
    let map = &mut result.result;
    map.insert(control.variable.clone(), to_json(&items[index]));
    map.insert(
        "ansible_loop_var".to_owned(),
        control.variable.clone().into(),
    );
    if let Some(name) = &control.index {
        map.insert(name.clone(), index.into());
        map.insert("ansible_index_var".to_owned(), name.clone().into());
    }
}

/// What `register` keeps of a result.
pub(super) fn registered(result: &TaskResult) -> Json {
    let mut map = result.result.clone();
    if let Some(diff) = &result.diff {
        map.insert("diff".to_owned(), diff.clone());
    }
    map.entry("changed").or_insert(false.into());
    map.entry("failed").or_insert(false.into());
    for (wrong, usual) in [("stdout", "stdout_lines"), ("stderr", "stderr_lines")] {
        if let Some(Json::String(text)) = map.get(wrong)
            && !map.contains_key(usual)
        {
            let lines: Vec<Json> = text.lines().map(Json::from).collect();
            map.insert(usual.to_owned(), Json::Array(lines));
        }
    }
    Json::Object(map)
}

fn skipped(condition: &str) -> Map<String, Json> {
    let mut result = Map::new();
    result.insert("changed".to_owned(), false.into());
    result.insert("skipped".to_owned(), true.into());
    result.insert(
        "skip_reason".to_owned(),
        "Conditional result was False".into(),
    );
    result.insert("false_condition".to_owned(), condition.into());
    result
}

pub(super) fn failed(reason: &str) -> Map<String, Json> {
    let mut result = Map::new();
    result.insert("changed".to_owned(), false.into());
    result.insert("failed".to_owned(), true.into());
    result.insert("msg".to_owned(), reason.into());
    result
}

pub(super) fn plain_result(
    names: Names,
    result: Map<String, Json>,
    status: TaskStatus,
) -> TaskResult {
    TaskResult {
        status,
        changed: flag(&result, "changed"),
        msg: result.get("msg").and_then(Json::as_str).map(str::to_owned),
        play: names.play,
        task: names.task,
        module: names.module,
        host: names.host,
        item: names.item,
        result,
        diff: None,
    }
}

/// Whether `break_when` ends a loop after an item.
fn breaks(task: &TaskRun, index: usize, result: &TaskResult) -> bool {
    let control = task.node.task.settings.get(Keyword::LoopControl);
    let Some(DataValue::Map(entries)) = control.map(|data| &data.value) else {
        return false;
    };
    let Some(entry) = entries.iter().find(|entry| entry.name == "break_when") else {
        return false;
    };
    let mut variables = item_variables(task, index);
    if let Some(name) = task.node.task.settings.text(Keyword::Register) {
        let value = from_json(registered(result));
        variables = variables.with_magic(Arc::new(BTreeMap::from([(name, value)])));
    }
    hold(&Condition::all(&entry.data), &variables).unwrap_or(false)
}
