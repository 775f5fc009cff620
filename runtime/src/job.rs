//! Jobs: the work, and the terms on which it is performed.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ratchet_ipc::{HostName, JobKey, Payload, TaskName};
use ratchet_resilience::retry::BackoffPolicy;
use serde::Serialize;

use crate::context::{Context, Subject};
use crate::ids::PlaceName;
use crate::item::JobItem;
use crate::os::{EarlierOutput, MemoryLimits, ProcessConfig, WorkPath};
use crate::outcome::{Class, CommandResult, Failure, Outcome};
use crate::scheduling::{ParallelizationHint, Priority, ResourceShare, order_by_needs};
use crate::stop_clock::StopLimits;

/// A piece of work with an id, and the terms on which it is performed.
///
/// ```
/// use std::sync::Arc;
/// use ratchet_runtime::{Job, ParallelizationHint, Payload, Priority, Terms};
///
/// let careful = Arc::new(Terms {
///     hint: Some(ParallelizationHint::HostExclusive),
///     priority: Priority::High,
///     ..Terms::default()
/// });
/// let job = Job::task("a", "resize", Payload::from_json(r#"{"path": "a.png"}"#)?)
///     .on_host("web1")
///     .terms(careful);
/// assert_eq!(job.task_name(), "resize");
/// # Ok::<(), ratchet_ipc::IpcError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Job {
    /// The id of the job, which is the same for every attempt and every run.
    pub id: JobKey,
    /// The work that the job does.
    pub work: Work,
    /// The machine, tenant or anything else that the job concerns.
    pub host: Option<HostName>,
    /// The item of a list for which the job is. It is set if the id is only the position of the job in that list.
    pub item: Option<Arc<JobItem>>,
    /// The ids of the jobs that have to succeed before this one may start.
    pub needs: Vec<JobKey>,
    /// The buffer that keeps the output of the job for jobs that read it as their stdin, if there are any.
    pub kept_output: Option<EarlierOutput>,
    /// The terms on which the job is performed. Jobs with the same terms share them.
    pub terms: Arc<Terms>,
}

/// What a job does: a task of a worker, a command, or a closure.
#[derive(Clone)]
pub enum Work {
    /// A request to a worker.
    Task {
        /// The task that the worker is asked for.
        task: TaskName,
        /// The input of the task.
        input: Payload,
        /// The files and folders that come back from the work folder of the worker once it has succeeded, if there are
        /// any. See [`Job::pull`].
        pull: Option<Arc<Vec<WorkPath>>>,
    },
    /// A program, which is started once for each attempt.
    Command(Arc<ProcessConfig>),
    /// An async closure of this program, which is called once for each attempt.
    Closure(Closure),
    /// No work: the job is not valid, and ends with this failure without being started.
    Refused {
        /// The task that the job would have had.
        task: TaskName,
        /// What is wrong with the job.
        failure: Box<Failure>,
    },
    /// No work: the job has ended in an earlier run with this outcome. It counts and can be needed like any other job,
    /// but its outcome is not recorded again.
    Ended(Arc<Outcome>),
}

/// An async closure that does a job's work.
pub type Closure = Arc<dyn Fn(Context) -> ClosureFuture + Send + Sync>;

/// The future of an attempt of a closure.
pub type ClosureFuture = Pin<Box<dyn Future<Output = Result<Payload, Failure>> + Send>>;

/// A value that a closure of a job can return: a `Result` of any value that serde can write, or nothing.
///
/// ```
/// use ratchet_runtime::{ClosureResult, Failure};
///
/// let done: Result<[u8; 2], Failure> = Ok([1, 2]);
/// assert_eq!(done.into_result()?.as_str(), "[1,2]");
/// assert_eq!(().into_result()?.as_str(), "null");
/// # Ok::<(), Failure>(())
/// ```
pub trait ClosureResult {
    /// Converts it to the result of the attempt.
    fn into_result(self) -> Result<Payload, Failure>;
}

impl ClosureResult for () {
    fn into_result(self) -> Result<Payload, Failure> {
        Ok(Payload::null())
    }
}

impl<T: Serialize + 'static> ClosureResult for Result<T, Failure> {
    fn into_result(self) -> Result<Payload, Failure> {
        let mut value = Some(self?);
        // A payload is JSON already and is passed on as it is. The compiler knows the type, so this check costs nothing
        // at run time.
        let payload = (&mut value as &mut dyn Any).downcast_mut::<Option<Payload>>();
        if let Some(payload) = payload.and_then(Option::take) {
            return Ok(payload);
        }
        Payload::from_value(&value).map_err(|error| {
            let message = format!("the result cannot be written as JSON: {error}");
            Failure::new(Class::Task, message).retryable(false)
        })
    }
}

impl Subject for Job {
    fn job_id(&self) -> &JobKey {
        &self.id
    }

    fn host(&self) -> Option<&HostName> {
        self.host.as_ref()
    }
}

impl Job {
    /// Makes a job for a worker.
    pub fn task(id: impl Into<JobKey>, task: impl Into<TaskName>, input: Payload) -> Self {
        Self::new(
            id,
            Work::Task {
                task: task.into(),
                input,
                pull: None,
            },
        )
    }

    /// Sets the files and folders that the job of a worker brings back from the work folder of the worker, once it has
    /// succeeded.
    ///
    /// A worker on another host has a work folder if its process has [files](ProcessConfig::files). On this machine it is
    /// only checked that the files are there. Other jobs have such files in their [`ProcessConfig`], and are left as they are.
    #[must_use]
    pub fn pull(mut self, files: Vec<WorkPath>) -> Self {
        if let Work::Task { pull, .. } = &mut self.work {
            *pull = (!files.is_empty()).then(|| Arc::new(files));
        }
        self
    }

    /// Makes a job that runs a program.
    pub fn command(id: impl Into<JobKey>, config: ProcessConfig) -> Self {
        Self::new(id, Work::Command(Arc::new(config)))
    }

    /// Makes a job that calls an async closure, once for each attempt.
    ///
    /// The closure returns a `Result` of any value that serde can write, or nothing. [`Outcome::read`] returns the
    /// value. With `?`, any error or boxed error becomes a [`Failure`].
    ///
    /// ```
    /// use ratchet_runtime::{Executor, Job};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), ratchet_runtime::Error> {
    /// let parse = |text: &'static str| {
    ///     Job::closure(text, move |_context| async move {
    ///         let number: u32 = text.parse()?;
    ///         Ok(vec![number, number + 1])
    ///     })
    /// };
    /// let outcomes = Executor::builder().build()?.run_all([parse("6"), parse("six")]).await?;
    /// assert_eq!(outcomes[0].read::<Vec<u32>>()?, [6, 7]);
    /// let error = outcomes[1].read::<Vec<u32>>().unwrap_err();
    /// assert_eq!(error.to_string(), "job `six` has no result: invalid digit found in string");
    /// # Ok(())
    /// # }
    /// ```
    pub fn closure<F, O>(id: impl Into<JobKey>, work: F) -> Self
    where
        F: Fn(Context) -> O + Send + Sync + 'static,
        O: Future<Output: ClosureResult> + Send + 'static,
    {
        let work = move |context| {
            let attempt = work(context);
            let attempt: ClosureFuture = Box::pin(async move { attempt.await.into_result() });
            attempt
        };
        Self::new(id, Work::Closure(Arc::new(work)))
    }

    /// Makes a job that is not valid. It ends with this failure, which appears among the outcomes of the other jobs.
    pub fn refused(id: impl Into<JobKey>, task: impl Into<TaskName>, failure: Failure) -> Self {
        Self::new(
            id,
            Work::Refused {
                task: task.into(),
                failure: Box::new(failure),
            },
        )
    }

    /// Makes a job that has ended in an earlier run, with this outcome.
    pub fn ended(outcome: impl Into<Arc<Outcome>>) -> Self {
        let outcome = outcome.into();
        Self::new(outcome.id.clone(), Work::Ended(outcome))
    }

    /// Returns the indices of jobs in an order in which each comes after the jobs that it needs, and otherwise in the
    /// given order. It fails if a needed job does not exist, or if jobs need each other in a circle.
    pub fn order_by_needs(jobs: &[Self]) -> Result<Vec<usize>, crate::Error> {
        let names: Vec<(&str, Vec<&str>)> = jobs
            .iter()
            .map(|job| {
                let needs = job.needs.iter().map(JobKey::as_str);
                (job.id.as_str(), needs.collect())
            })
            .collect();
        order_by_needs(&names)
    }

    /// Keeps the result of the job for the jobs that read it as their stdin.
    pub(crate) fn give_output(&self, result: &Payload) {
        if let Some(output) = &self.kept_output {
            output.give(readable_output(result));
        }
    }

    /// Returns the size of the job's input in bytes.
    pub(crate) fn weight(&self) -> usize {
        match &self.work {
            Work::Task { input, .. } => input.as_str().len(),
            Work::Command(config) => config.stdin.weight(),
            Work::Closure(_) | Work::Refused { .. } | Work::Ended(_) => 0,
        }
    }

    fn new(id: impl Into<JobKey>, work: Work) -> Self {
        Self {
            id: id.into(),
            work,
            host: None,
            item: None,
            needs: Vec::new(),
            kept_output: None,
            terms: Terms::standard(),
        }
    }

    /// Sets the host that the job concerns.
    #[must_use]
    pub fn on_host(mut self, host: impl Into<HostName>) -> Self {
        self.host = Some(host.into());
        self
    }

    /// Sets the item of a list for which the job is.
    #[must_use]
    pub fn for_item(mut self, item: JobItem) -> Self {
        self.item = Some(Arc::new(item));
        self
    }

    /// Adds jobs that have to succeed before this one may start.
    #[must_use]
    pub fn needs<K: Into<JobKey>>(mut self, needs: impl IntoIterator<Item = K>) -> Self {
        self.needs.extend(needs.into_iter().map(Into::into));
        self
    }

    /// Sets the terms on which the job is performed.
    #[must_use]
    pub fn terms(mut self, terms: impl Into<Arc<Terms>>) -> Self {
        self.terms = terms.into();
        self
    }

    /// Returns the name of the job's task, or of its program, or `closure`.
    pub fn task_name(&self) -> &str {
        match &self.work {
            Work::Task { task, .. } | Work::Refused { task, .. } => task.as_str(),
            Work::Command(config) => config
                .command
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or("command"),
            Work::Closure(_) => "closure",
            Work::Ended(outcome) => outcome.task.as_str(),
        }
    }
}

/// Returns what a job passes to a job that reads its output: the stdout of its command, or the result of its task as
/// JSON.
fn readable_output(result: &Payload) -> Result<Vec<u8>, String> {
    let Ok(printed) = result.read::<CommandResult<'static>>() else {
        return Ok(format!("{}\n", result.as_str()).into_bytes());
    };
    if printed.stdout_dropped > 0 {
        return Err(format!(
            "{} bytes of its output were not kept, so it is not complete: let it write a file instead",
            printed.stdout_dropped
        ));
    }
    // Bytes that are not text were replaced when the result was made, so the original output is lost.
    if printed.stdout.contains(char::REPLACEMENT_CHARACTER) {
        return Err("its output is not text in UTF-8: let it write a file instead".to_owned());
    }
    Ok(printed.stdout.into_owned().into_bytes())
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Task { task, input, .. } => f
                .debug_struct("Task")
                .field("task", task)
                .field("input", input)
                .finish(),
            Self::Command(config) => f.debug_tuple("Command").field(config).finish(),
            Self::Closure(_) => f.write_str("Closure(..)"),
            Self::Refused { task, failure } => f
                .debug_struct("Refused")
                .field("task", task)
                .field("failure", failure)
                .finish(),
            Self::Ended(outcome) => f.debug_tuple("Ended").field(outcome).finish(),
        }
    }
}

/// The terms on which a job is performed.
#[derive(Debug, Clone)]
pub struct Terms {
    /// How parallel the job may be. Without a hint, the hint in the worker's hello applies; without that, the job is
    /// fully parallel.
    pub hint: Option<ParallelizationHint>,
    /// The named limits that the job counts against.
    pub limits: Vec<String>,
    /// How many slots the job takes.
    pub slots: u32,
    /// The resources that the job has while it runs, each with the number of units.
    pub resources: Vec<ResourceNeed>,
    /// The factor by which the job takes more of the resource `memory` after each attempt that ran out of memory, up to
    /// the whole resource. Its limits of [`memory`](Self::memory) grow with it, or by this factor if it takes none of that
    /// resource.
    pub memory_growth: f64,
    /// Where the job runs if it is a command. Jobs for workers run where their workers are.
    pub on: Placement,
    /// The priority of the job.
    pub priority: Priority,
    /// How long the job may wait and run.
    pub timeouts: Timeouts,
    /// How much memory an attempt of a command may use, together with all that it has started. Workers have the limits
    /// of their pool.
    pub memory: MemoryLimits,
    /// How long an attempt may run before an [event](crate::event::RunEvent::JobSlow) reports, once for each job, that the
    /// job is slow.
    pub slow: Option<Duration>,
    /// The group of the job. When one job of the group has failed, no other job of it starts, and running ones are
    /// stopped.
    pub fail_fast: Option<Arc<str>>,
    /// The policy that decides when the job is tried again. Without a policy there is one attempt.
    pub retry: Option<Arc<BackoffPolicy>>,
    /// Whether the result may be used again. Without a setting, the one in the worker's hello applies; without that,
    /// the result is not used again.
    pub cache: Option<CacheTerms>,
    /// What a queue outside of this executor has granted the job, if one decides when the job may start.
    pub granted: Option<Arc<Granted>>,
}

/// What a queue outside of an executor has granted a job with the attempt that the executor makes.
///
/// ```
/// use ratchet_runtime::{Executor, Granted, Job, ResourceShare, Terms};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), ratchet_runtime::Error> {
/// let granted = Granted {
///     earlier_attempts: 2,
///     resources: [ResourceShare::of_identities("gpu", ["1"])].into(),
/// };
/// let job = Job::closure("a", |context| async move {
///     let device = context.resource("gpu").map(|share| share.value());
///     Ok((context.attempt(), device))
/// });
/// let terms = Terms { granted: Some(granted.into()), ..Terms::default() };
/// let outcomes = Executor::builder().build()?.run_all([job.terms(terms)]).await?;
/// assert_eq!(outcomes[0].read::<(u32, String)>()?, (3, "1".to_owned()));
/// assert_eq!(outcomes[0].attempts, 3);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Granted {
    /// How many attempts the job has had before, wherever that was. The next one has the number after them.
    pub earlier_attempts: u32,
    /// What the attempt holds of resources that the queue shares out. A worker and a command are told of it as of shares
    /// that the executor has given.
    pub resources: Arc<[ResourceShare]>,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            hint: None,
            limits: Vec::new(),
            slots: 1,
            resources: Vec::new(),
            memory_growth: 1.0,
            on: Placement::Here,
            priority: Priority::default(),
            timeouts: Timeouts::default(),
            memory: MemoryLimits::default(),
            slow: None,
            fail_fast: None,
            retry: None,
            cache: None,
            granted: None,
        }
    }
}

impl Terms {
    /// Returns the default terms, which all jobs without terms share.
    pub fn standard() -> Arc<Self> {
        static STANDARD: std::sync::LazyLock<Arc<Terms>> = std::sync::LazyLock::new(Arc::default);
        Arc::clone(&STANDARD)
    }
}

/// How much of a resource a job has while it runs.
///
/// ```
/// use ratchet_runtime::{Executor, Job, Payload, Resource, ResourceNeed, Terms};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), ratchet_runtime::Error> {
/// let executor = Executor::builder()
///     .slots(8)
///     .resource("gpu", Resource::identities(["0", "1"])?)
///     .build()?;
/// let one = Terms { resources: vec![ResourceNeed::new("gpu", 1)], ..Terms::default() };
/// let train = |id: &str| {
///     Job::closure(id, |context| async move {
///         // No other job has this device meanwhile.
///         let device = context.resource("gpu").map(|share| share.value());
///         Ok(Payload::from_value(&device).unwrap_or_else(|_| Payload::null()))
///     })
/// };
/// let outcomes = executor.run_all([train("a").terms(one)]).await?;
/// assert_eq!(outcomes[0].result.as_ref().unwrap().as_str(), "\"0\"");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ResourceNeed {
    /// The name of the resource.
    pub name: String,
    /// The number of units: identities, things or bytes.
    pub units: u64,
}

impl ResourceNeed {
    /// The name of the resource of which a job takes more after an attempt ran out of memory.
    pub const MEMORY: &str = "memory";

    /// Makes a need of this many units.
    pub fn new(name: impl Into<String>, units: u64) -> Self {
        Self {
            name: name.into(),
            units,
        }
    }

    /// Returns how many units a job with these terms takes after this many attempts that ran out of memory, if there are at
    /// most `total`.
    pub(crate) fn units_after(&self, terms: &Terms, memory_kills: u32, total: u64) -> u64 {
        if memory_kills == 0 || self.name != Self::MEMORY {
            return self.units;
        }
        grown(self.units, terms.memory_growth, memory_kills).min(total)
    }
}

impl Terms {
    /// Returns the limits of memory of a command after this many attempts that ran out of memory, if its attempt has so
    /// many units of the resource `memory`.
    pub(crate) fn memory_after(&self, memory_kills: u32, units: Option<u64>) -> MemoryLimits {
        if memory_kills == 0 || self.memory_growth <= 1.0 {
            return self.memory;
        }
        let mut needs = self.resources.iter();
        let need = needs.find(|need| need.name == ResourceNeed::MEMORY && need.units > 0);
        let grow = |limit: u64| match (need, units) {
            // The resource may be too small for the whole growth.
            (Some(need), Some(units)) => {
                let grown = u128::from(limit) * u128::from(units) / u128::from(need.units);
                u64::try_from(grown).unwrap_or(u64::MAX)
            }
            (_, _) => grown(limit, self.memory_growth, memory_kills),
        };
        MemoryLimits {
            soft: self.memory.soft.map(grow),
            hard: self.memory.hard.map(grow),
        }
    }
}

/// Returns how much memory a job needs after this many memory kills, each of which multiplies it by the factor.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rounded need is good enough, and the cast of a float saturates"
)]
fn grown(units: u64, factor: f64, times: u32) -> u64 {
    let times = i32::try_from(times).unwrap_or(i32::MAX);
    (units as f64 * factor.max(1.0).powi(times)).ceil() as u64
}

/// Where jobs run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Placement {
    /// Jobs run on the machine of the executor.
    #[default]
    Here,
    /// Each job runs on the host that it names.
    Host,
    /// Each job runs at one of these places, at the one with the most room.
    Among(Arc<[PlaceName]>),
}

/// How long a job may wait, and how long an attempt may run. The clocks of an attempt start when it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timeouts {
    /// How long the job may wait for its first start, from when all that it needs has succeeded. It counts alike whether
    /// the job waits for a worker's hello, for a place, for the cache or for a slot. Like all timeouts, it does not count the time of a suspension.
    pub queue: Option<Duration>,
    /// How long an attempt may run before it is asked to stop.
    pub soft: Option<Duration>,
    /// How long an attempt may run before it is killed.
    pub hard: Option<Duration>,
    /// How long an attempt may run without reporting progress.
    pub idle: Option<Duration>,
}

impl Timeouts {
    /// The least time between asking an attempt to stop and killing it.
    pub const LAST_MOMENT: Duration = crate::stop_clock::LAST_MOMENT;

    /// Makes the timeouts for a single limit: an attempt is asked to stop after this time, and killed [a
    /// moment](Self::LAST_MOMENT) later. An attempt that cannot be asked is killed after this time.
    pub fn after(limit: Duration) -> Self {
        Self {
            soft: Some(limit),
            hard: Some(limit),
            ..Self::default()
        }
    }

    /// Returns how long an attempt that can be asked to stop may run before it is killed. It is always given a moment
    /// after it was asked.
    pub fn hard_for_asked(&self) -> Option<Duration> {
        let hard = self.hard?;
        let asked = self.soft.map(|soft| soft.saturating_add(Self::LAST_MOMENT));
        Some(asked.map_or(hard, |asked| hard.max(asked)))
    }
}

impl From<&Timeouts> for StopLimits {
    fn from(timeouts: &Timeouts) -> Self {
        Self {
            soft: timeouts.soft,
            hard: timeouts.hard,
            idle: timeouts.idle,
        }
    }
}

/// Whether and for how long a result may be used again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheTerms {
    /// The result is not used again.
    Off,
    /// The result is used again as long as nothing that it depends on has changed.
    On {
        /// Files that the job reads besides its input.
        inputs: Vec<std::path::PathBuf>,
        /// Variables of the environment that the job depends on.
        env: Vec<String>,
        /// How long the result may be used; `None` for no limit.
        ttl: Option<Duration>,
    },
}
