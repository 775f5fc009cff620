//! A real worker process that a test talks to.

use std::process::{ExitStatus, Stdio};

use ratchet_ipc::{
    Event, Incoming, IpcError, IpcMessage, IpcTransport, Payload, Request, Response,
    StdioTransport, TaskError,
};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::signals::default_signals;
use crate::within;

/// A worker process, with the host's end of its pipes.
pub struct WorkerProcess {
    child: Child,
    transport: StdioTransport<ChildStdout, ChildStdin>,
}

impl WorkerProcess {
    /// Starts a worker.
    pub fn start(program: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        default_signals(command.as_std_mut());
        let mut child = command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{program} does not start: {error}"));
        let pipes = child.stdin.take().zip(child.stdout.take());
        let Some((stdin, stdout)) = pipes else {
            unreachable!("both are piped")
        };
        Self {
            child,
            transport: StdioTransport::new(stdout, stdin),
        }
    }

    /// Sends a message.
    pub async fn send(&mut self, message: impl Into<IpcMessage>) {
        if let Err(error) = self.transport.send(message.into()).await {
            panic!("the worker does not take it: {error}");
        }
    }

    /// Sends a request for a task.
    pub async fn ask(&mut self, id: u64, task: &str, input: &str) {
        let input = Payload::from_json(input)
            .unwrap_or_else(|error| panic!("{input} is not JSON: {error}"));
        self.send(Request::new(id, task, input)).await;
    }

    /// Waits for the next message of the worker.
    pub async fn next(&mut self) -> Incoming {
        let next: Result<Incoming, IpcError> = within(self.transport.receive()).await;
        next.unwrap_or_else(|error| panic!("the worker cannot be heard: {error}"))
    }

    /// Waits for an event.
    pub async fn event(&mut self) -> Event {
        match self.next().await {
            Incoming::Message(IpcMessage::Event(event)) => event,
            other => panic!("not an event: {other:?}"),
        }
    }

    /// Waits for a response, and returns the id of its request with the result.
    pub async fn reply(&mut self) -> (u64, Result<String, TaskError>) {
        match self.next().await {
            Incoming::Message(IpcMessage::Response(Response { id, outcome })) => (
                id.as_counter()
                    .unwrap_or_else(|| panic!("not an id of ours: {id}")),
                outcome.map(|result| result.to_string()),
            ),
            other => panic!("not a response: {other:?}"),
        }
    }

    /// Closes the worker's stdin, waits for its end, and returns its exit status and all of its stderr.
    pub async fn end(mut self) -> (ExitStatus, String) {
        if let Err(error) = self.transport.close().await {
            panic!("the worker's stdin does not close: {error}");
        }
        let mut stderr = self.child.stderr.take();
        let read_stderr = async {
            let mut text = String::new();
            if let Some(stderr) = &mut stderr
                && let Err(error) = stderr.read_to_string(&mut text).await
            {
                panic!("stderr cannot be read: {error}");
            }
            text
        };
        let (last, stderr, status) = within(async {
            tokio::join!(self.transport.receive(), read_stderr, self.child.wait())
        })
        .await;
        assert!(
            matches!(last, Ok(Incoming::End)),
            "said after its end: {last:?}"
        );
        (
            status.unwrap_or_else(|error| panic!("no exit status: {error}")),
            stderr,
        )
    }
}
