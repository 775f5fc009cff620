//! What a node needs to do a job: the payload of a job in a queue.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ratchet_queue::Share;
use ratchet_resilience::retry::{BackoffPolicy, Delay, Jitter};
use ratchet_runtime::process::{
    Environment, InputBytes, MemoryLimits, ProcessConfig, ProgramInput,
};
use ratchet_runtime::{
    Granted, Job, JobKey, ParallelizationHint, Payload, ResourceShare, Terms, Timeouts, Work,
};
use serde::{Deserialize, Serialize};

use super::refusals::Refused;
use crate::settings::PASSWORD_VARIABLE;

/// The version of payloads that this program writes and reads.
const VERSION: u32 = 1;

/// What a node needs to do a job.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct QueuedWork {
    /// The version of the payload.
    v: u32,
    /// The id of the job in its submission.
    id: String,
    /// The name of the submission.
    submission: String,
    /// The host that the job concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    work: WorkKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    soft: Option<Duration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hard: Option<Duration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    idle: Option<Duration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    memory_soft: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    memory_hard: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry: Option<QueuedRetry>,
}

/// What is done: a task of a worker, or a command.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WorkKind {
    Task { name: String, input: Payload },
    Run(QueuedCommand),
}

/// A command, with absolute paths where the submitter had folders in mind.
#[derive(Debug, Serialize, Deserialize)]
struct QueuedCommand {
    command: String,
    args: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    env: BTreeMap<String, String>,
    /// Whether the command gets the variables of the node, too.
    inherits: bool,
    cwd: PathBuf,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stdin: Option<QueuedInput>,
}

/// What a command reads from its stdin.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum QueuedInput {
    Text(String),
    File(PathBuf),
}

/// When a failed job is tried again.
#[derive(Debug, Serialize, Deserialize)]
struct QueuedRetry {
    max_attempts: u32,
    cap: Duration,
    delay: QueuedDelay,
    jitter: QueuedJitter,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    classes: Vec<String>,
}

/// How the delay before a retry grows.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum QueuedDelay {
    Fixed(Duration),
    Linear(Duration, Duration),
    Exponential(Duration, f64),
    Fibonacci(Duration),
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum QueuedJitter {
    Full,
    Equal,
    None,
}

/// Returns a text that has to be one in JSON.
fn text(what: &str, of: &OsStr) -> Result<String, Refused> {
    of.to_str().map(str::to_owned).ok_or_else(|| {
        let message = format!("{what} is not text in UTF-8: {}", of.display());
        Refused::new(message, "a queue keeps text; pass the bytes in a file")
    })
}

impl QueuedWork {
    /// Makes the payload of a job. `folder` is the current one, in which commands run that name no other.
    pub(crate) fn of(job: &Job, submission: &str, folder: &Path) -> Result<Self, Refused> {
        let work = match &job.work {
            Work::Task { task, input, .. } => WorkKind::Task {
                name: task.as_str().to_owned(),
                input: input.clone(),
            },
            Work::Command(process) => WorkKind::Run(QueuedCommand::of(process, folder)?),
            Work::Closure(_) | Work::Refused { .. } | Work::Ended(_) => {
                return Err(Refused::new(
                    "it has no work that a node could do",
                    "submit tasks and commands",
                ));
            }
        };
        let Timeouts {
            soft, hard, idle, ..
        } = job.terms.timeouts;
        Ok(Self {
            v: VERSION,
            id: job.id.as_str().to_owned(),
            submission: submission.to_owned(),
            host: job.host.as_ref().map(|host| host.as_str().to_owned()),
            work,
            soft,
            hard,
            idle,
            memory_soft: job.terms.memory.soft,
            memory_hard: job.terms.memory.hard,
            retry: job
                .terms
                .retry
                .as_deref()
                .map(QueuedRetry::of)
                .transpose()?,
        })
    }

    /// Writes the payload.
    pub(crate) fn to_bytes(&self) -> Result<Arc<[u8]>, Refused> {
        let written = serde_json::to_vec(self);
        written.map(Arc::from).map_err(|error| {
            Refused::new(
                format!("it cannot be written as JSON: {error}"),
                "report this, which is a bug in ratchet",
            )
        })
    }

    /// Reads a payload. The error says what is wrong with it.
    pub(crate) fn read(payload: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Head {
            v: u32,
        }
        let unreadable = |error| format!("the payload of the job cannot be read: {error}");
        let head: Head = serde_json::from_slice(payload).map_err(unreadable)?;
        if head.v != VERSION {
            return Err(format!(
                "the job was submitted by another version of ratchet (payload version {}, and this node reads {VERSION})",
                head.v
            ));
        }
        serde_json::from_slice(payload).map_err(unreadable)
    }
}

impl QueuedCommand {
    fn of(process: &ProcessConfig, folder: &Path) -> Result<Self, Refused> {
        let stdin = match &process.stdin {
            ProgramInput::Nothing => None,
            ProgramInput::Bytes(bytes) => {
                let bytes = std::str::from_utf8(bytes.as_slice());
                let known = bytes.map_err(|_| {
                    Refused::new(
                        "its stdin is not text in UTF-8",
                        "a queue keeps text; let it read a file",
                    )
                })?;
                Some(QueuedInput::Text(known.to_owned()))
            }
            ProgramInput::File(path) => Some(QueuedInput::File(folder.join(path))),
            ProgramInput::Output(_) => {
                return Err(Refused::new(
                    "it reads the output of another job, which may run on another node",
                    "let one write a file that both nodes have, or make them one command",
                ));
            }
            _ => {
                return Err(Refused::new(
                    "its stdin is on this machine alone",
                    "let it read a file that the nodes have",
                ));
            }
        };
        let env = process
            .env
            .declared()
            .map(|(name, value)| Ok((text("a variable", name)?, text("a variable", value)?)));
        let args = process.args.iter().map(|arg| text("an argument", arg));
        Ok(Self {
            command: text("the program", process.command.as_os_str())?,
            args: args.collect::<Result<_, _>>()?,
            env: env.collect::<Result<_, _>>()?,
            inherits: process.env.inherits(),
            cwd: match &process.working_dir {
                Some(cwd) => folder.join(cwd),
                None => folder.to_owned(),
            },
            stdin,
        })
    }

    /// Makes the command on a node, with these variables beside its own.
    fn into_process(self, variables: &[(&str, &str)]) -> ProcessConfig {
        let mut env = if self.inherits {
            Environment::inherited()
        } else {
            Environment::clean()
        };
        for (name, value) in variables {
            env = env.set(*name, *value);
        }
        for (name, value) in self.env {
            env = env.set(name, value);
        }
        let mut process = ProcessConfig::new(self.command)
            .args(self.args.into_iter().map(OsString::from))
            .env(env)
            .working_dir(self.cwd);
        process.stdin = match self.stdin {
            None => ProgramInput::Nothing,
            Some(QueuedInput::Text(text)) => ProgramInput::Bytes(InputBytes::new(text)),
            Some(QueuedInput::File(path)) => ProgramInput::File(path),
        };
        process
    }
}

impl QueuedRetry {
    fn of(policy: &BackoffPolicy) -> Result<Self, Refused> {
        use ratchet_resilience::retry::RetryPolicy as _;
        if policy.time_limit().is_some() {
            return Err(Refused::new(
                "`retry.within` counts from the first attempt, which another node may have made",
                "leave `within` out, and set `max`",
            ));
        }
        let delay = match policy.delay() {
            Delay::Fixed(delay) => QueuedDelay::Fixed(delay),
            Delay::Linear { initial, increment } => QueuedDelay::Linear(initial, increment),
            Delay::Exponential {
                initial,
                multiplier,
            } => QueuedDelay::Exponential(initial, multiplier),
            Delay::Fibonacci { initial } => QueuedDelay::Fibonacci(initial),
            _ => {
                return Err(Refused::new(
                    "`backoff: decorrelated` needs the last wait, which another node may have made",
                    "use `exponential`, whose waits are random, too",
                ));
            }
        };
        Ok(Self {
            max_attempts: policy.max_attempts(),
            cap: policy.max_delay(),
            delay,
            jitter: match policy.jitter() {
                Jitter::Full => QueuedJitter::Full,
                Jitter::Equal => QueuedJitter::Equal,
                Jitter::None => QueuedJitter::None,
            },
            classes: policy.classes().to_vec(),
        })
    }

    /// Makes the policy on a node.
    fn into_policy(self) -> Result<BackoffPolicy, String> {
        let mut policy = BackoffPolicy::builder()
            .max_attempts(self.max_attempts)
            .max_delay(self.cap)
            .delay(match self.delay {
                QueuedDelay::Fixed(delay) => Delay::Fixed(delay),
                QueuedDelay::Linear(initial, increment) => Delay::Linear { initial, increment },
                QueuedDelay::Exponential(initial, multiplier) => Delay::Exponential {
                    initial,
                    multiplier,
                },
                QueuedDelay::Fibonacci(initial) => Delay::Fibonacci { initial },
            })
            .jitter(match self.jitter {
                QueuedJitter::Full => Jitter::Full,
                QueuedJitter::Equal => Jitter::Equal,
                QueuedJitter::None => Jitter::None,
            });
        if !self.classes.is_empty() {
            policy = policy.classes(self.classes);
        }
        let built = policy.build();
        built.map_err(|error| format!("the retry policy of the job is not valid: {error}"))
    }
}

/// A job of a queue, as a node does it: one attempt, which may start at once.
#[derive(Debug)]
pub(crate) struct NodeJob {
    /// The job for the executor of the node.
    pub(crate) job: Job,
    /// When the queue is to have the job tried again; never if there is none.
    pub(crate) retry: Option<BackoffPolicy>,
    /// Whether a worker does the job, and not a command.
    pub(crate) has_worker: bool,
}

impl QueuedWork {
    /// Makes the job for the executor of a node.
    ///
    /// `name` is the name of the job in the queue, `earlier` how many attempts it has had before, `slots` and `shares` what
    /// it was granted, and `node` what the node is called.
    pub(crate) fn into_job(
        self,
        name: &str,
        earlier: u32,
        (slots, shares): (u32, &[Share]),
        node: &str,
    ) -> Result<NodeJob, String> {
        let host = self.host.as_deref().unwrap_or(node);
        let variables = [
            ("RATCHET_JOB_ID", &*self.id),
            ("RATCHET_HOST", host),
            (ratchet_runtime::RUN_ID_VARIABLE, &*self.submission),
            // The password of the queue is not for its jobs.
            (PASSWORD_VARIABLE, ""),
        ];
        let key = JobKey::from(name);
        let has_worker = matches!(self.work, WorkKind::Task { .. });
        let mut job = match self.work {
            WorkKind::Task { name, input } => Job::task(key, &*name, input),
            WorkKind::Run(command) => Job::command(key, command.into_process(&variables)),
        };
        job.host = self.host.as_deref().map(Into::into);
        let resources = shares.iter().map(|share| {
            if share.identities.is_empty() {
                ResourceShare::of_units(&share.resource, share.units)
            } else {
                ResourceShare::of_identities(&share.resource, &share.identities)
            }
        });
        job.terms = Arc::new(Terms {
            // The queue has decided that it may start.
            hint: Some(ParallelizationHint::FullyParallel),
            slots,
            timeouts: Timeouts {
                queue: None,
                soft: self.soft,
                hard: self.hard,
                idle: self.idle,
            },
            memory: MemoryLimits {
                soft: self.memory_soft,
                hard: self.memory_hard,
            },
            granted: Some(Arc::new(Granted {
                earlier_attempts: earlier,
                resources: resources.collect(),
            })),
            ..Terms::default()
        });
        let retry = self.retry.map(QueuedRetry::into_policy).transpose()?;
        Ok(NodeJob {
            job,
            retry,
            has_worker,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(job: &Job) -> Result<NodeJob, String> {
        let work = QueuedWork::of(job, "nightly", Path::new("/here")).map_err(|no| no.message)?;
        let bytes = work.to_bytes().map_err(|no| no.message)?;
        let work = QueuedWork::read(&bytes)?;
        work.into_job("nightly/a", 1, (2, &[]), "n1")
    }

    #[test]
    fn a_command_arrives_with_absolute_paths_and_its_own_variables_first() {
        let mut process = ProcessConfig::new("sort").args(["-u", "x"]);
        process.env = Environment::clean()
            .set("A", "b")
            .set("RATCHET_HOST", "own");
        process.working_dir = Some("there".into());
        process.stdin = ProgramInput::File("list".into());
        let job = Job::command("a", process).on_host("web1");
        let arrived = through(&job).unwrap().job;
        let Work::Command(process) = &arrived.work else {
            panic!("{arrived:?}")
        };
        assert_eq!(process.to_string(), "sort -u x");
        assert_eq!(process.working_dir, Some("/here/there".into()));
        assert_eq!(process.stdin, ProgramInput::File("/here/list".into()));
        let declared: Vec<_> = process.env.declared().collect();
        for (name, value) in [
            ("A", "b"),
            ("RATCHET_HOST", "own"),
            ("RATCHET_JOB_ID", "a"),
            (PASSWORD_VARIABLE, ""),
        ] {
            assert!(
                declared.contains(&(name.as_ref(), value.as_ref())),
                "{name}: {declared:?}"
            );
        }
        assert!(!process.env.inherits());
        assert_eq!((arrived.terms.slots, arrived.id.as_str()), (2, "nightly/a"));
        assert_eq!(arrived.terms.granted.as_ref().unwrap().earlier_attempts, 1);
    }

    #[test]
    fn a_task_arrives_with_its_policy() {
        let policy = BackoffPolicy::builder()
            .max_attempts(4)
            .max_delay(Duration::from_secs(9))
            .delay(Delay::Linear {
                initial: Duration::from_secs(1),
                increment: Duration::from_secs(2),
            })
            .jitter(Jitter::None)
            .classes(["exit", "timeout"]);
        let terms = Terms {
            retry: Some(Arc::new(policy.build().unwrap())),
            timeouts: Timeouts::after(Duration::from_secs(5)),
            ..Terms::default()
        };
        let input = Payload::from_json(r#"{"deep": [1.50, "x"]}"#).unwrap();
        let job = Job::task("a", "resize", input.clone()).terms(terms);
        let NodeJob { job, retry, .. } = through(&job).unwrap();
        let Work::Task {
            task,
            input: arrived,
            ..
        } = &job.work
        else {
            panic!("{job:?}")
        };
        // Numbers keep the digits with which they were written.
        assert_eq!(
            (task.as_str(), arrived.as_str()),
            ("resize", input.as_str())
        );
        assert_eq!(job.terms.timeouts.hard, Some(Duration::from_secs(5)));
        let retry = retry.unwrap();
        assert_eq!(
            (retry.max_attempts(), retry.max_delay()),
            (4, Duration::from_secs(9))
        );
        assert_eq!(retry.jitter(), Jitter::None);
        assert_eq!(retry.classes(), ["exit", "timeout"]);
        assert!(
            matches!(retry.delay(), Delay::Linear { increment, .. } if increment == Duration::from_secs(2))
        );
    }

    #[test]
    fn payloads_that_this_version_does_not_know_are_refused() {
        let error = QueuedWork::read(br#"{"v":2,"kind":"else"}"#).unwrap_err();
        assert!(error.contains("payload version 2"), "{error}");
        assert!(QueuedWork::read(b"{").is_err());
    }
}
