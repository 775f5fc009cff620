//! `ratchet play`: runs playbooks, checks them, and lists what they would do.

use std::io::{self, IsTerminal, Write};
use std::num::NonZeroU32;
use std::path::Path;

use ratchet_input::InputError;
use ratchet_play::{
    Configuration, Gathering, Listed, ModuleRegistry, PlayLines, PlayOptions, Prepared, Question,
    Request, Tags, Vault, VaultPassword, prepare,
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
    let configuration = configuration()?;
    let forks = forks(arguments, &configuration);
    let prepared = prepared(arguments, &configuration)?;
    let limits = prepared.limits().to_vec();
    let common = common(arguments, forks);
    let session = Session::open(
        &common,
        &arguments.record,
        TerminalUse::Progress,
        resumed_run,
    )?;
    let format = session.options().format.unwrap_or(ResultFormat::Human);
    let end = PlayEnd::default();
    let console = session.console().clone();
    if !session.options().quiet {
        for warning in warnings(&configuration) {
            console.say(&format!("ratchet: {}\n", plain(&warning)));
        }
    }
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
        limits,
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

fn request(arguments: &PlayArguments, configuration: &Configuration) -> Request {
    let words = |typed: &[String], set: &[String]| {
        if typed.is_empty() {
            set.to_vec()
        } else {
            typed.to_vec()
        }
    };
    Request {
        playbooks: arguments.playbooks.clone(),
        limit: arguments.limit.clone(),
        tags: Tags {
            only: words(&arguments.tags, &configuration.run_tags),
            skip: words(&arguments.skip_tags, &configuration.skip_tags),
        },
        extra_vars: arguments.extra_vars.clone(),
    }
}

/// The options that a play has in common with other runs.
fn common(arguments: &PlayArguments, forks: u32) -> CommonArguments {
    let mut common = CommonArguments::default();
    common.concurrency.jobs = NonZeroU32::new(forks);
    common.stop = arguments.stop.clone();
    common.display = arguments.display.clone();
    common.output.format = arguments.format;
    common.output.output.clone_from(&arguments.output);
    common
}

/// The settings that people have for Ansible.
fn configuration() -> Result<Configuration, CliError> {
    let variable = |name: &str| std::env::var_os(name);
    Ok(Configuration::load(Path::new("."), variable)?)
}

/// What is to be said of the settings: what is wrong with them, and which are there for nothing.
fn warnings(configuration: &Configuration) -> Vec<String> {
    let mut warnings = configuration.warnings.clone();
    if !configuration.unused.is_empty() {
        warnings.push(format!(
            "settings of Ansible that are not used here: {}",
            configuration.unused.join(", ")
        ));
    }
    if configuration.merges_maps {
        warnings.push("`hash_behaviour = merge` is not used: maps replace each other".to_owned());
    }
    if !configuration.inject_facts_as_vars {
        warnings.push("`inject_facts_as_vars` is not used: facts are variables, too".to_owned());
    }
    warnings
}

fn forks(arguments: &PlayArguments, configuration: &Configuration) -> u32 {
    let set = configuration
        .forks
        .and_then(|forks| u32::try_from(forks).ok());
    let forks = arguments.forks.map(NonZeroU32::get).or(set);
    forks.unwrap_or(USUAL_FORKS).max(1)
}

/// The sources of hosts: those that were typed, else those of the settings.
fn sources(arguments: &PlayArguments, configuration: &Configuration) -> Vec<String> {
    if arguments.inventory.is_empty() {
        configuration.inventory.clone()
    } else {
        arguments.inventory.clone()
    }
}

fn prepared(
    arguments: &PlayArguments,
    configuration: &Configuration,
) -> Result<Prepared, CliError> {
    let sources = sources(arguments, configuration);
    let vault = arguments
        .vault_password_file
        .iter()
        .map(|path| VaultPassword::File {
            id: String::new(),
            path: path.clone(),
        });
    let vault_passwords: Vec<_> = vault
        .chain(configuration.vault_passwords.iter().cloned())
        .collect();
    let vault = Vault::new(vault_passwords.clone(), None);
    let inventory = inventory::load_with(&sources, &|text| {
        vault.decrypt(text).map(|plain| plain.to_string())
    })?;
    let text = |path: &Path| path.display().to_string();
    let ssh_args = [
        &configuration.ssh_args,
        &configuration.ssh_common_args,
        &configuration.ssh_extra_args,
    ];
    let ssh_args = ssh_args
        .into_iter()
        .flatten()
        .chain(&arguments.ssh_common_args);
    let ssh_args: Vec<&str> = ssh_args.map(String::as_str).collect();
    let mut libraries = arguments.module_path.clone();
    libraries.extend(configuration.library.iter().cloned());
    let options = PlayOptions {
        check: arguments.check,
        diff: arguments.diff || configuration.always_diffs,
        forks: forks(arguments, configuration),
        start_at: arguments.start_at_task.clone(),
        force_handlers: arguments.force_handlers || configuration.force_handlers,
        gathers_facts: configuration.gathering != Gathering::Explicit,
        becomes: arguments.r#become || configuration.becomes,
        become_user: arguments
            .become_user
            .clone()
            .or_else(|| configuration.become_user.clone()),
        become_method: arguments
            .become_method
            .clone()
            .or_else(|| configuration.become_method.clone()),
        become_password: password(
            arguments.ask_become_pass || configuration.become_ask_pass,
            arguments
                .become_password_file
                .as_deref()
                .or(configuration.become_password_file.as_deref()),
            "BECOME password: ",
        )?,
        remote_user: arguments
            .user
            .clone()
            .or_else(|| configuration.remote_user.clone()),
        password: password(
            arguments.ask_pass || configuration.ask_pass,
            arguments
                .connection_password_file
                .as_deref()
                .or(configuration.connection_password_file.as_deref()),
            "SSH password: ",
        )?,
        private_key: arguments
            .private_key
            .as_deref()
            .or(configuration.private_key_file.as_deref())
            .map(text),
        connection: arguments
            .connection
            .clone()
            .or_else(|| configuration.transport.clone()),
        timeout: arguments
            .timeout
            .or_else(|| configuration.timeout.map(|timeout| timeout.as_secs())),
        ssh_common_args: (!ssh_args.is_empty()).then(|| ssh_args.join(" ")),
        checks_host_keys: Some(configuration.host_key_checking),
        verbosity: arguments.display.verbose,
        vault_passwords,
        libraries,
        inventory_file: sources.first().map(Into::into),
        registry: ModuleRegistry::with_builtins(),
    };
    let variable = |name: &str| std::env::var_os(name);
    let request = request(arguments, configuration);
    Ok(prepare(
        &request,
        options,
        configuration,
        inventory,
        variable,
        &mut ask,
    )?)
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
    let configuration = configuration()?;
    let inventory = inventory::load(&sources(arguments, &configuration))?;
    let listed = Listed {
        hosts: arguments.list_hosts,
        tasks: arguments.list_tasks,
        tags: arguments.list_tags,
    };
    let variable = |name: &str| std::env::var_os(name);
    let listing = ratchet_play::list(
        &request(arguments, &configuration),
        listed,
        &inventory,
        variable,
    )?;
    for name in &listing.unknown {
        let line = format!("no host or group `{}` is in the inventory\n", plain(name));
        // The lists are what was asked for; a warning that cannot be written keeps nobody from them.
        let _ = io::stderr().write_all(line.as_bytes());
    }
    let written = io::stdout().write_all(listing.text.as_bytes());
    written.map_err(|error| Destination::Stdout.error(error).into())
}
