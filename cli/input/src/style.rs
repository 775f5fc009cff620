//! Colours of text, and the decision whether to use them.

use std::borrow::Cow;
use std::ffi::OsString;
use std::io::IsTerminal;

use clap::ValueEnum;

/// A setting that may depend on whether the output is a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
#[expect(
    missing_docs,
    reason = "clap would print them in every help, and the words say all"
)]
pub enum When {
    #[default]
    Auto,
    Always,
    Never,
}

/// Colours text, or leaves it plain, as was decided for an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    is_coloured: bool,
}

/// The meaning of a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Success.
    Good,
    /// Failure.
    Bad,
    /// Something that may be wrong, or is unfinished.
    Doubtful,
    /// Text that matters less than the text around it.
    Quiet,
}

impl Style {
    /// No colours, as for a file or a pipe.
    pub const PLAIN: Self = Self { is_coloured: false };
    /// Colours, regardless of the output.
    #[cfg(test)]
    pub const COLOURED: Self = Self { is_coloured: true };

    /// Decides by the setting, then by `NO_COLOR` and `TERM`, then by whether the text goes to a terminal.
    pub fn decide(
        when: When,
        is_terminal: bool,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Self {
        let is_coloured = match when {
            When::Always => true,
            When::Never => false,
            When::Auto => {
                let refused = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
                let dumb = variable("TERM").is_some_and(|value| value == "dumb");
                is_terminal && !refused && !dumb
            }
        };
        Self { is_coloured }
    }

    /// Returns the style for text on this process's stdout.
    pub fn of_stdout(when: When) -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        Self::decide(when, is_terminal, |name| std::env::var_os(name))
    }

    /// Returns the style for text on this process's stderr.
    pub fn of_stderr(when: When) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        Self::decide(when, is_terminal, |name| std::env::var_os(name))
    }

    /// Whether text in this style is coloured at all.
    pub fn is_coloured(self) -> bool {
        self.is_coloured
    }

    /// Adds the colour of a tone to a text, if this style is coloured.
    pub fn paint(self, tone: Tone, text: &str) -> Cow<'_, str> {
        if !self.is_coloured || text.is_empty() {
            return Cow::Borrowed(text);
        }
        let code = match tone {
            Tone::Good => 32,
            Tone::Bad => 31,
            Tone::Doubtful => 33,
            Tone::Quiet => 2,
        };
        Cow::Owned(format!("\x1b[{code}m{text}\x1b[0m"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_that_want_them() {
        let decide = |asked, terminal, set: &[(&str, &str)]| {
            let variable = |name: &str| {
                let found = set.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).into())
            };
            Style::decide(asked, terminal, variable).is_coloured
        };
        assert!(decide(When::Auto, true, &[("TERM", "xterm")]));
        assert!(decide(When::Auto, true, &[("NO_COLOR", "")]));
        assert!(!decide(When::Auto, true, &[("NO_COLOR", "1")]));
        assert!(!decide(When::Auto, true, &[("TERM", "dumb")]));
        assert!(!decide(When::Auto, false, &[]));
        assert!(decide(When::Always, false, &[("NO_COLOR", "1")]));
        assert!(!decide(When::Never, true, &[]));
    }
}
