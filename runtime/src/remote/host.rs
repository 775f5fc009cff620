//! A host to which ratchet connects, and connects again after each loss, until it is given up.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ratchet_resilience::Rng;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::launch::{AgentProgram, LaunchError, Launched, launch};
use super::reconnect_backoff::ReconnectBackoff;
use super::{AgentInfo, HostHealth, RemoteConfig, RemoteError, RemoteProcesses};
use crate::ids::PlaceName;
use crate::monitor::{AdmissionLimits, Reading};
use crate::os::{
    ProcessConfig, ProcessError, ProcessHandle, ProcessId, ProcessInfo, ProcessManager,
    ProcessUsage,
};
use crate::outcome::{Class, Failure};
use crate::place::PlaceState;

/// How many connections are launched at once. A server refuses more than about ten that have not logged in yet.
const MAX_LAUNCHES: usize = 8;

/// How long to wait for the answer of a host that everything is to stop.
const SUSPEND_LIMIT: Duration = Duration::from_secs(1);

/// Bounds how many hosts are connected to at once. Hosts that share a gate wait for each other.
#[derive(Debug, Clone)]
pub struct LaunchLimit(Arc<Semaphore>);

impl Default for LaunchLimit {
    /// Makes a gate that allows eight launches at once.
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_LAUNCHES)))
    }
}

impl LaunchLimit {
    /// Connects to a host once there is room for it.
    pub(super) async fn launch(&self, config: &HostConfig) -> Result<Launched, LaunchError> {
        // The gate is never closed.
        let _permit = self.0.acquire().await;
        launch(&config.launcher, &config.agent, config.remote.clone()).await
    }
}

/// How to reach a host, and for how long to try.
#[derive(Debug, Clone)]
pub struct HostConfig {
    /// The name of the host.
    pub name: PlaceName,
    /// The words before a command that run it on the host, as in `ssh web1`. If there are none, the host is this
    /// machine.
    pub launcher: Vec<String>,
    /// The agent that is run there.
    pub agent: AgentProgram,
    /// How many slots the host has; `None` for as many as it has cores.
    pub slots: Option<u32>,
    /// Variables for every process that is started there. The variables that a process declares itself override them.
    pub env: Vec<(String, String)>,
    /// The limits within which jobs start there. A host that can never meet them is given up. A caller that sets them
    /// has to make the machine be measured ([`RemoteConfig::measures_machine`]), and hold jobs back by the readings of
    /// [`RemoteHost::health`].
    pub admission: AdmissionLimits,
    /// How the connection is kept.
    pub remote: RemoteConfig,
    /// How long to try a host that was never reached, if `give_up` is not shorter.
    pub first_connect_timeout: Duration,
    /// How long to try to reach a lost host again.
    pub give_up: Duration,
}

/// A host as a process manager. It connects in the background, and again when the connection is lost.
///
/// A process is started as soon as there is a connection. Dropping this ends the connection, and everything that runs
/// there.
#[derive(Debug)]
pub struct RemoteHost {
    name: PlaceName,
    env: Vec<(String, String)>,
    state: watch::Receiver<PlaceState>,
    health: watch::Receiver<HostHealth>,
    round_trip: watch::Receiver<Option<Duration>>,
    platform: watch::Receiver<Option<Arc<str>>>,
    connections: Arc<Connections>,
    current: watch::Receiver<Current>,
    keeping: JoinHandle<()>,
}

/// The connection over which processes are started.
#[derive(Debug, Clone, Default)]
enum Current {
    /// There is no connection at present.
    #[default]
    None,
    /// This connection is open.
    Open(Arc<RemoteProcesses>),
    /// There will be no further connection, for this reason.
    GivenUp(String),
}

/// The open connection, and the lost ones whose processes may still run.
#[derive(Debug, Default)]
struct Connections(Mutex<Vec<Arc<RemoteProcesses>>>);

impl Connections {
    fn list(&self) -> MutexGuard<'_, Vec<Arc<RemoteProcesses>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns all connections. The lock is not held any more then.
    fn all(&self) -> Vec<Arc<RemoteProcesses>> {
        self.list().clone()
    }

    /// Adds a connection, and forgets those whose processes have all ended.
    fn add(&self, connection: Arc<RemoteProcesses>) {
        let mut list = self.list();
        list.retain(|known| known.has_processes());
        list.push(connection);
    }
}

impl RemoteHost {
    /// Starts to connect to a host, without waiting for the connection. Call it within a tokio runtime.
    pub fn start(config: HostConfig, gate: &LaunchLimit) -> Self {
        let (state_sender, state) = watch::channel(PlaceState::Away);
        let (current_sender, current) = watch::channel(Current::None);
        let (health_sender, health) = watch::channel(HostHealth::default());
        let (round_trip_sender, round_trip) = watch::channel(None);
        let (platform_sender, platform) = watch::channel(None);
        let connections = Arc::<Connections>::default();
        let host = HostTask {
            health_sender,
            round_trip_sender,
            platform_sender,
            state_sender,
            current_sender,
            connections: Arc::clone(&connections),
            gate: gate.clone(),
        };
        Self {
            name: config.name.clone(),
            env: config.env.clone(),
            state,
            health,
            round_trip,
            platform,
            connections,
            current,
            keeping: tokio::spawn(host.keep_connected(config)),
        }
    }

    /// Returns a watch channel with the state of the host.
    pub fn state(&self) -> watch::Receiver<PlaceState> {
        self.state.clone()
    }

    /// Returns a watch channel with the health that the heartbeat measures. It is empty while there is no connection.
    pub fn health(&self) -> watch::Receiver<HostHealth> {
        self.health.clone()
    }

    /// Returns a watch channel with the round trip time of the host. It is updated when the time has changed much.
    pub fn round_trip(&self) -> watch::Receiver<Option<Duration>> {
        self.round_trip.clone()
    }

    /// Returns a watch channel with the operating system and the processor type of the host, as in `linux-x86_64`;
    /// `None` until the host is reached for the first time.
    pub fn platform(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.platform.clone()
    }

    /// Stops all processes of the host, for as long as this process is stopped itself; see
    /// [`RemoteProcesses::suspend`].
    ///
    /// Returns when the host has confirmed it, or after a moment: this process cannot send anything while it is
    /// stopped.
    pub async fn suspend(&self) {
        for connection in self.connections.all() {
            connection.suspend();
            // Messages are applied in their order, so the answer to this one shows that the `suspend` has arrived. An
            // error means that the connection is lost, and a host that does not answer is about to be.
            let _ = timeout(SUSPEND_LIMIT, connection.measure_processes(&[])).await;
        }
    }

    /// Continues all processes of the host.
    pub fn resume(&self) {
        for connection in self.connections.all() {
            connection.resume();
        }
    }

    /// Waits for a connection.
    async fn connection(&self) -> Result<Arc<RemoteProcesses>, ProcessError> {
        let mut current = self.current.clone();
        let settled = current
            .wait_for(|current| !matches!(current, Current::None))
            .await;
        match settled.as_deref() {
            Ok(Current::Open(connection)) => Ok(Arc::clone(connection)),
            Ok(Current::GivenUp(reason)) => Err(ProcessError::HostLost {
                host: self.name.to_string(),
                reason: reason.clone(),
                has_begun: false,
            }),
            Ok(Current::None) | Err(_) => Err(ProcessError::Ended),
        }
    }

    /// Adds the environment of the host to that of a process, which comes first.
    fn with_env<'a>(&self, config: &'a ProcessConfig) -> Cow<'a, ProcessConfig> {
        let mut config = Cow::Borrowed(config);
        for (name, value) in &self.env {
            let (name, value): (&OsStr, &OsStr) = (name.as_ref(), value.as_ref());
            config.to_mut().env.declare_missing(name, value);
        }
        config
    }
}

impl Drop for RemoteHost {
    fn drop(&mut self) {
        self.keeping.abort();
    }
}

/// Keeps a host connected.
struct HostTask {
    health_sender: watch::Sender<HostHealth>,
    round_trip_sender: watch::Sender<Option<Duration>>,
    platform_sender: watch::Sender<Option<Arc<str>>>,
    state_sender: watch::Sender<PlaceState>,
    current_sender: watch::Sender<Current>,
    connections: Arc<Connections>,
    gate: LaunchLimit,
}

impl HostTask {
    /// Connects to the host again and again, until the host is given up.
    async fn keep_connected(self, config: HostConfig) {
        let mut pauses = ReconnectBackoff::new(Rng::new());
        let mut was_reached = false;
        let mut away_since = Instant::now();
        let mut has_warned = false;
        loop {
            let launched = self.gate.launch(&config).await;
            match launched {
                Ok(launched) => {
                    if let Some(reason) = never_admits(&config, launched.processes.agent()) {
                        return self.give_up(&config, reason).await;
                    }
                    (was_reached, has_warned) = (true, false);
                    pauses.begin_again();
                    self.serve(&config, launched).await;
                    away_since = Instant::now();
                }
                Err(failed) => {
                    let patience = if was_reached {
                        config.give_up
                    } else {
                        config.first_connect_timeout.min(config.give_up)
                    };
                    let reason = reason(&failed);
                    // A host that was reached before may only have trouble with its user database, so the refusal may
                    // be temporary.
                    let is_refused = !was_reached && advice(&failed.last_output).is_some();
                    let is_final = is_refused || is_final(&failed.error);
                    if is_final || away_since.elapsed() >= patience {
                        return self.give_up(&config, reason).await;
                    }
                    if !has_warned {
                        has_warned = true;
                        tracing::warn!(host = %config.name, reason, "a host cannot be reached; trying again");
                    }
                    sleep(pauses.next()).await;
                }
            }
        }
    }

    /// Makes the connection available for processes until it is lost.
    async fn serve(&self, config: &HostConfig, launched: Launched) {
        let Launched {
            processes,
            launcher,
        } = launched;
        let slots = config.slots.unwrap_or(processes.agent().cores).max(1);
        let processes = Arc::new(processes);
        self.connections.add(Arc::clone(&processes));
        tracing::debug!(host = %config.name, agent = ?processes.agent(), "a host is connected");
        self.current_sender
            .send_replace(Current::Open(Arc::clone(&processes)));
        // The platform is published before the state, because watchers of the state rely on the platform being known.
        let platform = Arc::from(processes.agent().platform.as_str());
        self.platform_sender.send_replace(Some(platform));
        self.state_sender.send_replace(PlaceState::Ready { slots });
        let mut health = processes.health();
        let closed = processes.closed();
        tokio::pin!(closed);
        let loss = loop {
            let told = *health.borrow_and_update();
            self.publish_health(told);
            tokio::select! {
                loss = &mut closed => break loss,
                changed = health.changed() => {
                    if changed.is_err() {
                        break closed.await;
                    }
                }
            }
        };
        self.publish_health(HostHealth::default());
        self.state_sender.send_replace(PlaceState::Away);
        self.current_sender.send_replace(Current::None);
        let said = launcher.last_output();
        tracing::warn!(host = %config.name, reason = %loss, said, "a host was lost");
    }

    /// Publishes the health that the heartbeat has reported.
    fn publish_health(&self, health: HostHealth) {
        self.round_trip_sender.send_if_modified(|told| {
            let is_news = has_changed_much(*told, health.round_trip);
            if is_news {
                *told = health.round_trip;
            }
            is_news
        });
        self.health_sender.send_replace(health);
    }

    /// Publishes that the host will not be reached any more.
    async fn give_up(&self, config: &HostConfig, reason: String) {
        let message = format!("host {} cannot be reached: {reason}", config.name);
        tracing::error!(host = %config.name, reason, "a host is given up");
        let failure = Failure::new(Class::Unreachable, message);
        self.current_sender.send_replace(Current::GivenUp(reason));
        self.state_sender
            .send_replace(PlaceState::GivenUp(Box::new(failure)));
        // The task stays alive, because a dropped sender would end the watch for those that watch the state.
        pending::<()>().await;
    }
}

/// Returns why no job could ever start on a host within its limits; `None` if one could.
fn never_admits(config: &HostConfig, agent: &AgentInfo) -> Option<String> {
    if config.admission == AdmissionLimits::default() {
        return None;
    }
    if agent.memory == 0 {
        return Some("its memory and load cannot be measured".to_owned());
    }
    let largest = Reading {
        memory_total: agent.memory,
        ..Reading::default()
    };
    let shortage = config.admission.never(&largest)?;
    Some(format!("no job would ever start there: {shortage}"))
}

/// Whether a round trip differs from the one before by more than a quarter, so that it could make a difference.
fn has_changed_much(before: Option<Duration>, now: Option<Duration>) -> bool {
    match (before, now) {
        (Some(before), Some(now)) => before.abs_diff(now) * 4 > before,
        (before, now) => before != now,
    }
}

/// Whether another try would fail in the same way.
fn is_final(error: &RemoteError) -> bool {
    match error {
        RemoteError::Launcher { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
        RemoteError::Version { .. }
        | RemoteError::Platform { .. }
        | RemoteError::AgentBroken(_)
        | RemoteError::AgentFolder(_)
        | RemoteError::AgentFile { .. } => true,
        _ => false,
    }
}

/// Returns why a host was not reached, with the last words of its launcher and advice about them.
pub(super) fn reason(failed: &LaunchError) -> String {
    let error = ratchet_ipc::error_chain(&failed.error);
    let reason = match (&failed.error, failed.exit) {
        // A launcher that has ended breaks its pipes, which says nothing.
        (RemoteError::Closed | RemoteError::Io(_), Some(exit)) if failed.last_output.is_empty() => {
            format!("the launcher {exit}")
        }
        (RemoteError::NoHello(_), Some(exit)) if failed.last_output.is_empty() => {
            format!("{error}; the launcher {exit}")
        }
        _ if failed.last_output.is_empty() => error,
        // The launcher has ended, and its last words explain it better.
        (RemoteError::NoHello(_) | RemoteError::Closed | RemoteError::Io(_), _) => {
            failed.last_output.clone()
        }
        _ => format!("{error} ({})", failed.last_output),
    };
    match advice(&failed.last_output) {
        Some(advice) => format!("{reason} ({advice})"),
        None => reason,
    }
}

/// Returns advice for a refusal by ssh that only people can fix. Another try would be refused in the same way, and some
/// servers lock out a client that tries too often.
fn advice(last_output: &str) -> Option<&'static str> {
    if last_output.contains("Host key verification failed") {
        return Some("connect once by hand, to check the key of the host and to accept it");
    }
    let is_denied = last_output.contains("Permission denied (");
    is_denied.then_some(
        "ssh cannot ask for a password here: use a key that needs none, for example by ssh-agent",
    )
}

#[async_trait]
impl ProcessManager for RemoteHost {
    async fn spawn_process(&self, config: &ProcessConfig) -> Result<ProcessHandle, ProcessError> {
        let connection = self.connection().await?;
        connection.spawn_process(&self.with_env(config)).await
    }

    async fn spawn_unless_cancelled(
        &self,
        config: &ProcessConfig,
        cancel: &CancellationToken,
    ) -> Result<Option<ProcessHandle>, ProcessError> {
        let connection = tokio::select! {
            biased;
            connection = self.connection() => connection?,
            () = cancel.cancelled() => return Ok(None),
        };
        let config = self.with_env(config);
        connection.spawn_unless_cancelled(&config, cancel).await
    }

    async fn get_process(&self, id: ProcessId) -> Result<Option<ProcessInfo>, ProcessError> {
        let processes = self.list_processes().await?;
        Ok(processes.into_iter().find(|process| process.id == id))
    }

    async fn list_processes(&self) -> Result<Vec<ProcessInfo>, ProcessError> {
        let mut processes = Vec::new();
        for connection in self.connections.all() {
            processes.extend(connection.list_processes().await?);
        }
        Ok(processes)
    }

    // The ids of processes are unique over all connections, and a connection ignores those that it does not know.

    async fn terminate_process(&self, id: ProcessId, grace: Duration) -> Result<(), ProcessError> {
        for connection in self.connections.all() {
            connection.terminate_process(id, grace).await?;
        }
        Ok(())
    }

    async fn stop_process(&self, id: ProcessId) -> Result<(), ProcessError> {
        for connection in self.connections.all() {
            connection.stop_process(id).await?;
        }
        Ok(())
    }

    async fn continue_process(&self, id: ProcessId) -> Result<(), ProcessError> {
        for connection in self.connections.all() {
            connection.continue_process(id).await?;
        }
        Ok(())
    }

    async fn measure_processes(
        &self,
        ids: &[ProcessId],
    ) -> Result<BTreeMap<ProcessId, ProcessUsage>, ProcessError> {
        let current = self.current.borrow().clone();
        match current {
            Current::Open(connection) => connection.measure_processes(ids).await,
            // What ran there is not known to run any more, and cannot be measured.
            Current::None | Current::GivenUp(_) => Ok(BTreeMap::new()),
        }
    }
}
