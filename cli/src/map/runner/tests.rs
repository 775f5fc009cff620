use std::collections::BTreeMap;
use std::io;

use ratchet_runtime::process::{OutputSink, Stream};
use ratchet_runtime::{Job, JobKey};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::map::collector::HELD_LINE_BYTES;
use crate::map::item::Item;
use crate::map::line_tag::LineTag;
use crate::map::outputs::PendingOutput;
use crate::shared_buffer::SharedBuffer;
use crate::spool::Spool;

async fn run(runner: &MapRunner, script: &str) -> (Result<Payload, Failure>, CommandRecord) {
    let id = JobKey::from("1");
    runner.outputs.add(id.clone(), 1, Item::from("it"));
    let config = ProcessConfig::new("sh").args(["-c", script]);
    let attempt = Attempt {
        job: Arc::new(Job::command(id.clone(), config)),
        number: 1,
    };
    let context = Context::new(1, CancellationToken::new(), |_| {});
    let result = runner.run(attempt, context).await;
    (result, taken(&runner.outputs, &id))
}

fn taken(outputs: &PendingOutputs, id: &JobKey) -> CommandRecord {
    match outputs.take(id) {
        Some(PendingOutput::Command(record)) => *record,
        _ => panic!("nothing was printed"),
    }
}

fn runner(live: Option<LiveOutput>) -> MapRunner {
    MapRunner {
        elsewhere: BTreeMap::new(),
        slot_template: None,
        start: CommandStart::default(),
        median_timeout: None,
        command_printer: None,
        commands: CommandRunner::new(None),
        grace: Duration::from_secs(10),
        outputs: Arc::default(),
        live: live.map(Arc::new),
        keeps: false,
        result_bytes: 8,
        clock: || SystemTime::UNIX_EPOCH,
    }
}

fn text(spool: &Spool) -> Vec<u8> {
    let mut text = Vec::new();
    spool.write_to(&mut text).unwrap();
    text
}

#[tokio::test]
async fn keeps_every_byte_that_a_command_prints() {
    let (result, printed) = run(&runner(None), "printf 'a\\377'; head -c 3000000 /dev/zero").await;
    let told = result.unwrap();
    assert!(
        told.as_str().contains("\"stdout_dropped\":2999994"),
        "{told:?}"
    );
    assert_eq!(printed.stdout.len(), 3_000_002);
    assert_eq!(&text(&printed.stdout)[..3], b"a\xff\0");
    assert_eq!(printed.command.len(), 3);
}

#[tokio::test]
async fn a_failure_has_its_exit_and_what_was_printed() {
    let (result, printed) = run(&runner(None), "echo out; echo no such host >&2; exit 3").await;
    let failure = result.unwrap_err();
    assert_eq!(
        (failure.class, failure.code.as_deref()),
        (Class::Exit, Some("exit_3"))
    );
    assert_eq!(printed.exit, Exit::Code(3));
    assert_eq!(text(&printed.stdout), b"out\n");
    assert_eq!(text(&printed.stderr), b"no such host\n");
}

#[tokio::test]
async fn what_cannot_be_started_is_a_failure_too() {
    let runner = runner(None);
    runner.outputs.add("1".into(), 1, Item::from("it"));
    let attempt = Attempt {
        job: Arc::new(Job::command("1", ProcessConfig::new("/no/such/program"))),
        number: 1,
    };
    let context = Context::new(1, CancellationToken::new(), |_| {});
    let failure = runner.run(attempt, context).await.unwrap_err();
    assert_eq!(failure.class, Class::Spawn);
    assert_eq!(taken(&runner.outputs, &"1".into()).exit, Exit::Code(127));
}

#[tokio::test]
async fn live_lines_are_whole_and_tagged() {
    let (out, err) = (SharedBuffer::default(), SharedBuffer::default());
    let live = LiveOutput::new(LineTag::Item, Box::new(out.clone()), Box::new(err.clone()));
    let (_, printed) = run(
        &runner(Some(live)),
        "printf 'a\\nb'; echo oops >&2; printf c",
    )
    .await;
    assert_eq!(
        (out.text().as_str(), err.text().as_str()),
        ("it\ta\nit\tbc\n", "it\toops\n")
    );
    assert_eq!(
        printed.stdout.len(),
        0,
        "it was written, and needs no keeping"
    );
}

#[tokio::test]
async fn who_prints_into_a_closed_stdout_ends_as_in_a_pipeline() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let runner = runner(Some(LiveOutput::new(
        LineTag::None,
        Box::new(writer),
        Box::new(SharedBuffer::default()),
    )));
    let (result, printed) = run(&runner, "while echo y; do :; done; kill -PIPE $$").await;
    assert!(result.is_err());
    assert_eq!(printed.exit, Exit::Signal(13));
    let broken = runner.live.unwrap().take_error().unwrap();
    assert_eq!(broken.kind(), io::ErrorKind::BrokenPipe);
}

/// Makes the collector of the output of one item, which a test feeds by hand.
fn sink(live: &Arc<LiveOutput>, number: u64, item: &str) -> Arc<OutputCollector> {
    Arc::new(OutputCollector {
        live: Some(Arc::clone(live)),
        context: Context::new(1, CancellationToken::new(), |_| {}),
        number,
        item: Arc::new(Item::from(item)),
        keeps: false,
        result_bytes: 8,
        collected: Mutex::default(),
    })
}

#[test]
fn a_long_line_is_written_in_pieces_and_no_other_line_gets_into_it() {
    let (out, err) = (SharedBuffer::default(), SharedBuffer::default());
    let live = Arc::new(LiveOutput::new(
        LineTag::Item,
        Box::new(out.clone()),
        Box::new(err.clone()),
    ));
    let (long, short) = (sink(&live, 1, "long"), sink(&live, 2, "short"));
    let chunk = vec![b'x'; 64 * 1024];
    let mut length = 0;
    for _ in 0..20 {
        assert!(long.receive(Stream::Stdout, &chunk).is_continue());
        length += chunk.len();
        assert!(long.lock().lines[0].unwritten.len() < HELD_LINE_BYTES);
    }
    assert!(
        out.text().len() > 4 * HELD_LINE_BYTES,
        "it is written before it ends"
    );

    // Both streams may be one terminal, so nobody writes to either.
    let other = Arc::clone(&short);
    let waiting = std::thread::spawn(move || {
        let _ = other.receive(Stream::Stderr, b"oops\n");
        let _ = other.receive(Stream::Stdout, b"one\n");
    });
    assert!(long.receive(Stream::Stderr, b"mine\n").is_continue());
    assert_eq!(err.text(), "long\tmine\n");
    assert!(long.receive(Stream::Stdout, b"\nlast").is_continue());
    waiting.join().unwrap();
    drop((long.finish(), short.finish()));
    let written = "x".repeat(length);
    assert_eq!(
        out.text(),
        format!("long\t{written}\nshort\tone\nlong\tlast\n")
    );
    assert_eq!(err.text(), "long\tmine\nshort\toops\n");
}

#[test]
fn who_is_killed_within_a_long_line_holds_nobody_up() {
    let (out, err) = (SharedBuffer::default(), SharedBuffer::default());
    let live = Arc::new(LiveOutput::new(
        LineTag::None,
        Box::new(out.clone()),
        Box::new(err.clone()),
    ));
    let (long, short) = (sink(&live, 1, "long"), sink(&live, 2, "short"));
    let bytes = vec![b'x'; HELD_LINE_BYTES];
    assert!(long.receive(Stream::Stdout, &bytes).is_continue());
    drop((long.cut_off(), long.finish()));
    assert!(long.receive(Stream::Stdout, &bytes).is_break());
    assert!(short.receive(Stream::Stdout, b"one\n").is_continue());
    assert_eq!(out.text().trim_start_matches('x'), "\none\n");
}
