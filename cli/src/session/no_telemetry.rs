//! Telemetry in a command that was built without it: none.

use ratchet_runtime::{ExecutorBuilder, RunHandle};

use super::console::Console;
use super::options::RunOptions;
use crate::args::telemetry::Endpoint;
use crate::environment::UserEnvironment;
use crate::error::CliError;

/// The telemetry of a run, which no run of this command has.
pub(super) enum RunTelemetry {}

/// The settings of telemetry, which no run of this command has.
pub(super) use std::convert::Infallible as TelemetrySettings;

/// Is never called, because no endpoint can be typed.
pub(super) fn settings(
    endpoint: &Endpoint,
    _: &UserEnvironment,
) -> Result<TelemetrySettings, CliError> {
    match *endpoint {}
}

impl RunTelemetry {
    /// Changes nothing.
    pub(super) fn start(
        _: Option<TelemetrySettings>,
        _: &RunOptions,
        _: &UserEnvironment,
        _: (&'static str, Option<String>),
        _: &Console,
        builder: ExecutorBuilder,
    ) -> Result<(Option<Self>, ExecutorBuilder), CliError> {
        Ok((None, builder))
    }

    /// Is never called, because no run has telemetry.
    pub(super) fn watch(&self, _: &RunHandle) {
        match *self {}
    }

    /// Does nothing, because no run has telemetry.
    #[expect(clippy::unused_async, reason = "the other one waits")]
    pub(super) async fn end(_: Option<Self>, _: &Console) {}
}
