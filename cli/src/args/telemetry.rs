//! Options for telemetry.

use clap::Args;

#[cfg(feature = "otel")]
pub(crate) use ratchet_otel::Endpoint;

/// Where telemetry would be sent, in a command that was built without it.
#[cfg(not(feature = "otel"))]
#[derive(Debug, Clone)]
pub(crate) enum Endpoint {}

#[cfg(not(feature = "otel"))]
impl std::str::FromStr for Endpoint {
    type Err = &'static str;

    fn from_str(_: &str) -> Result<Self, Self::Err> {
        Err("this ratchet was built without the feature `otel`")
    }
}

/// The option for a collector.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "The record of runs")]
pub(crate) struct TelemetryArguments {
    /// Send spans of the run, its jobs and attempts, and metrics to an OpenTelemetry collector by OTLP/HTTP, as in
    /// `--otlp http://localhost:4318`. With `env` the collector is the one of `OTEL_EXPORTER_OTLP_ENDPOINT`. The end of the run waits
    /// up to 5 s for a collector that is slow.
    #[arg(long, value_name = "URL|env")]
    pub(crate) otlp: Option<Endpoint>,
}
