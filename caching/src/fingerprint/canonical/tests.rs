use std::fmt::Write;

use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn canonical(text: &str) -> String {
    canonical_json(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn spellings_that_mean_the_same_are_the_same() {
    let groups: &[&[&str]] = &[
        &[
            r#"{"a":1,"b":[2,3]}"#,
            " {\n\"b\" : [ 2 ,\t3 ] ,\r\"a\":1}",
            r#"{"\u0062":[2,3],"a":1}"#,
        ],
        &[
            "1.5",
            "1.50",
            "15e-1",
            "0.15E+1",
            "150e-2",
            "1.5e000000000000000000000000000",
        ],
        &["1.0", "1e0", "1E+0", "10e-1", "0.01e2"],
        &["0.0", "0e0", "0e99999999999999999999", "0.000e-5"],
        &["-0.0", "-0e7"],
        &["1e400", "10e399", "0.1E401"],
        &[
            r#""é/A😀""#,
            r#""\u00e9\/\u0041\ud83d\ude00""#,
            r#""\u00E9/A\uD83D\uDE00""#,
        ],
        &[
            r#""\n\u0000\"\\""#,
            r#""\u000a\u0000\u0022\u005c""#,
            r#""\u000A\u0000\"\\""#,
        ],
        &["[]", "[ ]"],
        &["{}", " { } "],
    ];
    for group in groups {
        for text in *group {
            assert_eq!(canonical(text), canonical(group[0]), "{text}");
        }
    }
}

#[test]
fn values_that_differ_stay_different() {
    let values = [
        "0",
        "-0",
        "0.0",
        "-0.0",
        "1",
        "1.0",
        "-1",
        "-1.0",
        "10",
        "1e1",
        "1e2",
        "0.1",
        "0.10000000000000001",
        "9007199254740992",
        "9007199254740993",
        "9007199254740992.0",
        "9007199254740993.0",
        "18446744073709551615",
        "18446744073709551616",
        "340282366920938463463374607431768211456",
        "1e400",
        "1e401",
        "1e-400",
        "1e999999999999999999",
        "null",
        "true",
        "false",
        "[]",
        "{}",
        "[[]]",
        "[null]",
        "\"\"",
        "\"null\"",
        "\"1\"",
        "[1,2]",
        "[2,1]",
        "[12]",
        r#"{"a":1}"#,
        r#"{"a":"1"}"#,
        r#"{"a":{"b":1}}"#,
        r#"{"a":1,"b":1}"#,
        r#"{"":1}"#,
        "\"é\"",
        "\"e\u{301}\"",
        r#""\u0000""#,
        r#""\\u0000""#,
    ];
    let mut seen = std::collections::HashMap::new();
    for value in values {
        if let Some(other) = seen.insert(canonical(value), value) {
            panic!("{value} and {other} have the same canonical text");
        }
    }
}

#[test]
fn what_is_not_json_is_refused_with_its_place() {
    use JsonProblem::{
        DuplicateKey, HugeExponent, LoneSurrogate, Trailing, Unexpected, Unfinished,
    };
    let cases = [
        ("", 0, Unfinished),
        ("[1,", 3, Unfinished),
        ("{\"a\"", 4, Unfinished),
        ("\"abc", 4, Unfinished),
        ("\"a\nb\"", 2, Unexpected('\n')),
        ("[1,]", 3, Unexpected(']')),
        ("{\"a\":1,}", 7, Unexpected('}')),
        ("{a:1}", 1, Unexpected('a')),
        ("[1}", 2, Unexpected('}')),
        ("nul", 3, Unfinished),
        ("nulL", 3, Unexpected('L')),
        ("01", 1, Unexpected('1')),
        ("-", 1, Unfinished),
        ("1.", 2, Unfinished),
        (".5", 0, Unexpected('.')),
        ("+1", 0, Unexpected('+')),
        ("1e+", 3, Unfinished),
        ("NaN", 0, Unexpected('N')),
        ("1 2", 2, Trailing),
        ("{} é", 3, Trailing),
        (r#""\x""#, 2, Unexpected('x')),
        (r#""\u12é4""#, 5, Unexpected('é')),
        (r#""\ud800""#, 1, LoneSurrogate),
        (r#""\ud800\u0041""#, 1, LoneSurrogate),
        (r#""\ud800\u0000""#, 1, LoneSurrogate),
        (r#""\ude00""#, 1, LoneSurrogate),
        (r#"{"a":1,"b":2,"\u0061":3}"#, 13, DuplicateKey("a".into())),
        ("1e1000000000000000000", 0, HugeExponent),
    ];
    for (text, offset, problem) in cases {
        assert_eq!(
            canonical_json(text),
            Err(JsonError { offset, problem }),
            "{text}"
        );
    }
}

#[test]
fn nesting_of_any_depth_is_fine() {
    let depth = 200_000;
    let arrays = "[".repeat(depth) + &"]".repeat(depth);
    assert_eq!(canonical(&arrays), arrays);
    // Each object out of order, so that each is copied again: still one copy of each byte.
    let objects = "{\"b\":".repeat(depth) + "1" + &",\"a\":0}".repeat(depth);
    let sorted = "{\"a\":0,\"b\":".repeat(depth) + "1" + &"}".repeat(depth);
    assert!(canonical(&objects) == sorted);
    assert_eq!(
        canonical_json(&"[".repeat(depth)).map_err(|error| error.problem),
        Err(JsonProblem::Unfinished)
    );
}

fn json() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>()
            .prop_filter("JSON has only finite numbers", |number| number.is_finite())
            .prop_map(Value::from),
        prop::sample::select(vec![0.0, -0.0, 1.0, 0.1, 1e300]).prop_map(Value::from),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number,
        any::<String>().prop_map(Value::from),
        "[a-c\"\\\\\n]{0,2}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::hash_map("[a-c\u{0}-\u{20}\"é]{0,2}", inner, 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Equality that tells -0.0 from 0.0.
fn identical(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) if a.is_f64() && b.is_f64() => {
            a.as_f64().map(f64::to_bits) == b.as_f64().map(f64::to_bits)
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| identical(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, a)| b.get(key).is_some_and(|b| identical(a, b)))
        }
        _ => a == b,
    }
}

/// Writes a value in one of the many ways there are.
fn spell(value: &Value, choices: &mut impl FnMut(usize) -> usize, output: &mut String) {
    let gap = |choices: &mut dyn FnMut(usize) -> usize, output: &mut String| {
        output.push_str(["", " ", "\n\t", "\r"][choices(4)]);
    };
    gap(choices, output);
    match value {
        Value::Array(items) => {
            output.push('[');
            for (index, item) in items.iter().enumerate() {
                output.push_str(if index == 0 { "" } else { "," });
                spell(item, choices, output);
            }
            gap(choices, output);
            output.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            for index in (1..members.len()).rev() {
                members.swap(index, choices(index + 1));
            }
            output.push('{');
            for (index, (key, member)) in members.into_iter().enumerate() {
                output.push_str(if index == 0 { "" } else { "," });
                spell(&Value::from(key.as_str()), choices, output);
                gap(choices, output);
                output.push(':');
                spell(member, choices, output);
            }
            gap(choices, output);
            output.push('}');
        }
        Value::String(text) => {
            output.push('"');
            for character in text.chars() {
                let must = matches!(character, '"' | '\\' | '\0'..='\u{1f}');
                if must || choices(3) == 0 {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        write!(output, "\\u{unit:04x}").unwrap();
                    }
                } else {
                    output.push(character);
                }
            }
            output.push('"');
        }
        Value::Number(number) if number.is_f64() => {
            let plain = number.to_string();
            if choices(2) == 0 || plain.contains('e') {
                output.push_str(&plain);
            } else {
                output.push_str(&plain);
                output.push_str(["0", "e0", "0E+00"][choices(3)]);
            }
        }
        other => output.push_str(&other.to_string()),
    }
    gap(choices, output);
}

fn spelled(value: &Value, mut seed: u64) -> String {
    let mut text = String::new();
    let mut choices = |count: usize| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % count
    };
    spell(value, &mut choices, &mut text);
    text
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn however_a_value_is_spelled_its_text_is_one(value in json(), first: u64, second: u64) {
        let one = canonical(&spelled(&value, first));
        prop_assert_eq!(&one, &canonical(&spelled(&value, second)));
        prop_assert_eq!(canonical(&one), one.clone());
        // Nothing is lost on the way: what the text says is what the value was.
        prop_assert!(identical(&serde_json::from_str::<Value>(&one).unwrap(), &value));
    }

    #[test]
    fn different_values_have_different_texts(a in json(), b in json()) {
        prop_assert_eq!(canonical(&a.to_string()) == canonical(&b.to_string()), identical(&a, &b));
    }

    #[test]
    fn a_plain_run_ends_where_the_first_special_byte_is(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let special = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
        prop_assert_eq!(plain_run(&bytes), bytes.iter().position(special).unwrap_or(bytes.len()));
        let tamer: Vec<u8> = bytes.iter().map(|byte| byte | 0x40).collect();
        prop_assert_eq!(plain_run(&tamer), tamer.iter().position(special).unwrap_or(tamer.len()));
    }

    #[test]
    fn numbers_are_equal_when_their_decimal_values_are(
        digits in "[1-9][0-9]{0,30}", scale in -40i32..40, zeros in 0usize..5, shift in 0usize..5,
    ) {
        let plain = format!("{digits}e{scale}");
        let padded = format!("{digits}{}e{}", "0".repeat(zeros), scale - i32::try_from(zeros).unwrap());
        let point = shift.min(digits.len() - 1);
        let (whole, fraction) = digits.split_at(digits.len() - point);
        let pointed = format!("{whole}.{fraction}0e{}", scale + i32::try_from(point).unwrap());
        prop_assert_eq!(canonical(&plain), canonical(&padded));
        prop_assert_eq!(canonical(&plain), canonical(&pointed));
        let last = digits.chars().last().unwrap();
        let other = format!("{}{}e{scale}", &digits[..digits.len() - 1], if last == '9' { '1' } else { '9' });
        prop_assert_ne!(canonical(&plain), canonical(&other));
    }

    #[test]
    fn it_accepts_what_serde_json_accepts(text in "[\\[\\]{},:\"\\\\ue0-9.+\\- tnrfalsE\n]{0,12}") {
        // A raw value is checked for its grammar only: no rounding, no duplicate keys, no surrogates.
        let theirs = serde_json::from_str::<&serde_json::value::RawValue>(text.trim_matches(['\n', ' '])).is_ok();
        match canonical_json(&text) {
            Ok(_) => prop_assert!(theirs, "we accept {text:?}"),
            Err(JsonError { problem: JsonProblem::DuplicateKey(_) | JsonProblem::LoneSurrogate, .. }) => {}
            Err(error) => prop_assert!(!theirs, "we refuse {text:?}: {error}"),
        }
    }
}
