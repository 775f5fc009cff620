//! A slow checker that believes no engine: it sees what was submitted, claimed and told, and knows the rules.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ratchet_queue::{
    AttemptEnd, Claim, Declaration, Event, EventKind, FinalStatus, JobName, JobSpec, Moment,
    NodeSpec, Submitted,
};
use ratchet_runtime::{Limit, ParallelizationHint, Quota};

/// What is known of a queue from outside.
pub(crate) struct Checker {
    jobs: BTreeMap<JobName, (JobSpec, Moment)>,
    /// The attempts that run.
    running: BTreeMap<JobName, Claim>,
    ends: BTreeMap<JobName, FinalStatus>,
    /// How many ends of each job must be told. A job that is asked for again ends again, and a purged end is told no more.
    expected: BTreeMap<JobName, i64>,
    /// The jobs whose ends nobody knows any more.
    purged: BTreeSet<JobName>,
    maxima: BTreeMap<String, u32>,
    quotas: BTreeMap<String, Quota>,
    totals: BTreeMap<String, u64>,
    /// When tokens of each rate were taken.
    tokens: BTreeMap<String, Vec<Moment>>,
    last_fence: Option<ratchet_queue::Fence>,
}

impl Checker {
    pub(crate) fn new(declarations: &[Declaration]) -> Self {
        let mut checker = Self {
            jobs: BTreeMap::new(),
            running: BTreeMap::new(),
            ends: BTreeMap::new(),
            expected: BTreeMap::new(),
            purged: BTreeSet::new(),
            maxima: BTreeMap::new(),
            quotas: BTreeMap::new(),
            totals: BTreeMap::new(),
            tokens: BTreeMap::new(),
            last_fence: None,
        };
        for declaration in declarations {
            checker.declared(declaration);
        }
        checker
    }

    pub(crate) fn declared(&mut self, declaration: &Declaration) {
        match declaration {
            Declaration::Limit(name, Limit::Max(max)) => {
                self.maxima.insert(name.to_string(), max.get());
            }
            Declaration::Limit(name, Limit::Rate(quota)) => {
                self.quotas.insert(name.to_string(), *quota);
            }
            Declaration::Resource(name, resource) => {
                self.totals.insert(name.to_string(), resource.total());
            }
        }
    }

    pub(crate) fn submitted(&mut self, jobs: &[JobSpec], answers: &[Submitted], now: Moment) {
        for (job, answer) in jobs.iter().zip(answers) {
            if *answer == Submitted::Accepted {
                self.jobs.insert(job.name.clone(), (job.clone(), now));
                *self.expected.entry(job.name.clone()).or_default() += 1;
                self.ends.remove(&job.name);
            }
        }
    }

    /// Notes that a job that had ended waits again.
    pub(crate) fn requeued(&mut self, name: &JobName) {
        let earlier = self.ends.remove(name);
        assert_ne!(earlier, Some(FinalStatus::Succeeded), "{name}");
        *self.expected.entry(name.clone()).or_default() += 1;
        if let Some((job, _)) = self.jobs.get_mut(name) {
            job.delay = Duration::ZERO;
        }
    }

    /// Notes that the end of a job is forgotten.
    pub(crate) fn purged(&mut self, name: JobName) {
        *self.expected.entry(name.clone()).or_default() -= 1;
        self.purged.insert(name);
    }

    /// Checks what a node has claimed, one attempt after the other.
    pub(crate) fn claimed(&mut self, node: &NodeSpec, slots: u32, claims: &[Claim], now: Moment) {
        let filled: u32 = claims.iter().map(|claim| claim.slots).sum();
        assert!(
            filled <= slots,
            "{filled} slots were filled, and {slots} were free"
        );
        for claim in claims {
            self.check(node, claim, now);
            self.running.insert(claim.job.clone(), claim.clone());
            self.last_fence = Some(claim.fence);
        }
    }

    fn check(&mut self, node: &NodeSpec, claim: &Claim, now: Moment) {
        let name = &claim.job;
        let (job, submitted) = &self.jobs[name];
        assert!(self.last_fence < Some(claim.fence), "{name}: fences grow");
        assert!(!self.running.contains_key(name), "{name} runs twice");
        assert!(!self.ends.contains_key(name), "{name} has ended");
        assert_eq!(*claim.payload, *job.payload, "{name}");
        assert_eq!(claim.slots, job.slots, "{name}");
        let does_task = |tasks: &Vec<_>| tasks.contains(&job.task);
        assert!(node.tasks.as_ref().is_none_or(does_task), "{name}");
        assert!(
            job.labels.iter().all(|label| node.labels.contains(label)),
            "{name}"
        );
        let needs = job.needs.iter();
        for need in needs.filter(|need| !self.purged.contains(*need)) {
            let end = self.ends.get(need);
            assert_eq!(end, Some(&FinalStatus::Succeeded), "{name} needs {need}");
        }
        let waited = Duration::from_micros(now.as_micros() - submitted.as_micros());
        assert!(waited >= job.delay, "{name} came too early");

        let running: Vec<&JobSpec> = (self.running.keys())
            .map(|name| &self.jobs[name].0)
            .collect();
        let is = |job: &JobSpec, hint: &ParallelizationHint| job.hint == *hint;
        let alone = ParallelizationHint::Alone;
        assert!(
            running.is_empty() || !is(job, &alone) && !running.iter().any(|job| is(job, &alone)),
            "{name}: one that must be alone is not"
        );
        let global = ParallelizationHint::GlobalExclusive;
        if is(job, &global) {
            assert!(
                !running.iter().any(|job| is(job, &global)),
                "{name}: two are global"
            );
        }
        let takes_host =
            |job: &JobSpec| is(job, &ParallelizationHint::HostExclusive) || is(job, &global);
        if takes_host(job) {
            let holds = |other: &&&JobSpec| takes_host(other) && other.host == job.host;
            assert_eq!(
                running.iter().filter(holds).count(),
                0,
                "{name}: the host is held"
            );
        }
        for limit in &job.limits {
            if let Some(max) = self.maxima.get(limit.as_str()) {
                let users = running.iter().filter(|other| other.limits.contains(limit));
                assert!(users.count() < *max as usize, "{name}: {limit} is full");
            }
        }
        self.check_shares(claim, job);

        let mut rates: Vec<(String, Quota)> = (job.limits.iter())
            .filter_map(|limit| Some((limit.to_string(), *self.quotas.get(limit.as_str())?)))
            .collect();
        if let Some(quota) = job.hint.quota().unwrap() {
            let key = match &job.hint {
                ParallelizationHint::RateLimited { key: Some(key), .. } => key.clone(),
                _ => job.task.to_string(),
            };
            rates.push((format!("key {key}"), quota));
        }
        for (rate, quota) in rates {
            let taken = self.tokens.entry(rate).or_default();
            taken.push(now);
            // starts <= burst + count x length / period, in every window that ends now.
            for (first, start) in taken.iter().enumerate() {
                let starts = (taken.len() - first) as u128;
                let length = u128::from(now.as_micros() - start.as_micros()) * 1000;
                let count = u128::from(quota.rate.count());
                let nanos = u128::from(quota.rate.nanos());
                let most = u128::from(quota.burst.get()) * nanos + length * count;
                assert!(starts * nanos <= most, "{name}: {quota} is exceeded");
            }
        }
    }

    fn check_shares(&self, claim: &Claim, job: &JobSpec) {
        let name = &claim.job;
        let shares: Vec<(String, u64)> = (claim.shares.iter())
            .map(|share| (share.resource.to_string(), share.units))
            .collect();
        let asked = job.resources.iter();
        let asked: Vec<_> = asked
            .map(|(name, units)| (name.to_string(), *units))
            .collect();
        assert_eq!(shares, asked, "{name}");
        for share in &claim.shares {
            let held = self.running.values().flat_map(|claim| &claim.shares);
            let held: Vec<_> = held
                .filter(|other| other.resource == share.resource)
                .collect();
            let units: u64 = held.iter().map(|share| share.units).sum();
            let total = self.totals[share.resource.as_str()];
            assert!(
                units + share.units <= total,
                "{name}: {} is full",
                share.resource
            );
            let mut identities: BTreeSet<&str> = BTreeSet::new();
            let all = held.iter().copied().chain([share]);
            for identity in all.flat_map(|share| &share.identities) {
                assert!(
                    identities.insert(identity),
                    "{name}: {identity} is held twice"
                );
            }
            if share.resource == "gpu" {
                assert_eq!(share.identities.len() as u64, share.units, "{name}");
            }
        }
    }

    /// Notes that an attempt does not run any more, without an end.
    pub(crate) fn ended(&mut self, claim: &Claim) {
        self.running.remove(&claim.job);
    }

    /// Notes what a node tells of an attempt.
    pub(crate) fn told(&mut self, claim: &Claim, end: &AttemptEnd, now: Moment) {
        self.running.remove(&claim.job);
        match end {
            AttemptEnd::Over { status, .. } => {
                let earlier = self.ends.insert(claim.job.clone(), *status);
                assert_eq!(earlier, None, "{} ends twice", claim.job);
            }
            AttemptEnd::Again { delay, .. } => {
                if let Some((job, submitted)) = self.jobs.get_mut(&claim.job) {
                    *submitted = now;
                    job.delay = *delay;
                }
            }
            AttemptEnd::NotBegun => {}
        }
    }

    /// Checks that each job has ended as often as it must.
    pub(crate) fn all_ended(&self, jobs: &[JobName], events: &[Event]) {
        let mut ends: BTreeMap<&JobName, i64> = BTreeMap::new();
        let mut last: BTreeMap<&JobName, FinalStatus> = BTreeMap::new();
        for event in events {
            if let EventKind::Ended { job, status, .. } = &event.kind {
                *ends.entry(job).or_default() += 1;
                last.insert(job, *status);
            }
        }
        for (job, status) in last {
            if let Some(told) = self.ends.get(job)
                && !self.purged.contains(job)
            {
                assert_eq!(*told, status, "{job}");
            }
        }
        for job in jobs {
            let expected = self.expected.get(job).copied().unwrap_or_default();
            assert_eq!(
                ends.get(job).copied().unwrap_or_default(),
                expected,
                "{job}"
            );
        }
    }
}
