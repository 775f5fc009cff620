use std::sync::Arc;

use tokio::sync::watch;

use super::Phase;
#[cfg(unix)]
use super::Signal;

/// Turns signals into the phases of a shutdown, and lets any number of tasks wait for a phase.
///
/// Each signal enters the next phase: the first drains, the second cancels, the third kills. Clones share one shutdown.
/// The coordinator does not watch the time: a [`PhaseClock`](super::PhaseClock) does that, in the loop that owns the
/// work.
///
/// ```
/// use ratchet_resilience::shutdown::{Phase, ShutdownCoordinator, Signal};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let coordinator = ShutdownCoordinator::new();
/// let waiting = coordinator.clone();
/// let task = tokio::spawn(async move {
///     waiting.reached(Phase::Draining).await;
///     "stopped after the job at hand"
/// });
///
/// // `Signals::recv` returns it when the user presses Ctrl-C.
/// assert_eq!(coordinator.signalled(Signal::Interrupt), Phase::Draining);
/// assert_eq!(task.await.unwrap(), "stopped after the job at hand");
/// assert_eq!(coordinator.first_signal(), Some(Signal::Interrupt));
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ShutdownCoordinator(Arc<watch::Sender<Progress>>);

/// The phase of the shutdown, and the signal that began it.
#[derive(Debug, Clone, Copy)]
struct Progress {
    phase: Phase,
    /// How many signals have arrived; there may be more signals than phases.
    signals: u64,
    /// `None` until a signal arrives.
    #[cfg(unix)]
    first: Option<Signal>,
}

impl ShutdownCoordinator {
    /// Makes a coordinator in the phase `Running`.
    #[expect(
        clippy::new_without_default,
        reason = "each coordinator is another shutdown, which `Default` does not suggest"
    )]
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Progress {
            phase: Phase::Running,
            signals: 0,
            #[cfg(unix)]
            first: None,
        })))
    }

    /// Enters the next phase because of a signal, and returns the current phase. In the last phase, it stays.
    #[cfg(unix)]
    pub fn signalled(&self, signal: Signal) -> Phase {
        let mut phase = Phase::Killing;
        // All waiters see a single change: the phase, the count and the first signal change under one lock.
        self.0.send_modify(|progress| {
            progress.phase = progress.phase.next().unwrap_or(Phase::Killing);
            progress.signals = progress.signals.saturating_add(1);
            progress.first.get_or_insert(signal);
            phase = progress.phase;
        });
        phase
    }

    /// Returns the phase that the signals have reached.
    pub fn phase(&self) -> Phase {
        self.0.borrow().phase
    }

    /// Returns the signal that began the shutdown.
    #[cfg(unix)]
    pub fn first_signal(&self) -> Option<Signal> {
        self.0.borrow().first
    }

    /// Waits until the shutdown has reached this phase or a later one. It is cancel safe.
    pub async fn reached(&self, phase: Phase) {
        self.wait_for(|progress| progress.phase >= phase).await;
    }

    /// Waits for the next signal after this call, even if that no longer changes the phase. It is cancel safe.
    pub fn next_signal(&self) -> impl Future<Output = ()> + Send + '_ {
        // The count is read here rather than at the first poll, so that no signal in between is missed.
        let seen = self.0.borrow().signals;
        self.wait_for(move |progress| progress.signals > seen)
    }

    async fn wait_for(&self, condition: impl FnMut(&Progress) -> bool + Send) {
        let mut progress = self.0.subscribe();
        #[expect(clippy::expect_used, reason = "`self` holds the sender")]
        progress
            .wait_for(condition)
            .await
            .expect("a watch channel stays open as long as its sender lives");
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn each_signal_enters_the_next_phase_and_the_last_phase_stays() {
        let coordinator = ShutdownCoordinator::new();
        assert_eq!(coordinator.phase(), Phase::Running);
        assert_eq!(coordinator.first_signal(), None);
        for (signal, phase) in [
            (Signal::Terminate, Phase::Draining),
            (Signal::Interrupt, Phase::Cancelling),
            (Signal::Interrupt, Phase::Killing),
            (Signal::Interrupt, Phase::Killing),
        ] {
            assert_eq!(coordinator.signalled(signal), phase);
            assert_eq!(coordinator.phase(), phase);
        }
        assert_eq!(coordinator.first_signal(), Some(Signal::Terminate));
    }

    #[tokio::test]
    async fn a_task_that_waits_for_a_phase_wakes_when_it_is_reached() {
        let coordinator = ShutdownCoordinator::new();
        coordinator.reached(Phase::Running).await;
        let waiting = coordinator.clone();
        let task = tokio::spawn(async move { waiting.reached(Phase::Cancelling).await });
        coordinator.signalled(Signal::Interrupt);
        tokio::task::yield_now().await;
        assert!(!task.is_finished());
        coordinator.signalled(Signal::Interrupt);
        task.await.unwrap();
        coordinator.reached(Phase::Draining).await;
    }

    #[tokio::test]
    async fn every_later_signal_wakes_a_task_that_waits_for_one() {
        let coordinator = ShutdownCoordinator::new();
        for _ in 0..5 {
            let next = coordinator.next_signal();
            coordinator.signalled(Signal::Terminate);
            next.await;
        }
    }
}
