//! Targets: the hosts on which modules run, each with a Python worker that stays running between calls.
//!
//! ```text
//! Targets --call--> pool of one worker a target ==pipes== ssh ==== ratchet_ansible.py --fork--> module
//!                                                                     |
//!                                                                     '--sudo--> ratchet_ansible.py --fork--> module
//! ```
//!
//! The first call starts the worker (`python/ratchet_ansible.py`) through a shell on the host, and the end of the pool
//! ends it. It is sent each bundle that it lacks once. If the connection to a host is lost, the next call connects
//! again.

mod askpass;
mod bootstrap;
mod call;
mod connection;
mod files;
mod launch;
mod raw;
mod worker;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ratchet_runtime::Failure;
use ratchet_runtime::process::ProcessManager;
use serde_json::Value;
use tokio::sync::OnceCell;

pub(crate) use connection::is_connection;
pub(crate) use files::FileSource;
use worker::TargetWorker;

use crate::modules::Secret;

/// A host, with everything that is needed to connect to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    /// The name of the host in the inventory.
    pub(crate) name: String,
    pub(crate) connection: Connection,
    /// The Python of the host, with arguments if it has any. Without one, the worker searches the host for it.
    pub(crate) python: Option<String>,
    /// The folder for the temporary files of modules on the host.
    pub(crate) remote_tmp: String,
    /// The shell with which modules run commands.
    pub(crate) shell: String,
    /// How long it may take to connect.
    pub(crate) connect_timeout: Duration,
}

/// The kind of connection to a host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Connection {
    /// The target is this machine.
    Local,
    /// By ssh.
    Ssh(Box<SshConnection>),
    /// The target is a container.
    Docker {
        container: String,
        /// The user inside of the container.
        user: Option<String>,
    },
}

/// The settings of a connection by ssh.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct SshConnection {
    /// The program, if it is not `ssh`.
    pub(crate) program: String,
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    pub(crate) user: Option<String>,
    pub(crate) key: Option<String>,
    /// The user's own arguments, which take precedence over those that are generated.
    pub(crate) arguments: Vec<String>,
    /// Whether the key of the host has to be known.
    pub(crate) checks_host_key: bool,
    pub(crate) password: Option<Secret>,
}

/// Why a call returned no result.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum CallError {
    /// The host was not reached, or the connection was lost. Whether the module has run is unknown.
    #[error("{0}")]
    Unreachable(String),
    /// The call was cancelled, or ratchet itself failed.
    #[error("{}", .0.message)]
    Failed(Box<Failure>),
}

/// The workers of all targets.
///
/// The first call to a target starts its worker. Dropping this ends all workers.
pub(crate) struct Targets {
    manager: Arc<dyn ProcessManager>,
    workers: Mutex<HashMap<Target, Arc<OnceCell<TargetWorker>>>>,
}

impl Targets {
    /// Makes the targets of a run, whose processes this manager starts.
    pub(crate) fn new(manager: Arc<dyn ProcessManager>) -> Self {
        Self {
            manager,
            workers: Mutex::default(),
        }
    }

    /// Ends the worker of a target once it has no calls left. The next call connects again.
    pub(crate) async fn reset(&self, target: &Target) {
        let known = self
            .workers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(target);
        if let Some(worker) = known.as_ref().and_then(|cell| cell.get()) {
            worker.shutdown().await;
        }
    }

    /// Ends the workers of all targets, and returns when they have ended.
    #[cfg(test)]
    pub(crate) async fn shutdown(&self) {
        let workers =
            std::mem::take(&mut *self.workers.lock().unwrap_or_else(PoisonError::into_inner));
        let ends = workers.into_values().map(|cell| {
            tokio::spawn(async move {
                if let Some(worker) = cell.get() {
                    worker.shutdown().await;
                }
            })
        });
        let ends: Vec<_> = ends.collect();
        for end in ends {
            // An error means that the task panicked, which was reported where it happened.
            let _ = end.await;
        }
    }

    /// Returns the worker of a target, and starts it if there is none.
    async fn worker(&self, target: &Target) -> Result<Arc<OnceCell<TargetWorker>>, CallError> {
        let cell = {
            let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(workers.entry(target.clone()).or_default())
        };
        let start = || TargetWorker::start(target, Arc::clone(&self.manager));
        cell.get_or_try_init(start).await?;
        Ok(cell)
    }

    /// Removes a worker that could not be started, so that the next call tries again.
    fn forget(&self, target: &Target, worker: &Arc<OnceCell<TargetWorker>>) {
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        if workers
            .get(target)
            .is_some_and(|known| Arc::ptr_eq(known, worker))
        {
            workers.remove(target);
        }
    }
}

/// Returns a variable as text, if it has a value.
fn text_of(value: Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests;
