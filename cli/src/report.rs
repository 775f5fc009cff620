//! What comes of a run, for people and for programs.
//!
//! A [`Report`] writes results and nothing else; what is said to people besides goes to stderr, the
//! [`Digest`] at the end among it.

mod digest;
mod figures;
mod human;
mod json;
mod jsonl;
mod junit;
mod moment;
mod name;
mod reported;
mod style;

use std::io::{self, Write};
use std::time::SystemTime;

use ratchet_runtime::{Outcome, Summary};

pub(crate) use digest::Digest;
pub(crate) use figures::figures;
pub(crate) use human::describe;
pub(crate) use moment::{ago, timestamp};
pub(crate) use name::job_name;
pub(crate) use reported::{Place, stdout};
pub(crate) use style::{Style, Tone, span};

use crate::args::output::Format;
pub(crate) use crate::escape::{plain, plain_lines};

/// How much is written at once; a result is a few hundred bytes.
const BUFFER_BYTES: usize = 256 * 1024;

/// Writes outcomes as they come.
pub(crate) trait Report: Send {
    /// A job has ended.
    fn outcome(&mut self, outcome: &Outcome) -> io::Result<()>;

    /// Nothing happens for the moment: what was held for the sake of speed is written.
    fn idle(&mut self) -> io::Result<()>;

    /// The run has ended.
    fn finish(&mut self, summary: &Summary) -> io::Result<()>;
}

/// A report in a format; `started` is when the run was.
pub(crate) fn report<'a>(
    format: Format,
    out: Box<dyn Write + Send + 'a>,
    style: Style,
    started: SystemTime,
) -> io::Result<Box<dyn Report + 'a>> {
    let out = io::BufWriter::with_capacity(BUFFER_BYTES, out);
    Ok(match format {
        Format::Human => Box::new(human::Human::new(out, style)),
        Format::Jsonl => Box::new(jsonl::JsonLines::new(out)),
        Format::Json => Box::new(json::Document::begin(out)?),
        Format::Junit => Box::new(junit::Junit::new(out, started)),
    })
}

#[cfg(test)]
mod tests;
