use std::fmt;
use std::time::{Duration, Instant};

use crate::ResilienceError;
use crate::time::saturating_add;
use crate::validate::check_duration;

/// The phase of a shutdown. Later phases compare as greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// No shutdown has begun.
    Running,
    /// The program takes no new work; work in progress may finish.
    Draining,
    /// Work in progress is asked to stop.
    Cancelling,
    /// Work in progress is ended.
    Killing,
}

impl Phase {
    /// Returns the phase that follows; `None` after `Killing`.
    pub fn next(self) -> Option<Self> {
        match self {
            Self::Running => Some(Self::Draining),
            Self::Draining => Some(Self::Cancelling),
            Self::Cancelling => Some(Self::Killing),
            Self::Killing => None,
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running => "running",
            Self::Draining => "draining",
            Self::Cancelling => "cancelling",
            Self::Killing => "killing",
        })
    }
}

/// How long each phase of a shutdown may last: at most 365 days each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grace {
    /// How long work in progress may take to finish.
    pub draining: Duration,
    /// How long work may take to stop after it was asked to.
    pub cancelling: Duration,
    /// How long to wait until work is gone after it was ended.
    pub killing: Duration,
}

impl Default for Grace {
    /// Returns 30 s for draining, 10 s for cancelling and 5 s for killing.
    fn default() -> Self {
        Self {
            draining: Duration::from_secs(30),
            cancelling: Duration::from_secs(10),
            killing: Duration::from_secs(5),
        }
    }
}

/// Moves a shutdown from phase to phase, for a loop that has its own tasks and timers.
///
/// ```
/// use ratchet_resilience::shutdown::{Grace, Phase, PhaseClock};
/// use std::time::Instant;
///
/// let grace = Grace::default();
/// let mut clock = PhaseClock::new(grace)?;
/// let now = Instant::now();
///
/// // The program received a signal.
/// assert_eq!(clock.advance(now), Some(Phase::Draining));
/// let deadline = clock.deadline().expect("a phase that ends by itself");
/// assert_eq!(deadline, now + grace.draining);
///
/// // The timer of the loop fired.
/// assert_eq!(clock.poll(deadline), Some(Phase::Cancelling));
/// # Ok::<(), ratchet_resilience::ResilienceError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct PhaseClock {
    grace: Grace,
    phase: Phase,
    /// When the phase is over; `None` before a shutdown begins.
    deadline: Option<Instant>,
}

impl PhaseClock {
    /// Makes a clock in the phase `Running`.
    pub fn new(grace: Grace) -> Result<Self, ResilienceError> {
        check_duration("draining", grace.draining, Duration::ZERO)?;
        check_duration("cancelling", grace.cancelling, Duration::ZERO)?;
        check_duration("killing", grace.killing, Duration::ZERO)?;
        Ok(Self {
            grace,
            phase: Phase::Running,
            deadline: None,
        })
    }

    /// Returns the phase after the last call.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Returns when the time of this phase is over; `None` while running.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Enters the next phase and returns it. Does nothing in the last phase.
    pub fn advance(&mut self, now: Instant) -> Option<Phase> {
        self.phase.next().map(|next| self.enter(next, now))
    }

    /// Enters a later phase and returns it. Does nothing if `phase` is not later than the current one.
    pub fn advance_to(&mut self, phase: Phase, now: Instant) -> Option<Phase> {
        (phase > self.phase).then(|| self.enter(phase, now))
    }

    /// Enters the next phase if the time of this one is over.
    ///
    /// Each call enters at most one phase, and the time of that phase counts from `now`. So work gets its full time
    /// even if the loop itself was delayed.
    pub fn poll(&mut self, now: Instant) -> Option<Phase> {
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            self.advance(now)
        } else {
            None
        }
    }

    /// Whether the time of the last phase is over. Work that has not ended by now is abandoned.
    pub fn is_over(&self, now: Instant) -> bool {
        self.phase == Phase::Killing && self.deadline.is_some_and(|deadline| now >= deadline)
    }

    /// Sets the phase and its deadline, and returns the phase. No other method sets either of them, so they always
    /// belong together.
    fn enter(&mut self, phase: Phase, now: Instant) -> Phase {
        let grace = match phase {
            Phase::Running => None,
            Phase::Draining => Some(self.grace.draining),
            Phase::Cancelling => Some(self.grace.cancelling),
            Phase::Killing => Some(self.grace.killing),
        };
        self.phase = phase;
        self.deadline = grace.map(|grace| saturating_add(now, grace));
        phase
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PHASES: [Phase; 4] = [
        Phase::Running,
        Phase::Draining,
        Phase::Cancelling,
        Phase::Killing,
    ];

    #[derive(Debug, Clone)]
    enum Step {
        Wait(u64),
        Advance,
        AdvanceTo(usize),
        Poll,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0_u64..30).prop_map(Step::Wait),
            Just(Step::Advance),
            (0_usize..4).prop_map(Step::AdvanceTo),
            Just(Step::Poll),
        ];
        proptest::collection::vec(step, 0..40)
    }

    proptest! {
        /// The model is the number of the phase, and the time at which it began.
        #[test]
        fn a_phase_clock_goes_forward_only_and_by_the_clock(graces in proptest::array::uniform3(0_u64..40), steps in steps()) {
            let seconds = Duration::from_secs;
            let [draining, cancelling, killing] = graces.map(seconds);
            let mut clock = PhaseClock::new(Grace { draining, cancelling, killing }).unwrap();
            let start = tokio::time::Instant::now().into_std();
            let (mut time, mut index, mut entered) = (0, 0, 0);
            for step in steps {
                let now = start + seconds(time);
                let due = index > 0 && time >= entered + graces[index - 1];
                let (got, target) = match step {
                    Step::Wait(wait) => { time += wait; continue; }
                    Step::Advance => (clock.advance(now), index + 1),
                    Step::AdvanceTo(to) => (clock.advance_to(PHASES[to], now), to),
                    Step::Poll => (clock.poll(now), if due { index + 1 } else { index }),
                };
                let moved = target > index && target < 4;
                prop_assert_eq!(got, moved.then(|| PHASES[target]));
                if moved {
                    (index, entered) = (target, time);
                }
                prop_assert_eq!(clock.phase(), PHASES[index]);
                let deadline = (index > 0).then(|| start + seconds(entered + graces[index - 1]));
                prop_assert_eq!(clock.deadline(), deadline);
                prop_assert_eq!(clock.is_over(now), index == 3 && time >= entered + graces[2]);
            }
        }
    }

    #[test]
    fn the_default_grace_is_what_its_doc_says() {
        let Grace {
            draining,
            cancelling,
            killing,
        } = Grace::default();
        assert_eq!(
            [draining, cancelling, killing].map(|grace| grace.as_secs()),
            [30, 10, 5]
        );
    }

    #[test]
    fn a_grace_beyond_a_year_is_refused_by_name() {
        let grace = Grace {
            cancelling: Duration::MAX,
            ..Grace::default()
        };
        assert_eq!(
            PhaseClock::new(grace).unwrap_err().to_string(),
            format!(
                "cancelling is {:?}, but must be between 0ns and 365 days",
                Duration::MAX
            )
        );
    }
}
