//! SIGINT and SIGTERM: the first lets running jobs finish, the second asks them to stop, the third kills them.
//!
//! The handlers are installed before anything is read, so that no signal ends the process by its default action. Until
//! the run begins, SIGINT and SIGTERM end the call at once.

use std::time::Duration;

use ratchet_resilience::shutdown::{Phase, ShutdownCoordinator, Signal, Signals};
use ratchet_runtime::RunHandle;
use tokio::signal::unix::{self, SignalKind};
use tokio::sync::{mpsc, oneshot};

use super::console::Console;
use super::follow::FollowControl;
use super::options::RunOptions;
use super::status_signal::{StatusAnswer, StatusSignal, describe_followed, describe_run};
use crate::error::CliError;
use crate::exit::{self, RunEnd};
use crate::readable::duration;

/// Receives the signals of a call, and decides what they do.
pub(super) struct SignalHandler {
    /// The streams of signals; `None` once signals steer a run.
    listeners: Option<Listeners>,
    shutdown: ShutdownCoordinator,
}

/// The signals that this process listens to.
struct Listeners {
    stop: Signals,
    status: StatusSignal,
}

impl SignalHandler {
    /// Installs the handlers. Until they steer a run, signals are only recorded.
    pub(super) fn install() -> Result<Self, CliError> {
        let refused = |error: Box<dyn std::error::Error + Send + Sync>| {
            CliError::internal("a signal handler cannot be installed").because(error)
        };
        // SIGXFSZ would end this process when a file exceeds its size limit. With a handler, the write fails instead. A
        // program that is started gets the default action again.
        let too_long = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
        drop(unix::signal(too_long).map_err(|error| refused(error.into()))?);
        let listeners = Listeners {
            stop: Signals::install().map_err(|error| refused(error.into()))?,
            status: StatusSignal::install().map_err(|error| refused(error.into()))?,
        };
        Ok(Self {
            listeners: Some(listeners),
            shutdown: ShutdownCoordinator::new(),
        })
    }

    /// Waits for a thread that reads or opens `what`, but no longer than the run has `time_left`. SIGINT and SIGTERM end
    /// the wait, too, and SIGUSR1 prints what is waited for. `done` is the participle for messages: `read` or `opened`.
    #[expect(
        clippy::expect_used,
        reason = "`Session::perform` consumes the session, so nothing is read after `steer`"
    )]
    pub(super) async fn wait_for_reader<T>(
        &mut self,
        (what, done): (&str, &str),
        mut reading: oneshot::Receiver<T>,
        time_left: Option<Duration>,
        console: &Console,
    ) -> Result<T, CliError> {
        let listeners = self.listeners.as_mut();
        let listeners = listeners.expect("nothing is read once the run has begun");
        let deadline = async {
            match time_left {
                Some(time_left) => tokio::time::sleep(time_left).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                read = &mut reading => return read.map_err(|_| reader_panicked(what)),
                signal = listeners.stop.recv() => {
                    let message = format!("{signal}: {what} was still being {done}, and nothing was run");
                    return Err(CliError::new(exit_code(signal), message));
                }
                () = &mut deadline => {
                    let message = format!(
                        "stopped early: the time of the run is over (--deadline): {what} was still being {done}, and \
                         nothing was run"
                    );
                    return Err(CliError::new(exit::STOPPED, message));
                }
                () = listeners.status.recv() => {
                    console.say(&format!("ratchet: no job runs yet: {what} is still being {done}\n"));
                }
            }
        }
    }

    /// Lets signals stop this run from now on, and `keys` query it. Signals that arrived since `install` are handled at
    /// once.
    pub(super) fn steer(
        &mut self,
        handle: &RunHandle,
        options: &RunOptions,
        console: &Console,
        keys: Option<mpsc::Receiver<()>>,
    ) {
        let answer = describe_run(handle.clone());
        let (handle, grace) = (handle.clone(), duration(options.grace));
        self.obey(options.quiet, console, (keys, answer), move |phase| match phase {
            Phase::Running | Phase::Draining => {
                handle.drain();
                format!(
                    "no new jobs start; running jobs have {grace} to finish; repeat to stop them now"
                )
            }
            Phase::Cancelling => {
                handle.cancel();
                "running jobs are asked to stop; repeat to kill them".to_owned()
            }
            Phase::Killing => {
                handle.kill();
                "running jobs are killed".to_owned()
            }
        });
    }

    /// Lets signals stop a run whose jobs the nodes of a queue do: the first cancels the jobs, and the second leaves without
    /// waiting for those that still run.
    pub(super) fn steer_follower(
        &mut self,
        follower: FollowControl,
        handle: &RunHandle,
        options: &RunOptions,
        console: &Console,
        keys: Option<mpsc::Receiver<()>>,
    ) {
        let answer = describe_followed(handle.clone());
        let handle = handle.clone();
        self.obey(options.quiet, console, (keys, answer), move |phase| match phase {
            Phase::Running | Phase::Draining => {
                follower.cancel();
                "the jobs are cancelled in the queue; repeat to leave without waiting for those that still run".to_owned()
            }
            Phase::Cancelling => {
                follower.leave();
                "leaving; jobs that still run are stopped by their nodes".to_owned()
            }
            Phase::Killing => {
                follower.leave();
                handle.kill();
                "leaving at once".to_owned()
            }
        });
    }

    /// Lets signals begin the next phase of a stop from now on. `begin` does so, and returns what happens, for people.
    /// `answer` is what SIGUSR1 and `keys` print.
    #[expect(clippy::expect_used, reason = "a session performs one run")]
    pub(super) fn obey(
        &mut self,
        quiet: bool,
        console: &Console,
        (keys, answer): (Option<mpsc::Receiver<()>>, StatusAnswer),
        mut begin: impl FnMut(Phase) -> String + Send + 'static,
    ) {
        let listeners = self.listeners.take();
        let Listeners { mut stop, status } = listeners.expect("a handler controls one run");
        status.answer(keys, answer, console.clone());
        let (shutdown, console) = (self.shutdown.clone(), console.clone());
        tokio::spawn(async move {
            loop {
                let signal = stop.recv().await;
                let message = format!("{signal}: {}", begin(shutdown.signalled(signal)));
                if !quiet {
                    console.say(&format!("ratchet: {message}\n"));
                }
            }
        });
    }

    /// Waits for the third signal, and then for this time.
    pub(super) async fn third_signal(&self, later: Duration) {
        self.shutdown.reached(Phase::Killing).await;
        tokio::time::sleep(later).await;
    }

    /// Waits for the next signal.
    pub(super) async fn next(&self) {
        self.shutdown.next_signal().await;
    }

    /// Returns how the run ended, if a signal ended it.
    pub(super) fn run_end(&self) -> Option<RunEnd> {
        self.shutdown.first_signal().map(|signal| match signal {
            Signal::Interrupt => RunEnd::Interrupted,
            Signal::Terminate => RunEnd::Terminated,
        })
    }

    /// Returns the exit code of the first signal, if there was one.
    pub(super) fn exit_code(&self) -> Option<u8> {
        self.shutdown.first_signal().map(exit_code)
    }
}

fn exit_code(signal: Signal) -> u8 {
    match signal {
        Signal::Interrupt => exit::INTERRUPTED,
        Signal::Terminate => exit::TERMINATED,
    }
}

fn reader_panicked(what: &str) -> CliError {
    CliError::internal(format!("the thread that reads {what} has panicked"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::ProgressMode;
    use crate::style::{Style, When};

    #[tokio::test(start_paused = true)]
    async fn a_reader_is_waited_for_until_the_time_of_the_run_is_over() {
        let mut handler = SignalHandler::install().unwrap();
        let console = Console::new(ProgressMode::None, Style::of_stderr(When::Never), false);
        let second = Duration::from_secs(1);
        let (_silent, reading) = oneshot::channel::<()>();
        let began = tokio::time::Instant::now();
        let error = handler
            .wait_for_reader(("stdin", "read"), reading, Some(second), &console)
            .await
            .unwrap_err();
        assert_eq!(began.elapsed(), second);
        assert_eq!(error.exit_code(), exit::STOPPED);
        let message = error.to_string();
        assert!(
            message.ends_with("stdin was still being read, and nothing was run"),
            "{message}"
        );
        let (send, reading) = oneshot::channel();
        tokio::spawn(async move {
            tokio::time::sleep(second).await;
            let _ = send.send("jobs");
        });
        let read = handler
            .wait_for_reader(("stdin", "read"), reading, Some(second * 2), &console)
            .await;
        assert_eq!(read.unwrap(), "jobs");
    }
}
