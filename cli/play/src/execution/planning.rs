//! Plans tasks and items whose templates may need the output of programs.
//!
//! The machine waits for nothing, so it does not run such a program. It gives out a job that does, and plans again with
//! the answer when that job has ended. Other hosts and items proceed meanwhile.

use super::host_run::{Planned, TaskRun};
use super::items::{Refused, item_variables};
use super::machine::Machine;
use super::results::{failed, skipped, without_items};
use crate::call::Call;
use crate::language::Keyword;
use crate::programs;
use crate::templates::{render, render_data, text_of};

impl Machine {
    /// Renders the title of a task and evaluates its loop, so that its items can start.
    pub(super) fn prepare(&mut self, name: &str) {
        let Some(mut task) = self.take_running(name) else {
            return;
        };
        let answers = task.preparation.answers.clone();
        let prepared = programs::evaluate(&answers, || {
            let title = task.node.title();
            // A name that cannot be rendered is shown unrendered.
            let title = render(&title, &task.variables).map_or(title, |title| text_of(&title));
            let throttle = task.node.nearest(Keyword::Throttle);
            let throttle = throttle.and_then(|data| render_data(data, &task.variables).ok());
            task.throttle = throttle.and_then(|value| text_of(&value).trim().parse::<usize>().ok());
            (title, Self::items(&mut task))
        });
        match prepared {
            Ok((title, items)) => {
                task.title = title;
                self.tell_task(&task.path, &task.title, task.handler.is_some());
                match items {
                    Ok(()) => {}
                    Err(Refused::Skip(condition)) => task.decided = Some(skipped(&condition)),
                    Err(Refused::Fail(reason)) => task.decided = Some(failed(&reason)),
                }
                if task.items.as_ref().is_some_and(Vec::is_empty) {
                    task.items = None;
                    task.decided = Some(without_items());
                }
                Self::set_prepared(&mut task);
            }
            Err(program) => {
                let variables = task.variables.clone();
                self.look_up(&task, name, Planned::Task, &variables, *program);
            }
        }
        self.put(name, task);
    }

    /// Records that the items of a task are known, and makes room for a result of each.
    pub(super) fn set_prepared(task: &mut TaskRun) {
        task.is_prepared = true;
        task.results.resize(task.count(), None);
    }

    /// Plans an item that has started: gives out its call, or a lookup that it needs first.
    pub(super) fn plan_item(&mut self, name: &str, index: usize) {
        let Some(mut task) = self.take_running(name) else {
            return;
        };
        let planning = task.plans.get(&index);
        let answers = planning.map(|planning| planning.answers.clone());
        let variables = item_variables(&task, index);
        let planned = programs::evaluate(&answers.unwrap_or_default(), || {
            let names = self.names_of_item(&task, name, index, &variables);
            let planned = match task.decided.clone() {
                Some(result) => Err(result),
                None => self.planned(&mut task, name, index, &variables, names.clone()),
            };
            planned.unwrap_or_else(|result| self.decided(&task, name, index, names, result))
        });
        match planned {
            Ok(call) => self.give_out_item(&mut task, name, index, call),
            Err(program) => {
                self.look_up(&task, name, Planned::Item(index), &variables, *program);
            }
        }
        self.put(name, task);
    }

    /// Gives out the call of an item, which becomes a job.
    pub(super) fn give_out_item(
        &mut self,
        task: &mut TaskRun,
        name: &str,
        index: usize,
        call: Call,
    ) {
        task.plans.remove(&index);
        if call.no_log {
            task.secrets.insert(index);
        }
        let id = call.id.as_str().to_owned();
        self.under_way.insert(id, (name.to_owned(), index));
        self.calls.push(call);
    }
}
