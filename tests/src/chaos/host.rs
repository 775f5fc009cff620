//! The host of a soak: a program that uses ratchet as any other would, and is killed for it.
//!
//! In its first life it begins a run, in each later one it goes on with it. It changes limits as it goes, and
//! writes down which and when, and what outcomes it hears of.

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ratchet_resilience::retry::{BackoffPolicy, Delay};
use ratchet_runtime::journal::Verdict;
use ratchet_runtime::process::{
    LocalProcesses, PoolConfig, Prefetch, ProcessConfig, ProcessPool, ProcessSupervisor, Recycling,
    RestartPolicy, Size,
};
use ratchet_runtime::summary::Tally;
use ratchet_runtime::{
    Durability, Executor, Job, Journal, Limit, ParallelizationHint, Payload, Priority, Quota, Rate,
    Resume, RunHandle, RunStore, Service, Terms, Timeouts,
};
use rustix::time::{ClockId, clock_gettime};

use super::notes::{self, Fact, Notebook};
use super::plan::{self, Claim, Named, Plan};
use super::{HOST_NOTES, WORKER_NOTES};
use crate::Holdings;
use crate::log::{self, Ear};

type Failed = Box<dyn Error>;

/// How often limits are changed in one life.
const CHANGES: u32 = 40;

/// How long the end of everything is waited for before what is left counts as left behind.
const PATIENCE: Duration = Duration::from_secs(10);

/// Lives once: runs all jobs that have not succeeded yet.
pub async fn live(plan: Plan, folder: &Path, life: u32) -> Result<(), Failed> {
    let mut notes = Notebook::open(&folder.join(HOST_NOTES), life)?;
    let began = Arc::new(OnceLock::new());
    log::listen(Scribe {
        notes: Mutex::new(Notebook::open(&folder.join(HOST_NOTES), life)?),
        began: Arc::clone(&began),
    });
    // The first opens what all of them share.
    drop(pools(plan, folder, life).await?);
    let before = settled(|_| true).await;
    run(plan, folder, life, &began, &mut notes).await?;
    let after =
        settled(|now| now.descriptors <= before.descriptors && now.children <= before.children)
            .await;
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    notes.note_all([
        Fact::Descriptors(count(before.descriptors), count(after.descriptors)),
        Fact::Children(count(before.children), count(after.children)),
    ])?;
    Ok(())
}

/// Writes down what ratchet says: whom it lets begin among the notes, what is wrong to stderr.
struct Scribe {
    notes: Mutex<Notebook>,
    /// A moment just before the run began.
    began: Arc<OnceLock<u64>>,
}

impl Ear for Scribe {
    fn complaint(&self, complaint: String) {
        // With nobody to read it, there is nobody to tell.
        let _ = writeln!(std::io::stderr(), "{complaint}");
    }

    fn grant(&self, job: &str, after_ns: u64) {
        let note = |began: &u64, job: &str| -> Result<u64, Failed> {
            let earlier = notes::now().saturating_sub(began + after_ns);
            let fact = Fact::Grants(job.parse()?, u32::try_from(earlier)?);
            let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(notes.note(fact)?)
        };
        let noted = self.began.get().map(|began| note(began, job));
        if !matches!(noted, Some(Ok(_))) {
            self.complaint(format!("the grant to job {job} cannot be noted: {noted:?}"));
        }
    }
}

/// What is held once no process is left, and `enough`, or when patience is over.
async fn settled(enough: impl Fn(&Holdings) -> bool) -> Holdings {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let now = Holdings::now();
        let done = now.children == 0 && enough(&now);
        if done || tokio::time::Instant::now() > deadline {
            return now;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn run(
    plan: Plan,
    folder: &Path,
    life: u32,
    began: &OnceLock<u64>,
    notes: &mut Notebook,
) -> Result<(), Failed> {
    let (journal, resume) = journal(folder, life)?;
    let journal = Arc::new(Mutex::new(journal));
    let mut builder = Executor::builder()
        .slots(plan::SLOTS)
        .limit(Named::Db.name(), Limit::max(plan::DB)?)
        .limit(Named::Disk.name(), Limit::max(plan::DISK)?)
        .limit(Named::Api.name(), rate(plan::API.per_second)?)
        .crash_limit(plan::CRASHES)
        .ledger(Arc::clone(&journal))
        .seed(plan.seed);
    for pool in pools(plan, folder, life).await? {
        let task = Service::new(pool.name());
        builder = builder.pool(pool, [task]);
    }
    let executor = builder.build()?;
    let mut tally = Tally::default();
    began.get_or_init(notes::now);
    let mut run = executor.run(jobs(plan, resume)?)?;
    let (handle, step) = (run.handle(), plan.jobs / CHANGES + 1);
    let (mut heard, mut changes) = (0, 0);
    let mut outcomes = Vec::new();
    while run.next_many(&mut outcomes, 256).await > 0 {
        for outcome in &outcomes {
            tally.record(outcome);
        }
        let mut facts = Vec::with_capacity(outcomes.len());
        for outcome in outcomes.drain(..) {
            facts.push(Fact::Hears(
                outcome.id.as_str().parse()?,
                outcome.is_success().into(),
            ));
        }
        heard += u32::try_from(facts.len())?;
        notes.note_all(facts)?;
        while changes < heard / step {
            changes += 1;
            change(plan, life, changes, &handle, notes).await?;
        }
    }
    if let Some(stopped) = run.stopped() {
        return Err(format!("the run stopped: {stopped:?}").into());
    }
    let mut journal = journal
        .lock()
        .map_err(|_| "whoever wrote the journal has panicked")?;
    journal.end(time_of_day(), &tally.summary(Duration::ZERO))?;
    Ok(())
}

/// The journal, and what it knows of an earlier life.
fn journal(folder: &Path, life: u32) -> Result<(Journal, Option<Resume>), Failed> {
    let store = RunStore::at(folder);
    let about = Payload::from_value(&life)?;
    let now = time_of_day();
    let Some(earlier) = store.latest()? else {
        let (_, journal) = store.create(now, None, about, Durability::Batch)?;
        return Ok((journal, None));
    };
    let (journal, history) =
        Journal::resume(store.journal(earlier), now, &about, Durability::Batch)?;
    Ok((journal, Some(Resume::new(Arc::new(history), None))))
}

fn time_of_day() -> SystemTime {
    let time = clock_gettime(ClockId::Realtime);
    UNIX_EPOCH + Duration::from_secs(time.tv_sec.unsigned_abs())
}

/// Two kinds of worker: what is exclusive is so across both.
async fn pools(plan: Plan, folder: &Path, life: u32) -> Result<[ProcessPool; 2], Failed> {
    let supervisor = ProcessSupervisor::start(Arc::new(LocalProcesses::start()));
    let worker = ProcessConfig::new(std::env::current_exe()?)
        .args(["worker".to_owned(), plan.seed.to_string(), life.to_string()])
        .arg(folder.join(WORKER_NOTES));
    let common = PoolConfig {
        prefetch: if plan::sends_ahead(life) {
            Prefetch::Auto
        } else {
            Prefetch::Fixed(0)
        },
        restart: RestartPolicy {
            intensity: u32::MAX,
            base: Duration::from_millis(1),
            cap: Duration::from_millis(20),
            ..RestartPolicy::default()
        },
        ..PoolConfig::new("swift", worker)
    };
    let swift = PoolConfig {
        size: Size::fixed(8),
        recycling: Recycling {
            soft_memory: Some(64 << 20),
            ..Recycling::default()
        },
        ..common.clone()
    };
    let steady = PoolConfig {
        name: "steady".to_owned(),
        size: Size {
            grow_after: Duration::from_millis(5),
            ..Size::between(1, 4)
        },
        recycling: Recycling {
            max_jobs: Some(500),
            idle_ttl: Some(Duration::from_millis(200)),
            ..Recycling::default()
        },
        ..common
    };
    Ok([supervisor.add(swift).await?, supervisor.add(steady).await?])
}

/// All jobs that have not succeeded yet, as the run has room for them.
fn jobs(
    plan: Plan,
    mut resume: Option<Resume>,
) -> Result<impl Iterator<Item = Job> + Send, Failed> {
    let policy = BackoffPolicy::builder()
        .max_attempts(plan::ATTEMPTS)
        .delay(Delay::Exponential {
            initial: Duration::from_millis(1),
            multiplier: 2.0,
        })
        .max_delay(Duration::from_millis(50))
        .build()?;
    let policy = Arc::new(policy);
    let all = (0..plan.jobs).map(move |number| job(plan, number, &policy));
    Ok(all.filter(move |job| {
        let verdict = resume.as_mut().map(|resume| resume.decide(job));
        !matches!(verdict, Some(Verdict::Skip(_)))
    }))
}

fn job(plan: Plan, number: u32, policy: &Arc<BackoffPolicy>) -> Job {
    let wish = plan.wish(number);
    let hint = match wish.claim {
        Claim::Nothing => ParallelizationHint::FullyParallel,
        Claim::Host => ParallelizationHint::HostExclusive,
        Claim::Global => ParallelizationHint::GlobalExclusive,
        Claim::Alone => ParallelizationHint::Alone,
        Claim::Key(key) => ParallelizationHint::RateLimited {
            requests_per_second: plan::quota(key).per_second.into(),
            burst: plan::quota(key).burst,
            key: Some(format!("key-{key}")),
        },
    };
    let priorities = [
        Priority::Critical,
        Priority::High,
        Priority::Normal,
        Priority::Low,
    ];
    let terms = Terms {
        hint: Some(hint),
        limits: wish
            .limits
            .iter()
            .map(|limit| limit.name().to_owned())
            .collect(),
        slots: wish.slots,
        priority: priorities[wish.urgency as usize % 4],
        timeouts: Timeouts {
            hard: Some(plan::HARD_TIMEOUT),
            ..Timeouts::default()
        },
        retry: Some(Arc::clone(policy)),
        ..Terms::default()
    };
    let task = if wish.steady { "steady" } else { "swift" };
    let input = Payload::from_value(&number).unwrap_or_else(|_| Payload::null());
    Job::task(number.to_string(), task, input)
        .on_host(format!("host-{}", wish.host))
        .terms(terms)
}

fn rate(per_second: u32) -> Result<Limit, Failed> {
    let rate = Rate::new(per_second.into(), Duration::from_secs(1))?;
    Ok(Limit::Rate(Quota::new(rate, plan::API.burst)?))
}

/// Changes something, and writes it down before and after.
async fn change(
    plan: Plan,
    life: u32,
    number: u32,
    handle: &RunHandle,
    notes: &mut Notebook,
) -> Result<(), Failed> {
    let between = |low: u32, high: u32| -> Result<u32, Failed> {
        let salt = 1 << 32 | u64::from(life);
        let roll = plan.roll(number, salt, u64::from(high - low + 1));
        Ok(low + u32::try_from(roll)?)
    };
    let (limit, value) = match number % 3 {
        0 => (0, between(3, 12)?),
        1 => (Named::Db as u32, between(1, 6)?),
        _ => (Named::Api as u32, between(100, 400)?),
    };
    notes.note(Fact::Changing(limit, value))?;
    let changed = match number % 3 {
        0 => handle.set_slots(value).await,
        1 => handle.set_limit(Named::Db.name(), Limit::max(value)?).await,
        _ => handle.set_limit(Named::Api.name(), rate(value)?).await,
    };
    match changed {
        Ok(()) => notes.note(Fact::Changed(limit, value)).map(drop)?,
        // Its last outcome is on the way.
        Err(ratchet_runtime::Error::RunEnded) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
