//! The settings of telemetry: from the flag and from the environment variables of OpenTelemetry.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use ureq::http::{HeaderName, HeaderValue, Uri};

use crate::attribute::{Attribute, attribute};

/// Where collectors listen unless they are told otherwise.
pub const DEFAULT_ENDPOINT: &str = "http://localhost:4318";

/// How long one request may take, unless `OTEL_EXPORTER_OTLP_TIMEOUT` says otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// The name of the service, unless the environment sets it.
const DEFAULT_SERVICE: &str = "ratchet";

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
const TIMEOUT: &str = "OTEL_EXPORTER_OTLP_TIMEOUT";
const SERVICE_NAME: &str = "OTEL_SERVICE_NAME";
const RESOURCE_ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";

/// Where telemetry is sent, as users write it: the URL of a collector, or `env`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// The collector at this URL, to which the paths of traces and metrics are added.
    Url(String),
    /// The collector that `OTEL_EXPORTER_OTLP_ENDPOINT` names, or one on this machine.
    Environment,
}

impl FromStr for Endpoint {
    type Err = InvalidSetting;

    fn from_str(text: &str) -> Result<Self, InvalidSetting> {
        if text == "env" {
            return Ok(Self::Environment);
        }
        base_url(text).map(Self::Url)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Url(url) => url,
            Self::Environment => "env",
        })
    }
}

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSetting {
    /// The URL cannot be used.
    #[error("`{url}` is no URL of a collector: {reason}")]
    Url {
        /// The URL.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An environment variable cannot be used.
    #[error("{variable} is wrong: {reason}")]
    Variable {
        /// The name of the variable.
        variable: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

/// All that an exporter has to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The URL of the collector, without the path of a signal.
    pub(crate) url: String,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) timeout: Duration,
    /// The attributes of the resource, which is this process.
    pub(crate) resource: Vec<Attribute>,
}

impl Settings {
    /// Reads the settings. `variable` looks up a variable of the environment.
    pub fn new(
        endpoint: &Endpoint,
        version: &str,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, InvalidSetting> {
        let variable = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let url = match endpoint {
            Endpoint::Url(url) => url.clone(),
            Endpoint::Environment => match variable(ENDPOINT) {
                Some(url) => base_url(url.trim())?,
                None => DEFAULT_ENDPOINT.to_owned(),
            },
        };
        let mut headers = Vec::new();
        for (name, value) in pairs(HEADERS, &variable)? {
            headers.push(header(&name, &value)?);
        }
        let timeout = match variable(TIMEOUT) {
            None => DEFAULT_TIMEOUT,
            Some(text) => match text.trim().parse() {
                Ok(millis) if millis > 0 => Duration::from_millis(millis),
                _ => {
                    return Err(InvalidSetting::Variable {
                        variable: TIMEOUT,
                        reason: format!("`{text}` is no number of milliseconds above 0"),
                    });
                }
            },
        };
        let mut resource = vec![
            attribute("service.name", DEFAULT_SERVICE),
            attribute("service.version", version),
            attribute("process.pid", std::process::id()),
        ];
        if let Ok(host) = rustix::system::uname().nodename().to_str() {
            resource.push(attribute("host.name", host));
        }
        let named = pairs(RESOURCE_ATTRIBUTES, &variable)?.into_iter();
        let service = variable(SERVICE_NAME).map(|name| ("service.name".to_owned(), name));
        for (name, value) in named.chain(service) {
            // What a user sets replaces what is known without him.
            resource.retain(|known| known.name != name);
            resource.push(attribute(name, value));
        }
        Ok(Self {
            url,
            headers,
            timeout,
            resource,
        })
    }

    /// Returns the URL of the collector.
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// Checks the URL of a collector, and returns it without a slash at its end.
fn base_url(text: &str) -> Result<String, InvalidSetting> {
    let wrong = |reason| {
        Err(InvalidSetting::Url {
            url: text.to_owned(),
            reason,
        })
    };
    let Ok(url) = text.parse::<Uri>() else {
        return wrong("write it as `http://localhost:4318`");
    };
    if url.host().is_none_or(str::is_empty) || !matches!(url.scheme_str(), Some("http" | "https")) {
        return wrong("write it as `http://localhost:4318`, beginning with http:// or https://");
    }
    if url.query().is_some() {
        return wrong(
            "leave out what follows the `?`: the paths of traces and metrics are added at the end",
        );
    }
    let base = text.trim_end_matches('/');
    if base.ends_with("/v1/traces") || base.ends_with("/v1/metrics") {
        return wrong("leave out /v1/traces and /v1/metrics, which are added");
    }
    Ok(base.to_owned())
}

/// Reads a list such as `a=1,b=2`, whose values may have characters as `%2C`.
fn pairs(
    name: &'static str,
    variable: &impl Fn(&str) -> Option<String>,
) -> Result<Vec<(String, String)>, InvalidSetting> {
    let Some(list) = variable(name) else {
        return Ok(Vec::new());
    };
    let members = list.split(',').map(str::trim);
    let members = members.filter(|member| !member.is_empty());
    let read = |member: &str| {
        let wrong = |reason: &str| InvalidSetting::Variable {
            variable: name,
            // Headers have secrets, which no message shows.
            reason: match name {
                HEADERS => format!("a member of the list {reason}"),
                _ => format!("`{member}` {reason}"),
            },
        };
        let (key, value) = (member.split_once('='))
            .ok_or_else(|| wrong("has no `=`; write NAME=VALUE, and commas between"))?;
        let decoded = |text: &str| {
            let text = percent_decode_str(text.trim()).decode_utf8();
            text.map(std::borrow::Cow::into_owned)
                .map_err(|_| wrong("is no UTF-8 once its %XX are replaced"))
        };
        let key = decoded(key)?;
        if key.is_empty() {
            return Err(wrong("has no name before the `=`"));
        }
        Ok((key, decoded(value)?))
    };
    members.map(read).collect()
}

/// Makes a header. Its value may be a secret, so no message shows it.
fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), InvalidSetting> {
    let wrong = |what: &str| InvalidSetting::Variable {
        variable: HEADERS,
        reason: format!("`{name}` {what}"),
    };
    let header =
        HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong("is no name of a header"))?;
    let mut value =
        HeaderValue::from_str(value).map_err(|_| wrong("has a value that no header may have"))?;
    value.set_sensitive(true);
    Ok((header, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribute::Value;

    fn settings(endpoint: &str, variables: &[(&str, &str)]) -> Result<Settings, InvalidSetting> {
        Settings::new(&endpoint.parse()?, "1.2.3", |name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn resource(settings: &Settings, name: &str) -> Vec<Value> {
        let found = settings.resource.iter().filter(|one| one.name == name);
        found.map(|one| one.value.clone()).collect()
    }

    #[test]
    fn the_url_of_the_flag_is_used_and_env_takes_that_of_the_environment() {
        let named = [(ENDPOINT, "https://collector:4318/otlp/")];
        let url =
            |endpoint: &str, variables: &[(&str, &str)]| settings(endpoint, variables).unwrap().url;
        assert_eq!(url("http://10.0.0.1:4318/", &named), "http://10.0.0.1:4318");
        assert_eq!(url("env", &named), "https://collector:4318/otlp");
        assert_eq!(url("env", &[]), DEFAULT_ENDPOINT);
        assert_eq!(url("env", &[(ENDPOINT, " ")]), DEFAULT_ENDPOINT);
    }

    #[test]
    fn a_url_that_cannot_be_used_is_refused_with_what_to_write() {
        for (url, said) in [
            ("localhost:4318", "beginning with http://"),
            ("grpc://localhost:4317", "beginning with http://"),
            ("http://", "write it as"),
            ("http://a b", "write it as"),
            ("http://c:4318/v1/traces", "leave out /v1/traces"),
            ("http://c:4318/?a=b", "leave out what follows"),
        ] {
            let error = settings(url, &[]).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
            assert!(error.contains(url), "{error}");
            assert!(settings("env", &[(ENDPOINT, url)]).is_err());
        }
    }

    #[test]
    fn headers_and_attributes_are_lists_with_escapes() {
        let settings = settings(
            "env",
            &[
                (HEADERS, "api-key=secret, authorization = Bearer%20x=y ,,"),
                (
                    RESOURCE_ATTRIBUTES,
                    "team=a%2Cb,service.name=old,host.name=h",
                ),
                (SERVICE_NAME, "builds"),
            ],
        )
        .unwrap();
        let headers = settings.headers.iter();
        let headers: Vec<_> = headers
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        assert_eq!(
            headers,
            [("api-key", "secret"), ("authorization", "Bearer x=y")]
        );
        assert_eq!(resource(&settings, "team"), ["a,b".into()]);
        assert_eq!(resource(&settings, "service.name"), ["builds".into()]);
        assert_eq!(resource(&settings, "host.name"), ["h".into()]);
        assert_eq!(resource(&settings, "service.version"), ["1.2.3".into()]);
    }

    #[test]
    fn without_variables_there_are_the_names_of_the_program_and_of_the_machine() {
        let settings = settings("env", &[]).unwrap();
        assert_eq!(resource(&settings, "service.name"), ["ratchet".into()]);
        assert_eq!(resource(&settings, "host.name").len(), 1);
        assert_eq!(settings.timeout, DEFAULT_TIMEOUT);
    }

    #[test]
    fn variables_that_cannot_be_used_are_refused_by_name_and_no_secret_is_shown() {
        for (name, value, said) in [
            (HEADERS, "secret", "has no `=`"),
            (HEADERS, "=secret", "no name before"),
            (HEADERS, "a b=secret", "no name of a header"),
            (HEADERS, "key=secret%0A", "no header may have"),
            (HEADERS, "key=%ff", "no UTF-8"),
            (RESOURCE_ATTRIBUTES, "team", "has no `=`"),
            (TIMEOUT, "soon", "no number of milliseconds"),
            (TIMEOUT, "0", "above 0"),
        ] {
            let error = settings("env", &[(name, value)]).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(said), "{error}");
        }
        let error = settings("env", &[(HEADERS, "key=secret%0A")]).unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
