//! Workers whose answers are broken, or are not recognisable as answers.

use ratchet_tests::{Ended, Folder, Ratchet};
use serde_json::Value;

use super::filters::results;

/// Runs a job for each input on a worker in a shell, which finds the id and the input of its request in `id` and `line`.
/// It says `before` first, and then handles each request with `answer`.
fn run_with(before: &str, answer: &str, options: &[&str], inputs: &[&str]) -> Ended {
    let script = format!(
        "{before}\nwhile IFS= read -r line; do\n  id=${{line#*'\"id\":\"'}}; id=${{id%%'\"'*}}\n  {answer}\ndone\n"
    );
    let folder = Folder::new().file("worker.sh", script);
    let jobs = (inputs.iter()).map(|input| format!("{{\"task\":\"t\",\"input\":\"{input}\"}}\n"));
    let jobs: String = jobs.collect();
    let run = Ratchet::within(&folder).args(["run", "-k", "--format", "json"]);
    let run = run.args(options).args(["-w", "sh worker.sh"]);
    run.stdin(jobs).run()
}

const HELLO: &str =
    r#"echo '{"type":"event","event":"hello","protocol":[1],"concurrency":2,"capabilities":[]}'"#;

#[test]
fn a_late_answer_to_a_request_that_was_sent_is_ignored() {
    let answer = r#"printf '{"type":"response","id":"%s","result":"fine"}\n' "$id" "$id""#;
    let ended = run_with("", answer, &["-q", "-j1"], &["a", "b", "c"]).with_code(0);
    assert_eq!(results(&ended).len(), 3);
}

#[test]
fn a_line_that_was_meant_as_an_answer_and_is_none_is_told_of() {
    std::thread::scope(|scope| {
        for (printed, told) in [
            ("''", "printed an empty line while it had request 1"),
            (
                "done",
                "printed a line that is no answer (done) while it had request 1",
            ),
            (
                r#"'{"type":"response","id":"x1","result":1}'"#,
                "printed a line that is no answer (an answer to request x1) while it had request 1",
            ),
            (
                r#"'{"type":"reply","id":"1","result":1}'"#,
                r#"printed a line that is no answer ({"type":"reply","id":"1","result":1}) while it had request 1"#,
            ),
        ] {
            scope.spawn(move || {
                let answer = format!("echo {printed}");
                let ended = run_with(HELLO, &answer, &["-j1", "--timeout", "6s"], &["a"]);
                let ended = ended.with_code(100);
                assert_eq!(results(&ended), ["1 timed_out timeout"]);
                let said = ended.stderr();
                assert_eq!(said.matches(told).count(), 1, "{said}");
            });
        }
        // Prints before an answer are noise.
        scope.spawn(|| {
            let answer =
                r#"echo; echo noise; printf '{"type":"response","id":"%s","result":1}\n' "$id""#;
            let ended = run_with(HELLO, answer, &["-j1"], &["a", "b"]).with_code(0);
            let said = ended.stderr();
            assert!(!said.contains("while it had request"), "{said}");
        });
    });
}

#[test]
fn a_worker_that_answers_broken_json_fails_only_that_job() {
    let script = r#"
while IFS= read -r line; do
  id=${line#*'"id":"'}; id=${id%%'"'*}
  case $line in
    *'"nan"'*) printf '{"type":"response","id":"%s","result":[1,NaN]}\n' "$id" ;;
    *'"latin"'*) printf '{"type":"response","id":"%s","result":"caf\351"}\n' "$id" ;;
    *'"nul"'*) printf '{"type":"response","id":"%s","result":"\000"}\n' "$id" ;;
    *) printf '{"type":"response","id":"%s","result":"fine"}\n' "$id" ;;
  esac
done
"#;
    let folder = Folder::new().file("worker.sh", script);
    let inputs = ["nan", "fine", "latin", "fine", "nul", "fine"];
    let jobs = inputs.map(|input| format!("{{\"task\":\"t\",\"input\":\"{input}\"}}\n"));
    let run = Ratchet::within(&folder).args(["run", "-q", "-j1", "-k", "--format", "json"]);
    let ended = run.args(["-w", "sh worker.sh"]).stdin(jobs.concat()).run();
    let ended = ended.with_code(100);
    let told = results(&ended).join(", ");
    assert_eq!(
        told,
        "1 failed protocol, 2 succeeded -, 3 failed protocol, 4 succeeded -, 5 failed protocol, 6 succeeded -"
    );
    let document: Value = serde_json::from_str(&ended.stdout()).expect("a document");
    let results = document["results"].as_array().expect("results");
    let message = results[0]["error"]["message"].as_str();
    assert!(
        message.is_some_and(|said| said.contains("[1,NaN]")),
        "{message:?}"
    );
    for result in results.iter().filter(|one| one["status"] == "succeeded") {
        assert_eq!(result["worker"], "sh/1", "it goes on");
    }
}

/// A worker that reads ahead: it answers the requests behind the one with the input `slow` at once, and that one, or none,
/// once it has read the request with the input `last`. It notes each input that it gets.
fn read_ahead(then: &str) -> (Ended, Vec<String>) {
    let folder = Folder::new();
    let notes = folder.path().join("notes");
    let answer = format!(
        r#"case $line in
    *'"slow"'*) slow=$id; echo slow >> '{notes}' ;;
    *'"refused"'*) echo refused >> '{notes}'
      printf '{{"type":"response","id":"%s","error":{{"code":"no","message":"no","retryable":false}}}}\n' "$id" ;;
    *'"broken"'*) echo broken >> '{notes}'; printf '{{"type":"response","id":"%s","result":NaN}}\n' "$id" ;;
    *'"early"'*) echo early >> '{notes}'; printf '{{"type":"response","id":"%s","result":"done"}}\n' "$id" ;;
    *) echo last >> '{notes}'
      [ -z "$slow" ] || {{ sleep 0.3; {then}; }}
      printf '{{"type":"response","id":"%s","result":"done"}}\n' "$id" ;;
  esac"#,
        notes = notes.display(),
    );
    let hello = r#"slow=; echo '{"type":"event","event":"hello","protocol":[1],"capabilities":["cancel"]}'"#;
    let options = ["-j1", "--prefetch", "8", "-q"];
    let inputs = ["slow", "refused", "broken", "early", "last"];
    let ended = run_with(hello, &answer, &options, &inputs);
    let notes = std::fs::read_to_string(&notes).expect("the worker has noted its requests");
    (ended, notes.lines().map(str::to_owned).collect())
}

#[test]
fn an_answer_to_a_request_that_has_not_begun_is_the_answer_to_its_job() {
    let slow = r#"printf '{"type":"response","id":"%s","result":"done"}\n' "$slow""#;
    let (ended, noted) = read_ahead(slow);
    let ended = ended.with_code(100);
    let expected = [
        "1 succeeded -",
        "2 failed task",
        "3 failed protocol",
        "4 succeeded -",
        "5 succeeded -",
    ];
    assert_eq!(results(&ended), expected);
    assert_eq!(noted, ["slow", "refused", "broken", "early", "last"]);
}

#[test]
fn an_answer_to_a_request_that_has_not_begun_survives_the_crash_of_its_worker() {
    let (ended, noted) = read_ahead("exit 3");
    let ended = ended.with_code(100);
    assert_eq!(results(&ended)[1], "2 failed task");
    for input in ["refused", "early"] {
        let times = noted.iter().filter(|noted| *noted == input).count();
        assert_eq!(times, 1, "{input}: {noted:?}");
    }
}
