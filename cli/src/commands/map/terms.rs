//! The terms of the jobs of a map, and the limits that flags define.

use std::sync::Arc;

use ratchet_runtime::{CacheTerms, Limit, PlaceName, Placement, Rate, Terms};

use super::work::refuse_cached_files;
use crate::args::map::MapArguments;
use crate::args::terms::{TypedHint, hint};
use crate::error::CliError;
use crate::job_file::check_typed;
use crate::map::{Columns, HintTemplate, ItemTerms, MapWork, TextTemplate};
use crate::session::{RunOptions, Session};

/// Limits by their names.
pub(super) type NamedLimits = Vec<(String, Limit)>;

/// Returns the terms of all jobs, and the limits that they count against. With `--each-host`, the jobs run on these
/// hosts.
pub(super) fn terms(
    arguments: &MapArguments,
    session: &Session,
    hosts: Option<&Arc<[PlaceName]>>,
) -> Result<(Arc<Terms>, NamedLimits), CliError> {
    let mut usual = usual_terms(session.options())?;
    let terms = Arc::make_mut(&mut usual);
    if let Some(hosts) = hosts {
        terms.on = Placement::Among(Arc::clone(hosts));
    }
    if arguments.pipe.round_robin {
        // A retry would not read the blocks that the first attempt has read, so jobs are not retried.
        terms.retry = None;
    }
    let mut limits = start_limits(arguments)?;
    terms
        .limits
        .extend(limits.iter().map(|(name, _)| name.clone()));
    limits.extend(defined_limits(arguments)?);
    check_placement(arguments, session, terms)?;
    refuse_cached_files(arguments, terms)?;
    Ok((usual, limits))
}

/// Returns the parts of the terms that depend on the item.
pub(super) fn item_terms(
    arguments: &MapArguments,
    columns: Columns<'_>,
) -> Result<ItemTerms, CliError> {
    let template = |text| TextTemplate::parse(text, columns);
    let host = arguments.host.as_deref().map(template).transpose()?;
    let hint = match &arguments.common.terms.hint {
        Some(TypedHint::Template(text)) => Some(HintTemplate::new(template(text)?, hint)),
        Some(TypedHint::Same(_)) | None => None,
    };
    Ok(ItemTerms { host, hint })
}

/// Returns where each job runs, if it does not simply follow --on.
pub(super) fn placement_of_jobs(work: &MapWork, on_each_host: bool) -> Option<Placement> {
    match work {
        // Each job names its host.
        MapWork::Command { .. } => on_each_host.then_some(Placement::Host),
        // The filter runs on the hosts, and its items are sent to it.
        MapWork::Warm(_) | MapWork::Worker(_) => Some(Placement::Here),
    }
}

/// Returns the terms of all jobs from their flags and settings.
fn usual_terms(options: &RunOptions) -> Result<Arc<Terms>, CliError> {
    let terms = options
        .flags
        .clone()
        .or(&options.settings)
        .settle(&options.hosts.table);
    Ok(Arc::new(terms.map_err(CliError::from)?))
}

/// Returns the limit on how fast commands start, with its name, if there is one.
fn start_limits(arguments: &MapArguments) -> Result<Vec<(String, Limit)>, CliError> {
    let rate = match (arguments.rate, arguments.delay) {
        (Some(rate), _) => rate,
        (None, Some(delay)) if !delay.is_zero() => Rate::new(1, delay)
            .map_err(|error| CliError::usage("--delay cannot be applied").because(error))?,
        _ => return Ok(Vec::new()),
    };
    let limit = Limit::rate(rate, 1)
        .map_err(|error| CliError::usage("--rate cannot be applied").because(error))?;
    Ok(vec![(Limit::RATE_OF_STARTS.to_owned(), limit)])
}

/// Returns the limits that flags define. A limit that is only named has no definition, since a map has no file.
fn defined_limits(arguments: &MapArguments) -> Result<Vec<(String, Limit)>, CliError> {
    let terms = &arguments.common.terms;
    match terms.undefined_limit(|_| false) {
        Some(name) => Err(CliError::usage(format!(
            "--limit {name}: no limit of that name is defined"
        ))
        .with_help(format!(
            "define it, as in --limit {name}=4 or --limit {name}=10/s"
        ))),
        None => Ok(terms.defined_limits()),
    }
}

/// Refuses arguments that the hosts of `--on` do not support.
fn check_placement(
    arguments: &MapArguments,
    session: &Session,
    terms: &Terms,
) -> Result<(), CliError> {
    let options = session.options();
    check_typed(&options.resources, options.flags.resources.as_deref())?;
    session.check_hosts(&options.hosts.table)?;
    let refuse = |reason: &str, help: &str| Err(CliError::usage(reason).with_help(help));
    match &terms.on {
        Placement::Host if arguments.host.is_none() => refuse(
            "--on host means the host that each job names, and the jobs of this map name none",
            "name hosts or a group, as in --on web1,@db, or add --host {1}",
        ),
        Placement::Host | Placement::Among(_) if arguments.tty => refuse(
            "--tty gives the terminal of this machine to jobs, and they run on other hosts",
            "leave out --tty or --on",
        ),
        on if terms.memory.are_set()
            && let Some(name) = options.hosts.table.without_agent(on) =>
        {
            refuse(
                &format!(
                    "host {name} has no agent, so the memory of what runs there is not measured"
                ),
                "leave out --job-memory, or `agent: none`",
            )
        }
        Placement::Host | Placement::Among(_)
            if matches!(terms.cache, Some(CacheTerms::On { .. })) =>
        {
            refuse(
                "the result of a command on another host cannot be reused",
                "leave out --cache: ratchet cannot see the files and programs of that host",
            )
        }
        Placement::Here | Placement::Host | Placement::Among(_) => Ok(()),
    }
}
