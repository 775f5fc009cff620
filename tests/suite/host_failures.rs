//! Whatever fails between this machine and a host has one outcome, in words that help, and leaves nobody on either side.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ratchet_runtime::monitor::AdmissionLimits;
use ratchet_runtime::process::{Ending, ProcessConfig, ProcessHandle, ProcessManager};
use ratchet_runtime::remote::{AgentProgram, HostConfig, LaunchLimit, RemoteConfig, RemoteHost};
use ratchet_runtime::{PlaceName, PlaceState};
use ratchet_tests::{Folder, eventually, is_alive, marked, with_argument, within};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::sync::watch;

use crate::ssh::{SshServer, skip};

/// The slots of the hosts.
const READY: PlaceState = PlaceState::Ready { slots: 2 };

fn config(launcher: Vec<String>, agent: AgentProgram) -> HostConfig {
    HostConfig {
        name: PlaceName::new("web1"),
        launcher,
        agent,
        slots: Some(2),
        admission: AdmissionLimits::default(),
        env: Vec::new(),
        remote: RemoteConfig {
            lost_after: Duration::from_secs(5),
            kill_margin: Duration::from_secs(1),
            ..RemoteConfig::new("web1")
        },
        first_connect_timeout: Duration::from_secs(1000),
        give_up: Duration::from_secs(1000),
    }
}

fn installed() -> AgentProgram {
    AgentProgram::Installed(env!("CARGO_BIN_EXE_agent").to_owned())
}

async fn wait_for(state: &mut watch::Receiver<PlaceState>, wanted: &PlaceState) {
    let reached = state.wait_for(|state| state == wanted);
    within(reached).await.expect("the host is kept");
}

/// Starts a server with these options. Returns nothing, and says so, where there is none.
async fn server(options: &str) -> Option<SshServer> {
    SshServer::start(options, &SshServer::own_address(), &[]).await
}

/// Connects to a server.
async fn connected(server: &SshServer) -> (RemoteHost, watch::Receiver<PlaceState>) {
    let config = config(server.launcher(), installed());
    let host = RemoteHost::start(config, &LaunchLimit::default());
    let mut state = host.state();
    wait_for(&mut state, &READY).await;
    (host, state)
}

async fn nobody_is_left(server: &SshServer) {
    let mark = server.mark();
    eventually("nobody is left on either side", || marked(&mark).is_empty()).await;
}

/// Waits until the host is given up, and returns the message.
async fn given_up(config: HostConfig) -> String {
    let host = RemoteHost::start(config, &LaunchLimit::default());
    let mut state = host.state();
    let is_given_up = |state: &PlaceState| matches!(state, PlaceState::GivenUp(_));
    let state = within(state.wait_for(is_given_up)).await;
    match state.expect("the host is kept").clone() {
        PlaceState::GivenUp(failure) => failure.message,
        other => unreachable!("{other:?} was not waited for"),
    }
}

/// Starts a process that prints its id, that of a child which holds no pipe, and that of its agent.
async fn sleeper(host: &RemoteHost) -> (ProcessHandle, [u32; 3]) {
    let script = "trap '' TERM HUP PIPE; sleep 1000 >/dev/null 2>&1 </dev/null & echo $$ $! $PPID; while :; do wait; done";
    let script = ProcessConfig::new("sh").args(["-c", script]);
    let started = within(host.spawn_process(&script)).await;
    let mut process = started.expect("it starts");
    let (stdin, stdout, stderr) = process.take_pipes().expect("they are there");
    let mut stdout = BufReader::new(stdout);
    let mut line = String::new();
    let read = within(stdout.read_line(&mut line)).await;
    read.expect("it says something");
    // They stay open for as long as the test runs.
    std::mem::forget((stdin, stdout, stderr));
    let numbers = line.split_ascii_whitespace().map(str::parse);
    let numbers: Vec<u32> = numbers.map(|number| number.expect("a number")).collect();
    (process, numbers.try_into().expect("there are three"))
}

async fn echo(host: &RemoteHost) {
    let started = within(host.spawn_process(&ProcessConfig::new("echo").arg("hello"))).await;
    let mut process = started.expect("it starts");
    let (_stdin, mut stdout, _stderr) = process.take_pipes().expect("they are there");
    let mut text = String::new();
    let read = within(stdout.read_to_string(&mut text)).await;
    read.expect("it says UTF-8");
    assert_eq!(text, "hello\n");
    within(process.exit().wait()).await;
}

fn kill(process: u32) {
    let process = Pid::from_raw(process.cast_signed()).expect("it is a process");
    kill_process(process, Signal::KILL).expect("it lives");
}

fn parent(process: u32) -> u32 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("it lives");
    let (_, fields) = stat.rsplit_once(") ").expect("it has a name");
    let parent = fields.split(' ').nth(1).expect("it has a parent");
    parent.parse().expect("a number")
}

/// Breaks the way to a host on which a process runs. The process ends as lost, nothing of it is left, and the host is
/// connected again.
async fn survives(server: &SshServer, break_it: impl FnOnce(u32)) {
    let (host, mut state) = connected(server).await;
    let (mut lost, [process, child, agent]) = sleeper(&host).await;
    break_it(agent);
    wait_for(&mut state, &PlaceState::Away).await;
    wait_for(&mut state, &READY).await;
    let ended = within(lost.exit().wait()).await;
    assert_eq!(ended.ending, Ending::HostLost);
    // The process counts as ended only when that is true.
    assert!(![process, child].into_iter().any(is_alive));
    eventually("the agent is gone", || !is_alive(agent)).await;
    echo(&host).await;
    drop(host);
    nobody_is_left(server).await;
}

#[tokio::test]
async fn a_killed_ssh_client_costs_what_ran_and_the_host_is_connected_again() {
    let Some(server) = server("").await else {
        return;
    };
    let config = server.launcher()[4].clone();
    survives(&server, |_| {
        let clients = with_argument(&config);
        assert!(!clients.is_empty());
        clients.into_iter().for_each(kill);
    })
    .await;
}

#[tokio::test]
async fn a_killed_sshd_costs_what_ran_and_the_host_is_connected_again() {
    let Some(server) = server("").await else {
        return;
    };
    survives(&server, |agent| kill(parent(agent))).await;
}

#[tokio::test]
async fn a_killed_agent_costs_what_ran_and_the_host_is_connected_again() {
    let Some(server) = server("").await else {
        return;
    };
    survives(&server, kill).await;
}

/// A network of its own with one cable to it. It is removed when this is dropped.
struct Network {
    name: String,
    address: String,
}

impl Network {
    /// Makes a network. Returns nothing, and says so, where that cannot be.
    fn new() -> Option<Self> {
        let name = format!("r{}", std::process::id());
        // Each test has four addresses of a range that is for networks like this.
        let first = 0x6440_0000 + (std::process::id() % (1 << 20)) * 4;
        let address = |offset| std::net::Ipv4Addr::from_bits(first + offset).to_string();
        let network = Self {
            address: address(2),
            name: name.clone(),
        };
        let (here, there) = (format!("{name}a"), format!("{name}b"));
        for words in [
            format!("netns add {name}"),
            format!("link add {here} type veth peer name {there} netns {name}"),
            format!("addr add {}/30 dev {here}", address(1)),
            format!("link set {here} up"),
            format!("-n {name} addr add {}/30 dev {there}", address(2)),
            format!("-n {name} link set {there} up"),
        ] {
            if let Err(why) = ip(&words) {
                skip(&format!("`ip {words}`: {why}, so no cable is cut"));
                return None;
            }
        }
        Some(network)
    }

    /// Cuts the cable, or mends it. Packets vanish in both directions, and nobody is told.
    fn set(&self, state: &str) {
        let name = &self.name;
        ip(&format!("-n {name} link set {name}b {state}")).expect("it is ours");
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The cable goes with it.
        let _ = ip(&format!("netns del {}", self.name));
    }
}

fn ip(words: &str) -> Result<(), String> {
    let output = Command::new("ip").args(words.split(' ')).output();
    let output = output.map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

#[tokio::test]
async fn a_link_that_is_cut_both_ways_costs_what_ran_and_the_host_is_connected_again() {
    let Some(network) = Network::new() else {
        return;
    };
    let inside = ["ip", "netns", "exec", &network.name];
    let Some(server) = SshServer::start("", &network.address, &inside).await else {
        return;
    };
    let (host, mut state) = connected(&server).await;
    let (mut lost, [process, child, agent]) = sleeper(&host).await;
    network.set("down");
    wait_for(&mut state, &PlaceState::Away).await;
    let ended = within(lost.exit().wait()).await;
    assert_eq!(ended.ending, Ending::HostLost);
    // Both sides come to the same end without a word between them.
    assert!(![process, child].into_iter().any(is_alive));
    eventually("the agent is gone", || !is_alive(agent)).await;
    network.set("up");
    wait_for(&mut state, &READY).await;
    echo(&host).await;
    drop(host);
    nobody_is_left(&server).await;
}

#[tokio::test]
async fn a_server_whose_key_is_not_known_is_refused_at_once_with_the_way_out() {
    let Some(server) = server("").await else {
        return;
    };
    let launcher = server.launcher_with("user_key", "nobody_known");
    let said = given_up(config(launcher, installed())).await;
    assert!(said.contains("Host key verification failed"), "{said}");
    assert!(said.contains("connect once by hand"), "{said}");
}

#[tokio::test]
async fn a_server_that_does_not_know_the_key_or_wants_a_password_is_refused_at_once_with_the_way_out()
 {
    for (options, methods) in [
        (
            "PasswordAuthentication no\nKbdInteractiveAuthentication no",
            "(publickey)",
        ),
        ("PasswordAuthentication yes", "password"),
    ] {
        let Some(server) = server(options).await else {
            return;
        };
        let launcher = server.launcher_with("unknown_key", "known_hosts");
        let said = given_up(config(launcher, installed())).await;
        assert!(said.contains("Permission denied"), "{said}");
        assert!(said.contains(methods), "{said}");
        assert!(said.contains("use a key that needs none"), "{said}");
    }
}

#[tokio::test]
async fn an_agent_of_another_version_is_refused_at_once_with_both_versions() {
    let Some(server) = server("").await else {
        return;
    };
    let hello = r#"ratchet-agent {"protocols":[7,8],"ratchet":"9.0","platform":"x","cores":1,"memory":1,"process":1}"#;
    let agent = AgentProgram::Installed(format!("sh -c 'echo; echo '\\''{hello}'\\''; exec cat'"));
    let said = given_up(config(server.launcher(), agent)).await;
    assert!(
        said.contains(
            "(ratchet 9.0) speaks version 7, 8 of the agent's protocol, and this is version 1"
        ),
        "{said}"
    );
}

/// A file system in memory. It is removed when this is dropped.
struct Mount<'a>(&'a Path);

impl<'a> Mount<'a> {
    /// Mounts one with these options. Returns nothing, and says so, where that cannot be.
    fn new(path: &'a Path, options: &str) -> Option<Self> {
        fs::create_dir(path).expect("it is ours");
        let mut mount = Command::new("mount");
        let mount = mount
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(path);
        if !mount.output().is_ok_and(|output| output.status.success()) {
            skip("nothing can be mounted, so no copy meets a full or a closed disk");
            return None;
        }
        Some(Self(path))
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        // An error means that it is not there.
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

/// Copies the agent to a host with this folder for it, and returns why that failed.
async fn copy_fails(folder: &Path, before: &[&str]) -> String {
    let cache = format!("XDG_CACHE_HOME={}", folder.display());
    let launcher = before.iter().copied().chain(["env", &cache]);
    let launcher = launcher.map(str::to_owned).collect();
    let agent = AgentProgram::Copied(env!("CARGO_BIN_EXE_agent").into());
    let config = HostConfig {
        first_connect_timeout: Duration::ZERO,
        ..config(launcher, agent)
    };
    let said = given_up(config).await;
    let agents = fs::read_dir(folder.join("ratchet/agents"));
    let left = agents.map_or(0, Iterator::count);
    assert_eq!(left, 0, "no copy is left");
    eventually("nobody is left", || marked(&cache).is_empty()).await;
    said
}

#[tokio::test]
async fn a_copy_of_the_agent_that_the_disk_of_a_host_has_no_room_for_is_told_and_removed() {
    let folder = Folder::new();
    let cache = folder.at("full");
    let Some(_mount) = Mount::new(&cache, "size=64k") else {
        return;
    };
    let said = copy_fails(&cache, &[]).await;
    assert!(said.contains("nothing can be written to"), "{said}");
    assert!(said.contains("No space left on device"), "{said}");
}

#[tokio::test]
async fn a_copy_of_the_agent_that_may_not_run_on_its_host_is_told_and_removed() {
    let folder = Folder::new();
    let cache = folder.at("noexec");
    let Some(_mount) = Mount::new(&cache, "noexec") else {
        return;
    };
    let said = copy_fails(&cache, &[]).await;
    assert!(
        said.contains("Permission denied; is that file system mounted noexec"),
        "{said}"
    );
    assert!(
        said.contains("set XDG_CACHE_HOME there to another folder"),
        "{said}"
    );
}

#[tokio::test]
async fn a_host_where_nothing_may_be_written_says_so() {
    if !rustix::process::getuid().is_root() {
        skip("only root may become another user, so no folder is closed to the agent");
        return;
    }
    let folder = Folder::new();
    let nobody = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    let said = copy_fails(&folder.at("closed"), &nobody).await;
    assert!(said.contains("no folder can be made at"), "{said}");
    assert!(said.contains("Permission denied"), "{said}");
}

#[tokio::test]
async fn many_hosts_behind_a_server_that_refuses_early_connections_are_all_reached() {
    // Of more than two that have not logged in yet, each one is refused.
    let Some(server) = server("MaxStartups 2:100:2").await else {
        return;
    };
    let gate = LaunchLimit::default();
    let hosts: Vec<RemoteHost> = (0..12)
        .map(|_| RemoteHost::start(config(server.launcher(), installed()), &gate))
        .collect();
    for host in &hosts {
        wait_for(&mut host.state(), &READY).await;
        echo(host).await;
    }
    assert!(server.log().contains("MaxStartups"), "none was refused");
    drop(hosts);
    nobody_is_left(&server).await;
}

#[tokio::test]
async fn no_more_than_eight_connections_begin_at_once() {
    let folder = Folder::new();
    let begun = folder.at("begun").display().to_string();
    let script = r#"echo begun >> "$0"; until [ -e "$0.go" ]; do sleep 0.01; done; exec "$@""#;
    let launcher = ["sh", "-c", script, &begun].map(str::to_owned);
    let gate = LaunchLimit::default();
    let hosts: Vec<RemoteHost> = (0..20)
        .map(|_| RemoteHost::start(config(launcher.clone().into(), installed()), &gate))
        .collect();
    let lines = || fs::read_to_string(&begun).unwrap_or_default();
    eventually("eight have begun", || lines().lines().count() >= 8).await;
    assert_eq!(lines().lines().count(), 8);
    fs::write(folder.at("begun.go"), "").expect("it is ours");
    for host in &hosts {
        wait_for(&mut host.state(), &READY).await;
    }
    assert_eq!(lines().lines().count(), 20);
}
