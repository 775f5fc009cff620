//! The groups of jobs that are given up when one of their jobs fails.

use std::sync::Arc;

use super::selection::GroupPattern;
use super::spec::GroupSpec;
use crate::diagnostic::{Diagnostic, Problems, Span};
use crate::document::{Field, Named};

/// The groups that are given up when one of their jobs fails, from the file and from flags.
#[derive(Clone)]
pub(super) struct FailFastGroups {
    /// The groups of the section `groups`.
    named: Vec<NamedGroup>,
    /// The patterns of `--group-fail-fast`.
    typed: Vec<GroupPattern>,
    /// Which of the typed patterns have matched the group of a job.
    used: Vec<bool>,
}

/// A group of the section `groups`.
#[derive(Clone)]
struct NamedGroup {
    name: Arc<str>,
    place: Span,
    fails_fast: bool,
    is_used: bool,
}

impl FailFastGroups {
    /// Reads the section `groups`, and adds the typed patterns.
    pub(super) fn new(groups: Field<Vec<Named<GroupSpec>>>, typed: &[GroupPattern]) -> Self {
        let groups = groups.into_value().unwrap_or_default().into_iter();
        let named = groups.map(|group| NamedGroup {
            name: group.name.into(),
            place: group.place,
            fails_fast: (group.value)
                .and_then(|spec| spec.fail_fast.into_value())
                .unwrap_or_default(),
            is_used: false,
        });
        Self {
            named: named.collect(),
            typed: typed.to_vec(),
            used: vec![false; typed.len()],
        }
    }

    /// Returns the group of a job, if the group is given up when one of its jobs fails.
    pub(super) fn of(&mut self, group: Option<&str>) -> Option<Arc<str>> {
        let group = group?;
        let named = self.named.iter_mut().find(|known| *known.name == *group);
        let mut found = named.and_then(|known| {
            known.is_used = true;
            known.fails_fast.then(|| Arc::clone(&known.name))
        });
        for (pattern, is_used) in self.typed.iter().zip(&mut self.used) {
            if pattern.matches(group) {
                *is_used = true;
                found = found.or_else(|| Some(group.into()));
            }
        }
        found
    }

    /// Warns of groups that no job of the file is in.
    pub(super) fn warn_of_unused(&self, problems: &mut Problems) {
        for unused in self.named.iter().filter(|known| !known.is_used) {
            let message = format!("no job is in group `{}`", unused.name);
            let warning = Diagnostic::warning(unused.place, message);
            problems.push(warning.help("a job sets its group with `group: NAME`"));
        }
    }

    /// Returns a typed pattern that has matched no group, if there is one.
    pub(super) fn unused_typed(&self) -> Option<&GroupPattern> {
        let mut typed = self.typed.iter().zip(&self.used);
        typed.find_map(|(pattern, is_used)| (!is_used).then_some(pattern))
    }
}
