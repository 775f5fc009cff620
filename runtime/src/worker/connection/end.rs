//! The end of a worker, and of the attempts that it still had.

use std::collections::VecDeque;
use std::time::Duration;

use ratchet_ipc::{Capability, Event, Incoming, IpcError};
use tokio::time::timeout;

use super::filter::Filter;
use super::in_flight::{EarlyAnswer, InFlightAttempt};
use super::{EndCause, ExitStage, RunningWorker, now};
use crate::dispatch::{Retirement, StopReason};
use crate::ids::Ticket;
use crate::os::{Ended, Ending, OutputExcerpt, REMOVE_LIMIT};
use crate::outcome::{Class, Failure};
use crate::worker::event::WorkerEnd;

/// How long the pipes of a worker that has ended are still read. Only a descendant that left its group can hold them
/// open.
const DRAIN_LIMIT: Duration = Duration::from_millis(500);

/// How long a worker that closed its stdout has to end by itself, because an exit code explains more than a kill does.
/// A worker that is not ready yet has the same time when it is asked to end.
const EXIT_WAIT: Duration = Duration::from_millis(500);

impl RunningWorker {
    /// Kills the worker for this cause. The worker counts as ended only when its exit is observed.
    pub(super) async fn kill(&mut self, cause: EndCause) {
        if !self.is_killed {
            self.is_killed = true;
            self.close_to_work();
            self.end_cause.get_or_insert(cause);
            self.terminate(Duration::ZERO).await;
        }
    }

    /// Kills the worker to stop one attempt.
    pub(super) async fn kill_for(&mut self, id: u64, why: StopReason) {
        if !self.is_killed {
            self.killed_for = Some((id, why));
        }
        self.kill(match why {
            StopReason::Time(_) | StopReason::Silence(_) => EndCause::AttemptTimedOut,
            StopReason::Unwanted => EndCause::AttemptCancelled,
        })
        .await;
    }

    /// Asks the process group to end through the process manager, which kills it after the grace.
    pub(super) async fn terminate(&mut self, grace: Duration) {
        if let Err(error) = self
            .manager
            .terminate_process(self.process.id(), grace)
            .await
        {
            tracing::warn!(worker = %self.name, %error, "the worker could not be asked to end");
        }
    }

    /// Begins to end the worker for this cause: it has its grace to end by itself before it gets SIGTERM.
    pub(super) async fn start_exit(&mut self, cause: EndCause) {
        self.end_cause = Some(cause);
        self.exit_stage = now()
            .checked_add(self.config.grace)
            .map_or(ExitStage::Terminated, ExitStage::InputClosed);
        if self.exit_stage == ExitStage::Terminated {
            self.terminate(self.config.grace).await;
        }
    }

    /// Gives a worker that has closed its stdout a moment to end by itself.
    pub(super) fn await_exit(&mut self) {
        self.ends_by = now().checked_add(EXIT_WAIT);
    }

    /// Asks the worker to end, if its end is due and it has no attempt left.
    pub(super) async fn exit_if_done(&mut self) {
        if self.jobs.is_empty()
            && matches!(self.exit_stage, ExitStage::InputClosed(_))
            && matches!(self.end_cause, Some(EndCause::ClosedInput))
        {
            // The worker can be sent nothing and has nothing to answer, so waiting longer is of no use.
            self.exit_stage = ExitStage::Terminated;
            self.terminate(self.config.grace).await;
        }
        let ExitStage::AfterWork(why) = self.exit_stage else {
            return;
        };
        if !self.jobs.is_empty() || self.end_cause.is_some() {
            return;
        }
        self.end_cause = Some(EndCause::Retired(why));
        if self.profile.is_none() {
            // The worker has nothing to finish, and a program that is still loading may react to nothing but a signal.
            self.exit_stage = ExitStage::Terminated;
            return self.terminate(EXIT_WAIT.min(self.config.grace)).await;
        }
        if self.can(&Capability::Drain) {
            self.queue(Event::Drain);
        }
        // The next read writes what is queued and closes. A worker that does not read any more gets SIGTERM after the
        // grace.
        self.transport.finish();
        self.exit_stage = now()
            .checked_add(self.config.grace)
            .map_or(ExitStage::Terminated, ExitStage::InputClosed);
        if self.exit_stage == ExitStage::Terminated {
            self.terminate(self.config.grace).await;
        }
    }

    /// Settles everything after the process has ended: reads the rest of its output, and answers or gives back each
    /// attempt.
    pub(super) async fn conclude(mut self, ended: Ended) -> WorkerEnd {
        self.close_to_work();
        if timeout(DRAIN_LIMIT, self.drain_output()).await.is_err() {
            // A timer can fire before the event loop has polled the pipes. What is in them was printed before that, and
            // counts.
            self.read_printed().await;
            self.stderr.read_now();
        }
        self.stderr.finish(&self.name);
        self.is_killed |= ended.ending == Ending::WantedTerminal;
        let cause = self.take_cause(&ended);
        if !ended.survivors.is_empty() {
            tracing::error!(
                worker = %self.name, survivors = ?ended.survivors,
                "processes of this worker could not be killed"
            );
        }
        if !self.is_killed && ended.ending != Ending::HostLost {
            self.finish_pulls().await;
        }
        // Nothing more can be read, so what was read so far is final for the attempts.
        self.settle_filter(Some(&cause), now());
        self.finish_early(now());
        let stderr = self.stderr.tail();
        let charged = self.settle_attempts(&cause, &stderr);
        self.send_update();
        if let Some(folder) = self.process.shared_folder() {
            // Nobody waits for a removal that begins when the folder is dropped, so a run could end before it.
            let _ = timeout(REMOVE_LIMIT, folder.remove()).await;
        }
        WorkerEnd {
            cause,
            charged,
            stderr,
        }
    }

    /// Decides why the worker has ended, from what was noticed before and from how its process has ended.
    fn take_cause(&mut self, ended: &Ended) -> EndCause {
        match self.end_cause.take() {
            // Whatever was noticed before is a consequence of the lost host.
            _ if ended.ending == Ending::HostLost => EndCause::HostLost,
            // The pipes of the worker may have broken before its end was observed.
            None | Some(EndCause::ClosedInput | EndCause::ClosedOutput)
                if ended.ending == Ending::WantedTerminal =>
            {
                EndCause::WantedTerminal
            }
            // A pipe of a process that ends breaks before its exit is observed.
            Some(EndCause::ClosedInput | EndCause::ClosedOutput)
                if ended.ending == Ending::ByItself =>
            {
                EndCause::Exited(ended.exit)
            }
            Some(cause) => cause,
            // A filter that was sent all its items ends because its input ends.
            None if self.filter.as_ref().is_some_and(Filter::was_closed) => {
                EndCause::Retired(Retirement::Shutdown)
            }
            None => EndCause::Exited(ended.exit),
        }
    }

    /// Answers or gives back each attempt that the worker still has. Returns how many attempts were charged with its end.
    fn settle_attempts(&mut self, cause: &EndCause, stderr: &OutputExcerpt) -> u32 {
        let now = now();
        let unread_from = self.unread_from(cause);
        let mut charged = self.filter.as_ref().map_or(0, |filter| filter.charged);
        let (answered, others) = take_answered(self.jobs.take_all());
        let mut answered = self.answer_calls(answered);
        for entry in others {
            let begun = entry.begun.is_some();
            // What was answered before it has begun passes through the slot of the first attempt that ends.
            let next = answered.front().filter(|_| begun);
            let next = next.and_then(|(first, _)| first.ticket());
            let (mine, why) = match self.killed_for {
                Some((id, why)) => (id == entry.id, Some(why)),
                None => (true, None),
            };
            let asked = entry.asked();
            let is_unread = unread_from.is_some_and(|read| entry.starts_at >= Some(read));
            // A worker that works on several requests says which of them it has started. One that never said so is not
            // believed, or the job that kills it would be tried for ever.
            let is_unstarted = self.tells_starts && !self.jobs.is_serial() && !entry.said_started;
            if !begun || (asked.is_none() && (!mine || is_unread || is_unstarted)) {
                // The attempt never began, or the worker was killed because of another attempt, or the worker ended
                // after its last answer and had read nothing of this request, or it had not started this one.
                self.give_back(entry.assignment, begun, next);
                self.end_answered(&mut answered, next);
                continue;
            }
            let failure = match why.filter(|_| mine).or(asked) {
                Some(why) => why.failure(),
                None => self.failure_of(cause),
            };
            charged += 1;
            self.report.count_end(&entry.assignment, true);
            let ran = entry.ran(now);
            let failure = Box::new(failure.stderr(stderr.clone()));
            let worker = Some(self.name.clone());
            entry.assignment.answer(Err(failure), worker, ran, next);
            self.end_answered(&mut answered, next);
        }
        // No attempt that has begun was left, so nothing has a slot for these.
        for (entry, _) in answered {
            self.give_back(entry.assignment, false, None);
        }
        charged
    }

    /// Answers the calls among the attempts that were answered before they have begun, because calls hold no slots. Returns
    /// the others.
    fn answer_calls(&mut self, answered: Answered) -> Answered {
        let (of_run, calls): (Answered, Answered) = answered
            .into_iter()
            .partition(|(entry, _)| entry.ticket().is_some());
        for (entry, result) in calls {
            self.report.count_end(&entry.assignment, false);
            let worker = Some(self.name.clone());
            entry
                .assignment
                .answer(result, worker, Duration::ZERO, None);
        }
        of_run
    }

    /// Ends the attempts that were answered before they have begun, once the first of them, which is `next`, has a slot. Each
    /// passes it to the one behind it.
    fn end_answered(&mut self, answered: &mut Answered, next: Option<Ticket>) {
        if next.is_none() {
            return;
        }
        while let Some((entry, result)) = answered.pop_front() {
            let next = answered.front().and_then(|(next, _)| next.ticket());
            self.report.count_end(&entry.assignment, true);
            let worker = Some(self.name.clone());
            entry
                .assignment
                .answer(result, worker, Duration::ZERO, next);
        }
    }

    /// Returns the failure of an attempt that has ended with its worker, and of which nobody had asked that.
    fn failure_of(&self, cause: &EndCause) -> Failure {
        let class = match cause {
            EndCause::Memory { .. } => Class::Memory,
            EndCause::HostLost => Class::Host,
            EndCause::HandshakeFailed(_)
            | EndCause::StrayOutput(_)
            | EndCause::SurplusLine { .. } => Class::Protocol,
            _ => Class::Crash,
        };
        let mut message = format!("{} {cause}", self.display_name());
        if matches!(cause, EndCause::Exited(_)) {
            message.push_str(" before it answered");
        }
        let failure = Failure::new(class, message);
        match cause {
            EndCause::WantedTerminal => failure.code("terminal"),
            _ => failure,
        }
    }

    /// Returns the number of bytes that the worker has read of its stdin, if it ended by itself after an answer.
    ///
    /// Such a worker may have decided to end before it was sent its next request. One that never answered is charged
    /// with its requests: otherwise a job that crashes it would go from one worker to the next forever.
    pub(super) fn unread_from(&self, cause: &EndCause) -> Option<u64> {
        let ended_idle = self.has_answered && matches!(cause, EndCause::Exited(_));
        let view = self.process.view().filter(|_| ended_idle)?;
        Some(view.input()?.read)
    }

    /// Reads what is left in the pipes.
    async fn drain_output(&mut self) {
        while !self.is_output_closed || self.stderr.is_open() {
            tokio::select! {
                incoming = self.transport.receive(), if !self.is_output_closed => match incoming {
                    // A broken stdin does not affect the answers that are in stdout.
                    Err(IpcError::Write(_)) => {}
                    Ok(Incoming::End) | Err(_) => self.is_output_closed = true,
                    incoming => self.take_all(incoming).await,
                },
                () = self.stderr.read(), if self.stderr.is_open() => {
                    self.stderr.stream(&self.name, self.jobs.oldest());
                }
            }
        }
    }
}

/// Attempts that were answered before they have begun, with their answers.
type Answered = VecDeque<(InFlightAttempt, EarlyAnswer)>;

/// Parts the attempts that were answered before they have begun from the others.
fn take_answered(entries: VecDeque<InFlightAttempt>) -> (Answered, Vec<InFlightAttempt>) {
    let (mut answered, mut others) = (Answered::new(), Vec::new());
    for mut entry in entries {
        let is_ahead = entry.begun.is_none();
        match is_ahead.then(|| entry.take_final_early()).flatten() {
            Some(answer) => answered.push_back((entry, answer)),
            None => others.push(entry),
        }
    }
    (answered, others)
}
