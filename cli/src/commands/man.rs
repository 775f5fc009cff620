//! `ratchet man`: prints man pages, or writes them to a folder.

use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use crate::args::Arguments;
use crate::args::help::ReferenceFormat;
use crate::args::man::ManArguments;
use crate::error::CliError;
use crate::output::Destination;
use crate::reference::Reference;
use crate::value::closest;

/// Prints a manual page, or writes all pages to a folder.
pub(crate) fn run(arguments: &ManArguments, out: &mut dyn Write) -> Result<(), CliError> {
    let mut root = Arguments::command();
    root.build();
    if let Some((verb, name)) = named(&root, &arguments.what) {
        return page(verb.clone(), name)
            .and_then(|page| out.write_all(&page).and_then(|()| out.flush()))
            .map_err(|error| Destination::Stdout.error(error).into());
    }
    match &arguments.what[..] {
        [folder] if folder.is_dir() || folder.as_os_str().as_bytes().contains(&b'/') => {
            write_pages(&root, "ratchet", folder)?;
            write_references(folder)
        }
        words => Err(no_verb(&root, words)),
    }
}

/// Returns the command that the words name, and the name of its page. Without words, it is `ratchet` itself.
fn named<'a>(root: &'a Command, words: &[PathBuf]) -> Option<(&'a Command, String)> {
    let mut found = (root, "ratchet".to_owned());
    for word in words {
        let verb = found.0.find_subcommand(word)?;
        let name = format!("{}-{}", found.1, verb.get_name());
        found = (verb, name);
    }
    Some(found)
}

fn no_verb(root: &Command, words: &[PathBuf]) -> CliError {
    let typed: Vec<_> = words
        .iter()
        .map(|word| word.display().to_string())
        .collect();
    let typed = typed.join(" ");
    let verbs = root.get_subcommands().map(Command::get_name);
    let hint = match closest(&typed, verbs) {
        Some(verb) => format!(
            "did you mean `ratchet man {verb}`? To write the pages into a new folder, run `ratchet man ./{typed}`"
        ),
        None => format!("to write the pages into a new folder, run `ratchet man ./{typed}`"),
    };
    CliError::usage(format!(
        "there is no verb `{typed}`, and no folder of that name"
    ))
    .with_help(hint)
}

/// Writes a page for a verb and for each of its own verbs, as in `ratchet-runs-show.1`.
fn write_pages(command: &Command, name: &str, folder: &Path) -> Result<(), CliError> {
    let path = folder.join(format!("{name}.1"));
    page(command.clone(), name.to_owned())
        .and_then(|page| fs::create_dir_all(folder).and_then(|()| fs::write(&path, page)))
        .map_err(|error| CliError::unwritable(&path, error))?;
    for verb in command
        .get_subcommands()
        // The verbs below have a `help` that clap adds.
        .filter(|verb| name == "ratchet" || verb.get_name() != "help")
    {
        write_pages(verb, &format!("{name}-{}", verb.get_name()), folder)?;
    }
    Ok(())
}

/// Writes a page for each reference, as in `ratchet-job-file.5`.
fn write_references(folder: &Path) -> Result<(), CliError> {
    for name in Reference::NAMES {
        let Some(reference) = Reference::of(name) else {
            continue;
        };
        let path = folder.join(format!("ratchet-{name}.5"));
        fs::write(&path, reference.render(ReferenceFormat::Man))
            .map_err(|error| CliError::unwritable(&path, error))?;
    }
    Ok(())
}

fn page(command: Command, name: String) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    // The command of a verb has no version, so the program is named here.
    let source = concat!("ratchet ", env!("CARGO_PKG_VERSION"));
    Man::new(command)
        .title(name)
        .source(source)
        .render(&mut page)?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_has_a_page() {
        let folder = tempfile::tempdir().unwrap();
        let arguments = ManArguments {
            what: vec![folder.path().join("man1")],
        };
        run(&arguments, &mut Vec::new()).unwrap();
        for verb in Arguments::command().get_subcommands() {
            let path = folder
                .path()
                .join(format!("man1/ratchet-{}.1", verb.get_name()));
            let page = fs::read_to_string(&path).unwrap();
            assert!(page.contains(".SH SYNOPSIS"), "{}", path.display());
            let title = page.lines().find(|line| line.starts_with(".TH"));
            let source = concat!("\"ratchet ", env!("CARGO_PKG_VERSION"), "\"");
            assert!(
                title.is_some_and(|title| title.contains(source)),
                "{title:?}"
            );
        }
        for name in Reference::NAMES {
            let path = folder.path().join(format!("man1/ratchet-{name}.5"));
            assert!(
                fs::read_to_string(&path)
                    .unwrap()
                    .contains(".SH DESCRIPTION")
            );
        }
    }

    #[test]
    fn a_folder_that_cannot_be_is_an_error_that_names_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let arguments = ManArguments {
            what: vec![file.path().join("man1")],
        };
        let error = run(&arguments, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("man1/ratchet.1"), "{error}");
    }
}
