//! `ratchet worker`.

use std::num::NonZeroU32;

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use ratchet_runtime::builtin::BuiltinTask;

use crate::value;

/// The built-in worker: echo, sleep, fail, flaky, burn, command.
///
/// It speaks the worker protocol on stdin and stdout until stdin ends. It is useful for trying things out and
/// for measuring.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    echo '{\"type\":\"request\",\"id\":1,\"task\":\"echo\",\"input\":\"hello\"}' | ratchet worker")]
pub(crate) struct WorkerArguments {
    /// A task to offer; may be given several times (default: all).
    #[arg(long = "task", value_name = "TASK", value_parser = task_parser())]
    pub(crate) tasks: Vec<BuiltinTask>,
    /// How many requests are performed at once.
    #[arg(long, value_name = "N", default_value = "1", value_parser = value::positive)]
    pub(crate) concurrency: NonZeroU32,
}

/// Parses the name of a task. Each has a line of help.
fn task_parser() -> impl TypedValueParser<Value = BuiltinTask> {
    let known =
        BuiltinTask::ALL.map(|task| PossibleValue::new(task.name()).help(task.description()));
    PossibleValuesParser::new(known)
        .try_map(|name| BuiltinTask::from_name(&name).ok_or("there is no such task"))
}
