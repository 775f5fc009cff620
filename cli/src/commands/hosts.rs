//! `ratchet hosts`: lists hosts, and checks which of them can be reached.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ratchet_ipc::error_chain;
use ratchet_runtime::monitor::AdmissionLimits;
use ratchet_runtime::process::{CommandLimits, CommandRunner, ProcessConfig};
use ratchet_runtime::remote::{AgentInfo, HostReport, LaunchLimit, PrefixedProcesses, probe};
use ratchet_runtime::{PlaceName, Placement};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::args::check::SummaryFormat;
use crate::args::hosts_command::{HostSelectionArguments, HostsAction, HostsVerbArguments};
use crate::error::CliError;
use crate::escape::{plain, plain_json};
use crate::exit;
use crate::job_file::{
    self, AgentPlan, HostAccess, HostPlan, HostRegistry, HostTimes, LOCAL, PlanOptions,
};
use crate::output::Destination;
use crate::readable::duration;
use crate::session::{HostConnector, HostFlags, cores, prefixed, start_keeper};

/// How long a host without an agent may take to run `true`.
const TRY_LIMIT: Duration = Duration::from_secs(30);

/// Lists hosts, or checks whether they can be reached.
pub(crate) fn run(arguments: &HostsVerbArguments) -> Result<u8, CliError> {
    let (selection, is_check) = match &arguments.action {
        None => (&arguments.selection, false),
        Some(HostsAction::List(selection)) => (selection, false),
        Some(HostsAction::Check(selection)) => (selection, true),
    };
    let (table, plans) = select(selection)?;
    if plans.is_empty() {
        // If stderr is closed, the exit code still reports the error.
        let _ = io::stderr().write_all(b"ratchet: there are no hosts: nothing to do\n");
        return Ok(exit::NOTHING);
    }
    let reports = if is_check {
        check(&plans)?.into_iter().map(Some).collect()
    } else {
        plans.iter().map(|_| None).collect::<Vec<_>>()
    };
    let all_reached = reports.iter().flatten().all(Result::is_ok);
    let hosts = plans.iter().zip(&reports);
    let shown: Vec<ShownHost<'_>> = hosts
        .map(|(plan, report)| ShownHost::new(&table, plan, report.as_ref()))
        .collect();
    let text = match selection.format {
        SummaryFormat::Json => document(&shown)?,
        SummaryFormat::Human if is_check => checked(&shown),
        SummaryFormat::Human => listed(&shown),
    };
    let written = io::stdout().write_all(text.as_bytes());
    written.map_err(|error| Destination::Stdout.error(error))?;
    Ok(if all_reached {
        exit::SUCCESS
    } else {
        exit::UNSUCCESSFUL
    })
}

/// Returns the hosts that the arguments select: those of `--on`, else all of the file and the inventories.
fn select(selection: &HostSelectionArguments) -> Result<(HostRegistry, Vec<HostPlan>), CliError> {
    let HostSelectionArguments { file, chosen, .. } = selection;
    let typed = HostFlags::of(chosen)?;
    let table = match file {
        None if typed.on.is_none() && chosen.inventory.is_empty() => {
            return Err(CliError::usage("no hosts are given").with_help(
                "name a job file with `hosts`, an inventory with -i, or hosts with --on",
            ));
        }
        None => typed.table.clone(),
        Some(file) if file == Path::new("-") => {
            return Err(CliError::usage("hosts are not read from stdin")
                .with_help("name a job file with `hosts`"));
        }
        Some(file) => {
            let options = PlanOptions {
                hosts: typed.table.clone(),
                ..PlanOptions::default()
            };
            job_file::open(file, &options)?.hosts
        }
    };
    typed.refuse_unknown(&table)?;
    let local = HostPlan {
        name: PlaceName::LOCAL,
        reach: HostAccess::Local,
        agent: AgentPlan::Own,
        slots: Some(typed.local_slots.unwrap_or_else(cores)),
        resources: Vec::new(),
        env: Vec::new(),
        times: HostTimes::default(),
    };
    let plans = match typed.on.map(|words| table.placement(&words)) {
        None => table.hosts().to_vec(),
        Some(Placement::Here) => vec![local],
        Some(Placement::Host) => {
            return Err(CliError::usage(
                "--on host means the host that each job names, and there are no jobs here",
            )
            .with_help("leave it out to choose all hosts"));
        }
        Some(Placement::Among(names)) => {
            let plan = |name: &PlaceName| match table.find(name) {
                Some(plan) => plan.clone(),
                None => local.clone(),
            };
            names.iter().map(plan).collect()
        }
    };
    Ok((table, plans))
}

/// Whether the host is the machine on which ratchet runs, which needs no connection.
fn is_here(plan: &HostPlan) -> bool {
    plan.name.as_str() == LOCAL
}

/// A host that was reached, and how.
enum Reached {
    /// The agent of the host has sent this report.
    Agent(HostReport),
    /// The host has no agent, and has run a command.
    Behind,
}

/// Runs `true` on a host without an agent, with the launcher of the host before it.
async fn try_behind(processes: PrefixedProcesses) -> Result<Reached, String> {
    let runner = CommandRunner::through(Arc::new(processes));
    let limits = CommandLimits {
        hard: Some(TRY_LIMIT),
        ..CommandLimits::default()
    };
    let command = ProcessConfig::new("true");
    let never = CancellationToken::new();
    let ran = runner.run(&command, limits, &never).await;
    let output = ran.map_err(|error| error_chain(&error))?;
    if output.is_success() {
        return Ok(Reached::Behind);
    }
    let said = output.stderr.to_text();
    Err(match said.trim() {
        "" => format!("`true` {} there", output.ended.exit),
        said => said.to_owned(),
    })
}

/// Tries to reach all hosts. `LaunchLimit` limits how many are connected to at once.
fn check(plans: &[HostPlan]) -> Result<Vec<Result<Reached, String>>, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime
        .map_err(|error| CliError::internal("the event loop cannot be started").because(error))?;
    let (connector, gate) = (
        HostConnector::new(AdmissionLimits::default())?,
        LaunchLimit::default(),
    );
    let keeper = start_keeper()?;
    let tries = plans.iter().map(|plan| {
        let (plan, gate, keeper) = (plan.clone(), gate.clone(), keeper.clone());
        let config = connector.config(&plan);
        runtime.spawn(async move {
            match (plan.slots.filter(|_| is_here(&plan)), config) {
                (Some(slots), _) => Ok(Reached::Agent(HostReport::of_this_host(slots))),
                (None, Some(config)) => {
                    let report = probe(&config, &gate).await;
                    report
                        .map(Reached::Agent)
                        .map_err(|error| error.to_string())
                }
                (None, None) => try_behind(prefixed(&plan, keeper)).await,
            }
        })
    });
    let tries: Vec<_> = tries.collect();
    let failed =
        |error| CliError::internal("a connection to a host was tried and failed").because(error);
    runtime.block_on(async {
        let mut reports = Vec::new();
        for one in tries {
            reports.push(one.await.map_err(failed)?);
        }
        Ok(reports)
    })
}

/// A host as it is printed.
#[derive(Serialize)]
struct ShownHost<'a> {
    host: &'a str,
    groups: Vec<&'a str>,
    launcher: Vec<String>,
    #[serde(skip)]
    way: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    slots: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reached: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    round_trip_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ratchet: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cores: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl<'a> ShownHost<'a> {
    fn new(
        table: &'a HostRegistry,
        plan: &'a HostPlan,
        report: Option<&'a Result<Reached, String>>,
    ) -> Self {
        let shown = Self {
            host: plan.name.as_str(),
            groups: table.groups_of(&plan.name).collect(),
            launcher: plan.reach.launcher(),
            way: plan.reach.in_words(),
            slots: match plan.agent {
                AgentPlan::None => plan.slots.or(Some(1)),
                _ => plan.slots,
            },
            reached: report.map(Result::is_ok),
            round_trip_ms: None,
            ratchet: None,
            platform: None,
            cores: None,
            error: None,
        };
        match report {
            None | Some(Ok(Reached::Behind)) => shown,
            Some(Err(error)) => Self {
                error: Some(error.clone()),
                ..shown
            },
            Some(Ok(Reached::Agent(report))) => {
                let AgentInfo {
                    ratchet,
                    platform,
                    cores,
                    ..
                } = &report.agent;
                Self {
                    slots: Some(report.slots),
                    round_trip_ms: Some(milliseconds(report.round_trip)),
                    ratchet: Some(ratchet),
                    platform: Some(platform),
                    cores: Some(*cores),
                    ..shown
                }
            }
        }
    }

    fn slots_in_words(&self) -> String {
        self.slots
            .map_or_else(|| "-".to_owned(), |slots| slots.to_string())
    }
}

/// Returns a duration in milliseconds, to the microsecond.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// Formats the hosts for programs: a JSON list of objects.
fn document(hosts: &[ShownHost<'_>]) -> Result<String, CliError> {
    let text = serde_json::to_vec(hosts);
    let text = text
        .map_err(|error| CliError::internal("the list cannot be written as JSON").because(error))?;
    Ok(String::from_utf8_lossy(&plain_json(&text)).into_owned() + "\n")
}

/// Formats the hosts for people. `-` means as many slots as the host has cores.
fn listed(hosts: &[ShownHost<'_>]) -> String {
    let lines = hosts.iter().map(|host| {
        [
            host.host.to_owned(),
            host.slots_in_words(),
            host.groups.join(","),
            host.way.clone(),
        ]
    });
    let titles = ["HOST", "SLOTS", "GROUPS", "REACHED BY"].map(str::to_owned);
    table(std::iter::once(titles).chain(lines))
}

/// Formats the results of the checks for people.
fn checked(hosts: &[ShownHost<'_>]) -> String {
    let lines = hosts.iter().map(|host| {
        let none = || "-".to_owned();
        let round_trip = host
            .round_trip_ms
            .map(|time| duration(Duration::from_secs_f64(time / 1e3)));
        let name = host.host.to_owned();
        match &host.error {
            Some(error) => [name, none(), none(), none(), none(), error.clone()],
            None => [
                name,
                round_trip.unwrap_or_else(none),
                host.slots_in_words(),
                host.ratchet.map_or_else(none, str::to_owned),
                host.platform.map_or_else(none, str::to_owned),
                "reached".to_owned(),
            ],
        }
    });
    let titles = [
        "HOST",
        "ROUND TRIP",
        "SLOTS",
        "RATCHET",
        "PLATFORM",
        "STATE",
    ];
    let mut text = table(std::iter::once(titles.map(str::to_owned)).chain(lines));
    let reached = hosts.iter().filter(|host| host.error.is_none()).count();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{reached} of {} reached", hosts.len());
    text
}

/// Formats lines of aligned columns. The last column is not padded.
fn table<const COLUMNS: usize>(lines: impl Iterator<Item = [String; COLUMNS]>) -> String {
    let lines: Vec<[String; COLUMNS]> = lines
        .map(|line| line.map(|text| plain(&text).into_owned()))
        .collect();
    let mut widths = [0; COLUMNS];
    for line in &lines {
        for (width, text) in widths.iter_mut().zip(line) {
            *width = text.chars().count().max(*width);
        }
    }
    let mut out = String::new();
    for line in &lines {
        let columns = line.iter().zip(widths);
        let columns: Vec<String> = columns
            .map(|(text, width)| format!("{text:<width$}"))
            .collect();
        out.push_str(columns.join("  ").trim_end());
        out.push('\n');
    }
    out
}
