//! `ratchet map`: one command, or one warm filter, over many items.

use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use ratchet_caching::{Clock, SystemClock};
use ratchet_runtime::process::{CommandLimits, CommandRunner, ProcessConfig};
use ratchet_runtime::{CacheTerms, Terms};

use super::run::keeper;
use super::{idle, overwrite};
use crate::args::map::MapArguments;
use crate::error::CliError;
use crate::exit;
use crate::job_file::{Served, WorkerPlan, cannot_start};
use crate::map::{
    Columns, End, Items, Lists, Live, MapJobs, MapRecipient, MapRunner, MapWork, Printer, Shelf,
    Template, What, open_joblog, open_results, refuse_line, shell_line, shell_operator,
    split_words, warm_pool,
};
use crate::session::{Again, Errand, Feed, Rules, Session, TerminalUse};

/// How much of what a command prints is kept in the record of the run, where nobody asks for results as such: it is
/// there to be printed again by whoever goes on with the run, and `--keep-order` keeps many of them in memory.
const REMEMBERED: usize = 64 * 1024;

const NO_ITEMS: &str = "ratchet: there are no items: nothing to do\n";

/// The terms of all jobs of a map.
fn terms(rules: &Rules) -> Result<Arc<Terms>, CliError> {
    let terms = rules.flags.clone().or(&rules.settings).settle();
    let terms = terms.map_err(|error| CliError::Usage {
        message: error.reason,
        hint: error.hint,
    })?;
    Ok(Arc::new(terms))
}

pub(crate) fn run(arguments: &MapArguments, again: Option<Again>) -> Result<u8, CliError> {
    idle::refuse_of_map(arguments)?;
    let (command, lists) = split_words(&arguments.words)?;
    refuse_line(command, arguments.shell)?;
    overwrite::refuse_of_map(arguments, lists.is_some())?;
    let stdin = reads_stdin(arguments, lists.is_some()).then_some("items");
    let terminal = TerminalUse::of(arguments.tty, &arguments.common, stdin.is_some())?;
    let mut items = items(arguments, lists)?;
    let columns = Columns {
        count: items.column_count(),
        names: items.column_names(),
    };
    if arguments.dry_run {
        let template = dry_template(arguments, command, columns)?;
        return dry_run(items, &template);
    }
    let is_again = again.is_some();
    let session = Session::open(&arguments.common, &arguments.record, terminal, again)?;
    let rules = &session.rules;
    warn_of_operator(command, arguments, &session);
    let terms = terms(rules)?;
    let mut workers = Vec::new();
    let work = if arguments.warm {
        let (mut pool, task) = warm_pool(command, columns, rules.workers)?;
        refuse_missing(&pool.process)?;
        rules.pools().apply(&mut pool);
        pool.skip_lines = arguments.skip_lines;
        workers.push(WorkerPlan {
            pool,
            serves: Served::Tasks(vec![task.clone()]),
        });
        MapWork::Warm(task)
    } else {
        let template = template(arguments, command, columns)?;
        if let Some(program) = template.program() {
            refuse_missing(&ProcessConfig::new(program))?;
        }
        MapWork::Command(template)
    };

    let shelf: Arc<Shelf> = Arc::default();
    let what = what(arguments, &session)?;
    let live = match &what {
        What::Live { live, .. } => Some(Arc::clone(live)),
        What::Outputs { .. } | What::Report(_) => None,
    };
    let is_read = arguments.common.output.format.is_some()
        || matches!(terms.cache, Some(CacheTerms::On { .. }));
    let tells = if is_read {
        CommandLimits::default().capture_bytes
    } else {
        REMEMBERED
    };
    let keeper = keeper()?;
    let commander = MapRunner {
        commands: CommandRunner::new(Some(keeper.clone())),
        grace: rules.phases().cancelling,
        shelf: Arc::clone(&shelf),
        live,
        keeps: arguments.joblog.is_some() || arguments.results.is_some(),
        tells,
        clock: || SystemClock.now(),
    };
    let recipient = MapRecipient {
        shelf: Arc::clone(&shelf),
        // Else the end tells of what failed.
        tells_errors: rules.quiet,
        what,
        template: match &work {
            MapWork::Command(template) => Some(template.clone()),
            MapWork::Warm(_) => None,
        },
        clock: || SystemClock.now(),
        joblog: match &arguments.joblog {
            Some(path) => Some(open_joblog(path.clone(), &session.screen, is_again)?),
            None => None,
        },
        results: match &arguments.results {
            Some(path) => Some(open_results(path.clone())?),
            None => None,
        },
    };
    count_ahead(&mut items, &session)?;
    let errand = Errand {
        feed: Feed::of_map(MapJobs::new(items, command, work, terms, shelf))
            .with_terminal(terminal),
        source: None,
        stdin,
        workers,
        limits: Vec::new(),
        recipient: Box::new(recipient),
        commander: Some(commander),
        keeper,
        halt: arguments.halt,
    };
    let (screen, quiet) = (session.screen.clone(), session.rules.quiet);
    let code = session.perform(errand)?;
    if code == exit::NOTHING && !quiet {
        screen.say(NO_ITEMS);
    }
    Ok(code)
}

/// What becomes of what commands print.
fn what(arguments: &MapArguments, session: &Session) -> Result<What, CliError> {
    let rules = &session.rules;
    // A format that was only set is for `run`: what commands print is no report.
    if arguments.common.output.format.is_some() {
        return Ok(What::Report(rules.recipient(&session.screen)?));
    }
    let (out, place) = rules.open_output(&session.screen)?;
    let err = session.screen.clone();
    if arguments.line_buffer {
        let live = Arc::new(Live::new(arguments.tag, out, Box::new(err)));
        return Ok(What::Live { live, place });
    }
    let out: Box<dyn Write + Send> = Box::new(io::BufWriter::new(out));
    let err: Box<dyn Write + Send> = Box::new(io::BufWriter::new(err));
    let printer = Printer::new(arguments.tag, out, err);
    Ok(What::Outputs { printer, place })
}

/// What no item can be run by is said once, before the first.
fn refuse_missing(process: &ProcessConfig) -> Result<(), CliError> {
    let Some(missing) = cannot_start(process) else {
        return Ok(());
    };
    let error = CliError::usage(missing);
    Err(if process.command.as_os_str().as_bytes().contains(&b' ') {
        error.hint("write the program and its arguments as words of their own; --shell runs a line as a shell does")
    } else {
        error
    })
}

/// Warns of a word that only a shell would act on.
fn warn_of_operator(command: &[std::ffi::OsString], arguments: &MapArguments, session: &Session) {
    if arguments.shell || session.rules.quiet {
        return;
    }
    if let Some(operator) = shell_operator(command) {
        session.screen.say(&format!(
            "ratchet: warning: no shell sees `{operator}`, so the command gets it as an argument; --shell runs the line by a shell\n"
        ));
    }
}

/// Has people who watch know early how many items there are.
fn count_ahead(items: &mut Items, session: &Session) -> Result<(), CliError> {
    if !session.shows_progress() {
        return Ok(());
    }
    let screen = session.screen.clone();
    items
        .count_ahead(move |total| screen.announce(total))
        .map_err(|error| CliError::Internal(format!("no thread for items: {error}")))
}

/// Whether items are read from stdin.
fn reads_stdin(arguments: &MapArguments, has_lists: bool) -> bool {
    match &arguments.arg_file[..] {
        _ if has_lists => false,
        [] => true,
        files => files.iter().any(|file| file.as_os_str() == "-"),
    }
}

fn items(arguments: &MapArguments, lists: Option<Lists>) -> Result<Items, CliError> {
    let files = &arguments.arg_file;
    if let Some(lists) = lists {
        if !files.is_empty() || arguments.csv || arguments.null {
            return Err(
                CliError::usage("the items stand after `:::`, and are to be read as well")
                    .hint("leave out `:::`, or --arg-file, --csv and --null"),
            );
        }
        return Ok(Items::Lists(lists));
    }
    if files.is_empty() && io::stdin().is_terminal() {
        return Err(CliError::usage("there are no items: stdin is a terminal")
            .hint("write items after `:::`, name a file by -a, or write lines to stdin"));
    }
    if arguments.csv {
        return Items::csv(files, arguments.header);
    }
    let end = if arguments.null { End::Null } else { End::Line };
    Items::lines(files, end)
}

fn template(
    arguments: &MapArguments,
    command: &[std::ffi::OsString],
    columns: Columns<'_>,
) -> Result<Template, CliError> {
    if arguments.shell {
        Template::shell(command, columns)
    } else {
        Template::parse(command, columns)
    }
}

/// The template of a run that only shows its commands, refused where the run would be.
fn dry_template(
    arguments: &MapArguments,
    command: &[std::ffi::OsString],
    columns: Columns<'_>,
) -> Result<Template, CliError> {
    let output = &arguments.common.output;
    if output.format.is_some() || output.output.is_some() {
        return Err(
            CliError::usage("a dry run has no results: it prints commands")
                .hint("leave out --format and --output, or --dry-run"),
        );
    }
    let template = template(arguments, command, columns)?;
    if let Some(program) = template.program() {
        refuse_missing(&ProcessConfig::new(program))?;
    }
    Ok(template)
}

fn dry_run(items: Items, template: &Template) -> Result<u8, CliError> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut any = false;
    for (number, item) in (1..).zip(items) {
        any = true;
        let item = item.map_err(|bad| CliError::usage(bad.0))?;
        let mut line = shell_line(&template.expand(&item, number));
        line.push(b'\n');
        out.write_all(&line).map_err(CliError::Output)?;
    }
    out.flush().map_err(CliError::Output)?;
    if any {
        return Ok(exit::SUCCESS);
    }
    // There is nobody left to tell where stderr is closed; the exit code still says it.
    let _ = io::stderr().write_all(NO_ITEMS.as_bytes());
    Ok(exit::NOTHING)
}
