//! What runs on a host is dead before the dispatcher counts it as ended, even if the agent there is stopped.
#![cfg(target_os = "linux")]

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use ratchet_runtime::monitor::AdmissionLimits;
use ratchet_runtime::process::{CommandRunner, ProcessConfig};
use ratchet_runtime::remote::{AgentProgram, HostConfig, LaunchLimit, RemoteConfig, RemoteHost};
use ratchet_runtime::{
    Class, Executor, Job, Outcome, ParallelizationHint, Place, PlaceName, Placement, Terms,
};
use ratchet_tests::{Folder, eventually, marked, within};
use rustix::process::{Pid, Signal, kill_process};

/// The first job. It writes its id and that of the agent that has started it, and never ends.
const FIRST: &str =
    "trap '' TERM HUP; echo $$ $PPID > first.new; mv first.new first; while :; do sleep 0.05; done";

/// The second job. It says whether the first one runs.
const SECOND: &str = "read id agent < first; case $(cut -d' ' -f3 /proc/$id/stat 2>/dev/null) in ''|Z|X) echo alone;; *) echo both;; esac";

/// Returns a host that is this machine, whose agents and all that they start have this mark in their environment.
fn host(mark: &str, fence: &str) -> HostConfig {
    // As over ssh, the agent is another process than the launcher, which is killed when the host is lost, and has a session of
    // its own. In the session of the launcher it would get SIGHUP and SIGCONT by the launcher's end.
    let script = format!("export {mark}; {fence} setsid \"$@\"; exit $?");
    HostConfig {
        name: PlaceName::new("web1"),
        launcher: ["sh", "-c", &script, "launcher"].map(str::to_owned).into(),
        agent: AgentProgram::Installed(env!("CARGO_BIN_EXE_agent").to_owned()),
        slots: Some(2),
        env: Vec::new(),
        admission: AdmissionLimits::default(),
        remote: RemoteConfig {
            fence_after: Duration::from_secs(2),
            lost_after: Duration::from_secs(3),
            kill_margin: Duration::from_secs(2),
            ..RemoteConfig::new("web1")
        },
        first_connect_timeout: Duration::from_secs(1000),
        give_up: Duration::from_secs(1000),
    }
}

/// Runs two exclusive jobs on a host whose agent is stopped while the first one runs, and goes on after the second one. Returns
/// what the second one said.
async fn second_of_two_exclusive_jobs(fence: &str) -> String {
    let folder = Folder::new();
    let mark = format!("FENCE_TEST={}", folder.path().display());
    let host = Arc::new(RemoteHost::start(
        host(&mark, fence),
        &LaunchLimit::default(),
    ));
    let commands = CommandRunner::through(Arc::<RemoteHost>::clone(&host));
    let web1 = Place::new(PlaceName::new("web1"), commands, host.state());
    let executor = Executor::builder().slots(1).place(web1).build();
    let executor = executor.expect("it is well made");
    let terms = Terms {
        hint: Some(ParallelizationHint::HostExclusive),
        on: Placement::Host,
        ..Terms::default()
    };
    let terms = Arc::new(terms);
    let job = |id: &str, script| {
        let config = ProcessConfig::new("sh").args(["-c", script]);
        Job::command(id, config.working_dir(folder.path()))
            .on_host("web1")
            .terms(Arc::clone(&terms))
    };
    let jobs = executor.run_all([job("first", FIRST), job("second", SECOND)]);
    let first = folder.at("first");
    let stops = async {
        eventually("the first job runs", || first.exists()).await;
        let ids = fs::read_to_string(&first).expect("it is written");
        let agent = ids.trim().rsplit(' ').next().and_then(|id| id.parse().ok());
        let agent = agent.and_then(Pid::from_raw).expect("it has a number");
        kill_process(agent, Signal::STOP).expect("it is ours");
        agent
    };
    let (outcomes, agent) = within(async { tokio::join!(jobs, stops) }).await;
    let outcomes = outcomes.expect("the run ends");
    let class = outcomes[0].failure().map(|failure| failure.class);
    assert_eq!(class, Some(Class::Host), "{outcomes:?}");
    // One that was killed is not there any more.
    let _ = kill_process(agent, Signal::CONT);
    drop((executor, host));
    eventually("nothing is left", || marked(&mark).is_empty()).await;
    stdout(&outcomes[1])
}

/// Returns what the command of a job has printed.
fn stdout(outcome: &Outcome) -> String {
    let result = outcome.result.as_ref().expect("the job succeeds");
    let result: serde_json::Value = serde_json::from_str(result.as_str()).expect("it is JSON");
    result["stdout"]
        .as_str()
        .expect("it is text")
        .trim()
        .to_owned()
}

#[tokio::test]
async fn an_exclusive_job_that_a_stopped_agent_has_started_is_dead_before_the_next_one_starts() {
    assert_eq!(second_of_two_exclusive_jobs("").await, "alone");
}

/// Shows that the other test could fail.
#[tokio::test]
async fn without_a_fence_a_job_that_a_stopped_agent_has_started_runs_beside_the_next_one() {
    assert_eq!(
        second_of_two_exclusive_jobs("AGENT_WITHOUT_FENCE=1").await,
        "both"
    );
}
