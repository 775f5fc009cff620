//! `ratchet config`: shows the settings, and where each comes from.

use std::io::{self, Write};

use crate::args::config::{ConfigAction, ConfigArguments};
use crate::environment::UserEnvironment;
use crate::error::CliError;
use crate::output::Destination;
use crate::settings::Settings;

/// Prints each setting with its value and its origin.
pub(crate) fn run(arguments: &ConfigArguments) -> Result<(), CliError> {
    let environment = UserEnvironment::current()?;
    let settings = Settings::load(&environment)?;
    let origins = settings.origins(&environment);
    let ConfigAction::Show { json } = arguments.action;
    let text = if json {
        let all: serde_json::Map<_, _> = origins
            .iter()
            .map(|(key, value, origin)| {
                let said = serde_json::json!({"value": value, "origin": origin.to_string()});
                ((*key).to_owned(), said)
            })
            .collect();
        format!("{}\n", serde_json::Value::Object(all))
    } else {
        let widest = origins
            .iter()
            .map(|(_, value, _)| value.chars().count())
            .max();
        let width = widest.unwrap_or_default();
        let line =
            |(key, value, origin): &(_, _, _)| format!("{key:<12}  {value:<width$}  {origin}\n");
        origins.iter().map(line).collect()
    };
    let written = io::stdout().write_all(text.as_bytes());
    written.map_err(|error| Destination::Stdout.error(error).into())
}
