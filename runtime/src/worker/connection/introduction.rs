//! How a worker introduces itself, and what it can do by its own word.

use ratchet_ipc::{Capability, HandshakeState};

use super::{Live, now};
use crate::worker::Cause;
use crate::worker::news::News;

impl Live {
    /// Looks whether the worker has become ready, or is refused.
    pub(super) async fn shake_hands(&mut self) {
        match self.handshake.state() {
            HandshakeState::AwaitingHello
            | HandshakeState::AwaitingReady(_)
            | HandshakeState::AwaitingSession => {}
            HandshakeState::Ready(profile) if self.profile.as_ref() == Some(profile) => {}
            HandshakeState::Ready(profile) => {
                let profile = profile.clone();
                self.jobs
                    .set_concurrency(self.config.concurrency.unwrap_or(profile.concurrency));
                let pings = profile.capabilities.has(&Capability::Ping);
                self.ping_at = self
                    .config
                    .ping
                    .filter(|_| pings)
                    .and_then(|every| now().checked_add(every));
                self.profile = Some(profile.clone());
                let introduced = self.introduced;
                self.is_proven |= introduced;
                self.tell(News::Ready {
                    profile: Box::new(profile),
                    introduced,
                });
            }
            HandshakeState::Refused(error) => {
                let error = error.clone();
                self.kill(Cause::Refused(error)).await;
            }
        }
    }

    /// Whether it has said that it understands this.
    pub(super) fn can(&self, capability: &Capability) -> bool {
        self.profile
            .as_ref()
            .is_some_and(|profile| profile.capabilities.has(capability))
    }
}
