//! A job that somebody runs on a pool without an executor.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::Command;
use crate::executor::crew::Stop;
use crate::job::Job;
use crate::outcome::{Class, Failure};
use crate::scheduling::Kind;
use crate::worker::Reply;
use crate::worker::orders::{Key, ReplyTo, Work};

/// What one that nobody waits for any more gets before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// A job under way. Dropped before its end, it is cancelled.
pub(in crate::process) struct Call<'a> {
    number: u64,
    supervisor: &'a mpsc::UnboundedSender<Command>,
    answered: bool,
}

impl<'a> Call<'a> {
    pub(in crate::process) async fn make(
        supervisor: &'a mpsc::UnboundedSender<Command>,
        kind: Kind,
        to: Option<u64>,
        job: Job,
    ) -> Reply {
        // Only uniqueness matters, no order with anything else.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let (reply, replied) = oneshot::channel();
        let work = Work {
            job: Arc::new(job),
            number: 1,
            ahead: false,
            reply: ReplyTo::Caller {
                call: number,
                reply,
            },
        };
        if supervisor.send(Command::Work(kind, to, work)).is_err() {
            return Reply::failed(gone());
        }
        let mut call = Self {
            number,
            supervisor,
            answered: false,
        };
        let reply = replied.await;
        call.answered = true;
        reply.unwrap_or_else(|_| Reply::failed(gone()))
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.answered {
            let stop = Stop::Ask { grace: GRACE };
            // A supervisor that is gone has stopped everything.
            let _ = self
                .supervisor
                .send(Command::Stop(Key::Call(self.number), stop));
        }
    }
}

impl Reply {
    pub(in crate::process) fn failed(failure: Failure) -> Self {
        Self {
            result: Err(Box::new(failure)),
            worker: None,
            ran: Duration::ZERO,
        }
    }
}

fn gone() -> Failure {
    Failure::new(Class::Cancelled, "the workers' supervisor has ended")
}

/// There is nobody to do it.
pub(super) fn without_supervisor(work: Work) {
    work.answer(Err(Box::new(gone())), None, Duration::ZERO, None);
}

/// The leased worker is no more.
pub(super) fn without_worker(work: Work) {
    let failure = Failure::new(Class::Crash, "the leased worker has ended");
    work.answer(Err(Box::new(failure)), None, Duration::ZERO, None);
}
