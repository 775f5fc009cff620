//! The minimum that a program has to do: blocking pipes and `serde_json`.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

#[derive(Serialize, Deserialize)]
pub(crate) struct Request<'a> {
    pub(crate) r#type: &'a str,
    pub(crate) id: &'a str,
    pub(crate) task: &'a str,
    #[serde(borrow)]
    pub(crate) input: &'a RawValue,
    pub(crate) attempt: u32,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Response<'a> {
    pub(crate) r#type: &'a str,
    pub(crate) id: &'a str,
    #[serde(borrow)]
    pub(crate) result: &'a RawValue,
}

/// The environment variable that makes a process the echo worker.
const ECHO: &str = "RATCHET_BENCH_ECHO";

/// Runs the echo worker if this process was started for it.
pub(crate) fn echo_if_asked() -> bool {
    if std::env::var_os(ECHO).is_none() {
        return false;
    }
    // The loop ends when the host closes its end.
    let _ = echo();
    true
}

fn echo() -> io::Result<()> {
    let mut input = BufReader::with_capacity(1 << 16, io::stdin().lock());
    let mut output = io::stdout().lock();
    let (mut line, mut answers) = (String::new(), Vec::new());
    while input.read_line(&mut line)? > 0 {
        let request: Request<'_> = serde_json::from_str(&line)?;
        let response = Response {
            r#type: "response",
            id: request.id,
            result: request.input,
        };
        serde_json::to_writer(&mut answers, &response)?;
        answers.push(b'\n');
        line.clear();
        if !input.buffer().contains(&b'\n') {
            output.write_all(&answers)?;
            output.flush()?;
            answers.clear();
        }
    }
    Ok(())
}

/// Returns the command that starts the echo worker.
pub(crate) fn echo_command() -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .env(ECHO, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    Ok(command)
}

/// A host with one thread.
pub(crate) struct Host {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
    chunk: Vec<u8>,
    rest: Vec<u8>,
    next: u64,
}

impl Host {
    pub(crate) fn start() -> io::Result<Self> {
        let mut child = echo_command()?.spawn()?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        Ok(Self {
            child,
            stdin,
            stdout,
            chunk: vec![0; 1 << 16],
            rest: Vec::new(),
            next: 0,
        })
    }

    /// Sends this many requests and waits for their responses, with a limit on the number of unanswered requests.
    pub(crate) fn exchange(
        &mut self,
        total: u64,
        in_flight: u64,
        input: &RawValue,
    ) -> io::Result<()> {
        let (mut sent, mut answered) = (0, 0);
        let mut requests = Vec::new();
        while answered < total {
            requests.clear();
            while sent < total && sent - answered < in_flight {
                let id = self.next.to_string();
                let request = Request {
                    r#type: "request",
                    id: &id,
                    task: "echo",
                    input,
                    attempt: 1,
                };
                serde_json::to_writer(&mut requests, &request)?;
                requests.push(b'\n');
                self.next += 1;
                sent += 1;
            }
            self.stdin.write_all(&requests)?;
            answered += self.read_answers()?;
        }
        Ok(())
    }

    /// Reads once, and counts the complete responses.
    fn read_answers(&mut self) -> io::Result<u64> {
        let bytes = self.stdout.read(&mut self.chunk)?;
        self.rest.extend_from_slice(&self.chunk[..bytes]);
        let (mut start, mut answers) = (0, 0);
        while let Some(length) = memchr::memchr(b'\n', &self.rest[start..]) {
            let response: Response<'_> = serde_json::from_slice(&self.rest[start..start + length])?;
            std::hint::black_box((response.id.parse::<u64>().ok(), response.result.to_owned()));
            start += length + 1;
            answers += 1;
        }
        self.rest.drain(..start);
        if bytes == 0 {
            Err(io::ErrorKind::UnexpectedEof.into())
        } else {
            Ok(answers)
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // The child ends when its stdin is closed. It is killed in case it does not end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
