//! `ratchet map`: runs one command, or one warm filter, over many items.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::num::NonZeroU32;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ratchet_caching::{Clock, SystemClock};
use ratchet_runtime::process::{CommandLimits, CommandRunner, PoolConfig, ProcessConfig, Size};
use ratchet_runtime::{
    BreakerConfig, CacheTerms, Limit, PlaceName, Placement, Rate, TaskName, Terms,
};

use crate::args::map::MapArguments;
use crate::error::CliError;
use crate::exit;
use crate::job_file::{Protection, Protocol, ServedTasks, WorkerPlan, cannot_start, check_typed, typed_worker};
use crate::map::{
    Columns, CommandStart, Cut, FileTemplates, GroupRule, ItemEnd, Items, Joblog, ListSources,
    LiveOutput, MapJobs, MapOutput, MapReport, MapRunner, MapWork, OutputsByHost, PendingOutputs,
    PlaceholderValues, Printer, ResultsFolder, Template, TypedFiles, refuse_shell_line,
    shell_operator, split_words, warm_pool,
};
use crate::output::Destination;
use crate::preflight::{overwrite, unused_flags};
use crate::session::{
    JobSource, ResumedRun, RunOptions, RunSetup, Session, TerminalUse, TypedHosts, cores,
    open_output, open_report, start_keeper, stdout,
};
use crate::shell_quote::shell_line;
use crate::value::split_words as split_typed_words;

/// How many bytes of each output become part of the result where no results are asked for. They are there so that a
/// resumed run can print them again; `--keep-order` keeps many of them in memory.
const RECORDED_OUTPUT_BYTES: usize = 64 * 1024;

/// The message for a map without items.
const NO_ITEMS: &str = "ratchet: there are no items: nothing to do\n";

/// Runs a command for each item.
pub(crate) fn run(
    arguments: &MapArguments,
    resumed_run: Option<ResumedRun>,
) -> Result<u8, CliError> {
    let words = checked_words(arguments)?;
    let (command, lists) = split_words(&words)?;
    let reads_stdin = reads_stdin(arguments, lists.as_ref());
    overwrite::refuse_of_map(arguments, &inputs(arguments, lists.as_ref()))?;
    let stdin = reads_stdin.then_some("items");
    let terminal = TerminalUse::of(arguments.tty, &arguments.common, stdin.is_some())?;
    let open_items = items(arguments, lists)?;
    if arguments.dry_run {
        return dry_run(arguments, command, open_items);
    }
    let is_resumed = resumed_run.is_some();
    let mut session = Session::open(&arguments.common, &arguments.record, terminal, resumed_run)?;
    let hosts: Option<Arc<[PlaceName]>> = if arguments.each_host {
        Some(each_host(&session.options().hosts)?.into())
    } else {
        None
    };
    let mut items = match &hosts {
        Some(hosts) => Items::hosts(hosts.to_vec()),
        None => session.read("the first item", open_items)??,
    };
    let rule = group_rule(arguments, &items, session.options().slots)?;
    let columns = columns(&items, rule.as_ref());
    warn_of_operator(command, arguments, &session);
    let mut terms = terms(session.options())?;
    if let Some(hosts) = &hosts {
        Arc::make_mut(&mut terms).on = Placement::Among(Arc::clone(hosts));
    }
    let limits = limit_starts(arguments, &mut terms)?;
    check_placement(arguments, &session, &terms)?;
    refuse_cached_files(arguments, &terms)?;
    let (work, workers) = work(arguments, command, columns, session.options(), &terms.on)?;
    let options = session.options();
    if let Some(on) = placement_of_jobs(&work, hosts.is_some()) {
        Arc::make_mut(&mut terms).on = on;
    }

    let outputs: Arc<PendingOutputs> = Arc::default();
    let written = open_map_output(arguments, &session)?;
    let live = match &written {
        MapOutput::Live { live, .. } => Some(Arc::clone(live)),
        MapOutput::Whole { .. } | MapOutput::ByHost { .. } | MapOutput::Report(_) => None,
    };
    let has_results = arguments.common.output.format.is_some()
        || matches!(terms.cache, Some(CacheTerms::On { .. }));
    let keeper = start_keeper()?;
    let command_runner = MapRunner {
        commands: CommandRunner::new(Some(keeper.clone())),
        slot_template: work.template().filter(|it| it.uses_slot()).cloned(),
        elsewhere: BTreeMap::new(),
        grace: options.phases().cancelling,
        outputs: Arc::clone(&outputs),
        live,
        keeps: arguments.joblog.is_some() || arguments.results.is_some(),
        result_bytes: if has_results {
            CommandLimits::default().capture_bytes
        } else {
            RECORDED_OUTPUT_BYTES
        },
        clock: || SystemClock.now(),
    };
    let report = MapReport {
        outputs: Arc::clone(&outputs),
        // Without --quiet, the summary at the end tells why items failed.
        reports_errors: options.quiet,
        written,
        template: work.template().cloned(),
        protocol: worker_protocol(arguments),
        clock: || SystemClock.now(),
        joblog: open_joblog(arguments, &session, is_resumed)?,
        results: match &arguments.results {
            Some(path) => Some(ResultsFolder::create(path)?),
            None => None,
        },
    };
    if let (Some(rule), Some(template)) = (rule, work.template()) {
        items = items.grouped(rule, template.clone());
    }
    count_ahead(&mut items, &session)?;
    let setup = RunSetup {
        jobs: JobSource::of_map(MapJobs::new(items, command, work, terms, outputs).on_each(hosts))
            .with_terminal(terminal),
        source: None,
        stdin,
        workers,
        hosts: session.options().hosts.table.clone(),
        limits,
        resources: session.options().resources.clone(),
        protection: Protection::by(session.options().breaker),
        report: Box::new(report),
        command_runner: Some(command_runner),
        play: None,
        keeper,
        halt: arguments.halt,
    };
    let (console, quiet) = (session.console().clone(), session.options().quiet);
    let code = session.perform(setup)?;
    if code == exit::NOTHING && !quiet {
        console.say(NO_ITEMS);
    }
    Ok(code)
}

/// The hosts that flags name.
fn typed_hosts(arguments: &MapArguments) -> Result<TypedHosts, CliError> {
    let typed = &arguments.common.hosts;
    TypedHosts::of(&typed.chosen)
}

/// The hosts on each of which the command runs once: those of `--on`, else all of the inventory.
fn each_host(typed: &TypedHosts) -> Result<Vec<PlaceName>, CliError> {
    typed.refuse_unknown(&typed.table)?;
    let refuse = |reason: &str| {
        Err(CliError::usage(format!("--each-host: {reason}"))
            .with_help("name hosts by --on, as in --on web1,@db, or an inventory by -i"))
    };
    let hosts: Vec<PlaceName> = match typed.on.as_ref().map(|on| typed.table.placement(on)) {
        None => {
            let hosts = typed.table.hosts().iter();
            hosts.map(|host| host.name.clone()).collect()
        }
        Some(Placement::Here) => vec![PlaceName::LOCAL],
        Some(Placement::Among(hosts)) => hosts.to_vec(),
        Some(Placement::Host) => return refuse("--on host is the host that a job names"),
    };
    if hosts.is_empty() {
        return refuse("nothing says which hosts are meant");
    }
    Ok(hosts)
}

/// Makes the work of each item, and the kind of worker that does it if the command is a filter.
fn work(
    arguments: &MapArguments,
    command: &[OsString],
    columns: Columns<'_>,
    options: &RunOptions,
    on: &Placement,
) -> Result<(MapWork, Vec<WorkerPlan>), CliError> {
    let refuse_missing = |process: &ProcessConfig| match on {
        Placement::Here => refuse_missing(process),
        // It is looked for there.
        Placement::Host | Placement::Among(_) => Ok(()),
    };
    let files = FileTemplates::of(typed_files(arguments), columns)?;
    let start = CommandStart::of(arguments.cwd.as_ref(), &arguments.env)?;
    if *on == Placement::Here {
        start.check_folder()?;
    }
    if let Some(worker) = &arguments.worker {
        let protocol = arguments.protocol.unwrap_or_default();
        let mut pool = typed_worker(worker, protocol)?;
        pool.size = Size::fixed(options.workers);
        pool.process = start.apply(pool.process);
        options.pool_defaults().apply(&mut pool);
        pool.process.files = files.map(|files| Arc::new(files.of_filter()));
        let task = task_of_worker(arguments, protocol, &pool)?;
        let work = match protocol {
            Protocol::Lines => MapWork::Warm(task.clone()),
            _ => MapWork::Worker(task.clone()),
        };
        let mut plan = warm_worker(pool, task, options.breaker, on.clone());
        if matches!(protocol, Protocol::Ratchet | Protocol::Mcp) {
            // It says itself what it serves, so that an unknown task is refused by name.
            plan.serves = ServedTasks::Everything;
        }
        return Ok((work, vec![plan]));
    }
    if arguments.warm {
        let (mut pool, task) = warm_pool(command, columns, options.workers)?;
        refuse_missing(&start.seen_from_here(pool.process.clone()))?;
        pool.process = start.apply(pool.process);
        options.pool_defaults().apply(&mut pool);
        pool.skip_lines = arguments.skip_lines;
        pool.process.files = files.map(|files| Arc::new(files.of_filter()));
        let worker = warm_worker(pool, task.clone(), options.breaker, on.clone());
        return Ok((MapWork::Warm(task), vec![worker]));
    }
    let template = template(arguments, command, columns)?;
    if let Some(program) = template.program() {
        refuse_missing(&start.seen_from_here(ProcessConfig::new(program)))?;
    }
    let work = MapWork::Command {
        template,
        files,
        start,
    };
    Ok((work, Vec::new()))
}

/// The words of the line, after a check that they and the flags can mean something.
fn checked_words(arguments: &MapArguments) -> Result<Vec<OsString>, CliError> {
    unused_flags::refuse_of_map(arguments)?;
    let words = words(arguments)?;
    let (command, _) = split_words(&words)?;
    refuse_shell_line(command, arguments.shell)?;
    Ok(words)
}

/// The words of the line: the command, and the items after it. A worker stands in the place of the command.
fn words(arguments: &MapArguments) -> Result<Vec<OsString>, CliError> {
    let Some(worker) = &arguments.worker else {
        return Ok(arguments.words.clone());
    };
    let is_mark = |word: &OsString| word.to_str().is_some_and(|word| word.starts_with(":::"));
    if let Some(command) = arguments.words.first().filter(|word| !is_mark(word)) {
        let message = format!(
            "`{}` stands where a command would, and --worker takes the items",
            command.display()
        );
        return Err(CliError::usage(message).with_help(
            "write items after `:::`, as in: ratchet map --worker ./w.py --task t ::: a b",
        ));
    }
    // The worker and its task tell these jobs from those of another worker, for --resume.
    let mut words: Vec<OsString> = match split_typed_words(worker) {
        Ok(split) => split.words.into_iter().map(OsString::from).collect(),
        // What is wrong with it is told where the worker is made.
        Err(_) => vec![worker.into()],
    };
    words.extend(arguments.task.iter().map(OsString::from));
    words.extend_from_slice(&arguments.words);
    Ok(words)
}

/// The protocol of the worker that takes the items, if one does.
fn worker_protocol(arguments: &MapArguments) -> Option<Protocol> {
    arguments.worker.as_ref()?;
    Some(arguments.protocol.unwrap_or_default())
}

/// The task that gets the items. Protocols without tasks have one, with the name of the worker.
fn task_of_worker(
    arguments: &MapArguments,
    protocol: Protocol,
    pool: &PoolConfig,
) -> Result<TaskName, CliError> {
    match (protocol, &arguments.task) {
        (Protocol::Ratchet | Protocol::Mcp, Some(task)) => Ok(task.as_str().into()),
        (Protocol::Ratchet, None) => Err(CliError::usage(
            "--worker needs to know the task of the items",
        )
        .with_help("name it, as in --task resize; or add --protocol lines if it is a filter")),
        (Protocol::Mcp, None) => Err(CliError::usage(
            "--worker needs to know the tool that gets the items",
        )
        .with_help("name it, as in --task echo")),
        (Protocol::Lines | Protocol::BazelJson, None) => Ok(pool.name.as_str().into()),
        (Protocol::Lines | Protocol::BazelJson, Some(_)) => Err(CliError::usage(
            "--task has no effect: this protocol has no tasks",
        )
        .with_help("leave it out")),
    }
}

/// The limit on how fast commands start, by its name, if there is one.
fn start_limits(arguments: &MapArguments) -> Result<Vec<(String, Limit)>, CliError> {
    let rate = match (arguments.rate, arguments.delay) {
        (Some(rate), _) => rate,
        (None, Some(delay)) if !delay.is_zero() => Rate::new(1, delay)
            .map_err(|error| CliError::usage("--delay cannot be kept").because(error))?,
        _ => return Ok(Vec::new()),
    };
    let limit = Limit::rate(rate, 1)
        .map_err(|error| CliError::usage("--rate cannot be kept").because(error))?;
    Ok(vec![("start".to_owned(), limit)])
}

/// Has all jobs count against the limits on how fast commands start, and returns these.
fn limit_starts(
    arguments: &MapArguments,
    terms: &mut Arc<Terms>,
) -> Result<Vec<(String, Limit)>, CliError> {
    let limits = start_limits(arguments)?;
    let names = limits.iter().map(|(name, _)| name.clone());
    Arc::make_mut(terms).limits.extend(names);
    Ok(limits)
}

/// Where each job runs, if that is not where --on says that all run.
fn placement_of_jobs(work: &MapWork, on_each_host: bool) -> Option<Placement> {
    match work {
        // Each job names its host.
        MapWork::Command { .. } => on_each_host.then_some(Placement::Host),
        // The filter runs there, and its items go to it.
        MapWork::Warm(_) | MapWork::Worker(_) => Some(Placement::Here),
    }
}

/// The terms of all jobs of a map.
fn terms(options: &RunOptions) -> Result<Arc<Terms>, CliError> {
    let terms = options
        .flags
        .clone()
        .or(&options.settings)
        .settle(&options.hosts.table);
    Ok(Arc::new(terms.map_err(CliError::from)?))
}

/// Refuses what the hosts of `--on` cannot do.
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
        Placement::Host => refuse(
            "--on host is the host that a job names, and the jobs of a map name none",
            "name hosts or a group, as in --on web1,@db",
        ),
        Placement::Among(_) if arguments.tty => refuse(
            "--tty gives the terminal of this machine to jobs, and they run on other hosts",
            "leave out --tty or --on",
        ),
        on if terms.memory.are_set()
            && let Some(name) = session.options().hosts.table.without_agent(on) =>
        {
            refuse(
                &format!(
                    "host {name} has no agent, so the memory of what runs there is not measured"
                ),
                "leave out --job-memory, or `agent: none`",
            )
        }
        Placement::Among(_) if matches!(terms.cache, Some(CacheTerms::On { .. })) => refuse(
            "the result of a command on another host cannot be used again",
            "leave out --cache: the files and programs there are not known here",
        ),
        Placement::Here | Placement::Among(_) => Ok(()),
    }
}

/// Opens the log of commands, if one was asked for. A resumed run goes on with it.
fn open_joblog(
    arguments: &MapArguments,
    session: &Session,
    is_resumed: bool,
) -> Result<Option<Joblog>, CliError> {
    let Some(path) = &arguments.joblog else {
        return Ok(None);
    };
    let stdout = || stdout(session.console());
    Joblog::open(path.clone(), stdout, is_resumed).map(Some)
}

/// Refuses files of commands whose results may be used again, because then the files would not be made.
fn refuse_cached_files(arguments: &MapArguments, terms: &Terms) -> Result<(), CliError> {
    if matches!(terms.cache, Some(CacheTerms::On { .. })) && typed_files(arguments).has_any() {
        return Err(
            CliError::usage("a result that is used again makes no files")
                .with_help("leave out --cache, or the files"),
        );
    }
    Ok(())
}

/// What was typed about files.
fn typed_files(arguments: &MapArguments) -> TypedFiles<'_> {
    TypedFiles {
        push: &arguments.push,
        pull: &arguments.pull,
        transfer: arguments.transfer,
        trc: &arguments.trc,
        basefile: &arguments.basefile,
        cleanup: arguments.cleanup,
        keep_remote: arguments.common.hosts.keep_remote,
    }
}

/// Opens the output, and decides how results are written to it: as lines, whole, or in a format.
fn open_map_output(arguments: &MapArguments, session: &Session) -> Result<MapOutput, CliError> {
    // A format that is a setting is for `run`: without --format, a map prints what its commands print.
    if arguments.common.output.format.is_some() {
        return Ok(MapOutput::Report(open_report(
            session.options(),
            session.console(),
        )?));
    }
    let (out, destination) = open_output(session.options(), session.console())?;
    let err = session.console().clone();
    if arguments.line_buffer {
        let live = Arc::new(LiveOutput::new(arguments.tag, out, Box::new(err)));
        return Ok(MapOutput::Live { live, destination });
    }
    let out: Box<dyn Write + Send> = Box::new(io::BufWriter::new(out));
    if arguments.each_host {
        return Ok(MapOutput::ByHost {
            table: OutputsByHost::default(),
            out,
            destination,
        });
    }
    let err: Box<dyn Write + Send> = Box::new(io::BufWriter::new(err));
    let printer = Printer::new(arguments.tag, out, err);
    Ok(MapOutput::Whole {
        printer,
        destination,
    })
}

/// Refuses a program that no item could be run by, once and before the first item.
fn refuse_missing(process: &ProcessConfig) -> Result<(), CliError> {
    let Some(missing) = cannot_start(process) else {
        return Ok(());
    };
    let error = CliError::usage(missing);
    Err(if process.command.as_os_str().as_bytes().contains(&b' ') {
        error.with_help("write the program and its arguments as words of their own; --shell runs a line as a shell does")
    } else {
        error
    })
}

/// Warns of a word that only a shell would act on.
fn warn_of_operator(command: &[OsString], arguments: &MapArguments, session: &Session) {
    if arguments.shell || session.options().quiet {
        return;
    }
    if let Some(operator) = shell_operator(command) {
        session.console().say(&format!(
            "ratchet: warning: no shell sees `{operator}`, so the command gets it as an argument; --shell runs the line by a shell\n"
        ));
    }
}

/// Counts the items ahead of their use where people see the progress, so that the display knows early how many there are.
fn count_ahead(items: &mut Items, session: &Session) -> Result<(), CliError> {
    if !session.shows_progress() {
        return Ok(());
    }
    let console = session.console().clone();
    items
        .count_ahead(move |total| console.announce(total))
        .map_err(|error| {
            CliError::internal("the thread for items cannot be started").because(error)
        })
}

/// How several items are joined for each command, if that was asked for.
fn group_rule(
    arguments: &MapArguments,
    items: &Items,
    slots: u32,
) -> Result<Option<GroupRule>, CliError> {
    let most = arguments.max_args.or(arguments.max_replace_args);
    if most.is_none() && !arguments.xargs && !arguments.spread && arguments.max_chars.is_none() {
        return Ok(None);
    }
    let count = items.column_count();
    if count != 1 || !items.column_names().is_empty() {
        return Err(CliError::usage(format!(
            "several items become the columns of a command, and these have columns of their own ({count})"
        ))
        .with_help("leave out -n, -N, -L, -X, -m, -s and --xargs, or what makes the columns"));
    }
    // -s alone is the limit of a command with as many items as fit, as in xargs.
    let spread_over = NonZeroU32::new(slots).filter(|_| arguments.spread);
    GroupRule::new(most, arguments.max_chars, spread_over).map(Some)
}

/// The columns that a command can name.
fn columns<'a>(items: &'a Items, rule: Option<&GroupRule>) -> Columns<'a> {
    match rule {
        None => Columns {
            count: items.column_count(),
            names: items.column_names(),
            are_items: false,
        },
        Some(rule) => Columns {
            count: rule.columns().unwrap_or(0),
            names: &[],
            are_items: true,
        },
    }
}

/// Whether items are read from stdin.
fn reads_stdin(arguments: &MapArguments, lists: Option<&ListSources>) -> bool {
    match &arguments.arg_file[..] {
        _ if arguments.each_host => false,
        _ if let Some(lists) = lists => lists.reads_stdin(),
        [] => true,
        files => files.iter().any(|file| file.as_os_str() == "-"),
    }
}

/// The files that items are read from; `-` is stdin.
fn inputs<'a>(arguments: &'a MapArguments, lists: Option<&'a ListSources>) -> Vec<&'a Path> {
    match (lists, &arguments.arg_file[..]) {
        _ if arguments.each_host => Vec::new(),
        (Some(lists), _) => lists.files().collect(),
        (None, []) => vec![Path::new("-")],
        (None, files) => files.iter().map(PathBuf::as_path).collect(),
    }
}

/// Checks what was typed about the items. Returns what opens them, which may wait for the first record of a CSV file.
fn items(
    arguments: &MapArguments,
    lists: Option<ListSources>,
) -> Result<impl FnOnce() -> Result<Items, CliError> + Send + use<>, CliError> {
    if arguments.each_host && lists.is_some() {
        return Err(CliError::usage(
            "--each-host runs the command once on each host, without items",
        )
        .with_help("leave out `:::` and what follows it, or --each-host"));
    }
    let files = arguments.arg_file.clone();
    let header = arguments.header;
    let records = match (arguments.csv, arguments.tsv) {
        (true, _) => Some(b','),
        (_, true) => Some(b'\t'),
        _ => None,
    };
    let cut = match (&arguments.colsep, &arguments.matching) {
        (Some(separator), _) => Some(Cut::at_separators(separator)?),
        (_, Some(expression)) => Some(Cut::into_groups(expression)?),
        _ => None,
    };
    let end = match arguments.delimiter {
        Some(byte) => ItemEnd::Byte(byte),
        None if arguments.null => ItemEnd::NULL,
        None => ItemEnd::Line,
    };
    let reads_files = lists.as_ref().is_some_and(ListSources::reads_files);
    let lists = match lists {
        Some(_) if !files.is_empty() || records.is_some() => {
            return Err(
                CliError::usage("the items stand after `:::`, and are to be read as well")
                    .with_help("leave out `:::`, or --arg-file, --csv and --tsv"),
            );
        }
        Some(_) if end != ItemEnd::Line && !reads_files => {
            return Err(
                CliError::usage("the items stand after `:::`, each as a word")
                    .with_help("leave out --null and --delimiter"),
            );
        }
        Some(lists) if arguments.link => Some(lists.linked()),
        None if arguments.link && files.len() > 1 && records.is_none() => {
            Some(ListSources::linked_files(&files))
        }
        _ if arguments.link => {
            return Err(CliError::usage(
                "--link takes an item of each list, and there is one list",
            )
            .with_help("write several after `:::`, or name several files by -a"));
        }
        lists => lists,
    };
    if lists.is_none() && !arguments.each_host && files.is_empty() && io::stdin().is_terminal() {
        return Err(CliError::usage("there are no items: stdin is a terminal")
            .with_help("write items after `:::`, name a file by -a, or write lines to stdin"));
    }
    Ok(move || {
        let items = match (lists, records) {
            (Some(lists), _) => lists.open(end)?,
            (None, Some(separator)) => Items::records(&files, separator, header)?,
            (None, None) => Items::lines(&files, end)?,
        };
        Ok(match cut {
            Some(cut) => items.cut(cut, header),
            None => items,
        })
    })
}

fn template(
    arguments: &MapArguments,
    command: &[OsString],
    columns: Columns<'_>,
) -> Result<Template, CliError> {
    if arguments.shell {
        Template::shell(command, columns)
    } else {
        Template::parse(command, columns)
    }
}

/// Prints the commands and runs nothing. What the run would refuse is refused here too.
fn dry_run(
    arguments: &MapArguments,
    command: &[OsString],
    open_items: impl FnOnce() -> Result<Items, CliError>,
) -> Result<u8, CliError> {
    let items = if arguments.each_host {
        Items::hosts(each_host(&typed_hosts(arguments)?)?)
    } else {
        open_items()?
    };
    let output = &arguments.common.output;
    if output.format.is_some() || output.output.is_some() {
        return Err(
            CliError::usage("a dry run has no results: it prints commands")
                .with_help("leave out --format and --output, or --dry-run"),
        );
    }
    let jobs = arguments.common.concurrency.jobs;
    let slots = jobs.map_or_else(cores, NonZeroU32::get);
    let rule = group_rule(arguments, &items, slots)?;
    let template = template(arguments, command, columns(&items, rule.as_ref()))?;
    let start = CommandStart::of(arguments.cwd.as_ref(), &arguments.env)?;
    start.check_folder()?;
    if let Some(program) = template.program() {
        refuse_missing(&start.seen_from_here(ProcessConfig::new(program)))?;
    }
    let unwritten = |error| Destination::Stdout.error(error);
    let mut out = io::BufWriter::new(io::stdout().lock());
    let items = match rule {
        Some(rule) => items.grouped(rule, template.clone()),
        None => items,
    };
    let mut any = false;
    for (number, item) in (1..).zip(items) {
        any = true;
        let item = item.map_err(|bad| CliError::usage(bad.0))?;
        let mut line = shell_line(&template.expand(PlaceholderValues {
            item: &item,
            number,
            slot: None,
        }));
        line.push(b'\n');
        out.write_all(&line).map_err(unwritten)?;
    }
    out.flush().map_err(unwritten)?;
    if any {
        return Ok(exit::SUCCESS);
    }
    // If stderr is closed, the message is lost, but the exit code still tells of the error.
    let _ = io::stderr().write_all(NO_ITEMS.as_bytes());
    Ok(exit::NOTHING)
}

/// The kind of worker that answers the items of `--warm`.
fn warm_worker(
    pool: PoolConfig,
    task: TaskName,
    breaker: Option<BreakerConfig>,
    on: Placement,
) -> WorkerPlan {
    WorkerPlan {
        pool,
        serves: ServedTasks::Named(vec![task]),
        breaker,
        on,
    }
}
