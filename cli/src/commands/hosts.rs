//! `ratchet hosts`: lists hosts, and tries which of them can be reached.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use ratchet_runtime::PlaceName;
use ratchet_runtime::Placement;
use ratchet_runtime::remote::{AgentInfo, HostReport, LaunchGate, Unreachable, probe};
use serde::Serialize;

use crate::args::check::SummaryFormat;
use crate::args::hosts_verb::{HostsAction, HostsVerbArguments, SelectionArguments};
use crate::error::CliError;
use crate::escape::{plain, plain_json};
use crate::exit;
use crate::job_file::{self, HostPlan, HostTable, LOCAL, PlanOptions, Reach};
use crate::output::Destination;
use crate::readable::duration;
use crate::session::{HostConnector, TypedHosts, cores};

/// Lists hosts, or tries to reach them.
pub(crate) fn run(arguments: &HostsVerbArguments) -> Result<u8, CliError> {
    let (selection, is_check) = match &arguments.action {
        None => (&arguments.selection, false),
        Some(HostsAction::List(selection)) => (selection, false),
        Some(HostsAction::Check(selection)) => (selection, true),
    };
    let (table, plans) = select(selection)?;
    if plans.is_empty() {
        // If stderr is closed, the exit code still tells.
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

/// Finds the hosts that are meant: those of `--on`, else all of the file and the inventories.
fn select(selection: &SelectionArguments) -> Result<(HostTable, Vec<HostPlan>), CliError> {
    let SelectionArguments {
        file,
        on,
        sshloginfile,
        inventory,
        ..
    } = selection;
    let typed = TypedHosts::of(on, sshloginfile, inventory)?;
    let table = match file {
        None if typed.on.is_none() && inventory.is_empty() => {
            return Err(CliError::usage("nothing says which hosts are meant")
                .with_help("name a job file with `hosts`, an inventory by -i, or hosts by --on"));
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
        reach: Reach::Local,
        slots: Some(typed.local_slots.unwrap_or_else(cores)),
        env: Vec::new(),
    };
    let plans = match typed.on.map(|words| table.placement(&words)) {
        None => table.hosts().to_vec(),
        Some(Placement::Here) => vec![local],
        Some(Placement::Host) => {
            return Err(CliError::usage(
                "--on host is the host that a job names, and there are no jobs",
            )
            .with_help("leave it out for all hosts"));
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

/// Whether the host is the machine on which ratchet runs, to which nothing is connected.
fn is_here(plan: &HostPlan) -> bool {
    plan.name.as_str() == LOCAL
}

/// Tries to reach all hosts at once.
fn check(plans: &[HostPlan]) -> Result<Vec<Result<HostReport, Unreachable>>, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime
        .map_err(|error| CliError::internal("the event loop cannot be started").because(error))?;
    let (connector, gate) = (HostConnector::new()?, LaunchGate::default());
    let tries = plans.iter().map(|plan| {
        let (config, gate) = (connector.config(plan), gate.clone());
        let slots = plan.slots.filter(|_| is_here(plan));
        runtime.spawn(async move {
            match slots {
                Some(slots) => Ok(HostReport::of_this_host(slots)),
                None => probe(&config, &gate).await,
            }
        })
    });
    let tries: Vec<_> = tries.collect();
    let failed = |error| CliError::internal("a try has failed").because(error);
    runtime.block_on(async {
        let mut reports = Vec::new();
        for one in tries {
            reports.push(one.await.map_err(failed)?);
        }
        Ok(reports)
    })
}

/// A host as it is shown.
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
        table: &'a HostTable,
        plan: &'a HostPlan,
        report: Option<&'a Result<HostReport, Unreachable>>,
    ) -> Self {
        let shown = Self {
            host: plan.name.as_str(),
            groups: table.groups_of(&plan.name).collect(),
            launcher: plan.reach.launcher(),
            way: plan.reach.in_words(),
            slots: plan.slots,
            reached: report.map(Result::is_ok),
            round_trip_ms: None,
            ratchet: None,
            platform: None,
            cores: None,
            error: None,
        };
        match report {
            None => shown,
            Some(Err(error)) => Self {
                error: Some(error.to_string()),
                ..shown
            },
            Some(Ok(report)) => {
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

/// A duration in milliseconds, to the microsecond.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// The hosts for programs: a JSON list of objects.
fn document(hosts: &[ShownHost<'_>]) -> Result<String, CliError> {
    let text = serde_json::to_vec(hosts);
    let text = text
        .map_err(|error| CliError::internal("the list cannot be written as JSON").because(error))?;
    Ok(String::from_utf8_lossy(&plain_json(&text)).into_owned() + "\n")
}

/// The hosts for people. `-` stands for as many slots as the host has cores.
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

/// What became of the tries, for people.
fn checked(hosts: &[ShownHost<'_>]) -> String {
    let lines = hosts.iter().map(|host| {
        let round_trip = host.round_trip_ms.unwrap_or_default() / 1e3;
        let round_trip = duration(Duration::from_secs_f64(round_trip));
        let name = host.host.to_owned();
        match &host.error {
            Some(error) => {
                let none = || "-".to_owned();
                [name, none(), none(), none(), none(), error.clone()]
            }
            None => [
                name,
                round_trip,
                host.slots_in_words(),
                host.ratchet.unwrap_or_default().to_owned(),
                host.platform.unwrap_or_default().to_owned(),
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

/// Lines of aligned columns. The last column is as wide as its texts.
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
