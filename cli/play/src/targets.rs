//! Targets: the hosts on which modules run, each with a Python worker that is kept warm.
//!
//! ```text
//! Targets --call--> pool of one worker a target ==pipes== ssh ==== ratchet_ansible.py --fork--> module
//!                                                                     |
//!                                                                     '--sudo--> ratchet_ansible.py --fork--> module
//! ```
//!
//! The worker (`python/ratchet_ansible.py`) is started with its first call, through a shell on the host, and ends with the
//! pool. It is sent the bundles that it lacks, once. A host that is lost is reached again by the next call.

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

/// A host as modules reach it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    /// The name of the host in the inventory.
    pub(crate) name: String,
    pub(crate) connection: Connection,
    /// The Python of the host, with arguments if it has any. Without one, the host is searched for it.
    pub(crate) python: Option<String>,
    /// Where modules make temporary files on the host.
    pub(crate) remote_tmp: String,
    /// The shell that modules run commands with.
    pub(crate) shell: String,
    /// How long it may take to connect.
    pub(crate) connect_timeout: Duration,
}

/// How a host is reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Connection {
    /// It is this machine.
    Local,
    /// By ssh.
    Ssh(Box<SshConnection>),
    /// It is a container.
    Docker {
        container: String,
        /// The user within the container.
        user: Option<String>,
    },
}

/// How a host is reached by ssh.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct SshConnection {
    /// The program, if it is not `ssh`.
    pub(crate) program: String,
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    pub(crate) user: Option<String>,
    pub(crate) key: Option<String>,
    /// The user's own arguments, which count before those that are made here.
    pub(crate) arguments: Vec<String>,
    /// Whether the key of the host has to be known.
    pub(crate) checks_host_key: bool,
    pub(crate) password: Option<Secret>,
}

/// Why a call has no result.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum CallError {
    /// The host was not reached, or was lost. Whether the module has run is not known.
    #[error("{0}")]
    Unreachable(String),
    /// The call was cancelled, or something of ratchet itself failed.
    #[error("{}", .0.message)]
    Failed(Box<Failure>),
}

/// The workers of all targets.
///
/// They are started with the first call to each, and end with this.
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

    /// Ends the worker of a target once it has no call left. The next call connects again.
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
            // An error means that it panicked, which is told where it happened.
            let _ = end.await;
        }
    }

    /// The worker of a target, which is started if there is none.
    async fn worker(&self, target: &Target) -> Result<Arc<OnceCell<TargetWorker>>, CallError> {
        let cell = {
            let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(workers.entry(target.clone()).or_default())
        };
        let start = || TargetWorker::start(target, Arc::clone(&self.manager));
        cell.get_or_try_init(start).await?;
        Ok(cell)
    }

    /// Forgets a worker that could not be started, so that the next call tries again.
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

/// A variable as text, if it has a value.
fn text_of(value: Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests;
