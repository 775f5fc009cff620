//! Builds the call of an item: its action, its host, its user, and the rules that judge its result.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use minijinja::Value;
use ratchet_runtime::ParallelizationHint;
use serde_json::{Map, Value as Json};

use super::arguments::{Rendered, arguments};
use super::frame::TaskNode;
use super::host_run::TaskRun;
use super::machine::Machine;
use super::results::failed;
use crate::actions::{self, ActionRequest, PlannedAction};
use crate::call::{
    Action, ActionCall, Call, CallTerms, Names, Privilege, Rules, TaskTimeout, Work,
};
use crate::data::Data;
use crate::language::{Condition, Keyword, layer_of_unknown_host};
use crate::module_check::{libraries_of, refused_method};
use crate::result::TaskStatus;
use crate::templates::{Variables, is_truthy, map_of_names, render_data, text_of, to_json};

/// How many times a task with `until` is tried by default.
const USUAL_ATTEMPTS: u32 = 3;

/// How long a task with `until` waits between two attempts by default.
const USUAL_DELAY: Duration = Duration::from_secs(5);

impl Machine {
    /// Builds the call of an item.
    pub(super) fn call(
        &mut self,
        task: &mut TaskRun,
        name: &str,
        index: usize,
        variables: &Variables,
        names: Names,
    ) -> Result<Call, String> {
        let node = &task.node.clone();
        let value = |keyword| node.value(keyword, variables);
        let check =
            value(Keyword::CheckMode)?.map_or(self.options.check, |value| is_truthy(&value));
        let diff = value(Keyword::Diff)?.map_or(self.options.settings.always_diffs, |value| {
            is_truthy(&value)
        });
        let no_log =
            value(Keyword::NoLog)?.map_or(self.options.settings.no_log, |value| is_truthy(&value));
        let delegate = value(Keyword::DelegateTo)?.map(|value| text_of(&value));
        let delegate = delegate.filter(|text| !text.trim().is_empty());
        let target = delegate.clone().unwrap_or_else(|| name.to_owned());
        let variables = &match &delegate {
            Some(target) => self.with_delegate(variables, name, target),
            None => variables.clone(),
        };
        let value = |keyword| node.value(keyword, variables);
        let rendered = arguments(node, variables, self.options.modules.as_deref())?;
        let planned = self.planned_action(task, index, variables, rendered)?;
        let spent = task.plans.get(&index).map(|planning| planning.spent);
        let timeout = self.timeout(node, variables)?.map(|period| {
            // The time of its lookups is a part of the time of the task.
            let left = period.saturating_sub(spent.unwrap_or_default());
            let left = left.max(Duration::from_millis(1));
            TaskTimeout { period, left }
        });
        let lock = self.lock_of(&target);
        let hint = match value(Keyword::Hint)? {
            Some(hint) => serde_json::from_value(to_json(&hint))
                .map_err(|error| format!("`hint`: {error}"))?,
            None if matches!(planned, PlannedAction::Local(_)) => {
                ParallelizationHint::FullyParallel
            }
            None => self.registry.hint(&node.task.module),
        };
        let limits = self.limits(node, variables)?;
        let rules = self.rules(task, name, variables)?;
        let delay = delay(node, variables)?;
        let work = match planned {
            PlannedAction::Local(work) => match (work, task.control.pause.filter(|_| index > 0)) {
                (Work::Done(result), Some(pause)) => Work::Wait(pause, result),
                (work, _) => work,
            },
            PlannedAction::Remote(action, arguments) => {
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
                timeout,
                delay,
            },
            rules,
            no_log,
        })
    }

    /// Returns the names of the limits that a task takes.
    fn limits(&self, node: &TaskNode, variables: &Variables) -> Result<Vec<String>, String> {
        let limits = node.value(Keyword::Limits, variables)?;
        let limits = limits.map(|value| to_json(&value));
        let limits = actions::names_of(limits.as_ref());
        let unknown = (limits.iter()).find(|name| !self.options.limits.contains(name));
        match unknown {
            Some(unknown) => Err(format!(
                "no limit is called `{unknown}`; declare it in `hints.yml` beside the playbook"
            )),
            None => Ok(limits),
        }
    }

    /// Plans what an item does, with its arguments.
    fn planned_action(
        &mut self,
        task: &mut TaskRun,
        index: usize,
        variables: &Variables,
        rendered: Rendered,
    ) -> Result<PlannedAction, String> {
        if task.node.task.is_action("include_vars") {
            let included = self.include_vars(task, index, variables, rendered);
            let result = included.unwrap_or_else(|reason| failed(&reason));
            return Ok(PlannedAction::Local(Work::Done(result)));
        }
        if !rendered.values.is_empty() {
            task.values.insert(index, rendered.values);
        }
        actions::plan(ActionRequest {
            task: &task.node.task,
            variables,
            arguments: rendered.named,
            free: rendered.free,
        })
    }

    /// Adds the variables of a delegated task about the host that it is delegated to.
    fn with_delegate(&self, variables: &Variables, name: &str, target: &str) -> Variables {
        let known = self.known.variables_of(target);
        let known =
            known.unwrap_or_else(|| Variables::default().layered(layer_of_unknown_host(target)));
        let address = known.get("ansible_host").ok().flatten();
        let address = address.unwrap_or_else(|| Value::from(target));
        let of_target = BTreeMap::from([("ansible_host".to_owned(), address.clone())]);
        let of_target = known.with_magic(Arc::new(of_target)).as_map();
        let of_targets = map_of_names(vec![(target.to_owned(), of_target)]);
        let mut magic = BTreeMap::from([("ansible_delegated_vars".to_owned(), of_targets)]);
        // An address that was set for the host itself stays.
        for variable in ["ansible_host", "ansible_ssh_host"] {
            if matches!(variables.get(variable), Ok(Some(own)) if own == Value::from(name)) {
                magic.insert(variable.to_owned(), address.clone());
            }
        }
        variables.with_magic(Arc::new(magic))
    }

    /// Returns how long a task may take, with its lookups.
    pub(super) fn timeout(
        &self,
        node: &TaskNode,
        variables: &Variables,
    ) -> Result<Option<Duration>, String> {
        let Some(value) = node.value(Keyword::Timeout, variables)? else {
            return Ok(self.options.settings.task_timeout);
        };
        let seconds: u64 = text_of(&value)
            .trim()
            .parse()
            .map_err(|_| "`timeout` has to be a whole number of seconds".to_owned())?;
        Ok((seconds > 0).then(|| Duration::from_secs(seconds)))
    }

    /// Returns the id of a job: the number of the play, the place of the task, the host and the item.
    pub(super) fn id(&self, task: &TaskRun, name: &str, index: usize) -> String {
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

    /// Builds an action from everything but its arguments: its user, its environment, and its host.
    pub(super) fn action(
        &self,
        task: &TaskRun,
        name: &str,
        target: &str,
        is_delegated: bool,
        variables: &Variables,
        action: Action,
    ) -> Result<ActionCall, String> {
        let node = &task.node;
        let value = |keyword| node.value(keyword, variables);
        // A delegated task connects to the other host with the variables of that host.
        let connection = if is_delegated && target != name {
            match self.known.variables_of(target) {
                Some(known) => known,
                None => Variables::default().layered(layer_of_unknown_host(target)),
            }
        } else {
            variables.clone()
        };
        let privilege = self.privilege(node, variables, &connection)?;
        let environment = environment(node, variables)?;
        let playbook = self.current.as_ref().map(|run| run.play.folder.clone());
        let playbook = playbook.unwrap_or_default();
        let libraries = libraries_of(&node.task, &playbook);
        let collections = node.nearest(Keyword::Collections);
        Ok(ActionCall {
            action,
            arguments: Map::new(),
            connection,
            host: target.to_owned(),
            privilege,
            environment,
            check: false,
            diff: false,
            no_log: false,
            vault: Arc::clone(variables.vault()),
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

    /// Returns the user that a task becomes, if it becomes one. Variables of the host come before keywords of the task, and
    /// those before settings.
    fn privilege(
        &self,
        node: &TaskNode,
        variables: &Variables,
        connection: &Variables,
    ) -> Result<Option<Privilege>, String> {
        let value = |keyword| node.value(keyword, variables);
        let of_host = |variable: &str| connection.get(variable).map_err(|error| error.to_string());
        let overrides = |keyword: Keyword, variable: &str| -> Result<Option<String>, String> {
            match of_host(variable)? {
                Some(value) => Ok(Some(text_of(&value))),
                None => Ok(value(keyword)?.map(|value| text_of(&value))),
            }
        };
        let settings = &self.options.settings;
        let becomes = match of_host("ansible_become")? {
            Some(value) => is_truthy(&value),
            None => value(Keyword::Become)?.map_or(settings.becomes, |value| is_truthy(&value)),
        };
        if !becomes {
            return Ok(None);
        }
        let user = overrides(Keyword::BecomeUser, "ansible_become_user")?;
        let method = overrides(Keyword::BecomeMethod, "ansible_become_method")?;
        let method = method.or_else(|| settings.become_method.clone());
        let method = method.unwrap_or_else(|| "sudo".to_owned());
        if let Some(reason) = refused_method(&method) {
            return Err(reason);
        }
        Ok(Some(Privilege {
            user: user
                .or_else(|| settings.become_user.clone())
                .unwrap_or_else(|| "root".to_owned()),
            flags: overrides(Keyword::BecomeFlags, "ansible_become_flags")?
                .or_else(|| settings.become_flags.clone()),
            exe: overrides(Keyword::BecomeExe, "ansible_become_exe")?
                .or_else(|| settings.become_exe.clone()),
        }))
    }

    /// Returns the host whose lock a task takes to run on this one. All names of the controller share one lock.
    pub(super) fn lock_of(&self, target: &str) -> String {
        if matches!(target, "localhost" | "127.0.0.1" | "::1") {
            return "localhost".to_owned();
        }
        let lock = self.known.variables_of(target);
        let lock = lock.and_then(|variables| variables.get("ratchet_lock").ok().flatten());
        lock.map_or_else(|| target.to_owned(), |lock| text_of(&lock))
    }

    /// Returns the rules that judge the result of an item.
    pub(super) fn rules(
        &self,
        task: &TaskRun,
        name: &str,
        variables: &Variables,
    ) -> Result<Rules, String> {
        let settings = &task.node.task.settings;
        let conditions = |keyword| {
            settings
                .get(keyword)
                .map(Condition::all)
                .unwrap_or_default()
        };
        let until = conditions(Keyword::Until);
        let retries = task.node.value(Keyword::Retries, variables)?;
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

    /// Returns the status of a failed task on a host.
    pub(super) fn on_failure(&self, task: &TaskRun, name: &str) -> TaskStatus {
        let ignores = task.node.value(Keyword::IgnoreErrors, &task.variables);
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

    /// Returns the names that identify the task in results.
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
}

/// Returns how long a task with `until` waits between two attempts.
fn delay(node: &TaskNode, variables: &Variables) -> Result<Duration, String> {
    let Some(value) = node.value(Keyword::Delay, variables)? else {
        return Ok(USUAL_DELAY);
    };
    let seconds: f64 = text_of(&value)
        .trim()
        .parse()
        .map_err(|_| "`delay` has to be a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds.max(0.0)).map_err(|error| format!("`delay`: {error}"))
}

/// Returns the environment variables of a task. Those of the task come before those of its blocks and its play.
fn environment(node: &TaskNode, variables: &Variables) -> Result<Vec<(String, String)>, String> {
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
    Ok(environment.into_iter().collect())
}
