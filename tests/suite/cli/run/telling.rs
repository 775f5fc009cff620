//! What a run says: results, the end, the log and the terminal.

use ratchet_tests::{Ratchet, Shown, Signal};

use super::{file, ids, run};

#[test]
fn results_are_written_to_a_file_in_each_format() {
    let folder = file("jobs:\n  - { id: a, task: echo }\n  - { id: b, task: fail, input: {} }\n");
    for (format, beginning) in [
        ("jsonl", "{\"v\":1,\"id\":\"a\",\"status\":\"succeeded\""),
        ("json", "{\"v\":1,\"results\":[\n"),
        (
            "junit",
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>",
        ),
        ("human", "succeeded a  echo"),
    ] {
        let words = ["-k", "--format", format, "-o", "results"];
        let ended = run(&folder, &words).with_code(100).quiet();
        assert!(ended.stdout.is_empty());
        let written = std::fs::read_to_string(folder.at("results")).expect("a file");
        assert!(written.starts_with(beginning), "{format}: {written}");
    }
    let ended = run(&folder, &["-o", "no/such/folder"]).with_code(2);
    assert!(
        ended
            .stderr()
            .starts_with("ratchet: `no/such/folder` cannot be written\n")
    );
}

#[test]
fn keep_order_writes_results_in_the_order_of_jobs() {
    let folder = file(
        "jobs:
  - { id: slow, task: sleep, input: { ms: 300 } }
  - { id: quick, task: echo }
",
    );
    let ended = run(&folder, &["-j2", "--workers", "2"]).with_code(0);
    assert_eq!(ids(&ended), ["quick", "slow"]);
    let ended = run(&folder, &["-j2", "--workers", "2", "-k"]).with_code(0);
    assert_eq!(ids(&ended), ["slow", "quick"]);
}

#[test]
fn the_summary_goes_to_stderr_and_quiet_omits_it() {
    let folder = file(
        "jobs:\n  - { id: a, task: echo }\n  - { id: b, task: fail, input: { message: why } }\n",
    );
    let call = Ratchet::within(&folder).args(["run", "jobs.yaml", "--progress", "always"]);
    let said = call.run().with_code(100).stderr();
    assert!(said.contains("1 x task: why  b\n"), "{said}");
    assert!(said.contains("1 succeeded, 1 failed in "), "{said}");
    assert!(
        said.contains("run again what did not succeed: ratchet resume "),
        "{said}"
    );
    assert!(!said.contains("queue time:"), "{said}");
    let call = Ratchet::within(&folder).args(["run", "jobs.yaml", "-v"]);
    let said = call.run().with_code(100).stderr();
    assert!(
        said.contains("queue time: min ") && said.contains("peak concurrency "),
        "{said}"
    );
    assert!(run(&folder, &[]).stderr.is_empty());
    let call = Ratchet::within(&folder).args(["run", "jobs.yaml", "--no-record"]);
    let said = call.run().with_code(100).stderr();
    assert!(!said.contains("ratchet resume"), "{said}");
}

#[test]
fn the_log_goes_to_stderr_or_to_a_file() {
    let folder = file("jobs:\n  - { id: a, task: echo }\n");
    let call = Ratchet::within(&folder).args(["run", "jobs.yaml", "-vvv", "--log-file", "log"]);
    let ended = call.run().with_code(0);
    assert_eq!(ended.stdout().lines().count(), 1);
    let logged = std::fs::read_to_string(folder.at("log")).expect("a log");
    assert!(
        logged.contains("DEBUG") || logged.contains("TRACE"),
        "{logged}"
    );
    let call = Ratchet::within(&folder).args(["run", "jobs.yaml"]);
    let ended = run(&folder, &["--log-file", "no/such/folder"]).with_code(2);
    assert!(
        ended
            .stderr()
            .starts_with("ratchet: `no/such/folder` cannot be written\n")
    );
    let said = call.env("RUST_LOG", "a=b=c").run().with_code(2).stderr();
    assert!(said.contains("RUST_LOG"), "{said}");
}

#[test]
fn progress_is_drawn_on_a_terminal_and_erased_at_the_end() {
    let folder = file("jobs:\n  - { id: a, task: sleep, input: { ms: 1000 } }\n");
    let call = Ratchet::within(&folder).args(["run", "jobs.yaml"]);
    let running = call.on_terminal(80, 24, Shown::Everything).start();
    running.wait_for_screen("0/1");
    running.resize(40, 10);
    let screen = running.wait().with_code(0).screen();
    assert!(screen.contains("1 succeeded\u{1b}[0m in "), "{screen}");
    assert!(screen.contains("\u{1b}[32m"), "it has colours: {screen}");
}

#[test]
fn the_summary_of_an_interrupted_run_has_no_throughput_and_its_bar_counts_no_cancelled_job() {
    let folder = file(
        "jobs:
  - { id: a, run: [sh, -c, \"touch begun; until test -e go; do sleep 0.05; done\"] }
  - { id: b, needs: [a], run: [echo] }
  - { id: c, needs: [a], run: [echo] }
",
    );
    let call = Ratchet::within(&folder).args(["run", "jobs.yaml", "--grace", "100s"]);
    let running = call.on_terminal(100, 24, Shown::Stderr).start();
    running.until("its job runs", || folder.at("begun").exists());
    running.signal(Signal::Interrupt);
    running.wait_for_screen("0/3  2 cancelled  1 running  ");
    std::fs::write(folder.at("go"), "").expect("it is written");
    let screen = running.wait().with_code(130).screen();
    let (_, end) = screen.rsplit_once("1 succeeded").expect("a summary");
    assert!(
        end.contains("2 cancelled") && !end.contains("jobs/s"),
        "{end}"
    );
    assert!(
        !screen.contains("] 2/3") && !screen.contains("] 3/3"),
        "{screen}"
    );
}

#[test]
fn errors_that_a_worker_logs_are_shown_without_verbose() {
    let worker = "while read -r line; do \
        echo '{\"type\":\"event\",\"event\":\"log\",\"level\":\"error\",\"message\":\"the disk is odd\"}'; \
        echo '{\"type\":\"event\",\"event\":\"log\",\"level\":\"info\",\"message\":\"all is well\"}'; \
        id=${line#*\\\"id\\\":}; \
        echo \"{\\\"type\\\":\\\"response\\\",\\\"id\\\":${id%%[,\\}]*},\\\"result\\\":null}\"; done";
    let folder = ratchet_tests::Folder::new().file("worker.sh", worker);
    let call = Ratchet::within(&folder).args(["run", "-w", "sh worker.sh"]);
    let ended = call.stdin("{\"task\":\"t\"}\n").run().with_code(0);
    let said = ended.stderr();
    assert!(said.contains("the disk is odd"), "{said}");
    assert!(!said.contains("all is well"), "{said}");
}

#[test]
fn progress_rows_of_running_jobs_stay_in_place_when_more_run_than_fit() {
    let wait = "touch begun-$0; until test -e go; do sleep 0.05; done";
    let folder = ratchet_tests::Folder::new();
    let items = (1..=12).map(|number| number.to_string());
    let call = Ratchet::within(&folder).args(["map", "-j12", "--", "sh", "-c", wait, "{}", ":::"]);
    let call = call.args(items).on_terminal(100, 24, Shown::Stderr);
    let running = call.start();
    running.until("all of them run", || {
        (1..=12).all(|number| folder.at(&format!("begun-{number}")).exists())
    });
    running.wait_for_screen("and 5 more");
    std::fs::write(folder.at("go"), "").expect("it is written");
    let _ = running.wait().with_code(0);
}

#[test]
fn the_progress_of_a_map_has_the_remaining_time() {
    let wait = "test $0 = 1 || until test -e go; do sleep 0.05; done";
    let folder = ratchet_tests::Folder::new();
    let items: Vec<String> = (1..=10_000).map(|number| number.to_string()).collect();
    let call = Ratchet::within(&folder).args(["map", "-j2", "--halt", "now,success=2", "--"]);
    let call = call.args(["sh", "-c", wait, "{}"]).stdin(items.join("\n"));
    let running = call.on_terminal(100, 24, Shown::Stderr).start();
    let screen = running.wait_for_screen(" left");
    assert!(screen.contains("1/10000  "), "{screen}");
    std::fs::write(folder.at("go"), "").expect("it is written");
    let _ = running.wait().with_code(0);
}
