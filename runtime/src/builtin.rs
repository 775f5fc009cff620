//! The built-in worker, whose tasks serve for trials, tests and measurements.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ratchet_ipc::serve::{Call, Json, Task, Worker};
use ratchet_ipc::{Payload, TaskError};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::os::{CommandLimits, CommandRunner, Environment, Keeper, ProcessConfig};
use crate::outcome::CommandResult;

/// A task of the built-in worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuiltinTask {
    /// The task returns its input.
    Echo,
    /// The task waits for the time in `{"ms": n}` and returns its input.
    Sleep,
    /// The task fails with the `code`, `message`, `retryable`, `retry_after_ms` and `data` of its input.
    Fail,
    /// The task fails the first `{"failures": n}` attempts of a job, and then returns the number of the attempt.
    Flaky,
    /// The task keeps a core busy for the time in `{"ms": n}` and returns the number of rounds.
    Burn,
    /// The task runs the program in `{"run": [program, argument..], "env": {..}, "cwd": ".."}` and returns its output.
    Command,
}

impl BuiltinTask {
    /// All tasks of the built-in worker.
    pub const ALL: [Self; 6] = [
        Self::Echo,
        Self::Sleep,
        Self::Fail,
        Self::Flaky,
        Self::Burn,
        Self::Command,
    ];

    /// Returns the name of the task in requests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Sleep => "sleep",
            Self::Fail => "fail",
            Self::Flaky => "flaky",
            Self::Burn => "burn",
            Self::Command => "command",
        }
    }

    /// Returns the task with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|task| task.name() == name)
    }

    /// Returns one line that says what the task does.
    pub fn description(self) -> &'static str {
        match self {
            Self::Echo => "give back the input",
            Self::Sleep => r#"wait for {"ms": n}"#,
            Self::Fail => {
                r#"fail, as {"code", "message", "retryable", "retry_after_ms", "data"} say"#
            }
            Self::Flaky => r#"fail the first {"failures": n} attempts of a job"#,
            Self::Burn => r#"keep a core busy for {"ms": n}"#,
            Self::Command => r#"run {"run": [program, argument..], "env": {..}, "cwd": ".."}"#,
        }
    }

    fn task(self) -> Task {
        let task = match self {
            Self::Echo => Task::new(
                self.name(),
                |call: Call| async move { Ok(call.input().clone()) },
            ),
            Self::Sleep => Task::new(self.name(), sleep),
            Self::Fail => Task::new(self.name(), |call: Call| async move { fail(&call) }),
            Self::Flaky => Task::new(self.name(), |call: Call| async move { flaky(&call) }),
            Self::Burn => Task::blocking(self.name(), burn),
            Self::Command => {
                // The runner is started with the first command, because most workers never run one.
                let runner = Arc::new(OnceLock::new());
                Task::new(self.name(), move |call: Call| {
                    let runner = Arc::clone(&runner);
                    async move { command(&call, runner.get_or_init(runner_with_keeper)).await }
                })
            }
        };
        task.description(self.description())
    }
}

impl fmt::Display for BuiltinTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Makes the built-in worker with these tasks.
///
/// ```no_run
/// use ratchet_runtime::builtin::{BuiltinTask, builtin};
///
/// builtin(BuiltinTask::ALL).run()?;
/// # Ok::<(), ratchet_ipc::IpcError>(())
/// ```
pub fn builtin(tasks: impl IntoIterator<Item = BuiltinTask>) -> Worker {
    let worker = Worker::new("ratchet").version(env!("CARGO_PKG_VERSION"));
    tasks
        .into_iter()
        .fold(worker, |worker, task| worker.task(task.task()))
}

/// The input of the tasks that take a while. A misspelled key is refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object such as {\"ms\": 10}")]
struct Span {
    ms: u64,
}

async fn sleep(call: Call) -> Result<Payload, TaskError> {
    let span: Span = call.read()?;
    tokio::time::sleep(Duration::from_millis(span.ms)).await;
    Ok(call.input().clone())
}

fn burn(call: &Call) -> Result<Json<u64>, TaskError> {
    let span: Span = call.read()?;
    let start = Instant::now();
    let mut rounds = 0_u64;
    while start.elapsed() < Duration::from_millis(span.ms) {
        if call.is_cancelled() {
            return Err(call.cancelled_error());
        }
        rounds = std::hint::black_box(rounds + 1);
    }
    Ok(Json(rounds))
}

fn fail(call: &Call) -> Result<(), TaskError> {
    #[derive(Deserialize, Default)]
    #[serde(
        deny_unknown_fields,
        default,
        expecting = "an object such as {\"code\": \"busy\"}"
    )]
    struct FailInput {
        code: Option<String>,
        message: Option<String>,
        retryable: Option<bool>,
        retry_after_ms: Option<u64>,
        data: Option<Payload>,
    }
    let failure: Option<FailInput> = call.read()?;
    let FailInput {
        code,
        message,
        retryable,
        retry_after_ms,
        data,
    } = failure.unwrap_or_default();
    Err(TaskError {
        retryable,
        retry_after_ms,
        data,
        ..TaskError::new(
            code.unwrap_or_else(|| "failed".to_owned()),
            message.unwrap_or_else(|| "failed as asked".to_owned()),
        )
    })
}

/// The result of `flaky`: the attempt that succeeded.
#[derive(Serialize)]
struct FlakyResult {
    attempt: u32,
}

/// Fails by the number of the attempt, which the host counts. So the number of failures does not depend on which worker
/// gets the job.
fn flaky(call: &Call) -> Result<Json<FlakyResult>, TaskError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, expecting = "an object such as {\"failures\": 2}")]
    struct Flaky {
        failures: u32,
    }
    let Flaky { failures } = call.read()?;
    let attempt = call.attempt();
    if attempt <= failures {
        let message = format!("attempt {attempt} fails, as the first {failures} do");
        return Err(TaskError::new("flaky", message));
    }
    Ok(Json(FlakyResult { attempt }))
}

fn runner_with_keeper() -> CommandRunner {
    // Without a keeper, commands are still killed at the end of the worker, unless the worker is killed by SIGKILL.
    CommandRunner::new(Keeper::start().ok())
}

async fn command(
    call: &Call,
    runner: &CommandRunner,
) -> Result<Json<CommandResult<'static>>, TaskError> {
    /// The input of `command`.
    #[derive(Deserialize)]
    #[serde(
        deny_unknown_fields,
        expecting = "an object such as {\"run\": [\"ls\", \"-l\"]}"
    )]
    struct Command {
        run: Vec<String>,
        #[serde(default)]
        env: BTreeMap<String, String>,
        cwd: Option<PathBuf>,
    }
    let Command { run, env, cwd } = call.read()?;
    let [program, arguments @ ..] = &run[..] else {
        return Err(
            TaskError::new(TaskError::INVALID_INPUT, "`run` names no program").retryable(false),
        );
    };
    let declared = env
        .into_iter()
        .fold(Environment::inherited(), |env, (name, value)| {
            env.set(name, value)
        });
    let mut config = ProcessConfig::new(program).args(arguments).env(declared);
    config.working_dir = cwd;
    // The host enforces the timeouts. A cancel drops this future, which kills the command.
    let never = CancellationToken::new();
    let output = runner
        .run(&config, CommandLimits::default(), &never)
        .await
        .map_err(|error| {
            TaskError {
                code: "spawn".into(),
                ..error.into()
            }
            .retryable(false)
        })?;
    let result = CommandResult {
        exit_code: output.ended.exit.code(),
        stdout: output.stdout.to_text().into(),
        stdout_dropped: output.stdout.dropped,
        stderr: output.stderr.to_text().into(),
        stderr_dropped: output.stderr.dropped,
    };
    if output.is_success() {
        return Ok(Json(result));
    }
    let message = format!("`{program}` {}", output.ended.exit);
    Err(TaskError::new("exit", message).data(Payload::from_value(&result)?))
}

#[cfg(test)]
mod tests {
    use ratchet_ipc::{
        Incoming, IpcMessage, IpcTransport, MemoryTransport, Request, Response, memory_pair,
    };

    use super::*;

    async fn host() -> MemoryTransport {
        let (mut host, other) = memory_pair();
        tokio::spawn(builtin(BuiltinTask::ALL).serve_on(other));
        host.receive().await.unwrap();
        host
    }

    async fn ask(host: &mut MemoryTransport, request: Request) -> Result<String, TaskError> {
        host.send(request.into()).await.unwrap();
        match host.receive().await.unwrap() {
            Incoming::Message(IpcMessage::Response(Response { outcome, .. })) => {
                outcome.map(|result| result.to_string())
            }
            other => panic!("{other:?}"),
        }
    }

    async fn run(task: &str, input: &str) -> Result<String, TaskError> {
        let input = Payload::from_json(input).unwrap();
        ask(&mut host().await, Request::new(1, task, input)).await
    }

    #[tokio::test]
    async fn echo_gives_back_its_input() {
        assert_eq!(run("echo", "{\"a\": 1.0}").await.unwrap(), "{\"a\": 1.0}");
    }

    #[tokio::test(start_paused = true)]
    async fn sleep_takes_its_time() {
        let start = Instant::now();
        run("sleep", "{\"ms\": 60000}").await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 60);
    }

    #[tokio::test]
    async fn burn_ends() {
        assert!(
            run("burn", "{\"ms\": 1}")
                .await
                .unwrap()
                .parse::<u64>()
                .unwrap()
                > 0
        );
    }

    #[tokio::test]
    async fn fail_fails_as_asked() {
        let error = run(
            "fail",
            r#"{"code":"x","retryable":false,"retry_after_ms":5,"data":[1]}"#,
        )
        .await
        .unwrap_err();
        let expected = TaskError {
            retryable: Some(false),
            retry_after_ms: Some(5),
            data: Some(Payload::from_json("[1]").unwrap()),
            ..TaskError::new("x", "failed as asked")
        };
        assert_eq!(error, expected);
        assert_eq!(
            run("fail", "null").await.unwrap_err(),
            TaskError::new("failed", "failed as asked")
        );
    }

    #[tokio::test]
    async fn flaky_fails_as_often_as_asked() {
        let mut host = host().await;
        for (attempt, expected) in [(1, None), (2, None), (3, Some("{\"attempt\":3}"))] {
            let input = Payload::from_json("{\"failures\": 2}").unwrap();
            let request = Request {
                attempt,
                ..Request::new(1, "flaky", input)
            };
            assert_eq!(ask(&mut host, request).await.ok().as_deref(), expected);
        }
    }

    #[tokio::test]
    async fn command_gives_back_output_or_fails_with_it() {
        let ok = r#"{"run":["sh","-c","echo $A; pwd; echo e >&2"],"env":{"A":"a"},"cwd":"/"}"#;
        let expected = r#"{"exit_code":0,"stdout":"a\n/\n","stderr":"e\n"}"#;
        assert_eq!(run("command", ok).await.unwrap(), expected);

        for (script, exit_code) in [("echo o; exit 3", 3), ("echo o; kill -9 $$", 137)] {
            let input = format!(r#"{{"run":["sh","-c","{script}"]}}"#);
            let error = run("command", &input).await.unwrap_err();
            let data = format!(r#"{{"exit_code":{exit_code},"stdout":"o\n","stderr":""}}"#);
            assert_eq!(
                (&*error.code, error.data.unwrap().as_str()),
                ("exit", data.as_str())
            );
        }
        let leaves = r#"{"run":["sh","-c","sleep 1000 & echo o"]}"#;
        let expected = r#"{"exit_code":0,"stdout":"o\n","stderr":""}"#;
        assert_eq!(
            run("command", leaves).await.unwrap(),
            expected,
            "it waits for no leftovers"
        );

        let error = run("command", r#"{"run":["/no/such/program"]}"#)
            .await
            .unwrap_err();
        assert_eq!((&*error.code, error.retryable), ("spawn", Some(false)));
    }

    #[tokio::test]
    async fn a_misspelled_input_is_refused() {
        for (task, input) in [
            ("sleep", r#"{"sm":1}"#),
            ("burn", "5"),
            ("fail", r#"{"kode":"x"}"#),
            ("flaky", r#"{"failures":-1}"#),
            ("command", r#"{"run":[]}"#),
            ("command", r#"{"run":"ls"}"#),
        ] {
            let error = run(task, input).await.unwrap_err();
            assert_eq!(
                (&*error.code, error.retryable),
                ("invalid_input", Some(false)),
                "{input}"
            );
        }
    }
}
