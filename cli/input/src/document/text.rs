//! Decodes the text of files.

use crate::diagnostic::{Diagnostic, Diagnostics, Source, Span};

/// Decodes the bytes of a file, without its byte order mark. Bytes that are not UTF-8 are refused with their place.
pub fn source(name: &str, mut bytes: Vec<u8>) -> Result<Source, Box<Diagnostics>> {
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    let error = match String::from_utf8(bytes) {
        Ok(text) => return Ok(Source::new(name, text)),
        Err(error) => error,
    };
    let at = error.utf8_error().valid_up_to();
    let shown = String::from_utf8_lossy(error.as_bytes()).into_owned();
    let is_wide =
        error.as_bytes().starts_with(b"\xff\xfe") || error.as_bytes().starts_with(b"\xfe\xff");
    let help = if is_wide {
        "it looks like UTF-16; save it as UTF-8"
    } else {
        "save it as UTF-8"
    };
    let wide = shown[at..].chars().next().map_or(0, char::len_utf8);
    let found = Diagnostic::error(Span::new(at, at + wide), "this is not UTF-8").help(help);
    Err(Box::new(Diagnostics {
        source: Source::new(name, shown),
        diagnostics: vec![found],
    }))
}
