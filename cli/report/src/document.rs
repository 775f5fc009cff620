//! A report as a JSON document, with the same content as the page.

use std::io;

use crate::digest::Digest;
use crate::model::RunModel;

/// Writes the report of a run as a JSON document.
pub fn json(model: &RunModel, out: &mut dyn io::Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, &Digest::of(model)).map_err(io::Error::from)?;
    out.write_all(b"\n")
}
