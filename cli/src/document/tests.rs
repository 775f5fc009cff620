//! What holds for every format, whatever is in a file.

use proptest::prelude::*;

use super::*;
use crate::diagnostic::{Diagnostic, Look, Report, Source, Span};

const FORMATS: [Format; 3] = [Format::Yaml, Format::Json, Format::Toml];

/// Text that looks a little like a document, so that it gets further than the first character.
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

/// Every place in a tree lies in its text.
fn lies_within(node: &Node, text: &str) {
    assert!(
        text.get(node.span.start..node.span.end).is_some(),
        "{node:?}"
    );
    for member in node.members() {
        lies_within(member, text);
    }
    for entry in node.entries() {
        assert!(
            text.get(entry.place.start..entry.place.end).is_some(),
            "{entry:?}"
        );
        lies_within(&entry.node, text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_text_is_read_or_refused_with_a_place(text in scraps()) {
        for format in FORMATS {
            let source = Source::new("f", text.clone());
            match format.read(&source) {
                Ok(None) => {}
                Ok(Some(node)) => {
                    lies_within(&node, &text);
                    let mut json = String::new();
                    node.write_json(&mut json);
                    prop_assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{format:?}: {json}");
                }
                Err(diagnostics) => {
                    prop_assert!(!diagnostics.is_empty());
                    let shown = Report { source, diagnostics }.render(Look::Plain);
                    prop_assert!(shown.contains(" f:"), "{shown}");
                }
            }
        }
    }

    #[test]
    fn json_is_what_serde_json_takes_for_it(text in scraps()) {
        let source = Source::new("f", text.clone());
        let theirs = serde_json::from_str::<serde_json::Value>(&text);
        if let Ok(Some(node)) = Format::Json.read(&source) {
            let mut json = String::new();
            node.write_json(&mut json);
            // A number beyond a float's range is one to us, and none to them.
            if let Ok(theirs) = theirs {
                prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap(), theirs);
            }
        } else {
            prop_assert!(theirs.is_err(), "{text}");
        }
    }

    #[test]
    fn any_place_can_be_shown(text in "(.|\n|\t|日){0,300}", start in 0usize..400, length in 0usize..400) {
        let diagnostic = Diagnostic::error(Span::new(start, start + length), "no").other(Span::new(length, start), "here");
        let report = Report { source: Source::new("f", text), diagnostics: vec![diagnostic] };
        prop_assert!(report.render(Look::Coloured).contains("no"));
    }
}
