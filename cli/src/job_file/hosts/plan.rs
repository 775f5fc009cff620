//! A host as its section declares it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ratchet_runtime::PlaceName;

use super::access::HostAccess;
use crate::diagnostic::{Diagnostic, Problems, Span};
use crate::document::{Field, Named, PositiveDuration, ScalarText};
use crate::job_file::paths::within;
use crate::job_file::resources::{self, Resources};
use crate::job_file::spec::HostSpec;

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

/// Makes the plan of a host from its section. Returns nothing if the section is wrong.
pub(super) fn plan(
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

/// Reads which agent runs on a host.
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

/// Reads how a host is reached. One of the ways is present.
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
