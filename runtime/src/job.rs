//! A job: what is to be done, and on what terms.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ratchet_ipc::{HostName, JobKey, Payload, TaskName};
use ratchet_resilience::retry::BackoffPolicy;

use crate::context::Context;
use crate::item::JobItem;
use crate::os::ProcessConfig;
use crate::outcome::{Failure, Outcome};
use crate::scheduling::{ParallelizationHint, Priority};
use crate::stop_clock::StopLimits;

/// A piece of work with an id, and the terms on which it is done.
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
    /// Its own id: the same for every attempt and every run.
    pub id: JobKey,
    /// What is to be done.
    pub work: Work,
    /// The machine, tenant or other place that it concerns.
    pub host: Option<HostName>,
    /// The item of a list that it is for, where its id is only its place in that list.
    pub item: Option<Arc<JobItem>>,
    /// The jobs that have to succeed first.
    pub needs: Vec<JobKey>,
    /// On what terms; jobs with the same terms share them.
    pub terms: Arc<Terms>,
}

/// What a job does.
#[derive(Clone)]
pub enum Work {
    /// Asks a worker.
    Task {
        /// For what.
        task: TaskName,
        /// With what.
        input: Payload,
    },
    /// Runs a program once.
    Command(Arc<ProcessConfig>),
    /// Calls an async closure of this program, once an attempt.
    Closure(Closure),
    /// Nothing: what was to be a job makes no sense, and ends with this failure without being started.
    Refused {
        /// What it would have been.
        task: TaskName,
        /// What is wrong with it.
        failure: Box<Failure>,
    },
    /// Nothing: it has ended already, in an earlier run, and this is its outcome. It counts and is needed like
    /// any other, but is not written down again.
    Ended(Arc<Outcome>),
}

/// An async closure that does a job's work.
pub type Closure = Arc<dyn Fn(Context) -> Answering + Send + Sync>;

/// What an attempt comes to, once it has.
pub type Answering = Pin<Box<dyn Future<Output = Result<Payload, Failure>> + Send>>;

impl Job {
    /// A job for a worker.
    pub fn task(id: impl Into<JobKey>, task: impl Into<TaskName>, input: Payload) -> Self {
        Self::new(
            id,
            Work::Task {
                task: task.into(),
                input,
            },
        )
    }

    /// A job that runs a program.
    pub fn command(id: impl Into<JobKey>, config: ProcessConfig) -> Self {
        Self::new(id, Work::Command(Arc::new(config)))
    }

    /// A job that calls an async closure; it is called again for every attempt.
    pub fn closure<F, O>(id: impl Into<JobKey>, work: F) -> Self
    where
        F: Fn(Context) -> O + Send + Sync + 'static,
        O: Future<Output = Result<Payload, Failure>> + Send + 'static,
    {
        Self::new(
            id,
            Work::Closure(Arc::new(move |context| Box::pin(work(context)))),
        )
    }

    /// A job that makes no sense, so that what is wrong with it stands among the outcomes of the others.
    pub fn refused(id: impl Into<JobKey>, task: impl Into<TaskName>, failure: Failure) -> Self {
        Self::new(
            id,
            Work::Refused {
                task: task.into(),
                failure: Box::new(failure),
            },
        )
    }

    /// A job that has ended already, with this outcome.
    pub fn ended(outcome: impl Into<Arc<Outcome>>) -> Self {
        let outcome = outcome.into();
        Self::new(outcome.id.clone(), Work::Ended(outcome))
    }

    /// How many bytes it carries along.
    pub(crate) fn weight(&self) -> usize {
        match &self.work {
            Work::Task { input, .. } => input.as_str().len(),
            Work::Command(_) | Work::Closure(_) | Work::Refused { .. } | Work::Ended(_) => 0,
        }
    }

    fn new(id: impl Into<JobKey>, work: Work) -> Self {
        Self {
            id: id.into(),
            work,
            host: None,
            item: None,
            needs: Vec::new(),
            terms: Terms::standard(),
        }
    }

    /// Says where it runs.
    #[must_use]
    pub fn on_host(mut self, host: impl Into<HostName>) -> Self {
        self.host = Some(host.into());
        self
    }

    /// Says which item of a list it is for.
    #[must_use]
    pub fn for_item(mut self, item: JobItem) -> Self {
        self.item = Some(Arc::new(item));
        self
    }

    /// Says what has to succeed first.
    #[must_use]
    pub fn needs<K: Into<JobKey>>(mut self, needs: impl IntoIterator<Item = K>) -> Self {
        self.needs.extend(needs.into_iter().map(Into::into));
        self
    }

    /// Says on what terms.
    #[must_use]
    pub fn terms(mut self, terms: impl Into<Arc<Terms>>) -> Self {
        self.terms = terms.into();
        self
    }

    /// What it does, in a word: its task's name, its program's, or `closure`.
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

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Task { task, input } => f
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

/// On what terms a job is done.
#[derive(Debug, Clone)]
pub struct Terms {
    /// How parallel it may be; what says nothing is as parallel as its worker declares, or fully.
    pub hint: Option<ParallelizationHint>,
    /// The named limits it counts against.
    pub limits: Vec<String>,
    /// How many slots it fills.
    pub slots: u32,
    /// How urgent it is.
    pub priority: Priority,
    /// How long it may wait and run.
    pub timeouts: Timeouts,
    /// How it is tried again; nothing is one attempt.
    pub retry: Option<Arc<BackoffPolicy>>,
    /// Whether its result may be used again; nothing is as its worker declares, or not.
    pub cache: Option<CacheTerms>,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            hint: None,
            limits: Vec::new(),
            slots: 1,
            priority: Priority::default(),
            timeouts: Timeouts::default(),
            retry: None,
            cache: None,
        }
    }
}

impl Terms {
    /// The terms of jobs that say nothing, shared by all of them.
    pub fn standard() -> Arc<Self> {
        static STANDARD: std::sync::LazyLock<Arc<Terms>> = std::sync::LazyLock::new(Arc::default);
        Arc::clone(&STANDARD)
    }
}

/// How long a job may wait, and an attempt may run. An attempt's clocks start when it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timeouts {
    /// How long it may wait for its first start. Like all timeouts it does not count the time of a suspension.
    pub queue: Option<Duration>,
    /// When to ask it to stop.
    pub soft: Option<Duration>,
    /// When to kill it.
    pub hard: Option<Duration>,
    /// How long it may go without telling of progress.
    pub idle: Option<Duration>,
}

impl Timeouts {
    /// What one that was asked to stop gets at least before it is killed.
    pub const LAST_MOMENT: Duration = crate::stop_clock::LAST_MOMENT;

    /// One figure: asked to stop then, and killed [a moment](Self::LAST_MOMENT) later. Who cannot be
    /// asked is killed at once.
    pub fn after(limit: Duration) -> Self {
        Self {
            soft: Some(limit),
            hard: Some(limit),
            ..Self::default()
        }
    }

    /// When to kill one that could be asked to stop: never right after it was asked.
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

/// Whether and how a result may be used again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheTerms {
    /// It may not.
    Off,
    /// It may, while all that it depends on is the same.
    On {
        /// Files it reads besides its input.
        inputs: Vec<std::path::PathBuf>,
        /// Variables of the environment it depends on.
        env: Vec<String>,
        /// For how long, if not for ever.
        ttl: Option<Duration>,
    },
}
