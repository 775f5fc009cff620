//! `ratchet play`: runs playbooks, checks them, and lists what they would do.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::num::NonZeroU32;
use std::path::Path;

use ratchet_input::InputError;
use ratchet_play::{
    Configuration, Passwords, PlayFlags, PlayLines, PlayListing, Prepared, Question, Request,
    StepAnswer, Vault, check_syntax, prepare,
};

use crate::args::play::PlayArguments;
use crate::args::shared_run::SharedRunArguments;
use crate::environment::UserEnvironment;
use crate::error::CliError;
use crate::escape::plain;
use crate::inventory::{self, Inventory};
use crate::job_count::JobCount;
use crate::job_file::{BreakerAndBudget, HostRegistry};
use crate::output::Destination;
use crate::play::{AskStep, PlayCounts, PlayReport, SharedPlayCounts};
use crate::report::ResultFormat;
use crate::session::{
    JobSource, ResumedRun, RunSetup, Session, TerminalUse, open_play_output, open_report,
    start_keeper,
};
use crate::settings::Settings;

/// The exit codes of ansible-playbook.
const ANSIBLE_ERROR: u8 = 1;
const ANSIBLE_FAILED: u8 = 2;
const ANSIBLE_UNREACHABLE: u8 = 4;

/// Does what the arguments ask for. Returns the exit code.
pub(crate) fn run(
    arguments: &PlayArguments,
    resumed_run: Option<ResumedRun>,
) -> Result<u8, CliError> {
    if arguments.listing.is_any() {
        list(arguments)?;
        return Ok(crate::exit::SUCCESS);
    }
    if arguments.tasks.step && !io::stdin().is_terminal() {
        return Err(CliError::usage(
            "--step asks before each task, and there is no terminal to ask on",
        )
        .with_help("leave it out, or name the task to begin with, using --start-at-task"));
    }
    let configuration = configuration(arguments)?;
    let common = common(arguments, configuration.forks());
    let warnings = configuration.all_warnings();
    let prepared = prepared(arguments, configuration)?;
    let limits = prepared.limits().to_vec();
    let mut session = Session::open(
        &common,
        &arguments.record,
        TerminalUse::Progress,
        resumed_run,
    )?;
    let format = session.options().format.unwrap_or(ResultFormat::Human);
    let end = SharedPlayCounts::default();
    let console = session.console().clone();
    if !session.options().quiet {
        for warning in warnings {
            console.say(&format!("ratchet: {}\n", plain(&warning)));
        }
    }
    let (report, jobs, runner) = if format == ResultFormat::Human {
        let (out, style) = open_play_output(&mut session)?;
        let lines = PlayLines::new(style, arguments.display.verbose);
        let ask = arguments.tasks.step.then(|| Box::new(ask_step) as AskStep);
        PlayReport::for_people(prepared, lines, out, console, end.clone(), ask)
    } else {
        let inner = open_report(&mut session)?;
        PlayReport::for_programs(prepared, inner, console, end.clone())
    };
    let setup = RunSetup {
        verb: "play",
        jobs: JobSource::Stream(Box::new(jobs)),
        source: None,
        stdin: None,
        workers: Vec::new(),
        hosts: HostRegistry::default(),
        limits,
        resources: Vec::new(),
        protection: BreakerAndBudget::default(),
        report: Box::new(report),
        command_runner: None,
        play: Some(runner),
        keeper: start_keeper()?,
        halt: None,
        adder: None,
    };
    let code = session.perform(setup)?;
    exit_code(code, end.counts(), arguments.ansible_exit_codes)
}

/// Returns the exit code of a play whose run has ended with this code.
fn exit_code(code: u8, counts: PlayCounts, is_of_ansible: bool) -> Result<u8, CliError> {
    // Ansible has no code for a play without tasks; its code of this number says that a host was not reached.
    let code = match code {
        crate::exit::NOTHING if is_of_ansible => crate::exit::SUCCESS,
        code => code,
    };
    let has_ended = matches!(code, crate::exit::SUCCESS | crate::exit::UNSUCCESSFUL);
    if has_ended && counts.is_stuck {
        return Err(CliError::internal(
            "the play stopped before its end: tasks are left, but none can start",
        )
        .with_help("this is a fault of ratchet; please report it with the playbook"));
    }
    if !has_ended {
        return Ok(code);
    }
    let has_failed = counts.failed > 0 || counts.unreachable > 0;
    Ok(match counts {
        _ if !is_of_ansible && has_failed => crate::exit::UNSUCCESSFUL,
        _ if !is_of_ansible => code,
        counts if counts.has_error => ANSIBLE_ERROR,
        counts if counts.unreachable > 0 => ANSIBLE_UNREACHABLE,
        counts if counts.failed > 0 => ANSIBLE_FAILED,
        counts if counts.has_cleared => crate::exit::SUCCESS,
        _ => code,
    })
}

/// Makes the request to the library of plays from the arguments.
fn request(arguments: &PlayArguments) -> Result<Request, CliError> {
    let settings = Settings::load(&UserEnvironment::current()?)?;
    Ok(Request {
        playbooks: arguments.playbooks.clone(),
        limit: arguments.limit.clone(),
        extra_vars: arguments.extra_vars.clone(),
        check: arguments.tasks.check,
        start_at: arguments.tasks.start_at_task.clone(),
        verbosity: arguments.display.verbose,
        hints: settings.modules(),
    })
}

/// Returns the options that a play has in common with other runs.
fn common(arguments: &PlayArguments, forks: u32) -> SharedRunArguments {
    let mut common = SharedRunArguments::default();
    common.concurrency.jobs = Some(JobCount::Number(forks));
    common.stop = arguments.stop.clone();
    common.display = arguments.display.clone();
    if arguments.tasks.step {
        // Questions are asked on the terminal on which progress would be shown.
        common.display.progress = Some(crate::style::When::Never);
    }
    common.output.format = arguments.format;
    common.output.output.clone_from(&arguments.output);
    common
}

/// Returns the user's settings for Ansible, overridden by the arguments.
fn configuration(arguments: &PlayArguments) -> Result<Configuration, CliError> {
    let mut configuration =
        Configuration::load(Path::new("."), &UserEnvironment::current()?.variables)?;
    configuration.apply_flags(PlayFlags {
        inventory: arguments.inventory.clone(),
        tags: arguments.tags.clone(),
        skip_tags: arguments.skip_tags.clone(),
        diff: arguments.tasks.diff,
        forks: arguments.tasks.forks.map(NonZeroU32::get),
        force_handlers: arguments.tasks.force_handlers,
        libraries: arguments.tasks.module_path.clone(),
        becomes: arguments.privilege.r#become,
        become_user: arguments.privilege.become_user.clone(),
        become_method: arguments.privilege.become_method.clone(),
        asks_become_password: arguments.privilege.ask_become_pass,
        become_password_file: arguments.privilege.become_password_file.clone(),
        remote_user: arguments.connection.user.clone(),
        asks_password: arguments.connection.ask_pass,
        password_file: arguments.connection.connection_password_file.clone(),
        private_key: arguments.connection.private_key.clone(),
        connection: arguments.connection.connection.clone(),
        timeout: arguments.connection.timeout,
        ssh_common_args: arguments.connection.ssh_common_args.clone(),
        vault_password_files: arguments.vault_password_file.clone(),
    });
    Ok(configuration)
}

/// Looks up an environment variable.
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// Reads the inventory, whose files may be encrypted.
fn inventory_of(configuration: &Configuration) -> Result<Inventory, CliError> {
    let vault = Vault::new(configuration.vault_passwords.clone(), None);
    let decrypt = |text: &str| vault.decrypt(text).map(|plain| plain.to_string());
    Ok(inventory::load_with(&configuration.inventory, &decrypt)?)
}

/// Reads the inventory and the passwords, and prepares the playbooks.
fn prepared(arguments: &PlayArguments, configuration: Configuration) -> Result<Prepared, CliError> {
    let inventory = inventory_of(&configuration)?;
    let passwords = Passwords {
        privilege: password(
            configuration.become_ask_pass,
            configuration.become_password_file.as_deref(),
            "BECOME password: ",
        )?,
        login: password(
            configuration.ask_pass,
            configuration.connection_password_file.as_deref(),
            "SSH password: ",
        )?,
    };
    Ok(prepare(
        &request(arguments)?,
        configuration,
        passwords,
        inventory,
        variable,
        &mut ask,
    )?)
}

/// Reads a password from a file, or from the terminal.
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
        CliError::usage("a password has to be typed, and there is no terminal to ask on")
            .because(error)
    })?;
    Ok(Some(typed))
}

/// Asks a question of `vars_prompt` on the terminal. Without a terminal, the default is the answer.
fn ask(question: &Question) -> Result<String, InputError> {
    let prompt = match &question.default {
        Some(default) => format!("{} [{default}]: ", plain(&question.prompt)),
        None => format!("{}: ", plain(&question.prompt)),
    };
    if !io::stdin().is_terminal() {
        return question.default.clone().ok_or_else(|| {
            InputError::new(format!(
                "`vars_prompt` asks \"{}\", and there is no terminal to ask on",
                plain(&question.prompt)
            ))
            .with_help("set the variable with -e, or write a `default`")
        });
    }
    let failed = |error: io::Error| InputError::new("the answer cannot be read").because(error);
    loop {
        let answer = typed(&prompt, question.is_private).map_err(failed)?;
        if question.is_confirmed {
            let again = typed(&format!("confirm {prompt}"), question.is_private).map_err(failed)?;
            if again != answer {
                // If the message cannot be written, the question is asked again all the same.
                let _ = writeln!(io::stderr(), "the two answers are not the same");
                continue;
            }
        }
        return Ok(match (&question.default, answer.is_empty()) {
            (Some(default), true) => default.clone(),
            _ => answer,
        });
    }
}

/// Asks on the terminal whether to perform a task. Without an answer it is not performed.
fn ask_step(name: &str) -> StepAnswer {
    let prompt = format!("Perform task: {} (N)o/(y)es/(c)ontinue: ", plain(name));
    let answer = typed(&prompt, false).unwrap_or_default();
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => StepAnswer::Yes,
        "c" | "continue" => StepAnswer::Continue,
        _ => StepAnswer::No,
    }
}

/// Reads a line from the terminal after a prompt; without an echo if it is private.
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
    let configuration = configuration(arguments)?;
    let inventory = inventory_of(&configuration)?;
    let listed = PlayListing {
        hosts: arguments.listing.list_hosts,
        tasks: arguments.listing.list_tasks,
        tags: arguments.listing.list_tags,
    };
    if arguments.listing.syntax_check {
        check_syntax(&request(arguments)?, &configuration, variable)?;
    }
    let listing = ratchet_play::list(&request(arguments)?, &configuration, listed, &inventory)?;
    for name in &listing.unknown {
        let line = format!("no host or group `{}` is in the inventory\n", plain(name));
        // The lists are what was asked for; a warning that cannot be written must not prevent them.
        let _ = io::stderr().write_all(line.as_bytes());
    }
    let written = io::stdout().write_all(listing.text.as_bytes());
    written.map_err(|error| Destination::Stdout.error(error).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_play_that_is_stuck_ends_as_an_internal_error_and_not_as_a_success() {
        let stuck = PlayCounts {
            is_stuck: true,
            ..PlayCounts::default()
        };
        let error = exit_code(crate::exit::SUCCESS, stuck, false).unwrap_err();
        assert_eq!(error.exit_code(), crate::exit::INTERNAL);
        let interrupted = exit_code(crate::exit::INTERRUPTED, stuck, false);
        assert_eq!(interrupted.unwrap(), crate::exit::INTERRUPTED);
    }

    #[test]
    fn cleared_errors_of_hosts_are_no_failure_in_the_codes_of_ansible() {
        let counts = PlayCounts {
            has_cleared: true,
            ..PlayCounts::default()
        };
        let code =
            |is_of_ansible| exit_code(crate::exit::UNSUCCESSFUL, counts, is_of_ansible).unwrap();
        assert_eq!(
            (code(true), code(false)),
            (crate::exit::SUCCESS, crate::exit::UNSUCCESSFUL)
        );
    }

    #[test]
    fn a_play_with_nothing_to_do_is_a_success_in_the_codes_of_ansible() {
        let code =
            |counts, is_of_ansible| exit_code(crate::exit::NOTHING, counts, is_of_ansible).unwrap();
        let counts = PlayCounts::default();
        assert_eq!(
            (code(counts, true), code(counts, false)),
            (crate::exit::SUCCESS, crate::exit::NOTHING)
        );
        let wrong = PlayCounts {
            has_error: true,
            ..counts
        };
        assert_eq!(code(wrong, true), ANSIBLE_ERROR);
    }

    #[test]
    fn hosts_that_could_not_be_reached_count_before_those_that_failed_in_the_codes_of_ansible() {
        let counts = PlayCounts {
            failed: 1,
            unreachable: 1,
            ..PlayCounts::default()
        };
        let failed_after_its_job = exit_code(crate::exit::SUCCESS, counts, false);
        assert_eq!(failed_after_its_job.unwrap(), crate::exit::UNSUCCESSFUL);
        let code =
            |is_of_ansible| exit_code(crate::exit::UNSUCCESSFUL, counts, is_of_ansible).unwrap();
        assert_eq!(
            (code(true), code(false)),
            (ANSIBLE_UNREACHABLE, crate::exit::UNSUCCESSFUL)
        );
    }
}
