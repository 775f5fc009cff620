//! The handshake of a worker, and the capabilities that it declares.

use ratchet_ipc::{Capability, HandshakeState};

use super::{RunningWorker, now};
use crate::worker::EndCause;
use crate::worker::event::WorkerEvent;

impl RunningWorker {
    /// Acts on the state of the handshake: announces a worker that is ready, and kills one that is refused.
    pub(super) async fn follow_handshake(&mut self) {
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
                self.pings.begin(pings, now());
                self.profile = Some(profile.clone());
                let introduced = self.introduced;
                if introduced {
                    self.read_proof.introduced();
                }
                self.emit(WorkerEvent::Ready {
                    profile: Box::new(profile),
                    introduced,
                });
            }
            HandshakeState::Refused(error) => {
                let error = error.clone();
                self.kill(EndCause::HandshakeFailed(error)).await;
            }
        }
    }

    /// Whether the worker has declared this capability.
    pub(super) fn can(&self, capability: &Capability) -> bool {
        self.profile
            .as_ref()
            .is_some_and(|profile| profile.capabilities.has(capability))
    }
}
