//! How a run is put together from the plan of its executor.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use ratchet_ipc::JobKey;
use ratchet_resilience::shutdown::PhaseClock;
use tokio::sync::mpsc;

use super::breakers::Breakers;
use super::handle::{Gauges, Order};
use super::kinds::Kinds;
use super::local::LocalPerformer;
use super::needs::{Memory, Needs};
use super::orchestrator::{KindCounts, Orchestrator, Rules};
use super::order::{Ordering, Outgoing};
use super::pace::Pace;
use super::performers::Performers;
use super::plan::Plan;
use super::provisional::Provisional;
use super::recording::Recording;
use super::reuse::Reuse;
use super::sinks::Sinks;
use super::source::Source;
use super::stop::Tally;
use crate::Error;
use crate::dispatch::Reporter;
use crate::outcome::Outcome;
use crate::scheduling::{Kind, Scheduler, Workers};
use crate::table::{Names, Table};

/// What connects a loop with the rest.
pub(super) struct Wiring {
    pub(super) source: Source,
    pub(super) ordering: Ordering,
    pub(super) out: mpsc::Sender<Arc<Outcome>>,
    pub(super) orders: mpsc::UnboundedReceiver<Order>,
    pub(super) gauges: Arc<Gauges>,
}

impl Plan {
    /// The loop of a run.
    pub(super) fn orchestrator(&self, wiring: Wiring) -> Result<Orchestrator, Error> {
        let Wiring {
            mut source,
            ordering,
            out,
            orders,
            gauges,
        } = wiring;
        let now = tokio::time::Instant::now().into_std();
        let (reporter, reports) = Reporter::new();
        let grace = self.grace.cancelling;
        let local = LocalPerformer::new(
            reporter.clone(),
            self.runner.clone(),
            self.commands(),
            self.commander.clone(),
            grace,
        );
        let mut kinds = self.kinds.clone();
        let mut performers = Performers::new(local, kinds.len());
        let mut scheduler = Scheduler::new(self.scheduling.clone(), now)?;
        for pool in &self.pools {
            // Half of the numbers are for jobs that take tokens, see uncertain.rs.
            let number = u16::try_from(kinds.len()).ok();
            let number = number.filter(|number| *number < u16::MAX / 2);
            let number = number.ok_or_else(|| Error::InvalidSetting {
                setting: "pool",
                reason: "is one too many: a run has at most 32,767 kinds of worker".to_owned(),
            })?;
            // Nobody is there before a worker is offered.
            scheduler.set_workers(Kind(number), Workers::Free(0));
            performers.add(pool.attach(Kind(number), reporter.clone())?);
            kinds.push(pool.kind());
        }
        let total = source.total();
        let (needs, names) = needs_and_names(&mut source, self.memory);
        let phases = PhaseClock::new(self.grace).map_err(|error| Error::InvalidSetting {
            setting: "grace",
            reason: error.to_string(),
        })?;
        let rules = Rules {
            began: now,
            window: self.window,
            crash_limit: self.crash_limit,
            max_failures: self.max_failures,
            deadline: self.deadline.and_then(|limit| now.checked_add(limit)),
            grace,
        };
        Ok(Orchestrator {
            rules,
            now,
            source,
            total,
            taken: 0,
            names,
            needs,
            counts: vec![KindCounts::default(); kinds.len()],
            kinds: Kinds::new(kinds),
            unresolved: VecDeque::new(),
            reuse: Reuse::new(self.cache.clone()),
            scheduler,
            entries: Vec::new(),
            living: 0,
            weight: 0,
            weight_out: 0,
            patience: BTreeSet::new(),
            judges_from: None,
            provisional: Provisional::default(),
            breakers: Breakers::new(self.kind_breakers.clone(), self.host_breakers.clone()),
            performers,
            reports,
            reporter,
            phases,
            stopped: None,
            held: None,
            paused: false,
            tally: Tally::default(),
            pace: Pace::new(now),
            rng: self.rng(),
            ended: VecDeque::new(),
            recording: Recording::start(self.ledger.clone()).map_err(|error| Error::NoThread {
                reason: error.to_string(),
            })?,
            outgoing: Outgoing::new(ordering),
            out,
            orders,
            sinks: Sinks::start(&self.sinks, now, self.clock.now()),
            gauges,
            closure: "closure".into(),
            limits: Vec::new(),
            has_rates: false,
            uncertain: None,
            ran: Vec::new(),
            wake: None,
        })
    }
}

/// What is known beforehand of needs, and the names of the living where that is not known.
fn needs_and_names(source: &mut Source, memory: Memory) -> (Needs, Option<Names<JobKey>>) {
    match source {
        Source::List { needed, .. } => {
            let needed = std::mem::take(needed);
            (Needs::new(needed, Memory::Nothing), None)
        }
        _ => (Needs::new(Table::default(), memory), Some(Names::default())),
    }
}
