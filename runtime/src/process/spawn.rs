//! Starts a process in a group of its own.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::process::Pid;
use tokio::process::Child;

use super::group::ProcessGroup;
use super::{Keeper, ProcessConfig, ProcessError};

/// What starts a process that leads a group of its own and prints into two pipes.
///
/// Nothing here keeps the standard library from its fast way (`posix_spawn`): no hook between fork and
/// exec. Descriptors are close-on-exec everywhere in Rust, so a child gets its three and no others.
pub(super) fn prepare(config: &ProcessConfig, stdin: Stdio) -> Command {
    let mut command = Command::new(&config.command);
    command
        .args(&config.args)
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    if !config.env.inherits() {
        command.env_clear();
    }
    command.envs(config.env.declared());
    if let Some(folder) = &config.working_dir {
        command.current_dir(folder);
    }
    command
}

/// Starts a process that leads a group of its own.
pub(super) fn spawn(
    config: &ProcessConfig,
    stdin: Stdio,
    keeper: Option<&Keeper>,
) -> Result<(Child, ProcessGroup), ProcessError> {
    let child = tokio::process::Command::from(prepare(config, stdin))
        .spawn()
        .map_err(|source| ProcessError::spawn(config, source))?;
    // A process that was just started, and that nobody can have reaped, has an id.
    let Some(leader) = child.id().and_then(number) else {
        return Err(ProcessError::spawn(
            config,
            std::io::ErrorKind::InvalidData.into(),
        ));
    };
    Ok((child, ProcessGroup::led_by(leader, keeper.cloned())))
}

/// A process's number, as the system calls take it.
pub(super) fn number(id: u32) -> Option<Pid> {
    i32::try_from(id).ok().and_then(Pid::from_raw)
}
