use super::probes::Probe;

/// Ties an admitted call to the state that admitted it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket {
    /// The epoch in which the call was admitted; its outcome counts only in that one.
    pub(super) epoch: u64,
    /// The slot of the call, if it is a probe.
    pub(super) probe: Option<Probe>,
}

impl Ticket {
    /// Whether the call is a probe of a half-open breaker.
    pub(super) fn is_probe(&self) -> bool {
        self.probe.is_some()
    }

    /// Takes the ticket, and leaves one that holds no probe.
    pub(super) fn take(&mut self) -> Self {
        Self {
            epoch: self.epoch,
            probe: self.probe.take(),
        }
    }
}
