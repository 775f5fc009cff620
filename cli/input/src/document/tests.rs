//! Property tests of the readers of all formats, with random texts.

use proptest::prelude::*;

use super::{DocumentFormat, Extent, Node, Part, json_node};
use crate::diagnostic::{Diagnostic, Diagnostics, Problems, Source, Span};
use crate::style::Style;

const FORMATS: [DocumentFormat; 3] = [
    DocumentFormat::Yaml,
    DocumentFormat::Json,
    DocumentFormat::Toml,
];

/// Generates texts that resemble documents, so that a reader gets further than the first character.
fn scraps() -> impl Strategy<Value = String> {
    let scrap = prop_oneof![
        proptest::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ":",
            ": ",
            ",",
            "\"",
            "'",
            "\n",
            "\r\n",
            "  ",
            "- ",
            "&a ",
            "*a",
            "|\n ",
            ">\n ",
            "!!str ",
            "? ",
            "# ",
            "---\n",
            "...\n",
            "\t",
            "jobs",
            "a",
            "é",
            "日",
            "\u{feff}",
            "\u{0}",
            "1e5",
            "-",
            "=",
            "[[",
            "]]",
            "\\u",
            "\\",
            "<<",
            "0x",
            "007",
            "null",
            "true",
            "%YAML 1.2\n",
        ])
        .prop_map(str::to_owned),
        ".{0,3}",
    ];
    proptest::collection::vec(scrap, 0..40).prop_map(|scraps| scraps.concat())
}

/// Checks that every place in a tree is within its text.
fn lies_within(node: Node<'_>, text: &str) {
    assert!(text.get(node.span.range()).is_some(), "{node:?}");
    let node = match node.into_map(&mut Vec::new()) {
        Ok(entries) => {
            for entry in entries {
                assert!(text.get(entry.place.range()).is_some(), "{entry:?}");
                lies_within(entry.node, text);
            }
            return;
        }
        Err(node) => node,
    };
    for member in node.into_list().unwrap_or_default() {
        lies_within(member, text);
    }
}

/// Reads a text as a document with the streamed list `a`, and calls a function for each value.
fn values(
    format: DocumentFormat,
    source: &Source,
    problems: &mut Problems,
    mut take: impl FnMut(Node<'_>),
) -> Extent {
    let mut sink = |part: Part<'_>, _: &mut Problems| match part {
        Part::Entry(entry) => take(entry.node),
        Part::Member(node) | Part::Whole(node) => take(node),
    };
    format.parts(source, "a", &mut sink, problems)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_text_is_read_or_refused_with_a_place(text in scraps()) {
        for format in FORMATS {
            let source = Source::new("f", text.clone());
            let mut problems = Vec::new();
            let extent = values(format, &source, &mut problems, |node| {
                let json = node.payload().unwrap();
                assert!(serde_json::from_str::<serde::de::IgnoredAny>(json.as_str()).is_ok(), "{json}");
                lies_within(node, &text);
            });
            prop_assert!(extent != Extent::BrokenOff || !problems.is_empty());
            if !problems.is_empty() {
                let shown = Diagnostics { source, diagnostics: problems }.render(Style::PLAIN);
                prop_assert!(shown.contains(" f:"), "{shown}");
            }
        }
    }

    #[test]
    fn json_is_what_serde_json_takes_for_it(text in scraps()) {
        let source = Source::new("f", text.clone());
        let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
        let mut problems = Vec::new();
        let extent = values(DocumentFormat::Json, &source, &mut problems, |_| ());
        prop_assert_eq!(extent == Extent::Whole, theirs, "{:?}", problems);
        let mut problems = Vec::new();
        prop_assert_eq!(json_node(&text, &mut problems).is_some(), theirs, "{:?}", problems);
    }

    #[test]
    fn any_place_can_be_shown(text in "(.|\n|\t|日){0,300}", start in 0usize..400, length in 0usize..400) {
        let diagnostic = Diagnostic::error(Span::new(start, start + length), "no").other(Span::new(length, start), "here");
        let report = Diagnostics { source: Source::new("f", text), diagnostics: vec![diagnostic] };
        prop_assert!(report.render(Style::COLOURED).contains("no"));
    }
}
