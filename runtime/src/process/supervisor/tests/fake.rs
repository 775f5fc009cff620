//! A process manager whose processes are pipes in memory, played by the test.

use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use ratchet_ipc::{
    Capability, Decoded, Dialect, Event, Hello, Incoming, IpcError, IpcMessage, IpcTransport, Log,
    LogLevel, Native, OverlongLine, Payload, ProtocolVersion, Request, Response, Started,
    StdioTransport, TaskError,
};
use tokio::io::{AsyncRead, DuplexStream, ReadBuf, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::job::Job;
use crate::os::{
    Ended, Ending, Exit, ExitNotice, ExitWatch, MockProcessManager, Pipes, ProcessConfig,
    ProcessError, ProcessHandle, ProcessId,
};
use crate::process::{PoolConfig, ProcessPool};
use crate::worker::Reply;

/// A worker whose end of the pipes is played by the test.
pub(super) struct FakeWorker {
    pub(super) transport: StdioTransport<ReadHalf<DuplexStream>, WriteHalf<DuplexStream>>,
    exit: Exits,
    id: u64,
    /// Resolves when the host ends the process.
    ended: oneshot::Receiver<()>,
    /// The writing end of stderr. Dropping it ends stderr.
    _stderr: DuplexStream,
}

/// Makes a process manager whose processes have a stdout that panics once they were sent something, and the receiver of
/// the ids of the processes that it was asked to end.
pub(super) fn panicking_manager() -> (Arc<MockProcessManager>, mpsc::UnboundedReceiver<ProcessId>) {
    let (tell_ended, ended) = mpsc::unbounded_channel();
    let mut manager = MockProcessManager::new();
    let mut next = 0;
    manager.expect_spawn_process().returning(move |_| {
        next += 1;
        let (stdin, sent) = tokio::io::duplex(1 << 10);
        let pipes: Pipes = (
            Box::new(stdin),
            Box::new(PanickingStdout(sent)),
            Box::new(tokio::io::empty()),
        );
        let (notice, exit) = ExitWatch::channel();
        // The process lives for as long as the test.
        std::mem::forget(notice);
        Ok(ProcessHandle::new(ProcessId::new(next), pipes, exit))
    });
    manager
        .expect_terminate_process()
        .returning(move |id, _| tell_ended.send(id).map_err(|_| ProcessError::Ended));
    (Arc::new(manager), ended)
}

struct PanickingStdout(DuplexStream);

impl AsyncRead for PanickingStdout {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let sent = Pin::new(&mut self.0).poll_read(cx, buffer);
        assert!(sent.is_pending(), "the pipe is upset");
        Poll::Pending
    }
}

type Exits = Arc<Mutex<BTreeMap<u64, (ExitNotice, oneshot::Sender<()>)>>>;

/// Makes a process manager whose processes are pipes in memory, and the receiver of the workers that it starts.
pub(super) fn manager() -> (Arc<MockProcessManager>, mpsc::UnboundedReceiver<FakeWorker>) {
    manager_with(|_| {})
}

/// Makes such a manager, to which the test adds expectations.
pub(super) fn manager_with(
    expect: impl FnOnce(&mut MockProcessManager),
) -> (Arc<MockProcessManager>, mpsc::UnboundedReceiver<FakeWorker>) {
    let (started, workers) = mpsc::unbounded_channel();
    let exits = Exits::default();
    let mut manager = MockProcessManager::new();
    expect(&mut manager);
    let known = Arc::clone(&exits);
    let mut next = 0;
    manager.expect_spawn_process().returning(move |_| {
        next += 1;
        let (stdio, host) = tokio::io::duplex(1 << 16);
        let (stderr, host_stderr) = tokio::io::duplex(1 << 10);
        let (read, write) = tokio::io::split(stdio);
        let (host_read, host_write) = tokio::io::split(host);
        let (notice, exit) = ExitWatch::channel();
        let (tell_ended, ended) = oneshot::channel();
        known.lock().unwrap().insert(next, (notice, tell_ended));
        let worker = FakeWorker {
            transport: StdioTransport::with(read, write, Spoken, ratchet_ipc::Limits::default()),
            exit: Arc::clone(&known),
            id: next,
            ended,
            _stderr: stderr,
        };
        started.send(worker).map_err(|_| ProcessError::Ended)?;
        let pipes = (
            Box::new(host_write) as Box<dyn tokio::io::AsyncWrite + Send + Unpin>,
            Box::new(host_read) as Box<dyn AsyncRead + Send + Unpin>,
            Box::new(host_stderr) as Box<dyn AsyncRead + Send + Unpin>,
        );
        let handle = ProcessHandle::new(ProcessId::new(next), pipes, exit);
        Ok(handle.with_system_id(u32::try_from(next).unwrap()))
    });
    manager
        .expect_terminate_process()
        .returning(move |id, grace| {
            let known = Arc::clone(&exits);
            let number = (1..100)
                .find(|number| ProcessId::new(*number) == id)
                .unwrap();
            tokio::spawn(async move {
                tokio::time::sleep(grace).await;
                end(&known, number, Exit::Signal(9), Ending::Killed);
            });
            Ok(())
        });
    (Arc::new(manager), workers)
}

fn end(exits: &Exits, number: u64, exit: Exit, ending: Ending) {
    if let Some((notice, _ended)) = exits.lock().unwrap().remove(&number) {
        notice.send(Ended {
            exit,
            ending,
            left_behind: false,
            survivors: Vec::new(),
        });
    }
}

/// The native dialect, except that a log message is printed as a plain line.
struct Spoken;

impl Dialect for Spoken {
    fn encode(&self, message: &IpcMessage, line: &mut Vec<u8>) -> Result<(), IpcError> {
        let IpcMessage::Event(Event::Log(log)) = message else {
            return Native.encode(message, line);
        };
        line.extend_from_slice(log.message.as_bytes());
        line.push(b'\n');
        Ok(())
    }

    fn decode(&mut self, line: &[u8], decoded: &mut Decoded<'_>) {
        Native.decode(line, decoded);
    }

    fn decode_overlong(&mut self, line: &OverlongLine<'_>, decoded: &mut Decoded<'_>) {
        Native.decode_overlong(line, decoded);
    }
}

impl FakeWorker {
    /// Prints a line that need not be a message.
    pub(super) async fn print(&mut self, line: &str) {
        let log = Log {
            id: None,
            level: LogLevel::Info,
            message: line.to_owned(),
        };
        let printed = self.transport.send(Event::Log(log).into()).await;
        printed.unwrap();
    }

    /// Sends a hello with these capabilities.
    pub(super) async fn hello(&mut self, capabilities: &[Capability]) {
        let hello = Hello {
            capabilities: capabilities.iter().cloned().collect(),
            ..Hello::new([ProtocolVersion::V1])
        };
        self.transport
            .send(Event::Hello(hello).into())
            .await
            .unwrap();
    }

    /// Sends a hello of a worker that works on this many requests at once.
    pub(super) async fn hello_for(&mut self, concurrency: u32) {
        let hello = Hello {
            concurrency: NonZeroU32::new(concurrency).unwrap(),
            ..Hello::new([ProtocolVersion::V1])
        };
        self.transport
            .send(Event::Hello(hello).into())
            .await
            .unwrap();
    }

    /// Says that the worker has started a request.
    pub(super) async fn start(&mut self, request: &Request) {
        let started = Started {
            id: request.id.clone(),
        };
        self.transport
            .send(Event::Started(started).into())
            .await
            .unwrap();
    }

    /// Reads the next item that the filter is sent; `None` once the host has closed its end.
    pub(super) async fn line(&mut self) -> Option<String> {
        match self.transport.receive().await.unwrap() {
            Incoming::Stray(line) => Some(line.text),
            Incoming::End => None,
            other => panic!("{other:?}"),
        }
    }

    /// Reads the next message of the host; `None` once it has closed its end.
    pub(super) async fn heard(&mut self) -> Option<IpcMessage> {
        match self.transport.receive().await.unwrap() {
            Incoming::Message(message) => Some(message),
            Incoming::End => None,
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn request(&mut self) -> Request {
        loop {
            match self.heard().await {
                Some(IpcMessage::Request(request)) => return request,
                Some(_) => {}
                None => panic!("the host has closed its end"),
            }
        }
    }

    pub(super) async fn answer(&mut self, request: &Request) {
        self.say(request, Ok(request.input.clone())).await;
    }

    pub(super) async fn say(&mut self, request: &Request, outcome: Result<Payload, TaskError>) {
        let id = request.id.clone();
        self.transport
            .send(Response { id, outcome }.into())
            .await
            .unwrap();
    }

    /// Ends the process of the worker with this exit status.
    pub(super) fn die(self, exit: Exit) {
        end(&self.exit, self.id, exit, Ending::ByItself);
    }

    /// Does nothing until the worker is killed, and then closes its pipes.
    pub(super) async fn hang(self) {
        let _ = self.ended.await;
    }

    /// Answers each request until the host closes its end, then ends.
    pub(super) async fn serve(mut self) {
        while let Some(message) = self.heard().await {
            if let IpcMessage::Request(request) = message {
                self.answer(&request).await;
            }
        }
        self.die(Exit::Code(0));
    }
}

/// Makes all workers that are started send their hello and answer each request.
pub(super) fn serve_all(mut workers: mpsc::UnboundedReceiver<FakeWorker>) {
    tokio::spawn(async move {
        while let Some(mut worker) = workers.recv().await {
            tokio::spawn(async move {
                worker.hello(&[Capability::Cancel]).await;
                worker.serve().await;
            });
        }
    });
}

pub(super) fn config() -> PoolConfig {
    PoolConfig {
        ping: None,
        ..PoolConfig::new("echo", ProcessConfig::new("echo-worker"))
    }
}

pub(super) fn job(id: &str) -> Job {
    Job::task(id, "echo", Payload::from_text(id))
}

/// Runs a job on the pool in the background.
pub(super) fn submit(pool: &ProcessPool, job: Job) -> JoinHandle<Reply> {
    let pool = pool.clone();
    tokio::spawn(async move { pool.run(job).await })
}

/// Lets this much of the paused time pass, with all that happens in it.
pub(super) async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}
