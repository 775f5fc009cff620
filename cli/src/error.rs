//! What can go wrong, and which exit code it is.

use std::process::ExitCode;

use ratchet_ipc::IpcError;
use thiserror::Error;

use crate::exit;

#[derive(Debug, Error)]
pub(crate) enum CliError {
    #[error("the built-in worker could not go on")]
    Worker(#[source] IpcError),
}

impl CliError {
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Worker(_) => exit::INTERNAL,
        }
    }
}
