//! The hosts of a run: those that flags and inventories name, and how they are reached.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ratchet_runtime::monitor::AdmissionLimits;
use ratchet_runtime::process::{CommandRunner, Keeper, ProcessManager, ProcessSupervisor};
use ratchet_runtime::remote::{
    AgentProgram, HostConfig, LaunchLimit, PrefixWords, PrefixedProcesses, RemoteConfig, RemoteHost,
};
use ratchet_runtime::{HostName, Job, Place, PlaceName, PlaceState, Placement, closest};
use tokio::sync::watch;

use super::job_source::JobSource;
use super::slurm::Allocation;
use crate::args::hosts::{ChosenHosts, OnArgument, OnTarget};
use crate::error::CliError;
use crate::inventory::{self, Inventory};
use crate::job_file::{
    AgentPlan, HostAccess, HostPlan, HostRegistry, HostTimes, LOCAL, OWN_HOST, Resources,
    WorkerPlan,
};

/// How long to try to reach a host that was never reached.
const FIRST_CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a lost host may be away before jobs that can run only there fail.
const GIVE_UP: Duration = Duration::from_mins(5);

/// The hosts that flags name.
#[derive(Debug, Clone, Default)]
pub(crate) struct HostFlags {
    /// The hosts of inventories, and those of `--on`.
    pub(crate) table: HostRegistry,
    /// The words of `--on`, if it was given.
    pub(crate) on: Option<Vec<String>>,
    /// The number of slots of this machine, if `--on` gives one.
    pub(crate) local_slots: Option<u32>,
    /// The Slurm allocation, if `--on` names its nodes.
    pub(crate) allocation: Option<Allocation>,
    /// Whether work folders are kept when their jobs have ended.
    pub(crate) keep_remote: bool,
}

impl HostFlags {
    /// Reads `--on`, the files of `--sshloginfile` and the inventories into the hosts of a run.
    pub(crate) fn of(chosen: &ChosenHosts) -> Result<Self, CliError> {
        let mut words = chosen.on.clone();
        for path in &chosen.sshloginfile {
            let name = path.display();
            let text = fs::read_to_string(path).map_err(|error| {
                CliError::usage(format!("{name} cannot be read")).because(error)
            })?;
            for (number, line) in (1..).zip(text.lines()) {
                let line = line.trim();
                if line.is_empty() || line.starts_with('#') {
                    continue;
                }
                let word = line.parse::<OnArgument>();
                words.push(word.map_err(|why| CliError::usage(format!("{name}:{number}: {why}")))?);
            }
        }
        let mut hosts = Self::default();
        if !chosen.inventory.is_empty() {
            add_inventory(&mut hosts.table, &inventory::load(&chosen.inventory)?)?;
        }
        if words.is_empty() {
            return Ok(hosts);
        }
        let mut on = Vec::new();
        for OnArgument { slots, target } in words {
            on.push(match target {
                OnTarget::Slurm => {
                    let allocation = Allocation::current()?;
                    for (name, own_slots) in allocation.nodes() {
                        hosts.table.add_typed(HostPlan {
                            name: PlaceName::new(name),
                            reach: HostAccess::Srun(name.clone()),
                            agent: AgentPlan::Own,
                            slots: slots.or(*own_slots),
                            resources: Vec::new(),
                            env: Vec::new(),
                            times: HostTimes::default(),
                        });
                        on.push(name.clone());
                    }
                    hosts.allocation = Some(allocation);
                    continue;
                }
                OnTarget::Local => {
                    hosts.local_slots = slots.or(hosts.local_slots);
                    LOCAL.to_owned()
                }
                OnTarget::OwnHost => OWN_HOST.to_owned(),
                OnTarget::Group(group) => group,
                OnTarget::Host(name) => {
                    let reach = HostAccess::ssh(&name).map_err(|error| {
                        let refused = CliError::usage(format!("--on {name}: {}", error.reason));
                        match error.hint {
                            Some(hint) => refused.with_help(hint),
                            None => refused,
                        }
                    })?;
                    hosts.table.add_typed(HostPlan {
                        name: PlaceName::new(&name),
                        reach,
                        agent: AgentPlan::Own,
                        slots,
                        resources: Vec::new(),
                        env: Vec::new(),
                        times: HostTimes::default(),
                    });
                    name
                }
            });
        }
        if on.len() > 1 && on.iter().any(|word| word == OWN_HOST) {
            return Err(CliError::usage(
                "--on host means the host that each job names, and cannot be combined with other names",
            ));
        }
        hosts.on = Some(on);
        Ok(hosts)
    }

    /// Refuses a `--on` that names a host that is not among these.
    pub(crate) fn refuse_unknown(&self, hosts: &HostRegistry) -> Result<(), CliError> {
        let on = self.on.as_deref().unwrap_or_default();
        let Some(unknown) = hosts.unknown(on) else {
            return Ok(());
        };
        let error = CliError::usage(format!("--on: there is no host or group `{unknown}`"));
        Err(match closest(unknown, hosts.words()) {
            Some(meant) => error.with_help(format!("did you mean `{meant}`?")),
            None => {
                error.with_help("groups are defined in `hosts` of a job file or in an inventory")
            }
        })
    }
}

/// Adds the hosts and groups of an inventory.
fn add_inventory(table: &mut HostRegistry, inventory: &Inventory) -> Result<(), CliError> {
    for (index, host) in inventory.hosts() {
        let variables = inventory.variables_of(index);
        let text = |name: &str| match variables.get(name) {
            None | Some(serde_json::Value::Null) => None,
            Some(serde_json::Value::String(text)) => Some(text.clone()),
            Some(other) => Some(other.to_string()),
        };
        let reach = match text("ansible_connection").as_deref() {
            Some("local") => HostAccess::Local,
            Some("docker" | "community.docker.docker") => {
                HostAccess::Docker(text("ansible_host").unwrap_or_else(|| host.name.clone()))
            }
            None | Some("ssh" | "smart" | "paramiko" | "ansible.builtin.ssh") => {
                let name = text("ansible_host").unwrap_or_else(|| host.name.clone());
                let name = match text("ansible_user").or_else(|| text("ansible_ssh_user")) {
                    Some(user) => format!("{user}@{name}"),
                    None => name,
                };
                let refuse = |why: &str| {
                    CliError::usage(format!("host `{}` of the inventory: {why}", host.name))
                };
                let HostAccess::Ssh { destination, port } =
                    HostAccess::ssh(&name).map_err(|error| refuse(&error.reason))?
                else {
                    unreachable!("this access was made for an ssh destination")
                };
                let own = text("ansible_port").map(|port| port.parse::<u16>());
                let own = own.transpose();
                let own = own.map_err(|_| refuse("`ansible_port` is not a port number"))?;
                HostAccess::Ssh {
                    destination,
                    port: own.or(port),
                }
            }
            Some(other) => {
                return Err(CliError::usage(format!(
                    "host `{}` of the inventory: the connection `{other}` is not supported",
                    host.name
                ))
                .with_help("use ssh, docker or local; `hosts` of a job file supports more"));
            }
        };
        let plan = HostPlan {
            name: PlaceName::new(&host.name),
            reach,
            agent: AgentPlan::Own,
            slots: None,
            resources: Vec::new(),
            env: Vec::new(),
            times: HostTimes::default(),
        };
        let groups = inventory.groups_of(index);
        table.add(plan, groups.iter().map(String::as_str));
    }
    Ok(())
}

/// Makes the configurations of connections to hosts.
pub(crate) struct HostConnector {
    /// This program, which is copied to hosts.
    program: PathBuf,
    /// The limits within which jobs start on each host.
    admission: AdmissionLimits,
}

impl HostConnector {
    /// Makes a connector. Jobs start on each host within these limits.
    pub(crate) fn new(admission: AdmissionLimits) -> Result<Self, CliError> {
        let program = std::env::current_exe().map_err(|error| {
            CliError::internal(
                "the path of this program, which would be copied to hosts, cannot be found",
            )
            .because(error)
        })?;
        Ok(Self { program, admission })
    }

    /// Returns how a host is reached, and for how long this is tried; `None` for a host without an agent.
    pub(crate) fn config(&self, plan: &HostPlan) -> Option<HostConfig> {
        let mut remote = RemoteConfig::new(plan.name.as_str());
        if let Some(slots) = plan.slots {
            remote = remote.slots(slots);
        }
        remote.measures_machine = self.admission != AdmissionLimits::default();
        remote.lost_after = plan.times.lost_after.unwrap_or(remote.lost_after);
        remote.fence_after = plan.times.fence_after.unwrap_or(remote.fence_after);
        Some(HostConfig {
            name: plan.name.clone(),
            admission: self.admission,
            launcher: plan.reach.launcher(),
            agent: match &plan.agent {
                AgentPlan::Own => AgentProgram::Copied(self.program.clone()),
                AgentPlan::File(path) => AgentProgram::CopiedForHost(path.clone()),
                AgentPlan::None => return None,
            },
            slots: plan.slots,
            env: plan.env.clone(),
            remote,
            first_connect_timeout: FIRST_CONNECT_TIMEOUT,
            give_up: plan.times.give_up.unwrap_or(GIVE_UP),
        })
    }
}

/// Returns the processes of a host without an agent.
pub(crate) fn prefixed(plan: &HostPlan, keeper: Keeper) -> PrefixedProcesses {
    let words = match plan.reach {
        HostAccess::Ssh { .. } => PrefixWords::ThroughShell,
        _ => PrefixWords::Passed,
    };
    PrefixedProcesses::start(
        plan.reach.launcher(),
        words,
        plan.env.iter().cloned(),
        plan.slots.unwrap_or(1),
        Some(keeper),
    )
}

/// The hosts of a run that were started, each with its supervisor and its runner of commands.
pub(super) struct StartedHosts {
    hosts: BTreeMap<PlaceName, StartedHost>,
}

/// A host to which a connection is being made, or was made.
pub(super) struct StartedHost {
    /// The transport to its processes.
    way: HostTransport,
    /// The supervisor of the workers there.
    pub(super) supervisor: ProcessSupervisor,
    /// Runs commands there.
    pub(super) commands: CommandRunner,
    /// How many slots were declared for it.
    pub(super) slots: Option<u32>,
    /// The resources that it has for itself.
    resources: Resources,
}

/// The transport to the processes of a host.
enum HostTransport {
    /// Over a connection to its agent.
    Agent(Arc<RemoteHost>),
    /// With a prefix before each command.
    Prefix(Arc<PrefixedProcesses>),
}

impl HostTransport {
    fn processes(&self) -> Arc<dyn ProcessManager> {
        match self {
            Self::Agent(host) => Arc::<RemoteHost>::clone(host),
            Self::Prefix(processes) => Arc::<PrefixedProcesses>::clone(processes),
        }
    }

    fn state(&self) -> watch::Receiver<PlaceState> {
        match self {
            Self::Agent(host) => host.state(),
            Self::Prefix(processes) => processes.state(),
        }
    }
}

impl StartedHosts {
    /// Begins to connect to the hosts that the jobs and workers of a run can use. It does not wait for any of them.
    pub(super) fn start(
        table: &HostRegistry,
        jobs: &JobSource,
        workers: &[WorkerPlan],
        admission: AdmissionLimits,
        keeper: &Keeper,
    ) -> Result<Self, CliError> {
        let connector = HostConnector::new(admission)?;
        let used = UsedHosts::of(jobs, workers);
        let gate = LaunchLimit::default();
        let plans = table.hosts().iter();
        let plans = plans.filter(|host| used.contains(&host.name));
        let hosts = plans.map(|plan| {
            let way = match connector.config(plan) {
                Some(config) => HostTransport::Agent(Arc::new(RemoteHost::start(config, &gate))),
                None => HostTransport::Prefix(Arc::new(prefixed(plan, keeper.clone()))),
            };
            let processes = way.processes();
            let started = StartedHost {
                supervisor: ProcessSupervisor::start(Arc::clone(&processes)),
                commands: CommandRunner::through(processes),
                slots: match way {
                    HostTransport::Agent(_) => plan.slots,
                    HostTransport::Prefix(_) => plan.slots.or(Some(1)),
                },
                resources: plan.resources.clone(),
                way,
            };
            (plan.name.clone(), started)
        });
        Ok(Self {
            hosts: hosts.collect(),
        })
    }

    /// Iterates over the hosts, in the order of their names.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&PlaceName, &StartedHost)> {
        self.hosts.iter()
    }

    /// Iterates over the hosts with agents, which can measure their machine and stop the processes there.
    pub(super) fn with_agents(&self) -> impl Iterator<Item = (&PlaceName, &Arc<RemoteHost>)> {
        self.hosts
            .iter()
            .filter_map(|(name, host)| match &host.way {
                HostTransport::Agent(host) => Some((name, host)),
                HostTransport::Prefix(_) => None,
            })
    }

    /// Returns a warning about what is not supported on hosts without agents, if there are any.
    pub(super) fn warning(&self) -> Option<String> {
        let bare = self.hosts.iter();
        let bare = bare.filter(|(_, host)| matches!(host.way, HostTransport::Prefix(_)));
        let names: Vec<&str> = bare.map(|(name, _)| name.as_str()).collect();
        if names.is_empty() {
            return None;
        }
        Some(format!(
            "no agent on {}: the process of a stopped job may stay alive there, memory is not limited, and nothing is measured",
            names.join(", ")
        ))
    }

    /// Finds a host.
    pub(super) fn get(&self, name: &PlaceName) -> Option<&StartedHost> {
        self.hosts.get(name)
    }

    /// Iterates over the hosts as places of an executor.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> {
        let hosts = self.hosts.iter();
        hosts.map(|(name, host)| {
            let place = Place::new(name.clone(), host.commands.clone(), host.way.state());
            let resources = host.resources.iter();
            let place = resources.fold(place, |place, (name, resource)| {
                place.resource(name, resource.clone())
            });
            match &host.way {
                HostTransport::Agent(host) => place
                    .round_trip(host.round_trip())
                    .platform(host.platform()),
                // Each variable would be one more word of the command, and the host may have no `env`.
                HostTransport::Prefix(_) => place.without_attempt_variables(),
            }
        })
    }

    /// Returns the runners of commands, by host.
    pub(super) fn commands(&self) -> BTreeMap<PlaceName, CommandRunner> {
        let hosts = self.hosts.iter();
        hosts
            .map(|(name, host)| (name.clone(), host.commands.clone()))
            .collect()
    }

    /// Ends the workers on all hosts.
    pub(super) async fn shutdown(&self) {
        let ends = self.hosts.values().map(|host| host.supervisor.shutdown());
        for end in ends {
            end.await;
        }
    }
}

/// The hosts that a run can use.
enum UsedHosts {
    /// All hosts, since the jobs are not known yet.
    All,
    /// Only these hosts.
    These(HashSet<PlaceName>),
}

impl UsedHosts {
    /// Returns the hosts on which the jobs or the workers of a run may run.
    fn of(jobs: &JobSource, workers: &[WorkerPlan]) -> Self {
        let (jobs, all_on): (&[Job], _) = match jobs {
            JobSource::List(jobs) => (jobs, None),
            JobSource::Stream(stream) => match stream.placement() {
                None => return Self::All,
                on => (&[], on),
            },
            // The nodes of a queue do them.
            JobSource::Queued(_) => (&[], None),
        };
        let mut used = HashSet::new();
        let mut add = |on: &Placement, host: Option<&HostName>| match on {
            Placement::Here => {}
            Placement::Host => used.extend(host.map(|host| PlaceName::new(host.as_str()))),
            Placement::Among(places) => used.extend(places.iter().cloned()),
        };
        add(&all_on.unwrap_or_default(), None);
        for Job { terms, host, .. } in jobs {
            add(&terms.on, host.as_ref());
        }
        for worker in workers {
            match worker.on {
                Placement::Host => {
                    for job in jobs {
                        add(&worker.on, job.host.as_ref());
                    }
                }
                Placement::Here | Placement::Among(_) => add(&worker.on, None),
            }
        }
        Self::These(used)
    }

    fn contains(&self, name: &PlaceName) -> bool {
        match self {
            Self::All => true,
            Self::These(used) => used.contains(name),
        }
    }
}
