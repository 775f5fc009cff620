//! Plain commands as jobs.

use ratchet_ipc::Payload;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::attempt::AttemptResult;
use crate::job::Timeouts;
use crate::outcome::{Class, Failure};
use crate::process::{
    CommandLimits, CommandOutput, CommandRunner, Exit, ProcessConfig, ProcessError, StopCause, Tail,
};

/// How much of the end of stderr goes with a failure.
const STDERR_BYTES: usize = 16 * 1024;

/// Runs commands, and makes results or failures of what comes of them.
#[derive(Debug, Clone)]
pub(super) struct Commands {
    pub(super) runner: CommandRunner,
    pub(super) limits: CommandLimits,
}

/// The result of a command that ended well.
#[derive(Serialize)]
struct Printed<'a> {
    exit_code: i32,
    stdout: &'a str,
    stderr: &'a str,
}

impl Commands {
    pub(super) async fn run(
        &self,
        config: &ProcessConfig,
        timeouts: Timeouts,
        asked: &CancellationToken,
    ) -> AttemptResult {
        if timeouts.idle.is_some() {
            return Err(Failure::new(
                Class::Input,
                "a command tells of no progress, so it cannot have an idle timeout: use soft or hard",
            ));
        }
        let limits = CommandLimits {
            soft: timeouts.soft,
            hard: timeouts.hard_for_asked(),
            ..self.limits
        };
        match self.runner.run(config, limits, asked).await {
            Ok(output) => judge(&output, timeouts),
            Err(error) => Err(Failure::new(Class::Spawn, chain(&error))),
        }
    }
}

fn judge(output: &CommandOutput, timeouts: Timeouts) -> AttemptResult {
    if output.is_success() {
        let printed = Printed {
            exit_code: 0,
            stdout: &output.stdout.to_text(),
            stderr: &output.stderr.to_text(),
        };
        return Payload::from_value(&printed)
            .map_err(|error| Failure::new(Class::Protocol, error.to_string()));
    }
    let exit = output.ended.exit;
    let failure = match output.stopped {
        Some(StopCause::Timeout) => {
            let limit = timeouts.soft.or(timeouts.hard).unwrap_or_default();
            let message = format!("it ran for longer than {limit:?}, and {exit}");
            Failure::new(Class::Timeout, message)
        }
        Some(StopCause::Cancelled) => Failure::new(
            Class::Cancelled,
            format!("it was asked to stop, and {exit}"),
        ),
        None => Failure::new(Class::Exit, format!("it {exit}")).code(word(exit)),
    };
    let mut tail = Tail::new(STDERR_BYTES);
    tail.push(&output.stderr.bytes);
    Err(failure.stderr(tail.to_text()))
}

/// The exit as a code, as in `exit_3` or `signal_9`.
fn word(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exit_{code}"),
        Exit::Signal(signal) => format!("signal_{signal}"),
        Exit::Unknown => "exit_unknown".to_owned(),
    }
}

/// An error with all that lies behind it.
fn chain(error: &ProcessError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
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

    async fn shell(script: &str, timeouts: Timeouts) -> AttemptResult {
        let config = ProcessConfig::new("sh").args(["-c", script]);
        let never = CancellationToken::new();
        commands().run(&config, timeouts, &never).await
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
        let failure = shell("echo no such host >&2; exit 3", Timeouts::default())
            .await
            .unwrap_err();
        assert_eq!(
            (failure.class, failure.code.as_deref()),
            (Class::Exit, Some("exit_3"))
        );
        assert_eq!(failure.message, "it ended with exit code 3");
        assert_eq!(failure.stderr.as_deref(), Some("no such host\n"));

        let failure = shell("kill -9 $$", Timeouts::default()).await.unwrap_err();
        assert_eq!(failure.code.as_deref(), Some("signal_9"));
        assert_eq!(failure.message, "it was killed by signal 9 (SIGKILL)");
    }

    #[tokio::test]
    async fn what_cannot_be_started_is_no_exit() {
        let config = ProcessConfig::new("/no/such/program");
        let never = CancellationToken::new();
        let failure = commands()
            .run(&config, Timeouts::default(), &never)
            .await
            .unwrap_err();
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
