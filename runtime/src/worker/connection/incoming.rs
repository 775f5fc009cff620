//! What a worker says, and what follows from it.

use std::time::Instant;

use ratchet_ipc::{
    Event, Incoming, IpcError, IpcMessage, LogLevel, MessageId, MessageKind, Nonce, Payload,
    StrayLine, StrayMode, TaskError,
};

use super::in_flight::Entry;
use super::{Cause, Leaving, Live, now};
use crate::context::Step;
use crate::dispatch::{AttemptKey, Report, StopReason};
use crate::ids::Ticket;
use crate::outcome::{Class, Failure};
use crate::worker::config::Language;

/// Of answers that nobody asked for, so many are worth a line each.
const UNASKED_LINES: u64 = 10;

impl Live {
    /// Takes what came in, and what came in with it.
    pub(super) async fn take_all(&mut self, first: Result<Incoming, IpcError>) {
        let now = now();
        let mut next = Some(first);
        while let Some(incoming) = next {
            match incoming {
                Ok(Incoming::Message(IpcMessage::Response(response))) => {
                    self.doubtful = false;
                    if self.profile.is_none() {
                        self.handshake.on_response();
                        self.shake_hands().await;
                    }
                    self.take_answer(&response.id, response.outcome, now);
                }
                Ok(Incoming::End) => return self.fall_silent(None),
                Ok(incoming) => self.take(incoming, now).await,
                Err(IpcError::Write(_)) => self.lose_ears().await,
                Err(error) => return self.fall_silent(Some(error)),
            }
            next = self.transport.try_receive().map(Ok);
        }
    }

    async fn take(&mut self, incoming: Incoming, now: Instant) {
        match incoming {
            Incoming::Message(IpcMessage::Event(event)) => {
                self.doubtful = false;
                self.take_event(event, now).await;
            }
            Incoming::Message(IpcMessage::Request(request)) => {
                self.doubt("a request");
                self.log(
                    None,
                    LogLevel::Warn,
                    format!("a host answers no request ({})", request.id),
                );
            }
            Incoming::Readiness(readiness) => {
                self.doubtful = false;
                self.introduced = true;
                self.handshake.on_readiness(readiness);
                self.shake_hands().await;
            }
            Incoming::Stray(stray) => self.take_stray(stray, now).await,
            Incoming::Malformed(malformed) if malformed.kind == MessageKind::Response => {
                let failure = Failure::new(
                    Class::Protocol,
                    format!(
                        "{} gave a malformed answer: {} ({})",
                        self.who(),
                        malformed.reason,
                        malformed.line
                    ),
                );
                self.take_wreck(malformed.id.as_ref(), failure, now);
            }
            Incoming::Malformed(malformed) => {
                if malformed.is_hello {
                    self.handshake.on_malformed_hello(&*malformed.reason);
                    self.shake_hands().await;
                }
                let message = format!("not understood: {} ({})", malformed.reason, malformed.line);
                self.log(None, LogLevel::Warn, message);
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
                    self.take_wreck(large.id.as_ref(), failure, now);
                }
                Some(MessageKind::Request | MessageKind::Event) => {
                    let message = format!("an event of {} bytes was dropped", large.bytes);
                    self.log(None, LogLevel::Warn, message);
                }
            },
            // Both were dealt with before; what later versions may bring is not for us.
            _ => {}
        }
    }

    async fn take_event(&mut self, event: Event, now: Instant) {
        match event {
            Event::Hello(hello) => {
                self.introduced = true;
                self.handshake.on_hello(hello);
                self.shake_hands().await;
            }
            Event::Ready => {
                self.handshake.on_ready();
                self.shake_hands().await;
            }
            Event::Progress(progress) => {
                let Some(id) = progress.id.as_counter() else {
                    return;
                };
                let Some(entry) = self.jobs.get_mut(id) else {
                    return;
                };
                entry.sign(now);
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
            Event::Pong(nonce) if self.awaits(nonce) => {
                self.pinged = None;
                self.ping_at = self.config.ping.and_then(|every| now.checked_add(every));
            }
            // What a worker works on is known by what it has answered. The others are a host's own
            // words, or those of a later version.
            _ => {}
        }
    }

    fn awaits(&self, pong: Nonce) -> bool {
        let asked = self.pinged.as_ref();
        asked.is_some_and(|asked| asked.nonce == pong.nonce)
    }

    /// An attempt was answered.
    pub(super) fn take_answer(
        &mut self,
        id: &MessageId,
        outcome: Result<Payload, TaskError>,
        now: Instant,
    ) {
        self.prove();
        match id.as_counter().and_then(|id| self.jobs.remove(id)) {
            Some(entry) => self.settle(entry, outcome.map_err(|error| Box::new(error.into())), now),
            None => self.take_unasked(id),
        }
    }

    /// What came is no answer that anybody could use, and all that the attempt will get.
    fn take_wreck(&mut self, id: Option<&MessageId>, failure: Failure, now: Instant) {
        let id = match id {
            Some(id) => id.as_counter(),
            // Of a serial worker it can only be the one that it works on.
            None if self.jobs.is_serial() => self.jobs.oldest(),
            None => None,
        };
        match id.and_then(|id| self.jobs.remove(id)) {
            Some(entry) => self.settle(entry, Err(Box::new(failure)), now),
            None => self.log(None, LogLevel::Warn, failure.message),
        }
    }

    fn take_unasked(&mut self, id: &MessageId) {
        self.unasked += 1;
        if self.unasked <= UNASKED_LINES {
            let message = format!("answered {id}, which nobody had asked, or answered it twice");
            self.log(None, LogLevel::Warn, message);
        }
    }

    /// An attempt was answered, or is not going to be.
    pub(super) fn settle(
        &mut self,
        entry: Entry,
        result: Result<Payload, Box<Failure>>,
        now: Instant,
    ) {
        let is_cancelled =
            |failure: &Failure| failure.code.as_deref() == Some(TaskError::CANCELLED);
        let cancelled = matches!(&result, Err(failure) if is_cancelled(failure));
        if entry.recalled && cancelled && entry.asked().is_none() {
            let begun = entry.begun.is_some();
            // Its slot passes on, as it does where an attempt ends.
            let next = begun.then(|| self.begin_next(now)).flatten();
            return self.give_back(entry.assignment, begun, next);
        }
        let killed_for = self.killed_for.filter(|(id, _)| *id == entry.id);
        let result = match killed_for.map(|(_, why)| why).or(entry.asked()) {
            // Out of time is out of time, whatever it says in its last moment.
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

    /// An attempt that ran until `at` has ended; the next one begins in its place.
    pub(super) fn end_attempt(
        &mut self,
        entry: Entry,
        result: Result<Payload, Box<Failure>>,
        at: Instant,
        now: Instant,
    ) {
        let ran = entry.ran(at);
        self.count(&entry, at);
        let next = entry.begun.and_then(|_| self.begin_next(now));
        self.tell_end(entry.assignment, result, ran, next, now);
    }

    fn count(&mut self, entry: &Entry, now: Instant) {
        self.load.ended += 1;
        if !entry.assignment.is_of_run() {
            self.load.calls_begun += u32::from(entry.assignment.ahead && entry.begun.is_none());
            self.load.calls_ended += 1;
        }
        self.load.busy += now.saturating_duration_since(self.ended_at);
        self.ended_at = now;
    }

    /// The worker turns to what was sent ahead. Says what that is, if it is an attempt of a run.
    fn begin_next(&mut self, now: Instant) -> Option<Ticket> {
        let next = self.jobs.begin_next(now)?;
        let assignment = &next.assignment;
        self.load.calls_begun += u32::from(assignment.ahead && !assignment.is_of_run());
        AttemptKey::ticket(assignment.key())
    }

    async fn take_stray(&mut self, stray: StrayLine, now: Instant) {
        if matches!(self.config.language, Language::Lines { .. }) {
            // Worse than no answer is the answer to something else.
            return self.take_surplus(stray.text, now).await;
        }
        match stray.mode {
            StrayMode::Log => {
                self.doubt(&stray.text);
                if stray.suppressed > 0 {
                    let message = format!(
                        "{} lines that are no messages were dropped",
                        stray.suppressed
                    );
                    self.log(None, LogLevel::Info, message);
                }
                if !stray.text.is_empty() {
                    self.log(None, LogLevel::Info, stray.text);
                }
            }
            StrayMode::Fail => self.fail_for(stray.text, now).await,
            StrayMode::Kill => self.kill(Cause::Stray(stray.text)).await,
        }
    }

    /// The worker printed what is no message, at the cost of what it works on. It works on that all the same, so
    /// it is replaced: nobody else's time is to pass meanwhile.
    async fn fail_for(&mut self, printed: String, now: Instant) {
        let failure = Failure::new(
            Class::Protocol,
            format!("{} printed what is no message: {printed}", self.who()),
        );
        let works_on = self.jobs.oldest().filter(|_| self.jobs.is_serial());
        let Some(entry) = works_on.and_then(|id| self.jobs.remove(id)) else {
            return self.log(None, LogLevel::Warn, failure.message);
        };
        self.killed_for
            .get_or_insert((entry.id, StopReason::Unwanted));
        self.kill(Cause::Spoiled(printed)).await;
        self.count(&entry, now);
        let (ran, worker) = (entry.ran(now), Some(self.name.clone()));
        entry
            .assignment
            .answer(Err(Box::new(failure)), worker, ran, None);
    }

    /// Says once of a worker that never made sense that it makes none: else a filter that was not declared
    /// as one would be waited for without a word.
    fn doubt(&mut self, printed: &str) {
        if self.doubtful && self.jobs.oldest().is_some() {
            self.doubtful = false;
            tracing::warn!(
                worker = %self.name,
                printed,
                "a worker has a job and prints what is no answer; a filter needs protocol `lines`"
            );
        }
    }

    /// The worker closed its stdin: it gets nothing more. What it has it may still answer.
    async fn lose_ears(&mut self) {
        self.close_to_work();
        if self.dying.is_none() && matches!(self.leaving, Leaving::Stays | Leaving::When(_)) {
            self.leave_for(Cause::ClosedInput).await;
        }
    }

    /// Nothing more can be read from the worker.
    fn fall_silent(&mut self, error: Option<IpcError>) {
        self.mute = true;
        self.close_to_work();
        if error.is_none() {
            self.end_output(now());
        }
        if let Some(error) = error {
            tracing::warn!(worker = %self.name, %error, "the worker's stdout cannot be read");
        }
        // As a rule it is about to end; one that lives on without a voice is of no use.
        let leaves = matches!(self.leaving, Leaving::By(_) | Leaving::Asked);
        if self.dying.is_none() && !leaves {
            self.expect_end();
        }
    }

    /// Tells those who are interested what the worker says.
    pub(super) fn log(&mut self, id: Option<&MessageId>, level: LogLevel, message: String) {
        let (worker, word) = (&self.name, level.as_str());
        match level {
            LogLevel::Trace | LogLevel::Debug => {
                tracing::debug!(%worker, level = word, %message, "the worker says");
            }
            LogLevel::Error => {
                tracing::error!(%worker, level = word, %message, "the worker says");
            }
            // As seen as what it prints to stderr.
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

    pub(super) fn who(&self) -> String {
        format!("worker {}", self.name)
    }
}
