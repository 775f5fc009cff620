//! `ratchet sem`: runs a command as soon as a semaphore has a free place.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use ratchet_runtime::ParallelizationHint;
use ratchet_runtime::process::ProcessConfig;

use crate::args::sem::SemArguments;
use crate::error::CliError;
use crate::exit;
use crate::folders::Folders;
use crate::job_file::cannot_start;
use crate::semaphore::{Acquired, Semaphore};

/// The variable that holds the place of the command.
const PLACE: &str = "RATCHET_SLOT";

/// Waits for the semaphore, and starts the command.
pub(crate) fn run(arguments: &SemArguments) -> Result<u8, CliError> {
    let (folders, _) = Folders::load(&arguments.state)?;
    let semaphore = Semaphore::open(&folders.state, &arguments.name)?;
    let deadline = arguments
        .timeout
        .and_then(|timeout| tokio::time::Instant::now().into_std().checked_add(timeout));
    if arguments.wait {
        return match semaphore.wait(deadline)? {
            Acquired::Yes(()) => Ok(exit::SUCCESS),
            Acquired::TooLate => Ok(exit::STOPPED),
        };
    }
    let Some((program, words)) = arguments.words.split_first() else {
        return Err(CliError::usage("there is no command to run"));
    };
    // This is checked before the wait for a place, which may take hours.
    if let Some(missing) = cannot_start(&ProcessConfig::new(program)) {
        return Err(CliError::usage(missing));
    }
    let fully = ParallelizationHint::FullyParallel;
    let hint = arguments.hint.as_ref().unwrap_or(&fully);
    let held = match semaphore.acquire(arguments.jobs, hint, deadline)? {
        Acquired::Yes(held) => held,
        Acquired::TooLate => return Ok(exit::STOPPED),
    };
    let failed = |error| cannot_begin(program, error);
    held.let_inherit().map_err(failed)?;
    let mut command = Command::new(program);
    command.args(words).env(PLACE, held.place.to_string());
    if arguments.fg {
        // `exec` returns only if the command cannot be started.
        return Err(failed(command.exec()));
    }
    command.stdin(Stdio::null()).spawn().map_err(failed)?;
    Ok(exit::SUCCESS)
}

fn cannot_begin(program: &OsStr, error: std::io::Error) -> CliError {
    CliError::usage(format!("`{}` cannot be started", program.display())).because(error)
}
