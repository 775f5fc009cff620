//! Kills `ratchet map` with SIGKILL in its first milliseconds, and looks for processes that it leaves behind.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ratchet_resilience::Rng;
use rustix::process::{Pid, Signal, kill_process};

use crate::{Ratchet, with_argument};

/// The longest time from a start to its kill.
const LATEST: Duration = Duration::from_millis(50);

/// How long the keeper may take to kill the processes that are left.
const LIMIT: Duration = Duration::from_secs(10);

/// A series of kills at random moments.
#[derive(Debug, Clone, Copy)]
pub struct OrphanHunt {
    /// The seed of the random moments.
    pub seed: u64,
    /// How often `ratchet` is started and killed.
    pub kills: u32,
    /// The `-j` that `ratchet` is started with.
    pub jobs: u32,
}

/// The counts of a series of kills.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct OrphanCounts {
    /// How many kills left processes behind.
    pub kills_with_orphans: u32,
    /// How many processes were left behind in all.
    pub orphans: usize,
    /// How many kills came after the first job had started. Other kills test little.
    pub kills_with_jobs: u32,
}

impl OrphanHunt {
    /// Starts and kills `ratchet` again and again. It also kills the processes that are left behind.
    pub fn run(self) -> std::io::Result<OrphanCounts> {
        let mut rng = Rng::seeded(self.seed);
        let mut found = OrphanCounts::default();
        for number in 0..self.kills {
            let mark = format!("86400.{}{:03}{number:06}", std::process::id(), self.jobs);
            let [begun, left] =
                self.kill_once(number, &mark, rng.between(Duration::ZERO, LATEST))?;
            found.kills_with_jobs += u32::from(begun > 0);
            found.kills_with_orphans += u32::from(left > 0);
            found.orphans += left;
        }
        Ok(found)
    }

    /// Starts and kills `ratchet` once. Returns how many of its jobs ran at the kill, and how many processes were left.
    #[expect(
        clippy::disallowed_methods,
        reason = "the moment of the kill is what is chosen at random, and nothing tells when a process of another is gone"
    )]
    fn kill_once(self, number: u32, mark: &str, after: Duration) -> std::io::Result<[usize; 2]> {
        let both = format!("sleep {mark} & exec sleep {mark}");
        let command = match number % 3 {
            0 => vec!["sleep", mark],
            // It has an empty environment, so it cannot be found by a variable.
            1 => vec!["env", "-i", "sleep", mark],
            _ => vec!["sh", "-c", &both],
        };
        let items = (1..=2 * self.jobs).map(|item| item.to_string());
        let mut host = Command::new(Ratchet::program())
            .args([
                "map",
                "--no-record",
                "-q",
                "-j",
                &self.jobs.to_string(),
                "--",
            ])
            .args(command)
            .arg(":::")
            .args(items)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        thread::sleep(after);
        // The host is killed before its jobs are counted: counting takes time, in which it would continue to start
        // jobs.
        host.kill()?;
        let begun = with_argument(mark)
            .iter()
            .filter(|id| **id != host.id())
            .count();
        host.wait()?;
        let deadline = Instant::now() + LIMIT;
        let mut left = with_argument(mark);
        while !left.is_empty() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
            left = with_argument(mark);
        }
        for process in &left {
            if let Some(process) = i32::try_from(*process).ok().and_then(Pid::from_raw) {
                // The error is ignored: the process may have ended by now.
                let _ = kill_process(process, Signal::KILL);
            }
        }
        Ok([begun, left.len()])
    }
}
