//! Items that are commands themselves: each is split into words as a shell does, or run by a shell.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::item::Item;
use super::template::Template;
use super::word::PlaceholderValues;
use crate::escape::{plain, text_of};
use crate::value;

/// How an item becomes a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ItemCommand {
    /// The item is filled into a command with placeholders.
    Template(Template),
    /// The item is the command.
    Line(LineInterpreter),
}

/// Who reads the line of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LineInterpreter {
    /// The line is split into words. Syntax that only a shell understands is refused.
    Words,
    /// This shell runs it.
    Shell(OsString),
}

impl ItemCommand {
    /// Returns the command with its placeholders, if the items are no commands.
    pub(crate) fn template(&self) -> Option<&Template> {
        match self {
            Self::Template(template) => Some(template),
            Self::Line(_) => None,
        }
    }

    /// Returns the command of an item: its program and its arguments.
    pub(crate) fn expand(&self, values: PlaceholderValues<'_>) -> Result<Vec<OsString>, String> {
        match self {
            Self::Template(template) => Ok(template.expand(values)),
            Self::Line(reader) => reader.words(values.item),
        }
    }

    /// Whether the item is a line without a command: an empty line or a comment.
    pub(crate) fn skips(&self, item: &Item) -> bool {
        let is_line = matches!(self, Self::Line(_));
        is_line && matches!(item.joined().trim_ascii_start(), [] | [b'#', ..])
    }
}

impl LineInterpreter {
    fn words(&self, item: &Item) -> Result<Vec<OsString>, String> {
        let line = item.joined();
        if let Self::Shell(shell) = self {
            let words = [shell, OsStr::new("-c"), OsStr::from_bytes(&line)];
            return Ok(words.map(OsStr::to_owned).into());
        }
        let Ok(text) = std::str::from_utf8(&line) else {
            let told = plain(&text_of(&line)).into_owned();
            return Err(format!(
                "the command `{told}` is not UTF-8, so it cannot be split into words: use --shell to run it as it is"
            ));
        };
        let split = value::split_words(text)
            .map_err(|error| format!("the command `{}` cannot be split: {error}", plain(text)))?;
        match split.shell_syntax {
            Some(syntax) => Err(format!(
                "`{}` in the command `{}` is shell syntax: use --shell to run each line in a shell",
                plain(&syntax),
                plain(text)
            )),
            None => Ok(split.words.into_iter().map(OsString::from).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(reader: LineInterpreter, line: &str) -> Result<Vec<String>, String> {
        let item = Item::from(line);
        let values = PlaceholderValues {
            item: &item,
            number: 1,
            slot: None,
        };
        let words = ItemCommand::Line(reader).expand(values)?;
        Ok(words
            .into_iter()
            .map(|word| word.into_string().unwrap())
            .collect())
    }

    #[test]
    fn a_line_is_split_into_words_as_a_shell_does() {
        let split = |line| words(LineInterpreter::Words, line);
        assert_eq!(
            split("echo 'a b'  c\\ d {}").unwrap(),
            ["echo", "a b", "c d", "{}"]
        );
        for line in ["echo a | wc", "echo $HOME", "a && b", "echo 'open"] {
            let refused = split(line).unwrap_err();
            assert!(refused.contains(line), "{refused}");
        }
    }

    #[test]
    fn a_shell_gets_the_line_as_it_is() {
        let line = "echo $HOME | wc -c # {}";
        assert_eq!(
            words(LineInterpreter::Shell("sh".into()), line).unwrap(),
            ["sh", "-c", line]
        );
    }

    #[test]
    fn blank_lines_and_comments_are_no_commands() {
        let lines = ItemCommand::Line(LineInterpreter::Words);
        for (line, is_skipped) in [
            ("  ", true),
            (" # x", true),
            ("echo #", false),
            ("x", false),
        ] {
            assert_eq!(lines.skips(&Item::from(line)), is_skipped, "{line:?}");
        }
    }
}
