//! Normalizes inputs that differ only in their layout to the same text.

use std::borrow::Cow;

/// The nesting depth up to which an input is rewritten, which limits the recursion.
const MAX_DEPTH: usize = 128;

/// Returns the text of a JSON value without white space, and with the members of its objects sorted.
///
/// Numbers and strings stay as they are spelled, so no number is ever rounded, and `1` differs from `1.0`. Another
/// spelling of the same value costs one more run of its job. A text that is not JSON is returned unchanged. So is a
/// text in which sorting could change its meaning for a reader: an object with a key twice, because readers disagree on
/// which one wins, and an object with an escape in a key, because two spellings may be the same key.
pub(super) fn canonical(text: &str) -> Cow<'_, [u8]> {
    let mut writer = Writer {
        text: text.as_bytes(),
        position: 0,
        output: Vec::with_capacity(text.len()),
    };
    match writer.value(0) {
        Some(()) if writer.peek().is_none() => Cow::Owned(writer.output),
        _ => Cow::Borrowed(text.as_bytes()),
    }
}

/// Reads a JSON text and writes its canonical form.
struct Writer<'a> {
    text: &'a [u8],
    /// The offset of the next byte of `text` that is read.
    position: usize,
    output: Vec<u8>,
}

/// The position of a member of an object in the output.
#[derive(Clone, Copy)]
struct Member {
    /// The offset at which the key begins.
    start: usize,
    /// The offset at which the key ends.
    key_end: usize,
    /// The offset at which the value ends.
    end: usize,
}

impl Writer<'_> {
    /// Skips white space, and returns the next byte without consuming it.
    fn peek(&mut self) -> Option<u8> {
        let rest = &self.text[self.position..];
        let blank = rest
            .iter()
            .take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
        self.position += blank.count();
        self.text.get(self.position).copied()
    }

    /// Copies this byte to the output if it is the next one.
    fn take(&mut self, wanted: u8) -> Option<()> {
        (self.peek()? == wanted).then(|| self.copy(1))
    }

    /// Copies bytes to the output unchanged.
    fn copy(&mut self, count: usize) {
        let end = self.position + count;
        self.output
            .extend_from_slice(&self.text[self.position..end]);
        self.position = end;
    }

    /// Copies a value to the output. Returns `None` if there is none, or if it cannot be sorted.
    fn value(&mut self, depth: usize) -> Option<()> {
        if depth == MAX_DEPTH {
            return None;
        }
        match self.peek()? {
            b'"' => self.string().map(|_| ()),
            b'[' => {
                self.copy(1);
                if self.take(b']').is_some() {
                    return Some(());
                }
                loop {
                    self.value(depth + 1)?;
                    if self.take(b',').is_none() {
                        return self.take(b']');
                    }
                }
            }
            b'{' => self.object(depth),
            _ => {
                let is_scalar =
                    |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
                let rest = &self.text[self.position..];
                let length = rest.iter().take_while(is_scalar).count();
                self.copy(length);
                (length > 0).then_some(())
            }
        }
    }

    /// Copies an object to the output, and sorts its members.
    fn object(&mut self, depth: usize) -> Option<()> {
        self.copy(1);
        if self.take(b'}').is_some() {
            return Some(());
        }
        let mut members = Vec::new();
        loop {
            self.peek()?;
            let start = self.output.len();
            if self.string()? {
                return None;
            }
            let key_end = self.output.len();
            self.take(b':')?;
            self.value(depth + 1)?;
            let end = self.output.len();
            members.push(Member {
                start,
                key_end,
                end,
            });
            if self.take(b',').is_none() {
                break;
            }
        }
        self.sort(members)?;
        self.take(b'}')
    }

    /// Sorts the members of the object that ends here. Returns `None` if a key occurs twice.
    fn sort(&mut self, mut members: Vec<Member>) -> Option<()> {
        let output = &self.output;
        let key = |member: &Member| &output[member.start..member.key_end];
        if members.is_sorted_by(|a, b| key(a) < key(b)) {
            return Some(());
        }
        let first = members.first()?.start;
        members.sort_unstable_by(|a, b| key(a).cmp(key(b)));
        if members
            .windows(2)
            .any(|pair| key(&pair[0]) == key(&pair[1]))
        {
            return None;
        }
        let texts: Vec<&[u8]> = members
            .iter()
            .map(|member| &output[member.start..member.end])
            .collect();
        let sorted = texts.join(&b',');
        self.output.truncate(first);
        self.output.extend_from_slice(&sorted);
        Some(())
    }

    /// Copies a string to the output. Returns whether it contains an escape.
    fn string(&mut self) -> Option<bool> {
        let rest = self.text[self.position..].strip_prefix(b"\"")?;
        let (mut length, mut escapes) = (0, false);
        loop {
            let ends = |byte: &u8| matches!(byte, b'"' | b'\\');
            length += rest.get(length..)?.iter().position(ends)?;
            if rest[length] == b'"' {
                self.copy(length + 2);
                return Some(escapes);
            }
            escapes = true;
            length += 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn text(json: &str) -> String {
        String::from_utf8(canonical(json).into_owned()).unwrap()
    }

    #[test]
    fn white_space_and_the_order_of_members_do_not_matter() {
        for (spelled, expected) in [
            (" [ 1 , 2 ] ", "[1,2]"),
            ("{ \"b\" : 1,\n\"a\":\t[] }\r\n", r#"{"a":[],"b":1}"#),
            (
                r#"[{"b": {"z": 1, "y": " a b "}, "a": null}, {}]"#,
                r#"[{"a":null,"b":{"y":" a b ","z":1}},{}]"#,
            ),
            (
                r#"{"a\"": 1} "#,
                // An escape in a key: the text stays unchanged.
                r#"{"a\"": 1} "#,
            ),
            (r#""\" \\" "#, r#""\" \\""#),
        ] {
            assert_eq!(text(spelled), expected);
        }
    }

    #[test]
    fn what_is_spelled_in_another_way_is_something_else() {
        let spelled = [
            "1",
            "1.0",
            "1.00",
            "10e-1",
            "-0",
            "0",
            "9007199254740993",
            "9007199254740992",
            "1e999",
            "\"A\"",
            "\"\\u0041\"",
            "\"\\ud800\"",
            "[1,2]",
            "[2,1]",
            "[12]",
            "null",
            "\"null\"",
            "{}",
            "[]",
            "{\"a\":1}",
            "{\"A\":1}",
        ];
        let texts: std::collections::HashSet<String> =
            spelled.iter().map(|spelled| text(spelled)).collect();
        assert_eq!(texts.len(), spelled.len());
    }

    #[test]
    fn what_cannot_be_sorted_counts_as_it_stands() {
        let deep = format!("{}1{}", "[ ".repeat(500), "]".repeat(500));
        for spelled in [
            r#"{"a": 1, "a": 2}"#,
            r#"{"b": 1, "a": 2, "b": 1}"#,
            // One key in two spellings: most readers use the last one.
            r#"{"a": 1, "\u0061": 2}"#,
            &deep,
            "",
            " ",
            "{ ",
            "[1 2]",
            "[1, ]",
            "{\"a\" 1}",
            "{\"a\": }",
            "{a: 1}",
            "1 2",
            "\"a",
            "\"a\\",
            "[1] x",
        ] {
            assert_eq!(text(spelled), spelled);
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[ a-c\"\\\\\n]{0,4}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(("[ a-d]{0,2}", inner), 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn layouts_of_one_value_are_one_text_and_it_means_the_same(value in value()) {
            let (compact, pretty) = (value.to_string(), serde_json::to_string_pretty(&value).unwrap());
            prop_assert_eq!(text(&compact), text(&pretty));
            let read: Value = serde_json::from_str(&text(&pretty)).unwrap();
            prop_assert_eq!(read, value);
        }

        #[test]
        fn no_text_makes_it_panic(spelled in "[\\[\\]{},:\"\\\\ a1\u{e9}]{0,20}") {
            let _ = canonical(&spelled);
        }
    }
}
