use std::fmt::Write;

use super::*;

fn tree(text: &str) -> Reading<Option<Node>> {
    read(&Source::new("f", text.to_owned()))
}

fn printed(text: &str) -> String {
    let mut out = String::new();
    tree(text).unwrap().unwrap().write_json(&mut out);
    out
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
        ("a: &x [*x]", "not complete"),
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
    let tree = tree(text).unwrap().unwrap();
    let slice = |node: &Node| text[node.span.start..node.span.end].to_owned();
    let map = tree.get("ä").unwrap();
    assert_eq!(slice(map.get("ö").unwrap()), "ü");
    assert_eq!(slice(&map.get("b").unwrap().members()[1]), "x y");
    assert_eq!(slice(map.get("b").unwrap()), "[1,\r\n   x y]");
}

#[test]
fn a_document_without_content_is_none() {
    for text in ["", "  \n", "# only this\n", "---\n"] {
        assert_eq!(tree(text), Ok(None), "{text:?}");
    }
    assert_eq!(tree("~").unwrap().unwrap().value, Value::Null);
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
    let long = "x".repeat(MOST_EXPANDED_BYTES / 16);
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
