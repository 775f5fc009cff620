//! The command with its placeholders: it is parsed once, and filled in for every item.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use ratchet_runtime::SlotNumber;

use super::item::Item;
use super::path_part::PathPart;
use super::placeholder::{Piece, Placeholder};
use super::shell;
use crate::error::CliError;
use crate::escape::{plain, text_of};
use crate::value::closest;

/// A command with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    words: Vec<TemplateWord>,
}

/// A path with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PathTemplate(TemplateWord);

impl PathTemplate {
    /// Parses a path.
    pub(crate) fn parse(path: &OsStr, columns: Columns<'_>) -> Result<Self, CliError> {
        let pieces = parse_word(path.as_bytes(), columns)?;
        if uses_slot(&pieces) {
            let path = plain(&text_of(path.as_bytes())).into_owned();
            return Err(
                CliError::usage(format!("{{%}} cannot be part of the path `{path}`")).with_help(
                    "the slot is known only when the job starts: name files by {#}, or by the item",
                ),
            );
        }
        Ok(Self(pieces))
    }

    /// The path for an item.
    pub(crate) fn expand(&self, item: &Item, number: u64) -> OsString {
        let slot = None;
        let values = PlaceholderValues { item, number, slot };
        expand_word(&self.0, values)
    }
}

/// What the placeholders of a command stand for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlaceholderValues<'a> {
    /// The item.
    pub(crate) item: &'a Item,
    /// The number of the item, from 1 on.
    pub(crate) number: u64,
    /// The slot in which the command runs. Before it is known, `{%}` stays as it is.
    pub(crate) slot: Option<SlotNumber>,
}

/// A word of the command.
type TemplateWord = Vec<Piece>;

/// The number and the names of the columns, as they are known before the first item.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Columns<'a> {
    /// How many columns each item has.
    pub(crate) count: usize,
    /// The names of the columns, if they have any.
    pub(crate) names: &'a [Vec<u8>],
}

#[cfg(test)]
impl Columns<'static> {
    /// The columns of items that are not split.
    pub(crate) const ONE: Self = Self {
        count: 1,
        names: &[],
    };
}

impl Template {
    /// Parses a command. If it has no placeholder, each column becomes an argument at its end.
    pub(crate) fn parse(words: &[OsString], columns: Columns<'_>) -> Result<Self, CliError> {
        let mut words: Vec<TemplateWord> = words
            .iter()
            .map(|word| parse_word(word.as_bytes(), columns))
            .collect::<Result<_, _>>()?;
        if !words.iter().any(|word| has_placeholder(word)) {
            words.extend((0..columns.count).map(|column| {
                vec![Piece::Placeholder(Placeholder::Column(
                    column,
                    PathPart::Whole,
                ))]
            }));
        }
        Ok(Self { words })
    }

    /// Parses a script for `sh -c`. The shell gets the values of placeholders as parameters, so nothing in an item is
    /// ever read as part of the script.
    pub(crate) fn shell(words: &[OsString], columns: Columns<'_>) -> Result<Self, CliError> {
        let script = words.join(OsStr::new(" "));
        let mut pieces = parse_word(script.as_bytes(), columns)?;
        if !has_placeholder(&pieces) {
            for column in 0..columns.count {
                pieces.push(Piece::Literal(b" ".to_vec()));
                pieces.push(Piece::Placeholder(Placeholder::Column(
                    column,
                    PathPart::Whole,
                )));
            }
        }
        let (script, parameters) = shell::script(pieces);
        let mut words: Vec<TemplateWord> = [b"sh".to_vec(), b"-c".to_vec(), script, b"sh".to_vec()]
            .map(|word| vec![Piece::Literal(word)])
            .into();
        words.extend(
            parameters
                .into_iter()
                .map(|one| vec![Piece::Placeholder(one)]),
        );
        Ok(Self { words })
    }

    /// Whether a command has a placeholder.
    pub(crate) fn has_placeholder(
        words: &[OsString],
        columns: Columns<'_>,
    ) -> Result<bool, CliError> {
        for word in words {
            if has_placeholder(&parse_word(word.as_bytes(), columns)?) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The program, if it is the same for every item.
    pub(crate) fn program(&self) -> Option<&OsStr> {
        match self.words.first()?.as_slice() {
            [Piece::Literal(program)] => Some(OsStr::from_bytes(program)),
            _ => None,
        }
    }

    /// Whether the command depends on the slot in which it runs.
    pub(crate) fn uses_slot(&self) -> bool {
        self.words.iter().any(|word| uses_slot(word))
    }

    /// The command for an item: its program and its arguments.
    pub(crate) fn expand(&self, values: PlaceholderValues<'_>) -> Vec<OsString> {
        let words = self.words.iter();
        words.map(|word| expand_word(word, values)).collect()
    }
}

fn uses_slot(pieces: &[Piece]) -> bool {
    pieces.contains(&Piece::Placeholder(Placeholder::Slot))
}

fn has_placeholder(pieces: &[Piece]) -> bool {
    pieces
        .iter()
        .any(|piece| matches!(piece, Piece::Placeholder(_)))
}

#[expect(
    clippy::expect_used,
    reason = "a template names only columns below the number of columns, and a record of another number is no item"
)]
fn expand_word(pieces: &[Piece], values: PlaceholderValues<'_>) -> OsString {
    let PlaceholderValues { item, number, slot } = values;
    let mut text = Vec::with_capacity(pieces.len() * 24);
    for piece in pieces {
        match piece {
            Piece::Literal(literal) => text.extend_from_slice(literal),
            Piece::Placeholder(Placeholder::Number) => {
                text.extend_from_slice(number.to_string().as_bytes());
            }
            Piece::Placeholder(Placeholder::Slot) => match slot {
                Some(slot) => text.extend_from_slice(slot.to_string().as_bytes()),
                None => text.extend_from_slice(b"{%}"),
            },
            Piece::Placeholder(Placeholder::Column(column, part)) => {
                let column = item.column(*column).expect("every item has the column");
                text.extend_from_slice(part.of(column));
            }
            Piece::Placeholder(Placeholder::All(part)) => {
                for (index, column) in item.columns().enumerate() {
                    if index > 0 {
                        text.push(b' ');
                    }
                    text.extend_from_slice(part.of(column));
                }
            }
        }
    }
    OsString::from_vec(text)
}

fn parse_word(word: &[u8], columns: Columns<'_>) -> Result<Vec<Piece>, CliError> {
    let mut pieces = Vec::new();
    let mut literal = Vec::new();
    let mut rest = word;
    while let Some(open) = rest.iter().position(|byte| *byte == b'{') {
        literal.extend_from_slice(&rest[..open]);
        rest = &rest[open..];
        // `{{x}}` stands for `{x}` if `{x}` would be a placeholder.
        if let Some(inner) = rest.strip_prefix(b"{{")
            && let Some(close) = inner.windows(2).position(|two| two == b"}}")
            && placeholder(&inner[..close], columns)?.is_some()
        {
            literal.extend_from_slice(&rest[1..close + 3]);
            rest = &inner[close + 2..];
            continue;
        }
        let close = rest.iter().position(|byte| *byte == b'}');
        let found = match close {
            Some(close) => placeholder(&rest[1..close], columns)?.zip(Some(close)),
            None => None,
        };
        let Some((placeholder, close)) = found else {
            literal.push(b'{');
            rest = &rest[1..];
            continue;
        };
        if !literal.is_empty() {
            pieces.push(Piece::Literal(std::mem::take(&mut literal)));
        }
        pieces.push(Piece::Placeholder(placeholder));
        rest = &rest[close + 1..];
    }
    literal.extend_from_slice(rest);
    if !literal.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    Ok(pieces)
}

/// Parses the text between braces. Returns nothing if it is no placeholder.
fn placeholder(inner: &[u8], columns: Columns<'_>) -> Result<Option<Placeholder>, CliError> {
    if inner == b"#" {
        return Ok(Some(Placeholder::Number));
    }
    if inner == b"%" {
        return Ok(Some(Placeholder::Slot));
    }
    if let Some(part) = PathPart::from_suffix(inner) {
        return Ok(Some(Placeholder::All(part)));
    }
    let named = columns.names.iter().enumerate().find_map(|(column, name)| {
        let suffix = inner.strip_prefix(name.as_slice())?;
        Some(Placeholder::Column(column, PathPart::from_suffix(suffix)?))
    });
    if named.is_some() {
        return Ok(named);
    }
    let digits = inner
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let (number, suffix) = inner.split_at(digits);
    let number = std::str::from_utf8(number)
        .ok()
        .and_then(|text| text.parse::<usize>().ok());
    if let (Some(number), Some(part)) = (number, PathPart::from_suffix(suffix)) {
        return match number
            .checked_sub(1)
            .filter(|column| *column < columns.count)
        {
            Some(column) => Ok(Some(Placeholder::Column(column, part))),
            None => Err(no_column(number, columns)),
        };
    }
    refuse_misspelt(inner, columns)?;
    Ok(None)
}

fn no_column(number: usize, columns: Columns<'_>) -> CliError {
    let there_are = match columns.count {
        0 => {
            return CliError::usage(format!(
                "there is no {{{number}}}: --each-host has no items"
            ))
            .with_help("write {host} for the name of the host");
        }
        1 => "items have one column".to_owned(),
        count => format!("items have {count} columns"),
    };
    CliError::usage(format!(
        "there is no {{{number}}}: {there_are}, and the first is {{1}}"
    ))
    .with_help(format!(
        "write {{{{{number}}}}} for the characters {{{number}}}"
    ))
}

/// Refuses braces whose text is almost the name of a column.
fn refuse_misspelt(inner: &[u8], columns: Columns<'_>) -> Result<(), CliError> {
    let names = columns
        .names
        .iter()
        .filter_map(|name| std::str::from_utf8(name).ok());
    let Some((typed, meant)) = std::str::from_utf8(inner)
        .ok()
        .and_then(|typed| Some((typed, closest(typed, names)?)))
    else {
        return Ok(());
    };
    Err(CliError::usage(format!("there is no column `{typed}`"))
        .with_help(format!("did you mean {{{meant}}}?")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    fn of(item: &Item, number: u64) -> PlaceholderValues<'_> {
        let slot = None;
        PlaceholderValues { item, number, slot }
    }

    fn expand(template: &[&str], item: &str) -> Vec<OsString> {
        let template = Template::parse(&words(template), Columns::ONE).unwrap();
        template.expand(of(&Item::from(item), 7))
    }

    #[test]
    fn fills_in_every_placeholder() {
        assert_eq!(
            expand(
                &["convert", "{}", "{.}.jpg", "{/}-{/.}", "{//}", "{#}"],
                "x/a.png"
            ),
            words(&["convert", "x/a.png", "x/a.jpg", "a.png-a", "x", "7"])
        );
        assert_eq!(
            expand(&["echo", "{1} {1/}"], "x/y"),
            words(&["echo", "x/y y"])
        );
    }

    #[test]
    fn without_a_placeholder_the_item_comes_last() {
        assert_eq!(
            expand(&["gzip", "-9"], "a b"),
            words(&["gzip", "-9", "a b"])
        );
    }

    #[test]
    fn other_braces_stand_as_they_are() {
        assert_eq!(
            expand(
                &["awk", "{print $1}", r#"{"a":{}}"#, "{", "}", "{foo}", "{}"],
                "f"
            ),
            words(&["awk", "{print $1}", r#"{"a":f}"#, "{", "}", "{foo}", "f"])
        );
    }

    #[test]
    fn doubled_braces_are_braces() {
        assert_eq!(
            expand(&["echo", "{{}}", "{{.}}x{}", "{{#}}", "{{print}}"], "f"),
            words(&["echo", "{}", "{.}xf", "{#}", "{{print}}"])
        );
    }

    #[test]
    fn an_empty_word_stays_a_word() {
        assert_eq!(
            expand(&["printf", "", "{}"], "f"),
            words(&["printf", "", "f"])
        );
    }

    #[test]
    fn columns_have_numbers_and_names() {
        let names = [b"email".to_vec(), b"name".to_vec()];
        let columns = Columns {
            count: 2,
            names: &names,
        };
        let item = Item::from_columns([b"a@b.c".as_slice(), b"Ann"]);
        let template = Template::parse(
            &words(&["invite", "{email}", "{2}", "{}", "{name.}"]),
            columns,
        );
        assert_eq!(
            template.unwrap().expand(of(&item, 1)),
            words(&["invite", "a@b.c", "Ann", "a@b.c Ann", "Ann"])
        );
        let appended = Template::parse(&words(&["invite"]), columns).unwrap();
        assert_eq!(
            appended.expand(of(&item, 1)),
            words(&["invite", "a@b.c", "Ann"])
        );
        for (word, said, hint) in [
            ("{3}", "there is no {3}: items have 2 columns", "{{3}}"),
            ("{0}", "there is no {0}", "{{0}}"),
            ("{emial}", "there is no column `emial`", "{email}"),
        ] {
            let error = Template::parse(&words(&["x", word]), columns).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
            assert!(error.help().unwrap().contains(hint), "{word}");
        }
    }

    #[test]
    fn a_slot_is_filled_in_when_it_is_known_and_is_no_part_of_a_path() {
        let template = Template::parse(&words(&["x", "gpu{%}", "{{%}}"]), Columns::ONE).unwrap();
        assert!(template.uses_slot());
        let item = Item::from("f");
        let unknown = of(&item, 1);
        assert_eq!(template.expand(unknown), words(&["x", "gpu{%}", "{%}"]));
        let slot = SlotNumber::new(3);
        let known = PlaceholderValues { slot, ..unknown };
        assert_eq!(template.expand(known), words(&["x", "gpu3", "{%}"]));
        let plain = Template::parse(&words(&["x", "{}"]), Columns::ONE).unwrap();
        assert!(!plain.uses_slot());
        let error = PathTemplate::parse(OsStr::new("out/{%}"), Columns::ONE).unwrap_err();
        assert!(error.to_string().contains("out/{%}"), "{error}");
    }

    #[test]
    fn a_name_that_is_no_utf8_goes_through() {
        let template = Template::parse(&words(&["cat", "{.}x"]), Columns::ONE).unwrap();
        let item = Item::from(b"\xff/\xfe.png".as_slice());
        assert_eq!(template.expand(of(&item, 1))[1].as_bytes(), b"\xff/\xfex");
    }
}
