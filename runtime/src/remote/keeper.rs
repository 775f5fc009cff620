//! The keeper of an agent: a second process on the host, which enforces for how long the processes there may run.
//!
//! When the granted time is over, it kills the agent and everything that the agent has started, even if the agent is
//! only stopped. So a process that the agent is about to start is killed as well, and nothing is started after that
//! time.
//!
//! The node of a queue has the same keeper, and says by itself until when everything may run (`self_fence.rs`).

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::process::{Pid, Signal, getppid, kill_process};
use serde::{Deserialize, Serialize};

use super::fence::{BootTime, FenceStep, GrantedTime};
use super::message::{Lines, line};
use crate::os::{BootTimer, KeeperList};

/// How long to wait between two rounds of killing until the agent is gone.
const KILL_PAUSE: Duration = Duration::from_millis(10);

/// A message from an agent to its keeper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ToKeeper {
    /// The first message: for how long an answer grants time, and the time of the last question that was answered.
    Begin {
        fence_after: Duration,
        asked_at: BootTime,
    },
    /// The dispatcher has answered the question of this time.
    Granted(BootTime),
    /// The dispatcher is stopped by Ctrl-Z: all groups are to be stopped, and the fence is to be suspended.
    Suspend,
    /// The dispatcher continues.
    Resume,
    /// Everything may run until this time, and no longer. It replaces the time of an earlier such message. Nobody is asked.
    RunUntil(BootTime),
    /// What runs now may run for as long as its owner lives: none of it is anything that others could begin meanwhile.
    RunOn,
}

/// A message from a keeper to its agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FromKeeper {
    /// A question for the dispatcher.
    Ask(BootTime),
    /// The groups that were stopped may continue.
    Resumed,
}

/// Runs the keeper for the [`Agent`](super::Agent) that has started this program by
/// [`Agent::keeper`](super::Agent::keeper).
///
/// It exchanges messages with the agent on stdin, and stdout is the list of what the agent has started, so nothing may
/// be printed. It returns when the agent is gone and everything that was left is killed.
pub fn run_keeper() -> io::Result<()> {
    let agent = getppid();
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    socket.set_nonblocking(true)?;
    let list = KeeperList::new(io::stdout().as_fd().try_clone_to_owned()?);
    let keeper = RemoteKeeper {
        socket,
        list,
        timer: BootTimer::new()?,
        lines: Lines::default(),
        agent,
        granted_time: None,
        run_until: None,
    };
    keeper.run()
}

/// The keeper's process.
struct RemoteKeeper {
    socket: UnixStream,
    list: KeeperList,
    timer: BootTimer,
    lines: Lines,
    /// The process that has started this one.
    agent: Option<Pid>,
    /// The time for which processes may run; `None` until the agent has sent it.
    granted_time: Option<GrantedTime>,
    /// When everything is killed, if the owner is the node of a queue and has a session there.
    run_until: Option<BootTime>,
}

impl RemoteKeeper {
    fn run(mut self) -> io::Result<()> {
        match self.wait_for_end() {
            Ok(KeeperEnd::AgentGone) => self.list.signal(Signal::KILL),
            Ok(KeeperEnd::TimeOver) => self.kill(),
            // A keeper that cannot work is not a fence, so nothing may run.
            Err(error) => self.kill().and(Err(error)),
        }
    }

    /// Reads messages, asks for time and waits, until the time is over or the agent is gone.
    fn wait_for_end(&mut self) -> io::Result<KeeperEnd> {
        loop {
            // Messages are read before the time is checked: more time may have been granted while this process got no
            // processor.
            if self.read()? == Agent::Gone {
                return Ok(KeeperEnd::AgentGone);
            }
            if self.run_until.is_some_and(|until| BootTime::now() >= until) {
                return Ok(KeeperEnd::TimeOver);
            }
            let Some(granted_time) = &mut self.granted_time else {
                let until = self.run_until.map(BootTime::since_start);
                self.timer.wait(self.socket.as_fd(), until)?;
                continue;
            };
            match granted_time.step(BootTime::now()) {
                FenceStep::Kill => return Ok(KeeperEnd::TimeOver),
                FenceStep::Ask(at) => self.send(&FromKeeper::Ask(at)),
                FenceStep::Wait(until) => {
                    let until = until.map(BootTime::since_start);
                    self.timer.wait(self.socket.as_fd(), until)?;
                }
            }
        }
    }

    /// Reads and applies the messages of the agent.
    fn read(&mut self) -> io::Result<Agent> {
        let mut chunk = [0; 1024];
        loop {
            match self.socket.read(&mut chunk) {
                Ok(0) => return Ok(Agent::Gone),
                Ok(bytes) => self.lines.push(&chunk[..bytes]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The agent is gone, and a message to it had not been read.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Ok(Agent::Gone);
                }
                Err(error) => return Err(error),
            }
        }
        while let Some(message) = self.lines.next().map_err(io::Error::other)? {
            self.take(message)?;
        }
        Ok(Agent::Lives)
    }

    /// Handles a message of the agent.
    fn take(&mut self, message: ToKeeper) -> io::Result<()> {
        if let ToKeeper::Begin {
            fence_after,
            asked_at,
        } = message
        {
            self.granted_time = Some(GrantedTime::new(fence_after, asked_at));
            return Ok(());
        }
        if let ToKeeper::RunUntil(_) | ToKeeper::RunOn = message {
            self.run_until = match message {
                ToKeeper::RunUntil(until) => Some(until),
                _ => None,
            };
            return Ok(());
        }
        let Some(granted_time) = &mut self.granted_time else {
            return Err(io::Error::other("the agent has not sent the granted time"));
        };
        match message {
            ToKeeper::Granted(asked_at) => {
                if granted_time.granted(asked_at, BootTime::now()) {
                    self.send(&FromKeeper::Resumed);
                }
            }
            ToKeeper::Suspend => {
                self.list.signal(Signal::STOP)?;
                granted_time.suspend();
            }
            ToKeeper::Resume => granted_time.resume(BootTime::now()),
            ToKeeper::Begin { .. } | ToKeeper::RunUntil(_) | ToKeeper::RunOn => {}
        }
        Ok(())
    }

    /// Sends a message to the agent. An agent that is stopped for long does not read it, and its granted time ends.
    fn send(&mut self, message: &FromKeeper) {
        // Our messages can always be written as JSON. An error of the socket means that the agent is gone, which the
        // next read reports, or that it has not read anything for long.
        if let Ok(line) = line(message) {
            let _ = self.socket.write_all(&line);
        }
    }

    /// Kills the agent and everything that it has started.
    fn kill(mut self) -> io::Result<()> {
        // The processes on the list are killed first: the end of the agent would continue those that are stopped.
        let listed = self.list.signal(Signal::KILL);
        // If the agent is gone, this process has another parent by now, and its id may belong to another process.
        if let Some(agent) = self.agent.filter(|_| getppid() == self.agent) {
            // An error means that the agent is gone.
            let _ = kill_process(agent, Signal::KILL);
        }
        listed?;
        // A process that is being started holds the agent's end of the socket until it is on the list.
        while !matches!(self.read(), Ok(Agent::Gone)) {
            self.list.signal(Signal::KILL)?;
            let pause = BootTime::now().after(KILL_PAUSE).since_start();
            self.timer.wait(self.socket.as_fd(), Some(pause))?;
        }
        self.list.signal(Signal::KILL)
    }
}

/// Why a keeper ends.
enum KeeperEnd {
    AgentGone,
    TimeOver,
}

/// The state of the agent, as the socket shows it.
#[derive(PartialEq, Eq)]
enum Agent {
    Lives,
    Gone,
}
