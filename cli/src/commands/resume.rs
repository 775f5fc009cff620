//! `ratchet resume`: continues an interrupted or failed run.

use std::io::{self, IsTerminal};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use clap::Parser;
use ratchet_runtime::RunStore;
use ratchet_runtime::journal::RunState;

use super::{map, play, run};
use crate::args::hosts::HostsArguments;
use crate::args::play::PlayArguments;
use crate::args::record::RecordArguments;
use crate::args::resume::ResumeArguments;
use crate::args::shared_run::SharedRunArguments;
use crate::args::{Arguments, Verb};
use crate::environment::UserEnvironment;
use crate::error::CliError;
use crate::folders::check_state;
use crate::invocation::Invocation;
use crate::job_count::JobCount;
use crate::live::AdditionRecord;
use crate::session::ResumedRun;
use crate::settings::Settings;
use crate::style::When;

/// Sets `color` to the value that was typed when the run was begun, unless another one is typed now.
pub(crate) fn run(arguments: ResumeArguments, color: &mut Option<When>) -> Result<u8, CliError> {
    let environment = UserEnvironment::current()?;
    let here = environment.folder.clone();
    let settings = Settings::load(&environment)?;
    let state_dir = match &arguments.state.state_dir {
        Some(folder) => here.join(folder),
        None => settings.state_dir(&environment)?,
    };
    let trust = settings.trust(&environment);
    check_state(&trust, &state_dir)?;
    let store = RunStore::at(&state_dir);
    let id = match &arguments.run {
        Some(run) => super::runs::find(&store, run)?,
        None => store.latest()?.ok_or_else(|| {
            CliError::usage("there is no run to resume")
                .with_help(format!("no run is recorded in `{}`", state_dir.display()))
        })?,
    };
    // The journal names the commands to run, so one that another user may have written is refused.
    trust.file(&store.journal(id))?;
    let run_folder = store.folder().join(id.to_string());
    trust.folder(AdditionRecord::of(&run_folder).folder())?;
    let kept = store.run(id);
    if let RunState::Unreadable(error) = kept.state {
        return Err(error.into());
    }
    let invocation = kept
        .header
        .and_then(|header| Invocation::read(&header.about))
        .ok_or_else(|| {
            CliError::usage(format!(
                "the record of run {id} does not contain its command line"
            ))
        })?;
    let words = std::iter::once("ratchet".into()).chain(invocation.args);
    let begun = Arguments::try_parse_from(words).map_err(|error| {
        CliError::usage(format!(
            "the command line of run {id} is not valid with this ratchet: {error}"
        ))
    })?;
    let over = Overrides {
        arguments,
        here,
        state_dir,
    };
    let folder = invocation.cwd;
    std::env::set_current_dir(&folder).map_err(|error| CliError::unreadable(&folder, error))?;
    let again = ResumedRun {
        store,
        id,
        has_own_slots: over.arguments.common.concurrency.jobs.is_some(),
        has_own_events: over.arguments.events.is_some(),
        own_limits: (over.arguments.common.terms.defined_limits().into_iter())
            .map(|(name, _)| name)
            .collect(),
    };
    match begun.verb {
        Verb::Run(mut typed) => {
            if typed.file.is_none() || typed.file.as_deref() == Some("-".as_ref()) {
                refuse_terminal(&again)?;
            }
            over.write(&mut typed.common, &mut typed.record);
            *color = typed.common.display.color;
            run::run(&typed, Some(again))
        }
        Verb::Map(mut typed) => {
            over.write(&mut typed.common, &mut typed.record);
            // --keep-remote and --cleanup exclude each other, too.
            typed.cleanup &= !over.arguments.common.hosts.keep_remote;
            if over.arguments.common.stop.max_fail.is_some() {
                // --max-fail and a --halt that counts failures exclude each other, and a flag of this call wins.
                typed.halt = typed.halt.filter(|rule| rule.success_goal().is_some());
            }
            *color = typed.common.display.color;
            map::run(&typed, Some(again))
        }
        Verb::Play(mut typed) => {
            over.refuse_of_play()?;
            over.write_play(&mut typed);
            *color = typed.display.color;
            play::run(&typed, Some(again))
        }
        _ => Err(CliError::usage(format!(
            "run {id} was not started with `run`, `map` or `play`"
        ))),
    }
}

/// Refuses a terminal as stdin for a run whose jobs came from stdin.
fn refuse_terminal(again: &ResumedRun) -> Result<(), CliError> {
    if !io::stdin().is_terminal() {
        return Ok(());
    }
    let id = again.id;
    Err(CliError::usage(format!(
        "the jobs of run {id} came from stdin, which is a terminal now"
    ))
    .with_help(format!(
        "pass them again, as in: ratchet resume {id} < jobs.jsonl"
    )))
}

/// The flags of `resume`. They override those of the call that began the run.
struct Overrides {
    arguments: ResumeArguments,
    /// The folder of this call, to which its relative paths refer.
    here: PathBuf,
    state_dir: PathBuf,
}

/// Replaces each option that was given to `resume`.
macro_rules! over {
    ($typed:expr, $then:expr, $($field:ident),+) => {
        $(if $typed.$field.is_some() {
            $then.$field.clone_from(&$typed.$field);
        })+
    };
}

/// Replaces the values of the same names, and adds the others.
fn replace_named<T: Clone>(then: &mut Vec<T>, now: &[T], name: impl Fn(&T) -> &String) {
    then.retain(|old| !now.iter().any(|new| name(new) == name(old)));
    then.extend_from_slice(now);
}

impl Overrides {
    /// Overrides the options of a play.
    fn write_play(&self, then: &mut PlayArguments) {
        let now = &self.arguments.common;
        if let Some(jobs) = now.concurrency.jobs.as_ref().and_then(JobCount::number) {
            then.tasks.forks = NonZeroU32::new(jobs);
        }
        over!(now.stop, then.stop, max_fail, deadline, grace);
        over!(now.output, then, format);
        over!(now.display, then.display, progress, color);
        then.display.bar = now.display.bar;
        if now.display.quiet || now.display.verbose > 0 {
            (then.display.quiet, then.display.verbose) = (now.display.quiet, now.display.verbose);
        }
        if let Some(path) = &now.output.output {
            then.output = Some(self.here.join(path));
        }
        if let Some(path) = &now.display.log_file {
            then.display.log_file = Some(self.here.join(path));
        }
        self.write_record(&mut then.record);
    }

    fn write(&self, then: &mut SharedRunArguments, record: &mut RecordArguments) {
        let now = &self.arguments.common;
        over!(
            now.concurrency,
            then.concurrency,
            jobs,
            workers,
            prefetch,
            memory_limit,
            memory_free,
            load
        );
        if let Some(JobCount::File(path)) = &mut then.concurrency.jobs
            && now.concurrency.jobs.is_some()
        {
            *path = self.here.join(&path);
        }
        replace_named(
            &mut then.concurrency.resource,
            &now.concurrency.resource,
            |(name, _)| name,
        );
        self.write_hosts(&mut then.hosts);
        over!(
            now.terms, then.terms, timeout, slow, job_memory, retries, hint, uses, breaker, cache
        );
        replace_named(&mut then.terms.limit, &now.terms.limit, |limit| &limit.name);
        over!(now.stop, then.stop, max_fail, flaky, deadline, grace);
        over!(now.output, then.output, format);
        over!(now.display, then.display, progress, color);
        then.display.bar = now.display.bar;
        then.output.keep_order |= now.output.keep_order;
        if now.display.quiet || now.display.verbose > 0 {
            (then.display.quiet, then.display.verbose) = (now.display.quiet, now.display.verbose);
        }
        // A path of this call is relative to the folder of this call, not to that of the run.
        if let Some(path) = &now.output.output {
            then.output.output = Some(self.here.join(path));
        }
        if let Some(path) = &now.display.log_file {
            then.display.log_file = Some(self.here.join(path));
        }
        self.write_record(record);
    }

    /// Overrides where jobs run. Paths of this call are relative to the folder of this call.
    fn write_hosts(&self, then: &mut HostsArguments) {
        let now = &self.arguments.common.hosts;
        // Both name hosts, so either of them replaces both.
        if !now.chosen.on.is_empty() || !now.chosen.sshloginfile.is_empty() {
            then.chosen.on.clone_from(&now.chosen.on);
            let files = now.chosen.sshloginfile.iter();
            then.chosen.sshloginfile = files.map(|path| self.here.join(path)).collect();
        }
        if !now.chosen.inventory.is_empty() {
            let sources = now.chosen.inventory.iter();
            then.chosen.inventory = sources.map(|source| self.source(source)).collect();
        }
        then.keep_remote |= now.keep_remote;
        over!(now, then, jobs_total);
    }

    /// Returns the source of an inventory as it is named from the folder of the run: a list of hosts, or a path.
    fn source(&self, typed: &str) -> String {
        let path = self.here.join(typed);
        match path.to_str() {
            // Only a text with a comma can be a list, and a path that exists is none.
            Some(path) if !typed.contains(',') || Path::new(path).exists() => path.to_owned(),
            _ => typed.to_owned(),
        }
    }

    /// Refuses flags that a play does not have.
    fn refuse_of_play(&self) -> Result<(), CliError> {
        let SharedRunArguments {
            concurrency,
            hosts,
            terms,
            stop,
            output,
            display: _,
        } = &self.arguments.common;
        let jobs = concurrency.jobs.as_ref();
        let typed = [
            (
                "-j with anything but a number",
                jobs.is_some_and(|jobs| jobs.number().is_none()),
            ),
            ("--workers", concurrency.workers.is_some()),
            ("--prefetch", concurrency.prefetch.is_some()),
            ("--resource", !concurrency.resource.is_empty()),
            ("--memory-limit", concurrency.memory_limit.is_some()),
            ("--memory-free", concurrency.memory_free.is_some()),
            ("--load", concurrency.load.is_some()),
            ("--on", !hosts.chosen.on.is_empty()),
            ("--sshloginfile", !hosts.chosen.sshloginfile.is_empty()),
            ("--inventory", !hosts.chosen.inventory.is_empty()),
            ("--keep-remote", hosts.keep_remote),
            ("--jobs-total", hosts.jobs_total.is_some()),
            ("--timeout", terms.timeout.is_some()),
            ("--slow", terms.slow.is_some()),
            ("--job-memory", terms.job_memory.is_some()),
            ("--retries", terms.retries.is_some()),
            ("--hint", terms.hint.is_some()),
            ("--limit", !terms.limit.is_empty()),
            ("--use", terms.uses.is_some()),
            ("--breaker", terms.breaker.is_some()),
            ("--cache", terms.cache.is_some()),
            ("--flaky", stop.flaky.is_some()),
            ("--keep-order", output.keep_order),
        ];
        match typed.into_iter().find(|(_, is_typed)| *is_typed) {
            Some((flag, _)) => Err(CliError::usage(format!(
                "{flag} has no effect on a play, and this run is one"
            ))
            .with_help("leave it out; `ratchet play` with other options begins a new run")),
            None => Ok(()),
        }
    }

    /// Overrides where the run is recorded, where its events go, and where its telemetry is sent.
    fn write_record(&self, then: &mut RecordArguments) {
        if let Some(path) = &self.arguments.events {
            then.events = Some(self.here.join(path));
        }
        over!(self.arguments.telemetry, then.telemetry, otlp);
        if self.arguments.state.state_dir.is_some() || then.state.state_dir.is_some() {
            then.state.state_dir = Some(self.state_dir.clone());
        }
    }
}
