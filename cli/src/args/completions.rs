//! `ratchet completions`.

use clap::Args;
use clap_complete::Shell;

/// Prints a script by which a shell completes verbs and options.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ratchet completions bash > ~/.local/share/bash-completion/completions/ratchet
  ratchet completions zsh > ~/.zfunc/_ratchet
  ratchet completions fish > ~/.config/fish/completions/ratchet.fish")]
pub(crate) struct CompletionsArguments {
    /// The shell.
    pub(crate) shell: Shell,
}
