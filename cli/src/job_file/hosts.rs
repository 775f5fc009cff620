//! The hosts of a run, and the words of `on` by which jobs and workers are placed.

mod access;
mod placement_words;
mod plan;

use std::collections::BTreeMap;
use std::path::Path;

use ratchet_runtime::{PlaceName, Placement};

pub(crate) use self::access::HostAccess;
pub(super) use self::placement_words::{check_on, check_words, words_of};
use self::plan::plan;
pub(crate) use self::plan::{AgentPlan, HostPlan, HostTimes};
use super::resources::Resources;
use super::spec::HostSpec;
use crate::diagnostic::{Diagnostic, Problems, Span};
use crate::document::{Field, Named};

/// The word in `on` for the machine on which ratchet runs.
pub(crate) const LOCAL: &str = "local";

/// The word in `on` for the host that a job names.
pub(crate) const OWN_HOST: &str = "host";

/// The word in `--on` for the nodes of the Slurm allocation.
const SLURM: &str = "slurm";

/// The hosts of a run, and the groups of hosts.
#[derive(Debug, Clone, Default)]
pub(crate) struct HostRegistry {
    hosts: Vec<HostPlan>,
    groups: BTreeMap<String, Vec<PlaceName>>,
}

impl HostRegistry {
    /// Makes the registry of the section `hosts`, and adds the hosts of flags and inventories.
    pub(super) fn new(
        section: Field<Vec<Named<HostSpec>>>,
        typed: &Self,
        folder: Option<&Path>,
        problems: &mut Problems,
    ) -> Self {
        let mut table = Self::default();
        table.read(section.into_value().unwrap_or_default(), folder, problems);
        table.merge(typed);
        table
    }

    fn read(&mut self, spec: Vec<Named<HostSpec>>, folder: Option<&Path>, problems: &mut Problems) {
        let names: Vec<String> = spec.iter().map(|host| host.name.clone()).collect();
        for host in spec {
            let place = host.place;
            let name = PlaceName::new(&host.name);
            if let Some(wrong) = wrong_name(&host.name) {
                let help = "give the host another name; `ssh`, `docker` or `kubectl` can contain its real name";
                problems.push(Diagnostic::error(place, wrong).help(help));
            }
            let Some(spec) = host.value else { continue };
            for group in spec.groups.get().into_iter().flatten() {
                if names.contains(&group.value) {
                    let message = format!("group `{}` has the name of a host", group.value);
                    let help =
                        "give the group another name, because the name in `on` would be ambiguous";
                    problems.push(Diagnostic::error(group.span, message).help(help));
                } else if let Some(wrong) = wrong_name(&group.value) {
                    problems.push(Diagnostic::error(group.span, wrong));
                }
                let members = self.groups.entry(group.value.clone()).or_default();
                if !members.contains(&name) {
                    members.push(name.clone());
                }
            }
            if let Some(host) = plan(name, place, spec, folder, problems) {
                self.add(host, []);
            }
        }
    }

    /// Adds a host with its groups. A host of this name that is there already is kept.
    pub(crate) fn add<'a>(&mut self, host: HostPlan, groups: impl IntoIterator<Item = &'a str>) {
        for group in groups {
            let members = self.groups.entry(group.to_owned()).or_default();
            if !members.contains(&host.name) {
                members.push(host.name.clone());
            }
        }
        if !self.hosts.iter().any(|known| known.name == host.name) {
            self.hosts.push(host);
        }
    }

    /// Adds a host of a flag. If there is a host of this name already, it is kept, but takes the slots of the flag.
    pub(crate) fn add_typed(&mut self, host: HostPlan) {
        let known = self.hosts.iter_mut().find(|known| known.name == host.name);
        match known {
            Some(known) => known.slots = host.slots.or(known.slots),
            None => self.hosts.push(host),
        }
    }

    /// Adds the hosts and groups of another registry. Hosts that are there already are kept, but take the slots of the
    /// other registry.
    fn merge(&mut self, other: &Self) {
        for host in &other.hosts {
            self.add_typed(host.clone());
        }
        for (group, members) in &other.groups {
            let known = self.groups.entry(group.clone()).or_default();
            let new = members.iter().filter(|member| !known.contains(member));
            let new: Vec<PlaceName> = new.cloned().collect();
            known.extend(new);
        }
    }

    /// Returns the first word that names neither a host nor a group.
    pub(crate) fn unknown<'a>(&self, words: &'a [String]) -> Option<&'a str> {
        let mut words = words.iter().map(String::as_str);
        words.find(|word| *word != OWN_HOST && !self.knows(word))
    }

    /// Returns these resources of a run, and those that hosts have for themselves.
    pub(crate) fn all_resources(&self, of_run: &Resources) -> Resources {
        let own = self.hosts.iter().flat_map(|host| &host.resources);
        of_run.iter().chain(own).cloned().collect()
    }

    /// Reports a limit of memory for a worker that can run on a host where nothing measures memory.
    pub(super) fn check_memory(
        &self,
        worker: &str,
        limit: Option<Span>,
        on: &Placement,
        problems: &mut Problems,
    ) {
        if let (Some(limit), Some(name)) = (limit, self.without_agent(on)) {
            let message = format!(
                "worker `{worker}` can run on host `{name}`, which has no agent, so its memory is not measured"
            );
            let help = "leave `memory` out, or `agent: none`";
            problems.push(Diagnostic::error(limit, message).help(help));
        }
    }

    /// Returns a host without an agent to which this placement allows a job or worker to go, if there is one.
    pub(crate) fn without_agent(&self, on: &Placement) -> Option<&PlaceName> {
        let mut hosts = self.hosts.iter().filter(|host| match on {
            Placement::Here => false,
            Placement::Host => true,
            Placement::Among(places) => places.contains(&host.name),
        });
        let bare = hosts.find(|host| host.agent == AgentPlan::None)?;
        Some(&bare.name)
    }

    /// Returns the hosts.
    pub(crate) fn hosts(&self) -> &[HostPlan] {
        &self.hosts
    }

    /// Finds a host by its name.
    pub(crate) fn find(&self, name: &PlaceName) -> Option<&HostPlan> {
        self.hosts.iter().find(|host| host.name == *name)
    }

    /// Returns the groups of this host, in the order of their names.
    pub(crate) fn groups_of(&self, name: &PlaceName) -> impl Iterator<Item = &str> {
        let groups = self.groups.iter();
        let with_it = groups.filter(|(_, members)| members.contains(name));
        with_it.map(|(group, _)| group.as_str())
    }

    /// Whether there is a host of this name.
    pub(super) fn is_host(&self, name: &str) -> bool {
        self.hosts.iter().any(|host| host.name.as_str() == name)
    }

    /// Whether a word can be used in `on`, apart from `host`.
    pub(super) fn knows(&self, word: &str) -> bool {
        word == LOCAL || self.groups.contains_key(word) || self.is_host(word)
    }

    /// Returns the words that can be used in `on`, for suggestions.
    pub(crate) fn words(&self) -> impl Iterator<Item = &str> + Clone {
        let hosts = self.hosts.iter().map(|host| host.name.as_str());
        hosts
            .chain(self.groups.keys().map(String::as_str))
            .chain([LOCAL])
    }

    /// Makes the placement of the words of an `on`. The caller has checked that all of them are known.
    pub(crate) fn placement(&self, words: &[String]) -> Placement {
        if let [only] = words {
            match only.as_str() {
                OWN_HOST => return Placement::Host,
                LOCAL => return Placement::Here,
                _ => {}
            }
        }
        let mut places: Vec<PlaceName> = Vec::new();
        for word in words {
            let members = match self.groups.get(word) {
                Some(members) => members.clone(),
                None => vec![PlaceName::new(word)],
            };
            for name in members {
                if !places.contains(&name) {
                    places.push(name);
                }
            }
        }
        Placement::Among(places.into())
    }
}

/// Returns the reason why a host or a group cannot have this name, if there is one.
fn wrong_name(name: &str) -> Option<String> {
    if [LOCAL, OWN_HOST, SLURM].contains(&name) {
        return Some(format!("`{name}` has a special meaning in `on`"));
    }
    let is_odd = |char: char| char.is_whitespace() || char.is_control() || char == ',';
    (name.is_empty() || name.contains(is_odd) || name.starts_with(['@', '-']))
        .then(|| format!("{name:?} cannot be the name of a host: a name has no blanks and commas, and does not begin with @ or -"))
}
