//! What is read is not written over: the output begins empty, before the input is read to its end.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::args::map::MapArguments;
use crate::args::run::RunArguments;
use crate::error::CliError;

/// Of a run.
pub(crate) fn refuse_of_run(arguments: &RunArguments, file: &Path) -> Result<(), CliError> {
    let output = arguments.common.output.output.as_deref();
    refuse(&[file], [("--output", output)])
}

/// Of a map, whose items may stand among its words.
pub(crate) fn refuse_of_map(arguments: &MapArguments, has_lists: bool) -> Result<(), CliError> {
    let inputs: Vec<&Path> = match &arguments.arg_file[..] {
        _ if has_lists => Vec::new(),
        [] => vec![Path::new("-")],
        files => files.iter().map(PathBuf::as_path).collect(),
    };
    let outputs = [
        ("--output", arguments.common.output.output.as_deref()),
        ("--joblog", arguments.joblog.as_deref()),
    ];
    refuse(&inputs, outputs)?;
    if let [(_, Some(output)), (_, Some(joblog))] = outputs
        && are_one(output, joblog)
    {
        return Err(
            CliError::usage("--output and --joblog would write into each other")
                .with_help("name two files"),
        );
    }
    Ok(())
}

/// Refuses an output that is one of the inputs, by whatever name. `-` is stdin, or stdout.
fn refuse<const N: usize>(
    inputs: &[&Path],
    outputs: [(&str, Option<&Path>); N],
) -> Result<(), CliError> {
    for (flag, output) in outputs {
        let Some(output) = output.filter(|output| *output != Path::new("-")) else {
            continue;
        };
        // What is not there yet is nobody's input, and what cannot be looked at is told when it is opened.
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
            let message = format!("{flag} would write over {input} while it is read");
            return Err(CliError::usage(message).with_help("write to another file"));
        }
    }
    Ok(())
}

/// Whether two outputs are the same, be they there already or not.
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
