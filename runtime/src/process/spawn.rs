//! Starts a process in a group of its own.

use std::process::Stdio;

use rustix::process::Pid;
use tokio::process::{Child, Command};

use super::group::ProcessGroup;
use super::{Keeper, ProcessConfig, ProcessError};

/// Starts a process that leads a group of its own.
///
/// Nothing here keeps the standard library from its fast way (`posix_spawn`): no hook between fork and
/// exec. Descriptors are close-on-exec everywhere in Rust, so a child gets its three and no others.
pub(super) fn spawn(
    config: &ProcessConfig,
    stdin: Stdio,
    keeper: Option<&Keeper>,
) -> Result<(Child, ProcessGroup), ProcessError> {
    let mut command = Command::new(&config.command);
    command
        .args(&config.args)
        .envs(config.env.declared())
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    if !config.env.inherits() {
        command.env_clear().envs(config.env.declared());
    }
    if let Some(folder) = &config.working_dir {
        command.current_dir(folder);
    }
    let child = command
        .spawn()
        .map_err(|source| ProcessError::spawn(config, source))?;
    // A process that was just started, and that nobody can have reaped, has an id.
    let leader = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw);
    let Some(leader) = leader else {
        return Err(ProcessError::spawn(
            config,
            std::io::ErrorKind::InvalidData.into(),
        ));
    };
    Ok((child, ProcessGroup::led_by(leader, keeper.cloned())))
}
