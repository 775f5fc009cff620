//! Options for the terms of jobs that do not set their own.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Args, ValueEnum};
use ratchet_runtime::{BreakerConfig, Limit, ParallelizationHint, Rate, SESSION_VARIABLES};

use crate::job_file::{self, TypedNeeds};
use crate::value;

/// The options for the terms of jobs that do not set their own.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Defaults for jobs")]
pub(crate) struct TermsArguments {
    /// How long an attempt may run, as in 30s or 1m30s. In map also in percent of the median of the commands that have
    /// succeeded so far, three at least, as in 200%.
    #[arg(long, value_name = "DURATION", value_parser = typed_timeout)]
    pub(crate) timeout: Option<TypedTimeout>,
    /// Warn once of each job that runs for longer than this, and count such jobs in the summary: --slow 30s. They go on.
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    pub(crate) slow: Option<Duration>,
    /// Kill a command that has more memory than this together with all that it has started, as in 512MiB. It fails with the class
    /// `memory`.
    #[arg(long, value_name = "SIZE", value_parser = value::size)]
    pub(crate) job_memory: Option<u64>,
    /// How many attempts may follow a failed first one.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32))]
    pub(crate) retries: Option<u32>,
    /// How parallel a job may be: `fully_parallel`, `host_exclusive`, `global_exclusive`, `alone`, or
    /// a rate as in `{rate_limited: {requests_per_second: 5}}`.
    /// In map it may have placeholders, as in `--hint {2}`.
    #[arg(long, value_name = "HINT", value_parser = typed_hint)]
    pub(crate) hint: Option<TypedHint>,
    /// Let jobs count against a named limit, and define it if a number at once or a rate follows: `--limit api=4`,
    /// `--limit api=10/s`. May be repeated.
    #[arg(long, value_name = "NAME[=N|RATE]", value_parser = typed_limit)]
    pub(crate) limit: Vec<TypedLimit>,
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

/// The help on the variables that ratchet sets for commands, for the verbs that run commands.
pub(crate) const VARIABLES_HELP: &str = "\
Variables of each command, unless the job sets them itself:
  RATCHET_SLOT     the slot it runs in, from 1; no other command has it meanwhile
  RATCHET_JOB_ID   the id of the job; in map, the number of the item
  RATCHET_ATTEMPT  which attempt at the job it is, from 1
  RATCHET_HOST     the host of the job, else where it runs; `local` is this machine
  RATCHET_RUN_ID   the id of the run; empty if the run is not recorded
  RATCHET_GPU ..   what it has of each resource that it takes, by its name: 0,2 or 4294967296;
                   of `gpu` also CUDA_VISIBLE_DEVICES
  TRACEPARENT      with --otlp, the span of the attempt";

/// Returns the help on what a cached result depends on, for the verbs that have `--cache`.
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
tells in what a job differs from an earlier one. Of jobs of a run for which all of this is the
same, the first one that can start runs, and the others wait for its result.",
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

/// A hint as it is typed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TypedHint {
    /// The hint is the same for all jobs.
    Same(ParallelizationHint),
    /// The hint has placeholders for the item.
    Template(OsString),
}

/// A limit as it is typed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TypedLimit {
    /// The name of the limit.
    pub(crate) name: String,
    /// What the limit allows, if this defines it.
    pub(crate) limit: Option<Limit>,
}

/// A timeout as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TypedTimeout {
    /// This long.
    Fixed(Duration),
    /// This many percent of the median of the commands so far.
    OfMedian(u32),
}

fn typed_timeout(text: &str) -> Result<TypedTimeout, String> {
    let Some(percent) = text.strip_suffix('%') else {
        let limit = value::duration(text).map_err(|error| error.to_string())?;
        if limit.is_zero() {
            return Err("no attempt can end in 0s; leave it out for no limit".to_owned());
        }
        return Ok(TypedTimeout::Fixed(limit));
    };
    match percent.parse() {
        Ok(percent @ 1..) => Ok(TypedTimeout::OfMedian(percent)),
        _ => Err("write a percentage as a whole number above 0, as in 200%".to_owned()),
    }
}

fn typed_hint(text: &str) -> Result<TypedHint, String> {
    match hint(text) {
        Ok(hint) => Ok(TypedHint::Same(hint)),
        Err(_) if has_placeholder(text) => Ok(TypedHint::Template(text.into())),
        Err(error) => Err(error),
    }
}

/// Whether a text names a column by its number, or is nothing but a placeholder.
fn has_placeholder(text: &str) -> bool {
    let numbered = text.split('{').skip(1);
    let mut numbered =
        numbered.filter(|rest| rest.starts_with(|first: char| first.is_ascii_digit()));
    let alone = text
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'));
    let is_word = |inner: &str| {
        inner
            .chars()
            .all(|one| one.is_alphanumeric() || "_./".contains(one))
    };
    numbered.any(|rest| rest.contains('}')) || alone.is_some_and(is_word)
}

fn typed_limit(text: &str) -> Result<TypedLimit, String> {
    let (name, limit) = match text.split_once('=') {
        None => (text, None),
        Some((name, rate)) if rate.contains('/') => {
            let rate: Rate = rate.parse().map_err(|error| format!("{error}"))?;
            (
                name,
                Some(Limit::rate(rate, 1).map_err(|error| error.to_string())?),
            )
        }
        Some((name, most)) => {
            let most = value::positive(most).map_err(|_| {
                format!("`{most}` is neither a number of units, as in {name}=4, nor a rate, as in {name}=10/s")
            })?;
            (
                name,
                Some(Limit::max(most.get()).map_err(|error| error.to_string())?),
            )
        }
    };
    if name.is_empty() {
        return Err("a limit has a name, as in api=10/s".to_owned());
    }
    Ok(TypedLimit {
        name: name.to_owned(),
        limit,
    })
}

impl TermsArguments {
    /// Returns the limits that the typed flags define.
    pub(crate) fn defined_limits(&self) -> Vec<(String, Limit)> {
        let limits = self.limit.iter();
        limits
            .filter_map(|typed| Some((typed.name.clone(), typed.limit?)))
            .collect()
    }

    /// Returns the first limit that a flag names, but neither a flag nor `is_defined` defines.
    pub(crate) fn undefined_limit(&self, is_defined: impl Fn(&str) -> bool) -> Option<&str> {
        let defined = self.defined_limits();
        let mut names = self.limit.iter().map(|typed| typed.name.as_str());
        names.find(|name| !is_defined(name) && !defined.iter().any(|(known, _)| known == name))
    }
}

/// Parses a hint.
pub(crate) fn hint(text: &str) -> Result<ParallelizationHint, String> {
    if text.trim_start().starts_with('{') {
        return job_file::typed_hint(text);
    }
    text.parse().map_err(|error| match error {
        ratchet_runtime::Error::UnknownHint { .. } => format!("{error}\n{HINTS}"),
        error => error.to_string(),
    })
}

/// The list of hints, which is printed if an unknown hint was typed.
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
    fn a_hint_with_placeholders_is_one_for_each_item() {
        for text in [
            "{2}",
            "{}",
            "{kind}",
            "{rate_limited: {requests_per_second: 5, key: {1}}}",
        ] {
            assert_eq!(
                typed_hint(text),
                Ok(TypedHint::Template(text.into())),
                "{text}"
            );
        }
        let alone = TypedHint::Same(ParallelizationHint::Alone);
        assert_eq!(typed_hint("alone"), Ok(alone));
        for text in [
            "serial",
            "{rate_limted: {requests_per_second: 5}}",
            "{rate_limited: {}}",
        ] {
            assert!(typed_hint(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_timeout_is_a_time_or_a_part_of_the_median() {
        let minute = TypedTimeout::Fixed(Duration::from_mins(1));
        assert_eq!(typed_timeout("1m"), Ok(minute));
        assert_eq!(typed_timeout("200%"), Ok(TypedTimeout::OfMedian(200)));
        for text in ["%", "0%", "-1%", "1.5%", "x"] {
            assert!(typed_timeout(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_limit_is_named_and_may_be_defined() {
        let limit = |text: &str| typed_limit(text).map(|typed| (typed.name, typed.limit));
        assert_eq!(limit("api"), Ok(("api".to_owned(), None)));
        assert_eq!(limit("api=4"), Ok(("api".to_owned(), Limit::max(4).ok())));
        let rate = Limit::rate("10/s".parse().unwrap(), 1).ok();
        assert_eq!(limit("api=10/s"), Ok(("api".to_owned(), rate)));
        for text in ["", "=4", "api=", "api=0", "api=x", "api=10/"] {
            assert!(limit(text).is_err(), "{text}");
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
