//! The hosts of a run, and the words of `on` by which jobs and workers are placed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ratchet_runtime::{PlaceName, Placement};

use super::paths::within;
use super::resources::{self, Resources};
use super::spec::HostSpec;
use crate::diagnostic::{Diagnostic, Problems, Span};
use crate::document::{Either, Field, Named, PositiveDuration, ScalarText, Spanned};
use crate::value::ValueError;

/// The word in `on` for the machine on which ratchet runs.
pub(crate) const LOCAL: &str = "local";

/// The word in `on` for the host that a job names.
pub(crate) const OWN_HOST: &str = "host";

/// The word in `--on` for the nodes of the Slurm allocation.
const SLURM: &str = "slurm";

/// A host that a file, an inventory or a flag declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostPlan {
    /// The name by which jobs call the host.
    pub(crate) name: PlaceName,
    /// How the host is reached.
    pub(crate) reach: HostAccess,
    /// The agent that runs there.
    pub(crate) agent: AgentPlan,
    /// How many slots the host has, if that was declared.
    pub(crate) slots: Option<u32>,
    /// The resources that it has for itself.
    pub(crate) resources: Resources,
    /// The variables for all processes there.
    pub(crate) env: Vec<(String, String)>,
    /// When the host counts as lost, and when it is given up.
    pub(crate) times: HostTimes,
}

/// The times of a host that were declared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct HostTimes {
    /// After how much silence the host counts as lost.
    pub(crate) lost_after: Option<Duration>,
    /// How long the processes there may go on without a word from the dispatcher.
    pub(crate) fence_after: Option<Duration>,
    /// How long ratchet tries to connect to a lost host again.
    pub(crate) give_up: Option<Duration>,
}

/// The agent of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AgentPlan {
    /// This ratchet.
    Own,
    /// The ratchet in this file, which was built for the platform of the host.
    File(PathBuf),
    /// No agent: the launcher stands before each command.
    None,
}

/// How a host is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HostAccess {
    /// By ssh.
    Ssh {
        /// The destination, with its user if there is one.
        destination: String,
        /// The port, if it is not the default.
        port: Option<u16>,
    },
    /// By `docker exec`, in this container.
    Docker(String),
    /// By `kubectl exec`.
    Kubectl {
        /// The pod.
        pod: String,
        /// The container of the pod.
        container: Option<String>,
        /// The namespace of the pod.
        namespace: Option<String>,
        /// The context of the configuration.
        context: Option<String>,
    },
    /// By `srun`, on this node of the allocation.
    Srun(String),
    /// By a prefix: these words, before a command, run it on the host.
    Via(Vec<String>),
    /// The host is this machine, under another name.
    Local,
}

impl HostAccess {
    /// Returns the words that, before a command, run it on the host.
    pub(crate) fn launcher(&self) -> Vec<String> {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let option = |launcher: &mut Vec<String>, flag: &str, value: &Option<String>| {
            if let Some(value) = value {
                launcher.extend([flag.to_owned(), value.clone()]);
            }
        };
        match self {
            Self::Ssh { destination, port } => {
                // ssh must not ask for a password, because nobody could answer. It must not use the connection of
                // another ssh, whose end would end this one, too.
                let mut launcher: Vec<String> = words(&[
                    "ssh",
                    "-T",
                    "-o",
                    "BatchMode=yes",
                    "-o",
                    "ControlMaster=no",
                    "-o",
                    "ControlPath=none",
                    "-o",
                    "ServerAliveInterval=5",
                    "-o",
                    "ServerAliveCountMax=3",
                ]);
                option(&mut launcher, "-p", &port.map(|port| port.to_string()));
                launcher.extend(["--".to_owned(), destination.clone()]);
                launcher
            }
            Self::Docker(container) => words(&["docker", "exec", "-i", container]),
            Self::Kubectl {
                pod,
                container,
                namespace,
                context,
            } => {
                let mut launcher: Vec<String> = words(&["kubectl"]);
                option(&mut launcher, "--context", context);
                option(&mut launcher, "--namespace", namespace);
                launcher.extend(words(&["exec", "-i", pod]));
                option(&mut launcher, "--container", container);
                launcher.push("--".to_owned());
                launcher
            }
            // With `--overlap` the step shares the resources of the allocation with all other steps. Without
            // `--unbuffered`, srun would hold back bytes until a line ends, but the messages of the agent are not
            // lines.
            Self::Srun(node) => words(&[
                "srun",
                "--overlap",
                "--nodes=1",
                "--ntasks=1",
                "--cpu-bind=none",
                "--unbuffered",
                "--quiet",
                "-w",
                node,
            ]),
            Self::Via(prefix) => prefix.clone(),
            Self::Local => Vec::new(),
        }
    }

    /// Returns the way to the host in the words of a user, without the options that every launcher of its kind has.
    pub(crate) fn in_words(&self) -> String {
        match self {
            Self::Ssh { destination, port } => match port {
                Some(port) => format!("ssh -p {port} {destination}"),
                None => format!("ssh {destination}"),
            },
            Self::Local => "this machine".to_owned(),
            Self::Docker(_) | Self::Kubectl { .. } | Self::Srun(_) | Self::Via(_) => {
                self.launcher().join(" ")
            }
        }
    }

    /// Parses a destination of ssh: `[user@]name[:port]`. A name that contains colons stands in brackets.
    pub(crate) fn ssh(text: &str) -> Result<Self, ValueError> {
        let refuse = |reason: &str| {
            Err(ValueError::new(reason.to_owned())
                .hint("write [user@]name[:port], as in deploy@web1.example:2222"))
        };
        let (user, rest) = match text.rsplit_once('@') {
            Some((user, rest)) => (Some(user), rest),
            None => (None, text),
        };
        let (name, port) = match rest.strip_prefix('[') {
            Some(bracketed) => match bracketed.split_once(']') {
                Some((name, "")) => (name, None),
                Some((name, port)) => match port.strip_prefix(':') {
                    Some(port) => (name, Some(port)),
                    None => return refuse("only a port can follow the brackets"),
                },
                None => return refuse("the bracket is not closed"),
            },
            // More than one colon means an IPv6 address without a port.
            None => match rest.split_once(':') {
                Some((name, port)) if !port.contains(':') => (name, Some(port)),
                _ => (rest, None),
            },
        };
        if name.is_empty() || user == Some("") {
            return refuse("the name of the host is missing");
        }
        if text.starts_with('-') {
            return refuse(
                "a destination cannot begin with a dash, which ssh would take for a flag",
            );
        }
        if text
            .chars()
            .any(|char| char.is_whitespace() || char.is_control())
        {
            return refuse("a destination cannot contain blanks");
        }
        let port = match port.map(str::parse::<u16>) {
            None => None,
            Some(Ok(port)) if port > 0 => Some(port),
            Some(_) => return refuse("a port is a number from 1 to 65535"),
        };
        let destination = match user {
            Some(user) => format!("{user}@{name}"),
            None => name.to_owned(),
        };
        Ok(Self::Ssh { destination, port })
    }
}

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

fn plan(
    name: PlaceName,
    place: Span,
    spec: HostSpec,
    folder: Option<&Path>,
    problems: &mut Problems,
) -> Option<HostPlan> {
    let ways = [
        ("ssh", spec.ssh.key()),
        ("docker", spec.docker.key()),
        ("kubectl", spec.kubectl.key()),
        ("srun", spec.srun.key()),
        ("local", spec.local.key()),
        ("via", spec.via.key()),
    ];
    let mut said = ways.iter().filter_map(|(name, key)| Some((*name, (*key)?)));
    match (said.next(), said.next()) {
        (Some(_), None) => {}
        (Some((first, place)), Some((second, other))) => {
            let message =
                format!("host `{name}` is reached by `{first}` or by `{second}`, not by both");
            problems.push(Diagnostic::error(other, message).other(place, "the other one"));
            return None;
        }
        (None, _) => {
            // An unknown key was reported, and was probably meant to be one of these.
            if !spec.place.has_unknown {
                let message = format!("host `{name}` has no way to reach it");
                let help = "add `ssh: user@name`, `docker: CONTAINER`, `kubectl: {pod: NAME}`, `srun: NODE`, `local: true` or `via: [words, of, a, prefix]`";
                problems.push(Diagnostic::error(place, message).help(help));
            }
            return None;
        }
    }
    let reach = reach(&spec, problems);
    let agent = agent(&spec.agent, folder, problems);
    let times = HostTimes {
        lost_after: at_least_a_second("lost_after", spec.lost_after, problems),
        fence_after: at_least_a_second("fence_after", spec.fence_after, problems),
        give_up: spec.give_up.into_value(),
    };
    Some(HostPlan {
        name,
        reach: reach?,
        agent: agent?,
        slots: spec.slots.into_value().map(|slots| slots.0),
        resources: resources::declared(spec.resources, &Resources::new(), problems),
        env: variables(spec.env, problems),
        times,
    })
}

fn agent(
    field: &Field<String>,
    folder: Option<&Path>,
    problems: &mut Problems,
) -> Option<AgentPlan> {
    let path = match field.get().map(String::as_str) {
        None => return Some(AgentPlan::Own),
        Some("none") => return Some(AgentPlan::None),
        Some(path) => within(folder, path),
    };
    let wrong = match std::fs::metadata(&path) {
        Ok(found) if found.is_file() => return Some(AgentPlan::File(path)),
        Ok(_) => "it is not a file".to_owned(),
        Err(error) => error.to_string(),
    };
    let message = format!("`agent`: {} cannot be copied: {wrong}", path.display());
    let help = "name a ratchet program for the platform of the host, or write `none`";
    problems.push(Diagnostic::error(field.span().unwrap_or_default(), message).help(help));
    None
}

/// Reports a time that is too short for messages to reach the host and come back.
fn at_least_a_second(
    key: &str,
    field: Field<PositiveDuration>,
    problems: &mut Problems,
) -> Option<Duration> {
    let place = field.span().unwrap_or_default();
    let time = field.into_value()?.0;
    if time < Duration::from_secs(1) {
        let message = format!("`{key}` is shorter than a second");
        let help = "several messages have to reach the host and come back in this time; 10s and more are usual";
        problems.push(Diagnostic::error(place, message).help(help));
    }
    Some(time)
}

fn reach(spec: &HostSpec, problems: &mut Problems) -> Option<HostAccess> {
    if let Some(text) = spec.ssh.get() {
        let place = spec.ssh.span().unwrap_or_default();
        return match HostAccess::ssh(text) {
            Ok(reach) => Some(reach),
            Err(error) => {
                let mut found = Diagnostic::error(place, format!("`ssh`: {}", error.reason));
                found.help = error.hint;
                problems.push(found);
                None
            }
        };
    }
    if let Some(container) = spec.docker.get() {
        return not_a_flag(container, &spec.docker, problems).map(HostAccess::Docker);
    }
    if let Some(node) = spec.srun.get() {
        return not_a_flag(node, &spec.srun, problems).map(HostAccess::Srun);
    }
    if let Some(is_local) = spec.local.get() {
        if !is_local {
            let message = "`local: false` does not define how the host is reached";
            problems.push(Diagnostic::error(
                spec.local.span().unwrap_or_default(),
                message,
            ));
        }
        return is_local.then_some(HostAccess::Local);
    }
    if let Some(kubectl) = spec.kubectl.get() {
        let mut part = |field: &Field<String>| match field.get() {
            None => Some(None),
            Some(text) => not_a_flag(text, field, problems).map(Some),
        };
        return Some(HostAccess::Kubectl {
            pod: part(&kubectl.pod)??,
            container: part(&kubectl.container)?,
            namespace: part(&kubectl.namespace)?,
            context: part(&kubectl.context)?,
        });
    }
    let words = spec.via.get()?;
    if words.first().is_none_or(|first| first.value.is_empty()) {
        let place = spec.via.span().unwrap_or_default();
        let message = "`via`: the prefix is empty";
        let help = "name a program that runs another one, as in [nsenter, -t, \"4711\", -a]";
        problems.push(Diagnostic::error(place, message).help(help));
        return None;
    }
    Some(HostAccess::Via(
        words.iter().map(|word| word.value.clone()).collect(),
    ))
}

/// Reports a name that is empty, or that a program would take for a flag.
fn not_a_flag(text: &str, field: &Field<String>, problems: &mut Problems) -> Option<String> {
    if !text.is_empty() && !text.starts_with('-') && !text.contains('\0') {
        return Some(text.to_owned());
    }
    let place = field.span().unwrap_or_default();
    problems.push(Diagnostic::error(
        place,
        "this cannot be a name: it is empty, begins with a dash or contains NUL",
    ));
    None
}

/// Reads the variables of a host.
fn variables(env: Field<Vec<Named<ScalarText>>>, problems: &mut Problems) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    for variable in env.into_value().into_iter().flatten() {
        let Some(ScalarText(value)) = variable.value else {
            continue;
        };
        if variable.name.is_empty() || variable.name.contains(['=', '\0']) || value.contains('\0') {
            let message =
                "a variable cannot contain NUL, and its name cannot be empty or contain `=`";
            problems.push(Diagnostic::error(variable.place, message));
        } else {
            variables.push((variable.name, value));
        }
    }
    variables
}

/// Returns the words of a field that is a word or a list of words, each with its place.
pub(super) fn words_of(on: &Field<Either<String, Vec<Spanned<String>>>>) -> Vec<Spanned<String>> {
    let span = on.span().unwrap_or_default();
    match on.get() {
        None => Vec::new(),
        Some(Either::First(word)) => vec![Spanned {
            value: word.clone(),
            span,
        }],
        Some(Either::Second(words)) => words.clone(),
    }
}

/// Reports an `on` that is an empty list, or that has an unknown word.
pub(super) fn check_on(
    table: &HostRegistry,
    on: &Field<Either<String, Vec<Spanned<String>>>>,
    problems: &mut Problems,
) {
    let words = words_of(on);
    if let (true, Some(Either::Second(_)), Some(place)) = (words.is_empty(), on.get(), on.span()) {
        let message = "`on`: the list is empty, so nothing could run";
        problems.push(
            Diagnostic::error(place, message).help("name a host or a group, or leave `on` out"),
        );
    }
    check_words(table, &words, problems);
}

/// Reports words of an `on` that are unknown, and a `host` beside other words.
pub(super) fn check_words(
    table: &HostRegistry,
    words: &[Spanned<String>],
    problems: &mut Problems,
) {
    for Spanned { value: word, span } in words {
        if word == OWN_HOST {
            if words.len() > 1 {
                let message = "`host` means the host that a job names, and cannot be combined with other names";
                problems.push(Diagnostic::error(*span, message));
            }
        } else if !table.knows(word) {
            let error = Diagnostic::error(*span, format!("there is no host `{word}`"));
            let error = error.help("declare it, as in `hosts: {web1: {ssh: deploy@web1.example}}`");
            problems.push(error.did_you_mean(word, table.words(), "known hosts and groups"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ssh(destination: &str, port: Option<u16>) -> HostAccess {
        HostAccess::Ssh {
            destination: destination.to_owned(),
            port,
        }
    }

    #[test]
    fn a_destination_of_ssh_has_a_user_and_a_port_if_they_are_said() {
        for (text, destination, port) in [
            ("web1", "web1", None),
            (
                "deploy@web1.example:2222",
                "deploy@web1.example",
                Some(2222),
            ),
            ("a@b@web1", "a@b@web1", None),
            ("[fe80::1]:22", "fe80::1", Some(22)),
            ("root@[::1]", "root@::1", None),
            ("fe80::1", "fe80::1", None),
        ] {
            assert_eq!(
                HostAccess::ssh(text).unwrap(),
                ssh(destination, port),
                "{text}"
            );
        }
        for text in [
            "",
            "@web1",
            "web1:",
            "web1:0",
            "web1:70000",
            "-oProxyCommand=x",
            "web 1",
            "[::1",
            "[::1]22",
        ] {
            assert!(HostAccess::ssh(text).is_err(), "{text}");
        }
    }
}
