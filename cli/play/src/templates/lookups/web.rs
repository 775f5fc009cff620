//! The lookup of URLs, which runs the system's `curl`.

use std::fmt::Write as _;

use minijinja::value::ValueKind;
use minijinja::{Error, Value};

use super::super::function_arguments::{FunctionArguments, wrong};
use super::super::values::text_of;
use crate::programs::{self, Program};

/// Returns the lines of the responses, or each response as one text.
pub(super) fn url(terms: &[Value], given: &FunctionArguments) -> Result<Vec<Value>, Error> {
    let mut found = Vec::new();
    for term in terms {
        let text = fetched(&text_of(term), given)?;
        if given.flag("split_lines") == Some(false) {
            found.push(Value::from(text));
        } else {
            found.extend(text.lines().map(Value::from));
        }
    }
    Ok(found)
}

fn fetched(address: &str, given: &FunctionArguments) -> Result<String, Error> {
    let mut options = vec![
        ("url", address.to_owned()),
        (
            "user-agent",
            given
                .text("http_agent")
                .unwrap_or_else(|| "ansible-httpget".to_owned()),
        ),
        (
            "max-time",
            given.text("timeout").unwrap_or_else(|| "10".to_owned()),
        ),
    ];
    if let Some(name) = given.text("username") {
        options.push((
            "user",
            format!("{name}:{}", given.text("password").unwrap_or_default()),
        ));
    }
    if let Some(path) = given.text("ca_path") {
        options.push(("cacert", path));
    }
    if let Some(headers) = given
        .value("headers")
        .filter(|headers| headers.kind() == ValueKind::Map)
    {
        for name in headers.try_iter()? {
            let value = text_of(&headers.get_item(&name)?);
            options.push(("header", format!("{}: {value}", text_of(&name))));
        }
    }
    let mut config = String::new();
    for (name, value) in options {
        let value = value
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        // Writing to a string cannot fail.
        let _ = writeln!(config, "{name} = \"{value}\"");
    }
    if given.text("follow_redirects").as_deref() != Some("none") {
        config.push_str("location\n");
    }
    if given.flag("validate_certs") == Some(false) {
        config.push_str("insecure\n");
    }
    if given.flag("use_proxy") == Some(false) {
        config.push_str("noproxy = \"*\"\n");
    }
    if given.flag("force") == Some(true) {
        config.push_str("header = \"Cache-Control: no-cache\"\n");
    }
    let mut curl = Program::new("curl");
    // The options are passed through stdin, because the arguments of a process are visible to all users.
    let arguments = ["--fail", "--silent", "--show-error", "--config", "-"];
    curl.arguments = arguments.map(Into::into).to_vec();
    curl.stdin = config.into_bytes();
    let output = programs::output(&curl).map_err(|error| {
        wrong(format!(
            "`{address}` cannot be fetched, which the program `curl` does: {error}"
        ))
    })?;
    if output.failure.is_some() {
        let said = output.stderr.trim();
        return Err(wrong(format!("`{address}` cannot be fetched: {said}")));
    }
    String::from_utf8(output.stdout)
        .map_err(|_| wrong(format!("the answer from `{address}` is not UTF-8")))
}
