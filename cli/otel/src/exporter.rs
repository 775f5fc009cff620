//! The thread that sends the telemetry of a run.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use ratchet_caching::{Clock, SystemClock};
use ratchet_runtime::process::working_now;

use crate::figures::RunLoad;
use crate::http::{Client, Refusal, Signal};
use crate::otlp::Encoder;
use crate::queue::Queue;
use crate::span::Span;

/// How long spans are gathered before they are sent, unless a batch is full.
const GATHER: Duration = Duration::from_secs(1);

/// How often figures are sent.
const FIGURES_INTERVAL: Duration = Duration::from_secs(10);

/// The first and the longest delay after a request that failed.
const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// How long the end of a run waits at most until its telemetry is sent.
pub const FINAL_LIMIT: Duration = Duration::from_secs(5);

/// How long the last requests may take after the end of a run, so that the thread tells why they failed before nobody waits.
const LAST_REQUEST_LIMIT: Duration = Duration::from_millis(4_750);

/// Tells how many jobs run and wait.
type LoadSource = Box<dyn Fn() -> RunLoad + Send>;

/// What became of the telemetry of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExportEnd {
    /// How many spans were not taken by the collector.
    pub lost_spans: u64,
}

/// The thread that sends the telemetry of a run to a collector.
pub struct Exporter {
    queue: Arc<Queue>,
    load: Arc<Mutex<Option<LoadSource>>>,
    ended: mpsc::Receiver<ExportEnd>,
}

/// The state of the thread.
struct Sender {
    client: Client,
    encoder: Encoder,
    queue: Arc<Queue>,
    load: Arc<Mutex<Option<LoadSource>>>,
    /// Is told once why the collector takes nothing.
    complain: Option<Box<dyn FnOnce(String) + Send>>,
    /// The delay after the next request that fails.
    delay: Duration,
    figures_due: Instant,
}

impl Exporter {
    /// Starts the thread. It calls `complain` once, with a text for people, if the collector does not take what it is sent.
    pub(crate) fn start(
        client: Client,
        encoder: Encoder,
        queue: Arc<Queue>,
        complain: Box<dyn FnOnce(String) + Send>,
    ) -> io::Result<Self> {
        let load = Arc::new(Mutex::new(None));
        let sender = Sender {
            client,
            encoder,
            queue: Arc::clone(&queue),
            load: Arc::clone(&load),
            complain: Some(complain),
            delay: FIRST_DELAY,
            figures_due: working_now() + FIGURES_INTERVAL,
        };
        let (tell, ended) = mpsc::channel();
        thread::Builder::new()
            .name("telemetry".to_owned())
            .spawn(move || {
                // Whoever waited may have gone.
                let _ = tell.send(sender.run());
            })?;
        Ok(Self { queue, load, ended })
    }

    /// Has figures tell how many jobs run and wait.
    pub fn watch(&self, load: impl Fn() -> RunLoad + Send + 'static) {
        *self.load.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(load));
    }

    /// Waits until all is sent, or given up, for at most [`FINAL_LIMIT`]. It blocks its thread.
    pub fn finish(self) -> ExportEnd {
        // A run that ended without telling so has no span of its own.
        self.queue.close(None, working_now());
        let ended = self.ended.recv_timeout(FINAL_LIMIT);
        ended.unwrap_or_else(|_| ExportEnd {
            lost_spans: self.queue.lost(),
        })
    }
}

impl Sender {
    /// Sends what comes until the run has ended and all is sent, or given up.
    fn run(mut self) -> ExportEnd {
        loop {
            let until_figures = self.figures_due.saturating_duration_since(working_now());
            let next = self.queue.next(GATHER.min(until_figures));
            let is_last = next.closed.is_some() && self.queue.waiting() == 0;
            let sent = next.spans.is_empty() || self.send_spans(&next.spans, next.closed);
            if is_last || working_now() >= self.figures_due {
                self.figures_due = working_now() + FIGURES_INTERVAL;
                // After the end, a collector that has just failed is not asked again.
                if sent || next.closed.is_none() {
                    self.send_figures(next.closed);
                }
            }
            let is_given_up = next.closed.is_some() && !sent;
            if is_last || is_given_up {
                return ExportEnd {
                    lost_spans: self.queue.lost(),
                };
            }
        }
    }

    /// Sends spans, again and again if need be, but only once more after the end of the run. Returns whether the collector has
    /// taken them.
    fn send_spans(&mut self, spans: &[Span], mut closed: Option<Instant>) -> bool {
        let request = match self.encoder.spans(spans) {
            Ok(request) => request,
            Err(error) => {
                tracing::error!(%error, "spans could not be written as JSON");
                return true;
            }
        };
        loop {
            match self.client.send(Signal::Traces, &request, limit(closed)) {
                Ok(()) => {
                    self.delay = FIRST_DELAY;
                    self.queue.confirm(spans.len());
                    return true;
                }
                Err(refusal) => {
                    self.complain(&refusal);
                    if !refusal.is_passing || closed.is_some() {
                        return false;
                    }
                    closed = self.pause(&refusal);
                }
            }
        }
    }

    fn send_figures(&mut self, closed: Option<Instant>) {
        let load = {
            let source = self.load.lock().unwrap_or_else(PoisonError::into_inner);
            source.as_ref().map(|source| source())
        };
        let now = now_nanos();
        match self.encoder.figures(&self.queue.figures(), load, now) {
            Ok(request) => {
                if let Err(refusal) = self.client.send(Signal::Metrics, &request, limit(closed)) {
                    self.complain(&refusal);
                }
            }
            Err(error) => tracing::error!(%error, "figures could not be written as JSON"),
        }
    }

    /// Tells of the first refusal. Later ones are only logged.
    fn complain(&mut self, refusal: &Refusal) {
        let message = &refusal.message;
        if let Some(complain) = self.complain.take() {
            complain(message.clone());
        } else {
            tracing::debug!(%message, "the collector did not take telemetry");
        }
    }

    /// Waits before a request is sent again. Returns when the run ended, if it has, which ends the wait.
    fn pause(&mut self, refusal: &Refusal) -> Option<Instant> {
        let delay = refusal
            .retry_after
            .map_or(self.delay, |wanted| wanted.max(self.delay));
        self.delay = (self.delay * 2).min(LONGEST_DELAY);
        self.queue.pause(delay.min(LONGEST_DELAY))
    }
}

/// Returns the time of day in nanoseconds since the Unix epoch.
pub(crate) fn now_nanos() -> u64 {
    let now = SystemClock.now().duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(now.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}

/// Returns how long a request may take: after the end of the run, no longer than the end waits.
fn limit(closed: Option<Instant>) -> Duration {
    match closed {
        None => Duration::MAX,
        Some(closed) => (closed + LAST_REQUEST_LIMIT).saturating_duration_since(working_now()),
    }
}
