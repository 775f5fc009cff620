//! The loop of a task: its items, how many of them run at once and in which order, and the variables of each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use minijinja::Value;
use ratchet_runtime::ParallelizationHint;
use serde_json::{Map, Value as Json};

use super::host_run::{LoopControl, TaskRun};
use super::machine::Machine;
use super::results::{failed, registered, skipped};
use crate::call::{Call, CallTerms, Names, Rules, Work, hold};
use crate::data::{Data, Value as DataValue};
use crate::language::{Condition, Keyword, Task, builtin};
use crate::result::TaskResult;
use crate::templates::{
    Variables, from_json, is_truthy, loop_items, map_of_names, render, render_data, text_of,
    to_json,
};

impl Machine {
    /// Evaluates the loop of a task.
    pub(super) fn items(task: &mut TaskRun) -> Result<(), Refused> {
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
            // The list may be undefined if the conditions of the task do not hold.
            Err(reason) => {
                for condition in task.node.when() {
                    match hold(std::slice::from_ref(&condition), &task.variables) {
                        Ok(true) => {}
                        Ok(false) => return Err(Refused::Skip(condition)),
                        Err(_) => break,
                    }
                }
                Err(Refused::Fail(format!(
                    "the list of the loop is not known: {reason}"
                )))
            }
        }
    }

    /// Starts items as far as hosts and limits allow.
    pub(super) fn fill(&mut self) {
        let Some(run) = &self.current else { return };
        for name in run.batch.clone() {
            while self.begin_item(&name) {}
        }
    }

    /// Returns how many hosts and items run now that share the limit of a task.
    fn running_of(&self, task: &Arc<Task>) -> usize {
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

    /// Starts the next item of a host, if it may start. Returns whether it did.
    fn begin_item(&mut self, name: &str) -> bool {
        let Some(task) = self.host(name).and_then(|host| host.running.as_ref()) else {
            return false;
        };
        if !task.is_prepared
            || task.is_broken
            || task.next >= task.count()
            || task.under_way >= task.control.parallel
        {
            return false;
        }
        let throttle = task.throttle;
        if throttle.is_some_and(|most| most > 0 && self.running_of(&task.node.task) >= most) {
            return false;
        }
        let Some(mut task) = self.take_running(name) else {
            return false;
        };
        let index = task.next;
        task.next += 1;
        task.under_way += 1;
        self.put(name, task);
        self.plan_item(name, index);
        true
    }

    /// Returns the names of an item in its result.
    pub(super) fn names_of_item(
        &self,
        task: &TaskRun,
        name: &str,
        index: usize,
        variables: &Variables,
    ) -> Names {
        let item = task.items.as_ref().map(|items| &items[index]);
        let label = item.map(|item| match &task.control.label {
            Some(label) => {
                render(label, variables).map_or_else(|_| to_json(item), |label| to_json(&label))
            }
            None => to_json(item),
        });
        self.names(task, name, label)
    }

    /// Builds the call of an item, or returns the result with which the item ends without a call.
    pub(super) fn planned(
        &mut self,
        task: &mut TaskRun,
        name: &str,
        index: usize,
        variables: &Variables,
        names: Names,
    ) -> Result<Call, Map<String, Json>> {
        for condition in task.node.when() {
            let holds = hold(std::slice::from_ref(&condition), variables)
                .map_err(|error| failed(&format!("the condition `{condition}` fails: {error}")))?;
            if !holds {
                return Err(skipped(&condition));
            }
        }
        let wanted = builtin(&task.node.task.module);
        if matches!(wanted, "include_tasks" | "include_role") {
            let wanted = wanted.to_owned();
            let included = self.include(&wanted, task, name, index, variables);
            return Err(included.unwrap_or_else(|reason| failed(&reason)));
        }
        self.call(task, name, index, variables, names)
            .map_err(|reason| failed(&reason))
    }

    /// Builds the call of an item whose result is known without any work. It is still a job like any other, so that
    /// results, records and exit codes include it.
    pub(super) fn decided(
        &self,
        task: &TaskRun,
        name: &str,
        index: usize,
        names: Names,
        result: Map<String, Json>,
    ) -> Call {
        let no_log = task.node.value(Keyword::NoLog, &task.variables);
        Call {
            id: self.id(task, name, index).into(),
            names,
            work: Work::Done(result),
            terms: CallTerms {
                lock: name.to_owned(),
                hint: ParallelizationHint::FullyParallel,
                limits: Vec::new(),
                timeout: None,
                delay: Duration::ZERO,
            },
            rules: Rules::without_conditions(self.on_failure(task, name)),
            // If `no_log` cannot be evaluated, the result is kept secret.
            no_log: match no_log {
                Ok(None) => self.options.settings.no_log,
                Ok(Some(value)) => is_truthy(&value),
                Err(_) => true,
            },
        }
    }
}

/// Why a task has no items.
pub(super) enum Refused {
    /// This condition does not hold.
    Skip(Condition),
    Fail(String),
}

/// Returns the members of a list.
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

/// Returns the variables of an item.
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
        values.insert("ansible_loop".to_owned(), map_of_names(about.collect()));
    }
    task.variables.with_magic(Arc::new(values))
}

/// Adds the item to its result.
pub(super) fn describe_item(task: &TaskRun, index: usize, result: &mut TaskResult) {
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

/// Whether `break_when` ends a loop after an item.
pub(super) fn breaks(task: &TaskRun, index: usize, result: &TaskResult) -> bool {
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
