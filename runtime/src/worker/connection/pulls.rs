//! Brings files back from the work folder of a worker after an answer, before the attempt ends.

use std::sync::Arc;

use ratchet_ipc::Payload;

use super::{RunningWorker, now};
use crate::error_chain;
use crate::job::Work;
use crate::os::{ProcessError, check_made};
use crate::outcome::{Class, Failure};

/// The result of a pull, with the id of the request and the answer to it.
pub(super) type Pulled = (u64, Payload, Result<(), ProcessError>);

impl RunningWorker {
    /// Starts to pull the files of an attempt that the worker has answered with this result. Returns the result if the
    /// attempt has no files.
    ///
    /// The attempt is still in flight while its files come, so its timeouts count on, and a stop ends it.
    pub(super) fn start_pull(&mut self, id: u64, result: Payload) -> Option<Payload> {
        let folder = self.process.shared_folder();
        let entry = self.jobs.get_mut(id);
        let Some((entry, files)) = entry.and_then(|entry| match &entry.assignment.job.work {
            Work::Task {
                pull: Some(files), ..
            } => {
                let files = Arc::clone(files);
                Some((entry, files))
            }
            _ => None,
        }) else {
            return Some(result);
        };
        entry.is_pulling = true;
        self.pulls.spawn(async move {
            let pulled = match folder {
                Some(folder) => folder.pull(&files).await,
                // It runs on this machine, where files stay where they are.
                None => check_made(&files).map_err(ProcessError::from),
            };
            (id, result, pulled)
        });
        None
    }

    /// Ends the attempt whose files have come, or have not.
    pub(super) fn finish_pull(&mut self, (id, result, pulled): Pulled) {
        let Some(entry) = self.jobs.remove(id) else {
            return; // The attempt has ended meanwhile.
        };
        let result = pulled.map(|()| result).map_err(|error| {
            let class = match error {
                ProcessError::HostLost { .. } => Class::Host,
                _ => Class::Transfer,
            };
            Box::new(Failure::new(class, error_chain(&error)))
        });
        self.settle(entry, result, now());
    }

    /// Waits for the files of attempts that the worker had answered before it ended.
    pub(super) async fn finish_pulls(&mut self) {
        while let Some(pulled) = self.pulls.join_next().await {
            self.finish_pull(joined(pulled));
        }
    }
}

/// Returns the result of a pull that has ended.
#[expect(
    clippy::expect_used,
    reason = "a pull that panics is a bug, and its attempt would never end"
)]
pub(super) fn joined(pulled: Result<Pulled, tokio::task::JoinError>) -> Pulled {
    pulled.expect("a pull neither panics nor is aborted")
}
