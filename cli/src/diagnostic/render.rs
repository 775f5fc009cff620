//! How diagnostics look: place, line, caret, cause, suggestion.

use std::fmt::{self, Write};

use clap::builder::styling::{AnsiColor, Style};
use unicode_width::UnicodeWidthChar;

use super::{Diagnostic, Report, Severity, Source, Span};
use crate::escape::{is_unsafe, plain};

/// More than these are counted, not shown.
const MOST: usize = 20;

/// Longer lines are shown around what is wrong with them.
const WIDEST: usize = 120;

const TAB: &str = "    ";

/// Whether colours are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    Plain,
    Coloured,
}

impl Look {
    fn paint(self, style: Style, text: impl fmt::Display) -> String {
        match self {
            Self::Plain => text.to_string(),
            Self::Coloured => format!("{style}{text}{style:#}"),
        }
    }
}

const GUTTER: Style = AnsiColor::Blue.on_default().bold();
const STRONG: Style = Style::new().bold();
const HELP: Style = AnsiColor::Cyan.on_default().bold();

fn style(severity: Severity) -> Style {
    match severity {
        Severity::Error => AnsiColor::Red.on_default().bold(),
        Severity::Warning => AnsiColor::Yellow.on_default().bold(),
    }
}

pub(super) fn report(report: &Report, look: Look) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    for diagnostic in report.diagnostics.iter().take(MOST) {
        let _ = one(&mut out, &report.source, diagnostic, look);
        out.push('\n');
    }
    if let Some(more @ 1..) = report.diagnostics.len().checked_sub(MOST) {
        let _ = writeln!(out, "and {more} more\n");
    }
    out
}

fn one(out: &mut String, source: &Source, diagnostic: &Diagnostic, look: Look) -> fmt::Result {
    let word = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let colour = style(diagnostic.severity);
    let word = look.paint(colour, word);
    let message = look.paint(STRONG, format_args!(": {}", visible(&diagnostic.message)));
    writeln!(out, "{word}{message}")?;

    let other = diagnostic.other.as_ref();
    let widest = diagnostic
        .span
        .into_iter()
        .chain(other.map(|(span, _)| *span))
        .map(|span| source.place(span.start).line)
        .max()
        .unwrap_or_default();
    let margin = widest.to_string().len();
    let arrow = look.paint(GUTTER, "-->");
    let name = visible(source.name());
    let Some(span) = diagnostic.span else {
        writeln!(out, "{arrow} {name}")?;
        return help(out, diagnostic, 0, look);
    };
    let place = source.place(span.start);
    writeln!(out, "{:margin$}{arrow} {name}:{place}", "")?;
    let bar = look.paint(GUTTER, "|");
    writeln!(out, "{:margin$} {bar}", "")?;
    let first = Mark {
        span,
        character: '^',
        style: colour,
        label: &diagnostic.label,
    };
    let second = other.map(|(span, label)| Mark {
        span: *span,
        character: '-',
        style: GUTTER,
        label,
    });
    // In the order of the file, the error's own place last where both are on one line.
    let mut marks = vec![first];
    if let Some(second) = second {
        let at = usize::from(source.place(second.span.start).line > place.line);
        marks.insert(at, second);
    }
    let mut shown: Option<(u64, Crop)> = None;
    for mark in marks {
        let line = source.place(mark.span.start).line;
        if shown.is_some_and(|(shown, _)| line > shown + 1) {
            writeln!(out, "{}", look.paint(GUTTER, "..."))?;
        }
        // What is shown of a long line may have no room for both; then it is shown once more, around the other.
        let above = shown.filter(|(shown, crop)| *shown == line && crop.has(&mark, source));
        let crop = match above {
            Some((_, crop)) => mark.write(out, source, Above::Shown(crop), margin, look)?,
            None => mark.write(out, source, Above::Line(line), margin, look)?,
        };
        shown = Some((line, crop));
    }
    help(out, diagnostic, margin, look)
}

fn help(out: &mut String, diagnostic: &Diagnostic, margin: usize, look: Look) -> fmt::Result {
    let Some(help) = &diagnostic.help else {
        return Ok(());
    };
    if diagnostic.span.is_some() {
        writeln!(out, "{:margin$} {}", "", look.paint(GUTTER, "|"))?;
    }
    let word = look.paint(HELP, "help");
    writeln!(
        out,
        "{:margin$} {} {word}: {}",
        "",
        look.paint(GUTTER, "="),
        visible(help)
    )
}

/// A place that is underlined.
struct Mark<'a> {
    span: Span,
    character: char,
    style: Style,
    label: &'a str,
}

/// What is above an underline.
#[derive(Debug, Clone, Copy)]
enum Above {
    /// The line of this number, which is still to be written.
    Line(u64),
    /// So much of the line.
    Shown(Crop),
}

/// Which bytes of a line are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Crop {
    left: usize,
    end: usize,
}

impl Crop {
    /// Long before it is measured, a line of megabytes is cut around the mark.
    fn around(line: &str, from: usize) -> Self {
        if line.len() <= WIDEST {
            let (left, end) = (0, line.len());
            return Self { left, end };
        }
        Self {
            left: floor(line, from.saturating_sub(WIDEST / 2)),
            end: floor(line, from.saturating_add(WIDEST / 2).min(line.len())),
        }
    }

    /// Whether a mark begins in it.
    fn has(self, mark: &Mark<'_>, source: &Source) -> bool {
        let (start, line) = source.line(mark.span.start);
        let from = mark.span.start.saturating_sub(start).min(line.len());
        self.left <= from && (from < self.end || self.end == line.len())
    }
}

impl Mark<'_> {
    /// The line, if it was not shown before, and the underline. Says what is shown of the line.
    fn write(
        &self,
        out: &mut String,
        source: &Source,
        above: Above,
        margin: usize,
        look: Look,
    ) -> Result<Crop, fmt::Error> {
        let (start, line) = source.line(self.span.start);
        let from = self.span.start.saturating_sub(start).min(line.len());
        let to = self.span.end.saturating_sub(start).clamp(from, line.len());
        let crop = match above {
            Above::Line(_) => Crop::around(line, from),
            Above::Shown(crop) => crop,
        };
        let window = Window::of(line, crop, from, to);
        if let Above::Line(number) = above {
            let number = look.paint(GUTTER, format_args!("{number:>margin$} |"));
            let text = window.text;
            writeln!(out, "{number} {}", text.trim_end())?;
        }
        let underline = self.character.to_string().repeat(window.width.max(1));
        let label = match self.label {
            "" => String::new(),
            label => format!(" {}", visible(label)),
        };
        let bar = look.paint(GUTTER, "|");
        let mark = look.paint(self.style, format_args!("{underline}{label}"));
        writeln!(
            out,
            "{:margin$} {bar} {:before$}{mark}",
            "",
            "",
            before = window.before
        )?;
        Ok(crop)
    }
}

/// What is shown of a line.
struct Window {
    text: String,
    /// The columns before the mark.
    before: usize,
    /// The columns of the mark.
    width: usize,
}

impl Window {
    fn of(line: &str, Crop { left, end }: Crop, from: usize, to: usize) -> Self {
        let mut text = String::new();
        let mut width = 0;
        if left > 0 {
            text.push_str("...");
            width = 3;
        }
        let (mut before, mut after) = (width, width);
        for (at, character) in line[left..end].char_indices() {
            let at = left + at;
            if at == from {
                before = width;
            }
            width += show(&mut text, character);
            if at < from {
                before = width;
            }
            if at < to {
                after = width;
            }
        }
        if end < line.len() {
            text.push_str("...");
        }
        Self {
            text,
            before,
            width: after.saturating_sub(before),
        }
    }
}

fn floor(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Writes a character such that it does nothing to a terminal, and says how wide it is.
fn show(out: &mut String, character: char) -> usize {
    if character == '\t' {
        out.push_str(TAB);
        return TAB.len();
    }
    // One column for one character, or the caret would stand beside what it means.
    let harmless = if is_unsafe(character) {
        '\u{fffd}'
    } else {
        character
    };
    out.push(harmless);
    harmless.width().unwrap_or_default()
}

/// A text without what would change the terminal or the layout, and not endless.
fn visible(text: &str) -> String {
    const LONGEST: usize = 400;
    let shown: String = text.chars().take(LONGEST).collect();
    let mut out = plain(&shown).into_owned();
    if text.chars().nth(LONGEST).is_some() {
        out.push_str("...");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, diagnostic: Diagnostic) -> String {
        let report = Report {
            source: Source::new("jobs.yaml", text.to_owned()),
            diagnostics: vec![diagnostic],
        };
        report.render(Look::Plain)
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
        let report = Report {
            source: Source::new("f", "x".to_owned()),
            diagnostics: vec![Diagnostic::error(Span::new(1, 1), "no\u{1b}[31m")],
        };
        assert!(!report.render(Look::Plain).contains('\u{1b}'));
        assert!(report.render(Look::Coloured).contains("\u{1b}[1m"));
    }

    #[test]
    fn beyond_twenty_errors_only_their_number_is_told() {
        let diagnostic = Diagnostic::error(Span::default(), "no");
        let report = Report {
            source: Source::new("f", String::new()),
            diagnostics: vec![diagnostic; 25],
        };
        assert!(report.render(Look::Plain).ends_with("and 5 more\n\n"));
    }
}
