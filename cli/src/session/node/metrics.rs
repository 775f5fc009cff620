//! Figures of a node for Prometheus, over HTTP.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use ratchet_queue::Engine;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::performer::NodeCounts;
use super::runs::NodeRuns;
use crate::error::CliError;

/// How long a scraper may take to ask and to read, and the queue to say how many jobs it has.
const LIMIT: Duration = Duration::from_secs(5);

/// How many bytes of a request are read. Nothing of it matters but its end.
const LONGEST_REQUEST: usize = 8 << 10;

/// The pause after a connection that could not be accepted, as when there are no descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// What the figures are made of.
pub(super) struct NodeFigures {
    pub(super) name: String,
    pub(super) slots: u32,
    pub(super) counts: Arc<NodeCounts>,
    pub(super) runs: Arc<NodeRuns>,
    pub(super) engine: Arc<dyn Engine>,
}

/// Serves the figures at an address, until the process ends.
pub(super) async fn serve(address: &str, figures: NodeFigures) -> Result<(), CliError> {
    let listener = TcpListener::bind(address).await.map_err(|error| {
        CliError::usage(format!("--metrics {address}: nothing can be served there")).because(error)
    })?;
    let figures = Arc::new(figures);
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let figures = Arc::clone(&figures);
                    tokio::spawn(async move {
                        // A scraper that is gone or too slow asks again.
                        let _ = timeout(LIMIT * 2, answer(stream, &figures)).await;
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection for metrics is not accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    });
    Ok(())
}

/// Reads a request to its end, and answers it with all figures.
async fn answer(mut stream: TcpStream, figures: &NodeFigures) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut chunk = [0; 1024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < LONGEST_REQUEST {
        match stream.read(&mut chunk).await? {
            0 => return Ok(()),
            bytes => request.extend_from_slice(&chunk[..bytes]),
        }
    }
    let body = figures.text().await;
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

impl NodeFigures {
    /// Writes all figures. Those of the queue are left out while it does not answer.
    async fn text(&self) -> String {
        let mut text = String::new();
        let label = self.name.replace('\\', "\\\\").replace('"', "\\\"");
        let mut figure = |name: &str, kind: &str, help: &str, values: &[(String, u64)]| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (labels, value) in values {
                let _ = writeln!(text, "{name}{labels} {value}");
            }
        };
        let node = format!("{{node=\"{label}\"}}");
        let one = |value: u64| [(node.clone(), value)];
        figure(
            "ratchet_node_slots",
            "gauge",
            "How many slots the node has.",
            &one(self.slots.into()),
        );
        figure(
            "ratchet_node_running",
            "gauge",
            "How many attempts the node has.",
            &one(self.runs.running()),
        );
        let ends = self.counts.all();
        let ends: Vec<_> = (ends.iter())
            .map(|(end, count)| (format!("{{node=\"{label}\",end=\"{end}\"}}"), *count))
            .collect();
        figure(
            "ratchet_node_attempts_total",
            "counter",
            "How attempts of the node have ended.",
            &ends,
        );
        if let Ok(Ok(status)) = timeout(LIMIT, self.engine.status()).await {
            let all = |value: u64| [(String::new(), value)];
            figure(
                "ratchet_queue_waiting",
                "gauge",
                "How many jobs of the queue wait.",
                &all(status.waiting),
            );
            figure(
                "ratchet_queue_running",
                "gauge",
                "How many jobs of the queue run.",
                &all(status.running),
            );
            figure(
                "ratchet_queue_nodes",
                "gauge",
                "How many nodes take jobs.",
                &all(status.nodes),
            );
            figure(
                "ratchet_queue_paused",
                "gauge",
                "Whether no job starts.",
                &all(status.is_paused.into()),
            );
        }
        text
    }
}
