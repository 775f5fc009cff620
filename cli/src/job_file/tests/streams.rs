//! JSON lines.

use std::sync::Arc;

use ratchet_runtime::Work;

use super::*;

/// Makes the options of a call with a typed worker for every task.
fn typed() -> PlanOptions {
    PlanOptions {
        worker: Some(typed_worker("cat", Protocol::Ratchet).unwrap()),
        ..PlanOptions::default()
    }
}

fn lines(file: &Written, options: &PlanOptions) -> Vec<Result<ratchet_runtime::Job, String>> {
    let Jobs::Streamed(lines) = file.open_with(options).unwrap().jobs else {
        panic!("a stream")
    };
    lines
        .map(|line| {
            line.map_err(|bad| match bad {
                StreamError::Refused(error) => error.message(),
                StreamError::Unreadable(error) => error.to_string(),
            })
        })
        .collect()
}

#[test]
fn bad_lines_stand_among_good_ones() {
    let text = concat!(
        "{\"task\":\"echo\",\"input\":{\"n\":1}}\n",
        "\n",
        "{\"task\":\"echo\",\"inputt\":1}\n",
        "nonsense\n",
        "{\"id\":\"x\",\"task\":\"echo\",\"retry\":{\"max\":1},\"needs\":[\"1\"]}\n",
        "{\"id\":\"x\",\"task\":\"echo\"}\n",
        "{\"id\":\"y\",\"task\":\"echo\",\"needs\":[\"z\"]}\n",
        "{\"task\":\"echo\",\"host\":null}\n",
        "[1]\r\n",
        "{\"task\":\"echo\",\"task\":\"b\"}\n",
        "{\"task\":\"echo\",\"timeout\":5}\n",
        "{\"run\":\"ls -l\",\"host\":\"caf\\u00e9\"}",
    );
    let found = lines(&write("jobs.jsonl", text), &typed());
    let said: Vec<String> = found
        .iter()
        .map(|line| match line {
            Ok(job) => format!("job {} {}", job.id, job.task_name()),
            Err(message) => message.clone(),
        })
        .collect();
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn a_bad_line_is_a_failed_result() {
    let file = write(
        "jobs.jsonl",
        "{\"id\":\"x\",\"task\":\"e\",\"slot\":1}\n{\"task\":\"\"}\n",
    );
    let Jobs::Streamed(lines) = file.open_with(&typed()).unwrap().jobs else {
        panic!("a stream")
    };
    let results: Vec<String> = lines
        .map(|line| match line {
            Err(StreamError::Refused(error)) => {
                let job = error.job();
                let Work::Refused { task, failure } = &job.work else {
                    panic!("{job:?}")
                };
                assert!(!failure.retryable);
                format!("{} {task} {failure}", job.id)
            }
            other => panic!("{other:?}"),
        })
        .collect();
    insta::assert_snapshot!(results.join("\n"));
}

#[test]
fn the_result_of_a_bad_line_does_not_take_the_id_of_an_earlier_job() {
    let text = "{\"id\":2,\"run\":[\"true\"]}\n{\"run\":[]}\n{\"run\":[]}\n";
    let file = write("jobs.jsonl", text);
    let Jobs::Streamed(lines) = file.open().unwrap().jobs else {
        panic!("a stream")
    };
    let ids: Vec<String> = lines
        .map(|line| match line {
            Ok(job) => job.id.to_string(),
            Err(StreamError::Refused(refused)) => refused.job().id.to_string(),
            Err(StreamError::Unreadable(error)) => panic!("{error}"),
        })
        .collect();
    assert_eq!(ids, ["2", "line 2", "3"]);
}

#[test]
fn the_first_line_may_be_about_all_of_them() {
    let header = r#"{"version":1,"workers":{"e":{"command":"cat","hint":"alone"}},"limits":{"db":{"max":2}},"defaults":{"priority":"low"}}"#;
    let file = write(
        "jobs.jsonl",
        format!("{header}\n{{\"task\":\"e\",\"limits\":[\"db\"]}}\n"),
    );
    let plan = file.open().unwrap();
    assert_eq!(plan.workers[0].pool.name, "e");
    assert_eq!(plan.limits.len(), 1);
    let jobs = lines(&file, &PlanOptions::default());
    let job = jobs[0].as_ref().unwrap();
    assert_eq!(job.id.as_str(), "2", "lines count, not jobs");
    assert_eq!(job.terms.limits, ["db"]);
    assert_eq!(job.terms.priority, ratchet_runtime::Priority::Low);

    let file = write("jobs.jsonl", "{\"version\":1,\"wokers\":{}}\n");
    insta::assert_snapshot!(file.refusal());
    let file = write("jobs.jsonl", format!("{header}\n"));
    insta::assert_snapshot!(file.shown(file.open_with(&typed()).unwrap_err()));
}

#[test]
fn unknown_tasks_are_refused_where_workers_are_known() {
    let text = "{\"workers\":{\"echo\":{\"command\":\"cat\"}}}\n{\"task\":\"ehco\"}\n";
    let found = lines(&write("jobs.jsonl", text), &PlanOptions::default());
    assert_eq!(
        found[0].as_ref().unwrap_err(),
        "line 2, column 9: no worker serves `ehco`; did you mean `echo`?"
    );
}

#[test]
fn equal_terms_are_one_and_read_once() {
    let line = "{\"task\":\"e\",\"retry\":{\"max\":3},\"hint\":\"alone\"}\n";
    let jobs = lines(&write("jobs.jsonl", line.repeat(3)), &typed());
    let terms: Vec<_> = jobs
        .iter()
        .map(|job| Arc::clone(&job.as_ref().unwrap().terms))
        .collect();
    assert!(Arc::ptr_eq(&terms[0], &terms[2]));
    assert!(terms[0].retry.is_some());
}

#[test]
fn a_line_that_is_too_long_is_passed_over() {
    let mut text = b"{\"task\":\"e\",\"input\":\"".to_vec();
    text.resize(40 << 20, b'a');
    text.extend_from_slice(b"\"}\n{\"task\":\"e\"}\n");
    let found = lines(&write("jobs.jsonl", text), &typed());
    let message = found[0].as_ref().unwrap_err();
    assert!(message.contains("longer than 32MiB"), "{message}");
    assert_eq!(found[1].as_ref().unwrap().id.as_str(), "2");
}

#[test]
fn bytes_that_are_no_text_fail_their_line_only() {
    let found = lines(
        &write("jobs.jsonl", b"{\"task\":\"\xff\"}\n{\"task\":\"e\"}\n"),
        &typed(),
    );
    assert_eq!(
        found[0].as_ref().unwrap_err(),
        "line 1, column 10: this is not UTF-8"
    );
    assert!(found[1].is_ok());
    let found = lines(
        &write("jobs.jsonl", b"\xef\xbb\xbf{\"task\":\"e\"}\n"),
        &typed(),
    );
    assert!(
        found[0].is_ok(),
        "a byte order mark is none of its business"
    );
}
