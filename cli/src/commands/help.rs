//! `ratchet help`: prints the help of a verb, or a reference of what ratchet reads.

use std::io::Write;

use clap::{Command, CommandFactory};

use crate::args::Arguments;
use crate::args::help::{HelpArguments, ReferenceFormat};
use crate::args::other_programs::{Program, markdown, table};
use crate::error::CliError;
use crate::output::Destination;
use crate::reference::Reference;
use crate::value::closest;

/// The programs with a table of the options of ratchet that replace theirs.
const PROGRAMS: [(&str, Program); 2] = [("parallel", Program::Parallel), ("xargs", Program::Xargs)];

/// Prints a reference, the table of another program, or the help of a verb.
pub(crate) fn run(arguments: &HelpArguments, out: &mut dyn Write) -> Result<(), CliError> {
    if let [word] = &arguments.words[..]
        && let Some(reference) = Reference::of(word)
    {
        let text = reference.render(arguments.format.unwrap_or_default());
        return out
            .write_all(text.as_bytes())
            .and_then(|()| out.flush())
            .map_err(|error| Destination::Stdout.error(error).into());
    }
    if let [word] = &arguments.words[..]
        && let Some((_, program)) = PROGRAMS.iter().find(|(name, _)| name == word)
    {
        let text = match arguments.format.unwrap_or_default() {
            ReferenceFormat::Text => table(*program),
            ReferenceFormat::Markdown => markdown(*program),
            ReferenceFormat::Man => return Err(format_needs_reference()),
        };
        return out
            .write_all(text.as_bytes())
            .and_then(|()| out.flush())
            .map_err(|error| Destination::Stdout.error(error).into());
    }
    let mut command = Arguments::command();
    command.build();
    let mut verb = &mut command;
    for (depth, word) in arguments.words.iter().enumerate() {
        if verb.find_subcommand(word).is_none() {
            return Err(unknown(verb, &arguments.words[..=depth]));
        }
        verb = verb
            .find_subcommand_mut(word)
            .ok_or_else(|| CliError::usage(format!("there is no verb `{word}`")))?;
    }
    if arguments.format.is_some() {
        return Err(format_needs_reference());
    }
    verb.print_long_help()
        .map_err(|error| Destination::Stdout.error(error).into())
}

/// Returns the error for a format that was given for something other than a reference.
fn format_needs_reference() -> CliError {
    CliError::usage("--format is for the references job-file, settings and protocol, and --format markdown for parallel and xargs")
        .with_help("leave it out; `ratchet man` writes the help of verbs as man pages")
}

/// Returns the error for words that name neither a verb nor a reference.
fn unknown(parent: &Command, words: &[String]) -> CliError {
    let typed = words.join(" ");
    let verbs = parent.get_subcommands().map(Command::get_name);
    let references: Vec<&str> = if words.len() == 1 {
        let programs = PROGRAMS.iter().map(|(name, _)| *name);
        Reference::NAMES.iter().copied().chain(programs).collect()
    } else {
        Vec::new()
    };
    let last = words.last().map_or("", String::as_str);
    let error = CliError::usage(format!("there is no verb and no reference `{typed}`"));
    match closest(last, verbs.chain(references.iter().copied())) {
        Some(name) => error.with_help(format!("did you mean `{name}`?")),
        None => error.with_help("`ratchet help` lists the verbs"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn help(words: &[&str], format: Option<ReferenceFormat>) -> Result<String, CliError> {
        let arguments = HelpArguments {
            words: words.iter().map(|word| (*word).to_owned()).collect(),
            format,
        };
        let mut out = Vec::new();
        run(&arguments, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn each_reference_is_printed_in_each_format() {
        for name in Reference::NAMES {
            let formats = [
                ReferenceFormat::Text,
                ReferenceFormat::Markdown,
                ReferenceFormat::Man,
            ];
            for format in formats {
                let text = help(&[name], Some(format)).unwrap();
                assert!(text.lines().count() > 20, "{name} {format:?}");
                assert!(text.ends_with('\n'));
            }
        }
    }

    #[test]
    fn other_programs_have_a_table() {
        for (name, _) in PROGRAMS {
            let text = help(&[name], None).unwrap();
            assert!(text.contains(name) && text.lines().count() > 20, "{text}");
            let table = help(&[name], Some(ReferenceFormat::Markdown)).unwrap();
            assert!(table.starts_with("| yours | ours |"), "{table}");
            assert!(help(&[name], Some(ReferenceFormat::Man)).is_err());
        }
    }

    #[test]
    fn a_word_that_names_nothing_is_refused_with_the_nearest_one() {
        let hint = |words: &[&str]| help(words, None).unwrap_err().help().map(str::to_owned);
        assert_eq!(
            hint(&["job-fiel"]).as_deref(),
            Some("did you mean `job-file`?")
        );
        assert_eq!(hint(&["rnu"]).as_deref(), Some("did you mean `run`?"));
        assert_eq!(hint(&["xarg"]).as_deref(), Some("did you mean `xargs`?"));
        assert_eq!(
            hint(&["runs", "shwo"]).as_deref(),
            Some("did you mean `show`?")
        );
        assert!(help(&["run"], Some(ReferenceFormat::Man)).is_err());
    }
}
