//! How it is told that nothing came of a call.

use std::error::Error as _;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ColorChoice, CommandFactory, FromArgMatches, Parser, ValueEnum};

use crate::args::display::When;
use crate::args::{Arguments, foreign};
use crate::error::CliError;
use crate::exit;
use crate::map::shell_line;
use crate::report::{Style, plain_lines};
use crate::settings::{Settings, Surroundings};

/// What was typed. Where that makes no sense, or asks for help, it is told, and the program ends.
pub(crate) fn arguments() -> Arguments {
    Arguments::try_parse().unwrap_or_else(|_| {
        let color = match wanted(color_among(std::env::args_os())) {
            When::Auto => ColorChoice::Auto,
            When::Always => ColorChoice::Always,
            When::Never => ColorChoice::Never,
        };
        let matches = Arguments::command().color(color).try_get_matches();
        matches
            .and_then(|matches| Arguments::from_arg_matches(&matches))
            .unwrap_or_else(|error| exit_with(&suggested(error)))
    })
}

/// Adds what may have been meant, where `clap` cannot know it.
fn suggested(mut error: clap::Error) -> clap::Error {
    let (what, typed) = match error.kind() {
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
        ErrorKind::UnknownArgument => foreign::spelling(typed).map(str::to_owned),
        _ => is_job_file(typed).then(|| {
            let word = String::from_utf8_lossy(&shell_line(&[typed.into()])).into_owned();
            format!("`ratchet run {word}` runs a job file")
        }),
    };
    if let Some(tip) = tip {
        // What clap found to be similar is not what was meant.
        error.remove(what);
        let tips = vec![StyledStr::from(tip)];
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
    }
    error
}

/// Whether a word in the place of a verb is a job file.
fn is_job_file(word: &str) -> bool {
    const ENDINGS: [&str; 5] = ["yaml", "yml", "json", "toml", "jsonl"];
    let path = Path::new(word);
    let ending = path.extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| ENDINGS.contains(&ending)) || path.is_file()
}

/// Prints help, or what is wrong with what was typed, and ends the program.
///
/// `clap::Error::exit` would end with 0 where the reader of the help has gone.
#[expect(
    clippy::exit,
    reason = "nothing has begun yet, and this is how clap itself ends a program"
)]
fn exit_with(error: &clap::Error) -> ! {
    let printed = error.print();
    let is_help = !error.use_stderr();
    let is_unread = matches!(&printed, Err(error) if error.kind() == io::ErrorKind::BrokenPipe);
    std::process::exit(if is_help && is_unread {
        exit::UNREAD.into()
    } else {
        error.exit_code()
    })
}

/// The colours that were typed among words that cannot be read as a whole.
fn color_among(words: impl Iterator<Item = OsString>) -> Option<When> {
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

/// How texts look on stderr outside of a run: as was typed, else as is set, as far as that is right.
pub(crate) fn err_style(typed: Option<When>) -> Style {
    Style::of_stderr(wanted(typed))
}

/// When colours are used outside of a run.
pub(crate) fn wanted(typed: Option<When>) -> When {
    let set = || Settings::without_errors(&Surroundings::current().ok()?).color();
    typed.or_else(set).unwrap_or_default()
}

/// Says what went wrong and why, a cause a line, and what to do about it.
pub(crate) fn report(error: &CliError, typed: Option<When>) -> u8 {
    if error.is_broken_pipe() {
        return error.exit_code();
    }
    let mut text = error.reports(err_style(typed).look());
    // Writing to a string cannot fail.
    let mut say = |label: &str, said: &str| {
        let mut margin = label;
        for line in plain_lines(said) {
            let _ = writeln!(text, "{margin}{line}");
            margin = "    ";
        }
    };
    say("ratchet: ", &error.to_string());
    let mut cause = error.source();
    while let Some(error) = cause {
        say("  because: ", &error.to_string());
        cause = error.source();
    }
    if let Some(help) = error.help() {
        say("  help: ", &help);
    }
    // There is nobody left to tell where stderr is closed; the exit code still says it.
    let _ = io::stderr().write_all(text.as_bytes());
    error.exit_code()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_found_among_words_that_make_no_sense() {
        let among = |line: &str| color_among(line.split(' ').map(OsString::from));
        assert_eq!(among("ratchet rnu --color never"), Some(When::Never));
        assert_eq!(among("ratchet run --color=always -x"), Some(When::Always));
        assert_eq!(among("ratchet run --colors never"), None);
        assert_eq!(among("ratchet run --color maybe"), None);
        assert_eq!(among("ratchet run --color"), None);
        assert_eq!(among("ratchet map -x -- ls --color never"), None);
    }
}
