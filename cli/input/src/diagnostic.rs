//! Errors and warnings about a text: what is wrong, where, and what to do about it.
//!
//! A [`Source`] is a text with a name, a [`Diagnostic`] points into it, and [`Diagnostics`] are a source with all of
//! its diagnostics, so that several errors are shown at once.

mod render;
mod source;

use std::fmt;

pub use source::{Source, Span};

use crate::style::Style;
use crate::value::closest;

/// One error or warning about a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether the text is refused or only questionable.
    pub severity: Severity,
    /// What is wrong, in one line.
    pub message: String,
    /// The place in the text; `None` for the whole text.
    pub span: Option<Span>,
    /// The text next to the caret: the cause, if the message does not contain it.
    pub label: String,
    /// A second, related place, and how it is related.
    pub other: Option<(Span, String)>,
    /// What the user can do about it.
    pub help: Option<String>,
}

/// Whether a diagnostic stops the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Nothing runs until the error is fixed.
    Error,
    /// The jobs run, but possibly not as intended.
    Warning,
}

impl Diagnostic {
    /// Makes an error about a place.
    pub fn error(span: Span, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            span: Some(span),
            label: String::new(),
            other: None,
            help: None,
        }
    }

    /// Makes a warning about a place.
    pub fn warning(span: Span, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(span, message)
        }
    }

    /// Adds a note that is printed next to the marked place.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Adds a second place, with a note next to it.
    #[must_use]
    pub fn other(mut self, span: Span, label: impl Into<String>) -> Self {
        self.other = Some((span, label.into()));
        self
    }

    /// Adds advice for the user.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Moves the diagnostic by this many bytes, for a text that is part of a longer one.
    #[must_use]
    pub fn shifted(mut self, by: usize) -> Self {
        self.span = self.span.map(|span| span.shifted(by));
        self.other = self.other.map(|(span, label)| (span.shifted(by), label));
        self
    }

    /// Suggests the closest of some names, or lists them if none is close and they are few.
    #[must_use]
    pub fn did_you_mean<'a>(
        self,
        typed: &str,
        names: impl IntoIterator<Item = &'a str, IntoIter: Clone>,
        what: &str,
    ) -> Self {
        const FEW: usize = 16;
        let names = names.into_iter();
        if let Some(name) = closest(typed, names.clone()) {
            return self.help(format!("did you mean `{name}`?"));
        }
        let known: Vec<_> = names.take(FEW + 1).collect();
        match known.len() {
            0 => self,
            1..=FEW => self.help(format!("{what}: {}", known.join(", "))),
            _ => self,
        }
    }
}

/// The diagnostics that were found so far.
pub type Problems = Vec<Diagnostic>;

/// A text with everything that was found in it.
#[derive(Debug, Clone)]
pub struct Diagnostics {
    /// The text that the diagnostics are about, with its name.
    pub source: Source,
    /// The errors and warnings.
    pub diagnostics: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Returns how many of the diagnostics have this severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.diagnostics
            .iter()
            .filter(|diagnostic| diagnostic.severity == severity)
            .count()
    }

    /// Whether any of the diagnostics is an error.
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// Formats all diagnostics, with the lines that they point to.
    pub fn render(&self, style: Style) -> String {
        render::render_all(self, style)
    }
}

impl fmt::Display for Diagnostics {
    /// Writes a summary in one line.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.source.name();
        match self.count(Severity::Error) {
            1 => write!(out, "{name} has an error"),
            errors => write!(out, "{name} has {errors} errors"),
        }
    }
}
