//! As much of XML as a report needs, read strictly: what is not well formed is refused.

/// An XML element with its attributes, its text and its children.
#[derive(Debug, Default)]
pub(super) struct Element {
    pub(super) name: String,
    pub(super) attributes: Vec<(String, String)>,
    pub(super) elements: Vec<Element>,
    pub(super) text: String,
}

impl Element {
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Parses a document, and fails the test if it is not well formed.
pub(super) fn read(text: &str) -> Element {
    let is_character = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..);
    assert!(text.chars().all(is_character), "no character of XML");
    let rest = text.strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>");
    let mut reader = Reader(rest.expect("a declaration").trim_start());
    let root = reader.element();
    assert_eq!(reader.0.trim(), "", "something follows the document");
    root
}

struct Reader<'a>(&'a str);

impl<'a> Reader<'a> {
    fn take(&mut self, expected: &str) {
        let rest = self.0.strip_prefix(expected);
        assert!(rest.is_some(), "no {expected} at {:.40}", self.0);
        self.0 = rest.unwrap_or_default();
    }

    /// Takes the text before the first of these characters.
    fn until(&mut self, ends: &[char]) -> &'a str {
        let end = self.0.find(ends).expect("an end");
        let (before, rest) = self.0.split_at(end);
        self.0 = rest;
        before
    }

    fn name(&mut self) -> String {
        let name = self.until(&[' ', '=', '/', '>', '<', '\n']);
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        assert!(!name.is_empty() && name.chars().all(is_name), "{name:?}");
        name.to_owned()
    }

    fn element(&mut self) -> Element {
        self.take("<");
        let mut element = Element {
            name: self.name(),
            ..Element::default()
        };
        loop {
            let before = self.0;
            self.0 = self.0.trim_start();
            if self.0.starts_with("/>") {
                self.take("/>");
                return element;
            }
            if self.0.starts_with('>') {
                break;
            }
            assert_ne!(before, self.0, "a blank before an attribute");
            let name = self.name();
            self.take("=\"");
            let value = unescaped(self.until(&['"']));
            self.take("\"");
            assert_eq!(element.attribute(&name), None, "{name} twice");
            element.attributes.push((name, value));
        }
        self.take(">");
        loop {
            element.text += &unescaped(self.until(&['<']));
            if self.0.starts_with("</") {
                self.take("</");
                assert_eq!(self.name(), element.name);
                self.take(">");
                return element;
            }
            element.elements.push(self.element());
        }
    }
}

fn unescaped(text: &str) -> String {
    assert!(!text.contains('<') && !text.contains("]]>"), "{text}");
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        let (name, after) = after.split_once(';').expect("an & begins something");
        out.push_str(before);
        out.push(match name {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            number => {
                let code = number.strip_prefix('#').and_then(|code| code.parse().ok());
                char::from_u32(code.expect("a number")).expect("a character")
            }
        });
        rest = after;
    }
    out + rest
}
