//! What a command gives back, whatever it does.

use std::io::Write;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use ratchet_runtime::process::{
    CommandLimits, CommandOutput, Ending, Exit, InputBytes, InputPipe, OutputSink, ProcessConfig,
    ProgramInput, StopCause, Stream,
};
use ratchet_tests::{Folder, all_gone, eventually, is_alive, shell, within};
use tokio_util::sync::CancellationToken;

use super::runner;

/// A time that is longer than any test may take.
const LONG: Duration = Duration::from_secs(1000);

async fn run(script: &str, limits: CommandLimits) -> CommandOutput {
    let never = CancellationToken::new();
    within(runner().run(&shell(script), limits, &never))
        .await
        .expect("it starts")
}

/// Returns the number on the first line of an output.
fn number(output: &CommandOutput) -> u32 {
    let text = output.stdout.to_text();
    text.lines()
        .next()
        .and_then(|line| line.parse().ok())
        .expect("it says a number")
}

#[tokio::test]
async fn a_command_returns_its_output_and_its_exit() {
    let output = run("echo out; echo err >&2; exit 3", CommandLimits::default()).await;
    assert_eq!(
        (output.stdout.to_text(), output.stderr.to_text()),
        ("out\n".into(), "err\n".into())
    );
    assert_eq!((output.ended.exit, output.stopped), (Exit::Code(3), None));
    assert!(!output.is_success());
    assert!(
        run("cat; exit 0", CommandLimits::default())
            .await
            .is_success(),
        "its stdin is empty"
    );
}

#[tokio::test]
async fn a_command_keeps_the_beginning_of_too_much_output_and_counts_the_rest() {
    let limits = CommandLimits {
        capture_bytes: 1000,
        ..CommandLimits::default()
    };
    let output = run(
        "head -c 50000000 /dev/zero; head -c 2000 /dev/zero >&2",
        limits,
    )
    .await;
    assert!(output.is_success());
    assert_eq!(
        (output.stdout.bytes.len(), output.stdout.dropped),
        (1000, 49_999_000)
    );
    assert_eq!(
        (output.stderr.bytes.len(), output.stderr.dropped),
        (1000, 1000)
    );
}

/// Counts bytes, and takes longer for each piece of them than the pipes of an ended program are waited for.
#[derive(Default)]
struct SlowCount(AtomicUsize);

impl OutputSink for SlowCount {
    fn receive(&self, _: Stream, bytes: &[u8]) -> ControlFlow<()> {
        thread::park_timeout(Duration::from_millis(250));
        self.0.fetch_add(bytes.len(), Ordering::SeqCst);
        ControlFlow::Continue(())
    }
}

#[tokio::test]
async fn a_slow_sink_receives_all_that_a_command_left_in_its_pipe() {
    // The pipe is made to hold all of it, so that the command ends at once.
    let script = "import fcntl, os; fcntl.fcntl(1, 1031, 1 << 20); os.write(1, bytes(1 << 18))";
    let config = ProcessConfig::new("python3").args(["-c", script]);
    let count = Arc::<SlowCount>::default();
    let never = CancellationToken::new();
    let sink = Arc::<SlowCount>::clone(&count);
    let runner = runner();
    let run = runner.run_into(&config, CommandLimits::default(), &never, sink);
    let end = within(run).await.expect("it starts");
    assert!(end.is_success());
    assert_eq!(count.0.load(Ordering::SeqCst), 1 << 18);
}

#[tokio::test]
async fn a_command_is_asked_to_stop_at_its_soft_timeout_and_its_last_output_is_kept() {
    let limits = CommandLimits {
        soft: Some(Duration::from_millis(50)),
        hard: Some(LONG),
        grace: LONG,
        ..CommandLimits::default()
    };
    let script = "trap 'echo bye; exit 0' TERM; while :; do sleep 0.01; done";
    let output = run(script, limits).await;
    assert_eq!(
        (output.ended.exit, output.ended.ending),
        (Exit::Code(0), Ending::Asked)
    );
    assert_eq!(
        (output.stopped, output.stdout.to_text().as_str()),
        (Some(StopCause::Timeout), "bye\n")
    );
    assert!(
        !output.is_success(),
        "it ran too long, however well it ended"
    );
}

#[tokio::test]
async fn a_command_and_its_children_are_killed_at_the_hard_timeout_or_after_the_grace() {
    let stubborn = "trap '' TERM; sleep 1000 & echo $!; wait; wait";
    let short = Duration::from_millis(50);
    for (soft, hard, grace) in [(None, Some(short), LONG), (Some(short), None, short)] {
        let output = run(
            stubborn,
            CommandLimits {
                soft,
                hard,
                grace,
                ..CommandLimits::default()
            },
        )
        .await;
        assert_eq!(
            (output.ended.exit, output.ended.ending),
            (Exit::Signal(9), Ending::Killed)
        );
        assert_eq!(output.stopped, Some(StopCause::Timeout));
        let child = number(&output);
        all_gone(&[child]).await;
    }
}

#[tokio::test]
async fn a_cancelled_command_is_asked_to_stop() {
    let folder = tempfile::tempdir().expect("a folder");
    let begun = folder.path().join("begun");
    let script = format!("touch {}; sleep 1000", begun.display());
    let cancel = CancellationToken::new();
    let (output, ()) = tokio::join!(
        async {
            let run = runner();
            let limits = CommandLimits {
                grace: LONG,
                ..CommandLimits::default()
            };
            within(run.run(&shell(&script), limits, &cancel))
                .await
                .expect("it starts")
        },
        async {
            eventually("it has begun", || begun.exists()).await;
            cancel.cancel();
        }
    );
    assert_eq!(output.stopped, Some(StopCause::Cancelled));
    assert_eq!(
        (output.ended.exit, output.ended.ending),
        (Exit::Signal(15), Ending::Asked)
    );
}

#[tokio::test]
async fn children_that_a_command_leaves_do_not_delay_its_end() {
    let output = run(
        "sleep 1000 & echo $!; echo last words",
        CommandLimits::default(),
    )
    .await;
    assert!(output.is_success() && output.ended.left_behind);
    assert!(output.stdout.to_text().ends_with("last words\n"));
    let child = number(&output);
    all_gone(&[child]).await;

    // A process that has left the group is out of reach, but must not delay anything by the pipes that it holds.
    let output = run(
        "setsid sh -c 'echo $$; exec sleep 1000' & wait $!; :",
        CommandLimits {
            soft: Some(Duration::from_millis(200)),
            ..CommandLimits::default()
        },
    )
    .await;
    let escaped = number(&output);
    assert!(is_alive(escaped));
    let killed = std::process::Command::new("kill")
        .args(["-KILL", &escaped.to_string()])
        .status();
    assert!(killed.expect("it runs").success());
}

#[tokio::test]
async fn dropping_the_future_of_a_command_kills_it_with_its_children() {
    let folder = tempfile::tempdir().expect("a folder");
    let ids = folder.path().join("ids");
    let script = format!(
        "sleep 1000 & echo $$ $! > {0}.new; mv {0}.new {0}; wait",
        ids.display()
    );
    let (runner, never) = (runner(), CancellationToken::new());
    let config = shell(&script);
    tokio::select! {
        output = runner.run(&config, CommandLimits::default(), &never) => panic!("{output:?}"),
        () = eventually("it has begun", || ids.exists()) => {}
    }
    let text = std::fs::read_to_string(&ids).expect("it is there");
    let both: Vec<u32> = text
        .split_whitespace()
        .map(|id| id.parse().expect("an id"))
        .collect();
    all_gone(&both).await;
}

async fn run_with(script: &str, input: ProgramInput) -> CommandOutput {
    let never = CancellationToken::new();
    let config = shell(script).stdin(input);
    within(runner().run(&config, CommandLimits::default(), &never))
        .await
        .expect("it starts")
}

fn bytes(content: impl AsRef<[u8]> + Send + Sync + 'static) -> ProgramInput {
    ProgramInput::Bytes(InputBytes::new(content))
}

#[tokio::test]
async fn a_command_reads_the_bytes_of_its_stdin_to_their_end() {
    let output = run_with("cat; echo end", bytes("one\ntwo\n")).await;
    assert_eq!(output.stdout.to_text(), "one\ntwo\nend\n");
    let large = vec![b'x'; 3_000_001];
    let output = run_with("wc -c", bytes(large)).await;
    assert_eq!(output.stdout.to_text().trim(), "3000001");
    // What it prints meanwhile fills its pipe long before it has read everything.
    let echoed = run_with("cat", bytes(vec![b'y'; 2_000_000])).await;
    assert_eq!(echoed.stdout.bytes.len(), 2_000_000);
    assert!(run_with("cat", bytes("")).await.stdout.bytes.is_empty());
}

#[tokio::test]
async fn a_command_that_does_not_read_its_stdin_does_nothing_wrong() {
    for script in ["true", "exec <&-; echo closed", "head -c 1 >/dev/null"] {
        let output = run_with(script, bytes(vec![b'x'; 10_000_000])).await;
        assert!(output.is_success(), "{script}: {output:?}");
    }
}

#[tokio::test]
async fn a_command_reads_a_file_or_a_part_of_it() {
    let folder = Folder::new().file("data", "0123456789");
    let path = folder.path().join("data");
    let output = run_with("cat", ProgramInput::File(path.clone())).await;
    assert_eq!(output.stdout.to_text(), "0123456789");
    let part = |start, bytes| ProgramInput::Part {
        path: path.clone(),
        start,
        bytes,
        header: None,
    };
    let output = run_with("cat", part(3, 4)).await;
    assert_eq!(output.stdout.to_text(), "3456");
    let output = run_with("cat; sleep 1000", part(3, 8)).await;
    assert!(
        matches!(output.stopped, Some(StopCause::InputFailed(_))),
        "a part that is not there is no success: {output:?}"
    );
}

#[tokio::test]
async fn a_command_reads_what_comes_out_of_a_pipe() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let input = ProgramInput::Pipe(InputPipe::new(reader));
    let write = thread::spawn(move || writer.write_all(&vec![b'x'; 1_000_000]));
    let output = run_with("wc -c", input).await;
    assert_eq!(output.stdout.to_text().trim(), "1000000");
    write.join().unwrap().unwrap();
}

#[tokio::test]
async fn a_command_whose_file_for_stdin_is_missing_is_not_started() {
    let never = CancellationToken::new();
    let config = shell("touch started").stdin(ProgramInput::File("/no/such/file".into()));
    let refused = within(runner().run(&config, CommandLimits::default(), &never)).await;
    let error = refused.expect_err("there is no such file");
    assert_eq!(error.to_string(), "`/no/such/file` cannot be read as stdin");
}
