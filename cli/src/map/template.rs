//! The command with its placeholders: it is parsed once, and filled in for every item.

use std::ffi::{OsStr, OsString};
use std::ops::Add as _;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use ratchet_runtime::SlotNumber;

use super::groups::LineLength;
use super::item::Item;
use super::path_part::PathPart;
use super::placeholder::{Piece, Placeholder};
use super::shell;
use super::substitution::Substitution;
use crate::error::CliError;
use crate::escape::{plain, text_of};
use crate::value::closest;

/// A command with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    words: Vec<TemplateWord>,
    /// How the words follow from the columns of an item.
    use_of_columns: UseOfColumns,
}

/// How the words of a command follow from the columns of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UseOfColumns {
    /// Each word is one argument. All items have the same number of columns.
    OneItem,
    /// The columns are items of their own. A word with `{}` is repeated for each of them, and one that is nothing but an item
    /// that is not there is left out.
    SeveralItems,
    /// The same, for parameters of a shell: none is left out, since they have numbers.
    SeveralParameters,
}

/// A path with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PathTemplate {
    pieces: TemplateWord,
    use_of_columns: UseOfColumns,
}

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
        Ok(Self {
            pieces,
            use_of_columns: columns.usual_use(),
        })
    }

    /// The paths for an item: one, or one for each item of a group.
    pub(crate) fn expand(&self, item: &Item, number: u64) -> Vec<OsString> {
        let slot = None;
        let values = PlaceholderValues { item, number, slot };
        expand_word(&self.pieces, self.use_of_columns, values).collect()
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
    /// Whether each column is an item of its own. There may be fewer than `count`, or any number if that is 0.
    pub(crate) are_items: bool,
}

impl Columns<'_> {
    fn usual_use(&self) -> UseOfColumns {
        if self.are_items {
            UseOfColumns::SeveralItems
        } else {
            UseOfColumns::OneItem
        }
    }

    /// What is added to a command without a placeholder: all columns.
    fn added(&self) -> Vec<Placeholder> {
        if self.are_items {
            return vec![Placeholder::All(PathPart::Whole)];
        }
        let columns = 0..self.count;
        columns
            .map(|column| Placeholder::Column(column, PathPart::Whole))
            .collect()
    }
}

#[cfg(test)]
impl Columns<'static> {
    /// The columns of items that are not split.
    pub(crate) const ONE: Self = Self {
        count: 1,
        names: &[],
        are_items: false,
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
            let added = columns.added().into_iter();
            words.extend(added.map(|placeholder| vec![Piece::Placeholder(placeholder)]));
        }
        Ok(Self {
            words,
            use_of_columns: columns.usual_use(),
        })
    }

    /// Parses a script for `sh -c`. The shell gets the values of placeholders as parameters, so nothing in an item is
    /// ever read as part of the script.
    pub(crate) fn shell(words: &[OsString], columns: Columns<'_>) -> Result<Self, CliError> {
        let script = words.join(OsStr::new(" "));
        let mut pieces = parse_word(script.as_bytes(), columns)?;
        if !has_placeholder(&pieces) {
            for placeholder in columns.added() {
                pieces.push(Piece::Literal(b" ".to_vec()));
                pieces.push(Piece::Placeholder(placeholder));
            }
        }
        let mut use_of_columns = columns.usual_use();
        if columns.are_items {
            refuse_mixed_script(&pieces)?;
            use_of_columns = UseOfColumns::SeveralParameters;
        }
        let (script, parameters) = shell::script(pieces, columns.are_items);
        let mut words: Vec<TemplateWord> = [b"sh".to_vec(), b"-c".to_vec(), script, b"sh".to_vec()]
            .map(|word| vec![Piece::Literal(word)])
            .into();
        words.extend(
            parameters
                .into_iter()
                .map(|one| vec![Piece::Placeholder(one)]),
        );
        Ok(Self {
            words,
            use_of_columns,
        })
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
        words
            .flat_map(|word| expand_word(word, self.use_of_columns, values))
            .collect()
    }

    /// How long a command is at most without its items.
    pub(super) fn fixed_length(&self) -> LineLength {
        let words = self.words.iter().filter(|word| !has_all(word));
        words.fold(LineLength::default(), |sum, word| {
            sum + length_without_items(word)
        })
    }

    /// How much longer an item of a group makes a command at most.
    pub(super) fn added_length(&self, item: &Item) -> LineLength {
        let words = self.words.iter().map(|word| {
            let bytes = word.iter().map(|piece| bytes_of_item(piece, item)).sum();
            let added = LineLength { bytes, words: 0 };
            if has_all(word) {
                added + length_without_items(word)
            } else {
                added
            }
        });
        words.fold(LineLength::default(), LineLength::add)
    }
}

/// How many bytes of an item a piece has at most.
fn bytes_of_item(piece: &Piece, item: &Item) -> usize {
    let columns = item.columns();
    match piece {
        Piece::Placeholder(Placeholder::All(_) | Placeholder::Column(..)) => {
            columns.map(<[u8]>::len).sum()
        }
        Piece::Placeholder(Placeholder::Replaced(_, substitution)) => {
            columns.map(|column| substitution.apply(column).len()).sum()
        }
        Piece::Placeholder(Placeholder::Number | Placeholder::Slot) | Piece::Literal(_) => 0,
    }
}

/// Whether a word is repeated for each item of a group.
fn has_all(pieces: &[Piece]) -> bool {
    pieces
        .iter()
        .any(|piece| matches!(piece, Piece::Placeholder(Placeholder::All(_))))
}

/// How long a word is at most without its items.
fn length_without_items(pieces: &[Piece]) -> LineLength {
    /// The digits of the greatest number.
    const DIGITS: usize = 20;
    let pieces = pieces.iter().map(|piece| match piece {
        Piece::Literal(literal) => literal.len(),
        Piece::Placeholder(Placeholder::Number | Placeholder::Slot) => DIGITS,
        Piece::Placeholder(_) => 0,
    });
    LineLength {
        // The zero at its end counts.
        bytes: pieces.sum::<usize>() + 1,
        words: 1,
    }
}

/// Refuses scripts in which `{}` stands for several items and others for single ones: the shell has one list of parameters.
fn refuse_mixed_script(pieces: &[Piece]) -> Result<(), CliError> {
    let is_whole = |piece: &Piece| {
        matches!(
            piece,
            Piece::Literal(_) | Piece::Placeholder(Placeholder::All(PathPart::Whole))
        )
    };
    if !has_all(pieces) || pieces.iter().all(is_whole) {
        return Ok(());
    }
    Err(CliError::usage(
        "with --shell and several items, {} stands for all of them and takes no other placeholder beside it",
    )
    .with_help("write {1} {2} .. for single items, or leave --shell out"))
}

fn uses_slot(pieces: &[Piece]) -> bool {
    pieces.contains(&Piece::Placeholder(Placeholder::Slot))
}

fn has_placeholder(pieces: &[Piece]) -> bool {
    pieces
        .iter()
        .any(|piece| matches!(piece, Piece::Placeholder(_)))
}

/// The arguments that a word becomes.
fn expand_word<'a>(
    pieces: &'a [Piece],
    use_of_columns: UseOfColumns,
    values: PlaceholderValues<'a>,
) -> Box<dyn Iterator<Item = OsString> + 'a> {
    let item = values.item;
    match use_of_columns {
        UseOfColumns::SeveralItems | UseOfColumns::SeveralParameters if has_all(pieces) => {
            Box::new(
                item.columns()
                    .map(move |one| fill_in(pieces, values, &[one])),
            )
        }
        UseOfColumns::SeveralItems if pieces.iter().all(|piece| is_missing(piece, item)) => {
            Box::new(std::iter::empty())
        }
        _ => {
            let all: Vec<&[u8]> = item.columns().collect();
            Box::new(std::iter::once(fill_in(pieces, values, &all)))
        }
    }
}

/// Whether a piece is nothing but an item that is not there.
fn is_missing(piece: &Piece, item: &Item) -> bool {
    match piece {
        Piece::Placeholder(Placeholder::Column(column, _) | Placeholder::Replaced(column, _)) => {
            item.column(*column).is_none()
        }
        _ => false,
    }
}

/// Fills in the placeholders of a word. `{}` stands for `all`. Of a group of items, those that are not there are empty; all
/// other items have each column that a template names.
fn fill_in(pieces: &[Piece], values: PlaceholderValues<'_>, all: &[&[u8]]) -> OsString {
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
                text.extend_from_slice(item.column(*column).map_or(b"", |column| part.of(column)));
            }
            Piece::Placeholder(Placeholder::Replaced(column, substitution)) => {
                if let Some(column) = item.column(*column) {
                    text.extend_from_slice(&substitution.apply(column));
                }
            }
            Piece::Placeholder(Placeholder::All(part)) => {
                for (index, column) in all.iter().enumerate() {
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
        if rest.starts_with(b"{{")
            && let Some((_, close)) = braced(&rest[1..], columns)?
            && rest[1..][close..].starts_with(b"}}")
        {
            literal.extend_from_slice(&rest[1..close + 2]);
            rest = &rest[close + 3..];
            continue;
        }
        refuse_perl(rest)?;
        let Some((placeholder, close)) = braced(rest, columns)? else {
            if let Some(close) = closing_brace(rest) {
                refuse_misspelt(&rest[1..close], columns)?;
            }
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

/// Parses the placeholder at the beginning of a text, which is a brace. Returns it with the position of its closing brace.
fn braced(text: &[u8], columns: Columns<'_>) -> Result<Option<(Placeholder, usize)>, CliError> {
    let Some(close) = closing_brace(text) else {
        return Ok(None);
    };
    match placeholder(&text[1..close], columns)? {
        Some(found) => Ok(Some((found, close))),
        None => replaced(text, columns),
    }
}

fn closing_brace(text: &[u8]) -> Option<usize> {
    text.iter().position(|byte| *byte == b'}')
}

/// Parses a placeholder with a replacement, as in `{1/.jpg$/.png/}`, whose expression may have braces.
fn replaced(text: &[u8], columns: Columns<'_>) -> Result<Option<(Placeholder, usize)>, CliError> {
    let inner = &text[1..];
    let named = (columns.names.iter().enumerate())
        .filter_map(|(column, name)| Some((column, inner.strip_prefix(name.as_slice())?)));
    let numbered = number(inner).and_then(|(number, rest)| Some((number.checked_sub(1)?, rest)));
    for (column, rest) in named.chain(numbered) {
        if let Some((substitution, length)) = Substitution::parse(rest)? {
            if column >= columns.count.max(columns.names.len()) {
                return Err(no_column(column + 1, columns));
            }
            let close = text.len() - rest.len() + length;
            let found = Placeholder::Replaced(column, Box::new(substitution));
            return Ok(Some((found, close)));
        }
    }
    Ok(None)
}

/// The number at the beginning of a text, and what follows it.
fn number(text: &[u8]) -> Option<(usize, &[u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    let (number, rest) = text.split_at(digits.count());
    Some((std::str::from_utf8(number).ok()?.parse().ok()?, rest))
}

/// Refuses `{= .. =}`, in which GNU parallel has Perl.
fn refuse_perl(text: &[u8]) -> Result<(), CliError> {
    let Some(inner) = text.strip_prefix(b"{=") else {
        return Ok(());
    };
    if !inner.windows(2).any(|two| two == b"=}") {
        return Ok(());
    }
    Err(CliError::usage("{= =} would need Perl, which is not here")
        .with_help("{1/REGEX/TEXT/} replaces what an expression matches, as in {1/\\.jpg$/.png/}; --shell does the rest"))
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
    if let Some((number, suffix)) = number(inner)
        && let Some(part) = PathPart::from_suffix(suffix)
    {
        return match number
            .checked_sub(1)
            .filter(|column| *column < columns.count)
        {
            Some(column) => Ok(Some(Placeholder::Column(column, part))),
            None => Err(no_column(number, columns)),
        };
    }
    Ok(None)
}

fn no_column(number: usize, columns: Columns<'_>) -> CliError {
    let there_are = match columns.count {
        0 if columns.are_items => {
            return CliError::usage(format!(
                "there is no {{{number}}}: commands get as many items as fit"
            ))
            .with_help("say how many by -n, or write {} for all of them");
        }
        count if columns.are_items => format!("a command gets {count} items at most"),
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
            are_items: false,
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
    fn a_column_can_have_a_replacement() {
        let names = [b"path".to_vec(), b"n".to_vec()];
        let columns = Columns {
            count: 2,
            names: &names,
            are_items: false,
        };
        let item = Item::from_columns([b"x/a.jpg".as_slice(), b"12"]);
        let expand = |word: &str| {
            let template = Template::parse(&words(&["x", word]), columns)?;
            Ok::<_, CliError>(template.expand(of(&item, 1)).remove(1))
        };
        for (word, expected) in [
            (r"to={1/\.jpg$/.png/}!", "to=x/a.png!"),
            (r"{path/(\w+)\.(\w{3})/\2.\1/}", "x/jpg.a"),
            ("{n/./0/g}{2/1/one/}", "00one2"),
            (r"{{1/a/b/}}", "{1/a/b/}"),
            (r"{{1/x{2}/b/}}", "{1/x{2}/b/}"),
            ("{1/}{1//}", "a.jpgx"),
            // The words of sed and awk stay as they are.
            ("/a/{s/a/b/}", "/a/{s/a/b/}"),
        ] {
            assert_eq!(expand(word).unwrap(), expected, "{word}");
        }
        for (word, said) in [
            ("{3/a/b/}", "there is no {3}"),
            ("{1/(/b/}", "no regular expression"),
            ("{= s/a/b/ =}", "Perl"),
        ] {
            let error = expand(word).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
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
