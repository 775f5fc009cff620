//! A call: one job of a playbook, with all that is needed to perform it and to judge its result.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ratchet_ipc::JobKey;
use ratchet_runtime::ParallelizationHint;
use serde_json::{Map, Value, json};

use crate::facts::add_facts;
use crate::language::{Condition, builtin};
use crate::programs::Program;
use crate::result::{TaskResult, TaskStatus, flag};
use crate::templates::{TemplateError, Variables, condition, from_json};
use crate::vault::Vault;

/// One job of a playbook.
#[derive(Debug)]
pub(crate) struct Call {
    /// The id of the job: play, place of the task, host, item.
    pub(crate) id: JobKey,
    /// The names that identify the task in results.
    pub(crate) names: Names,
    pub(crate) work: Work,
    pub(crate) terms: CallTerms,
    pub(crate) rules: Rules,
    /// Whether the result is not shown and not recorded.
    pub(crate) no_log: bool,
}

/// The names that identify a task in results.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    pub(crate) play: String,
    pub(crate) task: String,
    pub(crate) module: String,
    pub(crate) host: String,
    pub(crate) item: Option<Value>,
}

/// The terms of the job: locks, limits and retries.
#[derive(Debug, Clone)]
pub(crate) struct CallTerms {
    /// The host whose lock the job takes: the one where the module runs.
    pub(crate) lock: String,
    pub(crate) hint: ParallelizationHint,
    pub(crate) limits: Vec<String>,
    /// How long the work may take.
    pub(crate) timeout: Option<TaskTimeout>,
    /// How long to wait before the next attempt.
    pub(crate) delay: Duration,
}

/// How long a task may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TaskTimeout {
    /// The time that `timeout` of the task sets, with its lookups.
    pub(crate) period: Duration,
    /// The time that is left for its work.
    pub(crate) left: Duration,
}

/// The work of a call.
#[derive(Debug)]
pub(crate) enum Work {
    /// Nothing: the result is known.
    Done(Map<String, Value>),
    /// Wait for this long, and then return this result.
    Wait(Duration, Map<String, Value>),
    /// Run a program whose output the task needs before it can be planned.
    Lookup(Lookup),
    /// An action on a host.
    Action(Box<ActionCall>),
}

/// A program whose output a task needs.
#[derive(Debug)]
pub(crate) struct Lookup {
    pub(crate) program: Program,
    /// How long it may run.
    pub(crate) limit: Option<Duration>,
}

/// An action on a host, with its arguments.
#[derive(Debug)]
pub(crate) struct ActionCall {
    pub(crate) action: Action,
    pub(crate) arguments: Map<String, Value>,
    /// The variables that define how the host is reached.
    pub(crate) connection: Variables,
    /// The host on which the action works, as the inventory names it.
    pub(crate) host: String,
    pub(crate) privilege: Option<Privilege>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) check: bool,
    pub(crate) diff: bool,
    pub(crate) no_log: bool,
    /// Decrypts files of this machine that go to the host.
    pub(crate) vault: Arc<Vault>,
    /// The folders with modules of the role and of the playbook.
    pub(crate) libraries: Vec<std::path::PathBuf>,
    /// The collections in which modules with short names are looked for.
    pub(crate) collections: Vec<String>,
    /// The user who logs in, the port and the kind of connection, as the keywords set them.
    pub(crate) remote_user: Option<String>,
    pub(crate) port: Option<String>,
    pub(crate) connection_kind: Option<String>,
    /// How long to wait before the action.
    pub(crate) pause: Option<Duration>,
    /// The folder of the playbook, to which relative paths on this machine refer.
    pub(crate) folder: std::path::PathBuf,
    /// The host to which the task belongs. It differs from `host` if the task is delegated.
    pub(crate) inventory_name: String,
}

/// The user as whom an action runs, if that is not the user who logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Privilege {
    pub(crate) user: String,
    pub(crate) flags: Option<String>,
    pub(crate) exe: Option<String>,
}

/// What the controller does to perform an action.
#[derive(Debug)]
pub(crate) enum Action {
    /// Run a module with the arguments as they are.
    Module(String),
    /// Copy a content, a file or a folder to the host.
    Copy(CopySource),
    Fetch,
    Script {
        path: std::path::PathBuf,
        words: Vec<String>,
    },
    Raw,
    Unarchive(Option<std::path::PathBuf>),
    /// Run the module of the package manager or of the service manager that the host has.
    Package,
    Service,
    GatherFacts,
    Reboot,
    WaitForConnection,
    ResetConnection,
}

/// The source of a copy.
#[derive(Debug)]
pub(crate) enum CopySource {
    Content {
        bytes: Vec<u8>,
        name: String,
    },
    File(std::path::PathBuf),
    /// A folder with everything in it, or only its contents.
    Folder {
        path: std::path::PathBuf,
        only_inside: bool,
    },
}

/// The conditions and settings of a task that decide what the end of an attempt means.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) changed_when: Vec<Condition>,
    pub(crate) failed_when: Vec<Condition>,
    pub(crate) until: Vec<Condition>,
    /// The maximum number of attempts.
    pub(crate) attempts: u32,
    /// The variable through which the conditions see the result.
    pub(crate) register: Option<String>,
    pub(crate) variables: Variables,
    /// The status of a result that has failed.
    pub(crate) on_failure: TaskStatus,
    /// The status of a result if the host could not be reached.
    pub(crate) on_unreachable: TaskStatus,
}

/// The key in a result that says that the time of the task was over.
pub(crate) const TIMED_OUT: &str = "timedout";

/// How an attempt has ended.
#[derive(Debug)]
pub(crate) enum AttemptResult {
    Ended(TaskResult),
    /// The task needs another attempt, and has one left.
    Again(TaskResult),
}

impl Rules {
    /// Whether conditions decide what the result of an attempt means.
    pub(crate) fn has_conditions(&self) -> bool {
        let all = [&self.changed_when, &self.failed_when, &self.until];
        all.into_iter().any(|conditions| !conditions.is_empty())
    }

    /// Returns the rules of a task without conditions.
    pub(crate) fn without_conditions(on_failure: TaskStatus) -> Self {
        Self {
            changed_when: Vec::new(),
            failed_when: Vec::new(),
            until: Vec::new(),
            attempts: 1,
            register: None,
            variables: Variables::default(),
            on_failure,
            on_unreachable: TaskStatus::Unreachable,
        }
    }

    /// Decides what the result of an attempt means.
    pub(crate) fn apply(
        &self,
        names: &Names,
        mut result: Map<String, Value>,
        attempt: u32,
    ) -> AttemptResult {
        if flag(&result, "unreachable") {
            let status = self.on_unreachable;
            return AttemptResult::Ended(task_result(names, result, status));
        }
        let returned_failure = match result.get("failed") {
            Some(_) => flag(&result, "failed"),
            None => has_failed_exit(&result),
        };
        if !flag(&result, "skipped") {
            result.insert("failed".to_owned(), returned_failure.into());
        }
        if self.attempts > 1 {
            result.insert("attempts".to_owned(), attempt.into());
        }
        if !result.contains_key("changed") {
            result.insert("changed".to_owned(), false.into());
        }
        let is_skipped = flag(&result, "skipped");
        let mut is_met = true;
        if !is_skipped && let Err(reason) = self.evaluate(names, &mut result, &mut is_met) {
            result.insert("failed".to_owned(), true.into());
            result.insert("msg".to_owned(), reason.into());
        }
        if self.attempts > 1 && !is_met {
            if attempt < self.attempts {
                let failed = task_result(names, result, TaskStatus::Failed);
                return AttemptResult::Again(failed);
            }
            result.insert("failed".to_owned(), true.into());
            // `attempts` in the result counts the retries, without the first try.
            result.insert("attempts".to_owned(), (attempt - 1).into());
        }
        let status = if flag(&result, "failed") {
            self.on_failure
        } else if is_skipped {
            TaskStatus::Skipped
        } else if flag(&result, "changed") {
            TaskStatus::Changed
        } else {
            TaskStatus::Ok
        };
        AttemptResult::Ended(task_result(names, result, status))
    }

    /// Returns the result of work whose time was over. It is final: no condition judges it, and no attempt follows.
    pub(crate) fn timed_out(&self, names: &Names, period: Duration) -> TaskResult {
        let seconds = period.as_secs();
        let message = format!("it took longer than its `timeout` of {seconds} s, and was stopped");
        let mut result = Map::new();
        result.insert("changed".to_owned(), false.into());
        result.insert("failed".to_owned(), true.into());
        result.insert("msg".to_owned(), message.into());
        result.insert(TIMED_OUT.to_owned(), json!({ "period": seconds }));
        task_result(names, result, self.on_failure)
    }

    /// Applies the conditions of the task to a result. Sets `is_met` to whether no further attempt is needed.
    fn evaluate(
        &self,
        names: &Names,
        result: &mut Map<String, Value>,
        is_met: &mut bool,
    ) -> Result<(), String> {
        let told =
            |word: &str, error: TemplateError| format!("the condition of `{word}` fails: {error}");
        if !self.changed_when.is_empty() {
            let changed = self.all(&self.changed_when, names, result);
            let changed = changed.map_err(|error| told("changed_when", error))?;
            result.insert("changed".to_owned(), changed.into());
        }
        if !self.failed_when.is_empty() {
            let failed = self.all(&self.failed_when, names, result);
            let failed = failed.map_err(|error| told("failed_when", error))?;
            result.insert("failed_when_result".to_owned(), failed.into());
            result.insert("failed".to_owned(), failed.into());
            // Hosts and groups are added only if the task has not failed.
            let adds = matches!(builtin(&names.module), "add_host" | "group_by");
            if failed && adds && self.changed_when.is_empty() {
                result.insert("changed".to_owned(), false.into());
            }
        }
        if self.attempts > 1 {
            *is_met = if self.until.is_empty() {
                !flag(result, "failed")
            } else {
                let met = self.all(&self.until, names, result);
                met.map_err(|error| told("until", error))?
            };
        }
        Ok(())
    }

    /// Whether all conditions hold. They see the facts of the result as variables, and the result itself by `register`.
    fn all(
        &self,
        conditions: &[Condition],
        names: &Names,
        result: &Map<String, Value>,
    ) -> Result<bool, TemplateError> {
        let mut values = BTreeMap::new();
        if let Some((kind, facts)) = returned_facts(&names.module, result) {
            let facts = facts.iter();
            let facts = facts.map(|(name, value)| (name.clone(), from_json(value.clone())));
            match kind {
                ReturnedFacts::Variables => values.extend(facts),
                ReturnedFacts::OfHost => {
                    let known = self.variables.get("ansible_facts")?;
                    values.extend(known.map(|known| ("ansible_facts".to_owned(), known)));
                    add_facts(&mut values, facts.collect());
                }
            }
        }
        if let Some(name) = &self.register {
            values.insert(name.clone(), from_json(Value::Object(result.clone())));
        }
        let variables = self.variables.with_magic(Arc::new(values));
        hold(conditions, &variables)
    }
}

/// What the facts in a result set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReturnedFacts {
    /// Facts of the host.
    OfHost,
    /// Variables that are no facts.
    Variables,
}

/// Returns the facts in the result of a module, and what they set.
pub(crate) fn returned_facts<'a>(
    module: &str,
    result: &'a Map<String, Value>,
) -> Option<(ReturnedFacts, &'a Map<String, Value>)> {
    let facts = result.get("ansible_facts")?.as_object()?;
    match builtin(module) {
        // It shows the variable `ansible_facts`.
        "debug" => None,
        "set_fact" | "include_vars" => Some((ReturnedFacts::Variables, facts)),
        _ => Some((ReturnedFacts::OfHost, facts)),
    }
}

/// Whether all conditions hold.
pub(crate) fn hold(conditions: &[Condition], variables: &Variables) -> Result<bool, TemplateError> {
    for wanted in conditions {
        let holds = match wanted {
            Condition::Fixed(value) => *value,
            Condition::Expression(text) => condition(text, variables)?,
        };
        if !holds {
            return Ok(false);
        }
    }
    Ok(true)
}

fn has_failed_exit(result: &Map<String, Value>) -> bool {
    match result.get("rc") {
        Some(Value::Number(code)) => code.as_i64() != Some(0),
        Some(Value::String(code)) => code != "0",
        _ => false,
    }
}

fn task_result(names: &Names, mut result: Map<String, Value>, status: TaskStatus) -> TaskResult {
    let diff = result.shift_remove("diff");
    let msg = match result.get("msg") {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Null) | None => None,
        Some(other) => Some(other.to_string()),
    };
    TaskResult {
        status,
        changed: flag(&result, "changed"),
        msg,
        play: names.play.clone(),
        task: names.task.clone(),
        module: names.module.clone(),
        host: names.host.clone(),
        item: names.item.clone(),
        result,
        diff,
    }
}
