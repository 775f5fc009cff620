//! What the loop tells those who watch it.

use super::orchestrator::Orchestrator;
use crate::event::Event;

impl Orchestrator {
    /// Tells sinks, if there are any; the event is not even made where nobody listens.
    pub(super) fn tell(&self, event: impl FnOnce() -> Event) {
        if !self.sinks.is_empty() {
            self.sinks.tell(event(), self.now);
        }
    }

    /// Shows how it stands.
    pub(super) fn gauge(&self) {
        let load = self.scheduler.load();
        self.gauges.set(|status| {
            status.taken = self.taken;
            status.waiting = self.living.saturating_sub(load.running);
            status.running = load.running;
            status.peak = status.peak.max(load.running);
            status.ended = self.tally.ended;
            status.succeeded = self.tally.succeeded;
            status.failed = self.tally.failed;
            status.slots = load.slots;
            status.slots_used = load.slots_used;
        });
    }

    pub(super) fn tell_breakers(&mut self) {
        if self.breakers.is_empty() {
            return;
        }
        for (name, state) in self.breakers.news() {
            let state = state.to_owned();
            self.tell(|| Event::BreakerChanged { name, state });
        }
    }
}
