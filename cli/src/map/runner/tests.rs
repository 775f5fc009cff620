use ratchet_runtime::Job;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::seen::Seen;

async fn run(runner: &MapRunner, script: &str) -> (Result<Payload, Failure>, Printed) {
    let id = JobKey::from("1");
    runner.shelf.expect(id.clone(), 1, Item::from("it"));
    let config = ProcessConfig::new("sh").args(["-c", script]);
    let attempt = Attempt {
        job: Arc::new(Job::command(id.clone(), config)),
        number: 1,
    };
    let context = Context::new(1, CancellationToken::new(), |_| {});
    let result = runner.run(attempt, context).await;
    (result, taken(&runner.shelf, &id))
}

fn taken(shelf: &Shelf, id: &JobKey) -> Printed {
    match shelf.take(id) {
        Some(Kept::Printed(printed)) => *printed,
        _ => panic!("nothing was printed"),
    }
}

fn runner(live: Option<Live>) -> MapRunner {
    MapRunner {
        commands: CommandRunner::new(None),
        grace: Duration::from_secs(10),
        shelf: Arc::default(),
        live: live.map(Arc::new),
        keeps: false,
        tells: 8,
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
    assert!(told.as_str().contains("\"dropped\":2999994"), "{told:?}");
    assert_eq!(printed.stdout.len(), 3_000_002);
    assert_eq!(&text(&printed.stdout)[..3], b"a\xff\0");
    assert_eq!(printed.command.len(), 3);
}

#[tokio::test]
async fn a_failure_has_its_exit_and_the_end_of_stderr() {
    let (result, printed) = run(&runner(None), "echo out; echo no such host >&2; exit 3").await;
    let failure = result.unwrap_err();
    assert_eq!(
        (failure.class, failure.code.as_deref()),
        (Class::Exit, Some("exit_3"))
    );
    assert_eq!(failure.stderr.as_deref(), Some("no such host\n"));
    assert_eq!(
        (text(&printed.stdout), printed.exit),
        (b"out\n".to_vec(), Exit::Code(3))
    );
}

#[tokio::test]
async fn what_cannot_be_started_is_a_failure_too() {
    let runner = runner(None);
    runner.shelf.expect("1".into(), 1, Item::from("it"));
    let attempt = Attempt {
        job: Arc::new(Job::command("1", ProcessConfig::new("/no/such/program"))),
        number: 1,
    };
    let context = Context::new(1, CancellationToken::new(), |_| {});
    let failure = runner.run(attempt, context).await.unwrap_err();
    assert_eq!(failure.class, Class::Spawn);
    assert_eq!(taken(&runner.shelf, &"1".into()).exit, Exit::Code(127));
}

#[tokio::test]
async fn live_lines_are_whole_and_tagged() {
    let (out, err) = (Seen::default(), Seen::default());
    let live = Live::new(true, Box::new(out.clone()), Box::new(err.clone()));
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
    let runner = runner(Some(Live::new(
        false,
        Box::new(writer),
        Box::new(Seen::default()),
    )));
    let (result, printed) = run(&runner, "while echo y; do :; done; kill -PIPE $$").await;
    assert!(result.is_err());
    assert_eq!(printed.exit, Exit::Signal(13));
    let broken = runner.live.unwrap().broken().unwrap();
    assert_eq!(broken.kind(), io::ErrorKind::BrokenPipe);
}
