//! The worker of `--worker`, to which items are sent.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use ratchet_runtime::TaskName;
use ratchet_runtime::process::PoolConfig;

use crate::args::map::MapArguments;
use crate::error::CliError;
use crate::escape::{plain, text_of};
use crate::job_file::Protocol;
use crate::value::split_words;

/// Returns the words of the command line: the command, and the items after it. With `--worker`, the worker and its task
/// replace the command.
pub(super) fn words(arguments: &MapArguments) -> Result<Vec<OsString>, CliError> {
    let Some(worker) = &arguments.worker else {
        let words = arguments.words.clone();
        return match &arguments.replace {
            Some(text) => with_placeholders(text, words),
            None => Ok(words),
        };
    };
    if let Some(command) = arguments.words.first().filter(|word| !is_mark(word)) {
        let message = format!(
            "`{}` is in the place of a command, but with --worker there is no command",
            command.display()
        );
        return Err(CliError::usage(message).with_help(
            "write items after `:::`, as in: ratchet map --worker ./w.py --task t ::: a b",
        ));
    }
    // The words become part of the identities of the jobs. With the worker and its task, `resume` does not take these
    // jobs for those of another worker.
    let mut words: Vec<OsString> = match split_words(worker) {
        Ok(split) => split.words.into_iter().map(OsString::from).collect(),
        // A command that cannot be split is reported when the worker is made.
        Err(_) => vec![worker.into()],
    };
    words.extend(arguments.task.iter().map(OsString::from));
    words.extend_from_slice(&arguments.words);
    Ok(words)
}

/// Writes `{}` where the text of `-I` stands in the command, and doubles the braces of each `{}`, which is no placeholder then.
fn with_placeholders(text: &OsStr, words: Vec<OsString>) -> Result<Vec<OsString>, CliError> {
    let text = text.as_bytes();
    if text.is_empty() {
        return Err(CliError::usage("-I: the text is empty")
            .with_help("write what stands for the item, as in -I FILE -- cp FILE /backup"));
    }
    let mut is_found = false;
    let mut in_lists = false;
    let words = words.into_iter().map(|word| {
        in_lists |= is_mark(&word);
        if in_lists {
            return word;
        }
        let (mut replaced, mut rest) = (Vec::new(), word.as_bytes());
        while let [byte, after @ ..] = rest {
            if let Some(after) = rest.strip_prefix(text) {
                replaced.extend_from_slice(b"{}");
                is_found = true;
                rest = after;
            } else if let Some(after) = rest.strip_prefix(b"{}") {
                replaced.extend_from_slice(b"{{}}");
                rest = after;
            } else {
                replaced.push(*byte);
                rest = after;
            }
        }
        OsString::from_vec(replaced)
    });
    let words = words.collect();
    if is_found {
        return Ok(words);
    }
    let text = plain(&text_of(text)).into_owned();
    Err(
        CliError::usage(format!("-I {text}: the command has no `{text}`"))
            .with_help("write it where the item goes, or leave out -I to add the item at the end"),
    )
}

fn is_mark(word: &OsString) -> bool {
    word.to_str().is_some_and(|word| word.starts_with(":::"))
}

/// Returns the protocol of the worker that gets the items, if there is one.
pub(super) fn worker_protocol(arguments: &MapArguments) -> Option<Protocol> {
    arguments.worker.as_ref()?;
    Some(arguments.protocol.unwrap_or_default())
}

/// Returns the task that gets the items. With a protocol without tasks, this is the name of the worker.
pub(super) fn task_of_worker(
    arguments: &MapArguments,
    protocol: Protocol,
    pool: &PoolConfig,
) -> Result<TaskName, CliError> {
    match (protocol, &arguments.task) {
        (Protocol::Ratchet | Protocol::Mcp, Some(task)) => Ok(task.as_str().into()),
        (Protocol::Ratchet, None) => Err(CliError::usage("--worker needs the name of the task")
            .with_help("name it, as in --task resize; or add --protocol lines if it is a filter")),
        (Protocol::Mcp, None) => Err(CliError::usage("--worker needs the name of the tool")
            .with_help("name it, as in --task echo")),
        (Protocol::Lines | Protocol::BazelJson, None) => Ok(pool.name.as_str().into()),
        (Protocol::Lines | Protocol::BazelJson, Some(_)) => Err(CliError::usage(
            "--task has no effect: this protocol has no tasks",
        )
        .with_help("leave it out")),
    }
}
