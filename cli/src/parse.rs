//! Parses the command line. A call that cannot be parsed, or that asks for help, ends here.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::Path;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ColorChoice, CommandFactory, FromArgMatches, Parser, ValueEnum};

use crate::args::{Arguments, other_programs};
use crate::document::DocumentFormat;
use crate::error::CliError;
use crate::output::Destination;
use crate::settings;
use crate::shell_quote::shell_line;
use crate::style::When;

/// Parses the arguments of this process. Prints help, or what is wrong with them, and ends the process where there
/// are none to return. Help that cannot be printed is an error.
pub(crate) fn parse_or_exit() -> Result<Arguments, CliError> {
    Arguments::try_parse().or_else(|_| {
        // The arguments are parsed once more because the colours of a message of clap are set before it parses.
        let color = match settings::color_or_default(typed_color(std::env::args_os())) {
            When::Auto => ColorChoice::Auto,
            When::Always => ColorChoice::Always,
            When::Never => ColorChoice::Never,
        };
        let matches = Arguments::command().color(color).try_get_matches();
        matches
            .and_then(|matches| Arguments::from_arg_matches(&matches))
            .map_err(|error| exit_with(&with_suggestion(error)))
    })
}

/// Adds a suggestion that clap cannot know of: a flag of another program, or a job file in the place of a verb.
fn with_suggestion(mut error: clap::Error) -> clap::Error {
    let (suggestion, typed) = match error.kind() {
        ErrorKind::UnknownArgument => (ContextKind::SuggestedArg, ContextKind::InvalidArg),
        ErrorKind::InvalidSubcommand => (
            ContextKind::SuggestedSubcommand,
            ContextKind::InvalidSubcommand,
        ),
        _ => return error,
    };
    let Some(ContextValue::String(typed)) = error.get(typed) else {
        return error;
    };
    let tip = match error.kind() {
        ErrorKind::UnknownArgument => other_programs::spelling(typed).map(str::to_owned),
        _ => is_job_file(typed).then(|| {
            let word = String::from_utf8_lossy(&shell_line(&[typed.into()])).into_owned();
            format!("`ratchet run {word}` runs a job file")
        }),
    };
    if let Some(tip) = tip {
        // A similar flag or verb of ours is not what was meant.
        error.remove(suggestion);
        let tips = vec![StyledStr::from(tip)];
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
    }
    error
}

/// Whether a word in the place of a verb is a job file.
fn is_job_file(word: &str) -> bool {
    let path = Path::new(word);
    DocumentFormat::of(path).is_some() || path.is_file()
}

/// Prints help, or what is wrong with the arguments, and ends the process. Returns the error of help that cannot be
/// printed.
///
/// `clap::Error::exit` would end with 0 where the reader of the help has gone, or where its file system is full.
#[expect(
    clippy::exit,
    reason = "nothing has begun yet, and clap itself ends a process in the same way"
)]
fn exit_with(error: &clap::Error) -> CliError {
    // Buffered text that cannot be written would be lost without an error when the process ends.
    let printed = error.print().and_then(|()| io::stdout().flush());
    match printed {
        Err(failed) if !error.use_stderr() => Destination::Stdout.error(failed).into(),
        _ => std::process::exit(error.exit_code()),
    }
}

/// Returns the value of `--color` among arguments that cannot be parsed.
fn typed_color(words: impl Iterator<Item = OsString>) -> Option<When> {
    const FLAG: &str = "--color";
    let mut words = words.take_while(|word| word != "--");
    loop {
        let word = words.next()?;
        let Some(rest) = word.to_str().and_then(|word| word.strip_prefix(FLAG)) else {
            continue;
        };
        let value = match rest.strip_prefix('=') {
            Some(value) => value.to_owned(),
            None if rest.is_empty() => words.next()?.into_string().ok()?,
            None => continue,
        };
        return When::from_str(&value, false).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_color_flag_is_found_among_arguments_that_cannot_be_parsed() {
        let color = |line: &str| typed_color(line.split(' ').map(OsString::from));
        assert_eq!(color("ratchet rnu --color never"), Some(When::Never));
        assert_eq!(color("ratchet run --color=always -x"), Some(When::Always));
        assert_eq!(color("ratchet run --colors never"), None);
        assert_eq!(color("ratchet run --color maybe"), None);
        assert_eq!(color("ratchet run --color"), None);
        assert_eq!(color("ratchet map -x -- ls --color never"), None);
    }
}
