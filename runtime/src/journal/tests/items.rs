//! Tests of jobs that are identified by their items, wherever those are in their list.

use super::*;
use crate::item::{ItemName, JobIdentity, JobItem};

fn item(number: u64, text: &str, earlier: u64) -> Job {
    Job::task(number.to_string(), "resize", Payload::from_text(text)).for_item(JobItem {
        name: ItemName::new(text),
        identity: JobIdentity::new([text.as_bytes()], earlier),
    })
}

fn kept(resume: &mut Resume, job: &Job) -> Outcome {
    match resume.decide(job) {
        ResumeDecision::Keep(recorded) => resume.history().outcome(&recorded).unwrap(),
        ResumeDecision::Run(why) => panic!("{} is done again: {why:?}", job.id),
    }
}

fn resumed(path: &Path) -> (Journal, Resume) {
    let (journal, history) = Journal::resume(path, now(), &about(), Durability::None).unwrap();
    (journal, Resume::new(history.into(), None))
}

#[test]
fn an_item_that_moved_in_its_list_keeps_its_result_and_its_new_number_is_recorded() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("journal");
    let mut journal = Journal::create(&path, &header(), Durability::None).unwrap();
    for (number, text, earlier) in [(1, "a", 0), (2, "b", 0), (3, "a", 1)] {
        let job = item(number, text, earlier);
        journal.append(&job, &succeeded(&job)).unwrap();
    }
    drop(journal);

    let (mut journal, mut resume) = resumed(&path);
    let new = item(1, "new", 0);
    assert_eq!(resume.decide(&new), ResumeDecision::Run(RunReason::New));
    for (number, text, earlier) in [(2, "a", 0), (3, "b", 0), (4, "a", 1)] {
        let job = item(number, text, earlier);
        let mut outcome = kept(&mut resume, &job);
        assert_eq!(outcome.id.as_str(), (number - 1).to_string());
        outcome.id = job.id.clone();
        journal.append(&job, &outcome).unwrap();
    }
    assert_eq!((resume.differences().kept, resume.not_in_source()), (3, 0));
    drop((journal, resume));

    let history = History::load(&path).unwrap();
    let ids: Vec<String> = history
        .outcomes()
        .map(|outcome| outcome.unwrap().id.to_string())
        .collect();
    assert_eq!(ids, ["2", "3", "4"]);
    assert_eq!((history.damaged(), history.jobs()), (0, 3));
}

#[test]
fn an_item_whose_command_has_changed_is_done_again() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("journal");
    let mut journal = Journal::create(&path, &header(), Durability::None).unwrap();
    let job = item(1, "a", 0);
    journal.append(&job, &succeeded(&job)).unwrap();
    drop(journal);
    let (_journal, mut resume) = resumed(&path);
    let changed = Job {
        work: Job::command("1", crate::os::ProcessConfig::new("true")).work,
        ..item(2, "a", 0)
    };
    assert_eq!(
        resume.decide(&changed),
        ResumeDecision::Run(RunReason::Changed)
    );
}

#[test]
fn a_journal_without_identities_is_resumed_by_the_ids_of_its_jobs() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("journal");
    let mut journal = Journal::create(&path, &header(), Durability::None).unwrap();
    let (a, b) = (item(1, "a", 0), item(2, "b", 0));
    // This is what versions wrote that did not support items.
    let nameless = Job {
        item: None,
        ..a.clone()
    };
    journal.append(&nameless, &succeeded(&nameless)).unwrap();
    drop(journal);

    let (mut journal, mut resume) = resumed(&path);
    assert_eq!(kept(&mut resume, &a).id.as_str(), "1");
    assert_eq!(resume.decide(&b), ResumeDecision::Run(RunReason::New));
    journal.append(&b, &succeeded(&b)).unwrap();
    drop((journal, resume));
    let (_journal, mut resume) = resumed(&path);
    for job in [&a, &b] {
        let _ = kept(&mut resume, job);
    }
    assert_eq!((resume.history().jobs(), resume.not_in_source()), (2, 0));
}
