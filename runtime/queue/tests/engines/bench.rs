//! A queue of each engine with a clock that tests drive, and short words for what tests say to it.

use std::time::Duration;

use ratchet_queue::{
    AttemptEnd, Claim, Claims, Cursor, DrivenClock, Engine, Event, EventKind, FinalStatus, Finish,
    FinishResult, JobName, JobSpec, JobState, MemoryEngine, Moment, NodeId, NodeSpec,
    QueueSettings, Renewal, Submitted,
};
use ratchet_runtime::{Ageing, ParallelizationHint};

#[cfg(feature = "redis")]
use crate::server::Server;

/// How long sessions of tests are valid.
pub(crate) const SESSION: Duration = Duration::from_secs(15);

/// The settings of most tests. No job falls due unless a test moves the clock on by hours.
pub(crate) fn settings() -> QueueSettings {
    QueueSettings {
        session: SESSION,
        retention: Duration::from_hours(24),
        capacity: 1000,
        max_payload: 100_000,
        ageing: Ageing {
            step: Duration::from_hours(1),
        },
    }
}

/// Returns a clock that shows some day.
pub(crate) fn clock() -> DrivenClock {
    DrivenClock::new(Moment::from_micros(1_790_000_000_000_000))
}

/// An empty queue under test.
pub(crate) struct Bench {
    pub(crate) engine: Box<dyn Engine>,
    pub(crate) clock: DrivenClock,
    /// The server that keeps the queue, if one does.
    #[cfg(feature = "redis")]
    pub(crate) server: Option<std::sync::Arc<Server>>,
}

/// How many queues a test has made on its servers, so that each has a name of its own.
#[cfg(feature = "redis")]
static QUEUES: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

impl Bench {
    /// Makes a queue on a server of its own. Where there is no server, the test is skipped.
    #[cfg(feature = "redis")]
    pub(crate) async fn redis() -> Option<Self> {
        let server = std::sync::Arc::new(Server::start().await?);
        Some(Self::redis_on(&server, settings()).await)
    }

    /// Makes another queue on a server.
    #[cfg(feature = "redis")]
    pub(crate) async fn redis_on(server: &std::sync::Arc<Server>, settings: QueueSettings) -> Self {
        let number = QUEUES.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let clock = clock();
        let config = ratchet_queue::RedisConfig {
            settings,
            clock: Some(clock.clone()),
            ..ratchet_queue::RedisConfig::new(&server.url(), &format!("queue{number}"))
        };
        let engine = ratchet_queue::RedisEngine::connect(config).await.unwrap();
        Self {
            engine: Box::new(engine),
            clock,
            server: Some(std::sync::Arc::clone(server)),
        }
    }

    /// Makes a queue in memory.
    pub(crate) fn memory() -> Self {
        Self::memory_with(settings())
    }

    /// Makes a queue in memory with these settings.
    pub(crate) fn memory_with(settings: QueueSettings) -> Self {
        let clock = clock();
        let engine = MemoryEngine::driven(settings, clock.clone()).expect("the settings are valid");
        Self {
            engine: Box::new(engine),
            clock,
            #[cfg(feature = "redis")]
            server: None,
        }
    }

    /// Moves the clock on.
    pub(crate) fn pass(&self, millis: u64) {
        self.clock.advance(Duration::from_millis(millis));
    }

    /// Submits jobs that the queue has to accept.
    pub(crate) async fn submit(&self, jobs: impl IntoIterator<Item = JobSpec>) {
        let jobs: Vec<JobSpec> = jobs.into_iter().collect();
        let answers = self.engine.submit(&jobs).await.unwrap();
        for (job, answer) in jobs.iter().zip(answers) {
            assert_eq!(answer, Submitted::Accepted, "{}", job.name);
        }
    }

    /// Submits a job that the queue may refuse.
    pub(crate) async fn try_submit(&self, job: JobSpec) -> Submitted {
        self.engine.submit(&[job]).await.unwrap().remove(0)
    }

    /// Lets a node join that can do everything.
    pub(crate) async fn join(&self, slots: u32) -> NodeId {
        let spec = NodeSpec::new("node", slots);
        self.engine.join(&spec).await.unwrap().node
    }

    /// Claims what there is for a node with this many free slots.
    pub(crate) async fn claim(&self, node: NodeId, slots: u32) -> Vec<Claim> {
        self.claims(node, slots).await.claims
    }

    /// Claims, and returns the whole answer.
    pub(crate) async fn claims(&self, node: NodeId, slots: u32) -> Claims {
        self.engine.claim(node, slots, 1000).await.unwrap()
    }

    /// Claims what there is, and returns the names of the jobs.
    pub(crate) async fn names(&self, node: NodeId, slots: u32) -> Vec<String> {
        let claims = self.claim(node, slots).await;
        claims.iter().map(|claim| claim.job.to_string()).collect()
    }

    /// Ends an attempt in some way.
    pub(crate) async fn end(&self, node: NodeId, claim: &Claim, end: AttemptEnd) -> FinishResult {
        let finish = Finish {
            job: claim.job.clone(),
            fence: claim.fence,
            end,
        };
        self.engine.finish(node, &[finish]).await.unwrap().remove(0)
    }

    /// Ends attempts as successes that are recorded.
    pub(crate) async fn succeed(&self, node: NodeId, claims: &[Claim]) {
        for claim in claims {
            assert_eq!(
                self.end(node, claim, over(FinalStatus::Succeeded)).await,
                FinishResult::Committed,
                "{}",
                claim.job
            );
        }
    }

    /// Renews a session with all attempts that a node holds.
    pub(crate) async fn renew(&self, node: NodeId, held: &[Claim]) -> Renewal {
        let held: Vec<_> = (held.iter())
            .map(|claim| (claim.job.clone(), claim.fence))
            .collect();
        self.engine.renew(node, &held).await.unwrap()
    }

    /// Returns where a job is.
    pub(crate) async fn state(&self, job: &str) -> Option<JobState> {
        self.engine.states(&[name(job)]).await.unwrap()[0]
    }

    /// Returns what has happened so far.
    pub(crate) async fn events(&self) -> Vec<Event> {
        self.engine.events(Cursor::START, 10_000).await.unwrap()
    }

    /// Returns how jobs ended, in this order.
    pub(crate) async fn ends(&self) -> Vec<(String, FinalStatus, u32)> {
        let events = self.events().await.into_iter();
        let ends = events.filter_map(|event| match event.kind {
            EventKind::Ended {
                job,
                status,
                attempts,
                ..
            } => Some((job.to_string(), status, attempts)),
            _ => None,
        });
        ends.collect()
    }
}

/// Returns the name of a job.
pub(crate) fn name(text: &str) -> JobName {
    text.parse().expect("a valid name")
}

/// Returns a fully parallel job.
pub(crate) fn job(name_: &str) -> JobSpec {
    JobSpec::new(name(name_), "task")
}

/// Returns a job that is the only one of its sort on its host.
pub(crate) fn exclusive(name: &str, host: &str) -> JobSpec {
    JobSpec {
        hint: ParallelizationHint::HostExclusive,
        host: Some(host.into()),
        ..job(name)
    }
}

/// Returns a job with this hint.
pub(crate) fn hinted(name: &str, hint: ParallelizationHint) -> JobSpec {
    JobSpec { hint, ..job(name) }
}

/// Returns the end of a job without a result.
pub(crate) fn over(status: FinalStatus) -> AttemptEnd {
    AttemptEnd::Over {
        status,
        result: [].into(),
    }
}

/// Returns the end of an attempt after which another one follows.
pub(crate) fn again(millis: u64) -> AttemptEnd {
    AttemptEnd::Again {
        delay: Duration::from_millis(millis),
        handover: [].into(),
    }
}
