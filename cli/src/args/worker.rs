//! `ratchet worker`.

use std::num::NonZeroU32;

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use ratchet_runtime::builtin::BuiltinTask;

use crate::value;

/// The built-in worker: echo, sleep, fail, flaky, burn, command.
///
/// Speaks the worker protocol on stdin and stdout, until stdin ends. Of use as a worker to try things out
/// with, and to measure with.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    echo '{\"type\":\"request\",\"id\":1,\"task\":\"echo\",\"input\":\"hello\"}' | ratchet worker")]
pub(crate) struct WorkerArguments {
    /// A task to offer; may be given several times. All of them, if none is given.
    #[arg(long = "task", value_name = "TASK", value_parser = task_parser())]
    pub(crate) tasks: Vec<BuiltinTask>,
    /// How many requests to work on at the same time.
    #[arg(long, value_name = "N", default_value = "1", value_parser = value::positive)]
    pub(crate) concurrency: NonZeroU32,
}

/// The tasks that there are, each with its line of help.
fn task_parser() -> impl TypedValueParser<Value = BuiltinTask> {
    let known =
        BuiltinTask::ALL.map(|task| PossibleValue::new(task.name()).help(task.description()));
    PossibleValuesParser::new(known)
        .try_map(|name| BuiltinTask::from_name(&name).ok_or("there is no such task"))
}
