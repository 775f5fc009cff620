//! Hands: tasks that do one attempt after the other.
//!
//! A task of the runtime is an allocation, an entry in the runtime's list and a wake-up, which together cost
//! more than all else that becomes of a job that does nothing. So a task that has done its attempt waits for
//! the next one.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::attempt::{Attempted, Vigil};
use crate::scheduling::Ticket;

/// That an attempt is asked to stop. There is no token before somebody listens, which most never do.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked(Arc<OnceLock<CancellationToken>>);

impl Asked {
    pub(super) fn token(&self) -> &CancellationToken {
        self.0.get_or_init(CancellationToken::new)
    }

    pub(super) fn ask(&self) {
        self.token().cancel();
    }
}

impl From<CancellationToken> for Asked {
    fn from(token: CancellationToken) -> Self {
        Self(Arc::new(OnceLock::from(token)))
    }
}

/// What hands do: pieces of work, each of which ends under its vigil.
pub(super) trait Craft: Send + Sync + 'static {
    type Piece: Send + 'static;

    /// Which attempt a piece is.
    fn ticket(piece: &Self::Piece) -> Ticket;

    /// Does it. Dropping the future kills it, and has its vigil say so.
    fn work(&self, piece: Self::Piece) -> impl Future<Output = (Vigil, Attempted)> + Send;
}

/// All hands of a crew; dropping them kills what they do.
pub(super) struct Hands<C: Craft> {
    craft: Arc<C>,
    idle: Idle<C::Piece>,
    tasks: JoinSet<()>,
}

/// Those that have nothing to do.
type Idle<P> = Arc<Mutex<Vec<Arc<Hand<P>>>>>;

/// One of them, as its crew knows it.
pub(super) struct Hand<P> {
    desk: Mutex<Desk<P>>,
    changed: Notify,
}

struct Desk<P> {
    next: Option<P>,
    /// The attempt that was killed last.
    killed: Option<Ticket>,
}

impl<C: Craft> Hands<C> {
    pub(super) fn new(craft: C) -> Self {
        Self {
            craft: Arc::new(craft),
            idle: Arc::default(),
            tasks: JoinSet::new(),
        }
    }

    /// Has somebody do a piece of work.
    pub(super) fn give(&mut self, piece: C::Piece) -> Arc<Hand<C::Piece>> {
        let idle = lock(&self.idle).pop();
        let hand = idle.unwrap_or_else(|| self.hire());
        lock(&hand.desk).next = Some(piece);
        hand.changed.notify_one();
        hand
    }

    fn hire(&mut self) -> Arc<Hand<C::Piece>> {
        let hand = Arc::new(Hand {
            desk: Mutex::new(Desk {
                next: None,
                killed: None,
            }),
            changed: Notify::new(),
        });
        let (craft, idle) = (Arc::clone(&self.craft), Arc::clone(&self.idle));
        let theirs = Arc::clone(&hand);
        self.tasks.spawn(async move {
            loop {
                let piece = theirs.next().await;
                let ticket = C::ticket(&piece);
                // What is killed is dropped with this statement, and told of by its vigil.
                let done = tokio::select! {
                    biased;
                    done = craft.work(piece) => Some(done),
                    () = theirs.killed(ticket) => None,
                };
                // First, so that whoever hears of the end finds somebody idle.
                lock(&idle).push(Arc::clone(&theirs));
                if let Some((vigil, result)) = done {
                    vigil.end(result);
                }
            }
        });
        hand
    }
}

impl<P> Hand<P> {
    /// Ends this attempt, if it is still the one that is being done.
    pub(super) fn kill(&self, ticket: Ticket) {
        lock(&self.desk).killed = Some(ticket);
        self.changed.notify_one();
    }

    async fn next(&self) -> P {
        loop {
            if let Some(piece) = lock(&self.desk).next.take() {
                return piece;
            }
            // A notice that came in between is kept.
            self.changed.notified().await;
        }
    }

    async fn killed(&self, ticket: Ticket) {
        while lock(&self.desk).killed != Some(ticket) {
            self.changed.notified().await;
        }
    }
}

/// Each change under these locks leaves what they guard whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use ratchet_ipc::Payload;
    use tokio::sync::oneshot;

    use super::*;
    use crate::executor::crew::Report;
    use crate::executor::reporter::{Reporter, Reports};
    use crate::scheduling::{Request, Scheduler, Settings};

    /// Waits for what it is given.
    struct Waiting;

    impl Craft for Waiting {
        type Piece = (Ticket, Vigil, oneshot::Receiver<()>);

        fn ticket(piece: &Self::Piece) -> Ticket {
            piece.0
        }

        async fn work(&self, (_, vigil, go): Self::Piece) -> (Vigil, Attempted) {
            go.await.unwrap();
            (vigil, Ok(Payload::null()))
        }
    }

    struct Floor {
        hands: Hands<Waiting>,
        scheduler: Scheduler,
        reporter: Reporter,
        reports: Reports,
    }

    impl Floor {
        fn new() -> Self {
            let (reporter, reports) = Reporter::new();
            let now = tokio::time::Instant::now().into_std();
            Self {
                hands: Hands::new(Waiting),
                scheduler: Scheduler::new(Settings::default(), now).unwrap(),
                reporter,
                reports,
            }
        }

        fn give(
            &mut self,
        ) -> (
            Ticket,
            Arc<Hand<<Waiting as Craft>::Piece>>,
            oneshot::Sender<()>,
        ) {
            let now = tokio::time::Instant::now().into_std();
            let ticket = self.scheduler.push(Request::new("a"), now).unwrap();
            let (go, waits) = oneshot::channel();
            let vigil = Vigil::new(self.reporter.clone(), ticket);
            (ticket, self.hands.give((ticket, vigil, waits)), go)
        }

        /// The next attempt that ends, and whether it did well.
        async fn ended(&mut self) -> (Ticket, bool) {
            match self.reports.news.recv().await {
                Some(Report::Ended { ticket, result, .. }) => (ticket, result.is_ok()),
                other => panic!("{other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn one_hand_does_what_comes_one_by_one() {
        let mut floor = Floor::new();
        for _ in 0..100 {
            let (ticket, _, go) = floor.give();
            go.send(()).unwrap();
            assert_eq!(floor.ended().await, (ticket, true));
        }
        assert_eq!(floor.hands.tasks.len(), 1);
    }

    #[tokio::test]
    async fn only_the_attempt_that_is_meant_is_killed() {
        let mut floor = Floor::new();
        let (first, hand, go) = floor.give();
        go.send(()).unwrap();
        assert_eq!(floor.ended().await, (first, true));
        let (second, same, go) = floor.give();
        assert!(Arc::ptr_eq(&hand, &same));
        // Too late for the first, and nothing to the second.
        hand.kill(first);
        tokio::task::yield_now().await;
        go.send(()).unwrap();
        assert_eq!(floor.ended().await, (second, true));
        let (third, hand, _go) = floor.give();
        tokio::task::yield_now().await;
        hand.kill(third);
        assert_eq!(floor.ended().await, (third, false));
        let (fourth, _, go) = floor.give();
        go.send(()).unwrap();
        assert_eq!(floor.ended().await, (fourth, true));
        assert_eq!(floor.hands.tasks.len(), 1);
    }

    #[tokio::test]
    async fn one_that_falls_is_not_asked_again() {
        let mut floor = Floor::new();
        let (first, _, go) = floor.give();
        // Its work panics, outside of what contains panics.
        drop(go);
        assert_eq!(floor.ended().await, (first, false));
        let (second, _, go) = floor.give();
        go.send(()).unwrap();
        assert_eq!(floor.ended().await, (second, true));
    }

    #[tokio::test]
    async fn what_they_do_ends_with_them() {
        let mut floor = Floor::new();
        let (first, _, _go) = floor.give();
        tokio::task::yield_now().await;
        let (second, _, _never_begun) = floor.give();
        let Floor {
            hands, mut reports, ..
        } = floor;
        drop(hands);
        let mut ended = Vec::new();
        for _ in 0..2 {
            match reports.news.recv().await {
                Some(Report::Ended { ticket, .. }) => ended.push(ticket),
                other => panic!("{other:?}"),
            }
        }
        ended.sort();
        assert_eq!(ended, [first, second]);
    }
}
