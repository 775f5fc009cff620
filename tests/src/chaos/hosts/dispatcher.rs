//! The dispatcher of the soak over hosts: an ordinary program that uses ratchet, and that the driver kills.

use std::error::Error;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ratchet_resilience::retry::{BackoffPolicy, Delay};
use ratchet_runtime::journal::ResumeDecision;
use ratchet_runtime::monitor::AdmissionLimits;
use ratchet_runtime::process::{CommandRunner, Keeper, ProcessConfig};
use ratchet_runtime::remote::{AgentProgram, HostConfig, LaunchLimit, RemoteConfig, RemoteHost};
use ratchet_runtime::summary::Tally;
use ratchet_runtime::{
    Executor, Job, Limit, ParallelizationHint, Place, PlaceName, Placement, Resource, ResourceNeed,
    Terms,
};

use super::HERE;
use super::plan::{self, Claim, HostJob, HostPlan, Where};
use crate::chaos::host::{journal, time_of_day};
use crate::chaos::notes::{Fact, NoteWriter};
use crate::chaos::{HOST_NOTES, WORKER_NOTES};
use crate::log::{self, LogListener};

type Failed = Box<dyn Error>;

/// The limit that some jobs claim.
const DB: &str = "db";

/// The resource of each place that some jobs take.
const DEVICE: &str = "device";

/// Runs one life: all jobs that have not succeeded yet.
pub fn run_dispatcher(plan: HostPlan, folder: &Path, life: u32) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    log::listen(Complaints);
    runtime.block_on(run(plan, folder, life))
}

/// Writes errors of the log to stderr. A lost host is the subject of the soak, and not an error.
struct Complaints;

impl LogListener for Complaints {
    #[expect(clippy::print_stderr, reason = "the driver reads it")]
    fn complaint(&self, complaint: String) {
        eprintln!("{complaint}");
    }

    fn grant(&self, _job: &str, _after_ns: u64, _last_slot: u64) {}
}

async fn run(plan: HostPlan, folder: &Path, life: u32) -> Result<(), Failed> {
    let (journal, mut resume) = journal(folder, life)?;
    let journal = Arc::new(Mutex::new(journal));
    let keeper = Keeper::start()?;
    let gate = LaunchLimit::default();
    let mut builder = Executor::builder()
        .slots(plan::SLOTS)
        .limit(DB, Limit::max(u32::try_from(plan::DB)?)?)
        .resource(DEVICE, devices()?)
        .keeper(keeper)
        .ledger(Arc::clone(&journal))
        .seed(plan.plan.seed);
    let mut hosts = Vec::new();
    for number in 1..=plan.hosts {
        let host = Arc::new(RemoteHost::start(config(number)?, &gate));
        let commands = CommandRunner::through(Arc::<RemoteHost>::clone(&host));
        let place = Place::new(name(number), commands, host.state());
        let place = place.resource(DEVICE, devices()?);
        builder = builder.place(place.round_trip(host.round_trip()));
        hosts.push(host);
    }
    let executor = builder.build()?;
    let worker_notes = folder.join(WORKER_NOTES);
    let program = std::env::current_exe()?;
    let policy = BackoffPolicy::builder()
        .max_attempts(100)
        .delay(Delay::Exponential {
            initial: Duration::from_millis(1),
            multiplier: 2.0,
        })
        .max_delay(Duration::from_millis(50))
        .build()?;
    let policy = Arc::new(policy);
    let jobs = (0..plan.plan.jobs).filter_map(move |number| {
        // The life is passed in the environment: as an argument, it would make another job of it in each life.
        let words = [plan.plan.seed, plan.hosts.into(), number.into()];
        let config = ProcessConfig::new(&program)
            .arg("attempt")
            .args(words.map(|word| word.to_string()))
            .arg(&worker_notes);
        let spec = plan.job(number);
        let job = Job::command(number.to_string(), config)
            .on_host(format!("concern-{}", spec.concern))
            .terms(Terms {
                retry: Some(Arc::clone(&policy)),
                ..terms(spec, plan.hosts)
            });
        let decided = resume.as_mut().map(|resume| resume.decide(&job));
        (!matches!(decided, Some(ResumeDecision::Keep(_)))).then_some(job)
    });
    let mut notes = NoteWriter::open(&folder.join(HOST_NOTES), life)?;
    let mut tally = Tally::default();
    let mut run = executor.run(jobs)?;
    while let Some(outcome) = run.next().await {
        tally.record(&outcome);
        let heard = outcome.is_success().then(|| match &outcome.place {
            None => Ok(HERE),
            Some(place) => place.as_str().trim_start_matches("host-").parse::<u32>(),
        });
        // 0 is a failure, and the number of the place follows.
        let place = heard.transpose()?.map_or(0, |place| place + 1);
        notes.note(Fact::Hears(outcome.id.as_str().parse()?, place))?;
        if place == 0 {
            Complaints.complaint(format!("job {} failed: {:?}", outcome.id, outcome.result));
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

/// Returns the devices of a place. Each place has its own, which have the same names everywhere.
fn devices() -> Result<Resource, Failed> {
    Ok(Resource::identities(
        (0..plan::DEVICES).map(|device| device.to_string()),
    )?)
}

fn name(host: u32) -> PlaceName {
    if host == HERE {
        PlaceName::LOCAL
    } else {
        PlaceName::new(&format!("host-{host}"))
    }
}

/// Returns how a host is reached: through a relay, with an agent that is this program.
fn config(number: u32) -> Result<HostConfig, Failed> {
    let program = std::env::current_exe()?;
    let program = program.to_str().ok_or("the program has a strange name")?;
    let launcher = [program, "relay", &number.to_string()].map(str::to_owned);
    Ok(HostConfig {
        name: name(number),
        launcher: launcher.into(),
        agent: AgentProgram::Installed(program.to_owned()),
        slots: Some(plan::SLOTS),
        env: Vec::new(),
        admission: AdmissionLimits::default(),
        remote: RemoteConfig {
            lost_after: Duration::from_millis(1500),
            fence_after: Duration::from_secs(1),
            kill_margin: Duration::from_secs(1),
            ..RemoteConfig::new(name(number).to_string())
        },
        first_connect_timeout: Duration::from_mins(2),
        give_up: Duration::from_mins(2),
    })
}

/// Makes the terms of a job from what it asks for.
fn terms(spec: HostJob, hosts: u32) -> Terms {
    let hint = match spec.claim {
        Claim::Nothing | Claim::Db => ParallelizationHint::FullyParallel,
        Claim::Concern(_) => ParallelizationHint::HostExclusive,
        Claim::Global => ParallelizationHint::GlobalExclusive,
    };
    let places = match spec.place {
        Where::Anywhere => (HERE..=hosts).map(name).collect(),
        Where::At(host) => [name(host)].into(),
    };
    let limits = (spec.claim == Claim::Db).then(|| DB.to_owned());
    Terms {
        hint: Some(hint),
        limits: limits.into_iter().collect(),
        resources: (spec.devices > 0)
            .then(|| ResourceNeed::new(DEVICE, spec.devices.into()))
            .into_iter()
            .collect(),
        on: Placement::Among(places),
        ..Terms::default()
    }
}
