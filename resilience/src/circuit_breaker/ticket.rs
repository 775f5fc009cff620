use super::probes::Probe;

/// Links an admitted call to the state that admitted it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket {
    /// The epoch in which the call was admitted. Its outcome counts only in this epoch.
    pub(super) epoch: u64,
    /// The slot of the call, if it is a probe.
    pub(super) probe: Option<Probe>,
}

impl Ticket {
    /// Whether the call is a probe of a half-open breaker.
    pub(super) fn is_probe(&self) -> bool {
        self.probe.is_some()
    }

    /// Takes the ticket, and leaves one without a probe.
    pub(super) fn take(&mut self) -> Self {
        Self {
            epoch: self.epoch,
            probe: self.probe.take(),
        }
    }
}
