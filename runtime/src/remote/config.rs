//! The settings of a connection to an agent.

use std::time::Duration;

/// How a connection to an agent is kept, and when its host counts as lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteConfig {
    /// The name of the host in messages.
    pub host: String,
    /// How many processes may run on the host at once. The number of streams of the connection follows from it.
    pub max_processes: u32,
    /// How long the host may take to answer with a hello.
    pub connect_timeout: Duration,
    /// How long the host may be silent before it is lost. Any byte counts, and both sides send some regularly.
    pub lost_after: Duration,
    /// How long the agent may take to answer a request: to start a process, to end one after its grace, or to measure some.
    /// An agent that sends signs of life and does not answer is lost, since nobody knows what runs there.
    pub answer_within: Duration,
    /// How long processes of the host may run after the last answered question of its keeper. Then the keeper kills
    /// them, whether the agent is alive, stopped or gone.
    pub fence_after: Duration,
    /// How much longer than `fence_after` to wait, since the last answer, before the processes of a lost host count as
    /// ended. It allows for clocks that run at different speeds, and for the time that the keeper takes to kill.
    ///
    /// For a host without a keeper, the time runs from its loss and is longer by `lost_after`, within which the agent
    /// notices that the connection is gone.
    pub kill_margin: Duration,
    /// Whether the agent measures memory and load of the host with each heartbeat; see
    /// [`HostHealth`](super::HostHealth).
    pub measures_machine: bool,
}

/// The highest number of processes of one connection. The windows of all their streams have to fit into that of the
/// connection, or a process whose output is not read could hold up the others.
pub(super) const MAX_PROCESSES: u32 = 2048;

impl RemoteConfig {
    /// Makes the settings of a host with this name. The host counts as lost after 15 seconds of silence.
    pub fn new(host: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            max_processes: MAX_PROCESSES,
            connect_timeout: Duration::from_secs(30),
            lost_after: Duration::from_secs(15),
            answer_within: Duration::from_mins(2),
            fence_after: Duration::from_secs(12),
            kill_margin: Duration::from_secs(5),
            measures_machine: false,
        }
    }

    /// Sets how many processes may run at once, from the slots of the host. Workers that are being replaced, and idle
    /// ones, come on top of those that have a job.
    #[must_use]
    pub fn slots(mut self, slots: u32) -> Self {
        self.max_processes = slots
            .saturating_mul(4)
            .saturating_add(16)
            .min(MAX_PROCESSES);
        self
    }
}
