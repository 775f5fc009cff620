//! A host is reached by its launcher, again after it was lost, and given up with a reason that helps.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use ratchet_runtime::monitor::AdmissionLimits;
use ratchet_runtime::process::{Ending, Environment, ProcessConfig, ProcessManager};
use ratchet_runtime::remote::{
    Agent, AgentProgram, HostConfig, LaunchLimit, RemoteConfig, RemoteHost, RemoteProcesses,
};
use ratchet_runtime::{Class, PlaceName, PlaceState};
use ratchet_tests::{Folder, read_text, shell, within};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncReadExt;
use tokio::sync::watch;

/// Makes a host that a shell script launches, which has the command for the other side in "$@".
fn host(script: &str) -> HostConfig {
    HostConfig {
        name: PlaceName::new("web1"),
        launcher: ["sh", "-c", script, "launcher"].map(str::to_owned).into(),
        agent: AgentProgram::Installed(env!("CARGO_BIN_EXE_agent").to_owned()),
        slots: Some(3),
        env: vec![("REGION".to_owned(), "eu".to_owned())],
        admission: AdmissionLimits::default(),
        remote: RemoteConfig {
            lost_after: Duration::from_secs(3),
            fence_after: Duration::from_secs(2),
            kill_margin: Duration::from_millis(100),
            ..RemoteConfig::new("web1")
        },
        first_connect_timeout: Duration::from_secs(1000),
        give_up: Duration::from_secs(1000),
    }
}

fn start(config: HostConfig) -> (RemoteHost, watch::Receiver<PlaceState>) {
    let host = RemoteHost::start(config, &LaunchLimit::default());
    let state = host.state();
    (host, state)
}

async fn wait_for(state: &mut watch::Receiver<PlaceState>, wanted: &PlaceState) {
    let reached = state.wait_for(|state| state == wanted);
    within(reached).await.expect("the host is kept");
}

async fn given_up(state: &mut watch::Receiver<PlaceState>) -> String {
    let is_given_up = |state: &PlaceState| matches!(state, PlaceState::GivenUp(_));
    let state = within(state.wait_for(is_given_up)).await;
    let PlaceState::GivenUp(failure) = state.expect("the host is kept").clone() else {
        unreachable!("it was waited for")
    };
    assert_eq!(failure.class, Class::Unreachable);
    failure.message
}

async fn output(host: &RemoteHost, config: &ProcessConfig) -> String {
    let started = within(host.spawn_process(config)).await;
    let mut process = started.expect("it starts");
    let (_stdin, stdout, _stderr) = process.take_pipes().expect("they are there");
    let text = read_text(stdout).await;
    within(process.exit().wait()).await;
    text
}

#[tokio::test]
async fn a_host_has_the_slots_and_variables_that_were_declared_and_those_of_a_process_come_first() {
    let (host, mut state) = start(host("echo welcome to web1; exec \"$@\""));
    wait_for(&mut state, &PlaceState::Ready { slots: 3 }).await;
    let script = shell("echo $REGION");
    assert_eq!(output(&host, &script).await, "eu\n");
    let own = script.env(Environment::inherited().set("REGION", "us"));
    assert_eq!(output(&host, &own).await, "us\n");
}

#[tokio::test]
async fn the_heartbeat_tells_the_round_trip_and_the_machine_if_that_is_wanted() {
    for measures_machine in [false, true] {
        let (here, there) = tokio::io::duplex(64 * 1024);
        let (input, output) = tokio::io::split(there);
        tokio::spawn(Agent::new().serve(input, output));
        let (input, output) = tokio::io::split(here);
        let config = RemoteConfig {
            lost_after: Duration::from_secs(3),
            measures_machine,
            ..RemoteConfig::new("web1")
        };
        let processes = RemoteProcesses::connect(input, output, config).await;
        let processes = processes.expect("the agent answers");
        let mut health = processes.health();
        let told = health.wait_for(|health| {
            health.round_trip.is_some() && health.machine.is_some() == measures_machine
        });
        let health = *within(told).await.expect("the connection is kept");
        if let Some(machine) = health.machine {
            assert!(
                machine.memory_total >= machine.memory_available,
                "{machine:?}"
            );
            assert!(
                machine.memory_available > 0 && machine.load >= 0.0,
                "{machine:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_host_that_was_lost_is_connected_again_and_what_ran_there_has_ended() {
    let folder = Folder::new();
    let pids = folder.at("pids");
    let script = format!("echo $$ >> '{}'; exec \"$@\"", pids.display());
    let (host, mut state) = start(host(&script));
    let ready = PlaceState::Ready { slots: 3 };
    wait_for(&mut state, &ready).await;
    let sleeper = ProcessConfig::new("sleep").arg("1000");
    let started = within(host.spawn_process(&sleeper)).await;
    let mut lost = started.expect("it starts");
    kill(&pids, 0);
    wait_for(&mut state, &PlaceState::Away).await;
    wait_for(&mut state, &ready).await;
    let ended = within(lost.exit().wait()).await;
    assert_eq!(ended.ending, Ending::HostLost);

    let started = within(host.spawn_process(&sleeper)).await;
    let mut next = started.expect("it starts");
    assert_ne!(next.id(), lost.id());
    let asked = host.terminate_process(lost.id(), Duration::ZERO).await;
    asked.expect("one that has ended is passed over");
    let living = host.list_processes().await.expect("it is connected");
    assert_eq!(living.len(), 1, "the other one lives on");
    let asked = host.terminate_process(next.id(), Duration::ZERO).await;
    asked.expect("it lives");
    within(next.exit().wait()).await;
}

#[tokio::test]
async fn an_output_that_a_launcher_cuts_without_a_word_is_an_error_and_no_end() {
    // As `kubectl exec` does at times: it has passed on a part of the bytes, and ends as if that were all.
    let (host, _state) = start(host(r#""$@" | stdbuf -o0 head -c 300000; exit 0"#));
    let million = ProcessConfig::new("head").args(["-c", "1000000", "/dev/zero"]);
    let started = within(host.spawn_process(&million)).await;
    let mut process = started.expect("it starts");
    let (_stdin, mut stdout, _stderr) = process.take_pipes().expect("they are there");
    let mut bytes = Vec::new();
    let read = within(stdout.read_to_end(&mut bytes)).await;
    let error = read.expect_err("the output has not ended");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionAborted);
    assert!(bytes.len() < 300_000, "{}", bytes.len());
    let ended = within(process.exit().wait()).await;
    assert_eq!(ended.ending, Ending::HostLost);
}

/// Kills the launcher of this number.
fn kill(pids: &Path, number: usize) {
    let pids = fs::read_to_string(pids).expect("they are written");
    let pid = pids.lines().nth(number).expect("it was started");
    let pid = Pid::from_raw(pid.parse().expect("a number")).expect("it is a process");
    kill_process(pid, Signal::KILL).expect("it is ours");
}

#[tokio::test]
async fn a_process_that_is_started_early_waits_for_the_connection() {
    let (host, _state) = start(host("exec \"$@\""));
    let hello = ProcessConfig::new("echo").arg("hello");
    assert_eq!(output(&host, &hello).await, "hello\n");
}

#[tokio::test]
async fn a_host_that_never_has_the_memory_that_has_to_be_free_is_given_up() {
    let admission = AdmissionLimits {
        memory_free: Some(u64::MAX / 2),
        ..AdmissionLimits::default()
    };
    let config = HostConfig {
        admission,
        ..host("exec \"$@\"")
    };
    let (_host, mut state) = start(config);
    let message = given_up(&mut state).await;
    let begin = "host web1 cannot be reached: no job would ever start there: ";
    assert!(message.starts_with(begin), "{message}");
}

#[tokio::test]
async fn the_round_trip_and_health_of_a_host_are_known_while_it_is_connected() {
    let folder = Folder::new();
    let pid = folder.at("pid");
    let script = format!("echo $$ > '{}'; exec \"$@\"", pid.display());
    let (host, mut state) = start(host(&script));
    wait_for(&mut state, &PlaceState::Ready { slots: 3 }).await;
    let mut round_trip = host.round_trip();
    let known = within(round_trip.wait_for(Option::is_some)).await;
    assert!(known.expect("the host is kept").is_some());
    let mut health = host.health();
    let known = within(health.wait_for(|health| health.round_trip.is_some())).await;
    drop(known.expect("the host is kept"));
    kill(&pid, 0);
    let lost = within(health.wait_for(|health| health.round_trip.is_none())).await;
    drop(lost.expect("the host is kept"));
}

#[tokio::test]
async fn a_host_that_cannot_be_reached_is_tried_again_and_given_up_with_the_last_words() {
    let folder = Folder::new();
    let tries = folder.at("tries");
    let script = format!(
        "echo >> '{}'; echo 'ssh: no route to host web1' >&2; exit 255",
        tries.display()
    );
    let config = HostConfig {
        first_connect_timeout: Duration::from_millis(600),
        ..host(&script)
    };
    let (host, mut state) = start(config);
    assert_eq!(
        given_up(&mut state).await,
        "host web1 cannot be reached: ssh: no route to host web1"
    );
    let tries = fs::read_to_string(tries).expect("it was tried");
    assert!(tries.lines().count() >= 2, "{tries:?}");
    let refused = within(host.spawn_process(&ProcessConfig::new("true"))).await;
    assert!(refused.is_err(), "nothing waits for ever: {refused:?}");
}

#[tokio::test]
async fn a_launcher_that_is_not_there_is_not_tried_again() {
    let config = HostConfig {
        launcher: vec!["/no/such/launcher".to_owned()],
        ..host("")
    };
    let (_host, mut state) = start(config);
    assert_eq!(
        given_up(&mut state).await,
        "host web1 cannot be reached: the launcher `/no/such/launcher` could not be started: \
         No such file or directory (os error 2)"
    );
}

#[tokio::test]
async fn a_shell_without_the_agent_says_what_is_missing() {
    let config = HostConfig {
        agent: AgentProgram::Installed("/no/such/agent".to_owned()),
        first_connect_timeout: Duration::ZERO,
        ..host("exec \"$@\"")
    };
    let (_host, mut state) = start(config);
    let said = given_up(&mut state).await;
    assert!(said.contains("/no/such/agent"), "{said}");
    assert!(said.contains("not found"), "{said}");
}
