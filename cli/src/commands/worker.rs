//! `ratchet worker`: runs the built-in worker.

use ratchet_runtime::builtin::{BuiltinTask, builtin};

use crate::args::worker::WorkerArguments;
use crate::error::CliError;

/// Serves the built-in tasks to a host on stdin and stdout.
pub(crate) fn run(arguments: &WorkerArguments) -> Result<(), CliError> {
    let tasks: &[BuiltinTask] = match &arguments.tasks[..] {
        [] => &BuiltinTask::ALL,
        some => some,
    };
    builtin(tasks.iter().copied())
        .concurrency(arguments.concurrency)
        .run()
        .map_err(|error| CliError::internal("the built-in worker has failed").because(error))
}
