//! The context of an attempt that runs in this process: what the attempt can read and report.

mod output;
mod progress;
mod stop_signal;
mod variables;

use std::sync::Arc;

use ratchet_ipc::{HostName, JobKey};
use tokio_util::sync::CancellationToken;

use crate::ids::{PlaceName, SlotNumber, Ticket};
use crate::os::{CommandEnd, ProcessConfig, Stream};
use crate::scheduling::ResourceShare;
use crate::trace_context::TraceParent;
pub(crate) use output::AttemptOutput;
pub(crate) use progress::LastProgress;
pub(crate) use stop_signal::StopSignal;
pub use variables::{ATTEMPT_VARIABLES, RUN_ID_VARIABLE};
pub(crate) use variables::{AttemptFacts, Variables};

/// A report of the progress of an attempt.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Step {
    /// How much of the work is done, in any unit.
    pub done: Option<f64>,
    /// How much work there is, in the same unit.
    pub total: Option<f64>,
    /// The current activity of the attempt, as text for people.
    pub message: Option<String>,
}

/// Receives the steps of the attempts of a run.
pub(crate) trait StepListener: Send + Sync {
    /// Receives a step of the attempt with this ticket.
    fn step(&self, ticket: Ticket, step: Step);
}

/// The job of an attempt, as its context sees it. The job type itself is defined in a module above this one.
pub(crate) trait Subject: Send + Sync {
    /// Returns the id of the job.
    fn job_id(&self) -> &JobKey;
    /// Returns the host that the job names.
    fn host(&self) -> Option<&HostName>;
}

/// What an attempt can read and report while it runs. A runner and a closure get a context for each attempt.
#[derive(Clone)]
pub struct Context {
    /// The number of the attempt, from 1 on.
    attempt: u32,
    /// The job and its host, if the attempt is one of a run.
    subject: Option<Arc<dyn Subject>>,
    /// Signals the attempt to stop.
    stop: StopSignal,
    /// Receives the steps of the attempt.
    listener: Listener,
    /// Keeps the output of the attempt, if the run keeps it.
    output: Option<Arc<AttemptOutput>>,
    /// The place where the attempt is to run; `None` for the machine of the executor.
    place: Option<PlaceName>,
    /// The first slot that the attempt holds.
    slot: Option<SlotNumber>,
    /// The attempt's shares of resources.
    resources: Option<Arc<[ResourceShare]>>,
    /// The span of the attempt, if the run is traced.
    trace: Option<TraceParent>,
    /// The environment variables that describe the attempt to a command.
    variables: Variables,
}

/// The receiver of an attempt's steps.
#[derive(Clone)]
enum Listener {
    /// A function of the caller that made the context.
    Anybody(Arc<dyn Fn(Step) + Send + Sync>),
    /// The run that the attempt belongs to. Its listener is shared, so that no attempt allocates for steps, which most
    /// attempts never report.
    Run {
        listener: Arc<dyn StepListener>,
        ticket: Ticket,
        last_progress: Option<Arc<LastProgress>>,
    },
}

impl Context {
    /// Makes a context that passes steps to `tell`.
    pub fn new(
        attempt: u32,
        cancelled: CancellationToken,
        tell: impl Fn(Step) + Send + Sync + 'static,
    ) -> Self {
        Self {
            attempt,
            subject: None,
            stop: cancelled.into(),
            listener: Listener::Anybody(Arc::new(tell)),
            output: None,
            place: None,
            slot: None,
            resources: None,
            trace: None,
            variables: Variables::new(),
        }
    }

    /// Makes a context whose steps go to a run, and restart the idle timeout of the attempt if it has one.
    pub(crate) fn of_attempt(
        attempt: u32,
        stop: StopSignal,
        listener: Arc<dyn StepListener>,
        ticket: Ticket,
        last_progress: Option<Arc<LastProgress>>,
        output: Option<Arc<AttemptOutput>>,
    ) -> Self {
        Self {
            attempt,
            subject: None,
            stop,
            listener: Listener::Run {
                listener,
                ticket,
                last_progress,
            },
            output,
            place: None,
            slot: None,
            resources: None,
            trace: None,
            variables: Variables::new(),
        }
    }

    /// Sets the job of the attempt.
    #[must_use]
    pub(crate) fn with_subject(mut self, subject: Arc<dyn Subject>) -> Self {
        self.subject = Some(subject);
        self
    }

    /// Sets where the attempt is to run.
    #[must_use]
    pub(crate) fn at(mut self, place: Option<PlaceName>) -> Self {
        self.place = place;
        self
    }

    /// Sets the slot that the attempt holds.
    #[must_use]
    pub(crate) fn in_slot(mut self, slot: Option<SlotNumber>) -> Self {
        self.slot = slot;
        self
    }

    /// Sets the attempt's shares of resources.
    #[must_use]
    pub(crate) fn with_resources(mut self, resources: Option<Arc<[ResourceShare]>>) -> Self {
        self.resources = resources;
        self
    }

    /// Sets the span of the attempt.
    #[must_use]
    pub(crate) fn traced_as(mut self, trace: Option<TraceParent>) -> Self {
        self.trace = trace;
        self
    }

    /// Sets the environment variables that describe the attempt to a command.
    #[must_use]
    pub(crate) fn with_variables(mut self, variables: Variables) -> Self {
        self.variables = variables;
        self
    }

    /// Returns the first slot that the attempt holds. An attempt of a runner or a closure in a run always has one.
    pub fn slot(&self) -> Option<SlotNumber> {
        self.slot
    }

    /// Returns the span of the attempt, within which the spans of what it does belong, if the run is traced.
    pub fn trace_parent(&self) -> Option<TraceParent> {
        self.trace
    }

    /// Returns the attempt's shares of the resources that its job takes.
    pub fn resources(&self) -> &[ResourceShare] {
        self.resources.as_deref().unwrap_or_default()
    }

    /// Returns the attempt's share of the resource of this name, if its job takes some.
    pub fn resource(&self, name: &str) -> Option<&ResourceShare> {
        let mut shares = self.resources().iter();
        shares.find(|share| share.name() == name)
    }

    /// Returns the command with environment variables that describe this attempt: [`ATTEMPT_VARIABLES`], and one for
    /// each resource of which the attempt has a share. Variables that the command itself declares are kept, except that
    /// `${NAME}` in their values is replaced by the share of that resource. It is for runners of commands.
    pub fn command_with_variables(&self, config: &ProcessConfig) -> ProcessConfig {
        variables::with_variables(config, &self.variables, self.resources())
    }

    /// Returns the place where the attempt is to run; `None` for the machine of the executor. It is for runners of
    /// commands.
    pub fn place(&self) -> Option<&PlaceName> {
        self.place.as_ref()
    }

    /// Returns the number of the attempt. The first attempt at a job is 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Returns the id of the job. An attempt in a run always has one; a context that was made by [`new`](Self::new) has
    /// none.
    pub fn job_id(&self) -> Option<&JobKey> {
        self.subject.as_ref().map(|subject| subject.job_id())
    }

    /// Returns the machine, tenant or other place that the job names as its host, if it names one.
    pub fn host(&self) -> Option<&HostName> {
        self.subject.as_ref()?.host()
    }

    /// Waits until the attempt is asked to stop. An attempt that continues regardless is killed after the grace.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ratchet_runtime::{Class, Executor, Failure, Job, Terms, Timeouts};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), ratchet_runtime::Error> {
    /// let limit = Terms { timeouts: Timeouts::after(Duration::from_secs(1)), ..Terms::default() };
    /// let job = Job::closure("wait", |context| async move {
    ///     tokio::select! {
    ///         () = tokio::time::sleep(Duration::from_secs(60)) => Ok("slept"),
    ///         () = context.cancelled() => Err(Failure::new(Class::Cancelled, "woken")),
    ///     }
    /// });
    /// let outcomes = Executor::builder().build()?.run_all([job.terms(limit)]).await?;
    /// assert_eq!(outcomes[0].failure().unwrap().class, Class::Timeout);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safe.
    pub async fn cancelled(&self) {
        self.stop.token().cancelled().await;
    }

    /// Whether the attempt was asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.stop.token().is_cancelled()
    }

    /// Returns the token that is cancelled when the attempt is asked to stop, for code that takes such a token.
    pub fn cancellation(&self) -> &CancellationToken {
        self.stop.token()
    }

    /// Keeps bytes that the attempt's program has printed. It is for runners of commands. The head and the tail of the
    /// output become part of the attempt's failure, even if the attempt is killed and its future dropped.
    pub fn printed(&self, stream: Stream, bytes: &[u8]) {
        if let Some(output) = &self.output {
            output.push(stream, bytes);
        }
    }

    /// Records the resource usage of the attempt's program, for the outcome of the job. It is for runners of commands.
    pub fn ended(&self, end: &CommandEnd) {
        if let Some(output) = &self.output {
            output.ended(end.cost);
        }
    }

    /// Reports the progress of the attempt. This also restarts its idle timeout.
    pub fn progress(&self, step: Step) {
        match &self.listener {
            Listener::Anybody(tell) => tell(step),
            Listener::Run {
                listener,
                ticket,
                last_progress,
            } => {
                if let Some(last) = last_progress {
                    last.note();
                }
                listener.step(*ticket, step);
            }
        }
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("attempt", &self.attempt)
            .field("cancelled", &self.stop.token().is_cancelled())
            .finish_non_exhaustive()
    }
}
