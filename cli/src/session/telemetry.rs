//! Telemetry of a run: the trace that it is in, and what is sent to a collector.

pub(super) use ratchet_otel::Settings as TelemetrySettings;
use ratchet_otel::{ExportEnd, Exporter, FINAL_LIMIT, RunFacts, RunLoad, Telemetry};
use ratchet_runtime::{ExecutorBuilder, RunHandle, RunTrace, TRACE_PARENT_VARIABLE, TraceParent};

use super::console::Console;
use super::options::RunOptions;
use crate::args::telemetry::Endpoint;
use crate::environment::UserEnvironment;
use crate::error::CliError;
use crate::readable::duration;

/// The variable for the state of the trace, which belongs to [`TRACE_PARENT_VARIABLE`] and is nothing without it.
const TRACE_STATE_VARIABLE: &str = "TRACESTATE";

/// The telemetry of a run that has been started.
pub(super) struct RunTelemetry {
    exporter: Exporter,
    url: String,
}

/// The span within which this process was started, with the state of its trace.
#[derive(Debug, Default, PartialEq, Eq)]
struct Caller {
    parent: Option<TraceParent>,
    state: Option<String>,
    /// Why the variable was passed over.
    complaint: Option<String>,
}

impl Caller {
    /// Reads the variables of the environment.
    fn of(environment: &UserEnvironment) -> Self {
        let Some(text) = environment.variable(TRACE_PARENT_VARIABLE) else {
            return Self::default();
        };
        let text = text.to_string_lossy();
        match text.parse() {
            Ok(parent) => {
                let state = environment.variable(TRACE_STATE_VARIABLE);
                Self {
                    parent: Some(parent),
                    state: state.map(|state| state.to_string_lossy().into_owned()),
                    complaint: None,
                }
            }
            Err(error) => Self {
                complaint: Some(format!(
                    "{TRACE_PARENT_VARIABLE} is passed over, and the run begins a trace of its own: `{}`: {error}",
                    crate::escape::plain(&text)
                )),
                ..Self::default()
            },
        }
    }
}

/// Reads the settings of telemetry, so that a mistake is told before anything runs.
pub(super) fn settings(
    endpoint: &Endpoint,
    environment: &UserEnvironment,
) -> Result<TelemetrySettings, CliError> {
    let variable = |name: &str| {
        let value = environment.variable(name)?;
        Some(value.to_string_lossy().into_owned())
    };
    TelemetrySettings::new(endpoint, env!("CARGO_PKG_VERSION"), variable)
        .map_err(|error| CliError::usage(error.to_string()))
}

impl RunTelemetry {
    /// Starts the telemetry of a run if that is wanted, and has the executor tell it all events and its commands their spans.
    pub(super) fn start(
        settings: Option<TelemetrySettings>,
        options: &RunOptions,
        environment: &UserEnvironment,
        (verb, run_id): (&'static str, Option<String>),
        console: &Console,
        builder: ExecutorBuilder,
    ) -> Result<(Option<Self>, ExecutorBuilder), CliError> {
        let Some(settings) = settings else {
            return Ok((None, builder));
        };
        let url = settings.url().to_owned();
        let caller = Caller::of(environment);
        if let Some(complaint) = &caller.complaint {
            console.say(&format!("ratchet: {complaint}\n"));
        }
        let mut builder = builder;
        if caller.parent.is_none() && environment.variable(TRACE_STATE_VARIABLE).is_some() {
            // It belongs to another trace than the one that begins here.
            builder = builder.command_variable(TRACE_STATE_VARIABLE, "");
        }
        let trace = RunTrace::begin(caller.parent);
        let facts = RunFacts {
            verb,
            run_id,
            slots: options.slots,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            trace_state: caller.state,
        };
        let (tells, place) = (console.clone(), url.clone());
        let complain = move |cause: String| {
            let cause = crate::escape::plain(&cause).into_owned();
            tells.say(&format!(
                "ratchet: the collector at {place} does not take the telemetry of this run, which goes on: {cause}\n"
            ));
        };
        let (sink, exporter) = Telemetry::start(settings, trace, facts, complain)
            .map_err(|error| CliError::internal("a thread cannot be started").because(error))?;
        Ok((
            Some(Self { exporter, url }),
            builder.trace(trace).sink(sink),
        ))
    }

    /// Has the metrics tell how many jobs of the run are running and waiting.
    pub(super) fn watch(&self, handle: &RunHandle) {
        let handle = handle.clone();
        self.exporter.watch(move || {
            let status = handle.status();
            RunLoad {
                running: status.running as u64,
                waiting: status.waiting as u64,
            }
        });
    }

    /// Waits until everything is sent, for a limited time, and tells what was not.
    pub(super) async fn end(telemetry: Option<Self>, console: &Console) {
        let Some(Self { exporter, url }) = telemetry else {
            return;
        };
        let finished = tokio::task::spawn_blocking(move || exporter.finish()).await;
        let ExportEnd { lost_spans } = finished.unwrap_or_default();
        if lost_spans > 0 {
            let limit = duration(FINAL_LIMIT);
            console.say(&format!(
                "ratchet: {lost_spans} spans of this run were not taken by the collector at {url} (the end of a run waits for it up to \
                 {limit})\n"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn caller(variables: &[(&str, &str)]) -> Caller {
        Caller::of(&UserEnvironment {
            variables: variables
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect(),
            ..UserEnvironment::default()
        })
    }

    #[test]
    fn the_state_of_a_trace_counts_only_with_a_parent() {
        let both = caller(&[("TRACEPARENT", PARENT), ("TRACESTATE", "a=b")]);
        assert_eq!(both.parent.unwrap().to_string(), PARENT);
        assert_eq!(both.state.as_deref(), Some("a=b"));
        assert_eq!(caller(&[("TRACESTATE", "a=b")]), Caller::default());
        assert_eq!(caller(&[("TRACEPARENT", "")]), Caller::default());
    }

    #[test]
    fn a_malformed_parent_is_told_and_passed_over() {
        let caller = caller(&[("TRACEPARENT", "00-x\u{1b}"), ("TRACESTATE", "a=b")]);
        assert_eq!((caller.parent, &caller.state), (None, &None));
        let complaint = caller.complaint.unwrap();
        assert!(
            complaint.contains("`00-x") && !complaint.contains('\u{1b}'),
            "{complaint}"
        );
    }
}
