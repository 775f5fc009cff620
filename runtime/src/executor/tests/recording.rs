//! Tests that outcomes are recorded before they are delivered.

use std::io;
use std::sync::Mutex;
use std::sync::mpsc;

use super::*;
use crate::executor::{Ledger, Stopped};

#[derive(Default)]
struct Book {
    appended: Vec<String>,
    flushed: usize,
    flushes: usize,
}

/// A ledger in memory. Each flush waits until the test lets it go on.
struct Scribe {
    book: Arc<Mutex<Book>>,
    turns: Option<mpsc::Receiver<io::Result<()>>>,
}

impl Ledger for Scribe {
    fn append(&mut self, job: &Job, outcome: &Outcome) -> io::Result<()> {
        assert_eq!(job.id, outcome.id);
        self.book
            .lock()
            .unwrap()
            .appended
            .push(outcome.id.to_string());
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(turns) = &self.turns {
            turns.recv().unwrap_or(Ok(()))?;
        }
        let mut book = self.book.lock().unwrap();
        book.flushed = book.appended.len();
        book.flushes += 1;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_reported_before_it_is_flushed_and_many_share_a_flush() {
    let book: Arc<Mutex<Book>> = Arc::default();
    let (turn, turns) = mpsc::channel();
    let ledger = Scribe {
        book: Arc::clone(&book),
        turns: Some(turns),
    };
    let executor = Executor::builder().slots(2).ledger(ledger).build().unwrap();
    let jobs = (0..1_000)
        .map(|number: u32| Job::closure(number.to_string(), |_| async { Ok(Payload::null()) }));
    let mut run = executor.run(jobs).unwrap();
    let handle = run.handle();
    // The run goes on while the first batch is flushed, and delivers nothing in the meantime.
    while handle.status().ended < 1_000 {
        tokio::task::yield_now().await;
    }
    tokio::select! {
        biased;
        _ = run.next() => panic!("nothing is flushed yet"),
        () = tokio::task::yield_now() => {}
    }
    drop(turn);
    let mut outcomes = 0;
    while let Some(outcome) = run.next().await {
        let book = book.lock().unwrap();
        let at = book
            .appended
            .iter()
            .position(|id| id == outcome.id.as_str());
        assert!(at.unwrap() < book.flushed);
        outcomes += 1;
    }
    assert_eq!(outcomes, 1_000);
    let flushes = book.lock().unwrap().flushes;
    assert!(flushes < 50, "{flushes} flushes for 1000 outcomes");
}

#[tokio::test]
async fn a_ledger_that_fails_stops_the_run_and_outcomes_are_not_lost() {
    let (turn, turns) = mpsc::channel();
    turn.send(Ok(())).unwrap();
    turn.send(Err(io::Error::other("the disk is full")))
        .unwrap();
    let ledger = Scribe {
        book: Arc::default(),
        turns: Some(turns),
    };
    let executor = Executor::builder().slots(1).ledger(ledger).build().unwrap();
    let (submitter, mut run) = executor.open().unwrap();
    submitter.submit(instant("a")).await.unwrap();
    assert!(run.next().await.unwrap().is_success());
    submitter.submit(instant("b")).await.unwrap();
    assert!(run.next().await.unwrap().is_success());
    let phase = || run.handle().status().phase;
    while phase() == ratchet_resilience::shutdown::Phase::Running {
        tokio::task::yield_now().await;
    }
    drop(submitter);
    assert!(run.next().await.is_none());
    let reason = "the disk is full".to_owned();
    assert_eq!(run.stopped(), Some(&Stopped::Ledger { reason }));
}

#[tokio::test]
async fn a_job_that_is_needed_is_recorded_before_others_build_on_it() {
    let book: Arc<Mutex<Book>> = Arc::default();
    let recorded = |id: &str| {
        let book = Arc::clone(&book);
        let seen = id.to_owned();
        Job::closure(format!("after-{id}"), move |_| {
            let book = book.lock().unwrap();
            let at = book.appended.iter().position(|other| *other == seen);
            let flushed = at.is_some_and(|at| at < book.flushed);
            async move {
                if flushed {
                    Ok(Payload::null())
                } else {
                    Err(Failure::new(Class::Task, "it is not recorded"))
                }
            }
        })
        .needs([id])
    };
    let ledger = Scribe {
        book: Arc::clone(&book),
        turns: None,
    };
    let executor = Executor::builder().slots(4).ledger(ledger).build().unwrap();
    let jobs: Vec<Job> = (0..50)
        .flat_map(|number: u32| {
            let id = number.to_string();
            [instant(&id), recorded(&id)]
        })
        .collect();
    let outcomes = executor.run_all(jobs).await.unwrap();
    assert_eq!(outcomes.len(), 100);
    for outcome in outcomes {
        assert!(outcome.is_success(), "{:?}", outcome.result);
    }
}
