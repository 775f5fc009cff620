//! What can be added to a run, and what is refused.

use std::path::Path;

use super::*;
use crate::job_file::{Jobs, Plan, PlanOptions, open};
use crate::style::Style;

const FILE: &str = "\
version: 1
workers: { w: { command: [cat] } }
limits: { db: { max: 1 } }
defaults: { timeout: 30s, cwd: below }
setup: [{ match: 's*', id: prepare, run: [echo] }, { match: 'z*', id: unused, run: [echo] }]
jobs:
  - { id: a, task: w, limits: [db] }
  - { id: s1, run: [echo] }
  - { id: many, for_each: [x, y], run: [echo, '{}'] }
  - { id: r, run: [echo], hint: { rate_limited: { requests_per_second: 1, key: api } } }
";

fn plan(name: &str, text: &str) -> (tempfile::TempDir, Plan) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    let plan = open(&path, &PlanOptions::default());
    let plan = plan.unwrap_or_else(|error| match error {
        FileError::Refused(report) => {
            panic!("{}", report.render(Style::PLAIN))
        }
        other => panic!("{other}"),
    });
    (folder, plan)
}

fn addition(format: DocumentFormat, text: &str) -> Addition {
    Addition {
        name: "more".to_owned(),
        folder: "/added".into(),
        format,
        text: text.to_owned(),
    }
}

/// Returns what a run that has begun with everything of its file says to a text; nothing of it has ended but what
/// `fates` say.
fn join(adder: &JobAdder, text: &str, fates: &[(&str, JobFate)]) -> Result<Vec<Job>, String> {
    let shown = |report: Box<Diagnostics>| report.render(Style::PLAIN);
    let (more, _) = adder
        .read(&addition(DocumentFormat::Yaml, text), 1, 4)
        .map_err(shown)?;
    let living = ["a", "s1", "many-1", "many-2", "r", "prepare"];
    let living = living.map(|id| (JobKey::from(id), JobFate::Living));
    let fates = fates.iter().map(|(id, fate)| ((*id).into(), fate.clone()));
    let started = StartedParts {
        serves: vec![ServedTasks::Named(vec!["w".into()])],
        ..StartedParts::default()
    };
    let fates = living.into_iter().chain(fates).collect();
    more.join(&fates, &started).map_err(shown)
}

fn ids(jobs: &[Job]) -> Vec<&str> {
    jobs.iter().map(|job| job.id.as_str()).collect()
}

#[test]
fn added_jobs_have_the_terms_of_the_run_and_paths_of_their_own() {
    let (folder, plan) = plan("jobs.yaml", FILE);
    let text = "\
jobs:
  - { id: later, needs: [first, many], run: [./here] }
  - { id: first, task: w, limits: [db], needs: [a, gone] }
  - { run: [echo], cwd: own }
  - { id: s2, run: [echo] }
";
    let jobs = join(&plan.adder, text, &[("gone", JobFate::Succeeded)]).unwrap();
    assert_eq!(ids(&jobs), ["first", "later", "added-1-3", "s2"]);
    assert_eq!(
        jobs[0].needs,
        ["a".into()],
        "what has succeeded is left out"
    );
    assert_eq!(jobs[0].terms.limits.as_ref(), ["db"]);
    assert_eq!(jobs[1].needs.len(), 3, "{:?}", jobs[1].needs);
    assert_eq!(jobs[3].needs, ["prepare".into()]);
    let started_in = |job: &Job| match &job.work {
        Work::Command(process) => process.working_dir.clone().unwrap(),
        _ => panic!("it is a command"),
    };
    assert_eq!(started_in(&jobs[1]), folder.path().join("below"));
    assert_eq!(started_in(&jobs[2]), Path::new("/added/own"));
}

#[test]
fn what_the_run_does_not_have_is_refused_with_its_place() {
    let (_folder, plan) = plan("jobs.yaml", FILE);
    let text = "\
limits: { more: { max: 1 } }
jobs:
  - { id: b, task: v, limits: [dc], needs: [b2] }
  - { id: b, run: [echo], hint: { rate_limited: { requests_per_second: 2, key: api } } }
  - { id: z1, run: [echo], stdin: { job: a } }
  - { run: [echo], slots: 9 }
";
    insta::assert_snapshot!(join(&plan.adder, text, &[]).unwrap_err());
    let text = "jobs: [{ id: a, run: [echo] }, { id: b, needs: [lost, nobody], run: [echo] }]\n";
    let lost = ("lost", JobFate::Lost("failed".to_owned()));
    insta::assert_snapshot!(join(&plan.adder, text, &[lost]).unwrap_err());
    for text in ["", "jobs: []\n", "version: 1\n"] {
        let refused = join(&plan.adder, text, &[]).unwrap_err();
        assert!(refused.contains("there are no jobs"), "{refused}");
    }
}

#[test]
fn workers_and_hosts_that_the_run_did_not_start_are_refused() {
    let hosts = "version: 1\nhosts: { web1: { ssh: web1 } }\nworkers: { w: { command: [cat] } }\njobs: [{ run: [echo] }]\n";
    let (_folder, plan) = plan("jobs.yaml", hosts);
    let text = "jobs: [{ task: w }, { run: [echo], on: web1 }]\n";
    let (added, _) = plan
        .adder
        .read(&addition(DocumentFormat::Yaml, text), 1, 4)
        .unwrap();
    let refused = added.join(&HashMap::new(), &StartedParts::default());
    let refused = refused.unwrap_err().render(Style::PLAIN);
    assert!(
        refused.contains("has not started the worker of `w`"),
        "{refused}"
    );
    assert!(
        refused.contains("has not begun to reach host `web1`"),
        "{refused}"
    );
}

#[test]
fn lines_are_added_with_their_places_also_to_a_stream() {
    let (_folder, plan) = plan("jobs.jsonl", "{\"run\":[\"echo\"]}\n");
    let Jobs::Streamed(_) = plan.jobs else {
        panic!("it is a stream")
    };
    let lines = "{\"run\":[\"echo\"]}\n\n{\"id\":\"x\",\"run\":[\"echo\"]}\n";
    let (added, next) = plan
        .adder
        .read(&addition(DocumentFormat::JsonLines, lines), 1, 4)
        .unwrap();
    assert_eq!(ids(&added.into_jobs()), ["added-1-1", "x"]);
    for (lines, place) in [
        ("{\"run\":[\"echo\"]}\n{\"rnu\":1}\n", "more:2:"),
        ("\n{\"limits\":{\"a\":{\"max\":1}}}\n", "more:2:2"),
        ("{\"run\":[\"echo\"]}\n{\"id\":\n", "more:2:"),
    ] {
        let refused = next.read(&addition(DocumentFormat::JsonLines, lines), 2, 4);
        let refused = refused.err().unwrap().render(Style::PLAIN);
        assert!(refused.contains(place), "{refused}");
    }
}

#[test]
fn a_rate_of_an_earlier_addition_holds_and_its_place_is_forgotten() {
    let (_folder, plan) = plan("jobs.yaml", "version: 1\njobs: [{ run: [echo] }]\n");
    let rate = |rate| {
        let hint = format!("{{ rate_limited: {{ requests_per_second: {rate}, key: k }} }}");
        addition(
            DocumentFormat::Yaml,
            &format!("jobs: [{{ run: [echo], hint: {hint} }}]\n"),
        )
    };
    let (_, next) = plan.adder.read(&rate(1), 1, 4).unwrap();
    assert!(next.read(&rate(1), 2, 4).is_ok());
    let refused = next.read(&rate(2), 2, 4).err().unwrap();
    let refused = refused.render(Style::PLAIN);
    assert!(refused.contains("rate key `k` is 2/s"), "{refused}");
    assert!(!refused.contains("declared first here"), "{refused}");
}
