//! Filters: answers that are held until they can be believed, and programs that buffer what they print.
//!
//! ```text
//!              answer k     answer k+1 or quiet
//! asked k ---> Ended(k) ----------------------> Confirmed(k)
//!              slot back    \--- surplus line -> Refuted(k), OutOfStep
//! ```
//!
//! An answer gives its slot back at once, so the next item is on its way while the answer is held. Only the
//! first answer of a fresh filter keeps its slot until the filter was quiet.

use std::time::{Duration, Instant};

use ratchet_ipc::Payload;

use super::alignment::{Alignment, Quiet};
use super::in_flight::Entry;
use super::silence::Silence;
use super::{Cause, Leaving, Live, News};
use crate::dispatch::{Assignment, FilterNews, Report, Reporter, Retirement};
use crate::ids::Ticket;
use crate::outcome::{Class, Failure};
use crate::worker::config::{Language, PoolConfig};

/// What a connection knows of a filter.
pub(super) struct Filter {
    alignment: Alignment<Held>,
    silence: Silence,
    /// How many items it was sent, and how many lines it has printed for them.
    asked: u64,
    answered: u64,
    /// Whom its answers went to since the count of its lines last surely matched.
    heard_by: Vec<Reporter>,
    /// Nothing more will come, as far as anybody knows.
    is_last: bool,
    /// Its stdin was closed while it still had items to answer.
    input_closed: bool,
    /// Its stdout has ended.
    output_ended: bool,
    /// How many attempts were failed because it was out of step.
    pub(super) charged: u32,
}

/// An answer that may yet be refuted.
#[derive(Debug)]
enum Held {
    /// Told to nobody: its attempt counts as running, so that the filter is sent nothing meanwhile.
    Whole(Box<Answer>),
    /// Its executor has it, and waits for it to be confirmed.
    Reported {
        ticket: Ticket,
        reporter: Reporter,
        /// The count of lines had not surely matched when it came.
        in_doubt: bool,
    },
    /// A caller waits for it.
    Awaited {
        assignment: Assignment,
        result: Payload,
        ran: Duration,
    },
}

#[derive(Debug)]
struct Answer {
    entry: Entry,
    result: Payload,
    at: Instant,
}

/// How a filter's count of lines is wrong.
enum Mismatch<'a> {
    /// It printed a line that answers nothing.
    Surplus(&'a str),
    /// Its output ended before it had answered everything.
    Missing { asked: u64, answered: u64 },
}

impl Filter {
    /// What there is to know of a worker, if it is a filter.
    pub(super) fn of(config: &PoolConfig) -> Option<Self> {
        match config.language {
            Language::Native => None,
            Language::Lines { .. } => Some(Self {
                alignment: Alignment::new(),
                silence: Silence::default(),
                asked: 0,
                answered: 0,
                heard_by: Vec::new(),
                is_last: false,
                input_closed: false,
                output_ended: false,
                charged: 0,
            }),
        }
    }

    /// It was sent an item.
    pub(super) fn asked(&mut self, now: Instant) {
        self.asked += 1;
        self.silence.asked(now);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        [self.alignment.deadline(), self.silence.deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether it was sent all there is, and its stdin closed for it.
    pub(super) fn was_closed(&self) -> bool {
        self.input_closed
    }

    fn heard_by(&mut self, reporter: &Reporter) {
        if !self.heard_by.iter().any(|other| other.is(reporter)) {
            self.heard_by.push(reporter.clone());
        }
    }
}

impl Live {
    /// An attempt ends with this. An answer of a filter is held; what is left to be told now is returned.
    pub(super) fn hold(
        &mut self,
        entry: Entry,
        result: Result<Payload, Box<Failure>>,
        now: Instant,
    ) -> Option<(Entry, Result<Payload, Box<Failure>>)> {
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
                let answer = Answer {
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
            self.tell(News::Filter(FilterNews::Unaligned));
        }
        self.confirm(confirmed, now);
        told
    }

    /// The attempt's end is told. An answer of a filter is told provisionally.
    pub(super) fn tell_end(
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
        let Some(filter) = &mut self.filter else {
            return;
        };
        let held = match assignment.answer_provisionally(result, worker, ran, next) {
            Ok((ticket, reporter)) => {
                filter.heard_by(&reporter);
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

    /// What was held is believed.
    fn confirm(&mut self, held: Option<Held>, now: Instant) {
        match held {
            None => {}
            Some(Held::Whole(answer)) => {
                let Answer { entry, result, at } = *answer;
                self.end_attempt(entry, Ok(result), at, now);
            }
            Some(Held::Reported {
                ticket,
                reporter,
                in_doubt,
            }) => reporter.tell(Report::Confirmed { ticket, in_doubt }),
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

    /// What was held is the answer to something else.
    fn refute(&mut self, held: Option<Held>, failure: Failure, now: Instant) {
        let failure = Box::new(failure);
        match held {
            None => return,
            Some(Held::Whole(answer)) => {
                let Answer { entry, at, .. } = *answer;
                self.end_attempt(entry, Err(failure), at, now);
            }
            Some(Held::Reported {
                ticket, reporter, ..
            }) => {
                reporter.tell(Report::Refuted { ticket, failure });
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

    fn settled(&mut self, quiet: Quiet<Held>, now: Instant) {
        // An answer that is told only now is in doubt again, and stays so until the next moment of quiet.
        let is_told = !matches!(quiet.confirmed, Some(Held::Whole(_)));
        if quiet.matches && !is_told {
            self.tell_cleared();
        }
        self.confirm(quiet.confirmed, now);
        if quiet.matches && is_told {
            self.tell_cleared();
        }
    }

    /// None of the answers given so far can prove wrong any more, or none ever will.
    fn tell_cleared(&mut self) {
        let Some(filter) = &mut self.filter else {
            return;
        };
        for reporter in filter.heard_by.drain(..) {
            let worker = self.name.clone();
            reporter.tell(Report::Cleared { worker });
        }
    }

    /// Time has passed.
    pub(super) fn watch_filter(&mut self, now: Instant) {
        let is_idle = self.jobs.is_empty();
        let Some(filter) = &mut self.filter else {
            return;
        };
        let was_proven = filter.alignment.is_proven();
        if let Some(quiet) = filter.alignment.quiet(is_idle, now) {
            // The answer that was held whole gives its slot back by this, so the filter has to count as proven first.
            if is_idle && !was_proven {
                self.tell(News::Filter(FilterNews::Aligned));
            }
            self.settled(quiet, now);
        }
        let Some(filter) = &mut self.filter else {
            return;
        };
        if let Some(ahead) = filter.silence.on_time(now) {
            self.tell(News::Filter(FilterNews::Silent { ahead }));
        }
        self.close_if_last();
    }

    /// Nothing more will come for this worker, or something will after all.
    pub(super) fn expect_last(&mut self, is_last: bool) {
        if let Some(filter) = &mut self.filter {
            filter.is_last = is_last;
        }
        self.close_if_last();
    }

    /// A filter that buffers, and has been sent all there is, prints what it has once its input ends.
    fn close_if_last(&mut self) {
        let has_items = !self.jobs.is_empty();
        let Some(filter) = &mut self.filter else {
            return;
        };
        let closes = filter.is_last && filter.silence.is_long() && has_items;
        let has_ended = filter.input_closed || filter.output_ended;
        if !closes || has_ended || self.leaving != Leaving::Stays {
            return;
        }
        filter.input_closed = true;
        filter.silence.end();
        self.close_to_work();
        // What it has yet to answer keeps it alive; then it leaves like any other that is not needed.
        self.leaving = Leaving::When(Retirement::Shutdown);
        // It may not read on before it is read, so this must not wait.
        self.transport.finish();
    }

    /// The filter's answers do not match what it was asked. What is held fails, what was told may be wrong.
    fn lose_step(&mut self, mismatch: &Mismatch<'_>, now: Instant) -> Option<Failure> {
        let who = self.who();
        let filter = self.filter.as_mut()?;
        let said = match mismatch {
            Mismatch::Surplus(line) => format!("{who} {}", Cause::surplus(line, false)),
            Mismatch::Missing { asked, answered } => format!(
                "{who} printed {answered} lines for {asked} items, so nobody can tell which answers what; a filter has \
                 to answer each line with one line: leave out --warm (`protocol: lines`)"
            ),
        };
        let failure = Failure::new(Class::Protocol, said);
        let held = filter.alignment.lost();
        let heard_by = std::mem::take(&mut filter.heard_by);
        self.refute(held, failure.clone(), now);
        for reporter in heard_by {
            reporter.tell(Report::OutOfStep {
                worker: self.name.clone(),
                reason: failure.message.clone(),
            });
        }
        Some(failure)
    }

    /// The filter printed a line that answers nothing: nobody can tell any more which line answers what.
    pub(super) async fn take_surplus(&mut self, line: String, now: Instant) {
        let is_fresh = (self.filter.as_ref()).is_some_and(|filter| filter.alignment.is_fresh());
        self.lose_step(&Mismatch::Surplus(&line), now);
        self.kill(Cause::surplus(&line, is_fresh)).await;
    }

    /// The filter's output has ended. What it has not answered yet it never will.
    pub(super) fn end_output(&mut self, now: Instant) {
        let Some(filter) = &mut self.filter else {
            return;
        };
        if std::mem::replace(&mut filter.output_ended, true) {
            return;
        }
        let (asked, answered) = (filter.asked, filter.answered);
        if !filter.input_closed || self.jobs.is_empty() || self.killed {
            let quiet = filter.alignment.ended();
            return self.settled(quiet, now);
        }
        let Some(failure) = self.lose_step(&Mismatch::Missing { asked, answered }, now) else {
            return;
        };
        // Each takes the place of the one before it, as if it had been answered.
        while let Some(entry) = self.jobs.oldest().and_then(|id| self.jobs.remove(id)) {
            if let Some(filter) = &mut self.filter {
                filter.charged += 1;
            }
            self.end_attempt(entry, Err(Box::new(failure.clone())), now, now);
        }
    }
}
