//! The driver of the soak over hosts: starts the dispatcher, and kills, stops and cuts the processes on which it
//! depends.

use std::error::Error;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::park_timeout;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

use super::HOST_VARIABLE;
use super::checker::{HostReport, check};
use super::plan::HostPlan;
use crate::chaos::plan::Chance;
use crate::chaos::{HOST_NOTES, LIFE_VARIABLE, MARK, Rule, WORKER_NOTES, notes};
use crate::{is_alive, marked};

type Failed = Box<dyn Error>;

/// The file that takes the stderr of dispatchers, which should stay empty.
const COMPLAINTS: &str = "complaints";

/// How long nothing may happen before the soak counts as hanging.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long the processes of a dispatcher may take to be gone after its end: its keepers wait for the granted time.
const END_LIMIT: Duration = Duration::from_secs(20);

/// The interval at which the driver checks what has happened.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// The time between two disturbances, in milliseconds.
const BETWEEN: [u32; 2] = [300, 1200];

/// How long a process is stopped, in milliseconds: for less and for more than it takes to be considered lost.
const STOP: [u32; 2] = [300, 4000];

/// A disturbance of a host.
#[derive(Debug, Clone, Copy)]
enum Deed {
    KillAgent,
    StopAgent,
    KillRelay,
    StopRelay,
    /// The agent is stopped, and its relay is killed.
    Sever,
}

/// All disturbances, in the order in which they are done.
const DEEDS: [Deed; 5] = [
    Deed::KillAgent,
    Deed::StopAgent,
    Deed::KillRelay,
    Deed::StopRelay,
    Deed::Sever,
];

impl Deed {
    fn words(self) -> &'static str {
        match self {
            Self::KillAgent => "an agent was killed",
            Self::StopAgent => "an agent was stopped for a while",
            Self::KillRelay => "a connection was cut",
            Self::StopRelay => "a connection was silent for a while",
            Self::Sever => "the connection of an agent that was stopped was cut",
        }
    }
}

/// A soak over hosts that can be run.
#[derive(Debug, Clone)]
pub struct HostSoak {
    /// The jobs and the hosts.
    pub plan: HostPlan,
    /// How often the dispatcher is killed.
    pub kills: u32,
    /// The folder for all files of the soak. It has to be empty, or must not exist yet.
    pub folder: PathBuf,
}

impl HostSoak {
    /// Runs the soak to its end, and returns the report of the checker.
    pub fn run(&self) -> Result<HostReport, Failed> {
        fs::create_dir_all(&self.folder)?;
        if fs::read_dir(&self.folder)?.next().is_some() {
            return Err(format!("{} is not empty", self.folder.display()).into());
        }
        let mut found = HostReport::default();
        for life in 1..=self.kills + 1 {
            let mut dispatcher = self.start(life)?;
            let ended = self.watch(life, &mut dispatcher, &mut found);
            if ended.is_err() {
                dispatcher.kill()?;
                dispatcher.wait()?;
            }
            self.wait_for_end(life, &mut found);
            ended?;
        }
        let read = |name: &str| notes::read(&self.folder.join(name));
        let mut report = check(self.plan, &read(WORKER_NOTES)?, &read(HOST_NOTES)?);
        report.violations.extend(found.violations);
        report.deeds = found.deeds;
        report.lives = self.kills + 1;
        for deed in DEEDS {
            if !report.deeds.contains_key(deed.words()) {
                let text = format!("this shows too little: never {}", deed.words());
                report.add(Rule::Ended, text);
            }
        }
        for complaint in fs::read_to_string(self.folder.join(COMPLAINTS))?.lines() {
            report.add(Rule::Complaint, complaint.to_owned());
        }
        Ok(report)
    }

    /// Returns the value of the variable by which the processes of this soak are found.
    fn mark(&self) -> String {
        format!("{}-{}", std::process::id(), self.plan.plan.seed)
    }

    fn start(&self, life: u32) -> Result<Child, Failed> {
        let complaints = File::options()
            .append(true)
            .create(true)
            .open(self.folder.join(COMPLAINTS))?;
        let HostPlan { plan, hosts } = self.plan;
        let numbers = [plan.seed, plan.jobs.into(), hosts.into(), life.into()];
        let dispatcher = Command::new(std::env::current_exe()?)
            .arg("dispatcher")
            .args(numbers.map(|number| number.to_string()))
            .arg(&self.folder)
            .env(MARK, self.mark())
            .env(LIFE_VARIABLE, life.to_string())
            .stdin(Stdio::null())
            .stderr(complaints)
            .spawn()?;
        Ok(dispatcher)
    }

    /// Disturbs hosts until the dispatcher has done its share, and then kills it. The last dispatcher ends by itself.
    fn watch(
        &self,
        life: u32,
        dispatcher: &mut Child,
        found: &mut HostReport,
    ) -> Result<(), Failed> {
        let mut chance = Chance::of(self.plan.plan, life);
        let notes = self.folder.join(WORKER_NOTES);
        let outcomes = self.folder.join(HOST_NOTES);
        let share = u64::from(self.plan.plan.jobs) * u64::from(life) / u64::from(self.kills + 1);
        let share = (life <= self.kills).then_some(share * notes::LINE as u64);
        let (mut seen, mut since) = (0, Instant::now());
        let mut next = Instant::now() + chance.between(BETWEEN);
        let mut stopped: Vec<(u32, Instant)> = Vec::new();
        let mut turn = 0;
        loop {
            if let Some(status) = dispatcher.try_wait()? {
                if !status.success() || share.is_some() {
                    let complaints = fs::read_to_string(self.folder.join(COMPLAINTS))?;
                    return Err(format!("life {life} ended, {status}: {complaints}").into());
                }
                return Ok(());
            }
            if share.is_some_and(|share| length(&outcomes) >= share) {
                dispatcher.kill()?;
                dispatcher.wait()?;
                break;
            }
            let written = length(&notes);
            if written > seen {
                (seen, since) = (written, Instant::now());
            }
            if since.elapsed() > PATIENCE {
                let text = format!("life {life} hangs: nothing has happened for {PATIENCE:?}");
                return Err(text.into());
            }
            let now = Instant::now();
            stopped.retain(|(process, until)| {
                let is_over = *until <= now;
                if is_over {
                    signal(*process, Signal::CONT);
                }
                !is_over
            });
            if next <= now {
                next = now + chance.between(BETWEEN);
                let (host, deed) = (1 + chance.below(self.plan.hosts), DEEDS[turn % DEEDS.len()]);
                if let Some(process) = self.act(deed, host, &stopped) {
                    turn += 1;
                    *found.deeds.entry(deed.words()).or_default() += 1;
                    if !matches!(deed, Deed::KillAgent | Deed::KillRelay) {
                        stopped.push((process, now + chance.between(STOP)));
                    }
                }
            }
            park_timeout(POLL_INTERVAL);
        }
        // A relay that stays stopped keeps its agent from noticing that the dispatcher is gone, so the fence has to
        // act. The relay is continued when that is over.
        Ok(())
    }

    /// Disturbs a host. Returns the process that was signalled; `None` if it does not exist now, or is stopped already.
    fn act(&self, deed: Deed, host: u32, stopped: &[(u32, Instant)]) -> Option<u32> {
        let is_free = |process: &u32| stopped.iter().all(|(other, _)| other != process);
        let agent = || self.agent(host).filter(is_free);
        let relay = || self.relay(host).filter(is_free);
        let (process, sent) = match deed {
            Deed::KillAgent => (agent()?, Signal::KILL),
            Deed::StopAgent => (agent()?, Signal::STOP),
            Deed::KillRelay => (relay()?, Signal::KILL),
            Deed::StopRelay => (relay()?, Signal::STOP),
            Deed::Sever => {
                let (agent, relay) = (agent()?, relay()?);
                signal(agent, Signal::STOP);
                signal(relay, Signal::KILL);
                return Some(agent);
            }
        };
        signal(process, sent);
        Some(process)
    }

    /// Returns the processes of the soak whose second word is this.
    fn named(&self, word: &str) -> Vec<(u32, Vec<String>)> {
        let ours = marked(&format!("{MARK}={}", self.mark())).into_iter();
        let with_words = ours.map(|process| (process, words(process)));
        let is_named =
            |(_, words): &(u32, Vec<String>)| words.get(1).is_some_and(|own| own == word);
        with_words.filter(is_named).collect()
    }

    /// Finds the process of a host's agent.
    fn agent(&self, host: u32) -> Option<u32> {
        let of_host = marked(&format!("{HOST_VARIABLE}={host}"));
        let mut agents = self.named("agent").into_iter().map(|(process, _)| process);
        agents.find(|process| of_host.contains(process))
    }

    /// Finds the process of a host's relay.
    fn relay(&self, host: u32) -> Option<u32> {
        let host = host.to_string();
        let relays = self.named("relay").into_iter();
        let mut of_host = relays.filter(|(_, words)| words.get(2) == Some(&host));
        Some(of_host.next()?.0)
    }

    /// Waits until all processes that the dispatcher or its agents have started are gone.
    fn wait_for_end(&self, life: u32, found: &mut HostReport) {
        let mark = format!("{MARK}={}", self.mark());
        let deadline = Instant::now() + END_LIMIT;
        loop {
            let mut left = marked(&mark);
            left.retain(|process| *process != std::process::id());
            // Relays that were left stopped do not notice the end. They are not part of ratchet.
            for (relay, _) in self.named("relay") {
                signal(relay, Signal::CONT);
            }
            if left.is_empty() {
                return;
            }
            if Instant::now() > deadline {
                let left: Vec<String> = left
                    .iter()
                    .map(|process| words(*process).join(" "))
                    .collect();
                let text = format!("after life {life} these processes are left: {left:?}");
                return found.add(Rule::LeftBehind, text);
            }
            park_timeout(POLL_INTERVAL);
        }
    }
}

/// Sends a signal to a process, which may have ended in the meantime.
fn signal(process: u32, signal: Signal) {
    let id = i32::try_from(process).ok().and_then(Pid::from_raw);
    if let Some(id) = id.filter(|_| is_alive(process)) {
        // An error means that the process is gone.
        let _ = kill_process(id, signal);
    }
}

/// Returns the words of the command line of a process.
fn words(process: u32) -> Vec<String> {
    let command = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    let words = command.split(|byte| *byte == 0);
    words
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect()
}

/// Returns the length of a file, which is 0 if it does not exist yet.
fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}
