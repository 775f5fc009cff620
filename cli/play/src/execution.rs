//! Runs playbooks: decides which jobs to run, and what follows from their results.
//!
//! [`Execution`] is the interface for the code that runs the jobs. It gives out each job once, takes the outcomes, and
//! emits [`PlayEvent`]s for the display. [`PlayRunner`](crate::PlayRunner) performs the jobs.

mod arguments;
mod batches;
mod calls;
mod controller_settings;
mod cursor;
mod ends;
mod event;
mod frame;
mod group_changes;
mod handlers;
mod host_run;
mod hosts;
mod included_variables;
mod includes;
mod items;
mod known_hosts;
mod lookups;
mod machine;
mod meta;
mod next_tasks;
mod planning;
mod play_run;
mod plays;
mod purpose;
mod recap;
mod results;
mod role_names;
mod scope;
mod stages;
mod start_at;
mod steps;
mod tasks;
#[cfg(test)]
mod tests;
mod timings;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use minijinja::Value;
use ratchet_input::inventory::Inventory;
use ratchet_resilience::retry::{BackoffPolicy, Delay, Jitter};
use ratchet_runtime::{Class, Job, Outcome, Payload, Terms};
use serde_json::json;

pub use event::PlayEvent;
pub use recap::{HostCounts, Recap};
pub(crate) use start_at::StartAt;
pub use timings::{TaskTimes, Timings};

use crate::call::{Call, Work};
use crate::calls::{CallResult, Calls};
use crate::configuration::Configuration;
use crate::hints::ModuleRegistry;
use crate::language::{Play, PlaybookReader};
use crate::modules::Modules;
use crate::result::{TaskResult, TaskStatus};
use crate::selection::Limit;
use machine::Machine;
pub use steps::StepAnswer;
use steps::Steps;

/// The options of a call of playbooks.
#[derive(Debug)]
pub(crate) struct Options {
    /// The settings, with the flags of the command line applied.
    pub(crate) settings: Configuration,
    pub(crate) limit: Option<Limit>,
    /// Whether modules only report what they would change.
    pub(crate) check: bool,
    /// The task at which the call starts, until a play with that task has begun.
    pub(crate) start_at: Option<StartAt>,
    pub(crate) verbosity: u8,
    /// The answers to `vars_prompt`, by the number of the play.
    pub(crate) answers: HashMap<usize, BTreeMap<String, String>>,
    /// The names of the limits that tasks can refer to.
    pub(crate) limits: Vec<String>,
    /// Finds the modules of tasks that are included later, so that tasks with unknown modules are refused.
    pub(crate) modules: Option<Arc<Modules>>,
}

impl Options {
    /// Returns the magic variables that describe the command line.
    fn magic(&self) -> Vec<(String, Value)> {
        let words = |words: &[String]| Value::from(words.to_vec());
        let only = match self.settings.run_tags.as_slice() {
            [] => vec!["all".to_owned()],
            only => only.to_vec(),
        };
        let mut values = vec![
            ("ansible_check_mode", Value::from(self.check)),
            ("ansible_diff_mode", Value::from(self.settings.always_diffs)),
            ("ansible_forks", Value::from(self.settings.forks())),
            ("ansible_verbosity", Value::from(self.verbosity)),
            ("ansible_run_tags", words(&only)),
            ("ansible_skip_tags", words(&self.settings.skip_tags)),
        ];
        let modules = self.modules.as_ref();
        if let Some(python) = modules.and_then(|modules| modules.python()) {
            let python = Value::from(python.display().to_string());
            values.push(("ansible_playbook_python", python));
        }
        if let Some(version) = modules.and_then(|modules| modules.version()) {
            values.push(("ansible_version", version_map(version)));
        }
        let sources = self.settings.inventory.iter().map(|source| {
            let path = std::path::absolute(source).ok();
            let path = path.filter(|path| path.exists());
            path.map_or_else(|| source.clone(), |path| path.display().to_string())
        });
        values.push((
            "ansible_inventory_sources",
            sources.collect::<Vec<_>>().into(),
        ));
        let file = self.settings.file.as_deref();
        let file = file.map(|file| std::path::absolute(file).unwrap_or_else(|_| file.into()));
        let file = file.map(|file| file.display().to_string());
        values.push(("ansible_config_file", Value::from(file)));
        if let Some(limit) = &self.limit {
            values.push(("ansible_limit", Value::from(limit.text())));
        }
        let named = values.into_iter();
        named
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    fn answers(&self, play: usize) -> Arc<BTreeMap<String, Value>> {
        let answers = self.answers.get(&play).into_iter().flatten();
        let values = answers.map(|(name, value)| (name.clone(), Value::from(value.as_str())));
        Arc::new(values.collect())
    }
}

/// Returns the variable `ansible_version`.
fn version_map(version: &str) -> Value {
    let mut numbers = version.split('.').map(|part| {
        let end = part.find(|character: char| !character.is_ascii_digit());
        part[..end.unwrap_or(part.len())]
            .parse::<u64>()
            .unwrap_or(0)
    });
    let mut next = || Value::from(numbers.next().unwrap_or(0));
    let pairs = [
        ("full", Value::from(version)),
        ("string", Value::from(version)),
        ("major", next()),
        ("minor", next()),
        ("revision", next()),
    ];
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value));
    crate::templates::map_of_names(pairs.to_vec())
}

/// The execution of playbooks.
#[derive(Debug)]
pub struct Execution {
    machine: Machine,
    calls: Calls,
    /// How many jobs were given out and have not ended.
    under_way: usize,
    /// Whether plays are unfinished although no job is in progress from which more could follow.
    is_stuck: bool,
    timings: Timings,
}

impl Execution {
    pub(crate) fn new(
        plays: Vec<Arc<Play>>,
        inventory: Inventory,
        reader: PlaybookReader,
        registry: ModuleRegistry,
        options: Options,
    ) -> Self {
        Self {
            machine: Machine::new(plays, inventory, reader, registry, options),
            calls: Calls::default(),
            under_way: 0,
            is_stuck: false,
            timings: Timings::default(),
        }
    }

    /// Returns the calls whose jobs were given out, for the runner that performs them.
    pub(crate) fn calls(&self) -> &Calls {
        &self.calls
    }

    /// Applies the outcome of a job. [`proceed`](Self::proceed) returns the jobs that follow from it.
    ///
    /// Returns whether it was the job of a task, and not of a lookup that a task needs before it can start.
    pub fn ended(&mut self, outcome: &Outcome) -> bool {
        let id = outcome.id.as_str();
        let Some((call, result)) = self.calls.take(id) else {
            return false;
        };
        self.under_way = self.under_way.saturating_sub(1);
        self.timings
            .add(&call.names.task, &call.names.host, outcome);
        let waits = timings::lock_waits(outcome);
        if !waits.is_empty() {
            let host = call.names.host.clone();
            self.machine.events.push(PlayEvent::Waited { host, waits });
        }
        if let Work::Lookup(lookup) = &call.work {
            let answer = match (result, &outcome.result) {
                (Some(CallResult::Lookup(answer)), _) => answer,
                (_, Err(failure)) => Err(failure.message.clone()),
                (_, Ok(_)) => Err("the answer of a lookup is lost".to_owned()),
            };
            let program = lookup.program.clone();
            self.machine.answered(id, program, answer, outcome.duration);
            return false;
        }
        let result = match result {
            Some(CallResult::Task(result)) => *result,
            _ => result_of(&call, outcome),
        };
        self.machine.ended(id, result);
        true
    }

    /// Advances the plays as far as possible, and returns the jobs that can start.
    pub fn proceed(&mut self) -> Vec<Job> {
        self.machine.advance();
        self.give_out()
    }

    /// Sets the question that is asked before each task. This has to be set before anything starts.
    pub fn ask_before_tasks(&mut self, ask: impl FnMut(&str) -> StepAnswer + Send + 'static) {
        self.machine.steps = Some(Steps(Box::new(ask)));
    }

    /// Whether all plays are over.
    pub fn is_done(&self) -> bool {
        self.machine.is_done() && self.under_way == 0
    }

    /// Whether plays are unfinished and cannot continue. That is a bug in this crate, which the caller has to report:
    /// no job will follow, so waiting for the end of the plays would take forever.
    pub fn is_stuck(&self) -> bool {
        self.is_stuck
    }

    /// Whether all plays have ended because something in the playbook is wrong.
    pub fn has_error(&self) -> bool {
        self.machine.has_error
    }

    /// Takes the events since the last call.
    pub fn take_events(&mut self) -> Vec<PlayEvent> {
        std::mem::take(&mut self.machine.events)
    }

    /// Returns how tasks have ended on each host so far.
    pub fn recap(&self) -> &Recap {
        &self.machine.recap
    }

    /// Returns how many hosts have failed, and how many could not be reached. Hosts whose errors `clear_host_errors` has
    /// cleared do not count, although the recap tells their failures.
    pub fn lost_hosts(&self) -> (u64, u64) {
        self.machine.lost_hosts()
    }

    /// Returns where the time of the tasks went so far.
    pub fn timings(&self) -> &Timings {
        &self.timings
    }

    fn give_out(&mut self) -> Vec<Job> {
        let calls = std::mem::take(&mut self.machine.calls);
        self.under_way += calls.len();
        // New jobs follow only from the ends of others.
        self.is_stuck = self.under_way == 0 && !self.machine.is_done();
        let jobs = calls.into_iter().map(|call| {
            let job = job_of(&call);
            self.calls.put(call);
            job
        });
        jobs.collect()
    }
}

/// Builds the job of a call.
fn job_of(call: &Call) -> Job {
    let retry = (call.rules.attempts > 1).then(|| {
        let policy = BackoffPolicy::builder()
            .max_attempts(call.rules.attempts)
            .delay(Delay::Fixed(call.terms.delay))
            .max_delay(call.terms.delay)
            .jitter(Jitter::None);
        policy.build().ok().map(Arc::new)
    });
    let retry = retry.flatten();
    let terms = Terms {
        hint: Some(call.terms.hint.clone()),
        limits: call.terms.limits.clone(),
        retry,
        ..Terms::default()
    };
    Job::task(call.id.clone(), call.names.module.as_str(), input_of(call))
        .on_host(call.terms.lock.as_str())
        .terms(terms)
}

/// Returns the payload that identifies a job when the run is resumed: its work and its arguments.
fn input_of(call: &Call) -> Payload {
    if call.no_log {
        // With `no_log` nothing of the result is recorded, so a random payload makes sure that the task is repeated.
        use std::hash::BuildHasher as _;
        let nonce = std::hash::RandomState::new().hash_one(call.id.as_str());
        return Payload::from_text(&format!("{nonce:016x}"));
    }
    let what = match &call.work {
        Work::Done(result) | Work::Wait(_, result) => json!(result),
        // Its answer is not recorded, so a resumed run looks it up again.
        Work::Lookup(_) => return Payload::null(),
        Work::Action(action) => json!({"arguments": action.arguments, "host": action.host}),
    };
    Payload::from_text(&what.to_string())
}

/// Returns the result of a call whose job ended without storing one: the result was recorded by an earlier run, or the
/// attempt did not finish.
fn result_of(call: &Call, outcome: &Outcome) -> TaskResult {
    let recorded = match &outcome.result {
        Ok(payload) => payload.read::<TaskResult>().ok(),
        Err(failure) => failure
            .data
            .as_ref()
            .and_then(|payload| payload.read::<TaskResult>().ok()),
    };
    if let Some(recorded) = recorded {
        return recorded;
    }
    let (message, class) = match &outcome.result {
        Ok(_) => ("the recorded result cannot be read".to_owned(), Class::Task),
        Err(failure) => (failure.message.clone(), failure.class),
    };
    let status = match class {
        Class::Unreachable | Class::Host => call.rules.on_unreachable,
        Class::Cancelled => TaskStatus::Failed,
        _ => call.rules.on_failure,
    };
    let names = call.names.clone();
    results::plain_result(names, results::failed(&message), status)
}
