//! The arguments of a task: a map, or text with `key=value` in it.

use super::PlaybookReader;
use crate::data::{Data, Entry, Value};
use crate::files::Place;

/// The arguments of a task for its module.
#[derive(Debug, Clone)]
pub(crate) struct Arguments {
    /// The text that is not `key=value`: the command, or the name of an included file.
    pub(crate) free: Option<Data>,
    /// The named arguments, in the order of the file.
    pub(crate) named: Vec<Entry>,
}

/// The modules whose text is a command.
const COMMANDS: [&str; 4] = ["command", "shell", "script", "raw"];
/// The names that may be given as `key=value` in the text of such a command.
const NAMES_IN_COMMANDS: [&str; 8] = [
    "chdir",
    "creates",
    "executable",
    "expand_argument_vars",
    "removes",
    "stdin",
    "stdin_add_newline",
    "strip_empty_ends",
];

/// Other modules that accept text without a name.
const WITH_TEXT: [&str; 8] = [
    "add_host",
    "group_by",
    "import_role",
    "import_tasks",
    "include_role",
    "include_tasks",
    "include_vars",
    "meta",
];

impl Arguments {
    /// Returns the argument of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&Entry> {
        self.named.iter().find(|entry| entry.name == name)
    }
}

impl PlaybookReader {
    /// Reads the value after the name of a module, and the map under `args`, whose entries have lower precedence.
    pub(super) fn arguments(
        &mut self,
        module: &str,
        written: Data,
        more: Option<Data>,
    ) -> Arguments {
        let mut arguments = Arguments {
            free: None,
            named: Vec::new(),
        };
        match written.value {
            Value::Null => {}
            Value::Map(entries) => arguments.named = entries,
            Value::Text(text) => self.text_arguments(module, &text, written.place, &mut arguments),
            Value::Unsafe(_) => arguments.free = Some(written),
            // `meta: true` would be a typing error, but `include_vars: 1` is a file.
            Value::Number(number) => {
                let text = number.to_string();
                self.text_arguments(module, &text, written.place, &mut arguments);
            }
            _ => {
                let message = format!(
                    "the arguments of `{module}` have to be a map or text, not {}",
                    written.kind()
                );
                self.files.refuse(written.place, message);
            }
        }
        if let Some(Value::Map(entries)) = more.map(|data| data.value) {
            for entry in entries {
                if arguments.get(&entry.name).is_none() {
                    arguments.named.push(entry);
                }
            }
        }
        arguments
    }

    /// Reads the arguments of a task that are written as one text.
    fn text_arguments(&mut self, module: &str, text: &str, place: Place, into: &mut Arguments) {
        let is_command = COMMANDS.contains(&module);
        let words = match split(text) {
            Ok(words) => words,
            // A shell may accept an unpaired quote, for example in a comment.
            Err(_) if is_command => {
                into.free = Some(Data::of_text(text, place));
                return;
            }
            Err(reason) => {
                self.files.refuse_with_help(
                    place,
                    format!("these arguments cannot be read: {reason}"),
                    "write them as a map",
                );
                return;
            }
        };
        let mut rest = String::new();
        let mut end = 0;
        let mut ends_free = false;
        for word in &words {
            let written = &text[word.clone()];
            let before = &text[end..word.start];
            let is_first = end == 0;
            end = word.end;
            let named = name_and_value(written)
                .filter(|(name, _)| !is_command || NAMES_IN_COMMANDS.contains(name));
            ends_free = named.is_none();
            if let Some((name, value)) = named {
                let data = Data::of_text(unquoted(value), place);
                into.named.push(Entry::new(name, place, data));
            } else {
                // A command keeps the blanks around it, as with Ansible.
                if !rest.is_empty() || is_command && is_first {
                    rest.push_str(before);
                }
                rest.push_str(written);
            }
        }
        if is_command && ends_free {
            rest.push_str(&text[end..]);
        }
        if rest.is_empty() {
            return;
        }
        into.free = Some(Data::of_text(rest, place));
        // A word that may be a misspelt keyword is refused only once its module was found.
        if crate::known_modules::is_module(module) {
            self.refuse_text(module, into);
        }
    }

    /// Refuses text without a name among the arguments of a module that accepts none.
    pub(crate) fn refuse_text(&mut self, module: &str, arguments: &Arguments) {
        let Some(free) = &arguments.free else { return };
        let Value::Text(text) = &free.value else {
            return;
        };
        let accepts_text = COMMANDS.contains(&module) || WITH_TEXT.contains(&module);
        if !accepts_text && !crate::data::is_template(text) {
            let message = format!("`{text}` is not an argument: `{module}` takes `name=value`");
            let help = "write the arguments as a map below the module";
            self.files.refuse_with_help(free.place, message, help);
        }
    }
}

/// Returns the names and values of a text of nothing else, or what is wrong with it.
pub(super) fn named_words(text: &str) -> Result<Vec<(String, String)>, String> {
    let words = split(text)?.into_iter().map(|word| &text[word]);
    let read = words.map(|word| match name_and_value(word) {
        Some((name, value)) => Ok((name.to_owned(), unquoted(value).to_owned())),
        None => Err(format!("`{word}` is not of the form `name=value`")),
    });
    read.collect()
}

/// Splits `name=value`.
fn name_and_value(word: &str) -> Option<(&str, &str)> {
    let at = word.match_indices('=').map(|(at, _)| at);
    let at = at
        .into_iter()
        .find(|at| *at > 0 && word.as_bytes()[at - 1] != b'\\')?;
    let (name, value) = (word[..at].trim(), word[at + 1..].trim());
    super::settings::is_name(name).then_some((name, value))
}

/// Removes the quotes around a text.
fn unquoted(text: &str) -> &str {
    for quote in ['"', '\''] {
        if text.len() > 1
            && text.starts_with(quote)
            && text.ends_with(quote)
            && !text.ends_with(&format!("\\{quote}"))
        {
            return &text[1..text.len() - 1];
        }
    }
    text
}

/// Splits a text at blanks that are neither in quotes nor in a template. Each word is its range.
fn split(text: &str) -> Result<Vec<std::ops::Range<usize>>, &'static str> {
    let bytes = text.as_bytes();
    let mut words = Vec::new();
    let (mut at, mut start) = (0, None);
    let (mut quote, mut braces) = (None, 0_usize);
    while at < bytes.len() {
        let byte = bytes[at];
        let pair = bytes.get(at + 1).map(|next| (byte, *next));
        if start.is_none() && !byte.is_ascii_whitespace() {
            start = Some(at);
        }
        match (quote, pair) {
            (None, Some((b'{', b'{' | b'%' | b'#'))) => {
                braces += 1;
                at += 1;
            }
            (None, Some((b'}' | b'%' | b'#', b'}'))) if braces > 0 => {
                braces -= 1;
                at += 1;
            }
            (_, Some((b'\\', _))) => at += 1,
            (Some(open), _) if byte == open => quote = None,
            (None, _) if braces == 0 && matches!(byte, b'"' | b'\'') => quote = Some(byte),
            (None, _) if braces == 0 && byte.is_ascii_whitespace() => {
                words.extend(start.take().map(|start| start..at));
            }
            _ => {}
        }
        at += 1;
    }
    if quote.is_some() {
        return Err("a quote is not closed");
    }
    if braces > 0 {
        return Err("a template is not closed");
    }
    words.extend(start.map(|start| start..bytes.len()));
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_end_at_blanks_outside_of_quotes_and_templates() {
        let words = |text: &'static str| -> Vec<&'static str> {
            let words = split(text).unwrap().into_iter();
            words.map(|word| &text[word]).collect()
        };
        assert_eq!(words(" a  b=c\nd "), ["a", "b=c", "d"]);
        assert_eq!(words("a='b c' \"d e\"f"), ["a='b c'", "\"d e\"f"]);
        assert_eq!(
            words("x={{ y | d('a b') }} z"),
            ["x={{ y | d('a b') }}", "z"]
        );
        assert_eq!(
            words("{% if a %}b c{% endif %} d"),
            ["{% if a %}b", "c{% endif %}", "d"]
        );
        assert_eq!(words(r"a\ b c"), [r"a\ b", "c"]);
        assert!(split("'open").is_err());
        assert!(split("{{ open").is_err());
    }

    #[test]
    fn only_a_name_before_the_sign_makes_an_argument() {
        assert_eq!(name_and_value("a=b=c"), Some(("a", "b=c")));
        assert_eq!(name_and_value(r"a\=b"), None);
        assert_eq!(name_and_value("--a=b"), None);
        assert_eq!(name_and_value("=b"), None);
        assert_eq!(unquoted("'a b'"), "a b");
        assert_eq!(unquoted("'a"), "'a");
    }
}
