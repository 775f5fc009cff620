//! Items that go to a worker, which `--worker` names.

use std::ffi::OsString;

use ratchet_runtime::TaskName;
use ratchet_runtime::process::PoolConfig;

use crate::args::map::MapArguments;
use crate::error::CliError;
use crate::job_file::Protocol;
use crate::value::split_words;

/// The words of the line: the command, and the items after it. A worker stands in the place of the command.
pub(super) fn words(arguments: &MapArguments) -> Result<Vec<OsString>, CliError> {
    let Some(worker) = &arguments.worker else {
        return Ok(arguments.words.clone());
    };
    let is_mark = |word: &OsString| word.to_str().is_some_and(|word| word.starts_with(":::"));
    if let Some(command) = arguments.words.first().filter(|word| !is_mark(word)) {
        let message = format!(
            "`{}` stands where a command would, and --worker takes the items",
            command.display()
        );
        return Err(CliError::usage(message).with_help(
            "write items after `:::`, as in: ratchet map --worker ./w.py --task t ::: a b",
        ));
    }
    // The worker and its task tell these jobs from those of another worker, for --resume.
    let mut words: Vec<OsString> = match split_words(worker) {
        Ok(split) => split.words.into_iter().map(OsString::from).collect(),
        // What is wrong with it is told where the worker is made.
        Err(_) => vec![worker.into()],
    };
    words.extend(arguments.task.iter().map(OsString::from));
    words.extend_from_slice(&arguments.words);
    Ok(words)
}

/// The protocol of the worker that takes the items, if one does.
pub(super) fn worker_protocol(arguments: &MapArguments) -> Option<Protocol> {
    arguments.worker.as_ref()?;
    Some(arguments.protocol.unwrap_or_default())
}

/// The task that gets the items. Protocols without tasks have one, with the name of the worker.
pub(super) fn task_of_worker(
    arguments: &MapArguments,
    protocol: Protocol,
    pool: &PoolConfig,
) -> Result<TaskName, CliError> {
    match (protocol, &arguments.task) {
        (Protocol::Ratchet | Protocol::Mcp, Some(task)) => Ok(task.as_str().into()),
        (Protocol::Ratchet, None) => Err(CliError::usage(
            "--worker needs to know the task of the items",
        )
        .with_help("name it, as in --task resize; or add --protocol lines if it is a filter")),
        (Protocol::Mcp, None) => Err(CliError::usage(
            "--worker needs to know the tool that gets the items",
        )
        .with_help("name it, as in --task echo")),
        (Protocol::Lines | Protocol::BazelJson, None) => Ok(pool.name.as_str().into()),
        (Protocol::Lines | Protocol::BazelJson, Some(_)) => Err(CliError::usage(
            "--task has no effect: this protocol has no tasks",
        )
        .with_help("leave it out")),
    }
}
