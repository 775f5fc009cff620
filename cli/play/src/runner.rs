//! Performs the jobs of playbooks.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ratchet_runtime::process::{ProcessManager, working_now};
use ratchet_runtime::{Attempt, Class, Context, Failure, Payload, Runner};
use serde_json::{Map, Value};

use crate::call::{AttemptResult, Call, TIMED_OUT, TaskTimeout, Work};
use crate::calls::{CallResult, Calls};
use crate::modules::Modules;
use crate::perform::{ActionResult, ConnectionDefaults, Performer};
use crate::programs::ProgramRunner;
use crate::result::{TaskResult, TaskStatus};
use crate::targets::{CallError, Targets};

/// How long work whose time is over may take to end what it began.
const GRACE: Duration = Duration::from_secs(10);

/// Performs the jobs of playbooks: runs modules on hosts, and the controller's own actions.
///
/// It is the [`Runner`] of the executor that runs the jobs of an [`Execution`](crate::Execution).
pub struct PlayRunner {
    calls: Calls,
    performer: Performer,
    programs: ProgramRunner,
}

impl std::fmt::Debug for PlayRunner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlayRunner").finish_non_exhaustive()
    }
}

impl PlayRunner {
    /// Makes a runner whose processes this manager starts.
    pub(crate) fn new(
        calls: Calls,
        modules: Arc<Modules>,
        defaults: ConnectionDefaults,
        manager: Arc<dyn ProcessManager>,
    ) -> Self {
        let programs = ProgramRunner::new(Arc::clone(&manager));
        let performer = Performer {
            modules,
            defaults,
            targets: Arc::new(Targets::new(manager)),
            programs: programs.clone(),
        };
        Self {
            calls,
            performer,
            programs,
        }
    }

    /// Does the work of a call, and stops it when its time is over.
    async fn raw_result(&self, call: &Call, context: &Context) -> Result<Ended, CallError> {
        match &call.work {
            Work::Done(result) => Ok(Ended::Itself(result.clone())),
            // Its answer is not the result of a task.
            Work::Lookup(_) => Ok(Ended::Itself(Map::new())),
            Work::Wait(wait, result) => {
                let work = async |context: &Context| {
                    tokio::select! {
                        () = tokio::time::sleep(*wait) => Ok(result.clone()),
                        () = context.cancelled() => Err(cancelled()),
                    }
                };
                bounded(call.terms.timeout, context, work).await
            }
            Work::Action(action) => {
                if let Some(pause) = action.pause {
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = context.cancelled() => return Err(cancelled()),
                    }
                }
                let work = async |context: &Context| self.performer.perform(action, context).await;
                bounded(call.terms.timeout, context, work).await
            }
        }
    }

    /// Keeps the result of a task, and returns that of its job. A failure that is ignored or rescued is a success of the
    /// job.
    fn finished(&self, call: &Call, result: TaskResult) -> Result<Payload, Failure> {
        let ended = if result.status.is_failure() {
            Err(failure_of(call, &result).retryable(false))
        } else {
            payload_of(call, &result)
        };
        self.calls
            .set_result(call.id.as_str(), CallResult::Task(Box::new(result)));
        ended
    }
}

/// How the work of a call has ended.
enum Ended {
    /// By itself, with this result.
    Itself(Map<String, Value>),
    /// It was stopped, because it took longer than this.
    TimedOut(Duration),
}

/// Does work until it ends, or until its time is over. Then it is asked to stop by its context, and has a grace in
/// which it ends what it began on a host, so that nothing of it runs there when the lock of the host is released.
async fn bounded(
    timeout: Option<TaskTimeout>,
    context: &Context,
    work: impl AsyncFnOnce(&Context) -> ActionResult,
) -> Result<Ended, CallError> {
    let Some(timeout) = timeout else {
        return work(context).await.map(Ended::Itself);
    };
    let stop = context.cancellation().child_token();
    let told = context.clone();
    let inner = Context::new(context.attempt(), stop.clone(), move |step| {
        told.progress(step);
    });
    let mut work = std::pin::pin!(work(&inner));
    tokio::select! {
        biased;
        result = &mut work => return result.map(Ended::Itself),
        () = worked_for(timeout.left) => {}
    }
    stop.cancel();
    match tokio::time::timeout(GRACE, work).await {
        // It ended in the moment in which it was stopped.
        Ok(Ok(result)) => Ok(Ended::Itself(result)),
        // The attempt itself was cancelled.
        Ok(Err(error)) if context.is_cancelled() => Err(error),
        Ok(Err(_)) | Err(_) => Ok(Ended::TimedOut(timeout.period)),
    }
}

/// Waits for this long, without the time in which this process was suspended.
async fn worked_for(time: Duration) {
    let end = working_now() + time;
    loop {
        let left = end.saturating_duration_since(working_now());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left).await;
    }
}

fn cancelled() -> CallError {
    let failure = Failure::new(
        Class::Cancelled,
        "the task was stopped while it was waiting",
    );
    CallError::Failed(Box::new(failure))
}

#[async_trait]
impl Runner for PlayRunner {
    async fn run(&self, attempt: Attempt, context: Context) -> Result<Payload, Failure> {
        let id = attempt.job.id.as_str();
        let Some(call) = self.calls.get(id) else {
            return Err(Failure::new(
                Class::Input,
                format!("`{id}` is not a task of this playbook"),
            ));
        };
        self.calls.clear_result(id);
        if let Work::Lookup(lookup) = &call.work {
            let ran = self.programs.run(&lookup.program, lookup.limit, &context);
            let answer = match ran.await {
                // The run goes on: the task decides what the timeout means.
                Err(failure) if failure.class == Class::Timeout => Err(failure.message),
                other => Ok(other?),
            };
            // The answer may be a secret, so it is not recorded.
            self.calls.set_result(id, CallResult::Lookup(answer));
            return Ok(Payload::null());
        }
        let raw = match self.raw_result(&call, &context).await {
            Ok(Ended::Itself(raw)) => raw,
            Ok(Ended::TimedOut(period)) => {
                let result = call.rules.timed_out(&call.names, period);
                return self.finished(&call, result);
            }
            Err(CallError::Unreachable(reason)) => {
                let mut result = Map::new();
                result.insert("unreachable".to_owned(), true.into());
                result.insert("changed".to_owned(), false.into());
                result.insert("msg".to_owned(), reason.into());
                result
            }
            Err(CallError::Failed(failure)) if failure.class == Class::Cancelled => {
                return Err(*failure);
            }
            Err(CallError::Failed(failure)) => {
                let mut result = Map::new();
                result.insert("failed".to_owned(), true.into());
                result.insert("msg".to_owned(), failure.message.clone().into());
                result
            }
        };
        let judged = if call.rules.has_conditions() {
            let judge = || call.rules.apply(&call.names, raw.clone(), attempt.number);
            self.programs.evaluate(&context, judge).await?
        } else {
            call.rules.apply(&call.names, raw, attempt.number)
        };
        match judged {
            AttemptResult::Again(result) => Err(failure_of(&call, &result).retryable(true)),
            AttemptResult::Ended(result) => self.finished(&call, result),
        }
    }
}

/// Returns the result as it is recorded and reported.
fn payload_of(call: &Call, result: &TaskResult) -> Result<Payload, Failure> {
    let payload = if call.no_log {
        Payload::from_value(&result.censored())
    } else {
        Payload::from_value(result)
    };
    payload.map_err(|error| {
        Failure::new(
            Class::Task,
            format!("the result cannot be recorded: {error}"),
        )
    })
}

fn failure_of(call: &Call, result: &TaskResult) -> Failure {
    let class = match result.status {
        TaskStatus::Unreachable => Class::Unreachable,
        _ if result.result.contains_key(TIMED_OUT) => Class::Timeout,
        _ => Class::Task,
    };
    let message = match &result.msg {
        _ if call.no_log => "the task failed; its output is hidden by `no_log`".to_owned(),
        Some(message) if !message.is_empty() => message.clone(),
        _ => match result.result.get("rc") {
            Some(code) => format!("exit code {code}"),
            None => "the task failed".to_owned(),
        },
    };
    let mut failure = Failure::new(class, message);
    failure.data = payload_of(call, result).ok();
    failure
}
