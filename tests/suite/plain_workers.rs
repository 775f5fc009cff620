//! A worker of five lines, without any library, works as it stands in the text of the protocol.

use ratchet_tests::{WorkerProcess, WorkerProtocol, present};

const PROTOCOL: &str = include_str!("../../ipc/PROTOCOL.md");

/// Returns the first example of the documentation in a language.
fn example(language: &str) -> &'static str {
    let (_, rest) = PROTOCOL
        .split_once(&format!("```{language}\n"))
        .expect("there is an example");
    rest.split_once("```").expect("the example has an end").0
}

#[tokio::test]
async fn the_python_worker_in_the_protocol_text_echoes() {
    if !present(
        WorkerProtocol::Python,
        "the protocol text's Python worker is not tested",
    ) {
        return;
    }
    let mut worker = WorkerProcess::start("python3", &["-c", example("python")]);
    for (id, input) in [
        (1, "null"),
        (2, "[1, 2.5, \"\\u00e9\"]"),
        (3, "{\"a\": {}}"),
    ] {
        worker.ask(id, "any", input).await;
        assert_eq!(worker.reply().await, (id, Ok(input.to_owned())));
    }
    let (status, stderr) = worker.end().await;
    assert!(status.success(), "{stderr}");
}

#[tokio::test]
async fn the_shell_worker_in_the_protocol_text_answers() {
    let mut worker = WorkerProcess::start("sh", &["-c", example("sh")]);
    for id in 1..=3 {
        worker.ask(id, "any", "{\"id\": \"not this\"}").await;
        let (answered, result) = worker.reply().await;
        assert_eq!(answered, id);
        assert!(result.is_ok_and(|name| name.len() > 2));
    }
    let (status, stderr) = worker.end().await;
    assert!(status.success(), "{stderr}");
}
