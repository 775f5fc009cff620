use std::time::Duration;

use ratchet_runtime::summary::Tally;
use ratchet_runtime::{Class, Failure, ItemName, OutputExcerpt, Payload, Timestamp};

use super::*;
use crate::output::Destination;

fn outcome(id: &str, result: Result<&str, Failure>) -> Outcome {
    Outcome {
        item: (id == "f").then(|| ItemName::new("a\u{202e}gnp.exe\n")),
        host: (id == "c").then(|| "web1".into()),
        attempts: if id == "c" { 3 } else { 1 },
        cached: id == "b",
        queued: Duration::from_micros(400),
        duration: Duration::from_millis(12 * id.len() as u64),
        ..Outcome::new(
            id,
            "resize",
            result.map(|json| Payload::from_json(json).unwrap()),
        )
    }
}

fn outcomes() -> Vec<Outcome> {
    let failure = |class, message: &str| Err(Failure::new(class, message));
    vec![
        outcome("a", Ok(r#"{"w":3}"#)),
        outcome("b", Ok("1")),
        outcome(
            "c",
            Err(Failure::new(Class::Task, "no \x1b[31msuch\nfile <&>")
                .code("not_found")
                .stdout(OutputExcerpt::with_gap(
                    "begin\n".to_owned(),
                    70_000,
                    "end\n",
                ))
                .stderr("first\nlast\x07\n")),
        ),
        outcome("dd", failure(Class::Timeout, "it took too long")),
        outcome("eee", failure(Class::Timeout, "it took too long")),
        outcome(
            "f",
            failure(Class::Crash, "it was killed by signal 9 (SIGKILL)"),
        ),
        outcome("g", failure(Class::Need, "`c` did not succeed")),
    ]
}

fn summary(outcomes: &[Outcome]) -> Summary {
    let mut tally = Tally::default();
    for outcome in outcomes {
        tally.record(outcome);
    }
    tally.summary(Duration::from_millis(2_500))
}

/// Makes a report that writes to memory.
fn report_to<'a>(
    format: ResultFormat,
    out: &'a mut Vec<u8>,
    started: SystemTime,
) -> Box<dyn Report + 'a> {
    let out = Output::new(Box::new(out), Destination::Stdout);
    report(format, AttemptsShown::None, out, Style::PLAIN, started).unwrap()
}

fn written(format: ResultFormat) -> String {
    let started = SystemTime::UNIX_EPOCH + Duration::from_hours(492_586);
    let (outcomes, mut out) = (outcomes(), Vec::new());
    let mut report = report_to(format, &mut out, started);
    for outcome in &outcomes {
        report.outcome(outcome).unwrap();
    }
    report.idle().unwrap();
    report.finish(&summary(&outcomes)).unwrap();
    drop(report);
    String::from_utf8(out).unwrap()
}

#[test]
fn results_for_people_say_which_jobs_failed_and_why() {
    insta::assert_snapshot!("human", written(ResultFormat::Human));
}

#[test]
fn results_are_written_as_a_junit_report() {
    insta::assert_snapshot!("junit", written(ResultFormat::Junit));
}

#[test]
fn results_for_programs_are_read_back_from_lines_and_from_a_document() {
    let lines: Vec<Outcome> = written(ResultFormat::Jsonl)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines, outcomes());
    let document: serde_json::Value = serde_json::from_str(&written(ResultFormat::Json)).unwrap();
    assert_eq!(document["v"], 1);
    assert_eq!(document["summary"]["timed_out"], 2);
    assert_eq!(document["results"].as_array().unwrap().len(), lines.len());
}

#[test]
fn documents_list_the_attempts_of_every_job_and_lines_only_on_request() {
    let outcome = Outcome {
        started: Some(Timestamp::from_millis(1_790_000_000_123)),
        ..outcome("a", Ok("1"))
    };
    let written = |format, attempts| {
        let mut written = Vec::new();
        let out = Output::new(Box::new(&mut written), Destination::Stdout);
        let started = SystemTime::UNIX_EPOCH;
        let mut report = report(format, attempts, out, Style::PLAIN, started).unwrap();
        report.outcome(&outcome).unwrap();
        report.finish(&summary(&[])).unwrap();
        drop(report);
        String::from_utf8(written).unwrap()
    };
    let detail = r#""attempts_detail":[{"number":1,"started_at":"2026-09-21T14:13:20.123Z""#;
    assert!(written(ResultFormat::Json, AttemptsShown::None).contains(detail));
    assert!(written(ResultFormat::Jsonl, AttemptsShown::All).contains(detail));
    assert!(!written(ResultFormat::Jsonl, AttemptsShown::None).contains("attempts_detail"));
}

#[test]
fn a_document_without_results_is_one_too() {
    let mut out = Vec::new();
    let mut report = report_to(ResultFormat::Json, &mut out, SystemTime::UNIX_EPOCH);
    report.finish(&summary(&[])).unwrap();
    drop(report);
    let document: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(document["results"], serde_json::json!([]));
}

#[test]
fn the_end_says_what_failed_first() {
    let (outcomes, mut human_summary) = (outcomes(), HumanSummary::default());
    for outcome in &outcomes {
        human_summary.add(outcome);
    }
    let rerun = Some("ratchet resume 20260312-101500-3f");
    insta::assert_snapshot!(
        "human_summary",
        human_summary.render(&summary(&outcomes), Style::PLAIN, rerun)
    );

    let good = &outcomes[..2];
    let mut human_summary = HumanSummary::default();
    for outcome in good {
        human_summary.add(outcome);
    }
    insta::assert_snapshot!(
        "human_summary of success",
        human_summary.render(&summary(good), Style::PLAIN, rerun)
    );
}

#[test]
fn all_figures_are_there_for_who_asks() {
    insta::assert_snapshot!("statistics", statistics(&summary(&outcomes())));
}

#[test]
fn a_thousand_reasons_stay_ten_lines() {
    let mut human_summary = HumanSummary::default();
    for number in 0..5_000 {
        let failure = Failure::new(Class::Task, format!("reason {number} {}", "x".repeat(1000)));
        human_summary.add(&outcome(&number.to_string(), Err(failure)));
    }
    let text = human_summary.render(&summary(&[]), Style::PLAIN, None);
    assert_eq!(text.lines().count(), 12, "{text}");
    assert!(text.contains("  4990 x other reasons"), "{text}");
}

#[test]
fn a_reader_that_has_gone_is_an_error_that_says_so() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut report = report(
        ResultFormat::Jsonl,
        AttemptsShown::None,
        Output::new(Box::new(writer), Destination::Stdout),
        Style::PLAIN,
        SystemTime::UNIX_EPOCH,
    )
    .unwrap();
    report.outcome(&outcome("a", Ok("1"))).unwrap();
    assert!(report.idle().unwrap_err().is_reader_gone());
}
