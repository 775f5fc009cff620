//! A model of a host, its dispatcher and everything between them, in which anything can be late, lost or stopped.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const FENCE: Duration = Duration::from_millis(1200);

/// How late the keeper may be. The margin is for this.
const MARGIN: Duration = Duration::from_millis(100);

/// One event of the model.
#[derive(Debug, Clone)]
enum Happening {
    /// Time passes.
    Pass(u64),
    /// The oldest message on a way arrives, if its receiver is not stopped.
    Arrive(Way),
    /// The oldest message on a way is lost.
    Lose(Way),
    /// The agent is stopped, or continued.
    StopAgent(bool),
    /// Ctrl-Z is typed where the dispatcher runs, or `fg`.
    Suspend(bool),
    /// The dispatcher gives the host up.
    GiveUp,
}

#[derive(Debug, Clone, Copy)]
enum Way {
    KeeperToAgent,
    AgentToDispatcher,
    DispatcherToAgent,
    AgentToKeeper,
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let way = || {
        prop_oneof![
            Just(Way::KeeperToAgent),
            Just(Way::AgentToDispatcher),
            Just(Way::DispatcherToAgent),
            Just(Way::AgentToKeeper),
        ]
    };
    let happening = prop_oneof![
        4 => (1..300_u64).prop_map(Happening::Pass),
        12 => way().prop_map(Happening::Arrive),
        1 => way().prop_map(Happening::Lose),
        1 => any::<bool>().prop_map(Happening::StopAgent),
        1 => any::<bool>().prop_map(Happening::Suspend),
        1 => Just(Happening::GiveUp),
    ];
    proptest::collection::vec(happening, 1..120)
}

#[derive(Debug, Clone, Copy)]
enum Said {
    Question(BootTime),
    Answer(BootTime),
    Suspend,
    Resume,
}

/// The whole model, in one time that both sides see through clocks of their own.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each side is stopped, or over, by itself"
)]
struct World {
    begin: Instant,
    now: u64,
    /// What the host's clock showed at the beginning.
    boot: u64,
    granted_time: GrantedTime,
    is_killed: bool,
    are_stopped: bool,
    is_agent_stopped: bool,
    grants: Grants,
    is_suspended: bool,
    is_given_up: bool,
    ways: [VecDeque<Said>; 4],
}

impl World {
    fn new(boot: u64) -> Self {
        let begin = tokio::time::Instant::now().into_std();
        Self {
            begin,
            now: 0,
            boot,
            granted_time: GrantedTime::new(FENCE, BootTime::at(Duration::from_millis(boot))),
            is_killed: false,
            are_stopped: false,
            is_agent_stopped: false,
            grants: Grants::started_before(begin),
            is_suspended: false,
            is_given_up: false,
            ways: Default::default(),
        }
    }

    fn boot_time(&self) -> BootTime {
        BootTime::at(Duration::from_millis(self.boot + self.now))
    }

    fn dispatcher_time(&self) -> Instant {
        self.begin + Duration::from_millis(self.now)
    }

    /// Whether the dispatcher counts the groups as ended.
    fn is_released(&self) -> bool {
        self.is_given_up && self.dispatcher_time() >= self.grants.over_by(FENCE, MARGIN)
    }

    fn run(&mut self, happening: &Happening) {
        match *happening {
            Happening::Pass(time) => {
                // The keeper wakes up in time, or with a small delay.
                let end = self.now + time;
                while self.now < end {
                    self.now = (self.now + 1).next_multiple_of(50).min(end);
                    self.keep();
                }
            }
            Happening::Arrive(way) => {
                if let Some(said) = self.take(way) {
                    self.arrive(way, said);
                }
            }
            Happening::Lose(way) => drop(self.ways[way as usize].pop_front()),
            Happening::StopAgent(is_stopped) => self.is_agent_stopped = is_stopped,
            Happening::Suspend(is_suspended) => {
                if !self.is_given_up && self.is_suspended != is_suspended {
                    self.is_suspended = is_suspended;
                    let said = if is_suspended {
                        Said::Suspend
                    } else {
                        Said::Resume
                    };
                    self.say(Way::DispatcherToAgent, said);
                }
            }
            // A dispatcher that is stopped gives no host up.
            Happening::GiveUp => self.is_given_up |= !self.is_suspended,
        }
        self.keep();
    }

    fn say(&mut self, way: Way, said: Said) {
        self.ways[way as usize].push_back(said);
    }

    /// Takes the oldest message on a way, if the receiver at its end takes messages.
    fn take(&mut self, way: Way) -> Option<Said> {
        let is_taken = match way {
            Way::KeeperToAgent | Way::DispatcherToAgent => {
                !self.is_agent_stopped && !self.is_killed
            }
            Way::AgentToDispatcher => !self.is_suspended && !self.is_given_up,
            Way::AgentToKeeper => !self.is_killed,
        };
        self.ways[way as usize].pop_front_if(|_| is_taken)
    }

    fn arrive(&mut self, way: Way, said: Said) {
        match (way, said) {
            (Way::KeeperToAgent, said) => self.say(Way::AgentToDispatcher, said),
            (Way::DispatcherToAgent, said) => self.say(Way::AgentToKeeper, said),
            (Way::AgentToDispatcher, Said::Question(at)) => {
                self.grants.grant(self.dispatcher_time());
                self.say(Way::DispatcherToAgent, Said::Answer(at));
            }
            (Way::AgentToKeeper, Said::Answer(at)) => {
                if self.granted_time.granted(at, self.boot_time()) {
                    self.are_stopped = false;
                }
            }
            (Way::AgentToKeeper, Said::Suspend) => {
                self.are_stopped = true;
                self.granted_time.suspend();
            }
            (Way::AgentToKeeper, Said::Resume) => self.granted_time.resume(self.boot_time()),
            (Way::AgentToDispatcher | Way::AgentToKeeper, said) => unreachable!("{said:?}"),
        }
    }

    /// Makes the keeper do what is due.
    fn keep(&mut self) {
        while !self.is_killed {
            match self.granted_time.step(self.boot_time()) {
                FenceStep::Kill => self.is_killed = true,
                FenceStep::Ask(at) => self.say(Way::KeeperToAgent, Said::Question(at)),
                FenceStep::Wait(until) => {
                    assert!(until.is_none_or(|until| until > self.boot_time()));
                    return;
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, ..ProptestConfig::default() })]

    #[test]
    fn nothing_runs_once_the_dispatcher_counts_it_as_ended(boot in 0..1_000_000_u64, happenings in happenings()) {
        let mut world = World::new(boot);
        let end = [Happening::GiveUp, Happening::Pass(1400), Happening::StopAgent(false)];
        let late = (0..20).flat_map(|_| [
            Happening::Arrive(Way::DispatcherToAgent),
            Happening::Arrive(Way::AgentToKeeper),
            Happening::Pass(100),
        ]);
        for happening in happenings.into_iter().chain(end).chain(late) {
            world.run(&happening);
            prop_assert!(
                !world.is_released() || world.is_killed || world.are_stopped,
                "it runs on {} ms after the beginning", world.now
            );
        }
    }

    #[test]
    fn what_runs_is_never_killed_while_the_connection_is_fast_enough(delay in 1..100_u64, boot in 0..1_000_000_u64, stops in proptest::collection::vec(1..5000_u64, 0..4)) {
        let mut world = World::new(boot);
        let arrive = |world: &mut World, way: Way| {
            for _ in 0..world.ways[way as usize].len() {
                world.run(&Happening::Arrive(way));
            }
        };
        let rounds = |world: &mut World, count: u64| {
            for _ in 0..count {
                for way in [Way::KeeperToAgent, Way::AgentToDispatcher, Way::DispatcherToAgent, Way::AgentToKeeper] {
                    world.run(&Happening::Pass(delay));
                    arrive(world, way);
                }
            }
        };
        rounds(&mut world, 10);
        for stop in stops {
            world.run(&Happening::Suspend(true));
            arrive(&mut world, Way::DispatcherToAgent);
            arrive(&mut world, Way::AgentToKeeper);
            prop_assert!(world.are_stopped);
            world.run(&Happening::Pass(stop));
            world.run(&Happening::Suspend(false));
            rounds(&mut world, 20);
            prop_assert!(!world.are_stopped, "they go on");
        }
        prop_assert!(!world.is_killed);
    }
}

#[test]
fn a_question_is_asked_several_times_in_the_time_of_an_answer() {
    let begin = BootTime::at(Duration::from_secs(1));
    let mut granted_time = GrantedTime::new(Duration::from_secs(12), begin);
    let at = |seconds| begin.after(Duration::from_secs(seconds));
    for seconds in [0, 2, 4, 6, 8, 10] {
        let now = at(seconds);
        assert_eq!(granted_time.step(now), FenceStep::Ask(now));
        assert_eq!(
            granted_time.step(now),
            FenceStep::Wait(Some(at(seconds + 2)))
        );
    }
    assert_eq!(granted_time.step(at(12)), FenceStep::Kill);
    assert!(
        !granted_time.granted(at(13), at(12)),
        "nobody has asked that yet"
    );
    assert_eq!(granted_time.step(at(12)), FenceStep::Kill);
}
