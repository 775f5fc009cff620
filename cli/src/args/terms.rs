//! Options for jobs that do not set them themselves.

use std::time::Duration;

use clap::{Args, ValueEnum};
use ratchet_runtime::{BreakerConfig, ParallelizationHint, SESSION_VARIABLES};

use crate::job_file::{self, TypedNeeds};
use crate::value;

/// The options for the terms of jobs that do not set their own.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Defaults for jobs")]
pub(crate) struct TermsArguments {
    /// How long an attempt may run, as in 30s or 1m30s.
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    pub(crate) timeout: Option<Duration>,
    /// Kill a command that has more memory than this together with all that it has started, as in 512MiB. It fails with the class
    /// `memory`.
    #[arg(long, value_name = "SIZE", value_parser = value::size)]
    pub(crate) job_memory: Option<u64>,
    /// How many attempts may follow a failed first one.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32))]
    pub(crate) retries: Option<u32>,
    /// How parallel a job may be: `fully_parallel`, `host_exclusive`, `global_exclusive`, `alone`, or
    /// a rate as in `{rate_limited: {requests_per_second: 5}}`.
    #[arg(long, value_name = "HINT", value_parser = hint)]
    pub(crate) hint: Option<ParallelizationHint>,
    /// What a job has for itself of the resources while it runs, as in `gpu=1,memory=4GiB`. It is told which: `RATCHET_GPU=2`.
    #[arg(long = "use", value_name = "NAME=N", value_parser = job_file::typed_needs)]
    pub(crate) uses: Option<TypedNeeds>,
    /// Stop the attempts of a kind of worker, or on a host, while most of them fail; `{consecutive: 5, open: 10s}` says when,
    /// as in a job file.
    #[arg(long, value_name = "RULES", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_parser = job_file::typed_breaker)]
    pub(crate) breaker: Option<BreakerConfig>,
    /// Use earlier results again: `on`, `refresh` to run all the same and store anew, or `off`.
    #[arg(long, value_name = "MODE", num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    pub(crate) cache: Option<CacheMode>,
}

/// The help on what commands are told by their environment, for the verbs that run commands.
pub(crate) const VARIABLES_HELP: &str = "\
Variables of each command, unless the job sets them itself:
  RATCHET_SLOT     the slot it runs in, from 1; no other command has it meanwhile
  RATCHET_JOB_ID   the id of the job; in map, the number of the item
  RATCHET_ATTEMPT  which attempt at the job it is, from 1
  RATCHET_HOST     the host of the job, else where it runs; `local` is this machine
  RATCHET_RUN_ID   the id of the run; empty if the run is not recorded
  RATCHET_GPU ..   what it has of each resource that it takes, by its name: 0,2 or 4294967296;
                   of `gpu` also CUDA_VISIBLE_DEVICES";

/// The help on what a cached result depends on, for the verbs that have `--cache`.
pub(crate) fn cache_help() -> String {
    format!(
        "\
With --cache, an earlier result is used again if all of this is the same:
  the command and its arguments; the contents of the program and of every file and folder
  that an argument names, also as --option=FILE, name=FILE, @FILE or -oFILE; declared inputs;
  the input of a task; the folder it runs in; the environment; the umask; the timeout; the
  kind of machine.
Files are read again when the job has ended: if one has changed, the result is not kept. So a
command that writes to a file that it names is never cached, nor is one that names a folder
with more than 4096 files.
Not part of it, so that a change of it goes unnoticed:
  files that no argument names as a whole (libraries, configuration, names inside the text of
  a --shell command), stdin, the clock, the network, limits of the system, and these
  variables, which differ from one terminal or run to the next:
{}
In a job file, `cache: {{inputs: [FILES], env: [NAMES]}}` adds to it. `ratchet cache explain`
tells in what a job differs from an earlier one.",
        listed(&SESSION_VARIABLES)
    )
}

/// Lists words in lines that fit a terminal.
fn listed(words: &[&str]) -> String {
    let mut lines = vec![String::from(" ")];
    for word in words {
        if let Some(line) = lines.last_mut()
            && line.len() + 1 + word.len() <= 90
        {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(format!("  {word}"));
        }
    }
    lines.join("\n")
}

/// Whether earlier results are used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CacheMode {
    On,
    Refresh,
    Off,
}

pub(super) fn hint(text: &str) -> Result<ParallelizationHint, String> {
    if text.trim_start().starts_with('{') {
        return job_file::typed_hint(text);
    }
    text.parse().map_err(|error| match error {
        ratchet_runtime::Error::UnknownHint { .. } => format!("{error}\n{HINTS}"),
        error => error.to_string(),
    })
}

/// The list of hints, which is printed where an unknown one was typed.
const HINTS: &str = "  the hints are:
    fully_parallel    no restriction (the default)
    host_exclusive    one such job at a time on each host
    global_exclusive  one such job at a time
    alone             nothing else runs meanwhile
    {rate_limited: {requests_per_second: 5}}  so many starts a second";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_hint_is_answered_with_the_known_ones() {
        let refused = hint("serial").unwrap_err();
        assert!(refused.starts_with("unknown hint `serial`\n"), "{refused}");
        let known = HINTS.lines().filter_map(|line| line.strip_prefix("    "));
        for line in known {
            let name = line.split("  ").next().unwrap();
            assert!(refused.contains(name) && hint(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_hint_is_typed_as_it_is_written_in_a_file() {
        let expected = ParallelizationHint::RateLimited {
            requests_per_second: 5.0,
            burst: 2,
            key: Some("ec2".to_owned()),
        };
        for text in [
            "{rate_limited: {requests_per_second: 5, burst: 2, key: ec2}}",
            r#"{"rate_limited": {"requests_per_second": 5, "burst": 2, "key": "ec2"}}"#,
        ] {
            assert_eq!(hint(text), Ok(expected.clone()), "{text}");
        }
        assert_eq!(hint("alone"), Ok(ParallelizationHint::Alone));
        for (text, said) in [
            (
                "{rate_limted: {requests_per_second: 5}}",
                "did you mean `rate_limited`?",
            ),
            ("{rate_limited: {requests_per_second: 0}}", "0"),
            ("{rate_limited: {}}", "requests_per_second"),
            ("{rate_limited: {requests_per_second: 5}", ""),
            ("{}", ""),
            ("rate_limited", "{rate_limited: {requests_per_second: 5}}"),
        ] {
            let refused = hint(text).unwrap_err();
            assert!(
                refused.contains(said) && !refused.is_empty(),
                "{text}: {refused}"
            );
        }
    }
}
