//! `ratchet worker`: the built-in worker, by hand.

use std::io::Write;

use ratchet_tests::{Ratchet, Signal};

fn request(id: u64, task: &str, input: &str) -> String {
    format!("{{\"type\":\"request\",\"id\":{id},\"task\":\"{task}\",\"input\":{input}}}\n")
}

#[test]
fn the_worker_command_answers_until_its_stdin_ends() {
    let mut worker = Ratchet::new().args(["worker"]).stdin_open().start();
    worker.wait_for_stdout("\"event\":\"hello\"");
    for (id, word) in [(1, "one"), (2, "two")] {
        let request = request(id, "echo", &format!("\"{word}\""));
        let written = worker.stdin().write_all(request.as_bytes());
        written.expect("it reads");
        worker.wait_for_stdout(&format!("\"result\":\"{word}\""));
    }
    worker.close_stdin();
    let ended = worker.wait().with_code(0).quiet();
    assert_eq!(ended.stdout().lines().count(), 3);
}

#[test]
fn the_worker_command_offers_the_tasks_that_it_is_given() {
    let call = Ratchet::new().args(["worker", "--task", "echo", "--task", "fail"]);
    let call = call.args(["--concurrency", "3"]);
    let said = call.stdin(request(1, "sleep", "{\"ms\":0}")).run();
    let said = said.with_code(0).stdout();
    assert!(said.contains("\"concurrency\":3"), "{said}");
    assert!(said.contains("known: echo, fail"), "{said}");
    for words in [
        ["--task", "ech"],
        ["--concurrency", "0"],
        ["--concurrency", "x"],
    ] {
        let ended = Ratchet::new().args(["worker"]).args(words).run();
        assert!(ended.with_code(2).stdout.is_empty());
    }
}

#[test]
fn the_worker_command_fails_if_its_host_stops_reading() {
    let said = Ratchet::new().args(["worker"]).unread().run();
    let said = said.with_code(1).stderr();
    assert!(
        said.starts_with("ratchet: the built-in worker has failed\n"),
        "{said}"
    );
    assert!(
        said.contains("writing to the peer failed\n  because: Broken pipe"),
        "{said}"
    );
}

#[test]
fn a_signal_ends_the_worker_command() {
    for (signal, number) in [
        (Signal::Interrupt, 2),
        (Signal::Terminate, 15),
        (Signal::Kill, 9),
    ] {
        let worker = Ratchet::new().args(["worker"]).stdin_open().start();
        worker.wait_for_stdout("\"event\":\"hello\"");
        worker.signal(signal);
        let ended = worker.wait();
        assert_eq!((ended.code, ended.signal), (None, Some(number)));
    }
}

#[test]
fn the_worker_command_has_a_concurrency_of_at_least_one() {
    let call = Ratchet::new().args(["worker", "--concurrency", "0"]);
    let said = call.run().with_code(2).stderr();
    assert!(said.contains("0 is too small"), "{said}");
}
