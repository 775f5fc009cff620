//! Filters: holds each answer until it is confirmed, and serves programs that buffer their output.
//!
//! ```text
//!              answer k     answer k+1 or quiet
//! asked k ---> Ended(k) ----------------------> Confirmed(k)
//!              slot freed   \--- surplus line -> Refuted(k), OutOfStep
//! ```
//!
//! An answer gives its slot back at once, so the next item is sent while the answer is held. Only the first answer of a
//! fresh filter keeps its slot until the filter was quiet.

use std::time::{Duration, Instant};

use ratchet_ipc::Payload;

use super::alignment::{Alignment, Quiet, Unanswered};
use super::buffering::{Silence, Silent};
use super::in_flight::InFlightAttempt;
use super::{EndCause, ExitStage, RunningWorker, WorkerEvent};
use crate::dispatch::{Assignment, FilterChange, Report, Reporter, Retirement};
use crate::ids::Ticket;
use crate::outcome::{Class, Failure};
use crate::worker::config::{PoolConfig, WorkerProtocol};

/// The connection's state of a worker that is a filter: held answers, counts of lines, and silence.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each of them comes true by itself, in any order"
)]
pub(super) struct Filter {
    alignment: Alignment<Held>,
    silence: Silence,
    /// How many items the filter was sent, and how many lines it has printed for them.
    asked: u64,
    answered: u64,
    /// The runs that got answers since the count of lines last surely matched. They are notified if the count proves
    /// wrong.
    answered_to: Vec<Reporter>,
    /// Whether the pool gets no more items, as far as is known.
    is_last: bool,
    /// The filter's stdin was closed while it still had items to answer.
    input_closed: bool,
    /// The filter had read everything when its stdin was closed. After that, the system does not say it.
    had_read_all: bool,
    /// The filter's stdout has ended.
    output_ended: bool,
    /// It was decided which of the filter's answers are right, so its end has no further consequence for them.
    is_settled: bool,
    /// How many attempts have failed because the filter was out of step.
    pub(super) charged: u32,
}

/// An answer that is held because it may still be refuted.
#[derive(Debug)]
enum Held {
    /// The result was not reported. The attempt counts as running, so that the filter is sent nothing until it is
    /// confirmed.
    Whole(Box<FreshAnswer>),
    /// The run got the result provisionally, and waits for the confirmation.
    Reported {
        ticket: Ticket,
        reporter: Reporter,
        /// The count of lines had not surely matched when it came.
        in_doubt: bool,
    },
    /// A caller waits for the answer.
    Awaited {
        assignment: Assignment,
        result: Payload,
        ran: Duration,
    },
}

/// The answer of a fresh filter, held with its attempt.
#[derive(Debug)]
struct FreshAnswer {
    entry: InFlightAttempt,
    result: Payload,
    /// When the answer came.
    at: Instant,
}

/// The two ways in which a filter's count of lines can be wrong.
enum Mismatch<'a> {
    /// The filter printed a line that answers no item.
    Surplus(&'a str),
    /// The filter's output ended before it had answered everything, although it had all the time that it wanted.
    Missing { asked: u64, answered: u64 },
    /// The filter crashed or was killed before it had answered everything.
    Unfinished { asked: u64, answered: u64 },
}

impl Mismatch<'_> {
    /// Makes the failure of an answer that may belong to another item. `who` is the filter.
    fn failure(&self, who: &str) -> Failure {
        let said = match self {
            Self::Surplus(line) => format!("{who} {}", EndCause::surplus_line(line, false)),
            Self::Missing { asked, answered } => format!(
                "{who} printed {answered} lines for {asked} items, so nobody can tell which answers what; a filter has \
                 to answer each line with one line: leave out --warm (`protocol: lines`)"
            ),
            Self::Unfinished { asked, answered } => format!(
                "{who} had printed {answered} lines for {asked} items when it ended, and a missing line may be that of an \
                 earlier item: its latest answers may belong to other items"
            ),
        };
        Failure::new(Class::Protocol, said)
    }
}

impl Filter {
    /// Makes the state for a worker of this pool, if the pool's workers are filters.
    pub(super) fn of(config: &PoolConfig) -> Option<Self> {
        match config.language {
            WorkerProtocol::Native | WorkerProtocol::Mcp | WorkerProtocol::BazelJson { .. } => None,
            WorkerProtocol::Lines { .. } => Some(Self {
                alignment: Alignment::new(),
                silence: Silence::default(),
                asked: 0,
                answered: 0,
                answered_to: Vec::new(),
                is_last: false,
                input_closed: false,
                had_read_all: false,
                output_ended: false,
                is_settled: false,
                charged: 0,
            }),
        }
    }

    /// Records that the filter was sent an item. `is_only` is set if it has no other one.
    pub(super) fn asked(&mut self, is_only: bool, now: Instant) {
        self.asked += 1;
        self.alignment.asked(is_only);
        self.silence.asked(now);
    }

    /// Returns the time at which the filter has to be checked, if nothing happens before. After the end of its output,
    /// quiet proves nothing any more.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if self.output_ended {
            return None;
        }
        [self.alignment.deadline(), self.silence.deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether the filter was sent all items and its stdin was closed.
    pub(super) fn was_closed(&self) -> bool {
        self.input_closed
    }

    fn answered_to(&mut self, reporter: &Reporter) {
        if !self.answered_to.iter().any(|other| other.is(reporter)) {
            self.answered_to.push(reporter.clone());
        }
    }
}

impl RunningWorker {
    /// Holds the answer of a fresh filter whole, with its slot. Returns every other answer, to be sent now.
    pub(super) fn hold(
        &mut self,
        entry: InFlightAttempt,
        result: Result<Payload, Box<Failure>>,
        now: Instant,
    ) -> Option<(InFlightAttempt, Result<Payload, Box<Failure>>)> {
        let left = !self.jobs.is_empty();
        let Some(filter) = &mut self.filter else {
            return Some((entry, result));
        };
        filter.answered += 1;
        filter.silence.answered(left, now);
        let was_proven = filter.alignment.is_proven();
        let (held, told) = match result {
            // The next item must not be sent before the filter was quiet, so the slot is not given back.
            Ok(result) if !was_proven && !left && !filter.output_ended => {
                let answer = FreshAnswer {
                    entry,
                    result,
                    at: now,
                };
                (Some(Held::Whole(Box::new(answer))), None)
            }
            result => (None, Some((entry, result))),
        };
        let confirmed = filter.alignment.answered(held, now);
        if was_proven && !filter.alignment.is_proven() {
            self.emit(WorkerEvent::Filter(FilterChange::Unaligned));
        }
        self.confirm(confirmed, now);
        told
    }

    /// Sends the result of an attempt to its receiver. The answer of a filter is sent provisionally, and held.
    #[expect(clippy::expect_used, reason = "the answers of other workers are final")]
    pub(super) fn report_end(
        &mut self,
        assignment: Assignment,
        result: Result<Payload, Box<Failure>>,
        ran: Duration,
        next: Option<Ticket>,
        now: Instant,
    ) {
        let worker = Some(self.name.clone());
        let is_final = self
            .filter
            .as_ref()
            .is_none_or(|filter| filter.output_ended);
        let result = match result {
            Ok(result) if !is_final => result,
            result => return assignment.answer(result, worker, ran, next),
        };
        let filter = (self.filter.as_mut()).expect("only the answer of a filter is not final");
        let held = match assignment.answer_provisionally(result, worker, ran, next) {
            Ok((ticket, reporter)) => {
                filter.answered_to(&reporter);
                Held::Reported {
                    ticket,
                    reporter,
                    in_doubt: filter.alignment.is_in_doubt(),
                }
            }
            Err((assignment, result)) => Held::Awaited {
                assignment,
                result,
                ran,
            },
        };
        filter.alignment.hold(held, now);
    }

    /// Confirms the answer that was held.
    fn confirm(&mut self, held: Option<Held>, now: Instant) {
        match held {
            None => {}
            Some(Held::Whole(answer)) => {
                let FreshAnswer { entry, result, at } = *answer;
                self.end_attempt(entry, Ok(result), at, now);
            }
            Some(Held::Reported {
                ticket,
                reporter,
                in_doubt,
            }) => reporter.send(Report::Confirmed { ticket, in_doubt }),
            Some(Held::Awaited {
                assignment,
                result,
                ran,
            }) => {
                let worker = Some(self.name.clone());
                assignment.answer(Ok(result), worker, ran, None);
            }
        }
    }

    /// Refutes the answer that was held: it may belong to another item.
    fn refute(&mut self, held: Option<Held>, failure: Failure, now: Instant) {
        let failure = Box::new(failure);
        match held {
            None => return,
            Some(Held::Whole(answer)) => {
                let FreshAnswer { entry, at, .. } = *answer;
                self.end_attempt(entry, Err(failure), at, now);
            }
            Some(Held::Reported {
                ticket, reporter, ..
            }) => {
                reporter.send(Report::Refuted { ticket, failure });
            }
            Some(Held::Awaited {
                assignment, ran, ..
            }) => {
                let worker = Some(self.name.clone());
                assignment.answer(Err(failure), worker, ran, None);
            }
        }
        if let Some(filter) = &mut self.filter {
            filter.charged += 1;
        }
    }

    /// Confirms the answer that was held, and clears earlier ones if the count surely matches.
    fn apply_quiet(&mut self, quiet: Quiet<Held>, now: Instant) {
        // An answer that is reported only now is in doubt again, and stays so until the next moment of quiet.
        let is_told = !matches!(quiet.confirmed, Some(Held::Whole(_)));
        if quiet.matches && !is_told {
            self.report_cleared();
        }
        self.confirm(quiet.confirmed, now);
        if quiet.matches && is_told {
            self.report_cleared();
        }
    }

    /// Reports to all runs that none of their answers can prove wrong any more.
    fn report_cleared(&mut self) {
        let Some(filter) = &mut self.filter else {
            return;
        };
        for reporter in filter.answered_to.drain(..) {
            let worker = self.name.clone();
            reporter.send(Report::Cleared { worker });
        }
    }

    /// Confirms an answer after a moment of quiet, and lets a silent filter be sent more items.
    pub(super) fn watch_filter(&mut self, now: Instant) {
        let is_idle = self.jobs.is_empty();
        let Some(filter) = &mut self.filter else {
            return;
        };
        let was_proven = filter.alignment.is_proven();
        if let Some(quiet) = filter.alignment.quiet(is_idle, now) {
            // This frees the slot of the answer that was held whole, so the filter has to be marked as proven first.
            if is_idle && !was_proven {
                self.emit(WorkerEvent::Filter(FilterChange::Aligned));
            }
            self.apply_quiet(quiet, now);
        }
        let Some(filter) = &mut self.filter else {
            return;
        };
        let change = match filter.silence.on_time(now) {
            Some(Silent::Buffers(ahead)) => Some(FilterChange::Silent { ahead }),
            Some(Silent::Stalls) => Some(FilterChange::Stalled),
            Some(Silent::IsGivenUp) | None => None,
        };
        if let Some(change) = change {
            self.emit(WorkerEvent::Filter(change));
        }
        self.close_if_last();
    }

    /// Records whether the filter has been sent the last item.
    pub(super) fn expect_last(&mut self, is_last: bool) {
        if let Some(filter) = &mut self.filter {
            filter.is_last = is_last;
        }
        self.close_if_last();
    }

    /// Closes the stdin of a silent filter that was sent all its items, so that it prints what it buffers, or ends, and of
    /// one that is given up. One that is slow answers its last item before it ends.
    fn close_if_last(&mut self) {
        let has_items = !self.jobs.is_empty();
        let has_read_all = self.has_read_all();
        let Some(filter) = &mut self.filter else {
            return;
        };
        let is_over = filter.is_last && filter.silence.is_long();
        let closes = has_items && (is_over || filter.silence.is_given_up());
        let has_ended = filter.input_closed || filter.output_ended;
        if !closes || has_ended || self.exit_stage != ExitStage::Working {
            return;
        }
        filter.input_closed = true;
        filter.had_read_all = has_read_all;
        filter.silence.end();
        self.close_to_work();
        // It stays alive until it has answered its items. After them it is retired like any idle worker.
        self.exit_stage = ExitStage::AfterWork(Retirement::Shutdown);
        // This must not wait: the filter may stop reading until its output is read.
        self.transport.finish();
    }

    /// Marks the filter as out of step. The answer that is held fails, and runs are notified that earlier answers may
    /// be wrong.
    fn mark_out_of_step(&mut self, failure: &Failure, now: Instant) {
        let Some(filter) = &mut self.filter else {
            return;
        };
        let held = filter.alignment.lost();
        let answered_to = std::mem::take(&mut filter.answered_to);
        self.refute(held, failure.clone(), now);
        for reporter in answered_to {
            reporter.send(Report::OutOfStep {
                worker: self.name.clone(),
                reason: failure.message.clone(),
            });
        }
    }

    /// Handles a line that answers no item: lines can no longer be matched to items, so the filter is killed.
    pub(super) async fn take_surplus_line(&mut self, line: String, now: Instant) {
        let is_fresh = (self.filter.as_ref()).is_some_and(|filter| filter.alignment.is_fresh());
        let failure = Mismatch::Surplus(&line).failure(&self.display_name());
        self.mark_out_of_step(&failure, now);
        self.kill(EndCause::surplus_line(&line, is_fresh)).await;
    }

    /// Handles the end of the filter's output. If it has left items unanswered and nobody has ended it or closed its
    /// input, its exit decides what became of them, so nothing is settled before that.
    pub(super) fn end_output(&mut self, now: Instant) {
        let Some(filter) = &mut self.filter else {
            return;
        };
        filter.output_ended = true;
        if self.jobs.is_empty() || (filter.input_closed && !self.is_killed) {
            self.settle_filter(None, now);
        }
    }

    /// Decides which answers of a filter that prints nothing more are right. `cause` is the cause of its end, once it is
    /// known. If the filter's input was closed and it was given the time to answer, its unanswered items fail.
    pub(super) fn settle_filter(&mut self, cause: Option<&EndCause>, now: Instant) {
        let unanswered = self.unanswered(cause);
        let who = self.display_name();
        let Some(filter) = &mut self.filter else {
            return;
        };
        filter.output_ended = true;
        if std::mem::replace(&mut filter.is_settled, true) {
            return;
        }
        let (asked, answered) = (filter.asked, filter.answered);
        let had_its_time = filter.input_closed && !self.is_killed;
        let mismatch = if had_its_time {
            Mismatch::Missing { asked, answered }
        } else {
            Mismatch::Unfinished { asked, answered }
        };
        let ended = filter.alignment.ended(unanswered);
        let failure = mismatch.failure(&who);
        match ended {
            Some(quiet) => self.apply_quiet(quiet, now),
            None => self.mark_out_of_step(&failure, now),
        }
        if !had_its_time {
            return;
        }
        // Each attempt begins in the place of the one before it, as if that had been answered, so that the number of
        // slots stays right.
        while let Some(entry) = self.jobs.oldest().and_then(|id| self.jobs.remove(id)) {
            if let Some(filter) = &mut self.filter {
                filter.charged += 1;
            }
            self.end_attempt(entry, Err(Box::new(failure.clone())), now, now);
        }
    }

    /// Returns what the filter has not answered. Items that it cannot have read do not count if it ended as a program
    /// does that has nothing more to say; one that failed or was killed may have stopped before it had answered the
    /// item before.
    fn unanswered(&self, cause: Option<&EndCause>) -> Unanswered {
        let is_success =
            |cause: &&EndCause| matches!(cause, EndCause::Exited(exit) if exit.is_success());
        let unread_from = cause
            .filter(is_success)
            .and_then(|cause| self.unread_from(cause));
        let had_read_all = self
            .filter
            .as_ref()
            .is_some_and(|filter| filter.had_read_all);
        let count = unread_from.map_or(self.jobs.len(), |read| self.jobs.sent_before(read));
        match count {
            0 => Unanswered::Nothing,
            1 if self.jobs.len() == 1 && (had_read_all || self.has_read_all()) => {
                Unanswered::OneThatWasRead
            }
            _ => Unanswered::Other,
        }
    }
}
