use std::fmt::Write;

use super::*;

/// Reads a document, and passes its node to a function. Returns `None` if there is no document.
fn look<T>(text: &str, look: impl FnOnce(Node<'_>) -> T) -> Result<Option<T>, Diagnostic> {
    let source = Source::new("f", text.to_owned());
    let mut problems = Vec::new();
    let found = node(&source, Dialect::Core, &mut problems).map(look);
    match problems.into_iter().next() {
        Some(problem) => Err(problem),
        None => Ok(found),
    }
}

fn tree(text: &str) -> Result<Option<()>, Diagnostic> {
    look(text, |_| ())
}

fn printed(text: &str) -> String {
    let printed = look(text, |node| node.payload().unwrap().to_string());
    printed.unwrap().unwrap()
}

#[test]
fn scalars_are_those_of_the_core_schema() {
    let text = "[no, yes, on, NO, true, ~, 12, -3.5, .5, 5., 1e3, 0x1F, 0o17, 1_000, 12:30, 2020-01-01, '1', \"a\\n\", +7]";
    assert_eq!(
        printed(text),
        r#"["no","yes","on","NO",true,null,12,-3.5,0.5,5.0,1e3,31,15,"1_000","12:30","2020-01-01","1","a\n",7]"#
    );
    for (text, said) in [
        ("a: 007", "leading zeros"),
        ("a: .inf", "JSON does not have"),
        ("a: .nan", "JSON does not have"),
        ("a: !!set {x}", "tags"),
        ("a: !mine x", "tags"),
        ("? [a]\n: b", "a key has to be text"),
        ("a: &x 1\n<<: *x", "no merge keys"),
        ("a: 1\n---\nb: 2", "second document"),
        ("a:\n\t- b", "a tab indents this line"),
        ("a: &x [*x]", "a part of"),
    ] {
        let error = tree(text).unwrap_err();
        assert!(error.message.contains(said), "{text}: {error:?}");
    }
    let error = tree("jobs:\n- a: 1\n  b: 2\n c: 3\n").unwrap_err();
    let help = error.help.as_deref().unwrap_or_default();
    assert!(help.contains("how far this line"), "{error:?}");
    assert_eq!(
        printed("{1: a, true: b, ~: c, 007: d}"),
        r#"{"1":"a","true":"b","~":"c","007":"d"}"#
    );
    assert_eq!(printed("a: !!str 7"), r#"{"a":"7"}"#);
}

#[test]
fn places_are_right_behind_wide_characters_and_comments() {
    let text = "# größe: ü\r\nä: {ö: ü, b: [1,\r\n   x y]}\n";
    let slice = |node: &Node<'_>| text[node.span.range()].to_owned();
    let found = look(text, |root| {
        let mut problems = Vec::new();
        let map = root.into_map(&mut problems).unwrap().remove(0).node;
        let mut entries = map.into_map(&mut problems).unwrap();
        let list = entries.remove(1).node;
        let of_list = slice(&list);
        let member = slice(&list.into_list().unwrap()[1]);
        (slice(&entries[0].node), of_list, member)
    });
    let expected = ("ü", "[1,\r\n   x y]", "x y");
    let (first, list, member) = found.unwrap().unwrap();
    assert_eq!((first.as_str(), list.as_str(), member.as_str()), expected);
}

#[test]
fn places_are_right_where_lines_end_with_a_carriage_return_alone() {
    for text in ["a: [x]\rb: [y z]\r", "a: [ü]\rb: [y z]\r"] {
        let place = look(text, |root| {
            let entry = root.into_map(&mut Vec::new()).unwrap().remove(1);
            (entry.place, entry.node.span)
        });
        let (key, list) = place.unwrap().unwrap();
        assert_eq!((&text[key.range()], &text[list.range()]), ("b", "[y z]"));
    }
    let place = |text: &str| tree(text).unwrap_err().span;
    let broken = "ü: [x]\nb: [y: }]\n";
    assert_eq!(place(&broken.replace('\n', "\r")), place(broken));
}

#[test]
fn a_list_is_taken_member_by_member_wherever_it_stands() {
    let of = |text: &str| {
        let source = Source::new("f", text.to_owned());
        let mut found = Vec::new();
        let mut problems = Vec::new();
        let mut sink = |part: Part<'_>, _: &mut Problems| {
            found.push(match part {
                Part::Entry(entry) => format!("{}={}", entry.name, entry.node.payload().unwrap()),
                Part::Member(node) => node.payload().unwrap().to_string(),
                Part::Whole(node) => format!("whole {}", node.payload().unwrap()),
            });
        };
        let extent = parts(&source, "jobs", &mut sink, &mut problems);
        found.push(format!("{extent:?}"));
        found.extend(problems.into_iter().map(|problem| problem.message));
        found.join(" ")
    };
    assert_eq!(of("jobs:\n- a\n- [b]\nz: 1\n"), r#""a" ["b"] z=1 Whole"#);
    assert_eq!(
        of("z: {jobs: [a]}\njobs: [c]"),
        r#"z={"jobs":["a"]} "c" Whole"#
    );
    assert_eq!(of("a: &x [1]\njobs: *x"), "a=[1] jobs=[1] Whole");
    assert_eq!(of("jobs: &x [1]\nb: *x"), "jobs=[1] b=[1] Whole");
    assert_eq!(of("jobs: [1]\njobs: [2]"), "1 2 Whole `jobs` is set twice");
    assert_eq!(of("- jobs: [1]"), r#"whole [{"jobs":[1]}] Whole"#);
    assert_eq!(of("jobs: [1]\n]"), "1 BrokenOff misplaced bracket");
    assert_eq!(of("# no"), "Nothing");
}

#[test]
fn a_document_without_content_is_none() {
    for text in ["", "  \n", "# only this\n", "---\n"] {
        assert_eq!(tree(text), Ok(None), "{text:?}");
    }
    assert_eq!(printed("~"), "null");
}

#[test]
fn aliases_are_expanded_within_bounds() {
    assert_eq!(
        printed("a: &x {b: 1}\nc: *x"),
        r#"{"a":{"b":1},"c":{"b":1}}"#
    );
    let mut laughs = "a0: &a0 [lol]\n".to_owned();
    for n in 1..30 {
        let before = n - 1;
        writeln!(
            laughs,
            "a{n}: &a{n} [*a{before}, *a{before}, *a{before}, *a{before}]"
        )
        .unwrap();
    }
    let error = tree(&laughs).unwrap_err();
    assert!(
        error.message.contains("more than 100000 values"),
        "{error:?}"
    );
}

#[test]
fn aliases_of_long_texts_are_expanded_within_bounds() {
    let long = "x".repeat(MAX_EXPANDED_BYTES / 16);
    let repeated =
        |text: &str, times: usize| format!("a: &a {text}\nb: [{}]", "*a, ".repeat(times));
    assert!(tree(&repeated(&long, 16)).is_ok());
    let as_key = format!("{{{}: 1}}", &long[..long.len() / 1024]);
    for text in [repeated(&long, 17), repeated(&as_key, 17 * 1024)] {
        let error = tree(&text).unwrap_err();
        assert!(error.message.contains("of text"), "{}", error.message);
    }
}

#[test]
fn depth_is_bounded() {
    assert!(tree(&"[".repeat(100_000)).is_err());
    let deep = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(tree(&deep(DEEPEST)).is_ok());
    assert!(tree(&deep(DEEPEST + 1)).is_err());
    let deeper = format!("a: &x {}\nb: [[[*x]]]", deep(DEEPEST - 1));
    assert!(tree(&deeper).unwrap_err().message.contains("in each other"));
}
