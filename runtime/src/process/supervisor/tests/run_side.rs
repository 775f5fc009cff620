//! A run from the side of a pool: it takes the pool, sends attempts to its workers, and receives the reports.

use std::sync::Arc;

use super::fake::job;
use crate::Error;
use crate::dispatch::{
    Assignment, AttemptKey, Demand, Offer, Order, PoolKey, ReplyTo, Report, ReportReceiver,
    Reporter, StopRequest, WorkerNumber,
};
use crate::ids::KindId;
use crate::ids::{PlaceId, Ticket};
use crate::job::Job;
use crate::process::ProcessPool;
use crate::process::supervisor::Attachment;
use crate::scheduling::{Decision, Scheduler, SchedulerRequest, SchedulerSettings};

/// The key by which the run identifies its pool.
const KEY: PoolKey = PoolKey {
    kind: KindId(1),
    place: PlaceId::LOCAL,
};

/// Makes tickets as a run would.
pub(super) fn tickets(count: usize) -> Vec<Ticket> {
    let now = tokio::time::Instant::now().into_std();
    let slots = u32::try_from(count).unwrap();
    let settings = SchedulerSettings {
        slots,
        ..SchedulerSettings::default()
    };
    let mut scheduler = Scheduler::new(settings, now).unwrap();
    let tickets = (0..count).map(|_| {
        scheduler.push(SchedulerRequest::new("echo"), now).unwrap();
        match scheduler.pop(now) {
            Decision::Start(ticket) => ticket,
            other => panic!("{other:?}"),
        }
    });
    tickets.collect()
}

/// Orders a worker to stop an attempt.
pub(super) fn stop(offer: &Offer, ticket: Ticket, stop: StopRequest) {
    let order = Order::Stop(AttemptKey::Ticket(ticket), stop);
    offer.link.order(order);
}

/// A run that uses a pool, played by the test.
pub(super) struct RunSide {
    attachment: Attachment,
    reporter: Reporter,
    pub(super) reports: ReportReceiver,
    /// The workers that were offered and not withdrawn.
    pub(super) offers: Vec<Offer>,
    pub(super) withdrawn: Vec<WorkerNumber>,
}

impl RunSide {
    pub(super) fn attach(pool: &ProcessPool) -> Result<Self, Error> {
        let (reporter, reports) = Reporter::new();
        Ok(Self {
            attachment: pool.attach(KEY, reporter.clone())?,
            reporter,
            reports,
            offers: Vec::new(),
            withdrawn: Vec::new(),
        })
    }

    /// Waits for an offer if there is none.
    pub(super) async fn offered(&mut self) -> Offer {
        while self.offers.is_empty() {
            let report = self.reports.reports.recv().await.unwrap();
            assert!(self.notes(&report), "{report:?}");
        }
        self.offers[0].clone()
    }

    /// Sends an attempt to the first worker that is offered.
    pub(super) async fn perform(&mut self, ticket: Ticket, ahead: bool) {
        let offer = self.offered().await;
        self.perform_on(&offer, ticket, ahead);
    }

    pub(super) fn perform_on(&self, offer: &Offer, ticket: Ticket, ahead: bool) {
        self.perform_job(offer, ticket, job("a"), ahead);
    }

    pub(super) fn perform_job(&self, offer: &Offer, ticket: Ticket, job: Job, ahead: bool) {
        let assignment = Assignment {
            job: Arc::new(job),
            attempt: 1,
            ahead,
            slot: None,
            resources: None,
            trace: None,
            reply: ReplyTo::Loop {
                ticket,
                reporter: self.reporter.clone(),
            },
        };
        if let Err(assignment) = offer.link.perform(assignment) {
            assignment.give_back(None, true).unwrap();
        }
    }

    pub(super) fn demand(&self, demand: Demand) {
        self.attachment.demand(demand);
    }

    pub(super) fn notes(&mut self, report: &Report) -> bool {
        match report {
            Report::Offered { offer, .. } => {
                self.offers.retain(|other| other.number != offer.number);
                self.offers.push(offer.clone());
            }
            Report::Withdrawn { worker, .. } => {
                self.offers.retain(|other| other.number != *worker);
                self.withdrawn.push(*worker);
            }
            Report::Introduced { .. }
            | Report::Worker(_)
            | Report::Proven { .. }
            | Report::Filter { .. }
            | Report::DemandWanted { .. } => {}
            _ => return false,
        }
        true
    }

    /// Waits for the next report about an attempt.
    pub(super) async fn next(&mut self) -> Report {
        loop {
            let report = self.reports.reports.recv().await.unwrap();
            if !self.notes(&report) {
                return report;
            }
        }
    }
}
