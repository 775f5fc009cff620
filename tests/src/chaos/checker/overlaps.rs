//! Checks that exclusive attempts do not overlap with others.

use std::collections::HashMap;

use super::super::plan::Claim;
use super::attempts::Attempt;
use super::{Evidence, Report, Rule};

/// The attempt that ran longest among those that began before.
#[derive(Default)]
struct Last<'a>(Option<&'a Attempt>);

impl<'a> Last<'a> {
    /// Returns the attempt that still ran when this one began, if there is one.
    fn beside(&self, attempt: &Attempt) -> Option<&'a Attempt> {
        self.0.filter(|last| last.until > attempt.start)
    }

    fn add(&mut self, attempt: &'a Attempt) {
        if self.0.is_none_or(|last| last.until < attempt.until) {
            self.0 = Some(attempt);
        }
    }
}

/// Checks the attempts at jobs with each hint that excludes others.
pub(super) fn check(evidence: &Evidence, attempts: &[Attempt], report: &mut Report) {
    let mut jobs: Vec<Last<'_>> = Vec::new();
    jobs.resize_with(evidence.specs.len(), Last::default);
    let mut hosts: HashMap<u32, Last<'_>> = HashMap::new();
    let (mut global, mut alone, mut any) = (Last::default(), Last::default(), Last::default());
    for attempt in attempts {
        let mut forbid = |rule: Rule, beside: Option<&Attempt>| {
            if let Some(other) = beside {
                report.add(rule, format!("{other} still ran at the start of {attempt}"));
            }
        };
        if let Some(job) = jobs.get_mut(attempt.job as usize) {
            forbid(Rule::Twice, job.beside(attempt));
            job.add(attempt);
        }
        forbid(Rule::Alone, alone.beside(attempt));
        let claim = attempt.spec.claim;
        if claim == Claim::Alone {
            forbid(Rule::Alone, any.beside(attempt));
            alone.add(attempt);
        }
        if claim == Claim::Global {
            forbid(Rule::Global, global.beside(attempt));
            global.add(attempt);
        }
        if matches!(claim, Claim::Host | Claim::Global) {
            let host = hosts.entry(attempt.spec.host).or_default();
            forbid(Rule::Host, host.beside(attempt));
            host.add(attempt);
        }
        any.add(attempt);
        let exclusive = matches!(claim, Claim::Host | Claim::Global | Claim::Alone);
        report.figures.exclusive += usize::from(exclusive);
    }
}
