//! Requests to a collector.

use std::io::Read;
use std::time::Duration;

use serde::Deserialize;
use ureq::http::header::{CONTENT_TYPE, RETRY_AFTER};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body, SendBody, http};

use crate::settings::Settings;

/// How many bytes of an answer are read.
const LONGEST_ANSWER: u64 = 16 * 1024;

/// The kinds of telemetry that are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    Traces,
    Metrics,
}

impl Signal {
    /// Returns the path that is added to the URL of the collector.
    fn path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Metrics => "/v1/metrics",
        }
    }
}

/// Why a collector has not taken a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// What happened, for people.
    pub(crate) message: String,
    /// Whether the same request may be taken later.
    pub(crate) is_passing: bool,
    /// The time that the collector wants to pass before the next request.
    pub(crate) retry_after: Option<Duration>,
}

/// Sends requests to one collector. It keeps its connection between them.
pub(crate) struct Client {
    agent: Agent,
    settings: Settings,
}

/// The part of an answer that says what the collector has rejected.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    partial_success: Option<PartialSuccess>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct PartialSuccess {
    error_message: String,
}

impl Client {
    /// Makes a client. It connects with the first request.
    pub(crate) fn new(settings: Settings) -> Self {
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::PlatformVerifier)
            .build();
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // A redirection of a POST would lose its body.
            .max_redirects(0)
            .user_agent(concat!("ratchet/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls)
            .build();
        Self {
            agent: config.into(),
            settings,
        }
    }

    /// Sends a request that may take so long at most.
    pub(crate) fn send(
        &self,
        signal: Signal,
        request: &[u8],
        limit: Duration,
    ) -> Result<(), Refusal> {
        let url = format!("{}{}", self.settings.url, signal.path());
        let limit = limit.min(self.settings.timeout);
        let mut post = self.agent.post(url);
        for (name, value) in &self.settings.headers {
            post = post.header(name, value);
        }
        let post = post
            .header(CONTENT_TYPE, "application/json")
            .config()
            .timeout_global(Some(limit))
            .build();
        match post.send(SendBody::from_owned_reader(std::io::Cursor::new(
            request.to_vec(),
        ))) {
            Ok(answer) => read(answer),
            Err(error) => Err(Refusal {
                message: match error {
                    ureq::Error::Timeout(_) => format!("it did not answer within {limit:?}"),
                    ureq::Error::Io(error) => error.to_string(),
                    other => other.to_string(),
                },
                is_passing: true,
                retry_after: None,
            }),
        }
    }
}

/// Reads what the collector has said.
fn read(mut answer: http::Response<Body>) -> Result<(), Refusal> {
    let status = answer.status();
    let seconds = answer.headers().get(RETRY_AFTER);
    let seconds = seconds.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let mut text = Vec::new();
    // An answer that is cut short is still one: its status says whether the request was taken.
    let _ = (answer.body_mut().as_reader().take(LONGEST_ANSWER)).read_to_end(&mut text);
    if !status.is_success() {
        return Err(Refusal {
            message: format!("it answered with status {}", status.as_u16()),
            is_passing: matches!(status.as_u16(), 429 | 502 | 503 | 504),
            retry_after: seconds.map(Duration::from_secs),
        });
    }
    let answer: Option<Answer> = serde_json::from_slice(&text).ok();
    let rejected = answer.and_then(|answer| answer.partial_success);
    match rejected.filter(|rejected| !rejected.error_message.is_empty()) {
        None => Ok(()),
        Some(rejected) => Err(Refusal {
            message: format!("it rejected a part of them: {}", rejected.error_message),
            is_passing: false,
            retry_after: None,
        }),
    }
}
