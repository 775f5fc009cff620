//! Sends the telemetry of a run to an OpenTelemetry collector: spans of the run, of its jobs and of their attempts, and metrics.
//!
//! [`Telemetry`] is a [`Sink`](ratchet_runtime::Sink) of the events of a run. It makes spans and figures of them, and a thread of
//! its own sends these as JSON over HTTP (OTLP/HTTP). The run waits neither for the collector nor for the thread, except for a
//! bounded time at its end.
//!
//! ```text
//! events --sink--> spans, figures --queue--> exporter (thread) --otlp--> http --> collector
//! ```

mod attribute;
mod exporter;
mod figures;
mod http;
mod otlp;
mod queue;
mod settings;
mod sink;
mod span;

pub use exporter::{ExportEnd, Exporter, FINAL_LIMIT};
pub use figures::RunLoad;
pub use settings::{DEFAULT_ENDPOINT, Endpoint, InvalidSetting, Settings};
pub use sink::{RunFacts, Telemetry};
