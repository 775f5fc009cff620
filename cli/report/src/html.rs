//! A report as one page: HTML that needs no network.

use std::fmt::Write as _;
use std::io;

use serde_json::ser::CharEscape;

use crate::digest::Digest;
use crate::model::RunModel;

const PAGE: &str = include_str!("html/page.html");
const STYLE: &str = include_str!("html/page.css");
const SCRIPT: &str = include_str!("html/page.js");

/// Writes the report of a run as a page.
pub fn html(model: &RunModel, out: &mut dyn io::Write) -> io::Result<()> {
    let mut rest = PAGE;
    // The parts are inserted in this order. Inserted text is not searched for marks again, so that no text of a job is
    // taken for a mark.
    for (mark, part) in [
        ("@TITLE@", Part::Title),
        ("@STYLE@", Part::Style),
        ("@DATA@", Part::Data),
        ("@SCRIPT@", Part::Script),
    ] {
        let (before, after) = rest
            .split_once(mark)
            .ok_or_else(|| io::Error::other("the template of the page contains each marker"))?;
        out.write_all(before.as_bytes())?;
        match part {
            Part::Title => write!(out, "ratchet run {}", Escaped(&model.id))?,
            Part::Style => out.write_all(STYLE.trim_end().as_bytes())?,
            Part::Data => write_data(&Digest::of(model), out)?,
            Part::Script => out.write_all(SCRIPT.trim_end().as_bytes())?,
        }
        rest = after;
    }
    out.write_all(rest.as_bytes())
}

/// The content that replaces a mark of the page.
#[derive(Clone, Copy)]
enum Part {
    Title,
    Style,
    Data,
    Script,
}

/// Writes JSON that is safe within a `script` element: no text in it ends the element or begins a comment.
fn write_data(digest: &Digest, out: &mut dyn io::Write) -> io::Result<()> {
    use serde::Serialize as _;
    let mut serializer = serde_json::Serializer::with_formatter(out, WithinScript);
    digest.serialize(&mut serializer).map_err(io::Error::from)
}

/// Writes compact JSON without `<`, `>` and `&`, and without the line ends that scripts know and JSON does not.
struct WithinScript;

impl serde_json::ser::Formatter for WithinScript {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let is_special = |character| matches!(character, '<' | '>' | '&' | '\u{2028}' | '\u{2029}');
        let mut rest = fragment;
        while let Some(at) = rest.find(is_special) {
            writer.write_all(&rest.as_bytes()[..at])?;
            let mut after = rest[at..].chars();
            let special = after.next().map_or(0, u32::from);
            write!(writer, "\\u{special:04x}")?;
            rest = after.as_str();
        }
        writer.write_all(rest.as_bytes())
    }

    fn write_char_escape<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        serde_json::ser::CompactFormatter.write_char_escape(writer, escape)
    }
}

/// A text within an element.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => out.write_str("&amp;")?,
                '<' => out.write_str("&lt;")?,
                '>' => out.write_str("&gt;")?,
                character => out.write_char(character)?,
            }
        }
        Ok(())
    }
}
