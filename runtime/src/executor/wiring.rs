//! How a run is put together from the plan of its executor.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use ratchet_resilience::shutdown::PhaseClock;
use tokio::sync::mpsc;

use super::breakers::Breakers;
use super::handle::{Gauges, Order};
use super::kinds::Kinds;
use super::local::LocalCrew;
use super::needs::{Memory, Needs};
use super::orchestrator::{Orchestrator, Rules, Staff};
use super::order::{Ordering, Outgoing};
use super::pace::Pace;
use super::plan::Plan;
use super::provisional::Provisional;
use super::recording::Recording;
use super::reporter::Reporter;
use super::reuse::Reuse;
use super::router::Router;
use super::sinks::Sinks;
use super::source::Source;
use super::stop::Tally;
use crate::Error;
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
        let local = LocalCrew::new(
            reporter.clone(),
            self.runner.clone(),
            self.commands(),
            self.commander.clone(),
            grace,
        );
        let mut router = Router::new();
        let mut kinds = self.kinds.clone();
        router.add(Box::new(local), kinds.len());
        let mut staff = vec![Staff::default(); kinds.len()];
        let mut scheduler = Scheduler::new(self.scheduling.clone(), now)?;
        for recruiter in &self.recruiters {
            let first = Kind(u16::try_from(kinds.len()).unwrap_or(u16::MAX));
            let theirs = recruiter.kinds();
            router.add(recruiter.crew(first, reporter.clone()), theirs.len());
            for kind in theirs {
                // Nobody is there before a crew says so.
                let number = Kind(u16::try_from(kinds.len()).unwrap_or(u16::MAX));
                scheduler.set_workers(number, Workers::Free(0));
                staff.push(Staff::nobody());
                kinds.push(kind);
            }
        }
        let total = source.total();
        let (needs, names) = match &mut source {
            Source::List { needed, .. } => {
                let needed = std::mem::take(needed);
                (Needs::new(needed, Memory::Nothing), None)
            }
            _ => (
                Needs::new(Table::default(), self.memory),
                Some(Names::default()),
            ),
        };
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
            staff,
            kinds: Kinds::new(kinds),
            unresolved: VecDeque::new(),
            reuse: Reuse::new(self.cache.clone()),
            scheduler,
            entries: Vec::new(),
            living: 0,
            weight: 0,
            weight_out: 0,
            patience: BTreeSet::new(),
            provisional: Provisional::default(),
            breakers: Breakers::new(self.kind_breakers.clone(), self.host_breakers.clone()),
            router,
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
            recording: Recording::new(self.ledger.clone()),
            outgoing: Outgoing::new(ordering),
            out,
            orders,
            sinks: Sinks::start(&self.sinks, now, self.clock.now()),
            gauges,
            closure: "closure".into(),
            limits: Vec::new(),
            wake: None,
        })
    }
}
