//! Plans tasks and items whose templates may need the output of programs.
//!
//! The machine waits for nothing, so it does not run such a program. It gives out a job that does, and plans again with
//! the answer when that job has ended. Other hosts and items proceed meanwhile.

use std::time::Duration;

use ratchet_runtime::ParallelizationHint;

use super::host_run::{Planned, TaskRun};
use super::items::{Refused, item_variables};
use super::machine::Machine;
use super::results::{failed, skipped, without_items};
use crate::call::{Call, CallTerms, Lookup, Rules, Work};
use crate::programs::{self, Answer, Program};
use crate::result::TaskStatus;
use crate::templates::{Variables, render, text_of};

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
    fn set_prepared(task: &mut TaskRun) {
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
    fn give_out_item(&mut self, task: &mut TaskRun, name: &str, index: usize, call: Call) {
        task.plans.remove(&index);
        if call.no_log {
            task.secrets.insert(index);
        }
        let id = call.id.as_str().to_owned();
        self.under_way.insert(id, (name.to_owned(), index));
        self.calls.push(call);
    }

    /// Gives out the job that runs a program whose output is needed.
    fn look_up(
        &mut self,
        task: &TaskRun,
        name: &str,
        planned: Planned,
        variables: &Variables,
        program: Program,
    ) {
        let (index, planning) = match planned {
            Planned::Task => (0, Some(&task.preparation)),
            Planned::Item(index) => (index, task.plans.get(&index)),
        };
        let answers = planning.map(|planning| planning.answers.clone());
        let answers = answers.unwrap_or_default();
        let spent = planning.map(|planning| planning.spent).unwrap_or_default();
        // If the timeout has to be looked up itself, or is wrong, that of the settings bounds the lookup.
        let timeout = programs::evaluate(&answers, || self.timeout(&task.node, variables));
        let timeout = match timeout {
            Ok(Ok(timeout)) => timeout,
            _ => self.options.settings.task_timeout,
        };
        let id = format!(
            "{}/lookup.{}",
            self.id(task, name, index),
            answers.count() + 1
        );
        self.lookups.insert(id.clone(), (name.to_owned(), planned));
        self.calls.push(Call {
            id: id.into(),
            names: self.names(task, name, None),
            work: Work::Lookup(Lookup {
                program,
                limit: timeout.map(|timeout| timeout.saturating_sub(spent)),
            }),
            terms: CallTerms {
                lock: name.to_owned(),
                hint: ParallelizationHint::FullyParallel,
                limits: Vec::new(),
                timeout: None,
                delay: Duration::ZERO,
            },
            rules: Rules::without_conditions(TaskStatus::Failed),
            // Its answer may be a secret, so it is looked up again when the run is resumed.
            no_log: true,
        });
    }

    /// Handles the end of a lookup. Without an answer, because the program was killed, its task or item fails.
    pub(super) fn answered(
        &mut self,
        id: &str,
        program: Program,
        answer: Result<Answer, String>,
        took: Duration,
    ) {
        let Some((name, planned)) = self.lookups.remove(id) else {
            return;
        };
        let Some(mut task) = self.take_running(&name) else {
            return;
        };
        let planning = match planned {
            Planned::Task => &mut task.preparation,
            Planned::Item(index) => task.plans.entry(index).or_default(),
        };
        planning.spent += took;
        match (answer, planned) {
            (Ok(answer), planned) => {
                planning.answers.add(program, answer);
                self.put(&name, task);
                match planned {
                    Planned::Task => self.prepare(&name),
                    Planned::Item(index) => self.plan_item(&name, index),
                }
            }
            (Err(reason), Planned::Task) => {
                self.tell_task(&task.path, &task.title, task.handler.is_some());
                task.items = None;
                task.decided = Some(failed(&reason));
                Self::set_prepared(&mut task);
                self.put(&name, task);
            }
            (Err(reason), Planned::Item(index)) => {
                let answers = planning.answers.clone();
                let variables = item_variables(&task, index);
                // A keyword that needs the same program is taken as not set.
                let call = programs::evaluate_with_known(&answers, || {
                    let names = self.names_of_item(&task, &name, index, &variables);
                    self.decided(&task, &name, index, names, failed(&reason))
                });
                self.give_out_item(&mut task, &name, index, call);
                self.put(&name, task);
            }
        }
        self.fill();
    }
}
