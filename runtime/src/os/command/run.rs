//! The run of one program: who waits for its end, and asks or kills it when its time is over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::CommandLimits;
use super::end::{CommandEnd, StopCause};
use super::memory::{WatchedMemory, exceeded};
use super::program::{Program, Reaped};
use crate::os::terminal::pass_on_interrupt;
use crate::os::{Ended, Ending, Exit};
use crate::stop_clock::{StopAction, StopClock, StopLimits, StopMethod, StopReason};
use crate::suspension::{until, working_now};

/// How long a killed process may take until it can be reaped. Only the kernel can delay it.
const REAP_LIMIT: Duration = Duration::from_secs(2);

/// A program that runs on its thread. Dropping this kills the program.
pub(super) struct CommandRun {
    /// The time between the request to stop the program and its kill.
    grace: Duration,
    /// Reports too much memory; `None` without limits.
    memory: Option<WatchedMemory>,
    /// The state that is shared with the thread, by which the program is signalled.
    program: Arc<Program>,
    /// Receives the exit of the program, or the error for which it did not start.
    replied: oneshot::Receiver<std::io::Result<Reaped>>,
    /// Decides when the limits of the program are reached, by the clock of work, which does not run during a
    /// suspension.
    clock: StopClock,
    limits: StopLimits,
    /// A limit was over before the program was known to have started, so the limits count again from the start.
    waited_for_start: bool,
    /// The first reason for which the program was asked to stop.
    stopped: Option<StopCause>,
    /// How the program was made to end: not at all, asked, or killed.
    ending: Ending,
}

impl CommandRun {
    /// Begins to wait for a program that was handed to its thread at `start`. The thread replies when it has reaped it.
    pub(super) fn new(
        program: Arc<Program>,
        replied: oneshot::Receiver<std::io::Result<Reaped>>,
        limits: CommandLimits,
        memory: Option<WatchedMemory>,
        start: Instant,
    ) -> Self {
        Self {
            clock: StopClock::new(start),
            limits: StopLimits {
                soft: limits.soft,
                hard: limits.hard,
                idle: None,
            },
            grace: limits.grace,
            memory,
            program,
            replied,
            waited_for_start: false,
            stopped: None,
            ending: Ending::ByItself,
        }
    }

    /// Waits for the end of the program, and asks or kills it when its limits or a cancellation require that.
    pub(super) async fn finish(
        mut self,
        cancel: &CancellationToken,
    ) -> std::io::Result<CommandEnd> {
        let reaped = self.wait(cancel).await;
        self.end(reaped.transpose()?).await
    }

    /// Waits until the program was reaped, or cannot be. Returns `None` if it was killed and its thread did not report
    /// its end: the kernel has not released it within the limit, or the thread is gone because the sink has panicked.
    async fn wait(&mut self, cancel: &CancellationToken) -> Option<std::io::Result<Reaped>> {
        loop {
            let next = self.clock.next(self.limits, StopMethod::Signalled);
            let mut excess = None;
            let due = tokio::select! {
                biased;
                reply = &mut self.replied => return reply.ok(),
                () = until(next.map(|(at, _)| at)) => next.map(|(_, due)| due),
                () = cancel.cancelled(), if self.ending == Ending::ByItself => {
                    Some(StopAction::Ask(StopReason::Unwanted))
                }
                over = exceeded(&mut self.memory) => {
                    excess = Some(over);
                    match over.kills {
                        true => Some(StopAction::Kill(StopReason::Unwanted)),
                        false if self.ending == Ending::ByItself => {
                            Some(StopAction::Ask(StopReason::Unwanted))
                        }
                        false => None,
                    }
                }
            };
            // `began` is read before `has_ended`: nothing is known about the end of a program that was not known to
            // have started at that point.
            let began = self.program.began();
            // The system is asked, after the time was over. So no program that ended in time counts as timed out,
            // however late this check is, and whatever its thread has noticed so far.
            if self.program.has_ended() {
                return (&mut self.replied).await.ok();
            }
            if self.count_from_start(began) {
                continue;
            }
            let is_cancelled = matches!(due, Some(StopAction::Ask(StopReason::Unwanted)));
            if began.is_none() && !is_cancelled && !self.waited_for_start {
                // The thread of the program may have been stopped before it could report that it has started the
                // program. The start is given up only if it takes as long as the whole limit.
                self.waited_for_start = true;
                self.clock = StopClock::new(working_now());
                continue;
            }
            if let Some(excess) = excess {
                let (used, limit) = (excess.used, excess.limit);
                self.stopped
                    .get_or_insert(StopCause::Memory { used, limit });
                self.memory.iter_mut().for_each(WatchedMemory::asked);
            }
            match due {
                Some(StopAction::Ask(why)) => self.ask(why),
                Some(StopAction::Kill(why)) => return self.kill(why).await,
                None => {}
            }
        }
    }

    /// Makes the end of a program from what its thread has reported, and clears its group.
    async fn end(&mut self, reaped: Option<Reaped>) -> std::io::Result<CommandEnd> {
        let mut ended = Ended {
            exit: Exit::Unknown,
            ending: self.ending,
            left_behind: false,
            survivors: Vec::new(),
        };
        let Some(reaped) = reaped else {
            ended.ending = Ending::Killed;
            ended.survivors.extend(self.program.number());
            return Ok(CommandEnd {
                ended,
                stopped: self.stopped,
                cost: None,
            });
        };
        if reaped.interrupted {
            pass_on_interrupt().await;
        }
        ended.exit = reaped.exit;
        let killed_for = if reaped.wanted_terminal {
            Some(StopCause::Terminal)
        } else {
            reaped.input_error.map(StopCause::InputFailed)
        };
        if let (Some(cause), None) = (killed_for, self.stopped) {
            self.stopped = Some(cause);
            ended.ending = Ending::Killed;
        }
        if let Some(group) = reaped.left {
            (ended.left_behind, ended.survivors) = group.clear().await;
        }
        Ok(CommandEnd {
            ended,
            stopped: self.stopped,
            cost: reaped.cost,
        })
    }

    /// Makes the clock count from the start of the program, which may have waited for a thread or a processor. Returns
    /// whether that moved the clock.
    fn count_from_start(&mut self, began: Option<Instant>) -> bool {
        let began =
            began.filter(|began| *began != self.clock.started() && self.clock.asked().is_none());
        self.clock = began.map_or(self.clock, StopClock::new);
        began.is_some()
    }

    /// Asks the program to end, and sets the time of its kill to the end of the grace.
    fn ask(&mut self, why: StopReason) {
        self.stopped.get_or_insert(why.into());
        self.ending = Ending::Asked;
        let now = working_now();
        self.clock
            .ask(why, self.limits, StopMethod::Signalled, self.grace, now);
        self.program.ask();
    }

    /// Kills the program, and waits for its end as long as the kernel may need.
    async fn kill(&mut self, why: StopReason) -> Option<std::io::Result<Reaped>> {
        self.stopped.get_or_insert(why.into());
        self.ending = Ending::Killed;
        self.program.kill();
        tokio::select! {
            biased;
            reply = &mut self.replied => reply.ok(),
            () = until(Some(working_now() + REAP_LIMIT)) => None,
        }
    }
}

impl Drop for CommandRun {
    fn drop(&mut self) {
        self.program.kill();
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;
    use std::sync::{Mutex, mpsc};

    use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

    use super::*;
    use crate::os::{CommandRunner, OutputSink, ProcessConfig, Stream};

    struct Fragile;

    impl OutputSink for Fragile {
        fn receive(&self, _: Stream, _: &[u8]) -> ControlFlow<()> {
            panic!("too much for this sink")
        }
    }

    #[tokio::test]
    async fn a_program_whose_sink_panics_is_killed_and_reaped() {
        let runner = CommandRunner::new(None);
        let talks = ProcessConfig::new("sh").args(["-c", "echo hello; exec sleep 600"]);
        let end = runner
            .run_into(
                &talks,
                CommandLimits::default(),
                &CancellationToken::new(),
                Arc::new(Fragile),
            )
            .await
            .unwrap();
        assert!(!end.is_success());
        assert_eq!(end.ended.ending, Ending::Killed);
        assert!(end.ended.survivors.is_empty(), "{:?}", end.ended);
    }

    /// A sink that blocks the thread of a program once the program, which prints its process id, has ended.
    struct Slow {
        has_ended: Mutex<Option<oneshot::Sender<()>>>,
        go_on: Mutex<mpsc::Receiver<()>>,
    }

    impl OutputSink for Slow {
        fn receive(&self, _: Stream, bytes: &[u8]) -> ControlFlow<()> {
            let number = std::str::from_utf8(bytes).unwrap().trim().parse().unwrap();
            let program = Pid::from_raw(number).unwrap();
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            waitid(WaitId::Pid(program), options).unwrap();
            let has_ended = self.has_ended.lock().unwrap().take().unwrap();
            has_ended.send(()).unwrap();
            self.go_on.lock().unwrap().recv().unwrap();
            ControlFlow::Continue(())
        }
    }

    /// Makes a program end by itself, does `meanwhile` before its waiter notices the end, and returns the end that is
    /// reported.
    async fn end_while_unnoticed(
        limits: CommandLimits,
        meanwhile: impl FnOnce(&CancellationToken),
    ) {
        let (tell_ended, has_ended) = oneshot::channel();
        let (let_go_on, go_on) = mpsc::channel();
        let sink = Slow {
            has_ended: Mutex::new(Some(tell_ended)),
            go_on: Mutex::new(go_on),
        };
        let cancel = CancellationToken::new();
        let run = tokio::spawn({
            let (config, cancel) = (
                ProcessConfig::new("sh").args(["-c", "echo $$"]),
                cancel.clone(),
            );
            async move {
                let runner = CommandRunner::new(None);
                runner
                    .run_into(&config, limits, &cancel, Arc::new(sink))
                    .await
            }
        });
        has_ended.await.unwrap();
        tokio::time::pause();
        meanwhile(&cancel);
        // This is longer than any limit and any wait for a program that was killed.
        tokio::time::sleep(Duration::from_hours(2)).await;
        assert!(!run.is_finished());
        tokio::time::resume();
        let_go_on.send(()).unwrap();
        let end = run.await.unwrap().unwrap();
        assert!(end.is_success(), "{end:?}");
        assert_eq!(end.ended.ending, Ending::ByItself);
    }

    #[tokio::test]
    async fn a_program_that_ended_in_time_has_not_timed_out_however_late_that_is_heard() {
        let hour = Some(Duration::from_hours(1));
        for (soft, hard) in [(hour, None), (None, hour)] {
            let limits = CommandLimits {
                soft,
                hard,
                ..CommandLimits::default()
            };
            end_while_unnoticed(limits, |_| {}).await;
        }
    }

    /// Reports the end of a program whose start was not known before, this long after the start was ordered, with a
    /// limit of an hour.
    async fn end_after(time: Duration) -> CommandEnd {
        let (reply, replied) = oneshot::channel();
        let limits = CommandLimits {
            soft: Some(Duration::from_hours(1)),
            grace: Duration::from_hours(10),
            ..CommandLimits::default()
        };
        let run = CommandRun::new(Arc::default(), replied, limits, None, working_now());
        let run = tokio::spawn(async move { run.finish(&CancellationToken::new()).await });
        tokio::time::sleep(time).await;
        let reaped = Reaped {
            exit: Exit::Code(0),
            cost: None,
            left: None,
            wanted_terminal: false,
            input_error: None,
            interrupted: false,
        };
        assert!(reply.send(Ok(reaped)).is_ok(), "it is waited for");
        run.await.unwrap().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_program_that_is_not_known_to_have_started_times_out_only_after_twice_its_limit() {
        assert!(end_after(Duration::from_mins(119)).await.is_success());
        let end = end_after(Duration::from_mins(121)).await;
        assert_eq!(end.stopped, Some(StopCause::Timeout), "{end:?}");
    }

    #[tokio::test]
    async fn a_program_that_has_ended_is_not_cancelled() {
        end_while_unnoticed(CommandLimits::default(), CancellationToken::cancel).await;
    }
}
