//! Refuses an output that is also an input, because an output is truncated before the input has been read.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::args::map::MapArguments;
use crate::args::run::RunArguments;
use crate::error::CliError;

/// Checks the outputs of a `run` against its inputs.
pub(crate) fn refuse_of_run(arguments: &RunArguments, file: &Path) -> Result<(), CliError> {
    let outputs = [
        ("--output", arguments.common.output.output.as_deref()),
        ("--events", arguments.record.events.as_deref()),
    ];
    refuse(&[file], outputs)?;
    refuse_same(&outputs)
}

/// Checks the outputs of a `map`, whose items are read from these files.
pub(crate) fn refuse_of_map(arguments: &MapArguments, inputs: &[&Path]) -> Result<(), CliError> {
    let outputs = [
        ("--output", arguments.common.output.output.as_deref()),
        (
            "--joblog",
            arguments.joblog.as_ref().map(|file| file.path.as_path()),
        ),
        ("--results", arguments.results.as_deref()),
        ("--events", arguments.record.events.as_deref()),
    ];
    refuse(inputs, outputs)?;
    refuse_same(&outputs)
}

/// Refuses two outputs that are the same file.
fn refuse_same(outputs: &[(&str, Option<&Path>)]) -> Result<(), CliError> {
    let named: Vec<(&str, &Path)> = outputs
        .iter()
        .filter_map(|(flag, output)| Some((*flag, (*output)?)))
        .collect();
    for (number, (flag, output)) in named.iter().enumerate() {
        let others = named.get(number + 1..).unwrap_or_default();
        if let Some((other, _)) = others.iter().find(|(_, other)| are_one(output, other)) {
            let message = format!("{flag} and {other} name the same file");
            return Err(CliError::usage(message).with_help("name two different files"));
        }
    }
    Ok(())
}

/// Refuses an output that is the same file as one of the inputs. `-` is stdin, or stdout.
fn refuse<const N: usize>(
    inputs: &[&Path],
    outputs: [(&str, Option<&Path>); N],
) -> Result<(), CliError> {
    for (flag, output) in outputs {
        let Some(output) = output.filter(|output| *output != Path::new("-")) else {
            continue;
        };
        // A file that does not exist is not an input. An error of `metadata` is reported when the output is opened.
        let Some(written) = std::fs::metadata(output).ok().filter(Metadata::is_file) else {
            continue;
        };
        let is_written = |input: &Path| {
            metadata(input)
                .is_ok_and(|read| (read.dev(), read.ino()) == (written.dev(), written.ino()))
        };
        if let Some(&input) = inputs.iter().find(|input| is_written(input)) {
            let input = if input == Path::new("-") {
                "stdin".to_owned()
            } else {
                format!("`{}`", input.display())
            };
            let message = format!("{flag} would overwrite {input} while it is read");
            return Err(CliError::usage(message).with_help("write to another file"));
        }
    }
    Ok(())
}

/// Whether two outputs are the same file, whether it exists or not.
fn are_one(one: &Path, other: &Path) -> bool {
    let known = |path: &Path| std::fs::metadata(path).map(|it| (it.dev(), it.ino()));
    match (known(one), known(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => std::path::absolute(one).ok() == std::path::absolute(other).ok(),
    }
}

fn metadata(input: &Path) -> io::Result<Metadata> {
    if input == Path::new("-") {
        let stdin = io::stdin().as_fd().try_clone_to_owned()?;
        return File::from(stdin).metadata();
    }
    std::fs::metadata(input)
}
