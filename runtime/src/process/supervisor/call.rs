//! Calls: jobs that a caller runs on a pool without an executor.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::{Command, PoolId};
use crate::dispatch::{Assignment, AttemptKey, Reply, ReplyTo, WorkerNumber};
use crate::job::{Job, Work};
use crate::outcome::{Class, Failure};

/// A call that waits for its reply. Dropping it cancels the job.
pub(in crate::process) struct Call<'a> {
    pool: PoolId,
    /// The number by which the supervisor identifies the call.
    number: u64,
    supervisor: &'a mpsc::UnboundedSender<Command>,
    /// The reply has come, so dropping this cancels nothing.
    answered: bool,
}

impl<'a> Call<'a> {
    /// Sends a job to the pool, or to one worker of it, and waits for the reply.
    pub(in crate::process) async fn make(
        supervisor: &'a mpsc::UnboundedSender<Command>,
        pool: PoolId,
        to: Option<WorkerNumber>,
        job: Job,
    ) -> Reply {
        // Relaxed: the number has to be unique, and orders nothing.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        if !matches!(job.work, Work::Task { .. }) {
            let message = "a pool performs tasks only, and this job is a command or a closure";
            return Reply::failed(Failure::new(Class::Input, message));
        }
        let (reply, replied) = oneshot::channel();
        let assignment = Assignment {
            job: Arc::new(job),
            attempt: 1,
            ahead: false,
            slot: None,
            resources: None,
            trace: None,
            reply: ReplyTo::Caller {
                call: number,
                reply,
            },
        };
        if supervisor
            .send(Command::Perform(pool, to, assignment))
            .is_err()
        {
            return Reply::failed(supervisor_ended());
        }
        let mut call = Self {
            pool,
            number,
            supervisor,
            answered: false,
        };
        let reply = replied.await;
        call.answered = true;
        reply.unwrap_or_else(|_| {
            Reply::failed(if supervisor.is_closed() {
                supervisor_ended()
            } else {
                // A call is dropped without a reply only if the connection panics.
                Failure::new(
                    Class::Crash,
                    "the connection to the worker broke, which is a bug in ratchet",
                )
            })
        })
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.answered {
            // An error means that the supervisor has ended, and every worker with it.
            let _ = self
                .supervisor
                .send(Command::Stop(self.pool, AttemptKey::Call(self.number)));
        }
    }
}

/// Makes the failure for a caller whose supervisor has ended.
pub(in crate::process) fn supervisor_ended() -> Failure {
    Failure::new(Class::Cancelled, "the workers' supervisor has ended")
}

/// Fails a call whose leased worker has ended.
pub(super) fn fail_without_worker(assignment: Assignment) {
    let failure = Failure::new(Class::Crash, "the leased worker has ended");
    assignment.answer(Err(Box::new(failure)), None, Duration::ZERO, None);
}
