//! Kills `ratchet map` with SIGKILL in its first milliseconds, and looks for processes that it leaves.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ratchet_resilience::Rng;
use rustix::process::{Pid, Signal, kill_process};

use crate::{Ratchet, with_argument};

/// The latest moment of a kill after the start.
const LATEST: Duration = Duration::from_millis(50);

/// How long the keeper may take to kill what is left.
const LIMIT: Duration = Duration::from_secs(10);

/// A number of kills at random moments.
#[derive(Debug, Clone, Copy)]
pub struct Hunt {
    /// Decides the moments.
    pub seed: u64,
    /// How often `ratchet` is started and killed.
    pub kills: u32,
    /// The `-j` that it is started with.
    pub jobs: u32,
}

/// What came of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// After how many kills there were processes left.
    pub kills_with_orphans: u32,
    /// How many processes were left in all.
    pub orphans: usize,
    /// After how many kills some jobs had run at all.
    pub kills_with_jobs: u32,
}

impl Hunt {
    /// Starts and kills, one after another. Kills what is left, too.
    pub fn run(self) -> std::io::Result<Found> {
        let mut rng = Rng::seeded(self.seed);
        let mut found = Found::default();
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

    /// How many processes ran when it was killed, and how many are left.
    #[expect(
        clippy::disallowed_methods,
        reason = "the moment of the kill is what is chosen at random, and nothing tells when a process of another is gone"
    )]
    fn kill_once(self, number: u32, mark: &str, after: Duration) -> std::io::Result<[usize; 2]> {
        let both = format!("sleep {mark} & exec sleep {mark}");
        let command = match number % 3 {
            0 => vec!["sleep", mark],
            // It has nothing in its environment by which it could be found.
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
        // The host is killed first: looking takes time in which it would go on.
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
                // It may have ended by now.
                let _ = kill_process(process, Signal::KILL);
            }
        }
        Ok([begun, left.len()])
    }
}
