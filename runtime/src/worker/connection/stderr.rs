//! A worker's stderr: it is always read, its end is kept for failures, and its lines go to the log.

use std::task::{Context, Waker};

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::ids::WorkerName;
use crate::os::OutputExcerpt;
use crate::os::Tail;

/// How much one read takes: as much as a pipe holds.
const READ_BYTES: usize = 64 * 1024;

/// How much of one line is logged.
const LINE_BYTES: usize = 4 * 1024;

/// The reading end of a worker's stderr.
type Pipe = Box<dyn AsyncRead + Send + Unpin>;

/// The stderr of one worker.
pub(super) struct Stderr {
    /// The pipe; `None` once it has ended.
    pipe: Option<Pipe>,
    /// The buffer of the last read, kept so that its memory is reused.
    chunk: Vec<u8>,
    /// The last output, which is attached to the failure of a job.
    tail: Tail,
    /// The beginning of a line that has not ended yet.
    line: Vec<u8>,
}

impl Stderr {
    /// Makes a reader that keeps this many of the last bytes of a pipe.
    pub(super) fn new(pipe: Pipe, kept_bytes: usize) -> Self {
        Self {
            pipe: Some(pipe),
            chunk: Vec::new(),
            tail: Tail::new(kept_bytes),
            line: Vec::new(),
        }
    }

    /// Whether the pipe may still deliver data.
    pub(super) fn is_open(&self) -> bool {
        self.pipe.is_some()
    }

    /// Reads once; cancel safe.
    pub(super) async fn read(&mut self) {
        let Some(pipe) = &mut self.pipe else { return };
        if self.chunk.capacity() == 0 {
            self.chunk.reserve_exact(READ_BYTES);
        }
        self.chunk.clear();
        match pipe.read_buf(&mut self.chunk).await {
            Ok(1..) => self.tail.push(&self.chunk),
            // A pipe that cannot be read is treated like one that has ended.
            Ok(0) | Err(_) => self.pipe = None,
        }
    }

    /// Reads once if that is possible without waiting. Returns whether it has read.
    pub(super) fn read_now(&mut self) -> bool {
        if !self.is_open() {
            return false;
        }
        let mut read = std::pin::pin!(self.read());
        let mut nobody = Context::from_waker(Waker::noop());
        read.as_mut().poll(&mut nobody).is_ready()
    }

    /// Logs the lines that were read last.
    pub(super) fn stream(&mut self, worker: &WorkerName, request: Option<u64>) {
        if tracing::enabled!(target: "ratchet::stderr", tracing::Level::INFO) {
            for line in self.lines() {
                tracing::info!(target: "ratchet::stderr", %worker, request, "{line}");
            }
        }
    }

    /// Closes the pipe, even if a descendant of the worker still holds it, and logs the last line.
    pub(super) fn finish(&mut self, worker: &WorkerName) {
        self.pipe = None;
        self.chunk.clear();
        self.stream(worker, None);
    }

    /// Returns the lines that were completed by the last read. At the end of the pipe the last line needs no newline.
    fn lines(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut end = |line: &mut Vec<u8>| {
            lines.push(String::from_utf8_lossy(line).into_owned());
            line.clear();
        };
        for byte in &self.chunk {
            match byte {
                b'\n' => end(&mut self.line),
                byte if self.line.len() < LINE_BYTES => self.line.push(*byte),
                _ => {}
            }
        }
        if self.pipe.is_none() && !self.line.is_empty() {
            end(&mut self.line);
        }
        lines
    }

    /// Returns the end of the output, and how much was dropped before it.
    pub(super) fn tail(&self) -> OutputExcerpt {
        self.tail.to_excerpt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printing(text: &'static str) -> Stderr {
        Stderr::new(Box::new(text.as_bytes()), 1024)
    }

    async fn read_all(stderr: &mut Stderr) -> Vec<String> {
        let mut lines = Vec::new();
        while stderr.is_open() {
            stderr.read().await;
            lines.extend(stderr.lines());
        }
        lines
    }

    #[tokio::test]
    async fn a_last_line_without_a_newline_is_read_like_any_other() {
        for text in ["one\n\ntwo", "one\n\ntwo\n"] {
            assert_eq!(read_all(&mut printing(text)).await, ["one", "", "two"]);
        }
    }

    #[tokio::test]
    async fn an_unfinished_line_is_given_out_when_the_worker_has_ended_although_the_pipe_is_open() {
        let mut stderr = printing("cut");
        stderr.read().await;
        assert!(stderr.lines().is_empty() && stderr.is_open());
        stderr.pipe = None;
        stderr.chunk.clear();
        assert_eq!(stderr.lines(), ["cut"]);
        assert!(stderr.lines().is_empty(), "it is told once");
    }
}
