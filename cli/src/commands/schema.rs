//! `ratchet schema`: prints JSON Schemas of what ratchet reads and writes.

use std::io::{self, Write};

use crate::args::schema::{SchemaArguments, SchemaSubject};
use crate::error::CliError;
use crate::output::Destination;
use crate::schema;

/// Prints the JSON Schema of a format.
pub(crate) fn run(arguments: &SchemaArguments) -> Result<(), CliError> {
    let schema = match arguments.of {
        SchemaSubject::Jobs => schema::jobs(),
        SchemaSubject::JobLines => schema::job_lines(),
        SchemaSubject::Config => schema::config(),
        SchemaSubject::Results => schema::results(),
        SchemaSubject::Events => schema::events(),
    };
    let written = io::stdout().write_all(format!("{schema:#}\n").as_bytes());
    written.map_err(|error| Destination::Stdout.error(error).into())
}
