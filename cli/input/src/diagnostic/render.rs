//! Renders diagnostics: place, line, caret, cause and help.
//!
//! The crate `annotate-snippets` draws them. This module removes control characters from the text before, and passes on
//! only the visible part of a long line.

use std::fmt::Write as _;

use annotate_snippets::{
    AnnotationKind, Group, Level, Origin, Renderer, Snippet, normalize_untrusted_str,
};

use super::{Diagnostic, Diagnostics, Severity, Source, Span};
use crate::escape::{is_unsafe, plain};
use crate::style::Style;

/// How many diagnostics are shown. The others are only counted.
const MAX_SHOWN: usize = 20;

/// How many columns of a line are shown.
const WIDTH: usize = 140;

/// How many bytes on each side of a mark the renderer gets. It measures all of its input, which takes seconds for a
/// line of several megabytes.
const CONTEXT_BYTES: usize = 2048;

/// Prints diagnostics with the lines that they point to.
pub(super) fn render_all(all: &Diagnostics, style: Style) -> String {
    let renderer = if style.is_coloured() {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let renderer = renderer.term_width(WIDTH);
    let mut out = String::new();
    for diagnostic in all.diagnostics.iter().take(MAX_SHOWN) {
        out.push_str(&render(&all.source, diagnostic, &renderer));
        out.push_str("\n\n");
    }
    if let Some(more @ 1..) = all.diagnostics.len().checked_sub(MAX_SHOWN) {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "and {more} more\n");
    }
    out
}

/// Renders one diagnostic, with an excerpt for each line that it marks.
fn render(source: &Source, diagnostic: &Diagnostic, renderer: &Renderer) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level.primary_title(visible(&diagnostic.message));
    let name = visible(source.name());
    let mut group = Group::with_title(title);
    let mut cropped = Vec::new();
    if let Some(span) = diagnostic.span {
        let mut excerpts = vec![Excerpt::around(source, span)];
        excerpts[0].mark(source, span, AnnotationKind::Primary, &diagnostic.label);
        if let Some((other, label)) = &diagnostic.other {
            if !excerpts[0].contains(*other) {
                excerpts.push(Excerpt::around(source, *other));
            }
            if let Some(excerpt) = excerpts.last_mut() {
                excerpt.mark(source, *other, AnnotationKind::Context, label);
            }
        }
        for excerpt in excerpts {
            let name = visible(source.name_at(excerpt.start));
            cropped.extend(excerpt.wrong_place(source, &name));
            group = group.element(excerpt.snippet(name));
        }
    } else {
        group = group.element(Origin::path(name.clone()));
    }
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(visible(help)));
    }
    let mut text = renderer.render(&[group]);
    for (wrong, right) in cropped {
        text = text.replacen(&wrong, &right, 1);
    }
    // For an empty line, the renderer prints blanks after the line number.
    let lines = text.lines().map(str::trim_end);
    lines.collect::<Vec<_>>().join("\n")
}

/// The part of a line that is needed to show its marks.
struct Excerpt {
    /// The number of the line in the file.
    number: usize,
    /// The offset in the source at which the excerpt begins.
    start: usize,
    end: usize,
    /// How many bytes of the line precede the excerpt.
    left_out: usize,
    text: String,
    marks: Vec<annotate_snippets::Annotation<'static>>,
    /// The offset in `text` at which the first mark begins, and its span in the source.
    first: Option<(usize, Span)>,
}

impl Excerpt {
    /// Makes the excerpt of a line around a span.
    fn around(source: &Source, span: Span) -> Self {
        let (line_start, line) = source.line(span.start());
        let from = span.start().saturating_sub(line_start).min(line.len());
        let left = match from {
            0..=CONTEXT_BYTES => 0,
            _ => line.floor_char_boundary(from - WIDTH),
        };
        let right = line.floor_char_boundary(from.saturating_add(CONTEXT_BYTES).min(line.len()));
        Self {
            number: usize::try_from(source.place(span.start()).line).unwrap_or(usize::MAX),
            start: line_start + left,
            end: line_start + right,
            left_out: left,
            text: line[left..right].chars().map(harmless).collect(),
            marks: Vec::new(),
            first: None,
        }
    }

    /// Whether a mark at this place fits into the same excerpt as the first one.
    fn contains(&self, span: Span) -> bool {
        let first = self.first.map_or(0, |(_, first)| first.start());
        (self.start..=self.end).contains(&span.start()) && first.abs_diff(span.start()) < WIDTH
    }

    /// Adds a mark with its label to the excerpt.
    fn mark(&mut self, source: &Source, span: Span, kind: AnnotationKind, label: &str) {
        // Some characters are replaced by ones of another length, so the offset has to be computed from the replaced
        // text.
        let offset = |at: usize| -> usize {
            let at = source
                .text()
                .floor_char_boundary(at.clamp(self.start, self.end));
            let before = source.text()[self.start..at].chars();
            before.map(|character| harmless(character).len_utf8()).sum()
        };
        let (from, to) = (offset(span.start()), offset(span.end()));
        let annotation = kind.span(from..to.max(from));
        self.first.get_or_insert((from, span));
        self.marks.push(match label {
            "" => annotation,
            label => annotation.label(visible(label)),
        });
    }

    /// Returns the place that the renderer prints for a line without its beginning, which is wrong, and the right
    /// place.
    fn wrong_place(&self, source: &Source, name: &str) -> Option<(String, String)> {
        let (from, span) = self.first.filter(|_| self.left_out > 0)?;
        let column = self.text[..from].chars().count() + 1;
        let wrong = format!("{name}:{}:{column}", self.number);
        Some((wrong, format!("{name}:{}", source.place(span.start()))))
    }

    fn snippet(self, name: String) -> Snippet<'static, annotate_snippets::Annotation<'static>> {
        Snippet::source(self.text)
            .path(name)
            .line_start(self.number)
            .annotations(self.marks)
    }
}

/// Replaces a character of a line that could affect the terminal, or shift the caret away from its place.
fn harmless(character: char) -> char {
    // The renderer drops U+200D, which would shift the caret to the right.
    let is_harmful = is_unsafe(character) && character != '\t' || character == '\u{200d}';
    if is_harmful { '\u{fffd}' } else { character }
}

/// Formats a text in one line of limited length that affects neither the terminal nor the layout.
fn visible(text: &str) -> String {
    const LONGEST: usize = 400;
    let shown: String = text.chars().take(LONGEST).collect();
    let mut out = plain(&shown).into_owned();
    if text.chars().nth(LONGEST).is_some() {
        out.push_str("...");
    }
    normalize_untrusted_str(&out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, diagnostic: Diagnostic) -> String {
        let report = Diagnostics {
            source: Source::new("jobs.yaml", text.to_owned()),
            diagnostics: vec![diagnostic],
        };
        report.render(Style::PLAIN)
    }

    #[test]
    fn the_caret_stands_under_what_is_meant() {
        let text = "jobs:\n\t- { id: 日本, taks: \u{1b}x }\n";
        let at = text.find("taks").unwrap();
        let diagnostic = Diagnostic::error(Span::new(at, at + 4), "unknown key `taks`")
            .label("not a key of a job")
            .other(Span::new(0, 4), "in these")
            .help("did you mean `task`?");
        insta::assert_snapshot!(shown(text, diagnostic));
    }

    #[test]
    fn a_line_of_megabytes_is_cut_around_the_mark() {
        let text = format!("{}HERE{}", "a".repeat(3_000_000), "b".repeat(3_000_000));
        let diagnostic = Diagnostic::error(Span::new(3_000_000, 3_000_004), "too much");
        let shown = shown(&text, diagnostic);
        assert!(shown.len() < 600, "{shown}");
        assert!(shown.contains("jobs.yaml:1:3000001"), "{shown}");
        let lines: Vec<_> = shown.lines().collect();
        let column = |of: &str, what: &str| of.find(what).unwrap();
        assert_eq!(column(lines[3], "HERE"), column(lines[4], "^^^^"));
    }

    #[test]
    fn both_marks_of_a_long_line_stand_under_what_they_mean() {
        for (between, lines_shown) in [(20, 1), (50_000, 2)] {
            let fill = |length| "a".repeat(length);
            let text = format!("{}HERE{}THERE{}", fill(900), fill(between), fill(900));
            let second = 904 + between;
            let diagnostic = Diagnostic::error(Span::new(900, 904), "twice")
                .other(Span::new(second, second + 5), "first here");
            let shown = shown(&text, diagnostic);
            let lines: Vec<_> = shown.lines().collect();
            let column = |of: &str, what: &str| of.find(what).unwrap();
            let under = |mark: &str, what: &str| {
                let at = lines.iter().position(|line| line.contains(mark)).unwrap();
                let above = lines[..at].iter().rev().find(|line| line.contains(what));
                assert_eq!(
                    column(lines[at], mark),
                    column(above.unwrap(), what),
                    "{shown}"
                );
            };
            under("^^^^", "HERE");
            under("-----", "THERE");
            let numbered = lines.iter().filter(|line| line.starts_with("1 |"));
            assert_eq!(numbered.count(), lines_shown, "{shown}");
        }
    }

    #[test]
    fn colours_only_where_they_are_wanted() {
        let report = Diagnostics {
            source: Source::new("f", "x".to_owned()),
            diagnostics: vec![Diagnostic::error(Span::new(1, 1), "no\u{1b}[31m")],
        };
        assert!(!report.render(Style::PLAIN).contains('\u{1b}'));
        assert!(report.render(Style::COLOURED).contains("\u{1b}[1m"));
    }

    #[test]
    fn beyond_twenty_errors_only_their_number_is_told() {
        let diagnostic = Diagnostic::error(Span::default(), "no");
        let report = Diagnostics {
            source: Source::new("f", String::new()),
            diagnostics: vec![diagnostic; 25],
        };
        assert!(report.render(Style::PLAIN).ends_with("and 5 more\n\n"));
    }
}
