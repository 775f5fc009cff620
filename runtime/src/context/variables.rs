//! The environment variables that describe an attempt to its command.

use std::ffi::{OsStr, OsString};

use ratchet_ipc::{HostName, JobKey};

use crate::ids::{PlaceName, SlotNumber};
use crate::os::ProcessConfig;
use crate::scheduling::{ResourceShare, resource_variable};
use crate::trace_context::{TRACE_PARENT_VARIABLE, TraceParent};

/// The variable for the number of the slot that the attempt holds.
const SLOT: &str = "RATCHET_SLOT";
/// The variable for the id of the job.
const JOB_ID: &str = "RATCHET_JOB_ID";
/// The variable for the number of the attempt.
const ATTEMPT: &str = "RATCHET_ATTEMPT";
/// The variable for the host that the job is about, or else for the place where it runs.
const HOST: &str = "RATCHET_HOST";

/// The greatest length in bytes of an id or a host in a variable. Linux starts no program with a variable of 128 KiB.
const MAX_VALUE: usize = 64 * 1024;

/// The resource whose identities are the devices that CUDA programs may use.
const GPU: &str = "gpu";
/// The variable by which CUDA programs find the devices that they may use.
const CUDA_DEVICES: &str = "CUDA_VISIBLE_DEVICES";

/// The variable for the id of the run. The code that records a run sets it by
/// [`ExecutorBuilder::command_variable`](crate::ExecutorBuilder::command_variable).
pub const RUN_ID_VARIABLE: &str = "RATCHET_RUN_ID";

/// The variables that describe the attempt and the run to a command.
pub const ATTEMPT_VARIABLES: [&str; 5] = [SLOT, JOB_ID, ATTEMPT, HOST, RUN_ID_VARIABLE];

/// Variables of the environment, by name.
pub(crate) type Variables = Vec<(OsString, OsString)>;

/// The facts about an attempt that a command gets as variables.
pub(crate) struct AttemptFacts<'a> {
    /// The id of the job.
    pub(crate) job: &'a JobKey,
    /// The host that the job is about, if it is about one.
    pub(crate) host: Option<&'a HostName>,
    /// The number of the attempt, from 1 on.
    pub(crate) attempt: u32,
    /// The first slot that the attempt holds.
    pub(crate) slot: Option<SlotNumber>,
    /// The place where the attempt runs; `None` for the machine of the executor.
    pub(crate) place: Option<&'a PlaceName>,
    /// The attempt's shares of resources.
    pub(crate) resources: &'a [ResourceShare],
    /// The span of the attempt, if the run is traced.
    pub(crate) trace: Option<TraceParent>,
}

impl AttemptFacts<'_> {
    /// Returns the facts as variables. All of them are set, if need be to an empty value: a command of a run within
    /// another run would otherwise inherit the variables that describe an attempt of the outer run. An id that cannot be
    /// a value is left empty, too.
    pub(crate) fn variables(&self) -> Variables {
        let local = PlaceName::LOCAL;
        let place = self.place.unwrap_or(&local);
        let host = self.host.map_or(place.as_str(), HostName::as_str);
        let slot = self.slot.map(|slot| slot.to_string()).unwrap_or_default();
        let facts = [
            (SLOT, slot),
            (JOB_ID, value_of(self.job.as_str())),
            (ATTEMPT, self.attempt.to_string()),
            (HOST, value_of(host)),
        ];
        let mut variables: Variables = facts
            .map(|(name, value)| (name.into(), value.into()))
            .into();
        if let Some(span) = self.trace {
            variables.push((TRACE_PARENT_VARIABLE.into(), span.to_string().into()));
        }
        for share in self.resources {
            variables.push((resource_variable(share.name()).into(), share.value().into()));
            if share.name() == GPU && share.has_identities() {
                variables.push((CUDA_DEVICES.into(), share.value().into()));
            }
        }
        variables
    }
}

/// Returns the value of a variable for this text. It is empty if the text cannot be one, since the command would not start
/// with it.
fn value_of(text: &str) -> String {
    if text.len() > MAX_VALUE || text.contains('\0') {
        String::new()
    } else {
        text.to_owned()
    }
}

/// Returns the command with these variables added. Variables that it declares itself are kept, with the names of
/// resources in their values replaced by the shares of the attempt.
pub(super) fn with_variables(
    config: &ProcessConfig,
    variables: &Variables,
    resources: &[ResourceShare],
) -> ProcessConfig {
    let mut config = config.clone();
    if !resources.is_empty() {
        config
            .env
            .map_declared(|value| put_resources(value, resources));
    }
    for (name, value) in variables {
        config.env.declare_missing(name, value);
    }
    config
}

/// Replaces the names of resources by the attempt's shares, as in `cuda:${gpu}`. Returns `None` if the value needs no
/// change.
fn put_resources(value: &OsStr, resources: &[ResourceShare]) -> Option<OsString> {
    let text = value.to_str()?;
    if !text.contains("${") {
        return None;
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let named = from[2..].split_once('}');
        let share = named.and_then(|(name, after)| {
            let mut shares = resources.iter();
            Some((shares.find(|share| share.name() == name)?, after))
        });
        if let Some((share, after)) = share {
            out.push_str(&share.value());
            rest = after;
        } else {
            out.push_str("${");
            rest = &from[2..];
        }
    }
    out.push_str(rest);
    Some(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::Environment;

    fn facts<'a>(job: &'a JobKey, host: Option<&'a HostName>) -> AttemptFacts<'a> {
        AttemptFacts {
            job,
            host,
            attempt: 2,
            slot: SlotNumber::new(3),
            place: None,
            resources: &[],
            trace: None,
        }
    }

    fn told(config: &ProcessConfig) -> Vec<String> {
        let declared = config.env.declared();
        declared
            .map(|(name, value)| format!("{}={}", name.display(), value.display()))
            .collect()
    }

    #[test]
    fn a_command_is_told_of_its_attempt_unless_it_sets_the_variable_itself() {
        let job = JobKey::from("a");
        let plain = ProcessConfig::new("x");
        let variables = facts(&job, None).variables();
        let expected = [
            "RATCHET_ATTEMPT=2",
            "RATCHET_HOST=local",
            "RATCHET_JOB_ID=a",
        ];
        assert_eq!(
            told(&with_variables(&plain, &variables, &[]))[..3],
            expected
        );
        let own = plain.env(Environment::inherited().set("RATCHET_SLOT", "own"));
        let told = told(&with_variables(&own, &variables, &[]));
        assert_eq!(told[3..], ["RATCHET_SLOT=own"]);
    }

    #[test]
    fn the_host_of_a_job_comes_before_its_place_and_what_is_not_known_is_empty() {
        let (job, host, place) = (
            JobKey::from("a"),
            HostName::from("db1"),
            PlaceName::new("web1"),
        );
        let value = |facts: AttemptFacts<'_>, name: &str| {
            let variables = facts.variables();
            let found = variables.into_iter().find(|(known, _)| *known == *name);
            found.unwrap().1.into_string().unwrap()
        };
        let at_place = |host| AttemptFacts {
            place: Some(&place),
            slot: None,
            ..facts(&job, host)
        };
        assert_eq!(value(at_place(None), "RATCHET_HOST"), "web1");
        assert_eq!(value(at_place(Some(&host)), "RATCHET_HOST"), "db1");
        assert_eq!(value(at_place(None), "RATCHET_SLOT"), "");
    }
}
