//! Prints the error that ended a call.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write as _};

use crate::error::CliError;
use crate::escape::plain_lines;
use crate::exit;
use crate::settings;
use crate::style::{Style, When};

/// Prints an error to stderr with its causes, a line each, and what the user can do about it. Returns its exit code.
pub(crate) fn print_error(error: &CliError, color: Option<When>) -> u8 {
    if error.exit_code() == exit::UNREAD {
        // The reader of stdout had enough, so nothing went wrong.
        return error.exit_code();
    }
    let style = Style::of_stderr(settings::color_or_default(color));
    let mut text = error.render_diagnostics(style);
    let mut add = |label: &str, message: &str| {
        let mut margin = label;
        for line in plain_lines(message) {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{margin}{line}");
            margin = "    ";
        }
    };
    add("ratchet: ", &error.to_string());
    let mut cause = error.source();
    while let Some(error) = cause {
        add("  because: ", &error.to_string());
        cause = error.source();
    }
    if let Some(help) = error.help() {
        add("  help: ", help);
    }
    // If stderr is closed, the message is lost, but the exit code still tells of the error.
    let _ = io::stderr().write_all(text.as_bytes());
    error.exit_code()
}
