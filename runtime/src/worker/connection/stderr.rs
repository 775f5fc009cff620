//! A worker's stderr: always read, its end kept, its lines passed on to the log.

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::process::Tail;
use crate::worker::WorkerName;

/// How much one read takes: what a pipe holds.
const READ_BYTES: usize = 64 * 1024;

/// How much of one line is logged.
const LINE_BYTES: usize = 4 * 1024;

type Pipe = Box<dyn AsyncRead + Send + Unpin>;

pub(super) struct Stderr {
    pipe: Option<Pipe>,
    chunk: Vec<u8>,
    tail: Tail,
    /// The line that has begun.
    line: Vec<u8>,
}

impl Stderr {
    pub(super) fn new(pipe: Pipe, kept_bytes: usize) -> Self {
        Self {
            pipe: Some(pipe),
            chunk: Vec::new(),
            tail: Tail::new(kept_bytes),
            line: Vec::new(),
        }
    }

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
            // A pipe that cannot be read has no more to say than one that has ended.
            Ok(0) | Err(_) => self.pipe = None,
        }
    }

    pub(super) async fn read_all(&mut self, worker: &WorkerName, request: Option<u64>) {
        while self.is_open() {
            self.read().await;
            self.stream(worker, request);
        }
    }

    /// Passes on to the log what was read last.
    pub(super) fn stream(&mut self, worker: &WorkerName, request: Option<u64>) {
        if tracing::enabled!(target: "ratchet::stderr", tracing::Level::INFO) {
            for byte in &self.chunk {
                match byte {
                    b'\n' => {
                        let line = String::from_utf8_lossy(&self.line);
                        tracing::info!(target: "ratchet::stderr", %worker, request, "{line}");
                        self.line.clear();
                    }
                    byte if self.line.len() < LINE_BYTES => self.line.push(*byte),
                    _ => {}
                }
            }
        }
    }

    /// Its last lines, and how much was dropped before them.
    pub(super) fn tail(&self) -> String {
        let text = self.tail.to_text();
        match self.tail.dropped() {
            0 => text,
            dropped => format!("[{dropped} bytes before this were dropped]\n{text}"),
        }
    }
}
