use std::error::Error as StdError;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::{HookEnding, HookReport, Phase, now};

/// Why a hook could not do its work. Whatever the hook says; it only travels to the report.
pub type HookError = Box<dyn StdError + Send + Sync>;

/// Something to do on the way down: leave the load balancer, flush a file, remove a socket.
///
/// The `mock` feature has `MockShutdownHook`.
///
/// ```
/// use ratchet_resilience::shutdown::{HookError, Phase, ShutdownHook};
///
/// struct RemoveSocket(std::path::PathBuf);
///
/// #[async_trait::async_trait]
/// impl ShutdownHook for RemoveSocket {
///     fn name(&self) -> &str {
///         "remove the socket"
///     }
///     async fn run(&self, _phase: Phase) -> Result<(), HookError> {
///         tokio::task::yield_now().await;
///         Ok(std::fs::remove_file(&self.0)?)
///     }
/// }
/// ```
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait ShutdownHook: Send + Sync {
    /// What it is called in the report. Asked for once, when the hook is registered.
    fn name(&self) -> &str;

    /// Does it. Dropped at the deadline, and when the next phase begins. What blocks its thread cannot be dropped, and
    /// holds up everything in a runtime of one thread: put that into `tokio::task::spawn_blocking`.
    async fn run(&self, phase: Phase) -> Result<(), HookError>;
}

/// When a hook is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HookPoint {
    /// As draining begins, beside the running tasks. Draining lasts at least as long as its hooks.
    Draining,
    /// As cancelling begins, if it comes to that.
    Cancelling,
    /// As killing begins, if it comes to that.
    Killing,
    /// After all tasks have ended or were given up, whatever phase that took. No phase ends these hooks, only
    /// their deadlines.
    End,
}

impl HookPoint {
    pub(super) fn of(phase: Phase) -> Option<Self> {
        match phase {
            Phase::Running => None,
            Phase::Draining => Some(Self::Draining),
            Phase::Cancelling => Some(Self::Cancelling),
            Phase::Killing => Some(Self::Killing),
        }
    }
}

/// A hook with its place and its deadline.
pub(super) struct Registered {
    pub(super) hook: Arc<dyn ShutdownHook>,
    pub(super) name: String,
    pub(super) point: HookPoint,
    pub(super) deadline: Duration,
}

impl Registered {
    /// Runs the hook in a task of its own, so that its panic is not ours.
    pub(super) async fn run(&self, phase: Phase, next_phase: &CancellationToken) -> HookReport {
        if next_phase.is_cancelled() {
            return self.skipped();
        }
        let started = now();
        let hook = Arc::clone(&self.hook);
        let task = AbortOnDropHandle::new(tokio::spawn(async move { hook.run(phase).await }));
        let ending = tokio::select! {
            biased;
            joined = task => match joined {
                Ok(Ok(())) => HookEnding::Done,
                Ok(Err(error)) => HookEnding::Failed(error),
                Err(stopped) if stopped.is_panic() => HookEnding::Panicked,
                // Only the end of the runtime does that.
                Err(_) => HookEnding::Interrupted,
            },
            () = next_phase.cancelled() => HookEnding::Interrupted,
            () = tokio::time::sleep(self.deadline) => HookEnding::TimedOut,
        };
        if !matches!(ending, HookEnding::Done) {
            tracing::warn!(hook = %self.name, "shutdown hook {ending}");
        }
        self.report(ending, started)
    }

    pub(super) fn skipped(&self) -> HookReport {
        self.report(HookEnding::Skipped, now())
    }

    fn report(&self, ending: HookEnding, started: Instant) -> HookReport {
        let took = now().saturating_duration_since(started);
        HookReport {
            name: self.name.clone(),
            point: self.point,
            ending,
            took,
        }
    }
}
