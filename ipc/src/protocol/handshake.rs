//! The first moments of a worker, as a value: who has said what, and what follows from it.

use std::time::{Duration, Instant};

use super::{HandshakeError, Profile, ProtocolVersion};
use crate::messages::{Capability, Hello};

/// Whether a worker has to introduce itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HandshakeMode {
    /// It may; one that does not is taken for the simplest kind.
    #[default]
    Auto,
    /// It must, in time.
    Required,
    /// It does not; a hello that comes all the same is ignored.
    None,
}

/// Where a handshake stands.
#[derive(Debug, Clone, PartialEq)]
pub enum HandshakeState {
    /// Nothing is known of the worker yet.
    AwaitingHello,
    /// The worker has introduced itself and asked for time; it gets no work yet.
    AwaitingReady(Profile),
    /// The worker takes work.
    Ready(Profile),
    /// Host and worker cannot talk.
    Refused(HandshakeError),
}

/// Decides when a new worker may be given work, and of what kind it is.
///
/// It is told what happens and when; it reads no clock and does no input or output.
///
/// ```
/// use std::time::{Duration, Instant};
/// use ratchet_ipc::{Handshake, HandshakeMode, HandshakeState, Hello, Profile, ProtocolVersion};
///
/// let start = Instant::now();
/// let wait = Duration::from_millis(500);
/// let mut handshake = Handshake::new(HandshakeMode::Auto, ProtocolVersion::SUPPORTED, start, wait);
///
/// // A worker that says nothing is ready, as the simplest kind, when the wait is over.
/// handshake.on_time(start + wait);
/// assert_eq!(handshake.state(), &HandshakeState::Ready(Profile::minimal()));
///
/// // One that was only slow to start still gets what it asks for.
/// handshake.on_hello(Hello::new([ProtocolVersion::V1]));
/// assert!(matches!(handshake.state(), HandshakeState::Ready(_)));
/// ```
#[derive(Debug, Clone)]
pub struct Handshake {
    mode: HandshakeMode,
    offered: Vec<ProtocolVersion>,
    deadline: Option<Instant>,
    introduced: bool,
    state: HandshakeState,
}

impl Handshake {
    /// Starts with a worker that was spawned at `now`.
    pub fn new(
        mode: HandshakeMode,
        offered: &[ProtocolVersion],
        now: Instant,
        wait: Duration,
    ) -> Self {
        let state = match mode {
            HandshakeMode::Auto | HandshakeMode::Required => HandshakeState::AwaitingHello,
            HandshakeMode::None => HandshakeState::Ready(Profile::minimal()),
        };
        Self {
            mode,
            offered: offered.to_vec(),
            // A wait beyond the clock's range is a wait without end.
            deadline: now.checked_add(wait),
            introduced: false,
            state,
        }
    }

    /// Where it stands.
    pub fn state(&self) -> &HandshakeState {
        &self.state
    }

    /// When to call [`on_time`](Self::on_time), while a hello is awaited.
    pub fn deadline(&self) -> Option<Instant> {
        if self.state == HandshakeState::AwaitingHello {
            self.deadline
        } else {
            None
        }
    }

    /// The worker has introduced itself.
    ///
    /// A hello that comes late, because the worker was slow to load, still counts. A second one does not.
    pub fn on_hello(&mut self, hello: Hello) {
        let refused = matches!(self.state, HandshakeState::Refused(_));
        if self.mode == HandshakeMode::None || self.introduced || refused {
            return;
        }
        self.introduced = true;
        self.state = match Profile::negotiate(&self.offered, hello) {
            Err(refusal) => HandshakeState::Refused(refusal),
            Ok(profile) if profile.capabilities.has(&Capability::Ready) => {
                HandshakeState::AwaitingReady(profile)
            }
            Ok(profile) => HandshakeState::Ready(profile),
        };
    }

    /// The worker has introduced itself wrongly, which is as good as not at all where no hello counts.
    pub fn on_malformed_hello(&mut self, reason: impl Into<String>) {
        let refused = matches!(self.state, HandshakeState::Refused(_));
        if self.mode == HandshakeMode::None || self.introduced || refused {
            return;
        }
        self.introduced = true;
        self.state = HandshakeState::Refused(HandshakeError::MalformedHello {
            reason: reason.into(),
        });
    }

    /// The worker says that it can take work.
    ///
    /// Without a hello this makes it the simplest kind: it has shown that it speaks the protocol.
    pub fn on_ready(&mut self) {
        match &self.state {
            HandshakeState::AwaitingReady(profile) => {
                self.state = HandshakeState::Ready(profile.clone());
            }
            HandshakeState::AwaitingHello if self.mode == HandshakeMode::Auto => {
                self.state = HandshakeState::Ready(Profile::minimal());
            }
            HandshakeState::AwaitingHello
            | HandshakeState::Ready(_)
            | HandshakeState::Refused(_) => {}
        }
    }

    /// The worker has answered a request before it said hello.
    pub fn on_response(&mut self) {
        if self.state == HandshakeState::AwaitingHello {
            self.state = match self.mode {
                HandshakeMode::Required => HandshakeState::Refused(HandshakeError::NoHello),
                HandshakeMode::Auto | HandshakeMode::None => {
                    HandshakeState::Ready(Profile::minimal())
                }
            };
        }
    }

    /// Time has passed.
    pub fn on_time(&mut self, now: Instant) {
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            // Silence until the deadline means what an answer without a hello means.
            self.on_response();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_millis(500);

    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do as a starting point"
    )]
    fn start(mode: HandshakeMode) -> (Handshake, Instant) {
        let now = Instant::now();
        (
            Handshake::new(mode, ProtocolVersion::SUPPORTED, now, WAIT),
            now,
        )
    }

    fn hello(capabilities: &[Capability]) -> Hello {
        Hello {
            capabilities: capabilities.iter().cloned().collect(),
            ..Hello::new([ProtocolVersion::V1])
        }
    }

    fn is_ready(handshake: &Handshake) -> bool {
        matches!(handshake.state(), HandshakeState::Ready(_))
    }

    #[test]
    fn a_hello_without_readiness_is_ready_at_once() {
        let (mut handshake, now) = start(HandshakeMode::Auto);
        assert_eq!(handshake.deadline(), Some(now + WAIT));
        handshake.on_hello(hello(&[Capability::Ping]));
        assert!(is_ready(&handshake));
        assert_eq!(handshake.deadline(), None);
    }

    #[test]
    fn a_worker_that_announces_readiness_gets_no_work_before_it() {
        let (mut handshake, now) = start(HandshakeMode::Required);
        handshake.on_hello(hello(&[Capability::Ready]));
        handshake.on_time(now + WAIT * 10);
        assert!(matches!(
            handshake.state(),
            HandshakeState::AwaitingReady(_)
        ));
        handshake.on_ready();
        assert!(is_ready(&handshake));
    }

    #[test]
    fn silence_is_minimal_or_refused() {
        for (mode, by_time) in [(HandshakeMode::Auto, true), (HandshakeMode::Auto, false)] {
            let (mut handshake, now) = start(mode);
            handshake.on_time(now + WAIT / 2);
            assert_eq!(handshake.state(), &HandshakeState::AwaitingHello);
            if by_time {
                handshake.on_time(now + WAIT);
            } else {
                handshake.on_response();
            }
            assert_eq!(
                handshake.state(),
                &HandshakeState::Ready(Profile::minimal())
            );
        }
        let (mut handshake, now) = start(HandshakeMode::Required);
        handshake.on_time(now + WAIT);
        assert_eq!(
            handshake.state(),
            &HandshakeState::Refused(HandshakeError::NoHello)
        );
    }

    #[test]
    fn a_late_hello_counts_and_a_second_does_not() {
        let (mut handshake, now) = start(HandshakeMode::Auto);
        handshake.on_time(now + WAIT);
        handshake.on_hello(hello(&[Capability::Cancel]));
        let HandshakeState::Ready(profile) = handshake.state().clone() else {
            panic!("{:?}", handshake.state());
        };
        assert!(profile.capabilities.has(&Capability::Cancel));
        handshake.on_hello(hello(&[Capability::Ready]));
        assert_eq!(handshake.state(), &HandshakeState::Ready(profile));
    }

    #[test]
    fn a_refusal_is_final() {
        let (mut handshake, now) = start(HandshakeMode::Required);
        handshake.on_time(now + WAIT);
        handshake.on_hello(hello(&[]));
        handshake.on_ready();
        assert_eq!(
            handshake.state(),
            &HandshakeState::Refused(HandshakeError::NoHello)
        );
    }

    #[test]
    fn a_malformed_hello_is_a_refusal_unless_no_hello_counts() {
        for mode in [HandshakeMode::Auto, HandshakeMode::Required] {
            let (mut handshake, now) = start(mode);
            if mode == HandshakeMode::Auto {
                handshake.on_time(now + WAIT);
            }
            handshake.on_malformed_hello("`concurrency` is 0");
            handshake.on_time(now + WAIT);
            let HandshakeState::Refused(refusal) = handshake.state() else {
                panic!("{:?}", handshake.state());
            };
            let text = "its hello is malformed: `concurrency` is 0";
            assert_eq!(refusal.to_string(), text);
        }
        let (mut known, _) = start(HandshakeMode::Auto);
        known.on_hello(hello(&[]));
        let (mut without, _) = start(HandshakeMode::None);
        for handshake in [&mut known, &mut without] {
            handshake.on_malformed_hello("`concurrency` is 0");
            assert!(is_ready(handshake));
        }
    }

    #[test]
    fn without_a_handshake_a_worker_is_ready_and_its_hello_ignored() {
        let (mut handshake, _) = start(HandshakeMode::None);
        handshake.on_hello(hello(&[Capability::Ready]));
        assert_eq!(
            handshake.state(),
            &HandshakeState::Ready(Profile::minimal())
        );
    }

    #[test]
    fn an_endless_wait_does_not_overflow() {
        let (_, now) = start(HandshakeMode::Auto);
        let mut endless = Handshake::new(HandshakeMode::Auto, &[], now, Duration::MAX);
        assert_eq!(endless.deadline(), None);
        endless.on_time(now + WAIT);
        assert_eq!(endless.state(), &HandshakeState::AwaitingHello);
    }
}
