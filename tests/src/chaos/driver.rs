//! The driver of a soak: starts the host, kills it again and again, and has what is left of it checked.

use std::error::Error;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::park_timeout;
use std::time::Duration;

use tokio::time::Instant;

use super::checker::{Evidence, Report, Rule, Violation};
use super::plan::Plan;
use super::{HOST_NOTES, MARK, WORKER_NOTES, notes};
use crate::marked;

type Failed = Box<dyn Error>;

/// What a host says that should say nothing.
const COMPLAINTS: &str = "complaints";

/// A soak in which nothing happens for so long hangs.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long what a host leaves may take to be gone.
const AFTERMATH: Duration = Duration::from_secs(10);

/// How often it is looked whether something has happened.
const GLANCE: Duration = Duration::from_millis(2);

/// A soak.
#[derive(Debug, Clone)]
pub struct Soak {
    /// What is done.
    pub plan: Plan,
    /// How often the host is killed.
    pub kills: u32,
    /// Where everything is written; it must be empty, or not there yet.
    pub folder: PathBuf,
}

impl Soak {
    /// Runs it to its end, and says what the checker found.
    pub fn run(&self) -> Result<Report, Failed> {
        fs::create_dir_all(&self.folder)?;
        if fs::read_dir(&self.folder)?.next().is_some() {
            return Err(format!("{} is not empty", self.folder.display()).into());
        }
        let mut left_behind = Vec::new();
        for life in 1..=self.kills + 1 {
            let mut host = self.start(life)?;
            let killed = self.watch(life, &mut host);
            if killed.is_err() {
                // Whatever went wrong, the host must not go on.
                host.kill()?;
                host.wait()?;
            }
            killed?;
            left_behind.extend(self.aftermath(life));
        }
        let mut report = Evidence::gather(self.plan, &self.folder)?.check();
        report.violations.extend(left_behind);
        let figures = &report.figures;
        if figures.succeeded < figures.jobs / 10 * 9 {
            let text = "so few jobs succeeded that this shows nothing".to_owned();
            report.violations.push(Violation::new(Rule::Ended, text));
        }
        for complaint in fs::read_to_string(self.folder.join(COMPLAINTS))?.lines() {
            let violation = Violation::new(Rule::Complaint, complaint.to_owned());
            report.violations.push(violation);
        }
        Ok(report)
    }

    fn mark(&self) -> String {
        format!("{}-{}", std::process::id(), self.plan.seed)
    }

    fn start(&self, life: u32) -> Result<Child, Failed> {
        let complaints = File::options()
            .append(true)
            .create(true)
            .open(self.folder.join(COMPLAINTS))?;
        let numbers = [self.plan.seed, self.plan.jobs.into(), life.into()];
        let host = Command::new(std::env::current_exe()?)
            .arg("host")
            .args(numbers.map(|number| number.to_string()))
            .arg(&self.folder)
            .env(MARK, self.mark())
            .stdin(Stdio::null())
            .stderr(complaints)
            .spawn()?;
        Ok(host)
    }

    /// Waits until the host has done its share, and kills it; the last life comes to its end.
    fn watch(&self, life: u32, host: &mut Child) -> Result<(), Failed> {
        let notes = self.folder.join(WORKER_NOTES);
        let before = length(&notes)?;
        let share = (life <= self.kills).then(|| before + self.share(life));
        let (mut seen, mut since) = (0, Instant::now());
        loop {
            if let Some(status) = host.try_wait()? {
                if !status.success() {
                    let complaints = fs::read_to_string(self.folder.join(COMPLAINTS))?;
                    return Err(format!("life {life} failed, {status}: {complaints}").into());
                }
                if share.is_some() {
                    return Err(format!("life {life} was over before it could be killed").into());
                }
                return Ok(());
            }
            let written = length(&notes)?;
            if share.is_some_and(|share| written >= share) {
                host.kill()?;
                host.wait()?;
                return Ok(());
            }
            if written > seen {
                (seen, since) = (written, Instant::now());
            }
            if since.elapsed() > PATIENCE {
                return Err(
                    format!("life {life} hangs: nothing has happened for {PATIENCE:?}").into(),
                );
            }
            park_timeout(GLANCE);
        }
    }

    /// How many bytes the workers write in a life that is killed: a job has two notes at least.
    fn share(&self, life: u32) -> u64 {
        let fair = u64::from(self.plan.jobs) * 2 / u64::from(self.kills + 1);
        let percent = 60 + self.plan.roll(life, 2 << 32, 50);
        fair * percent / 100 * notes::LINE as u64
    }

    /// Waits until nobody is left whom the host or its workers have started.
    fn aftermath(&self, life: u32) -> Option<Violation> {
        let mark = format!("{MARK}={}", self.mark());
        let deadline = Instant::now() + AFTERMATH;
        loop {
            let mut left = marked(&mark);
            left.retain(|process| *process != std::process::id());
            if left.is_empty() {
                return None;
            }
            if Instant::now() > deadline {
                let text = format!("after life {life} these processes are left: {left:?}");
                return Some(Violation::new(Rule::LeftBehind, text));
            }
            park_timeout(GLANCE);
        }
    }
}

/// How much is in a file that may not be there yet.
fn length(path: &Path) -> io::Result<u64> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.len()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

impl Evidence {
    /// Reads all that a soak has written.
    fn gather(plan: Plan, folder: &Path) -> Result<Self, Failed> {
        let store = ratchet_runtime::RunStore::at(folder);
        let run = store.latest()?.ok_or("no run was begun")?;
        let journal = fs::read_to_string(store.journal(run))?;
        let mut evidence = Self::of(plan);
        evidence.worker_notes = notes::read(&folder.join(WORKER_NOTES))?;
        evidence.host_notes = notes::read(&folder.join(HOST_NOTES))?;
        evidence.journal = super::checker::read_journal(&journal)?;
        Ok(evidence)
    }
}
