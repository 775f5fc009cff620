//! `ratchet play`: runs playbooks, checks them, and lists what they would do.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use ratchet_input::InputError;
use ratchet_play::{
    Listed, ModuleRegistry, PlayLines, PlayOptions, Prepared, Question, Request, Tags, prepare,
};

use crate::args::common::CommonArguments;
use crate::args::play::PlayArguments;
use crate::error::CliError;
use crate::escape::plain;
use crate::inventory;
use crate::job_file::{HostTable, Protection};
use crate::output::Destination;
use crate::play::{PlayEnd, PlayReport};
use crate::report::ResultFormat;
use crate::session::{
    JobSource, ResumedRun, RunSetup, Session, TerminalUse, open_play_output, open_report,
    start_keeper,
};

/// How many tasks run at once unless it is said.
const USUAL_FORKS: u32 = 50;

/// The exit codes of ansible-playbook.
const ANSIBLE_FAILED: u8 = 2;
const ANSIBLE_UNREACHABLE: u8 = 4;

/// Does what the arguments ask for. Returns the exit code.
pub(crate) fn run(
    arguments: &PlayArguments,
    resumed_run: Option<ResumedRun>,
) -> Result<u8, CliError> {
    if arguments.only_lists() {
        list(arguments)?;
        return Ok(crate::exit::SUCCESS);
    }
    let prepared = prepared(arguments)?;
    let common = common(arguments);
    let session = Session::open(
        &common,
        &arguments.record,
        TerminalUse::Progress,
        resumed_run,
    )?;
    let format = session.options().format.unwrap_or(ResultFormat::Human);
    let end = PlayEnd::default();
    let console = session.console().clone();
    let (report, jobs, runner) = if format == ResultFormat::Human {
        let (out, style) = open_play_output(session.options(), &console)?;
        let lines = PlayLines::new(style, arguments.display.verbose);
        PlayReport::for_people(prepared, lines, out, console, end.clone())
    } else {
        let inner = open_report(session.options(), &console)?;
        PlayReport::for_programs(prepared, inner, console, end.clone())
    };
    let setup = RunSetup {
        jobs: JobSource::Stream(Box::new(jobs)),
        source: None,
        stdin: None,
        workers: Vec::new(),
        hosts: HostTable::default(),
        limits: Vec::new(),
        protection: Protection::default(),
        report: Box::new(report),
        command_runner: None,
        play: Some(runner),
        keeper: start_keeper()?,
        halt: None,
    };
    let code = session.perform(setup)?;
    if arguments.ansible_exit_codes
        && matches!(code, crate::exit::SUCCESS | crate::exit::UNSUCCESSFUL)
    {
        return Ok(match end.counts() {
            (_, unreachable) if unreachable > 0 => ANSIBLE_UNREACHABLE,
            (failed, _) if failed > 0 => ANSIBLE_FAILED,
            _ => code,
        });
    }
    Ok(code)
}

fn request(arguments: &PlayArguments) -> Request {
    Request {
        playbooks: arguments.playbooks.clone(),
        limit: arguments.limit.clone(),
        tags: Tags {
            only: arguments.tags.clone(),
            skip: arguments.skip_tags.clone(),
        },
        extra_vars: arguments.extra_vars.clone(),
    }
}

/// The options that a play has in common with other runs.
fn common(arguments: &PlayArguments) -> CommonArguments {
    let mut common = CommonArguments::default();
    let forks = arguments
        .forks
        .map_or(USUAL_FORKS, std::num::NonZeroU32::get);
    common.concurrency.jobs = std::num::NonZeroU32::new(forks);
    common.stop = arguments.stop.clone();
    common.display = arguments.display.clone();
    common.output.format = arguments.format;
    common.output.output.clone_from(&arguments.output);
    common
}

fn prepared(arguments: &PlayArguments) -> Result<Prepared, CliError> {
    let inventory = inventory::load(&arguments.inventory)?;
    let options = PlayOptions {
        check: arguments.check,
        diff: arguments.diff,
        forks: arguments
            .forks
            .map_or(USUAL_FORKS, std::num::NonZeroU32::get),
        start_at: arguments.start_at_task.clone(),
        force_handlers: arguments.force_handlers,
        gathers_facts: true,
        becomes: arguments.r#become,
        become_user: arguments.become_user.clone(),
        become_method: arguments.become_method.clone(),
        become_password: password(
            arguments.ask_become_pass,
            arguments.become_password_file.as_deref(),
            "BECOME password: ",
        )?,
        remote_user: arguments.user.clone(),
        password: password(
            arguments.ask_pass,
            arguments.connection_password_file.as_deref(),
            "SSH password: ",
        )?,
        private_key: arguments
            .private_key
            .as_ref()
            .map(|path| path.display().to_string()),
        connection: arguments.connection.clone(),
        timeout: arguments.timeout,
        ssh_common_args: arguments.ssh_common_args.clone(),
        checks_host_keys: None,
        verbosity: arguments.display.verbose,
        libraries: arguments.module_path.clone(),
        inventory_file: arguments.inventory.first().map(Into::into),
        registry: ModuleRegistry::with_builtins(),
    };
    let variable = |name: &str| std::env::var_os(name);
    let request = request(arguments);
    Ok(prepare(&request, options, inventory, variable, &mut ask)?)
}

/// A password from a file, or from the terminal.
fn password(asks: bool, file: Option<&Path>, prompt: &str) -> Result<Option<String>, CliError> {
    if let Some(path) = file {
        let text =
            std::fs::read_to_string(path).map_err(|error| CliError::unreadable(path, error))?;
        return Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()));
    }
    if !asks {
        return Ok(None);
    }
    let typed = rpassword::prompt_password(prompt).map_err(|error| {
        CliError::usage("a password cannot be asked for without a terminal").because(error)
    })?;
    Ok(Some(typed))
}

/// Asks a question of `vars_prompt` on the terminal. Without one, the default is the answer.
fn ask(question: &Question) -> Result<String, InputError> {
    let prompt = match &question.default {
        Some(default) => format!("{} [{default}]: ", plain(&question.prompt)),
        None => format!("{}: ", plain(&question.prompt)),
    };
    if !io::stdin().is_terminal() {
        return question.default.clone().ok_or_else(|| {
            InputError::new(format!(
                "`vars_prompt` asks \"{}\", and there is no terminal on which to answer",
                plain(&question.prompt)
            ))
            .with_help("give the variable by -e, or write a `default`")
        });
    }
    let failed = |error: io::Error| InputError::new("the answer cannot be read").because(error);
    loop {
        let answer = typed(&prompt, question.is_private).map_err(failed)?;
        if question.is_confirmed {
            let again = typed(&format!("confirm {prompt}"), question.is_private).map_err(failed)?;
            if again != answer {
                // A message that cannot be written leaves the question, which is asked again.
                let _ = writeln!(io::stderr(), "the two answers differ");
                continue;
            }
        }
        return Ok(match (&question.default, answer.is_empty()) {
            (Some(default), true) => default.clone(),
            _ => answer,
        });
    }
}

fn typed(prompt: &str, is_private: bool) -> io::Result<String> {
    if is_private {
        return rpassword::prompt_password(prompt);
    }
    let mut err = io::stderr();
    err.write_all(prompt.as_bytes())?;
    err.flush()?;
    let mut line = String::new();
    if io::stdin().read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Prints lists of what playbooks would do.
fn list(arguments: &PlayArguments) -> Result<(), CliError> {
    let inventory = inventory::load(&arguments.inventory)?;
    let listed = Listed {
        hosts: arguments.list_hosts,
        tasks: arguments.list_tasks,
        tags: arguments.list_tags,
    };
    let variable = |name: &str| std::env::var_os(name);
    let listing = ratchet_play::list(&request(arguments), listed, &inventory, variable)?;
    for name in &listing.unknown {
        let line = format!("no host or group `{}` is in the inventory\n", plain(name));
        // The lists are what was asked for; a warning that cannot be written keeps nobody from them.
        let _ = io::stderr().write_all(line.as_bytes());
    }
    let written = io::stdout().write_all(listing.text.as_bytes());
    written.map_err(|error| Destination::Stdout.error(error).into())
}
