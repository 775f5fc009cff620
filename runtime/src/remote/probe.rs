//! Checks whether a host can be reached.

use std::time::Duration;

use thiserror::Error;
use tokio::time::timeout;

use super::host::reason;
use super::{AgentInfo, HostConfig, LaunchLimit, RemoteError};

/// A host that was reached.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostReport {
    /// The agent's description of itself and its host.
    pub agent: AgentInfo,
    /// How many slots the host has: those of its configuration, or as many as it has cores.
    pub slots: u32,
    /// How long a message takes to the agent and back.
    pub round_trip: Duration,
}

impl HostReport {
    /// Makes the report of this machine. Its round trip is zero.
    pub fn of_this_host(slots: u32) -> Self {
        Self {
            agent: AgentInfo::of_this_host(),
            slots,
            round_trip: Duration::ZERO,
        }
    }
}

/// The reason for which a host was not reached, with the last words of its launcher and without control characters.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Unreachable(String);

/// Connects to a host once, measures how long a message takes, and ends the connection.
pub async fn probe(config: &HostConfig, gate: &LaunchLimit) -> Result<HostReport, Unreachable> {
    let launched = gate.launch(config).await;
    let launched = launched.map_err(|failed| Unreachable(reason(&failed)))?;
    let processes = &launched.processes;
    let mut health = processes.health();
    // The first beat is sent at once.
    let answered = async {
        let answered = health.wait_for(|health| health.round_trip.is_some());
        answered.await.ok().and_then(|health| health.round_trip)
    };
    let limit = config.remote.connect_timeout;
    let answered = tokio::select! {
        reason = processes.closed() => return Err(Unreachable(reason)),
        answered = timeout(limit, answered) => answered.ok().flatten(),
    };
    let Some(round_trip) = answered else {
        return Err(Unreachable(RemoteError::Silent(limit).to_string()));
    };
    let agent = processes.agent().clone();
    Ok(HostReport {
        slots: config.slots.unwrap_or(agent.cores).max(1),
        agent,
        round_trip,
    })
}
