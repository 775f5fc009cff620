use std::fs;
use std::time::{Duration, SystemTime};

use ratchet_runtime::journal::SourceIdentity;
use ratchet_runtime::summary::Results;
use ratchet_runtime::{Class, Durability, Failure, Job, Journal, Outcome, Payload};
use tempfile::TempDir;

use super::*;
use crate::error::CliError;
use crate::exit;
use crate::output::{Destination, Output};
use crate::report::ResultFormat;
use crate::style::Style;

/// The state folder, its runs, and the lock that keeps one of them running.
struct Records {
    folder: TempDir,
    store: RunStore,
    _running: Journal,
}

fn at(minute: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000 + 60 * minute)
}

fn job(id: &str) -> Job {
    Job::task(id, "resize", Payload::from_text(id)).on_host("web1")
}

fn outcome(id: &str, result: Result<Payload, Failure>) -> Outcome {
    Outcome {
        host: Some("web1".into()),
        attempts: 1,
        queued: Duration::from_micros(400),
        duration: Duration::from_millis(120),
        ..Outcome::new(id, "resize", result)
    }
}

fn failed() -> Result<Payload, Failure> {
    Err(Failure::new(Class::Task, "no such file").stderr("first\nlast\n"))
}

fn about(words: &[&str]) -> Payload {
    let about = serde_json::json!({"args": words, "cwd": "/srv"});
    Payload::from_json(&about.to_string()).unwrap()
}

/// Makes records in this order: a run that finished, one that finished badly, one that was interrupted, one whose
/// record is damaged, and one that is in progress.
fn records() -> Records {
    let folder = tempfile::tempdir().unwrap();
    let store = RunStore::at(folder.path());
    let create = |minute, source, about| {
        store
            .create(at(minute), source, about, Durability::None)
            .unwrap()
    };
    let append = |journal: &mut Journal, outcome: &Outcome| {
        let job = job(outcome.id.as_str());
        journal.append(&job, outcome).unwrap();
    };

    let (_, mut journal) = create(0, None, about(&["run", "my jobs.yaml"]));
    let good = [outcome("a", Ok(Payload::null()))];
    append(&mut journal, &good[0]);
    let summary = good.summarize(Duration::from_secs(2));
    journal.end(at(1), &summary).unwrap();

    let source = SourceIdentity {
        name: "jobs.yaml".to_owned(),
        digest: "d".to_owned(),
    };
    let (_, mut journal) = create(10, Some(source), Payload::null());
    let needy = Failure::new(Class::Need, "`b` did not succeed");
    let mixed = [
        outcome("b", failed()),
        outcome("a", Ok(Payload::null())),
        outcome("c", Err(needy)),
    ];
    for outcome in &mixed {
        append(&mut journal, outcome);
    }
    let summary = mixed.summarize(Duration::from_secs(3));
    journal.end(at(11), &summary).unwrap();

    let (_, mut journal) = create(20, None, about(&["map", "--", "wc", "{}"]));
    append(&mut journal, &outcome("1", Ok(Payload::null())));
    drop(journal);

    let (id, journal) = create(30, None, Payload::null());
    drop(journal);
    fs::write(store.journal(id), b"nonsense\n").unwrap();

    let (_, mut running) = create(40, None, about(&["run", "-"]));
    append(&mut running, &outcome("1", failed()));
    running.flush().unwrap();
    Records {
        folder,
        store,
        _running: running,
    }
}

impl Records {
    /// Returns the id of the run that was created as the nth, from 0.
    fn id(&self, nth: usize) -> RunId {
        self.store.ids().unwrap()[nth]
    }

    fn shown(&self, nth: usize, format: ResultFormat) -> String {
        let run = self.store.run(self.id(nth));
        let history = History::load(&run.journal).unwrap();
        let mut out = Vec::new();
        let writer = Output::new(Box::new(&mut out), Destination::Stdout);
        match format {
            ResultFormat::Human => {
                show::human(&run, &history, (None, at(60)), Style::PLAIN, writer)
            }
            format => show::results(&run, &history, (None, at(60)), format, writer),
        }
        .unwrap();
        String::from_utf8(out).unwrap()
    }

    /// Replaces the parts of a text that are different in each run of the test.
    fn settled(&self, text: &str) -> String {
        text.replace(&self.folder.path().display().to_string(), "STATE")
    }
}

#[test]
fn runs_are_listed_for_programs_and_for_people() {
    let records = records();
    let runs = records.store.list().unwrap();
    insta::assert_snapshot!("lines", list::lines(&runs));
    for columns in [80, 100] {
        let narrow = list::table(&runs, at(45), Style::PLAIN, columns);
        let is_command = |line: &&str| !line.contains("unreadable");
        for line in narrow.lines().filter(is_command) {
            assert!(line.chars().count() <= columns, "{line}");
        }
    }
    let table = list::table(&runs, at(45), Style::PLAIN, usize::MAX);
    insta::assert_snapshot!("table", records.settled(&table));
}

#[test]
fn what_did_not_succeed_is_shown_to_people() {
    let records = records();
    insta::assert_snapshot!("finished", records.shown(0, ResultFormat::Human));
    insta::assert_snapshot!("failed", records.shown(1, ResultFormat::Human));
    insta::assert_snapshot!("running", records.shown(4, ResultFormat::Human));
}

#[test]
fn an_interrupted_run_says_how_to_go_on_with_it() {
    let records = records();
    let shown = records.shown(2, ResultFormat::Human);
    let id = records.id(2);
    assert!(shown.starts_with(&format!("{id} interrupted, began ")));
    assert!(
        shown.ends_with(&format!("\nto resume it: ratchet resume {id}\n")),
        "{shown}"
    );
}

#[test]
fn every_result_is_shown_to_programs_in_the_order_they_ended() {
    let records = records();
    let lines = records.shown(1, ResultFormat::Jsonl);
    let ids: Vec<String> = lines
        .lines()
        .map(|line| {
            serde_json::from_str::<Outcome>(line)
                .unwrap()
                .id
                .to_string()
        })
        .collect();
    assert_eq!(ids, ["b", "a", "c"]);
    let document: serde_json::Value =
        serde_json::from_str(&records.shown(1, ResultFormat::Json)).unwrap();
    assert_eq!(document["summary"]["skipped"], 1);
    assert_eq!(document["summary"]["elapsed_ms"], 3000.0);
    assert_eq!(document["results"][2]["id"], "c");
    assert!(
        records
            .shown(1, ResultFormat::Junit)
            .contains("failures=\"1\"")
    );
}

#[test]
fn a_run_is_found_by_the_beginning_of_its_id_and_suggested_if_it_is_misspelt() {
    let records = records();
    let id = records.id(0);
    let refused = |wanted: &str| match find(&records.store, wanted) {
        Err(error) => {
            assert_eq!(error.exit_code(), exit::USAGE);
            let text = format!("{error}; {}", error.help().unwrap_or_default());
            records.settled(&text)
        }
        Ok(id) => panic!("{wanted} is {id}"),
    };
    assert_eq!(find(&records.store, &id.to_string()).unwrap(), id);
    assert_eq!(
        find(&records.store, &id.to_string().to_uppercase()).unwrap(),
        id
    );
    let misspelt = format!("{}z", &id.to_string()[..6]);
    assert_eq!(
        refused(&misspelt),
        format!("there is no run `{misspelt}` in STATE/runs; did you mean `{id}`?")
    );
    assert!(refused("zzzzzzz").ends_with("; `ratchet runs` lists them"));
    assert!(refused("no/way").starts_with("`no/way` is not the id of a run"));
    assert!(refused("1ks").contains("is the beginning of 5 run ids"));
    let empty = RunStore::at(records.folder.path().join("none"));
    let error = find(&empty, "1ks").unwrap_err();
    assert_eq!(error.help().unwrap(), "no runs are recorded there");
}

#[test]
fn either_all_that_are_named_are_removed_or_none() {
    let records = records();
    let names = |which: &[usize]| -> Vec<String> {
        which
            .iter()
            .map(|nth| records.id(*nth).to_string())
            .collect()
    };
    let count = || records.store.ids().unwrap().len();
    let refuse = |names: &[String]| -> CliError {
        let mut out = Vec::new();
        let error = remove::named(&records.store, names, &mut out).unwrap_err();
        assert!(out.is_empty());
        assert_eq!(count(), 5);
        error
    };
    let running = refuse(&names(&[0, 4]));
    assert!(running.to_string().ends_with("is still running"));
    assert_eq!(running.exit_code(), exit::USAGE);
    refuse(&[records.id(0).to_string(), "zzzzzzz".to_owned()]);

    // A run that is named twice is removed once, and a run that cannot be read can be removed all the same.
    let wanted = names(&[0, 3, 0]);
    let mut out = Vec::new();
    remove::named(&records.store, &wanted, &mut out).unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        format!("removed {}\nremoved {}\n", wanted[0], wanted[1])
    );
    assert_eq!(count(), 3);
}
