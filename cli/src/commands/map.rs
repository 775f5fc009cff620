//! `ratchet map`: runs one command, or one warm filter, over many items.

mod blocks;
mod dry_run;
mod items;
mod lines;
mod outputs;
mod terms;
mod work;
mod worker;

use std::collections::BTreeMap;
use std::sync::Arc;

use ratchet_caching::{Clock, SystemClock};
use ratchet_runtime::process::{CommandLimits, CommandRunner, Keeper};
use ratchet_runtime::{CacheTerms, PlaceName, Placement, Terms};

use crate::args::map::{CommandStream, MapArguments};
use crate::args::terms::TypedTimeout;
use crate::error::CliError;
use crate::exit;
use crate::job_file::BreakerAndBudget;
use crate::map::{
    GroupRule, Items, MapJobs, MapOutput, MapReport, MapRunner, MapSource, MapWork, MedianTimeout,
    PendingOutputs, Prompt, Template, refuse_shell_line, split_words,
};
use crate::preflight::{overwrite, unused_flags};
use crate::session::{
    HostFlags, JobSource, ResumedRun, RunSetup, Session, TerminalUse, start_keeper,
};
use dry_run::dry_run;
use items::{
    columns, count_ahead, group_rule, inputs, items, reads_stdin, refuse_placeholder_without_item,
};
use outputs::{open_joblog, open_map_output, open_results};
use terms::{item_terms, placement_of_jobs, terms};
use work::{warn_of_operator, work};
use worker::{words, worker_protocol};

/// How many bytes of each output become part of the result if results are not asked for. A resumed run prints them
/// again; `--keep-order` keeps many of them in memory.
const RECORDED_OUTPUT_BYTES: usize = 64 * 1024;

/// The message for a map without items.
const NO_ITEMS: &str = "ratchet: there are no items: nothing to do\n";

/// The message for a map that asks before each command, if none was allowed.
const NOTHING_ALLOWED: &str = "ratchet: no command was allowed: nothing to do\n";

/// The message for a map whose input has no blocks.
const NO_BLOCKS: &str = "ratchet: the input is empty: nothing to do\n";

/// Runs a command for each item.
pub(crate) fn run(
    arguments: &MapArguments,
    resumed_run: Option<ResumedRun>,
) -> Result<u8, CliError> {
    unused_flags::refuse_of_map(arguments)?;
    let words = words(arguments)?;
    let (command, lists) = split_words(&words)?;
    let lists = lists.map(|lists| lists.after_files(&arguments.arg_file));
    if command.is_empty() {
        lines::check(arguments, lists.as_ref())?;
    }
    refuse_shell_line(command, arguments.shell.is_some())?;
    let reads_stdin = reads_stdin(arguments, lists.as_ref());
    overwrite::refuse_of_map(arguments, &inputs(arguments, lists.as_ref()))?;
    let stdin = reads_stdin.then_some("items");
    let terminal = terminal_use(arguments, stdin.is_some())?;
    let is_resumed = resumed_run.is_some();
    let open_items = if blocks::are_wanted(arguments) {
        blocks::check(arguments, lists.as_ref(), is_resumed)?;
        None
    } else {
        let open_items = items(arguments, lists)?;
        if arguments.dry_run {
            return dry_run(arguments, command, open_items);
        }
        Some(open_items)
    };
    let mut session = Session::open(&arguments.common, &arguments.record, terminal, resumed_run)?;
    let hosts: Option<Arc<[PlaceName]>> = if arguments.each_host {
        Some(each_host(&session.options().hosts)?.into())
    } else {
        None
    };
    let slots = session.options().slots;
    let source = match (&hosts, open_items) {
        (Some(hosts), _) => MapSource::Items(Items::hosts(hosts.to_vec())),
        (None, Some(open)) => MapSource::Items(session.read("the first item", open)??),
        (None, None) => MapSource::Blocks(Box::new(blocks::open(arguments, slots)?)),
    };
    let rule = group_rule_of(arguments, &source, slots)?;
    let columns = match &source {
        MapSource::Items(items) => columns(arguments, items, rule.as_ref()),
        MapSource::Blocks(_) => blocks::COLUMNS,
    };
    warn_of_operator(command, arguments, &session);
    let (mut terms, limits) = terms(arguments, &session, hosts.as_ref())?;
    let item_terms = item_terms(arguments, columns)?;
    let prompt = arguments.interactive.then(Prompt::open).transpose()?;
    let (work, workers) = work(arguments, command, columns, session.options(), &terms.on)?;
    refuse_placeholders(arguments, &source, work.template())?;
    if let Some(on) = placement_of_jobs(&work, hosts.is_some()) {
        Arc::make_mut(&mut terms).on = on;
    }

    let outputs: Arc<PendingOutputs> = Arc::default();
    let written = open_map_output(arguments, &mut session, columns)?;
    let keeper = start_keeper()?;
    let command_runner = command_runner(
        arguments,
        &session,
        &work,
        &terms,
        &outputs,
        &written,
        keeper.clone(),
    );
    let joblog = open_joblog(arguments, &mut session, is_resumed)?;
    let results = open_results(arguments, &mut session, columns, is_resumed)?;
    let report = MapReport {
        outputs: Arc::clone(&outputs),
        // Without --quiet, the summary at the end reports why items failed.
        reports_errors: session.options().quiet,
        written,
        command: work.command().cloned(),
        protocol: worker_protocol(arguments),
        clock: || SystemClock.now(),
        joblog,
        results,
    };
    let nothing = message_for_nothing(arguments, &source);
    let source = grouped(source, rule, &work, &session)?;
    let jobs = MapJobs::new(source, command, work, terms, outputs)
        .with_terms(item_terms)
        .asking(prompt)
        .on_each(hosts);
    let setup = RunSetup {
        verb: "map",
        jobs: JobSource::of_map(jobs).with_terminal(terminal),
        source: None,
        stdin,
        workers,
        hosts: session.options().hosts.table.clone(),
        limits,
        resources: session.options().resources.clone(),
        protection: BreakerAndBudget::by(session.options().breaker),
        report: Box::new(report),
        command_runner: Some(command_runner),
        play: None,
        keeper,
        halt: arguments.halt,
        adder: None,
    };
    perform(session, setup, nothing)
}

/// Returns the message for a run that has no jobs.
fn message_for_nothing(arguments: &MapArguments, source: &MapSource) -> &'static str {
    match source {
        MapSource::Items(_) if arguments.interactive => NOTHING_ALLOWED,
        MapSource::Items(_) => NO_ITEMS,
        MapSource::Blocks(_) => NO_BLOCKS,
    }
}

/// Decides who reads from the terminal.
fn terminal_use(arguments: &MapArguments, reads_stdin: bool) -> Result<TerminalUse, CliError> {
    if arguments.interactive {
        return Ok(TerminalUse::Questions);
    }
    TerminalUse::of(arguments.tty, &arguments.common, reads_stdin)
}

/// Runs all jobs. `nothing` is the message if there are none.
fn perform(session: Session, setup: RunSetup, nothing: &str) -> Result<u8, CliError> {
    let (console, quiet) = (session.console().clone(), session.options().quiet);
    let code = session.perform(setup)?;
    if code == exit::NOTHING && !quiet {
        console.say(nothing);
    }
    Ok(code)
}

/// Refuses placeholders for items in a command that gets none.
fn refuse_placeholders(
    arguments: &MapArguments,
    source: &MapSource,
    template: Option<&Template>,
) -> Result<(), CliError> {
    if let (MapSource::Blocks(_), Some(template)) = (source, template) {
        blocks::refuse_items(template)?;
    }
    refuse_placeholder_without_item(arguments, template)
}

/// Returns how several items are joined for each command. It is `None` for blocks, or if that was not asked for.
fn group_rule_of(
    arguments: &MapArguments,
    source: &MapSource,
    slots: u32,
) -> Result<Option<GroupRule>, CliError> {
    match source {
        MapSource::Items(items) => group_rule(arguments, items, slots),
        MapSource::Blocks(_) => Ok(None),
    }
}

/// Joins items by the rule, if there is one, and counts them ahead if progress is shown.
fn grouped(
    source: MapSource,
    rule: Option<GroupRule>,
    work: &MapWork,
    session: &Session,
) -> Result<MapSource, CliError> {
    let MapSource::Items(items) = source else {
        return Ok(source);
    };
    let mut items = match (rule, work.template()) {
        (Some(rule), Some(template)) => items.grouped(rule, template.clone()),
        _ => items,
    };
    count_ahead(&mut items, session)?;
    Ok(MapSource::Items(items))
}

/// Makes the runner of the commands.
fn command_runner(
    arguments: &MapArguments,
    session: &Session,
    work: &MapWork,
    terms: &Terms,
    outputs: &Arc<PendingOutputs>,
    written: &MapOutput,
    keeper: Keeper,
) -> MapRunner {
    let has_results = arguments.common.output.format.is_some()
        || matches!(terms.cache, Some(CacheTerms::On { .. }));
    MapRunner {
        commands: CommandRunner::new(Some(keeper)),
        slot_template: work.template().filter(|it| it.uses_slot()).cloned(),
        start: work.start(),
        command_printer: match arguments.print_commands {
            Some(CommandStream::Stderr) => {
                let console = session.console().clone();
                Some(Box::new(move |line: &str| console.say(line)) as _)
            }
            Some(CommandStream::Stdout) | None => None,
        },
        median_timeout: match arguments.common.terms.timeout {
            Some(TypedTimeout::OfMedian(percent)) => Some(MedianTimeout::new(percent)),
            Some(TypedTimeout::Fixed(_)) | None => None,
        },
        elsewhere: BTreeMap::new(),
        grace: session.options().phases().cancelling,
        outputs: Arc::clone(outputs),
        live: match written {
            MapOutput::Live { live, .. } => Some(Arc::clone(live)),
            MapOutput::Whole { .. } | MapOutput::ByHost { .. } | MapOutput::Report(_) => None,
        },
        keeps: arguments.joblog.is_some() || arguments.results.is_some(),
        result_bytes: if has_results {
            CommandLimits::default().capture_bytes
        } else {
            RECORDED_OUTPUT_BYTES
        },
        clock: || SystemClock.now(),
    }
}

/// Reads the hosts that flags name.
fn typed_hosts(arguments: &MapArguments) -> Result<HostFlags, CliError> {
    let typed = &arguments.common.hosts;
    HostFlags::of(&typed.chosen)
}

/// Returns the hosts on each of which the command runs once: those of `--on`, else all of the inventory.
fn each_host(typed: &HostFlags) -> Result<Vec<PlaceName>, CliError> {
    typed.refuse_unknown(&typed.table)?;
    let refuse = |reason: &str| {
        Err(CliError::usage(format!("--each-host: {reason}"))
            .with_help("name hosts with --on, as in --on web1,@db, or an inventory with -i"))
    };
    let hosts: Vec<PlaceName> = match typed.on.as_ref().map(|on| typed.table.placement(on)) {
        None => {
            let hosts = typed.table.hosts().iter();
            hosts.map(|host| host.name.clone()).collect()
        }
        Some(Placement::Here) => vec![PlaceName::LOCAL],
        Some(Placement::Among(hosts)) => hosts.to_vec(),
        Some(Placement::Host) => return refuse("--on host means the host that each job names"),
    };
    if hosts.is_empty() {
        return refuse("no hosts are given");
    }
    Ok(hosts)
}
