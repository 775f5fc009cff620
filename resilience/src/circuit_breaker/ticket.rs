use super::probes::Probe;

/// Ties an admitted call to the state that admitted it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket {
    pub(super) epoch: u64,
    pub(super) probe: Option<Probe>,
}

impl Ticket {
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
