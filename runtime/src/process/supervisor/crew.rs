//! A pool as an executor has it.

use tokio::sync::mpsc;

use super::roster::Listener;
use super::{Command, call};
use crate::executor::crew::{Assignment, Crew, Prospect, Stop};
use crate::executor::reporter::Reporter;
use crate::scheduling::{Kind, Ticket};
use crate::worker::orders::{Key, ReplyTo, Work};

/// A pool as an executor has it.
#[derive(Debug)]
pub(crate) struct PoolCrew {
    kind: Kind,
    supervisor: mpsc::UnboundedSender<Command>,
    reporter: Reporter,
}

impl PoolCrew {
    /// The executor calls the kind `known_as`, and hears of it by that name.
    pub(in crate::process) fn new(
        kind: Kind,
        known_as: Kind,
        supervisor: mpsc::UnboundedSender<Command>,
        reporter: Reporter,
    ) -> Self {
        let listener = Listener {
            reporter: reporter.clone(),
            kind: known_as,
            prospect: Prospect::default(),
        };
        // A supervisor that is gone tells nothing; the first attempt shows it.
        let _ = supervisor.send(Command::Listen(kind, listener));
        Self {
            kind,
            supervisor,
            reporter,
        }
    }
}

impl Crew for PoolCrew {
    fn start(&mut self, assignment: Assignment) {
        let Assignment {
            ticket,
            job,
            number,
            ahead,
            edition,
            ..
        } = assignment;
        let reply = ReplyTo::Loop {
            ticket,
            reporter: self.reporter.clone(),
            edition,
        };
        let work = Work {
            job,
            number,
            ahead,
            reply,
        };
        if let Err(refused) = self.supervisor.send(Command::Work(self.kind, None, work))
            && let Command::Work(_, _, work) = refused.0
        {
            call::without_supervisor(work);
        }
    }

    fn stop(&mut self, ticket: Ticket, stop: Stop) {
        let key = Key::Ticket {
            executor: self.reporter.number(),
            ticket,
        };
        // A supervisor that is gone has stopped everything.
        let _ = self.supervisor.send(Command::Stop(key, stop));
    }

    fn expect(&mut self, _kind: Kind, prospect: Prospect) {
        let executor = self.reporter.number();
        // A supervisor that is gone has no workers.
        let _ = self
            .supervisor
            .send(Command::Expect(self.kind, executor, prospect));
    }
}

impl Drop for PoolCrew {
    /// Dropping a run stops what it has started.
    fn drop(&mut self) {
        // A supervisor that is gone has stopped everything.
        let _ = self
            .supervisor
            .send(Command::Abandon(self.kind, self.reporter.clone()));
    }
}
