//! Filters that do not answer each line with a line.

use ratchet_ipc::LineFormat;
use ratchet_runtime::Class;
use ratchet_runtime::process::{PoolConfig, Prefetch, ProcessConfig, WorkerProtocol};
use ratchet_tests::{alone, within};

use super::{SHORT, Setting, fine, hard, is, job, meets, patient};

/// Makes a filter that gives each line back, but runs this script for the line `fault`.
fn filter(meet: &str) -> PoolConfig {
    let script = format!(
        r"while read -r line; do
            case $line in fault) {meet} ;; *) echo fine ;; esac
        done"
    );
    PoolConfig {
        language: WorkerProtocol::Lines {
            input: LineFormat::Text,
            output: LineFormat::Text,
        },
        ..patient(PoolConfig::new(
            "faulty",
            ProcessConfig::new("sh").args(["-c", &script]),
        ))
    }
}

#[test]
fn a_filter_of_the_system_answers_each_line() {
    alone(async {
        let config = PoolConfig {
            process: ProcessConfig::new("sed").args(["-u", "s/^.*$/fine/"]),
            prefetch: Prefetch::Fixed(8),
            ..filter("")
        };
        let setting = Setting::new(config).await;
        let mut runs: Vec<_> = (0..50)
            .map(|_| Box::pin(setting.pool.run(job("well"))))
            .collect();
        for run in &mut runs {
            assert_eq!(fine(&within(run).await), "\"fine\"");
        }
        drop(runs);
        setting.end().await;
    });
}

#[test]
fn a_filter_that_dies_crashes_its_job() {
    alone(async {
        let failure = meets(
            filter("echo oh >&2; exit 3"),
            Class::Crash,
            "worker faulty/1 ended with exit code 3 before it answered",
        )
        .await;
        assert_eq!(failure.stderr.as_deref(), Some("oh\n"));
    });
}

#[test]
fn a_filter_that_dies_in_the_middle_of_its_answer_breaks_the_protocol() {
    alone(async {
        let setting = Setting::new(filter("printf half; exit 0")).await;
        let failure = setting.meet().await;
        assert_eq!(failure.class, Class::Protocol);
        assert!(
            failure
                .message
                .contains("the filter ended in the middle of its answer"),
            "{failure}"
        );
        setting.end().await;
    });
}

#[test]
fn a_filter_that_answers_too_many_lines_fails_its_job() {
    alone(async {
        let setting = Setting::new(filter("echo fine; echo more; echo and more")).await;
        let failure = setting.meet().await;
        assert_eq!(failure.class, Class::Protocol);
        assert!(
            failure.message.contains("`more`") && failure.message.contains("--skip-lines"),
            "{failure}"
        );
        // Whatever came after it would get the answers of those before.
        setting.failed_for("surplus").await;
        let reply = setting.serve().await;
        assert_eq!(reply.worker.expect("somebody did it").as_str(), "faulty/2");
        setting.end().await;
    });
}

#[test]
fn a_filter_that_answers_nothing_times_out() {
    alone(async {
        let setting = Setting::new(filter(":")).await;
        is(
            &setting.meet_within(hard(SHORT)).await,
            Class::Timeout,
            "timed out after 200ms",
        );
        setting.end().await;
    });
}

#[test]
fn an_input_with_a_line_break_is_refused_for_a_filter() {
    alone(async {
        let setting = Setting::new(filter(":")).await;
        let reply = within(setting.pool.run(job("two\nlines"))).await;
        let failure = reply.result.expect_err("it is two lines");
        assert_eq!(failure.class, Class::Input, "{failure}");
        let reply = setting.serve().await;
        assert_eq!(reply.worker.expect("it goes on").as_str(), "faulty/1");
        setting.end().await;
    });
}
