//! Those who ask nonsense, too much, too slowly, or not at all.

use std::io::{BufRead, BufReader as StdBufReader, Write};
use std::os::unix::net::UnixStream as StdStream;

use proptest::prelude::*;
use ratchet_runtime::{Executor, Job, Payload, Run};
use tokio::io::{DuplexStream, duplex};

use super::*;

/// Returns a run of a job that goes on until it is cancelled, and of this many that end at once.
fn run_of(jobs: usize) -> (Run, Served) {
    let executor = Executor::builder().slots(2).build().unwrap();
    let forever = Job::closure("forever", |context| async move {
        context.cancelled().await;
        Ok(Payload::null())
    });
    let quick =
        (0..jobs).map(|number| Job::closure(number.to_string(), |_| async { Ok(Payload::null()) }));
    let run = executor
        .run_list(std::iter::once(forever).chain(quick))
        .unwrap();
    let served = Served {
        run: "1abc".to_owned(),
        handle: run.handle(),
        figures: Arc::default(),
        began: working_now(),
        fit: Box::new(|slots| slots.min(64)),
        record: SteeringRecord::of(Path::new("/nonexistent")),
        pools: Vec::new(),
        adding: None,
    };
    (run, served)
}

/// Ends the run. Returns how many of its jobs have an outcome.
async fn end(mut run: Run) -> usize {
    run.handle().cancel_jobs(["forever".into()]).await.unwrap();
    let mut count = 0;
    while run.next().await.is_some() {
        count += 1;
    }
    count
}

/// Connects to a server in this process.
fn connect(answers: &Arc<Answers>) -> DuplexStream {
    let (ours, theirs) = duplex(1 << 16);
    tokio::spawn(serve_client(theirs, Arc::clone(answers), || false));
    ours
}

/// Asks by a connection of its own.
async fn ask(answers: &Arc<Answers>, question: &str) -> serde_json::Value {
    let mut stream = connect(answers);
    let line = format!("{question}\n");
    stream.write_all(line.as_bytes()).await.unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).await.unwrap();
    serde_json::from_str(&answer).unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().start_paused(true).build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_sent_others_are_answered_and_no_outcome_is_lost(
        pieces in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..300),
                "[{}\\[\\]\",:a-z0-9\n]{0,80}".prop_map(String::into_bytes),
                Just(b"{\"ask\":\"state\"}\n".to_vec()),
                Just(b"{\"ask\":\"output\",\"job\":\"forever\",\"stdout_from\":18446744073709551615}\n".to_vec()),
                Just(b"{\"ask\":\"explain\",\"job\":\"\"}\n".to_vec()),
                Just(b"{\"ask\":\"set\",\"jobs\":3}\n".to_vec()),
            ],
            0..12,
        ),
    ) {
        runtime().block_on(async {
            let (run, served) = run_of(20);
            let answers = Arc::new(Answers::new(served));
            let mut hostile = connect(&answers);
            for piece in &pieces {
                // It may have been thrown out by now.
                let _ = timeout(Duration::from_secs(1), hostile.write_all(piece)).await;
            }
            let state = ask(&answers, "{\"ask\":\"state\"}").await;
            assert_eq!(state["answer"]["run"], "1abc", "{state}");
            drop(hostile);
            assert_eq!(end(run).await, 21);
        });
    }
}

#[test]
fn a_question_that_is_too_long_is_refused_and_its_connection_closed() {
    runtime().block_on(async {
        let (run, served) = run_of(0);
        let answers = Arc::new(Answers::new(served));
        let mut stream = connect(&answers);
        let (chunk, mut sent) = ([b'x'; 4096], 0);
        while sent <= LONGEST_QUESTION {
            if stream.write_all(&chunk).await.is_err() {
                break;
            }
            sent += chunk.len();
        }
        let mut reader = BufReader::new(stream);
        let mut answer = String::new();
        reader.read_line(&mut answer).await.unwrap();
        assert!(answer.contains("more than 16777216 bytes"), "{answer}");
        answer.clear();
        assert_eq!(reader.read_line(&mut answer).await.unwrap(), 0);
        assert_eq!(end(run).await, 1);
    });
}

#[test]
fn a_question_whose_client_has_given_up_is_dropped() {
    runtime().block_on(async {
        let (run, served) = run_of(0);
        let answers = Arc::new(Answers::new(served));
        let ask = async |gives_up: bool| {
            let (mut client, theirs) = UnixStream::pair().unwrap();
            client.write_all(b"{\"ask\":\"pause\"}\n").await.unwrap();
            if gives_up {
                drop(client);
                serve_client(theirs, Arc::clone(&answers), || true).await;
                return String::new();
            }
            // A client that has nothing more to say still takes the answer.
            client.shutdown().await.unwrap();
            let is_gone = departure_of(&theirs);
            assert!(!is_gone());
            serve_client(theirs, Arc::clone(&answers), is_gone).await;
            let mut answer = String::new();
            BufReader::new(client).read_line(&mut answer).await.unwrap();
            answer
        };
        ask(true).await;
        // The answer says whether the question has changed anything, so the run was not paused before.
        assert!(ask(false).await.contains("true"));
        let (client, theirs) = UnixStream::pair().unwrap();
        let is_gone = departure_of(&theirs);
        assert!(!is_gone());
        drop(client);
        assert!(is_gone());
        assert_eq!(end(run).await, 1);
    });
}

#[test]
fn whoever_reads_nothing_or_says_nothing_is_not_waited_for() {
    runtime().block_on(async {
        let (run, served) = run_of(0);
        let answers = Arc::new(Answers::new(served));
        let begin = tokio::time::Instant::now();
        let (silent, theirs) = duplex(64);
        serve_client(theirs, Arc::clone(&answers), || false).await;
        assert_eq!(begin.elapsed(), IDLE_TIMEOUT);
        drop(silent);
        let begin = tokio::time::Instant::now();
        let (mut deaf, theirs) = duplex(64);
        deaf.write_all(b"{\"ask\":\"state\"}\n").await.unwrap();
        serve_client(theirs, Arc::clone(&answers), || false).await;
        assert!(begin.elapsed() < WRITE_TIMEOUT * 2);
        assert_eq!(end(run).await, 1);
    });
}

#[test]
fn a_flood_of_questions_leaves_the_loop_its_time() {
    runtime().block_on(async {
        let (run, served) = run_of(1000);
        let answers = Arc::new(Answers::new(served));
        let floods: Vec<DuplexStream> = (0..CLIENTS).map(|_| connect(&answers)).collect();
        let mut writers = JoinSet::new();
        for mut flood in floods {
            writers.spawn(async move {
                for _ in 0..200 {
                    let question = b"{\"ask\":\"explain\",\"job\":\"nobody\"}\n";
                    if flood.write_all(question).await.is_err() {
                        return;
                    }
                }
                let mut answer = String::new();
                let mut reader = BufReader::new(flood);
                while reader
                    .read_line(&mut answer)
                    .await
                    .is_ok_and(|read| read > 0)
                {
                    answer.clear();
                }
            });
        }
        assert_eq!(end(run).await, 1001);
        writers.abort_all();
    });
}

#[tokio::test]
async fn only_so_many_ask_at_once_and_the_others_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let (run, served) = run_of(0);
    let socket = LiveServer::start(folder.path(), served).unwrap();
    let connect = || {
        let named = std::fs::read_to_string(folder.path().join("socket")).unwrap();
        StdBufReader::new(StdStream::connect(named).unwrap())
    };
    let say = |stream: &mut StdBufReader<StdStream>| {
        let _ = stream.get_mut().write_all(b"{\"ask\":\"sing\"}\n");
        let mut answer = String::new();
        stream.read_line(&mut answer).unwrap();
        answer
    };
    let mut first: Vec<_> = (0..CLIENTS).map(|_| connect()).collect();
    for stream in &mut first {
        assert!(say(stream).contains("this is not a question of the protocol"));
    }
    let mut late = connect();
    let mut refusal = String::new();
    late.read_line(&mut refusal).unwrap();
    assert!(
        refusal.contains("this run already has 16 clients"),
        "{refusal}"
    );
    drop(socket);
    assert_eq!(end(run).await, 1);
}

#[test]
fn a_limit_stays_what_it_is_and_changes_only_what_is_said() {
    let max = |max| LimitChange::Max(std::num::NonZeroU32::new(max).unwrap());
    let rate = |burst| LimitChange::Rate {
        rate: "5/s".parse().unwrap(),
        burst: std::num::NonZeroU32::new(burst),
    };
    let units = Limit::max(2).unwrap();
    let starts = Limit::rate("1/s".parse().unwrap(), 4).unwrap();
    assert_eq!(changed("db", units, max(3)), Ok(Limit::max(3).unwrap()));
    let told = |limit: Result<Limit, Refusal>| limit.unwrap().to_string();
    assert_eq!(told(changed("api", starts, rate(0))), "5/s with burst 4");
    assert_eq!(told(changed("api", starts, rate(2))), "5/s with burst 2");
    let refused = changed("db", units, rate(0)).unwrap_err();
    assert!(
        refused.message.contains("is a number of units"),
        "{refused:?}"
    );
    assert!(changed("api", starts, max(3)).is_err());
}
