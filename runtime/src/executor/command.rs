//! Runs commands as attempts of jobs, and turns their ends into results or failures.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use ratchet_ipc::{Payload, error_chain};
use tokio_util::sync::CancellationToken;

use super::attempt::{AttemptResult, CommandAttempt};
use crate::context::AttemptOutput;
use crate::job::Timeouts;
use crate::os::{
    Captured, CommandEnd, CommandLimits, CommandRunner, Ending, Exit, FileError, MemoryLimits,
    OutputSink, ProcessConfig, ProcessError, StopCause, Stream,
};
use crate::outcome::{Class, CommandResult, Failure};

/// Runs commands, and turns their ends into results or failures.
#[derive(Debug, Clone)]
pub(super) struct Commands {
    /// Starts the programs and waits for their ends.
    pub(super) runner: CommandRunner,
    /// The grace and the limits on output that hold for every command. Each attempt adds its own timeouts.
    pub(super) limits: CommandLimits,
}

/// Receives what a command prints. It keeps as much as a result may hold, and the head and the tail for a failure.
struct CommandSink {
    /// How many bytes of each stream a result may have at most.
    limit: usize,
    /// The beginnings of stdout and stderr, in this order.
    captured: Mutex<[Captured; 2]>,
    /// The head and the tail for a failure. They are shared, because the future of a killed command is dropped before
    /// the failure is made.
    output: Arc<AttemptOutput>,
}

impl OutputSink for CommandSink {
    fn receive(&self, stream: Stream, bytes: &[u8]) -> ControlFlow<()> {
        self.output.push(stream, bytes);
        let mut captured = self.captured.lock().unwrap_or_else(PoisonError::into_inner);
        let [stdout, stderr] = &mut *captured;
        match stream {
            Stream::Stdout => stdout.push(bytes, self.limit),
            Stream::Stderr => stderr.push(bytes, self.limit),
        }
        ControlFlow::Continue(())
    }
}

impl Commands {
    /// Runs a command to its end. It refuses a job with an idle timeout, because a command cannot report progress.
    pub(super) async fn run(
        &self,
        config: &ProcessConfig,
        (timeouts, memory): (Timeouts, MemoryLimits),
        asked: &CancellationToken,
        output: Arc<AttemptOutput>,
    ) -> CommandAttempt {
        if timeouts.idle.is_some() {
            return CommandAttempt::Ended(Err(Failure::new(
                Class::Input,
                "a command cannot report progress, so it cannot have an idle timeout: use soft or hard",
            )));
        }
        let limits = CommandLimits {
            soft: timeouts.soft,
            hard: timeouts.hard_for_asked(),
            memory,
            ..self.limits
        };
        let sink = Arc::new(CommandSink {
            limit: limits.capture_bytes,
            captured: Mutex::default(),
            output,
        });
        let taken = Arc::<CommandSink>::clone(&sink);
        let result = match self.runner.run_into(config, limits, asked, taken).await {
            Ok(end) => {
                sink.output.ended(end.cost);
                result_of(&end, &sink, timeouts)
            }
            Err(ProcessError::HostLost {
                has_begun: false, ..
            }) => return CommandAttempt::NeverBegan,
            Err(error) => Err(start_failure(&error)),
        };
        CommandAttempt::Ended(result)
    }
}

fn result_of(end: &CommandEnd, sink: &CommandSink, timeouts: Timeouts) -> AttemptResult {
    if end.is_success() {
        let captured = sink.captured.lock().unwrap_or_else(PoisonError::into_inner);
        let [stdout, stderr] = &*captured;
        let result = CommandResult {
            exit_code: Some(0),
            stdout: stdout.to_text().into(),
            stdout_dropped: stdout.dropped,
            stderr: stderr.to_text().into(),
            stderr_dropped: stderr.dropped,
        };
        return Payload::from_value(&result)
            .map_err(|error| Failure::new(Class::Protocol, error.to_string()));
    }
    Err(command_failure(end, timeouts))
}

/// Returns the failure of a command that was not started, or whose files could not be transferred.
pub fn start_failure(error: &ProcessError) -> Failure {
    let class = match error {
        ProcessError::HostLost { .. } => Class::Host,
        // These depend only on the files and the settings of the job, so another attempt would fail in the same way.
        ProcessError::Files(
            FileError::Missing { .. } | FileError::NotPushable { .. } | FileError::NoAgent,
        )
        | ProcessError::Input { .. } => Class::Input,
        ProcessError::Files(FileError::TooSlow { .. }) => Class::Timeout,
        ProcessError::Files(_) => Class::Transfer,
        _ => Class::Spawn,
    };
    Failure::new(class, error_chain(error))
}

/// Returns the failure of a command that did not end with exit code 0. `timeouts` are those under which it ran.
pub fn command_failure(end: &CommandEnd, timeouts: Timeouts) -> Failure {
    let exit = end.ended.exit;
    // A limit that is over while a host cannot be heard says nothing: the program may have ended long before.
    let is_late = matches!(end.stopped, None | Some(StopCause::Timeout));
    if end.ended.ending == Ending::HostLost && is_late {
        return Failure::new(Class::Host, "it was on a host that was lost");
    }
    match end.stopped {
        Some(StopCause::Timeout) => {
            let message = match timeouts.soft.or(timeouts.hard) {
                Some(limit) => format!("it ran for longer than {limit:?}, and {exit}"),
                // The caller did not say for how long the command may run.
                None => format!("it ran for too long, and {exit}"),
            };
            Failure::new(Class::Timeout, message)
        }
        Some(StopCause::Memory { used, limit }) => {
            let (used, limit) = (used >> 20, limit >> 20);
            let message = format!(
                "it used {used} MiB of memory with all that it had started, and {limit} MiB are allowed; it {exit}"
            );
            Failure::new(Class::Memory, message)
        }
        Some(StopCause::Cancelled) => Failure::new(
            Class::Cancelled,
            format!("it was asked to stop, and {exit}"),
        ),
        Some(StopCause::Terminal) => {
            Failure::new(Class::Exit, StopCause::WANTED_TERMINAL).code("terminal")
        }
        Some(StopCause::InputFailed(kind)) => Failure::new(
            Class::Input,
            format!(
                "the file of its stdin could not be read to the end ({kind}), so it was killed"
            ),
        ),
        None => Failure::new(Class::Exit, format!("it {exit}")).code(word(exit)),
    }
}

/// Returns the exit as a code, as in `exit_3` or `signal_9`.
fn word(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exit_{code}"),
        Exit::Signal(signal) => format!("signal_{signal}"),
        Exit::Unknown => "exit_unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn commands() -> Commands {
        Commands {
            runner: CommandRunner::new(None),
            limits: CommandLimits::default(),
        }
    }

    fn ended(attempted: CommandAttempt) -> AttemptResult {
        match attempted {
            CommandAttempt::Ended(result) => result,
            CommandAttempt::NeverBegan => panic!("it was to begin"),
        }
    }

    async fn shell(script: &str, timeouts: Timeouts) -> AttemptResult {
        let config = ProcessConfig::new("sh").args(["-c", script]);
        let never = CancellationToken::new();
        let output = Arc::<AttemptOutput>::default();
        let attempted = commands()
            .run(
                &config,
                (timeouts, MemoryLimits::default()),
                &never,
                Arc::clone(&output),
            )
            .await;
        ended(attempted).map_err(|failure| output.add_to(failure))
    }

    #[tokio::test]
    async fn a_good_end_is_a_result_and_what_is_no_text_is_replaced() {
        let result = shell("printf 'a\\377b'; echo c >&2", Timeouts::default()).await;
        assert_eq!(
            result.unwrap().as_str(),
            "{\"exit_code\":0,\"stdout\":\"a\u{fffd}b\",\"stderr\":\"c\\n\"}"
        );
    }

    #[tokio::test]
    async fn another_exit_is_a_failure_that_names_it() {
        let script = "echo 1 of 2 done; echo no such host >&2; exit 3";
        let failure = shell(script, Timeouts::default()).await.unwrap_err();
        assert_eq!(
            (failure.class, failure.code.as_deref()),
            (Class::Exit, Some("exit_3"))
        );
        assert_eq!(failure.message, "it ended with exit code 3");
        assert_eq!(failure.stdout.as_deref(), Some("1 of 2 done\n"));
        assert_eq!(failure.stderr.as_deref(), Some("no such host\n"));

        let failure = shell("kill -9 $$", Timeouts::default()).await.unwrap_err();
        assert_eq!(failure.code.as_deref(), Some("signal_9"));
        assert_eq!(failure.message, "it was killed by signal 9 (SIGKILL)");
    }

    #[tokio::test]
    async fn what_cannot_be_started_is_no_exit() {
        let config = ProcessConfig::new("/no/such/program");
        let never = CancellationToken::new();
        let attempted = commands()
            .run(&config, Default::default(), &never, Arc::default())
            .await;
        let failure = ended(attempted).unwrap_err();
        assert_eq!(failure.class, Class::Spawn);
        assert_eq!(failure.message, "there is no program `/no/such/program`");
    }

    #[tokio::test]
    async fn a_command_that_takes_too_long_is_ended_and_says_so() {
        let limit = Duration::from_millis(50);
        let failure = shell("exec sleep 1000", Timeouts::after(limit))
            .await
            .unwrap_err();
        assert_eq!(failure.class, Class::Timeout);
        assert!(
            failure
                .message
                .starts_with("it ran for longer than 50ms, and was killed by signal 15"),
            "{failure}"
        );
    }

    #[tokio::test]
    async fn an_idle_timeout_that_nobody_could_keep_is_refused() {
        let timeouts = Timeouts {
            idle: Some(Duration::from_secs(1)),
            ..Timeouts::default()
        };
        let failure = shell("true", timeouts).await.unwrap_err();
        assert_eq!(failure.class, Class::Input);
    }
}
