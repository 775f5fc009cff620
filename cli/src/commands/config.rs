//! `ratchet config`: what is set, and where it comes from.

use std::io::{self, Write};

use clap::{Args, Subcommand};

use crate::error::CliError;
use crate::settings::{Settings, Surroundings};

/// Shows what is set, and where it comes from.
///
/// A flag comes first, then a variable `RATCHET_..`, then the project's `ratchet.toml` (the nearest
/// one in this folder or above, up to the root of the repository or your home folder), then the
/// user's `ratchet/config.toml` in the XDG config folder, then the default.
///
/// A project's file is used only if it and its folder belong to you or root, and nobody else may
/// write them (your private group may). `RATCHET_TRUST` names folders that are used all the same,
/// with colons between them, and so does `trust` in your own config file.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ratchet config show\n  RATCHET_JOBS=4 ratchet config show")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Shows each setting, its value, and where it comes from.
    Show {
        /// One JSON document instead of a table.
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let surroundings = Surroundings::current().map_err(|source| CliError::Read {
        path: ".".into(),
        source,
    })?;
    let settings = Settings::load(&surroundings)?;
    let origins = settings.origins(&surroundings);
    let Action::Show { json } = arguments.action;
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
    written.map_err(CliError::Output)
}
