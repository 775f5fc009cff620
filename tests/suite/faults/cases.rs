//! The workers with a fault, and what every test of them checks.
//!
//! Every test runs in a process of its own. The one setting that is to end the fault is short, all
//! others are longer than any test may take: should another one have to help, the test fails.
//!
//! The same tests run with processes of this system and with those of an agent.

mod ends;
mod filters;
mod memory;
mod pipes;
mod starts;
mod talk;
mod times;
mod work;

use std::sync::Arc;
use std::time::Duration;

use ratchet_runtime::process::{
    Environment, PoolConfig, ProcessConfig, ProcessManager, ProcessPool, ProcessSupervisor,
    RestartPolicy,
};
use ratchet_runtime::worker::Reply;
use ratchet_runtime::{Class, Failure, Job, Payload, Terms, Timeouts};
use ratchet_tests::{Holdings, eventually, eventually_async, marked, within};

use super::manager;

/// A time that is longer than any test may take.
const LONG: Duration = Duration::from_secs(1000);

/// The timeout or grace that a test makes short, because it ends the fault that the test is about.
const SHORT: Duration = Duration::from_millis(200);

/// Makes the configuration of a worker with this fault.
fn faulty(fault: &str) -> PoolConfig {
    let program = ProcessConfig::new(env!("CARGO_BIN_EXE_faulty")).arg(fault);
    patient(PoolConfig::new("faulty", program))
}

/// Makes the configuration of a worker in shell that says hello and runs `fault` when a job asks for it.
fn shell(fault: &str) -> PoolConfig {
    let script = format!(
        r#"echo '{{"type":"event","event":"hello","protocol":[1],"name":"shell"}}'
        while read -r line; do
            id=${{line#*'"id":"'}}; id=${{id%%'"'*}}
            case $line in *'"fault"'*) {fault} ;; esac
            echo '{{"type":"response","id":"'$id'","result":"fine"}}'
        done"#
    );
    patient(PoolConfig::new(
        "faulty",
        ProcessConfig::new("sh").args(["-c", &script]),
    ))
}

/// Makes all times of a configuration long, so that only the one that a test makes short can end a fault.
fn patient(config: PoolConfig) -> PoolConfig {
    PoolConfig {
        start_timeout: LONG,
        handshake_wait: LONG,
        grace: LONG,
        ping: None,
        restart: RestartPolicy {
            intensity: 3,
            period: LONG,
            base: Duration::from_millis(1),
            cap: Duration::from_millis(10),
        },
        ..config
    }
}

/// A pool of workers with a fault, and what this process held before it had them.
struct Setting {
    processes: Arc<dyn ProcessManager>,
    supervisor: ProcessSupervisor,
    pool: ProcessPool,
    before: Holdings,
    mark: String,
}

impl Setting {
    async fn new(mut config: PoolConfig) -> Self {
        let processes = manager().await;
        // The first opens what all of them share.
        let first = processes.spawn_process(&ProcessConfig::new("true")).await;
        let mut first = first.expect("it starts");
        first.exit().wait().await;
        drop(first);
        eventually_async("the first has ended", async || {
            let living = processes.list_processes().await;
            living.is_ok_and(|living| living.is_empty())
        })
        .await;
        let before = Holdings::now();
        let mark = format!("RATCHET_FAULT={}", std::process::id());
        config.process = config
            .process
            .env(Environment::inherited().set("RATCHET_FAULT", std::process::id().to_string()));
        let supervisor = ProcessSupervisor::start(Arc::clone(&processes));
        let pool = supervisor.add(config).await.expect("it is possible");
        Self {
            processes,
            supervisor,
            pool,
            before,
            mark,
        }
    }

    /// Runs the job that meets the fault.
    async fn meet(&self) -> Failure {
        self.meet_within(Timeouts::default()).await
    }

    async fn meet_within(&self, timeouts: Timeouts) -> Failure {
        let reply = within(self.pool.run(fault(timeouts))).await;
        *reply.result.expect_err("it meets the fault")
    }

    /// Runs a job that does not meet the fault.
    async fn serve(&self) -> Reply {
        let reply = within(self.pool.run(job("well"))).await;
        assert_eq!(fine(&reply), "\"fine\"");
        reply
    }

    /// Checks that the pool serves the next job, ends the pool, and checks that nothing of it is left.
    async fn end(self) {
        self.serve().await;
        self.end_unserved().await;
    }

    async fn end_unserved(self) {
        within(self.supervisor.shutdown()).await;
        let left = within(self.processes.list_processes()).await;
        assert!(left.is_ok_and(|living| living.is_empty()));
        drop((self.supervisor, self.pool));
        eventually("no process is left", || marked(&self.mark).is_empty()).await;
        let before = self.before;
        eventually("nothing is held", || Holdings::now() == before).await;
        drop(self.processes);
    }

    /// Waits until one worker has failed for this cause, and none for another.
    async fn failed_for(&self, cause: &'static str) {
        eventually_async("one worker has failed", async || {
            self.failures().await == [(cause, 1)]
        })
        .await;
    }

    async fn failures(&self) -> Vec<(&'static str, u64)> {
        let metrics = self.pool.metrics().await.expect("the supervisor lives");
        metrics.failures.into_iter().collect()
    }
}

/// Runs a job that meets the fault of these workers, and checks that it fails as expected and that other jobs do not.
async fn meets(config: PoolConfig, class: Class, message: &str) -> Failure {
    let setting = Setting::new(config).await;
    let failure = setting.meet().await;
    is(&failure, class, message);
    setting.end().await;
    failure
}

fn job(input: &str) -> Job {
    Job::task("a", "any", Payload::from_text(input))
}

fn fault(timeouts: Timeouts) -> Job {
    job("fault").terms(Terms {
        timeouts,
        ..Terms::default()
    })
}

fn fine(reply: &Reply) -> &str {
    reply.result.as_ref().expect("a result").as_str()
}

fn is(failure: &Failure, class: Class, message: &str) {
    assert_eq!(
        (failure.class, failure.message.as_str()),
        (class, message),
        "{failure:?}"
    );
}

fn hard(limit: Duration) -> Timeouts {
    Timeouts {
        hard: Some(limit),
        ..Timeouts::default()
    }
}
