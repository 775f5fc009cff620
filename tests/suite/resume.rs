//! A run that is killed at any moment is gone on with: nothing is lost, and what was done stays done.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use ratchet_runtime::journal::RunState;
use ratchet_runtime::{History, RunStore, Status};
use ratchet_tests::{eventually, within};

/// How often the host is killed.
const KILLS: usize = 100;

/// How many jobs the run has: enough that some are left when the host is killed for the last time.
const JOBS: usize = 4000;

/// A host is killed once the journal has grown by a random number of bytes below this one, which is about twenty outcomes.
const FAR: u64 = 4000;

/// Draws the same random numbers in every run of the test, by `SplitMix64`.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }
}

/// Reads a file that another process appends to.
struct Growing {
    path: PathBuf,
    read: usize,
}

impl Growing {
    fn new(path: PathBuf) -> Self {
        Self { path, read: 0 }
    }

    fn size(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |file| file.len())
    }

    /// Returns the complete lines that were appended since the last call.
    fn lines(&mut self) -> Vec<String> {
        let content = std::fs::read(&self.path).unwrap_or_default();
        let new = &content[self.read..];
        let whole = new.iter().rposition(|byte| *byte == b'\n');
        let new = &new[..whole.map_or(0, |end| end + 1)];
        self.read += new.len();
        let lines = String::from_utf8_lossy(new);
        lines.lines().map(ToOwned::to_owned).collect()
    }
}

/// Returns the number of the job whose outcome stands in a line of the journal.
fn recorded(line: &str) -> Option<usize> {
    let (_, outcome) = line.split_once(r#""outcome":"#)?;
    assert!(outcome.contains(r#""status":"succeeded""#), "{line}");
    let (_, id) = outcome.split_once(r#""id":""#)?;
    id.split('"').next()?.parse().ok()
}

fn host(folder: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_resumes"))
        .args([folder, &folder.join("log")])
        .arg(JOBS.to_string())
        .stdin(Stdio::null())
        .spawn()
        .expect("it starts")
}

#[tokio::test]
async fn a_run_killed_a_hundred_times_ends_each_job_exactly_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = RunStore::at(folder.path());
    let mut dice = Dice(7);
    let mut log = Growing::new(folder.path().join("log"));
    let mut journal: Option<Growing> = None;
    let mut done = HashSet::new();
    let (mut killed_at_work, mut again) = (0, 0);
    let mut noted = HashSet::new();
    for kill in 0..=KILLS {
        let mut host = host(folder.path());
        if kill < KILLS {
            let before = journal.as_ref().map_or(0, Growing::size);
            let far = before + dice.roll(FAR);
            let is_there = || {
                // The folder's name is known once there is one.
                journal = journal.take().or_else(|| {
                    let id = store.latest().ok().flatten()?;
                    Some(Growing::new(store.journal(id)))
                });
                let size = journal.as_ref().map_or(0, Growing::size);
                size >= far || host.try_wait().is_ok_and(|ended| ended.is_some())
            };
            eventually("it gets there", is_there).await;
            killed_at_work += usize::from(host.try_wait().is_ok_and(|ended| ended.is_none()));
            host.kill().expect("it was started");
        }
        let ended = host.wait().expect("it was started");
        assert!(kill < KILLS || ended.success(), "{ended}");
        // Jobs that the host had recorded before it was killed must not be done again.
        for line in log.lines() {
            let job: usize = line.parse().expect("a number");
            assert!(
                !done.contains(&job),
                "{job} was done again, after kill {kill}"
            );
            again += usize::from(!noted.insert(job));
        }
        let Some(journal) = &mut journal else {
            continue;
        };
        for job in journal.lines().iter().filter_map(|line| recorded(line)) {
            assert!(
                done.insert(job),
                "{job} has two outcomes, after kill {kill}"
            );
            assert!(
                noted.contains(&job),
                "{job} was never done, after kill {kill}"
            );
        }
        // A child that was being started may have its lock for a moment.
        let is_free = || {
            let run = store.latest().ok().flatten();
            run.is_none_or(|run| !matches!(store.run(run).state, RunState::Running { .. }))
        };
        eventually("the journal is free", is_free).await;
    }
    assert_eq!((done.len(), noted.len()), (JOBS, JOBS));
    assert!(killed_at_work * 2 > KILLS, "{killed_at_work}");
    // Some jobs were running when their host was killed. Otherwise no kill has hit a host at work.
    assert!(again > 0 && again < JOBS, "{again}");

    let run = store
        .latest()
        .expect("it can be read")
        .expect("it is there");
    let RunState::Ended { .. } = store.run(run).state else {
        panic!("it has come to its end")
    };
    let history = within(async { History::load(store.journal(run)) }).await;
    let history = history.expect("it is whole");
    assert_eq!((history.jobs(), history.damaged()), (JOBS, 0));
    for outcome in history.outcomes() {
        assert_eq!(outcome.expect("it is whole").status(), Status::Succeeded);
    }
}
