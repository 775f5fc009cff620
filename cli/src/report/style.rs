//! How texts look on a terminal.

use std::borrow::Cow;
use std::io::IsTerminal;
use std::time::Duration;

use crate::args::display::When;
use crate::diagnostic::Look;

/// Whether colours are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    colored: bool,
}

/// What a colour stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Bad,
    Doubtful,
    Quiet,
}

impl Style {
    pub(crate) const PLAIN: Self = Self { colored: false };

    /// What was asked for decides, then `NO_COLOR` and `TERM`, then whether it goes to a terminal.
    pub(crate) fn decide(
        asked: When,
        terminal: bool,
        variable: impl Fn(&str) -> Option<std::ffi::OsString>,
    ) -> Self {
        let colored = match asked {
            When::Always => true,
            When::Never => false,
            When::Auto => {
                let refused = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
                let dumb = variable("TERM").is_some_and(|value| value == "dumb");
                terminal && !refused && !dumb
            }
        };
        Self { colored }
    }

    /// What holds on the stderr of this process.
    pub(crate) fn of_stderr(asked: When) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self::decide(asked, terminal, |name| std::env::var_os(name))
    }

    /// How diagnostics look that go to the same place.
    pub(crate) fn look(self) -> Look {
        if self.colored {
            Look::Coloured
        } else {
            Look::Plain
        }
    }

    pub(crate) fn paint(self, tone: Tone, text: &str) -> Cow<'_, str> {
        if !self.colored || text.is_empty() {
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

/// A span of time as people read it.
pub(crate) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 if duration < Duration::from_millis(10) => {
            format!("{:.1} ms", duration.as_secs_f64() * 1e3)
        }
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h {:02}m", seconds / 3600, seconds % 3600 / 60),
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
            Style::decide(asked, terminal, variable).colored
        };
        assert!(decide(When::Auto, true, &[("TERM", "xterm")]));
        assert!(decide(When::Auto, true, &[("NO_COLOR", "")]));
        assert!(!decide(When::Auto, true, &[("NO_COLOR", "1")]));
        assert!(!decide(When::Auto, true, &[("TERM", "dumb")]));
        assert!(!decide(When::Auto, false, &[]));
        assert!(decide(When::Always, false, &[("NO_COLOR", "1")]));
        assert!(!decide(When::Never, true, &[]));
    }

    #[test]
    fn spans_are_told_in_the_unit_that_fits() {
        for (millis, expected) in [
            (0, "0.0 ms"),
            (3, "3.0 ms"),
            (120, "120 ms"),
            (1_240, "1.2 s"),
            (63_000, "1m 03s"),
            (7_500_000, "2h 05m"),
        ] {
            assert_eq!(span(Duration::from_millis(millis)), expected);
        }
    }
}
