//! The driver of a soak: starts the host, disturbs it, kills it again and again, and lets the checker check the notes.

mod disturbances;

use std::error::Error;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::park_timeout;
use std::time::Duration;

use rustix::process::Pid;
use tokio::time::Instant;

use self::disturbances::{Disturbances, Editor};
use super::checker::{Evidence, Report, Rule, Violation};
use super::notes::{self, NoteWriter};
use super::plan::{Chance, Plan};
use super::shortage::Shortage;
use super::{
    DRIVER_NOTES, GROUP_VARIABLE, HOST_NOTES, LIFE_VARIABLE, MARK, NOTES_VARIABLE,
    PROGRAM_VARIABLE, SCRIPT, WORKER_NOTES,
};
use crate::marked;

type Failed = Box<dyn Error>;

/// The file that takes the stderr of hosts, which should stay empty.
const COMPLAINTS: &str = "complaints";

/// How long nothing may happen before the soak counts as hanging.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long the processes of a host may take to be gone after its end.
const END_LIMIT: Duration = Duration::from_secs(10);

/// How many bytes of notes in a life show that its workers are at work.
const BUSY: u64 = 500 * notes::LINE as u64;

/// The interval at which the driver checks whether something has happened.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// A soak test that can be run.
#[derive(Debug, Clone)]
pub struct Soak {
    /// The jobs of the soak.
    pub plan: Plan,
    /// How often the host is killed.
    pub kills: u32,
    /// The folder for all files of the soak. It has to be empty, or must not exist yet.
    pub folder: PathBuf,
}

impl Soak {
    /// Runs the soak to its end, and returns the report of the checker.
    pub fn run(&self) -> Result<Report, Failed> {
        fs::create_dir_all(&self.folder)?;
        if fs::read_dir(&self.folder)?.next().is_some() {
            return Err(format!("{} is not empty", self.folder.display()).into());
        }
        let shortage = Shortage::find()?;
        let driver_notes = self.folder.join(DRIVER_NOTES);
        let notes = NoteWriter::open(&driver_notes, 0)?;
        let mut editor = Editor::new(self.folder.join(SCRIPT), notes)?;
        let mut left_behind = Vec::new();
        for life in 1..=self.kills + 1 {
            shortage.reset()?;
            let mut host = self.start(life, &shortage)?;
            let ended = self.watch(life, &mut host, &shortage, &mut editor);
            if ended.is_err() {
                // The host must not continue after an error of the driver.
                host.kill()?;
                host.wait()?;
            }
            // The shortage may last until then: processes that the host left need no new ones to end, and no other
            // process is in the group.
            left_behind.extend(self.wait_for_end(life));
            ended?;
        }
        let mut report = Evidence::gather(self.plan, &self.folder)?.check();
        report.figures.short_of = shortage.to_string();
        report.violations.extend(left_behind);
        let figures = &report.figures;
        let shows_nothing = [
            (
                figures.succeeded < figures.jobs / 10 * 9,
                "too few jobs succeeded",
            ),
            (figures.stopped == 0, "the host was never stopped"),
            (figures.short == 0, "processes were never few"),
            (figures.edits == 0, "the script was never edited"),
            (figures.cached == 0, "no result came from the cache"),
        ];
        for (_, why) in shows_nothing.iter().filter(|(is_so, _)| *is_so) {
            let text = format!("this shows nothing: {why}");
            report.violations.push(Violation::new(Rule::Ended, text));
        }
        for complaint in fs::read_to_string(self.folder.join(COMPLAINTS))?.lines() {
            let violation = Violation::new(Rule::Complaint, complaint.to_owned());
            report.violations.push(violation);
        }
        Ok(report)
    }

    /// Returns the value of the variable by which the processes of this soak are found.
    fn mark(&self) -> String {
        format!("{}-{}", std::process::id(), self.plan.seed)
    }

    fn start(&self, life: u32, shortage: &Shortage) -> Result<Child, Failed> {
        let complaints = File::options()
            .append(true)
            .create(true)
            .open(self.folder.join(COMPLAINTS))?;
        let numbers = [self.plan.seed, self.plan.jobs.into(), life.into()];
        let program = std::env::current_exe()?;
        let mut host = Command::new(&program);
        host.arg("host")
            .args(numbers.map(|number| number.to_string()))
            .arg(&self.folder)
            .env(MARK, self.mark())
            .env(LIFE_VARIABLE, life.to_string())
            .env(PROGRAM_VARIABLE, &program)
            .env(NOTES_VARIABLE, self.folder.join(WORKER_NOTES))
            .stdin(Stdio::null())
            .stderr(complaints);
        if let Some(group) = shortage.group() {
            host.env(GROUP_VARIABLE, group);
        }
        Ok(host.spawn()?)
    }

    /// Disturbs the host until it has written its share of notes, and then kills it. The host of the last life ends by
    /// itself.
    fn watch(
        &self,
        life: u32,
        host: &mut Child,
        shortage: &Shortage,
        editor: &mut Editor,
    ) -> Result<(), Failed> {
        let id = i32::try_from(host.id()).ok().and_then(Pid::from_raw);
        let id = id.ok_or("the host has no number")?;
        let driver_notes = NoteWriter::open(&self.folder.join(DRIVER_NOTES), life)?;
        let chance = Chance::of(self.plan, life);
        let mut disturbances = Disturbances::of(id, chance, driver_notes, shortage, editor);
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
            let is_busy = written > before + BUSY;
            // In some lives the script is edited from the beginning, even before any worker has read it.
            if is_busy || life.is_multiple_of(3) {
                disturbances.edit()?;
            }
            if is_busy {
                disturbances.hold_up()?;
            }
            if since.elapsed() > PATIENCE {
                return Err(
                    format!("life {life} hangs: nothing has happened for {PATIENCE:?}").into(),
                );
            }
            park_timeout(POLL_INTERVAL);
        }
    }

    /// Returns how many bytes of notes the workers write before the host of this life is killed. A job has three notes,
    /// unless its result is cached.
    fn share(&self, life: u32) -> u64 {
        let fair = u64::from(self.plan.jobs) * 5 / 2 / u64::from(self.kills + 1);
        let percent = 60 + self.plan.roll(life, 2 << 32, 50);
        fair * percent / 100 * notes::LINE as u64
    }

    /// Waits until all processes that the host or its workers have started are gone.
    fn wait_for_end(&self, life: u32) -> Option<Violation> {
        let mark = format!("{MARK}={}", self.mark());
        let deadline = Instant::now() + END_LIMIT;
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
            park_timeout(POLL_INTERVAL);
        }
    }
}

/// Returns the length of a file, which is 0 if it does not exist yet.
fn length(path: &Path) -> io::Result<u64> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.len()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

impl Evidence {
    /// Reads all notes and the journal of a soak.
    fn gather(plan: Plan, folder: &Path) -> Result<Self, Failed> {
        let store = ratchet_runtime::RunStore::at(folder);
        let run = store.latest()?.ok_or("no run was begun")?;
        let journal = fs::read_to_string(store.journal(run))?;
        let mut evidence = Self::of(plan);
        evidence.worker_notes = notes::read(&folder.join(WORKER_NOTES))?;
        evidence.host_notes = notes::read(&folder.join(HOST_NOTES))?;
        evidence.driver_notes = notes::read(&folder.join(DRIVER_NOTES))?;
        evidence.journal = super::checker::read_journal(&journal)?;
        Ok(evidence)
    }
}
