//! What those who look after a queue in memory ask it.

use std::time::Duration;

use ratchet_runtime::{Limit, ParallelizationHint, Rate};
use smol_str::SmolStr;

use super::state::{Job, Phase, State};
use crate::event::EventKind;
use crate::inspect::{ExplainedState, Explanation, JobPage, NodeInfo, NodeLack, WaitReason};
use crate::job::{FinalStatus, JobSpec};
use crate::names::JobName;
use crate::node::NodeSpec;

impl State {
    /// Lets no job start, or lets them start again.
    pub(super) fn set_paused(&mut self, is_paused: bool) {
        if self.is_paused != is_paused {
            self.is_paused = is_paused;
            self.change += 1;
            let kind = if is_paused {
                EventKind::Paused
            } else {
                EventKind::Resumed
            };
            self.events.add(kind, self.now);
        }
    }

    /// Returns the nodes that have a session.
    pub(super) fn node_infos(&self) -> Vec<NodeInfo> {
        let nodes = self.nodes.iter();
        let infos = nodes.map(|(&id, node)| {
            let left = node.deadline.since(self.now);
            let renewed = self.settings.session.saturating_sub(left);
            NodeInfo::new(id, node.spec.clone(), node.held.len() as u64, renewed)
        });
        infos.collect()
    }

    /// Returns the jobs that come after a name.
    pub(super) fn list(&self, prefix: &str, after: Option<&JobName>, most: usize) -> JobPage {
        let is_meant = |name: &&JobName| {
            name.as_str().starts_with(prefix) && after.is_none_or(|after| *name > after)
        };
        let mut names: Vec<&JobName> = self.jobs.keys().filter(is_meant).collect();
        names.sort_unstable();
        names.truncate(most);
        let jobs = names
            .into_iter()
            .filter_map(|name| Some((name.clone(), self.state_of(name)?)));
        JobPage::new(jobs.collect(), most)
    }

    /// Returns where a job is and why.
    pub(super) fn explain(&self, name: &JobName) -> Option<Explanation> {
        let job = self.jobs.get(name)?;
        let state = match job.phase {
            Phase::Ended(status) => ExplainedState::Ended {
                status,
                is_unservable: job.is_unservable,
                result: self.events.result_of(name),
            },
            Phase::Running { node, .. } => ExplainedState::Running {
                node,
                name: (self.nodes.get(&node))
                    .map_or_else(SmolStr::default, |node| node.spec.name.clone()),
                is_cancelled: job.is_cancelled,
            },
            Phase::Needs | Phase::Queued(_) | Phase::Parked => self.waiting(job),
        };
        Some(Explanation::new(job.attempts, state))
    }

    /// Explains why a job waits.
    fn waiting(&self, job: &Job) -> ExplainedState {
        let mut reasons = Vec::new();
        if self.is_paused {
            reasons.push(WaitReason::Paused);
        }
        let needs = matches!(job.phase, Phase::Needs);
        let is_delayed = !needs && job.not_before > self.now;
        if needs {
            let is_open = |need: &&JobName| {
                let end = self.jobs.get(*need).map(|need| need.phase);
                !matches!(end, Some(Phase::Ended(FinalStatus::Succeeded)) | None)
            };
            let jobs = job.needs().iter().filter(is_open).cloned().collect();
            reasons.push(WaitReason::Needs { jobs });
        }
        if is_delayed {
            let left = job.not_before.since(self.now);
            reasons.push(WaitReason::Delay { left });
        }
        let nodes: Vec<&NodeSpec> = self.nodes.values().map(|node| &node.spec).collect();
        let spec = &job.spec;
        if let Some(lack) = NodeLack::of(&spec.task, &spec.sorted_labels(), spec.slots, &nodes) {
            reasons.push(WaitReason::NoNode { lack });
        }
        if needs || is_delayed {
            return ExplainedState::Waiting {
                reasons,
                ahead: None,
            };
        }
        self.claims_barred(spec, &mut reasons);
        let claims = spec.claims();
        let is_ahead = |name: &&JobName| {
            let other = self.jobs.get(*name);
            other.is_some_and(|other| {
                other.not_before <= self.now
                    && other.turn < job.turn
                    && other.spec.claims() == claims
            })
        };
        let waiting = self.classes.get(job.class).waiting.values();
        ExplainedState::Waiting {
            reasons,
            ahead: Some(waiting.filter(is_ahead).count() as u64),
        }
    }

    /// Adds the claims of a job of which not enough is free.
    fn claims_barred(&self, spec: &JobSpec, reasons: &mut Vec<WaitReason>) {
        let running: Vec<(&JobName, &JobSpec)> = (self.jobs.iter())
            .filter(|(_, job)| matches!(job.phase, Phase::Running { .. }))
            .map(|(name, job)| (name, &job.spec))
            .collect();
        let holder = |holds: &dyn Fn(&JobSpec) -> bool| {
            let mut running = running.iter();
            let found = running.find(|(_, spec)| holds(spec));
            found.map(|(name, _)| (*name).clone())
        };
        if spec.claims_host() {
            let host = spec.host.clone().unwrap_or_default();
            let holds = |other: &JobSpec| {
                other.claims_host() && other.host.as_deref().unwrap_or_default() == host
            };
            if let Some(by) = holder(&holds) {
                let host = host.clone();
                reasons.push(WaitReason::Host { host, by });
            }
        }
        let is_global = |spec: &JobSpec| spec.hint == ParallelizationHint::GlobalExclusive;
        if is_global(spec)
            && let Some(by) = holder(&is_global)
        {
            reasons.push(WaitReason::Global { by });
        }
        let now = self.instant(self.now);
        if let Ok(Some((key, _))) = spec.rate()
            && let Some((_, state)) = self.scheduler.keys(now).find(|(name, _)| **name == *key)
            && let Some(left) = until_a_token(state.tokens, state.quota.rate)
        {
            reasons.push(WaitReason::RateKey { key, left });
        }
        for name in spec.sorted_limits() {
            let mut limits = self.scheduler.limits(now);
            let Some((_, state)) = limits.find(|(known, _)| **known == *name) else {
                continue;
            };
            match state.limit {
                Limit::Max(max) => {
                    let users = (running.iter()).filter(|(_, other)| other.limits.contains(&name));
                    let (running, max) = (users.count() as u64, u64::from(max.get()));
                    if running >= max {
                        reasons.push(WaitReason::Limit { name, running, max });
                    }
                }
                Limit::Rate(quota) => {
                    if let Some(left) = until_a_token(state.left, quota.rate) {
                        reasons.push(WaitReason::RateLimit { name, left });
                    }
                }
            }
        }
        for (name, asked) in spec.units() {
            let mut resources = self.scheduler.resources();
            let free = resources.find_map(|(known, _, free)| (*known == *name).then_some(free));
            if let Some(free) = free
                && free < asked
            {
                reasons.push(WaitReason::Resource { name, asked, free });
            }
        }
        let is_alone = |spec: &JobSpec| spec.hint == ParallelizationHint::Alone;
        if is_alone(spec) && self.running > 0 {
            let running = self.running;
            reasons.push(WaitReason::Quiet { running });
        }
        if let Some(by) = holder(&is_alone) {
            reasons.push(WaitReason::Alone { by });
        }
    }
}

/// Returns how long it takes until there is a token, rounded up to a microsecond; `None` if there is one.
fn until_a_token(tokens: f64, rate: Rate) -> Option<Duration> {
    let missing = 1.0 - tokens;
    if missing <= 0.0 {
        return None;
    }
    let left = Duration::try_from_secs_f64(missing / rate.as_per_second()).unwrap_or(Duration::MAX);
    let micros = left.as_nanos().div_ceil(1000);
    Some(Duration::from_micros(
        u64::try_from(micros).unwrap_or(u64::MAX),
    ))
}
