//! Sessions of nodes, and their claims.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ratchet_runtime::{Decision, Ticket, Workers};

use super::node::Node;
use super::state::{Phase, State, Timer};
use crate::clock::Moment;
use crate::error::Error;
use crate::event::EventKind;
use crate::job::FinalStatus;
use crate::names::{JobName, NodeId};
use crate::node::{Claim, Claims, Fence, Membership, NodeSpec, Renewal, Share};

impl State {
    /// Opens a session.
    pub(super) fn join(&mut self, spec: &NodeSpec) -> Membership {
        self.last_node += 1;
        let node = NodeId(self.last_node);
        let deadline = self.now.after(self.settings.session);
        let classes = self.classes.served_by(spec);
        self.timers.insert((deadline, Timer::Session(node)));
        self.nodes.insert(
            node,
            Node {
                spec: spec.clone(),
                classes: classes.clone(),
                deadline,
                seen: self.change,
                held: BTreeSet::new(),
            },
        );
        let name = spec.name.clone();
        (self.events).add(EventKind::NodeJoined { node, name }, self.now);
        for class in classes {
            self.add_server(class);
        }
        Membership {
            node,
            valid_for: self.settings.session,
        }
    }

    /// Renews a session.
    pub(super) fn renew(&mut self, id: NodeId, held: &[(JobName, Fence)]) -> Renewal {
        let Some(node) = self.nodes.get_mut(&id) else {
            return Renewal::Lost;
        };
        self.timers.remove(&(node.deadline, Timer::Session(id)));
        node.deadline = self.now.after(self.settings.session);
        self.timers.insert((node.deadline, Timer::Session(id)));
        let mut given = Vec::new();
        let mut cancelled = Vec::new();
        for name in &node.held {
            let Some(job) = self.jobs.get(name) else {
                continue;
            };
            let is_held = |(listed, fence): &(JobName, Fence)| {
                listed == name && job.fence.as_ref() == Some(fence)
            };
            if !held.iter().any(is_held) {
                given.push(name.clone());
            } else if job.is_cancelled {
                cancelled.push(name.clone());
            }
        }
        for name in given {
            self.give_back(&name);
        }
        Renewal::Valid {
            valid_for: self.settings.session,
            cancelled,
        }
    }

    /// Ends the session of a node that runs nothing any more.
    pub(super) fn leave(&mut self, id: NodeId) {
        let Some(node) = self.remove_node(id) else {
            return;
        };
        (self.events).add(EventKind::NodeLeft { node: id }, self.now);
        for name in node.held {
            self.give_back(&name);
        }
    }

    /// Ends the session of a node that was silent for too long.
    pub(super) fn lose(&mut self, id: NodeId) {
        let Some(node) = self.remove_node(id) else {
            return;
        };
        (self.events).add(EventKind::NodeLost { node: id }, self.now);
        for name in node.held {
            self.lose_attempt(&name, id);
        }
    }

    fn remove_node(&mut self, id: NodeId) -> Option<Node> {
        let node = self.nodes.remove(&id)?;
        self.timers.remove(&(node.deadline, Timer::Session(id)));
        for class in &node.classes {
            self.remove_server(*class, id);
        }
        Some(node)
    }

    /// Takes attempts for a node.
    pub(super) fn claim(&mut self, id: NodeId, slots: u32, most: usize) -> Result<Claims, Error> {
        let node = (self.nodes.get(&id)).ok_or(Error::NodeLost { node: id })?;
        let mut free = slots.min(node.spec.slots);
        let served = node.classes.clone();
        let mut claims = Vec::new();
        let mut wake = Moment::NEVER;
        if !self.is_paused && !self.is_reserved(id, free) {
            while claims.len() < most && free > 0 {
                for class in &served {
                    let workers = free / self.classes.get(*class).slots();
                    let workers = Workers::Free(workers);
                    self.scheduler.set_workers(class.kind(), workers);
                }
                match self.scheduler.pop(self.instant(self.now)) {
                    Decision::Start(ticket) => {
                        let claim = self.start(ticket, id);
                        free -= claim.slots;
                        claims.push(claim);
                    }
                    Decision::WaitUntil(instant) => {
                        wake = self.moment(instant);
                        break;
                    }
                    Decision::Idle => break,
                }
            }
            for class in &served {
                (self.scheduler).set_workers(class.kind(), Workers::Free(0));
            }
        }
        let mut timers = self.timers.iter();
        // Nobody waits for what is forgotten.
        if let Some((moment, _)) = timers.find(|(_, timer)| !matches!(timer, Timer::Expiry(_))) {
            wake = wake.min(*moment);
        }
        if let Some(node) = self.nodes.get_mut(&id) {
            node.seen = self.change;
        }
        let ask_again =
            (wake != Moment::NEVER).then(|| wake.since(self.now).max(Duration::from_micros(1)));
        Ok(Claims { claims, ask_again })
    }

    /// Returns the number of the latest change before the last claim of a node.
    pub(super) fn seen_by(&self, id: NodeId) -> Option<u64> {
        self.nodes.get(&id).map(|node| node.seen)
    }

    /// Whether the free slots of a node are kept for a due job that fills more of them.
    fn is_reserved(&mut self, id: NodeId, free: u32) -> bool {
        let Some(node) = self.nodes.get(&id) else {
            return false;
        };
        let mut first = None;
        for &class_id in &node.classes {
            let class = self.classes.get(class_id);
            let is_others = |other: NodeId| other != id && self.nodes.contains_key(&other);
            if class.slots() <= free || class.reserved.is_some_and(is_others) {
                continue;
            }
            if let Some((turn, _)) = class.waiting.first_key_value()
                && turn.due <= self.now
                && self.scheduler.lacks_only_workers(class_id.kind())
                && first.is_none_or(|(best, _)| turn < best)
            {
                first = Some((turn, class_id));
            }
        }
        let Some((_, class)) = first else {
            return false;
        };
        self.classes.get_mut(class).reserved = Some(id);
        true
    }

    /// Gives a job that the scheduler has started to a node.
    #[expect(
        clippy::expect_used,
        reason = "each ticket in the scheduler is that of a job here, in a turn"
    )]
    fn start(&mut self, ticket: Ticket, node: NodeId) -> Claim {
        let name = (self.tickets.get(&ticket)).expect("a ticket belongs to a job");
        let job = self.jobs.get_mut(name).expect("a job has its ticket");
        let turn = job.turn.expect("a job in the scheduler has a turn");
        self.last_fence += 1;
        let fence = Fence {
            epoch: 1,
            number: self.last_fence,
        };
        job.attempts += 1;
        job.fence = Some(fence);
        job.phase = Phase::Running { node, ticket };
        let class = self.classes.get_mut(job.class);
        class.waiting.remove(&turn);
        class.reserved = None;
        if let Some(node) = self.nodes.get_mut(&node) {
            node.held.insert(name.clone());
        }
        self.running += 1;
        let started = EventKind::Started {
            job: name.clone(),
            node,
            attempt: job.attempts,
        };
        self.events.add(started, self.now);
        let mut shares: Vec<Share> = (self.scheduler.shares(ticket).iter())
            .map(|share| Share {
                resource: share.name().into(),
                units: share.units(),
                identities: share.identities().map(Into::into).collect(),
            })
            .collect();
        shares.sort_unstable_by(|one, other| one.resource.cmp(&other.resource));
        Claim {
            job: name.clone(),
            fence,
            attempt: job.attempts,
            slots: job.spec.slots,
            shares,
            payload: Arc::clone(&job.spec.payload),
            handover: Arc::clone(&job.handover),
        }
    }

    /// Takes a job that has not begun back from its node.
    pub(super) fn give_back(&mut self, name: &JobName) {
        let Some(job) = self.jobs.get_mut(name) else {
            return;
        };
        job.attempts -= 1;
        let job = name.clone();
        self.events.add(EventKind::GivenBack { job }, self.now);
        self.try_again(name, Duration::ZERO);
    }

    /// Takes a job back from a node that was lost.
    fn lose_attempt(&mut self, name: &JobName, node: NodeId) {
        let Some(job) = self.jobs.get_mut(name) else {
            return;
        };
        job.losses += 1;
        let is_over = job.losses >= job.spec.crash_limit && !job.is_cancelled;
        let job = name.clone();
        (self.events).add(EventKind::AttemptLost { job, node }, self.now);
        if is_over {
            self.end(name, FinalStatus::Crashed, [].into());
        } else {
            self.try_again(name, Duration::ZERO);
        }
    }
}
