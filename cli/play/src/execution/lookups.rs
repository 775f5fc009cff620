//! The lookups for which tasks and plays wait: the jobs that run their programs, and what goes on with each answer.
//!
//! The machine waits for nothing. What needs the output of a program is evaluated up to there without any effect, a job
//! runs the program, and with its answer the evaluation begins again. Meanwhile other hosts proceed.

use std::time::Duration;

use ratchet_runtime::ParallelizationHint;

use super::frame::TaskNode;
use super::host_run::{HostState, Planned, Planning, TaskRun};
use super::items::item_variables;
use super::machine::{Machine, meta_word};
use super::purpose::{Purpose, Start};
use super::results::failed;
use crate::actions;
use crate::call::{Call, CallTerms, Lookup, Names, Rules, Work, hold};
use crate::language::Keyword;
use crate::programs::{self, Answer, Program};
use crate::result::TaskStatus;
use crate::templates::Variables;

impl Machine {
    /// Starts a task on hosts, once the lookups have ended that decide how it starts.
    pub(super) fn start(&mut self, start: Start) {
        let answers = start.planning.answers.clone();
        let evaluated = programs::evaluate(&answers, || self.runs_once(&start));
        self.set_starting(&start.hosts, evaluated.is_err());
        let program = match evaluated {
            Ok(runs_once) => {
                self.begin_task(&start, runs_once);
                return;
            }
            Err(program) => program,
        };
        let host = start.hosts[0].clone();
        let path = self.host(&host).map(|host| host.cursor.path());
        let place = format!("{}/{host}/start", path.unwrap_or_default());
        let names = self.names_of_start(&start, &host);
        let variables = self.variables_of(&start.node, &host);
        let limit = self.time_for(&start.node, &variables, &start.planning);
        self.give_out_lookup(
            &place,
            names,
            *program,
            limit,
            answers.count(),
            Purpose::Start(Box::new(start)),
        );
    }

    /// Goes on with the start of a task on those hosts that another one has not ended meanwhile.
    fn start_again(&mut self, mut start: Start) {
        self.set_starting(&start.hosts, false);
        let is_over = self.current.as_ref().is_none_or(|run| run.is_ended);
        start.hosts.retain(|name| {
            let state = self.host(name).map(|host| host.state);
            !is_over && state.is_some_and(|state| state != HostState::Ended)
        });
        if !start.hosts.is_empty() {
            self.start(start);
        }
    }

    /// Returns whether a task runs on one host for all others. Of a task of `meta`, it evaluates the conditions, without any
    /// effect.
    fn runs_once(&self, start: &Start) -> bool {
        let node = &start.node;
        if !node.task.is_action("meta") {
            let flag = || self.flag_of(node, Keyword::RunOnce, &start.hosts[0]);
            return actions::is_for_all_hosts(&node.task.module) || flag().unwrap_or(false);
        }
        for host in &start.hosts {
            let holds = hold(&node.when(), &self.variables_of(node, host));
            if holds == Ok(true)
                && meta_word(&node.task) == "flush_handlers"
                && let Some(run) = self.host(host)
            {
                for wanted in &run.notifications {
                    self.handlers_named(wanted, host);
                }
            }
        }
        false
    }

    fn set_starting(&mut self, hosts: &[String], is_starting: bool) {
        for name in hosts {
            if let Some(host) = self.host_mut(name) {
                host.is_starting = is_starting;
            }
        }
    }

    fn names_of_start(&self, start: &Start, host: &str) -> Names {
        let play = self.current.as_ref().map(|run| run.play.name.clone());
        Names {
            play: play.unwrap_or_default(),
            task: start.node.title(),
            module: start.node.task.module.clone(),
            host: host.to_owned(),
            item: None,
        }
    }

    /// Gives out the job that runs a program whose output a running task needs.
    pub(super) fn look_up(
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
            Planned::End => (0, Some(&task.end)),
        };
        let none = Planning::default();
        let planning = planning.unwrap_or(&none);
        let limit = self.time_for(&task.node, variables, planning);
        let id = self.id(task, name, index);
        let place = match planned {
            Planned::End => format!("{id}/end"),
            Planned::Task | Planned::Item(_) => id,
        };
        // The place contains the number of the play already.
        let place = place
            .split_once('/')
            .map_or(place.as_str(), |(_, place)| place);
        self.give_out_lookup(
            place,
            self.names(task, name, None),
            program,
            limit,
            planning.answers.count(),
            Purpose::Task(name.to_owned(), planned),
        );
    }

    /// Returns how long a lookup of a task may take.
    fn time_for(
        &self,
        node: &TaskNode,
        variables: &Variables,
        planning: &Planning,
    ) -> Option<Duration> {
        // If the timeout has to be looked up itself, or is wrong, that of the settings bounds the lookup.
        let timeout = programs::evaluate(&planning.answers, || self.timeout(node, variables));
        let timeout = match timeout {
            Ok(Ok(timeout)) => timeout,
            _ => self.options.settings.task_timeout,
        };
        timeout.map(|timeout| timeout.saturating_sub(planning.spent))
    }

    /// Gives out the job that runs a program, for which `purpose` waits.
    pub(super) fn give_out_lookup(
        &mut self,
        place: &str,
        names: Names,
        program: Program,
        limit: Option<Duration>,
        answered: usize,
        purpose: Purpose,
    ) {
        let id = format!("{}/{place}/lookup.{}", self.play_number, answered + 1);
        self.lookups.insert(id.clone(), purpose);
        self.calls.push(Call {
            id: id.into(),
            work: Work::Lookup(Lookup { program, limit }),
            terms: CallTerms {
                lock: names.host.clone(),
                hint: ParallelizationHint::FullyParallel,
                limits: Vec::new(),
                timeout: None,
                delay: Duration::ZERO,
            },
            names,
            rules: Rules::without_conditions(TaskStatus::Failed),
            // Its answer may be a secret, so it is looked up again when the run is resumed.
            no_log: true,
        });
    }

    /// Handles the end of a lookup. There is no answer if the program was killed.
    pub(super) fn answered(
        &mut self,
        id: &str,
        program: Program,
        answer: Result<Answer, String>,
        took: Duration,
    ) {
        match self.lookups.remove(id) {
            None => {}
            Some(Purpose::Task(name, planned)) => {
                self.answered_for_task(&name, planned, program, answer, took);
            }
            // What waits for it takes a program that was killed as one that failed.
            Some(Purpose::Start(mut start)) => {
                start.planning.spent += took;
                start.planning.answers.add(program, answer.flatten());
                self.start_again(*start);
            }
            Some(Purpose::Play(mut opening)) => {
                opening.answers.add(program, answer.flatten());
                self.open_play(*opening);
            }
        }
        self.fill();
    }

    /// Goes on with a running task. If a program was killed, the task or the item that needs its output fails.
    fn answered_for_task(
        &mut self,
        name: &str,
        planned: Planned,
        program: Program,
        answer: Result<Answer, String>,
        took: Duration,
    ) {
        let Some(mut task) = self.take_running(name) else {
            return;
        };
        let planning = match planned {
            Planned::Task => &mut task.preparation,
            Planned::Item(index) => task.plans.entry(index).or_default(),
            Planned::End => &mut task.end,
        };
        planning.spent += took;
        match (answer, planned) {
            (answer, Planned::End) => {
                planning.answers.add(program, answer.flatten());
                let ending = task.ending.take();
                self.put(name, task);
                if let Some((result, has_items)) = ending {
                    self.finish(name, result, has_items);
                }
            }
            (Ok(answer), Planned::Task) => {
                planning.answers.add(program, answer);
                self.put(name, task);
                self.prepare(name);
            }
            (Ok(answer), Planned::Item(index)) => {
                planning.answers.add(program, answer);
                self.put(name, task);
                self.plan_item(name, index);
            }
            (Err(reason), Planned::Task) => {
                self.tell_task(&task.path, &task.title, task.handler.is_some());
                task.items = None;
                task.decided = Some(failed(&reason));
                Self::set_prepared(&mut task);
                self.put(name, task);
            }
            (Err(reason), Planned::Item(index)) => {
                let answers = planning.answers.clone();
                let variables = item_variables(&task, index);
                // A keyword that needs the same program is taken as not set.
                let call = programs::evaluate_with_known(&answers, || {
                    let names = self.names_of_item(&task, name, index, &variables);
                    self.decided(&task, name, index, names, failed(&reason))
                });
                self.give_out_item(&mut task, name, index, call);
                self.put(name, task);
            }
        }
    }
}
