//! How a connection handles the messages and lines that the worker prints to stdout.

use std::time::Instant;

use ratchet_ipc::{
    Event, Incoming, IpcError, IpcMessage, LogLevel, MessageId, MessageKind, Payload, StrayLine,
    StrayMode, TaskError,
};

use super::in_flight::InFlightAttempt;
use super::{EndCause, ExitStage, RunningWorker, WorkerEvent, now};
use crate::context::Step;
use crate::dispatch::{AttemptKey, Report, StopReason};
use crate::ids::Ticket;
use crate::outcome::{Class, Failure};
use crate::worker::config::WorkerProtocol;

/// How many answers with an unknown id are logged. A worker that prints more could fill the log.
const LOGGED_UNKNOWN_ANSWERS: u64 = 10;

impl RunningWorker {
    /// Handles one incoming message and all others that can be read without waiting.
    pub(super) async fn take_all(&mut self, first: Result<Incoming, IpcError>) {
        let now = now();
        let mut next = Some(first);
        while let Some(incoming) = next {
            match incoming {
                Ok(Incoming::Message(IpcMessage::Response(response))) => {
                    self.has_sent_no_message = false;
                    if self.profile.is_none() {
                        self.handshake.on_response();
                        self.follow_handshake().await;
                    }
                    self.take_answer(&response.id, response.outcome, now);
                }
                Ok(Incoming::End) => return self.on_output_end(None),
                Ok(Incoming::Blank) => {
                    self.other_output.printed("", self.jobs.oldest(), now);
                }
                Ok(incoming) => self.take(incoming, now).await,
                Err(IpcError::Write(_)) => self.on_input_closed().await,
                Err(error) => return self.on_output_end(Some(error)),
            }
            next = self.transport.try_receive().map(Ok);
        }
    }

    /// Handles a message that is not a response, or a line that is not a message.
    async fn take(&mut self, incoming: Incoming, now: Instant) {
        match incoming {
            Incoming::Message(IpcMessage::Event(event)) => {
                self.has_sent_no_message = false;
                self.take_event(event, now).await;
            }
            Incoming::Message(IpcMessage::Request(request)) => {
                self.warn_of_no_messages("a request");
                self.other_output
                    .printed("a request", self.jobs.oldest(), now);
                self.log(
                    None,
                    LogLevel::Warn,
                    format!("a host does not answer requests ({})", request.id),
                );
            }
            Incoming::Readiness(readiness) => {
                self.has_sent_no_message = false;
                self.introduced = true;
                self.handshake.on_readiness(readiness);
                self.follow_handshake().await;
            }
            Incoming::Stray(stray) => self.take_stray(stray, now).await,
            Incoming::Malformed(malformed) if malformed.kind == MessageKind::Response => {
                let failure = Failure::new(
                    Class::Protocol,
                    format!(
                        "{} gave a malformed answer: {} ({})",
                        self.display_name(),
                        malformed.reason,
                        malformed.line
                    ),
                );
                self.fail_unreadable_answer(malformed.id.as_ref(), failure, now);
            }
            Incoming::Malformed(malformed) => {
                if malformed.is_hello {
                    self.handshake.on_malformed_hello(&*malformed.reason);
                    self.follow_handshake().await;
                }
                let message = format!("not understood: {} ({})", malformed.reason, malformed.line);
                self.log(None, LogLevel::Warn, message);
                self.other_output
                    .printed(&malformed.line, self.jobs.oldest(), now);
            }
            Incoming::TooLarge(large) => match large.kind {
                None | Some(MessageKind::Response) => {
                    let failure = Failure::new(
                        Class::TooLarge,
                        format!(
                            "the answer has {} bytes, and no more than {} may be sent; \
                             write it to a file and answer with its path, or raise `max_message` of its worker",
                            large.bytes, large.limit
                        ),
                    )
                    .code(TaskError::TOO_LARGE);
                    self.fail_unreadable_answer(large.id.as_ref(), failure, now);
                }
                Some(MessageKind::Request | MessageKind::Event) => {
                    let message = format!("an event of {} bytes was dropped", large.bytes);
                    self.log(None, LogLevel::Warn, message);
                }
            },
            // Responses and the end are handled by `take_all`. Kinds of later versions are ignored, as the protocol
            // requires.
            _ => {}
        }
    }

    /// Handles an event of the worker.
    async fn take_event(&mut self, event: Event, now: Instant) {
        match event {
            Event::Hello(hello) => {
                self.introduced = true;
                self.handshake.on_hello(hello);
                self.follow_handshake().await;
            }
            Event::Ready => {
                self.handshake.on_ready();
                self.follow_handshake().await;
            }
            Event::Progress(progress) => {
                let Some(id) = progress.id.as_counter() else {
                    return;
                };
                let Some(entry) = self.jobs.get_mut(id) else {
                    return;
                };
                entry.note_activity(now);
                self.other_output.heard_of(id);
                let step = Step {
                    done: progress.done,
                    total: progress.total,
                    message: progress.message,
                };
                entry
                    .assignment
                    .report(|ticket| Report::Step { ticket, step });
            }
            Event::Log(log) => self.log(log.id.as_ref(), log.level, log.message),
            Event::Pong(nonce) => self.pings.answered(nonce.nonce, now),
            Event::Started(started) => {
                self.tells_starts = true;
                let entry = (started.id.as_counter()).and_then(|id| self.jobs.get_mut(id));
                if let Some(entry) = entry {
                    entry.said_started = true;
                }
            }
            // The other events are those of a host, or of a later version.
            _ => {}
        }
    }

    /// Handles an answer to an attempt.
    pub(super) fn take_answer(
        &mut self,
        id: &MessageId,
        outcome: Result<Payload, TaskError>,
        now: Instant,
    ) {
        self.prove();
        self.has_answered = true;
        let outcome = outcome.map_err(|error| Box::new(Failure::from_answer(error)));
        match id.as_counter().filter(|id| self.jobs.is_open(*id)) {
            Some(id) => self.take_result(id, outcome, now),
            None => self.take_unknown_answer(id, now),
        }
    }

    /// Takes the result of an attempt that is not answered. The result of one that has not begun is kept until it begins.
    fn take_result(&mut self, id: u64, result: Result<Payload, Box<Failure>>, now: Instant) {
        let is_early = self.jobs.get_mut(id).is_some_and(|entry| {
            entry.begun.is_none() && !(entry.recalled && is_cancellation(&result))
        });
        if is_early {
            self.jobs.answer_early(id, result);
            if self.jobs.is_serial() {
                // If the worker mixes ids up, the attempt that it works on will get no answer.
                let printed = format!("an answer to request {id}, which it had not begun");
                self.other_output.printed(&printed, self.jobs.oldest(), now);
            }
            return;
        }
        self.finish_result(id, result, now);
    }

    /// Ends the attempts that were answered before they have begun, and that have begun now.
    pub(super) fn finish_early(&mut self, now: Instant) {
        while let Some((id, result)) = self.jobs.take_early() {
            self.finish_result(id, result, now);
        }
    }

    /// Ends an attempt with this result, after its files have come.
    fn finish_result(&mut self, id: u64, result: Result<Payload, Box<Failure>>, now: Instant) {
        let result = match result {
            Ok(result) => match self.start_pull(id, result) {
                Some(result) => Ok(result),
                None => return,
            },
            Err(failure) => Err(failure),
        };
        if let Some(entry) = self.jobs.remove(id) {
            self.settle(entry, result, now);
        }
    }

    /// Fails the attempt to which an unreadable answer belongs, because it will get no other answer.
    fn fail_unreadable_answer(&mut self, id: Option<&MessageId>, failure: Failure, now: Instant) {
        let counter = match id {
            Some(id) => id.as_counter(),
            None => self.jobs.only_candidate(),
        };
        match (counter.filter(|id| self.jobs.is_open(*id)), id) {
            (Some(attempt), _) => self.take_result(attempt, Err(Box::new(failure)), now),
            (None, Some(id)) => {
                self.log(None, LogLevel::Warn, failure.message);
                self.take_unknown_answer(id, now);
            }
            (None, None) => {
                self.other_output
                    .printed(&failure.message, self.jobs.oldest(), now);
                self.log(None, LogLevel::Warn, failure.message);
            }
        }
    }

    /// Drops an answer that belongs to no attempt. It may be late, a second one, or meant for another request. So the user
    /// is warned if the attempt of the worker gets no answer.
    fn take_unknown_answer(&mut self, id: &MessageId, now: Instant) {
        self.unknown_answers += 1;
        let printed = format!("an answer to request {id}");
        self.other_output.printed(&printed, self.jobs.oldest(), now);
        if self.unknown_answers <= LOGGED_UNKNOWN_ANSWERS {
            let message =
                format!("answered request {id}, which was never sent or was answered before");
            self.log(None, LogLevel::Warn, message);
        }
    }

    /// Interprets the answer to an attempt, and ends the attempt or gives it back.
    pub(super) fn settle(
        &mut self,
        entry: InFlightAttempt,
        result: Result<Payload, Box<Failure>>,
        now: Instant,
    ) {
        let cancelled = is_cancellation(&result);
        if entry.recalled && cancelled && entry.asked().is_none() {
            let begun = entry.begun.is_some();
            // The slot passes to the next attempt in the same step, as it does when an attempt ends.
            let next = begun.then(|| self.begin_next(now)).flatten();
            return self.give_back(entry.assignment, begun, next);
        }
        let killed_for = self.killed_for.filter(|(id, _)| *id == entry.id);
        let result = match killed_for.map(|(_, why)| why).or(entry.asked()) {
            // The timeout decides, whatever the worker answers after it was asked to stop.
            Some(why @ (StopReason::Time(_) | StopReason::Silence(_))) => {
                Err(Box::new(why.failure()))
            }
            Some(StopReason::Unwanted) if cancelled => {
                Err(Box::new(StopReason::Unwanted.failure()))
            }
            Some(StopReason::Unwanted) | None => result,
        };
        if let Some((entry, result)) = self.hold(entry, result, now) {
            self.end_attempt(entry, result, now, now);
        }
    }

    /// Ends an attempt that ran until `at`, and begins the next one in its place.
    pub(super) fn end_attempt(
        &mut self,
        entry: InFlightAttempt,
        result: Result<Payload, Box<Failure>>,
        at: Instant,
        now: Instant,
    ) {
        let ran = entry.ran(at);
        self.count(&entry, at);
        let next = entry.begun.and_then(|_| self.begin_next(now));
        self.report_end(entry.assignment, result, ran, next, now);
    }

    /// Counts an attempt that has ended for the next update.
    fn count(&mut self, entry: &InFlightAttempt, now: Instant) {
        self.report
            .count_end(&entry.assignment, entry.begun.is_some());
        self.report.count_busy(now);
    }

    /// Makes the worker begin the next attempt that was sent ahead. Returns its ticket if it belongs to a run.
    fn begin_next(&mut self, now: Instant) -> Option<Ticket> {
        let next = self.jobs.begin_next(now)?;
        let assignment = &next.assignment;
        self.report.count_begin(assignment);
        AttemptKey::ticket(assignment.key())
    }

    /// Handles a line that is not a message in the way that the pool is configured for.
    async fn take_stray(&mut self, stray: StrayLine, now: Instant) {
        if matches!(self.config.language, WorkerProtocol::Lines { .. }) {
            // The next line of the filter would be taken for the answer to this item, so the filter must not continue.
            return self.take_surplus_line(stray.text, now).await;
        }
        match stray.mode {
            StrayMode::Log => {
                self.warn_of_no_messages(&stray.text);
                if !stray.text.is_empty() {
                    self.other_output
                        .printed(&stray.text, self.jobs.oldest(), now);
                }
                if stray.suppressed > 0 {
                    let message = format!(
                        "{} lines that are not messages were dropped",
                        stray.suppressed
                    );
                    self.log(None, LogLevel::Info, message);
                }
                if !stray.text.is_empty() {
                    self.log(None, LogLevel::Info, stray.text);
                }
            }
            StrayMode::Fail => self.fail_for(stray.text, now).await,
            StrayMode::Kill => self.kill(EndCause::StrayOutput(stray.text)).await,
        }
    }

    /// Fails the attempt during which the worker printed a line that is not a message (`stray: fail`), and kills the
    /// worker: it may keep working on the failed attempt for long, and that must not use up the time of another attempt.
    /// If the worker does several attempts at once, the line is only logged, because nobody knows whose it is.
    async fn fail_for(&mut self, printed: String, now: Instant) {
        let failure = Failure::new(
            Class::Protocol,
            format!(
                "{} printed a line that is not a message: {printed}",
                self.display_name()
            ),
        );
        let works_on = self.jobs.oldest().filter(|_| self.jobs.is_serial());
        let Some(entry) = works_on.and_then(|id| self.jobs.remove(id)) else {
            return self.log(None, LogLevel::Warn, failure.message);
        };
        self.killed_for
            .get_or_insert((entry.id, StopReason::Unwanted));
        self.kill(EndCause::StrayOutputDuringJob(printed)).await;
        self.count(&entry, now);
        let (ran, worker) = (entry.ran(now), Some(self.name.clone()));
        entry
            .assignment
            .answer(Err(Box::new(failure)), worker, ran, None);
    }

    /// Warns once if a worker with a job has printed no message so far. Without the warning, the run would wait in
    /// silence for a filter that was not declared as one.
    fn warn_of_no_messages(&mut self, printed: &str) {
        let may_be_filter = matches!(self.config.language, WorkerProtocol::Native);
        if self.has_sent_no_message && may_be_filter && self.jobs.oldest().is_some() {
            self.has_sent_no_message = false;
            self.other_output.was_told();
            tracing::warn!(
                worker = %self.name,
                printed,
                "a worker that has a job printed a line that is not an answer; if it is a filter, set its protocol to `lines`"
            );
        }
    }

    /// Reports output that may have been meant as the answer to an attempt, if that got no other one.
    pub(super) fn tell_other_output(&mut self, now: Instant) {
        let jobs = &self.jobs;
        if let Some((attempt, printed)) = self.other_output.on_time(|id| jobs.has(id), now) {
            self.emit(WorkerEvent::NoAnswer { attempt, printed });
        }
    }

    /// Handles the event that the worker closed its stdin. It gets no more attempts, and may still answer those that it
    /// has.
    pub(super) async fn on_input_closed(&mut self) {
        self.close_to_work();
        if self.end_cause.is_none()
            && matches!(
                self.exit_stage,
                ExitStage::Working | ExitStage::AfterWork(_)
            )
        {
            self.start_exit(EndCause::ClosedInput).await;
        }
    }

    /// Handles the event that the worker's stdout has ended, or cannot be read any more.
    fn on_output_end(&mut self, error: Option<IpcError>) {
        self.is_output_closed = true;
        self.close_to_work();
        if error.is_none() {
            self.end_output(now());
        }
        if let Some(error) = error {
            tracing::warn!(worker = %self.name, %error, "the worker's stdout cannot be read");
        }
        // The process is usually about to end. One that lives on without a stdout is useless, and is killed.
        let leaves = matches!(
            self.exit_stage,
            ExitStage::InputClosed(_) | ExitStage::Terminated
        );
        if self.end_cause.is_none() && !leaves {
            self.await_exit();
        }
    }

    /// Logs a message of the worker, and reports it to the run if it is about an attempt.
    pub(super) fn log(&mut self, id: Option<&MessageId>, level: LogLevel, message: String) {
        let (worker, word) = (&self.name, level.as_str());
        match level {
            LogLevel::Trace | LogLevel::Debug => {
                tracing::debug!(%worker, level = word, %message, "the worker says");
            }
            LogLevel::Error => {
                tracing::error!(%worker, level = word, %message, "the worker says");
            }
            // This is the level of the lines that the worker prints to stderr.
            LogLevel::Info | LogLevel::Warn => {
                tracing::info!(%worker, level = word, %message, "the worker says");
            }
        }
        let of = id
            .and_then(MessageId::as_counter)
            .or_else(|| self.jobs.oldest());
        let Some(entry) = of.and_then(|id| self.jobs.get_mut(id)) else {
            return;
        };
        let worker = Some(self.name.clone());
        entry.assignment.report(|ticket| Report::Log {
            ticket: Some(ticket),
            worker,
            level,
            message,
        });
    }

    /// Returns the name of the worker for messages.
    pub(super) fn display_name(&self) -> String {
        format!("worker {}", self.name)
    }
}

/// Whether the worker has said that it has given an attempt up because it was asked to.
fn is_cancellation(result: &Result<Payload, Box<Failure>>) -> bool {
    let code = result
        .as_ref()
        .err()
        .and_then(|failure| failure.code.as_deref());
    code == Some(TaskError::CANCELLED)
}
