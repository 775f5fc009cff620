use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::hook::Registered;
use super::tasks::Shared;
use super::{Grace, HookPoint, HookReport, Phase, PhaseClock, ShutdownHook, ShutdownReport, now};
use crate::Error;
use crate::check::check_duration;

/// Takes a program down through the [phases](super), and reports what became of everything.
///
/// The coordinator itself stays with whoever waits for the end; its [handles](ShutdownHandle) go wherever tasks are
/// spawned or a shutdown is asked for.
pub struct ShutdownCoordinator {
    shared: Arc<Shared>,
    hooks: Vec<Registered>,
}

/// Spawns tracked tasks, tells the phase and asks for the next. Clones are the same.
#[derive(Debug, Clone)]
pub struct ShutdownHandle(Arc<Shared>);

impl ShutdownCoordinator {
    /// Starts with the default grace and no hooks.
    pub fn builder() -> ShutdownCoordinatorBuilder {
        ShutdownCoordinatorBuilder {
            grace: Grace::default(),
            hooks: Vec::new(),
        }
    }

    /// A handle to pass on.
    pub fn handle(&self) -> ShutdownHandle {
        ShutdownHandle(Arc::clone(&self.shared))
    }

    /// Waits until somebody advances the phase, then sees the shutdown through to its end.
    ///
    /// Not cancel safe: dropping it leaves the shutdown where it is, its tasks running and its hooks not run.
    pub async fn run(self) -> ShutdownReport {
        if let Some(draining) = self.shared.begun(Phase::Draining) {
            draining.cancelled().await;
        }
        let started = now();
        self.shared.tracker.close();
        let mut hooks = Vec::new();
        let mut before = Phase::Running;
        let reached = loop {
            let phase = self.shared.clock().phase();
            self.skip_hooks_between(before, phase, &mut hooks);
            if self.stay_in(phase, &mut hooks).await {
                break phase;
            }
            before = phase;
        };
        // What the tasks became is settled before the last hooks run, which may take their time.
        let tasks = self.shared.take_reports();
        self.run_hooks(
            HookPoint::End,
            reached,
            &CancellationToken::new(),
            &mut hooks,
        )
        .await;
        let took = now().saturating_duration_since(started);
        ShutdownReport {
            reached,
            took,
            tasks,
            hooks,
        }
    }

    /// Waits for the tasks and hooks of a phase, and says whether that was the last phase needed.
    async fn stay_in(&self, phase: Phase, hooks: &mut Vec<HookReport>) -> bool {
        let next = phase
            .next()
            .and_then(|next| self.shared.begun(next))
            .cloned();
        // The last phase has no next, but it has a deadline.
        let next = next.unwrap_or_default();
        let run_hooks_and_tasks = async {
            if let Some(point) = HookPoint::of(phase) {
                self.run_hooks(point, phase, &next, hooks).await;
            }
            // The tasks ran beside the hooks. Those that the hooks spawned are waited for as well.
            tokio::select! {
                biased;
                () = self.shared.tracker.wait() => true,
                () = next.cancelled() => false,
            }
        };
        let watch_the_time = async {
            while let Some(deadline) = self.shared.clock().deadline()
                && !next.is_cancelled()
            {
                tokio::time::sleep_until(deadline.into()).await;
                match phase {
                    Phase::Killing => next.cancel(),
                    _ => self.shared.turn(|clock| clock.poll(now())),
                }
            }
            // What waits for the next phase above takes it from here.
            std::future::pending::<()>().await;
        };
        let all_ended = tokio::select! {
            biased;
            all_ended = run_hooks_and_tasks => all_ended,
            () = watch_the_time => false,
        };
        phase == Phase::Killing || all_ended && !next.is_cancelled()
    }

    async fn run_hooks(
        &self,
        point: HookPoint,
        phase: Phase,
        next_phase: &CancellationToken,
        reports: &mut Vec<HookReport>,
    ) {
        for hook in self.hooks.iter().filter(|hook| hook.point == point) {
            reports.push(hook.run(phase, next_phase).await);
        }
    }

    fn skip_hooks_between(&self, before: Phase, phase: Phase, reports: &mut Vec<HookReport>) {
        let (before, point) = (HookPoint::of(before), HookPoint::of(phase));
        let mut skipped: Vec<_> = self.hooks.iter().collect();
        skipped.retain(|hook| Some(hook.point) > before && Some(hook.point) < point);
        skipped.sort_by_key(|hook| hook.point);
        reports.extend(skipped.into_iter().map(Registered::skipped));
    }
}

impl fmt::Debug for ShutdownCoordinator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShutdownCoordinator")
            .field("clock", &self.shared.clock())
            .finish_non_exhaustive()
    }
}

impl ShutdownHandle {
    /// Spawns a task that a shutdown waits for, asks to stop through [`token`](Self::token), and aborts at last.
    ///
    /// Draining does not refuse new tasks, since finishing work may need some; killing aborts them at once. When the
    /// last task has ended the shutdown is over: what is spawned after it, by an [`End`](HookPoint::End) hook for
    /// instance, is not waited for.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, as `tokio::spawn` does.
    pub fn spawn<F>(&self, name: impl Into<String>, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let guard = self.0.register(name.into());
        let id = guard.id;
        let handle = self.0.tracker.spawn(async move {
            let output = future.await;
            guard.returned();
            output
        });
        self.0.adopt(id, &handle);
        handle
    }

    /// Spawns blocking work that a shutdown waits for. Once started it cannot be aborted: if it does not look at
    /// `token(..).is_cancelled()` by itself it is reported as unanswered.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, as `tokio::task::spawn_blocking` does.
    pub fn spawn_blocking<T: Send + 'static>(
        &self,
        name: impl Into<String>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let guard = self.0.register(name.into());
        let id = guard.id;
        let handle = self.0.tracker.spawn_blocking(move || {
            let output = work();
            guard.returned();
            output
        });
        self.0.adopt(id, &handle);
        handle
    }

    /// The phase the shutdown is in.
    pub fn phase(&self) -> Phase {
        self.0.clock().phase()
    }

    /// A token that is cancelled as soon as this phase, or a later one, begins. It is a child: cancelling it yourself
    /// is heard by nobody else.
    pub fn token(&self, phase: Phase) -> CancellationToken {
        if let Some(token) = self.0.begun(phase) {
            return token.child_token();
        }
        let begun = CancellationToken::new();
        begun.cancel();
        begun
    }

    /// Goes on to the next phase at once; nothing happens in the last.
    pub fn advance(&self) {
        self.0.turn(|clock| clock.advance(now()));
    }

    /// Goes on to this phase at once, over those between; nothing happens if it is not a later one.
    pub fn advance_to(&self, phase: Phase) {
        self.0.turn(|clock| clock.advance_to(phase, now()));
    }
}

/// Sets up a [`ShutdownCoordinator`].
#[must_use = "nothing is checked or made before `build`"]
pub struct ShutdownCoordinatorBuilder {
    grace: Grace,
    hooks: Vec<Registered>,
}

impl ShutdownCoordinatorBuilder {
    /// How long each phase may last.
    pub fn grace(mut self, grace: Grace) -> Self {
        self.grace = grace;
        self
    }

    /// Adds a hook. Hooks of one point run one after the other in the order they were added, each up to its deadline
    /// (1 ms and more). One that fails, panics or is late does not keep the next from running.
    pub fn hook(
        mut self,
        point: HookPoint,
        deadline: Duration,
        hook: impl ShutdownHook + 'static,
    ) -> Self {
        let name = hook.name().to_owned();
        self.hooks.push(Registered {
            hook: Arc::new(hook),
            name,
            point,
            deadline,
        });
        self
    }

    /// The coordinator, or the setting that makes no sense.
    pub fn build(self) -> Result<ShutdownCoordinator, Error> {
        for hook in &self.hooks {
            check_duration("hook deadline", hook.deadline, Duration::from_millis(1))?;
        }
        let shared = Arc::new(Shared::new(PhaseClock::new(self.grace)?));
        Ok(ShutdownCoordinator {
            shared,
            hooks: self.hooks,
        })
    }
}

impl fmt::Debug for ShutdownCoordinatorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShutdownCoordinatorBuilder")
            .field("grace", &self.grace)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
