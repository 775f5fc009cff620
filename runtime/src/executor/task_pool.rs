//! A pool of tasks, each of which performs one attempt after another.
//!
//! Starting a task of the runtime costs an allocation, an entry in the list of tasks and a wake-up. For a job that does
//! nothing, that is more than all its other costs together. So a task that has performed its attempt waits for the next
//! one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::attempt::{AttemptGuard, AttemptResult};
use crate::ids::Ticket;

/// Performs attempts on the tasks of a pool. The guard of each attempt reports its end.
pub(super) trait Perform: Send + Sync + 'static {
    /// An attempt, with everything that performing it needs.
    type Attempt: Send + 'static;

    /// Returns the ticket of an attempt.
    fn ticket(attempt: &Self::Attempt) -> Ticket;

    /// Performs an attempt. Dropping the future kills the attempt, and its guard reports that.
    fn perform(
        &self,
        attempt: Self::Attempt,
    ) -> impl Future<Output = (AttemptGuard, AttemptResult)> + Send;
}

/// A pool of tasks that perform attempts. Dropping the pool kills the attempts.
pub(super) struct TaskPool<P: Perform> {
    performer: Arc<P>,
    /// The tasks that wait for another attempt, so that none has to be started for it.
    idle: IdleTasks<P::Attempt>,
    tasks: JoinSet<()>,
}

/// The tasks that have nothing to do.
type IdleTasks<A> = Arc<Mutex<Vec<Arc<TaskHandle<A>>>>>;

/// A task, as its pool knows it.
pub(super) struct TaskHandle<A> {
    inbox: Mutex<TaskInbox<A>>,
    /// Wakes the task when its inbox has changed.
    changed: Notify,
}

/// What a task has to do next.
struct TaskInbox<A> {
    /// The attempt that the task takes next; `None` while it performs one or is idle.
    next: Option<A>,
    /// The attempt that was killed last.
    killed: Option<Ticket>,
}

impl<P: Perform> TaskPool<P> {
    /// Makes a pool without tasks. A task is started when an attempt finds none idle.
    pub(super) fn new(performer: P) -> Self {
        Self {
            performer: Arc::new(performer),
            idle: Arc::default(),
            tasks: JoinSet::new(),
        }
    }

    /// Gives an attempt to an idle task, or to a new one.
    pub(super) fn give(&mut self, attempt: P::Attempt) -> Arc<TaskHandle<P::Attempt>> {
        let idle = lock(&self.idle).pop();
        let task = idle.unwrap_or_else(|| self.spawn());
        lock(&task.inbox).next = Some(attempt);
        task.changed.notify_one();
        task
    }

    /// Spawns a task that performs one attempt after the other, and is idle in between.
    fn spawn(&mut self) -> Arc<TaskHandle<P::Attempt>> {
        let task = Arc::new(TaskHandle {
            inbox: Mutex::new(TaskInbox {
                next: None,
                killed: None,
            }),
            changed: Notify::new(),
        });
        let (performer, idle) = (Arc::clone(&self.performer), Arc::clone(&self.idle));
        let theirs = Arc::clone(&task);
        self.tasks.spawn(async move {
            loop {
                let attempt = theirs.next().await;
                let ticket = P::ticket(&attempt);
                // A killed attempt is dropped with this statement, and its guard reports that.
                let done = tokio::select! {
                    biased;
                    done = performer.perform(attempt) => Some(done),
                    () = theirs.killed(ticket) => None,
                };
                // The task becomes idle before the report, so that whoever reads of the end finds it idle.
                lock(&idle).push(Arc::clone(&theirs));
                if let Some((guard, result)) = done {
                    guard.end(result);
                }
            }
        });
        task
    }
}

impl<A> TaskHandle<A> {
    /// Kills this attempt, if the task still performs it.
    pub(super) fn kill(&self, ticket: Ticket) {
        lock(&self.inbox).killed = Some(ticket);
        self.changed.notify_one();
    }

    /// Waits for the next attempt.
    async fn next(&self) -> A {
        loop {
            if let Some(attempt) = lock(&self.inbox).next.take() {
                return attempt;
            }
            // A notification that came between the check and here is kept, so none is lost.
            self.changed.notified().await;
        }
    }

    /// Waits until this attempt is killed.
    async fn killed(&self, ticket: Ticket) {
        while lock(&self.inbox).killed != Some(ticket) {
            self.changed.notified().await;
        }
    }
}

/// Locks a mutex. A poisoned lock is used all the same, because each change under these locks leaves the value
/// consistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use ratchet_ipc::Payload;
    use tokio::sync::oneshot;

    use super::*;
    use crate::dispatch::{Report, ReportReceiver, Reporter};
    use crate::scheduling::{Scheduler, SchedulerRequest, SchedulerSettings};

    /// Waits for what it is given.
    struct Waiting;

    impl Perform for Waiting {
        type Attempt = (Ticket, AttemptGuard, oneshot::Receiver<()>);

        fn ticket(attempt: &Self::Attempt) -> Ticket {
            attempt.0
        }

        async fn perform(&self, (_, guard, go): Self::Attempt) -> (AttemptGuard, AttemptResult) {
            go.await.unwrap();
            (guard, Ok(Payload::null()))
        }
    }

    struct Scene {
        pool: TaskPool<Waiting>,
        scheduler: Scheduler,
        reporter: Reporter,
        reports: ReportReceiver,
    }

    impl Scene {
        fn new() -> Self {
            let (reporter, reports) = Reporter::new();
            let now = tokio::time::Instant::now().into_std();
            Self {
                pool: TaskPool::new(Waiting),
                scheduler: Scheduler::new(SchedulerSettings::default(), now).unwrap(),
                reporter,
                reports,
            }
        }

        fn give(
            &mut self,
        ) -> (
            Ticket,
            Arc<TaskHandle<<Waiting as Perform>::Attempt>>,
            oneshot::Sender<()>,
        ) {
            let now = tokio::time::Instant::now().into_std();
            let ticket = self
                .scheduler
                .push(SchedulerRequest::new("a"), now)
                .unwrap();
            let (go, waits) = oneshot::channel();
            let guard = AttemptGuard::new(self.reporter.clone(), ticket);
            (ticket, self.pool.give((ticket, guard, waits)), go)
        }

        /// Returns the next attempt that ends, and whether it did well.
        async fn ended(&mut self) -> (Ticket, bool) {
            match self.reports.reports.recv().await {
                Some(Report::Ended { ticket, result, .. }) => (ticket, result.is_ok()),
                other => panic!("{other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn one_task_performs_attempts_that_come_one_by_one() {
        let mut scene = Scene::new();
        for _ in 0..100 {
            let (ticket, _, go) = scene.give();
            go.send(()).unwrap();
            assert_eq!(scene.ended().await, (ticket, true));
        }
        assert_eq!(scene.pool.tasks.len(), 1);
    }

    #[tokio::test]
    async fn only_the_attempt_that_is_meant_is_killed() {
        let mut scene = Scene::new();
        let (first, task, go) = scene.give();
        go.send(()).unwrap();
        assert_eq!(scene.ended().await, (first, true));
        let (second, same, go) = scene.give();
        assert!(Arc::ptr_eq(&task, &same));
        // Too late for the first, and nothing to the second.
        task.kill(first);
        tokio::task::yield_now().await;
        go.send(()).unwrap();
        assert_eq!(scene.ended().await, (second, true));
        let (third, task, _go) = scene.give();
        tokio::task::yield_now().await;
        task.kill(third);
        assert_eq!(scene.ended().await, (third, false));
        let (fourth, _, go) = scene.give();
        go.send(()).unwrap();
        assert_eq!(scene.ended().await, (fourth, true));
        assert_eq!(scene.pool.tasks.len(), 1);
    }

    #[tokio::test]
    async fn a_task_that_panicked_gets_no_other_attempt() {
        let mut scene = Scene::new();
        let (first, _, go) = scene.give();
        // Its work panics, outside of what contains panics.
        drop(go);
        assert_eq!(scene.ended().await, (first, false));
        let (second, _, go) = scene.give();
        go.send(()).unwrap();
        assert_eq!(scene.ended().await, (second, true));
    }

    #[tokio::test]
    async fn attempts_end_with_the_pool() {
        let mut scene = Scene::new();
        let (first, _, _go) = scene.give();
        tokio::task::yield_now().await;
        let (second, _, _never_begun) = scene.give();
        let Scene {
            pool, mut reports, ..
        } = scene;
        drop(pool);
        let mut ended = Vec::new();
        for _ in 0..2 {
            match reports.reports.recv().await {
                Some(Report::Ended { ticket, .. }) => ended.push(ticket),
                other => panic!("{other:?}"),
            }
        }
        ended.sort();
        assert_eq!(ended, [first, second]);
    }
}
