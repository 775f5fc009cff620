//! The verbs of `ratchet runs` that ask or steer a run in progress.

use std::ffi::OsString;
use std::num::NonZeroU32;

use clap::{Args, ValueEnum};

use super::record::StateArguments;
use crate::live::LimitChange;
use crate::value;

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum AnswerFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object.
    Json,
}

pub(crate) const TAIL_HELP: &str = "\
Examples:
  ratchet runs tail 1ksd build -f
  ratchet runs tail 17

Of a command, what it has printed on stdout and stderr goes to stdout and stderr. Of a job of a worker, what the worker \
has said about it (log, progress) goes to stderr. Only the first 8 KiB and the last 24 KiB of each are kept; what is left \
out in between is told.";

/// Which job is meant, of which run.
#[derive(Debug, Args)]
pub(crate) struct TailArguments {
    /// The run and the job; the last run that goes on, if only a job is named.
    #[arg(value_name = "RUN JOB", num_args = 1..=2, required = true)]
    pub(crate) words: Vec<String>,
    /// Follow the output until the job ends.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Where the record of the run lies.
    #[command(flatten)]
    pub(crate) state: StateArguments,
}

pub(crate) const CANCEL_HELP: &str = "\
Examples:
  ratchet runs cancel 1ksd build deploy
  ratchet runs cancel 17

A job that waits ends as cancelled. One that runs is asked to stop, and killed when its grace is over or when it is \
cancelled again. What needs it is skipped, the run goes on, and resume does the job again.";

#[derive(Debug, Args)]
pub(crate) struct CancelArguments {
    /// The run and the jobs; the last run that goes on, if only one job is named.
    #[arg(value_name = "RUN JOB", num_args = 1.., required = true)]
    pub(crate) words: Vec<String>,
    /// Where the record of the run lies.
    #[command(flatten)]
    pub(crate) state: StateArguments,
}

/// A run that goes on.
#[derive(Debug, Args)]
pub(crate) struct LiveRunArguments {
    /// Which run; the last one that goes on, if none is named.
    pub(crate) run: Option<String>,
    /// Where the record of the run lies.
    #[command(flatten)]
    pub(crate) state: StateArguments,
}

pub(crate) const SET_HELP: &str = "\
Examples:
  ratchet runs set --jobs 8
  ratchet runs set 1ksd --limit api=5/s --limit db=2

Jobs that run are not touched: with fewer slots or units, no more start until enough have ended. Pools of workers keep \
their size. Fewer slots than an unfinished job of the run needs are refused, unless a host has enough. A job that comes \
later, and needs more than were set but not more than the run began with, takes all slots that there are. A limit that is a number stays one, and a rate a rate; its burst stays unless it is said, as in api=5/s:3. \
resume goes on with what was set, unless --jobs is typed for it.";

#[derive(Debug, Args)]
pub(crate) struct SetArguments {
    /// Which run; the last one that goes on, if none is named.
    pub(crate) run: Option<String>,
    /// How many jobs run at once from now on.
    #[arg(short, long, value_name = "N", value_parser = value::positive, required_unless_present = "limits")]
    pub(crate) jobs: Option<NonZeroU32>,
    /// What a named limit allows from now on: NAME=N at once, or NAME=RATE as in api=5/s.
    #[arg(long = "limit", value_name = "NAME=LIMIT", value_parser = limit)]
    pub(crate) limits: Vec<(String, LimitChange)>,
    /// Where the record of the run lies.
    #[command(flatten)]
    pub(crate) state: StateArguments,
}

pub(crate) const ADD_HELP: &str = "\
Examples:
  ratchet runs add 1ksd more.yaml
  echo '{\"run\":[\"echo\",\"more\"]}' | ratchet runs add -

All jobs of the file are added, or none. The file has nothing but jobs: they may name the workers, limits, resources and hosts \
of the run, and its defaults hold for them. They may need each other, and jobs of the run. Paths are relative to the file. A job \
without an id is called added-1-1 and so on. resume knows the jobs. Only runs of `ratchet run` take more jobs, as long as they \
go on.";

#[derive(Debug, Args)]
pub(crate) struct AddArguments {
    /// The run and the file of jobs, or `-` for JSON lines from stdin; the last run that goes on, if only a file is named.
    #[arg(value_name = "RUN FILE|-", num_args = 1..=2, required = true)]
    pub(crate) words: Vec<OsString>,
    /// Where the record of the run lies.
    #[command(flatten)]
    pub(crate) state: StateArguments,
}

/// Parses a named limit, as in `db=2`, `api=5/s` or `api=5/s:3`.
fn limit(text: &str) -> Result<(String, LimitChange), String> {
    let wanted = "write a limit as NAME=2, NAME=5/s or NAME=5/s:BURST";
    let (name, change) = text.split_once('=').ok_or(wanted)?;
    if name.is_empty() {
        return Err(wanted.to_owned());
    }
    let positive = |text: &str| {
        let number = text.parse().ok().and_then(NonZeroU32::new);
        number.ok_or_else(|| format!("`{text}` is not a number of at least 1; {wanted}"))
    };
    let change = if change.contains('/') {
        let (rate, burst) = match change.split_once(':') {
            Some((rate, burst)) => (rate, Some(positive(burst)?)),
            None => (change, None),
        };
        let rate = rate.parse().map_err(|error| format!("{error}; {wanted}"))?;
        LimitChange::Rate { rate, burst }
    } else {
        LimitChange::Max(positive(change)?)
    };
    Ok((name.to_owned(), change))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_number_or_a_rate_with_its_burst() {
        let three = NonZeroU32::new(3).unwrap();
        let rate = "5/s".parse().unwrap();
        for (text, change) in [
            ("a=3", LimitChange::Max(three)),
            ("a=5/s", LimitChange::Rate { rate, burst: None }),
            (
                "a=5/s:3",
                LimitChange::Rate {
                    rate,
                    burst: Some(three),
                },
            ),
        ] {
            assert_eq!(limit(text), Ok(("a".to_owned(), change)), "{text}");
        }
        for wrong in [
            "a",
            "=3",
            "a=",
            "a=0",
            "a=x",
            "a=5/s:0",
            "a=0/s",
            "a=5/never",
        ] {
            assert!(limit(wrong).is_err(), "{wrong}");
        }
    }
}
