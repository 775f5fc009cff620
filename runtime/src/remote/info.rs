//! An agent's description of itself and its host.

use serde::{Deserialize, Serialize};

use super::text::printable;
use crate::monitor::{Probe, Sampler};

/// How many characters of a name from another host are kept.
const NAME_CHARACTERS: usize = 64;

/// An agent and its host, as the agent describes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AgentInfo {
    /// The version of the agent's ratchet.
    pub ratchet: String,
    /// The operating system and the processor, as in `linux-x86_64`.
    pub platform: String,
    /// How many processors the agent may use.
    pub cores: u32,
    /// How many bytes of memory the agent may use; 0 if that is not known.
    pub memory: u64,
    /// The process id of the agent on its host.
    pub process: u32,
    /// Whether a keeper kills what the agent has started when the agent is stopped; see
    /// [`Agent::keeper`](super::Agent::keeper).
    #[serde(default)]
    pub is_fenced: bool,
}

impl AgentInfo {
    /// Describes this process and its host.
    pub fn of_this_host() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let memory = Sampler::new().map(|mut sampler| sampler.read());
        Self {
            ratchet: env!("CARGO_PKG_VERSION").to_owned(),
            platform: Self::own_platform(),
            cores: u32::try_from(cores).unwrap_or(u32::MAX),
            memory: memory.map_or(0, |reading| reading.memory_total),
            process: std::process::id(),
            is_fenced: false,
        }
    }

    /// Returns the platform of this process, in the form that agents use.
    pub fn own_platform() -> String {
        format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH)
    }

    /// Returns the same info with bounded names and without control characters, which an untrusted host could have put
    /// into them.
    pub(super) fn trimmed(self) -> Self {
        Self {
            ratchet: printable(self.ratchet.as_bytes(), NAME_CHARACTERS),
            platform: printable(self.platform.as_bytes(), NAME_CHARACTERS),
            ..self
        }
    }
}
