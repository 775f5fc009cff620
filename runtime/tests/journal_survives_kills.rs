//! Tests that a run that is killed at any moment loses nothing that it had promised.
//!
//! The run that is killed is this test binary again, told by the environment to run [`run`].

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use ratchet_runtime::journal::Header;
use ratchet_runtime::{
    Content, Durability, History, Job, Journal, Outcome, Payload, RunId, Status,
};

const PATH: &str = "RATCHET_JOURNAL_TEST_PATH";
const DURABILITY: &str = "RATCHET_JOURNAL_TEST_DURABILITY";

/// How many jobs are appended between two flushes.
const GROUP: u64 = 7;
const KILLS: u64 = 100;
/// The longest record. Records have many sizes, so that kills hit them everywhere.
const LONGEST: u64 = 20_000;
/// How often a run is killed and resumed.
const LIVES: u64 = 5;

fn job(number: u64) -> Job {
    Job::task(
        number.to_string(),
        "t",
        Payload::from_value(&number).unwrap(),
    )
}

fn outcome(number: u64) -> Outcome {
    let size = usize::try_from(number * 7919 % LONGEST).unwrap();
    Outcome {
        attempts: 1,
        duration: Duration::from_millis(number),
        ..Outcome::new(
            number.to_string(),
            "t",
            Ok(Payload::from_text(&"x".repeat(size))),
        )
    }
}

#[test]
#[ignore = "the run that the other test kills"]
fn run() {
    let path = std::env::var_os(PATH).expect("only the other test starts this one");
    let durability = match std::env::var(DURABILITY).as_deref() {
        Ok("none") => Durability::None,
        Ok("batch") => Durability::Batch,
        _ => Durability::Each,
    };
    let now = SystemTime::UNIX_EPOCH;
    let (mut journal, first) = if Path::new(&path).exists() {
        let (journal, history) = Journal::resume(&path, now, &Payload::null(), durability).unwrap();
        (journal, history.recorded())
    } else {
        let header = Header::new(RunId::at(now), now, Payload::null());
        (Journal::create(&path, &header, durability).unwrap(), 0)
    };
    let mut output = std::io::stdout().lock();
    for number in first.. {
        journal.append(&job(number), &outcome(number)).unwrap();
        if (number + 1) % GROUP == 0 {
            journal.flush().unwrap();
            // All records up to this one are promised now. The test harness prints to the same stream.
            writeln!(output, "#{number}").unwrap();
            output.flush().unwrap();
        }
    }
}

/// Lets a run go on until it has made this many promises, kills it, and returns the last number that it promised.
fn run_and_kill(path: &Path, durability: &str, promises: u64, linger: u64) -> Option<u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "run", "--ignored", "--nocapture"])
        .env(PATH, path)
        .env(DURABILITY, durability)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut numbers = lines.filter_map(|line| {
        let line = line.unwrap();
        let (_, number) = line.split_once('#')?;
        Some(number.parse::<u64>().unwrap())
    });
    let mut last = None;
    for _ in 0..promises {
        last = numbers.next();
    }
    // Waits for a random time, so that the kill does not always come right after a promise.
    for _ in 0..linger {
        std::hint::black_box(Content::of(&job(linger)));
    }
    child.kill().unwrap();
    last = numbers.last().or(last);
    child.wait().unwrap();
    last
}

#[test]
fn what_was_promised_is_there_once_after_any_kill() {
    let folder = tempfile::tempdir().unwrap();
    let (mut torn, mut records) = (0, 0);
    let mut random = 1_u64;
    for kill in 0..KILLS {
        let path = folder.path().join(format!("journal-{}", kill / LIVES));
        // Any sequence will do, as long as it is spread.
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let durability = ["none", "none", "batch", "each"][usize::try_from(kill % 4).unwrap()];
        let linger = random >> 40 & 0xfff;
        let promised = run_and_kill(&path, durability, 1 + (random >> 62), linger);

        let history = History::load(&path).unwrap();
        torn += u32::from(history.torn().is_some());
        assert_eq!(history.damage(), [], "after kill {kill}");
        assert_eq!(
            history.jobs() as u64,
            history.recorded(),
            "one is there twice"
        );
        let promised = promised.expect("it has promised something");
        assert!(history.recorded() > promised, "{promised} was promised");
        assert_eq!(u64::from(history.resumed()), kill % LIVES);
        if kill % LIVES == LIVES - 1 {
            is_whole(&history);
            records += history.recorded();
        }
    }
    println!("{torn} of {KILLS} kills left an unfinished line, {records} records");
}

/// Checks that each number up to the last has its own outcome.
fn is_whole(history: &History) {
    let mut seen = HashSet::new();
    for read in history.outcomes() {
        let read = read.unwrap();
        let number: u64 = read.id.as_str().parse().unwrap();
        assert_eq!(read, outcome(number));
        let recorded = history.find(&read.id).unwrap();
        assert_eq!(recorded.content, Content::of(&job(number)));
        assert_eq!(recorded.status, Status::Succeeded);
        assert!(seen.insert(number));
    }
    assert!((0..history.recorded()).all(|number| seen.contains(&number)));
}
