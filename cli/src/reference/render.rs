//! Writes references for terminals, as markdown, and as man pages.

use std::fmt::Write as _;

use super::keys::{KeyReference, SectionReference};
use crate::args::help::ReferenceFormat;

/// The width of texts for terminals.
const WIDTH: usize = 96;

/// Writing into a text cannot fail.
macro_rules! line {
    ($out:expr $(, $($part:tt)*)?) => {
        { let _ = writeln!($out $(, $($part)*)?); }
    };
}

/// Breaks a text into lines, each with this indent.
fn wrapped(text: &str, indent: usize) -> String {
    let mut out = String::new();
    let mut width = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if width > 0 && width + 1 + length > WIDTH - indent {
            out.push('\n');
            width = 0;
        }
        if width == 0 {
            out.push_str(&" ".repeat(indent));
        } else {
            out.push(' ');
            width += 1;
        }
        out.push_str(word);
        width += length;
    }
    out.push('\n');
    out
}

/// Returns what stands behind the name of a key: its values, and whether it has to be there.
fn values_of(key: &KeyReference) -> String {
    if key.is_required {
        format!("{} (required)", key.values)
    } else {
        key.values.clone()
    }
}

pub(super) fn text(title: &str, about: &str, sections: &[SectionReference]) -> String {
    let mut out = format!("{title}\n\n{}", wrapped(about, 0));
    for section in sections {
        line!(out, "\n{}", capitalised(&section.title));
        for key in &section.keys {
            line!(out, "\n  {}: {}", key.name, key.example);
            out.push_str(&wrapped(&values_of(key), 6));
            out.push_str(&wrapped(&key.about, 6));
        }
    }
    out
}

pub(super) fn markdown(title: &str, about: &str, sections: &[SectionReference]) -> String {
    let cell = |text: &str| text.replace('|', "\\|");
    let mut out = format!("# {title}\n\n{about}\n");
    for section in sections {
        line!(out, "\n## {}\n", capitalised(&section.title));
        line!(out, "| key | values | meaning | default | example |");
        line!(out, "|---|---|---|---|---|");
        for key in &section.keys {
            line!(
                out,
                "| `{}` | {} | {} | {} | `{}: {}` |",
                key.name,
                cell(&values_of(key)),
                cell(&key.about),
                cell(key.default.as_deref().unwrap_or("")),
                key.name,
                cell(&key.example)
            );
        }
    }
    out
}

pub(super) fn man(name: &str, title: &str, about: &str, sections: &[SectionReference]) -> String {
    let mut out = man_head(name, title);
    line!(out, ".SH DESCRIPTION\n{}", escaped(about));
    for section in sections {
        line!(out, ".SH {}", escaped(&section.title.to_uppercase()));
        for key in &section.keys {
            line!(
                out,
                ".TP\n\\fB{}\\fR: {}",
                escaped(&key.name),
                escaped(&key.example)
            );
            line!(
                out,
                "{}\n.br\n{}",
                escaped(&values_of(key)),
                escaped(&key.about)
            );
        }
    }
    out
}

/// Writes a document that is markdown already.
pub(super) fn document(name: &str, markdown: &str, format: ReferenceFormat) -> String {
    match format {
        ReferenceFormat::Text | ReferenceFormat::Markdown => markdown.to_owned(),
        ReferenceFormat::Man => {
            let title = markdown.lines().next().unwrap_or_default();
            let mut out = man_head(name, title.trim_start_matches(['#', ' ']));
            line!(out, ".SH DESCRIPTION\n.nf");
            for text in markdown.lines().skip(1) {
                line!(out, "{}", escaped(text));
            }
            line!(out, ".fi");
            out
        }
    }
}

fn man_head(name: &str, title: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        ".TH ratchet-{name} 5 \"\" \"ratchet {version}\"\n.SH NAME\nratchet-{name} \\- {}\n",
        escaped(title)
    )
}

/// Escapes what has a meaning in the source of a man page.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) {
        return format!("\\&{text}");
    }
    text
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}
