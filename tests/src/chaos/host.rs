//! The host of a soak: an ordinary program that uses ratchet, and that the driver kills again and again.
//!
//! In its first life it begins a run, and in each later life it resumes that run. It changes limits while it runs, and notes
//! each change and each outcome that it hears of.

use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ratchet_caching::{DiskCache, MemoryCache, TaskCache, TieredCache};
use ratchet_resilience::retry::{BackoffPolicy, Delay};
use ratchet_runtime::journal::ResumeDecision;
use ratchet_runtime::process::{
    Keeper, LocalProcesses, MemoryLimits, PoolConfig, Prefetch, ProcessConfig, ProcessPool,
    ProcessSupervisor, Recycling, RestartPolicy, Size,
};
use ratchet_runtime::summary::Tally;
use ratchet_runtime::{
    CacheTerms, Durability, Executor, Job, Journal, Limit, ParallelizationHint, Payload, Placement,
    Priority, Quota, Rate, Resource, ResourceNeed, Resume, RunHandle, RunStore, Service, Terms,
    Timeouts,
};
use rustix::time::{ClockId, clock_gettime};

use super::notes::{self, Fact, NoteWriter};
use super::plan::{self, Claim, JobSpec, Named, Performer, Plan};
use super::{GROUP_VARIABLE, HOST_NOTES, PROGRAM_VARIABLE, SCRIPT};
use crate::Holdings;
use crate::log::{self, LogListener};

type Failed = Box<dyn Error>;

/// How many changes of limits the host makes in one life.
const CHANGES: u32 = 40;

/// How long the host waits for processes to end before they count as left behind.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many bytes of results the cache keeps in memory.
const IN_MEMORY: u64 = 1 << 20;

/// Runs one life: all jobs that have not succeeded yet.
pub fn run_host(plan: Plan, folder: &Path, life: u32) -> Result<(), Failed> {
    if let Some(group) = std::env::var_os(GROUP_VARIABLE) {
        // The host joins the group before it has a second thread, because threads that exist already stay outside.
        fs::write(PathBuf::from(group).join("cgroup.procs"), "0")?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let host = Host { plan, folder, life };
    runtime.block_on(host.run())
}

/// A life of the host: its plan, its folder and its number.
#[derive(Debug, Clone, Copy)]
struct Host<'a> {
    plan: Plan,
    folder: &'a Path,
    life: u32,
}

impl Host<'_> {
    fn open_notes(self) -> std::io::Result<NoteWriter> {
        NoteWriter::open(&self.folder.join(HOST_NOTES), self.life)
    }

    async fn run(self) -> Result<(), Failed> {
        let mut notes = self.open_notes()?;
        let began = Arc::new(OnceLock::new());
        log::listen(GrantRecorder {
            notes: Mutex::new(self.open_notes()?),
            began: Arc::clone(&began),
        });
        // The first pool opens what all later ones share.
        drop(self.pools(&Keeper::start()?, &[Performer::Swift]).await?);
        let before = settled(|_| true).await;
        self.run_jobs(&began, &mut notes).await?;
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
}

/// Listens to the log of ratchet, and writes grants to the notes and errors to stderr.
struct GrantRecorder {
    notes: Mutex<NoteWriter>,
    /// A time just before the run began, from which the log counts.
    began: Arc<OnceLock<u64>>,
}

impl LogListener for GrantRecorder {
    fn complaint(&self, complaint: String) {
        // The error is ignored, because there is no other place to report it.
        let _ = writeln!(std::io::stderr(), "{complaint}");
    }

    fn grant(&self, job: &str, after_ns: u64, last_slot: u64) {
        let note = |began: &u64, job: &str| -> Result<u64, Failed> {
            let earlier = notes::now().saturating_sub(began + after_ns);
            let job = job.parse()?;
            let grant = Fact::Grants(job, u32::try_from(earlier)?);
            let fills = Fact::Fills(job, u32::try_from(last_slot)?);
            let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(notes.note_all([grant, fills])?)
        };
        let noted = self.began.get().map(|began| note(began, job));
        if !matches!(noted, Some(Ok(_))) {
            self.complaint(format!("the grant to job {job} cannot be noted: {noted:?}"));
        }
    }
}

/// Waits until no process is left and `enough` is true, or until the patience ends, and returns what is held then.
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

impl Host<'_> {
    /// Runs the jobs that are left, with the journal and the cache, and changes limits in the meantime.
    async fn run_jobs(self, began: &OnceLock<u64>, notes: &mut NoteWriter) -> Result<(), Failed> {
        let Self { plan, folder, life } = self;
        let keeper = Keeper::start()?;
        let (journal, resume) = journal(folder, life)?;
        let journal = Arc::new(Mutex::new(journal));
        let cache = cache(folder);
        // Creating the index waits for the disk, for seconds on a busy machine, and until then no job could use the
        // cache.
        cache.stats().await?;
        let mut builder = Executor::builder()
            .slots(plan::SLOTS)
            .limit(Named::Db.name(), Limit::max(plan::DB)?)
            .limit(Named::Disk.name(), Limit::max(plan::DISK)?)
            .limit(Named::Api.name(), rate(plan::API.per_second)?)
            .resource(
                "device",
                Resource::identities((0..plan::DEVICES).map(|device| device.to_string()))?,
            )
            .crash_limit(plan::CRASHES)
            .keeper(keeper.clone())
            .cache(cache)
            .ledger(Arc::clone(&journal))
            .seed(plan.seed);
        if let Some(jobs) = plan::window(life) {
            builder = builder.window(jobs);
        }
        notes.note(Fact::MakesPools)?;
        for pool in self.pools(&keeper, &POOLS).await? {
            let task = Service::new(pool.name());
            builder = builder.pool(pool, [task]);
        }
        notes.note(Fact::MadePools)?;
        let executor = builder.build()?;
        let mut tally = Tally::default();
        began.get_or_init(notes::now);
        let mut run = executor.run(self.jobs(resume)?)?;
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
}

/// Opens the cache, which all lives share.
fn cache(folder: &Path) -> TaskCache {
    let memory = Arc::new(MemoryCache::new(IN_MEMORY));
    let disk = Arc::new(DiskCache::new(folder.join("cache").as_path()));
    TaskCache::new(Arc::new(TieredCache::new(memory, disk)))
}

/// Opens the journal, with the jobs that are left after an earlier life.
pub(super) fn journal(folder: &Path, life: u32) -> Result<(Journal, Option<Resume>), Failed> {
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

pub(super) fn time_of_day() -> SystemTime {
    let time = clock_gettime(ClockId::Realtime);
    UNIX_EPOCH + Duration::from_secs(time.tv_sec.unsigned_abs())
}

/// The performers that have a pool.
const POOLS: [Performer; 4] = [
    Performer::Swift,
    Performer::Steady,
    Performer::Loading,
    Performer::Scripted,
];

impl Host<'_> {
    /// Makes a pool for each performer. There are several, because exclusive jobs are exclusive across all pools.
    async fn pools(
        self,
        keeper: &Keeper,
        performers: &[Performer],
    ) -> Result<Vec<ProcessPool>, Failed> {
        let processes = LocalProcesses::with_keeper(Some(keeper.clone()));
        let supervisor = ProcessSupervisor::start(Arc::new(processes));
        let mut pools = Vec::new();
        for performer in performers {
            pools.push(supervisor.add(self.pool(*performer)?).await?);
        }
        Ok(pools)
    }

    /// Makes a process that reads the script. The files that a command line names are part of the key of a cached result. This
    /// program takes seconds to hash in a debug build, so it is passed in a variable and not named.
    fn by_script(self, performer: Performer, args: &[u32]) -> ProcessConfig {
        let kind = match performer {
            Performer::ScriptedCommand => performer.name(),
            _ => "worker",
        };
        let words = [kind.to_owned(), self.plan.seed.to_string()].into_iter();
        let words = match performer {
            Performer::ScriptedCommand => words.chain(None),
            _ => words.chain(Some(performer.name().to_owned())),
        };
        let words = words.chain(args.iter().map(u32::to_string));
        let call = format!(r#"script=$0; exec "${PROGRAM_VARIABLE}" "$@" "$script""#);
        ProcessConfig::new("sh")
            .args(["-c".to_owned(), call])
            .arg(self.folder.join(SCRIPT))
            .args(words)
    }

    /// Returns the configuration of a performer's pool.
    fn pool(self, performer: Performer) -> Result<PoolConfig, Failed> {
        let worker = ProcessConfig::new(std::env::current_exe()?).args([
            "worker",
            &self.plan.seed.to_string(),
            performer.name(),
        ]);
        let common = PoolConfig {
            prefetch: if plan::sends_ahead(self.life) {
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
            ..PoolConfig::new(performer.name(), worker)
        };
        let recycling = Recycling::default();
        Ok(match performer {
            Performer::Steady => PoolConfig {
                size: Size {
                    grow_after: Duration::from_millis(5),
                    ..Size::between(1, 4)
                },
                recycling: Recycling {
                    max_jobs: Some(500),
                    idle_ttl: Some(Duration::from_millis(200)),
                    ..recycling
                },
                ..common
            },
            Performer::Loading => PoolConfig {
                size: Size::fixed(6),
                // The wait is so short that all of these workers count as workers without a hello.
                handshake_wait: Duration::from_millis(20),
                recycling: Recycling {
                    max_jobs: Some(40),
                    ..recycling
                },
                ..common
            },
            Performer::Scripted => PoolConfig {
                process: self.by_script(performer, &[]),
                size: Size::fixed(3),
                // Workers are recycled, so that some start after an edit.
                recycling: Recycling {
                    max_jobs: Some(4),
                    ..recycling
                },
                ..common
            },
            Performer::Swift | Performer::Command | Performer::ScriptedCommand => PoolConfig {
                size: Size::fixed(8),
                recycling: Recycling {
                    soft_memory: Some(64 << 20),
                    ..recycling
                },
                ..common
            },
        })
    }

    /// Returns the jobs that have not succeeded yet, one by one as the run takes them.
    fn jobs(
        self,
        mut resume: Option<Resume>,
    ) -> Result<impl Iterator<Item = Job> + Send + use<>, Failed> {
        let policy = BackoffPolicy::builder()
            .max_attempts(plan::ATTEMPTS)
            .delay(Delay::Exponential {
                initial: Duration::from_millis(1),
                multiplier: 2.0,
            })
            .max_delay(Duration::from_millis(50))
            .build()?;
        let policy = Arc::new(policy);
        let program = std::env::current_exe()?;
        let folder = self.folder.to_path_buf();
        let mut notes = self.open_notes()?;
        let Self { plan, life, .. } = self;
        let job = move |number| {
            let spec = plan.spec(number);
            let host = Host {
                plan,
                folder: &folder,
                life,
            };
            let work = match spec.performer {
                Performer::Command => {
                    let words = ["command", &plan.seed.to_string(), &number.to_string()];
                    Job::command(number.to_string(), ProcessConfig::new(&program).args(words))
                }
                Performer::ScriptedCommand => {
                    let config = host.by_script(spec.performer, &[spec.input]);
                    Job::command(number.to_string(), config)
                }
                _ => {
                    let input = Payload::from_value(&spec.input);
                    let input = input.unwrap_or_else(|_| Payload::null());
                    Job::task(number.to_string(), spec.performer.name(), input)
                }
            };
            let job = work
                .on_host(format!("host-{}", spec.host))
                .terms(terms(&spec, &policy));
            (spec, job)
        };
        Ok((0..plan.jobs).filter_map(move |number| {
            let (spec, job) = job(number);
            let verdict = resume.as_mut().map(|resume| resume.decide(&job));
            if matches!(verdict, Some(ResumeDecision::Keep(_))) {
                return None;
            }
            // The checker has to know the earliest time at which the cache may have been asked for the job. If that
            // cannot be noted, the job is left out, and the checker reports that it never ended.
            let is_noted = spec.performer != Performer::ScriptedCommand
                || notes.note(Fact::Takes(number)).is_ok();
            is_noted.then_some(job)
        }))
    }
}

/// Makes the terms of a job from what it asks for.
fn terms(spec: &JobSpec, policy: &Arc<BackoffPolicy>) -> Terms {
    let hint = match spec.claim {
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
    Terms {
        hint: Some(hint),
        limits: spec
            .limits
            .iter()
            .map(|limit| limit.name().to_owned())
            .collect(),
        slots: spec.slots,
        resources: (spec.devices > 0)
            .then(|| ResourceNeed::new("device", spec.devices.into()))
            .into_iter()
            .collect(),
        memory_growth: 1.0,
        memory: MemoryLimits::default(),
        on: Placement::Here,
        slow: None,
        fail_fast: None,
        granted: None,
        priority: priorities[spec.priority as usize % 4],
        timeouts: Timeouts {
            hard: Some(spec.performer.hard_timeout()),
            ..Timeouts::default()
        },
        retry: Some(Arc::clone(policy)),
        cache: spec.performer.is_cached().then(|| CacheTerms::On {
            inputs: Vec::new(),
            env: Vec::new(),
            ttl: None,
        }),
    }
}

fn rate(per_second: u32) -> Result<Limit, Failed> {
    let rate = Rate::new(per_second.into(), Duration::from_secs(1))?;
    Ok(Limit::Rate(Quota::new(rate, plan::API.burst)?))
}

/// Changes a limit, and notes it before and after.
async fn change(
    plan: Plan,
    life: u32,
    number: u32,
    handle: &RunHandle,
    notes: &mut NoteWriter,
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
        // The run has ended in the meantime, and its last outcome is not delivered yet.
        Err(ratchet_runtime::Error::RunEnded) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
