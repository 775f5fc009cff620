//! An agent starts, carries and ends processes for another host, and leaves nobody behind whatever dies.
#![cfg(target_os = "linux")]

use std::future::poll_fn;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use ratchet_runtime::process::{
    CommandLimits, CommandRunner, Ending, Environment, Exit, ProcessConfig, ProcessError,
    ProcessManager,
};
use ratchet_runtime::remote::{RemoteConfig, RemoteError, RemoteProcesses};
use ratchet_tests::{
    all_gone, children_of, eventually, eventually_async, is_alive, process_state, read_text, shell,
    start_announced, within,
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

/// Makes a config by which a lost host is known to be lost at once.
fn quick() -> RemoteConfig {
    RemoteConfig {
        lost_after: Duration::from_secs(3),
        fence_after: Duration::from_secs(2),
        kill_margin: Duration::from_millis(100),
        ..RemoteConfig::new("web1")
    }
}

/// Makes a config by which no host is lost because this machine is busy.
fn patient() -> RemoteConfig {
    RemoteConfig::new("web1")
}

fn agent() -> Child {
    Command::new(env!("CARGO_BIN_EXE_agent"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts")
}

async fn connect(agent: &mut Child, config: RemoteConfig) -> RemoteProcesses {
    let input = agent.stdout.take().expect("it is piped");
    let output = agent.stdin.take().expect("it is piped");
    let connected = within(RemoteProcesses::connect(input, output, config)).await;
    connected.expect("it answers")
}

fn signal(agent: &Child, signal: Signal) {
    let id = agent.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    kill_process(id.expect("it lives"), signal).expect("it is ours");
}

/// A process that ignores what asks it to end, with a child that holds no pipe.
const STUBBORN: &str = "trap '' TERM HUP PIPE; sleep 1000 >/dev/null 2>&1 </dev/null & echo $$ $!; while :; do wait; done";

#[tokio::test]
async fn a_process_of_an_agent_gets_its_input_and_gives_its_output_and_its_exit() {
    let mut agent = agent();
    let processes = connect(&mut agent, patient()).await;
    assert_eq!(Some(processes.agent().process), agent.id());
    let config = shell("read line; echo out $line; echo err >&2; cat; exit 3");
    let mut process = within(processes.spawn_process(&config))
        .await
        .expect("it starts");
    assert_eq!(processes.list_processes().await.expect("it lives").len(), 1);
    let (mut stdin, stdout, stderr) = process.take_pipes().expect("they are there");
    let large = "x".repeat(3 << 20);
    let write = async {
        stdin.write_all(b"hello\n").await.expect("it reads");
        stdin.write_all(large.as_bytes()).await.expect("it reads");
        drop(stdin);
    };
    let ((), out, err) = tokio::join!(write, read_text(stdout), read_text(stderr));
    assert_eq!(out.len(), "out hello\n".len() + large.len());
    assert_eq!(err, "err\n");
    let ended = within(process.exit().wait()).await;
    assert_eq!(
        (ended.exit, ended.ending),
        (Exit::Code(3), Ending::ByItself)
    );
    assert!(
        processes
            .list_processes()
            .await
            .expect("it lives")
            .is_empty()
    );
}

#[tokio::test]
async fn a_process_gets_the_environment_of_its_host_and_what_is_declared_and_nothing_else() {
    let mut agent = Command::new(env!("CARGO_BIN_EXE_agent"))
        .env_clear()
        .env("OF_THE_HOST", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let processes = connect(&mut agent, patient()).await;
    let env = Environment::inherited().set("DECLARED", "2");
    let config = ProcessConfig::new("/usr/bin/env").env(env);
    let mut process = within(processes.spawn_process(&config))
        .await
        .expect("it starts");
    let (_, stdout, _) = process.take_pipes().expect("they are there");
    let mut lines: Vec<String> = read_text(stdout).await.lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["DECLARED=2", "OF_THE_HOST=1"]);
}

#[tokio::test]
async fn a_flood_that_nobody_reads_holds_up_no_other_process() {
    let mut agent = agent();
    let processes = connect(&mut agent, patient()).await;
    let mut floods = Vec::new();
    for script in ["yes", "yes >&2", "yes & yes >&2"] {
        let flood = within(processes.spawn_process(&shell(script))).await;
        floods.push(flood.expect("it starts"));
    }
    for _ in 0..20 {
        let hello = shell("echo hello; echo there >&2");
        let mut process = within(processes.spawn_process(&hello))
            .await
            .expect("it starts");
        let (_, stdout, stderr) = process.take_pipes().expect("they are there");
        assert_eq!(
            (read_text(stdout).await, read_text(stderr).await),
            ("hello\n".into(), "there\n".into())
        );
        assert!(within(process.exit().wait()).await.exit.is_success());
    }
    // A process whose output nobody reads can be ended all the same.
    for flood in &mut floods {
        processes
            .terminate_process(flood.id(), Duration::ZERO)
            .await
            .expect("it lives");
        within(flood.exit().wait()).await;
    }
}

#[tokio::test]
async fn a_process_whose_output_is_dropped_gets_sigpipe() {
    let mut agent = agent();
    let processes = connect(&mut agent, patient()).await;
    let mut process = within(processes.spawn_process(&shell("exec yes")))
        .await
        .expect("it starts");
    drop(process.take_pipes());
    assert_eq!(within(process.exit().wait()).await.exit, Exit::Signal(13));
}

#[tokio::test]
async fn a_process_is_stopped_continued_and_measured_through_its_agent() {
    let mut agent = agent();
    let processes = connect(&mut agent, patient()).await;
    let (mut process, both) = start_announced(&processes, "sleep 1000 & echo $$ $!; wait").await;
    let all_are = |state| both.iter().all(|id| process_state(*id) == Some(state));
    processes
        .stop_process(process.id())
        .await
        .expect("it lives");
    eventually("both are stopped", || all_are('T')).await;
    processes
        .continue_process(process.id())
        .await
        .expect("it lives");
    eventually("both go on", || all_are('S')).await;
    processes.suspend();
    eventually("both are stopped", || all_are('T')).await;
    processes.resume();
    eventually("both go on", || all_are('S')).await;
    let ids = [process.id()];
    let used = within(processes.measure_processes(&ids))
        .await
        .expect("it says");
    assert!(used[&process.id()].memory > 0, "{used:?}");
    let asked = processes
        .terminate_process(process.id(), Duration::from_secs(1000))
        .await;
    asked.expect("it lives");
    let ended = within(process.exit().wait()).await;
    assert_eq!(
        (ended.exit, ended.ending),
        (Exit::Signal(15), Ending::Asked)
    );
}

#[tokio::test]
async fn a_dropped_start_of_a_process_ends_it() {
    let mut agent = agent();
    let processes = connect(&mut agent, patient()).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("id");
    let script = format!(
        "echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000",
        file.display()
    );
    let config = shell(&script);
    // It is dropped at each of its first steps: before the request has left, on its way, and after it.
    for steps in 1..20 {
        let mut start = Box::pin(processes.spawn_process(&config));
        for _ in 0..steps {
            let polled = poll_fn(|cx| Poll::Ready(start.as_mut().poll(cx))).await;
            if let Poll::Ready(started) = polled {
                let started = started.expect("it starts");
                let asked = processes.terminate_process(started.id(), Duration::ZERO);
                asked.await.expect("it lives");
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(start);
        // It may have been killed before it could write.
        eventually_async("no process lives", async || {
            let living = processes.list_processes().await;
            living.is_ok_and(|living| living.is_empty())
        })
        .await;
    }
    let more = within(processes.spawn_process(&shell("true"))).await;
    more.expect("the connection holds").exit().wait().await;
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    if let Ok(id) = text.trim().parse::<u32>() {
        eventually("it is gone", || !is_alive(id)).await;
    }
}

#[tokio::test]
async fn a_killed_agent_leaves_nobody_and_its_streams_are_cut_not_ended() {
    let mut agent = agent();
    let processes = connect(&mut agent, quick()).await;
    let (mut process, both) = start_announced(&processes, STUBBORN).await;
    let mut other = within(processes.spawn_process(&shell("exec sleep 1000")))
        .await
        .expect("it starts");
    let (_stdin, mut stdout, _stderr) = other.take_pipes().expect("they are there");
    agent.start_kill().expect("it lives");
    all_gone(&both).await;
    let ended = within(process.exit().wait()).await;
    assert_eq!(
        (ended.exit, ended.ending),
        (Exit::Unknown, Ending::HostLost)
    );
    let read = within(stdout.read(&mut [0; 9])).await;
    assert!(read.is_err(), "the stream has not ended: {read:?}");
    let refused = within(processes.spawn_process(&shell("true"))).await;
    let Err(ProcessError::HostLost { host, .. }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(host, "web1");
}

#[tokio::test]
async fn an_agent_whose_connection_ends_leaves_nobody_and_ends() {
    let mut agent = agent();
    let processes = connect(&mut agent, patient()).await;
    let (_process, both) = start_announced(&processes, STUBBORN).await;
    drop(processes);
    all_gone(&both).await;
    assert!(within(agent.wait()).await.expect("it ends").success());
}

#[tokio::test]
async fn what_a_stopped_agent_has_started_is_dead_when_it_counts_as_ended() {
    let mut agent = agent();
    let config = RemoteConfig {
        kill_margin: Duration::from_secs(2),
        ..quick()
    };
    let processes = connect(&mut agent, config).await;
    let (mut process, both) = start_announced(&processes, STUBBORN).await;
    signal(&agent, Signal::STOP);
    let ended = within(process.exit().wait()).await;
    assert_eq!(ended.ending, Ending::HostLost);
    let living: Vec<&u32> = both.iter().filter(|id| is_alive(**id)).collect();
    assert!(living.is_empty(), "{living:?}");
    let ended = within(agent.wait()).await.expect("it is ours");
    assert_eq!(ended.signal(), Some(9), "it could have started more");
}

#[tokio::test]
async fn a_keeper_that_is_killed_is_replaced_and_goes_on_asking_for_time() {
    let mut agent = agent();
    let processes = connect(&mut agent, quick()).await;
    let (mut process, both) = start_announced(&processes, STUBBORN).await;
    let id = agent.id().expect("it lives");
    let keepers = || -> Vec<u32> {
        let children = children_of(id).into_iter();
        children.filter(|child| !both.contains(child)).collect()
    };
    let first = keepers();
    let [keeper] = first[..] else {
        panic!("{first:?}")
    };
    let keeper = Pid::from_raw(keeper.cast_signed()).expect("it has a number");
    kill_process(keeper, Signal::KILL).expect("it is ours");
    eventually("there is another one", || {
        keepers().len() == 1 && keepers() != first
    })
    .await;
    // Longer than any time that the first one was granted.
    let longer = (quick().fence_after * 2).as_secs_f64();
    let witness = shell(&format!("exec sleep {longer}"));
    let witness = within(processes.spawn_process(&witness)).await;
    let witness = within(witness.expect("it starts").exit().wait()).await;
    assert_eq!(witness.ending, Ending::ByItself, "more time is granted");
    assert_eq!(process.exit().ended(), None);
    signal(&agent, Signal::STOP);
    let ended = within(process.exit().wait()).await;
    assert_eq!(ended.ending, Ending::HostLost);
    all_gone(&both).await;
}

/// Counts how often something came. From an agent on which nothing happens only its beats come.
struct Counted<R> {
    reader: R,
    reads: Arc<AtomicUsize>,
}

impl<R: AsyncRead + Unpin> AsyncRead for Counted<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.reader).poll_read(cx, buffer);
        if matches!(polled, Poll::Ready(Ok(()))) {
            self.reads.fetch_add(1, Ordering::SeqCst);
        }
        polled
    }
}

#[tokio::test]
async fn an_agent_ends_all_when_its_dispatcher_is_silent_unless_it_is_suspended() {
    let mut agent = agent();
    let lost_after = Duration::from_secs(1);
    let mut input = agent.stdin.take().expect("it is piped");
    let output = agent.stdout.take().expect("it is piped");
    let (dispatcher, mut line) = tokio::io::duplex(64 * 1024);
    let is_cut = Arc::new(AtomicBool::new(false));
    let cut = Arc::clone(&is_cut);
    // Carries what the dispatcher says. While the line is cut, all is lost, and nothing is closed.
    let carrier = tokio::spawn(async move {
        let mut said = Vec::new();
        while line.read_buf(&mut said).await.is_ok_and(|read| read > 0) {
            if !cut.load(Ordering::SeqCst) && input.write_all(&said).await.is_err() {
                return;
            }
            said.clear();
        }
    });
    let config = RemoteConfig {
        lost_after,
        fence_after: lost_after,
        ..quick()
    };
    let beats = Arc::new(AtomicUsize::new(0));
    let output = Counted {
        reader: output,
        reads: Arc::clone(&beats),
    };
    let processes = within(RemoteProcesses::connect(output, dispatcher, config)).await;
    let processes = processes.expect("it answers");
    let (_process, both) = start_announced(&processes, "sleep 1000 & echo $$ $!; wait").await;
    let all_are = |state| both.iter().all(|id| process_state(*id) == Some(state));
    processes.suspend();
    eventually("both are stopped", || all_are('T')).await;
    is_cut.store(true, Ordering::SeqCst);
    // It beats five times in the time after which a silent dispatcher is lost.
    let before = beats.load(Ordering::SeqCst);
    eventually("the agent goes on for three times as long", || {
        beats.load(Ordering::SeqCst) >= before + 15
    })
    .await;
    assert_eq!(agent.try_wait().expect("it is ours"), None);
    is_cut.store(false, Ordering::SeqCst);
    processes.resume();
    eventually("both go on", || all_are('S')).await;
    is_cut.store(true, Ordering::SeqCst);
    all_gone(&both).await;
    let ended = within(agent.wait()).await.expect("it ends");
    assert!(!ended.success(), "silence is an error");
    carrier.abort();
}

#[tokio::test]
async fn a_busy_agent_is_not_lost() {
    let mut agent = agent();
    let lost_after = Duration::from_secs(1);
    let config = RemoteConfig {
        lost_after,
        ..quick()
    };
    let processes = connect(&mut agent, config).await;
    let slow = shell("sleep 2.5; echo late");
    let mut process = within(processes.spawn_process(&slow))
        .await
        .expect("it starts");
    let (_stdin, stdout, _stderr) = process.take_pipes().expect("they are there");
    assert_eq!(
        read_text(stdout).await,
        "late\n",
        "beats show that both live"
    );
}

#[tokio::test]
async fn more_processes_than_may_run_wait_for_their_turn() {
    let mut agent = agent();
    let config = RemoteConfig {
        max_processes: 2,
        ..patient()
    };
    let processes = connect(&mut agent, config).await;
    let (mut first, _) = start_announced(&processes, "echo 1; exec sleep 1000").await;
    let (_second, _) = start_announced(&processes, "echo 2; exec sleep 1000").await;
    let third = shell("true");
    let third = processes.spawn_process(&third);
    tokio::pin!(third);
    // The agent answers in order, so it has the request for the third when it answers the question that follows it.
    let asked = async {
        for _ in 0..10 {
            let used = processes.measure_processes(&[first.id()]).await;
            assert_eq!(used.expect("it says").len(), 1);
        }
    };
    tokio::select! {
        biased;
        started = &mut third => panic!("it has started: {started:?}"),
        () = within(asked) => {}
    }
    let asked = processes
        .terminate_process(first.id(), Duration::ZERO)
        .await;
    asked.expect("it lives");
    within(first.exit().wait()).await;
    within(third).await.expect("it starts");
}

#[tokio::test]
async fn thousands_of_commands_go_through_one_connection() {
    let mut agent = agent();
    let processes = connect(&mut agent, patient()).await;
    let runner = CommandRunner::through(Arc::new(processes));
    let hello = shell("echo hello; echo there >&2");
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (runner, hello) = (runner.clone(), hello.clone());
        tasks.spawn(async move {
            let never = CancellationToken::new();
            for _ in 0..600 {
                let output = runner.run(&hello, CommandLimits::default(), &never).await;
                let output = output.expect("it starts");
                assert!(output.is_success(), "{output:?}");
                assert_eq!(output.stdout.to_text(), "hello\n");
                assert_eq!(output.stderr.to_text(), "there\n");
            }
        });
    }
    while let Some(done) = within(tasks.join_next()).await {
        done.expect("all succeed");
    }
}

#[tokio::test]
async fn what_is_no_agent_is_refused_with_what_it_said() {
    let mut wrong = Command::new("sh")
        .args(["-c", "echo 'bash: ratchet: command not found'; read line"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let input = wrong.stdout.take().expect("it is piped");
    drop(wrong.stdin.take());
    let refused = within(RemoteProcesses::connect(input, tokio::io::sink(), quick())).await;
    let Err(RemoteError::NoHello(said)) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(said, "bash: ratchet: command not found");
}
