//! Decides when a new worker may be given work, as a plain value.

use std::time::{Duration, Instant};

use super::{HandshakeError, Profile};
use crate::messages::{Capability, Hello, ProtocolVersion};

/// Whether a worker of the native protocol has to say hello. The user configures it for each worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HandshakeMode {
    /// The worker may say hello. A worker without a hello gets the minimal profile.
    #[default]
    Auto,
    /// The worker must say hello in time.
    Required,
    /// The worker does not have to say hello, and a hello is ignored.
    None,
}

/// How a peer becomes ready for work, which its dialect decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeKind {
    /// The peer may say hello. [`HandshakeMode`] decides whether it has to.
    Hello,
    /// There is no handshake: the peer is ready at once, with the profile of its dialect.
    None,
    /// The session performs a handshake of its own, and reports the result as [`Readiness`].
    Session,
}

/// The result of a handshake that a dialect performs by itself.
#[derive(Debug, Clone, PartialEq)]
pub enum Readiness {
    /// The peer accepts work from now on. A second report replaces the profile of the first one.
    Ready(Box<Profile>),
    /// The peer gets no work, for this reason.
    Refused(HandshakeError),
}

/// The state of a handshake.
#[derive(Debug, Clone, PartialEq)]
pub enum HandshakeState {
    /// The worker may still say hello.
    AwaitingHello,
    /// The worker has said hello, and will send `ready` later. It gets no work before.
    AwaitingReady(Profile),
    /// The handshake of the dialect is in progress.
    AwaitingSession,
    /// The worker accepts work.
    Ready(Profile),
    /// The host and the worker cannot work together. This state is final.
    Refused(HandshakeError),
}

/// Decides when a new worker may be given work, and with which profile.
///
/// The caller reports each event and its time. The handshake reads no clock and does no I/O.
///
/// ```
/// use std::time::{Duration, Instant};
/// use ratchet_ipc::{Handshake, HandshakeMode, HandshakeState, Hello, Profile, ProtocolVersion};
///
/// let start = Instant::now();
/// let wait = Duration::from_millis(500);
/// let mut handshake = Handshake::new(HandshakeMode::Auto, ProtocolVersion::SUPPORTED, start, wait);
///
/// // A worker that says nothing is ready when the wait is over, with the minimal profile.
/// handshake.on_time(start + wait);
/// assert_eq!(handshake.state(), &HandshakeState::Ready(Profile::minimal()));
///
/// // A worker that was only slow to start still gets the profile of its hello.
/// handshake.on_hello(Hello::new([ProtocolVersion::V1]));
/// assert!(matches!(handshake.state(), HandshakeState::Ready(_)));
/// ```
#[derive(Debug, Clone)]
pub struct Handshake {
    /// Whether a hello is required; `None` if every hello is ignored, because of the mode or of the dialect.
    hello: Option<HelloRule>,
    /// The versions that the host speaks.
    offered: Vec<ProtocolVersion>,
    /// The time after which a silent worker counts as one without a hello; `None` if no hello is awaited.
    deadline: Option<Instant>,
    /// Whether a hello was received. Only the first hello counts.
    said_hello: bool,
    state: HandshakeState,
}

/// Whether a hello is required.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HelloRule {
    /// A worker may work without a hello.
    Optional,
    /// A worker without a hello is refused.
    Required,
}

impl Handshake {
    /// Starts the handshake of the native protocol with a worker that was started at `now`.
    pub fn new(
        mode: HandshakeMode,
        offered: &[ProtocolVersion],
        now: Instant,
        wait: Duration,
    ) -> Self {
        let (hello, state) = match mode {
            HandshakeMode::Auto => (Some(HelloRule::Optional), HandshakeState::AwaitingHello),
            HandshakeMode::Required => (Some(HelloRule::Required), HandshakeState::AwaitingHello),
            HandshakeMode::None => (None, HandshakeState::Ready(Profile::minimal())),
        };
        Self {
            hello,
            offered: offered.to_vec(),
            // A wait beyond the range of the clock never ends.
            deadline: now.checked_add(wait),
            said_hello: false,
            state,
        }
    }

    /// Starts a handshake that the dialect performs by itself, and whose result the session reports to
    /// [`on_readiness`](Self::on_readiness).
    pub fn by_session() -> Self {
        Self {
            hello: None,
            offered: Vec::new(),
            deadline: None,
            said_hello: false,
            state: HandshakeState::AwaitingSession,
        }
    }

    /// Makes the handshake of a peer that is ready at once, and whose profile is known in advance.
    pub fn ready(profile: Profile) -> Self {
        Self {
            hello: None,
            offered: Vec::new(),
            deadline: None,
            said_hello: false,
            state: HandshakeState::Ready(profile),
        }
    }

    /// Returns the current state.
    pub fn state(&self) -> &HandshakeState {
        &self.state
    }

    /// Returns the time at which [`on_time`](Self::on_time) has to be called, if a hello is awaited.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
            .filter(|_| self.state == HandshakeState::AwaitingHello)
    }

    /// Handles a hello of the worker.
    ///
    /// A late hello counts, because a worker may take long to load. A second one does not.
    pub fn on_hello(&mut self, hello: Hello) {
        if !self.accept_hello() {
            return;
        }
        self.state = match Profile::negotiate(&self.offered, hello) {
            Err(error) => HandshakeState::Refused(error),
            Ok(profile) if profile.capabilities.has(&Capability::Ready) => {
                HandshakeState::AwaitingReady(profile)
            }
            Ok(profile) => HandshakeState::Ready(profile),
        };
    }

    /// Handles a hello that breaks the protocol. The worker is refused, unless hellos are ignored or there was one
    /// before.
    pub fn on_malformed_hello(&mut self, reason: impl Into<String>) {
        if self.accept_hello() {
            let reason = reason.into();
            self.state = HandshakeState::Refused(HandshakeError::MalformedHello { reason });
        }
    }

    /// Whether a hello that arrives now counts. This is true only once.
    fn accept_hello(&mut self) -> bool {
        let is_refused = matches!(self.state, HandshakeState::Refused(_));
        let counts = self.hello.is_some() && !self.said_hello && !is_refused;
        self.said_hello |= counts;
        counts
    }

    /// Handles the `ready` event of the worker.
    ///
    /// A worker without a hello gets the minimal profile: the event has shown that it speaks the protocol.
    pub fn on_ready(&mut self) {
        match &self.state {
            HandshakeState::AwaitingReady(profile) => {
                self.state = HandshakeState::Ready(profile.clone());
            }
            HandshakeState::AwaitingHello if self.hello == Some(HelloRule::Optional) => {
                self.state = HandshakeState::Ready(Profile::minimal());
            }
            HandshakeState::AwaitingHello
            | HandshakeState::AwaitingSession
            | HandshakeState::Ready(_)
            | HandshakeState::Refused(_) => {}
        }
    }

    /// Handles a response of the worker. A worker that has not said hello by now never will, so it is judged without
    /// one.
    pub fn on_response(&mut self) {
        if self.state == HandshakeState::AwaitingHello {
            self.state = match self.hello {
                Some(HelloRule::Required) => HandshakeState::Refused(HandshakeError::NoHello),
                Some(HelloRule::Optional) | None => HandshakeState::Ready(Profile::minimal()),
            };
        }
    }

    /// Handles the result of the session's own handshake. Only a refusal is final.
    pub fn on_readiness(&mut self, readiness: Readiness) {
        if matches!(self.state, HandshakeState::Refused(_)) {
            return;
        }
        self.state = match readiness {
            Readiness::Ready(profile) => HandshakeState::Ready(*profile),
            Readiness::Refused(error) => HandshakeState::Refused(error),
        };
    }

    /// Handles the passing of time. A worker that is silent until the deadline is treated as one that answers without a
    /// hello.
    pub fn on_time(&mut self, now: Instant) {
        if self.deadline.is_some_and(|deadline| now >= deadline) {
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
    fn a_silent_worker_gets_the_minimal_profile_or_is_refused() {
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
    fn a_late_hello_counts_and_a_second_one_does_not() {
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
    fn a_worker_with_a_malformed_hello_is_refused_unless_no_hello_counts() {
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
    fn a_worker_without_handshake_is_ready_and_its_hello_is_ignored() {
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

    #[test]
    fn a_session_with_a_handshake_of_its_own_decides_when_the_worker_is_ready() {
        let (_, now) = start(HandshakeMode::Auto);
        let mut handshake = Handshake::by_session();
        handshake.on_time(now + WAIT * 10);
        handshake.on_response();
        handshake.on_ready();
        handshake.on_hello(hello(&[]));
        assert_eq!(handshake.state(), &HandshakeState::AwaitingSession);
        assert_eq!(handshake.deadline(), None);

        let profile = |concurrency: u32| Profile {
            concurrency: concurrency.try_into().unwrap(),
            ..Profile::minimal()
        };
        for concurrency in [1, 4] {
            handshake.on_readiness(Readiness::Ready(Box::new(profile(concurrency))));
            let expected = HandshakeState::Ready(profile(concurrency));
            assert_eq!(handshake.state(), &expected);
        }
    }

    #[test]
    fn a_session_that_refuses_its_worker_cannot_change_its_mind() {
        let mut handshake = Handshake::by_session();
        let error = HandshakeError::Dialect {
            reason: "it speaks version 3".to_owned(),
        };
        handshake.on_readiness(Readiness::Refused(error.clone()));
        handshake.on_readiness(Readiness::Ready(Box::new(Profile::minimal())));
        assert_eq!(handshake.state(), &HandshakeState::Refused(error));
    }
}
