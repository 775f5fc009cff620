//! `ratchet completions`: prints the completions of a shell.

use std::io::Write;

use clap::CommandFactory;

use crate::args::Arguments;
use crate::args::completions::CompletionsArguments;
use crate::error::CliError;
use crate::output::Destination;

/// Prints the completion script of a shell.
pub(crate) fn run(arguments: &CompletionsArguments, out: &mut dyn Write) -> Result<(), CliError> {
    // Generated in memory, because the generator panics if it writes to a closed pipe.
    let mut script = Vec::new();
    clap_complete::generate(
        arguments.shell,
        &mut Arguments::command(),
        "ratchet",
        &mut script,
    );
    out.write_all(&script)
        .and_then(|()| out.flush())
        .map_err(|error| Destination::Stdout.error(error).into())
}

#[cfg(test)]
mod tests {
    use clap_complete::Shell;

    use super::*;

    #[test]
    fn every_shell_learns_every_verb() {
        for shell in [
            Shell::Bash,
            Shell::Zsh,
            Shell::Fish,
            Shell::Elvish,
            Shell::PowerShell,
        ] {
            let mut script = Vec::new();
            run(&CompletionsArguments { shell }, &mut script).unwrap();
            let script = String::from_utf8(script).unwrap();
            for verb in Arguments::command().get_subcommands() {
                assert!(
                    script.contains(verb.get_name()),
                    "{shell}: {}",
                    verb.get_name()
                );
            }
        }
    }
}
