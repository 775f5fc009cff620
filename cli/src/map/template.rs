//! The command with its placeholders, which is parsed once and filled in for every item.

use std::ffi::{OsStr, OsString};
use std::ops::Add as _;
use std::os::unix::ffi::OsStrExt;

use super::columns::{Columns, UseOfColumns};
use super::item::Item;
use super::line_length::LineLength;
use super::path_part::PathPart;
use super::placeholder::{Piece, Placeholder};
use super::shell;
use super::word::{
    PlaceholderValues, TemplateWord, bytes_of_item, count_all, expand_word, has_all,
    has_placeholder, length_without_items, uses_item, uses_slot,
};
use super::word_parser::parse_word;
use crate::error::CliError;

/// A command with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    words: Vec<TemplateWord>,
    /// How the words use the columns of an item.
    use_of_columns: UseOfColumns,
}

impl Template {
    /// Parses a command. If it has no placeholder, the columns are added to its end as arguments.
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

    /// Lets the items of a group stand where `{}` is, instead of repeating the word with `{}` for each of them. In a script they
    /// are parameters of the shell, which does so by itself.
    #[must_use]
    pub(crate) fn with_items_in_place(mut self) -> Self {
        if self.use_of_columns == UseOfColumns::SeveralItems {
            self.use_of_columns = UseOfColumns::ItemsInPlace;
        }
        self
    }

    /// Parses a script for `-c` of this shell. `in_place` is whether the items of a group may stand within a word. The shell gets the values of placeholders as parameters, so nothing in an item is
    /// ever read as part of the script.
    pub(crate) fn shell(
        shell: &OsStr,
        words: &[OsString],
        columns: Columns<'_>,
        in_place: bool,
    ) -> Result<Self, CliError> {
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
            if !in_place {
                refuse_word_around_items(&pieces)?;
            }
            use_of_columns = UseOfColumns::SeveralParameters;
        }
        let (script, parameters) = shell::script(pieces, columns.are_items);
        let mut words: Vec<TemplateWord> = [shell.as_bytes(), b"-c", &script, shell.as_bytes()]
            .map(|word| vec![Piece::Literal(word.to_vec())])
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

    /// Returns the program, if it is the same for every item.
    pub(crate) fn program(&self) -> Option<&OsStr> {
        match self.words.first()?.as_slice() {
            [Piece::Literal(program)] => Some(OsStr::from_bytes(program)),
            _ => None,
        }
    }

    /// Whether the command has a place for an item.
    pub(crate) fn uses_item(&self) -> bool {
        self.words.iter().any(|word| uses_item(word))
    }

    /// Whether the command depends on the slot in which it runs.
    pub(crate) fn uses_slot(&self) -> bool {
        self.words.iter().any(|word| uses_slot(word))
    }

    /// Returns the command for an item: its program and its arguments.
    pub(crate) fn expand(&self, values: PlaceholderValues<'_>) -> Vec<OsString> {
        let words = self.words.iter();
        words
            .flat_map(|word| expand_word(word, self.use_of_columns, values))
            .collect()
    }

    /// Returns the most that a command has of length without its items.
    pub(super) fn fixed_length(&self) -> LineLength {
        let is_repeated = |word: &[Piece]| self.repeats_words() && has_all(word);
        let words = self.words.iter().filter(|word| !is_repeated(word));
        words.fold(LineLength::default(), |sum, word| {
            let mut length = length_without_items(word);
            if !self.repeats_words() {
                // The first item stands in a word that is counted already, so it ends one word less.
                let places = count_all(word);
                length.bytes = length.bytes.saturating_sub(places);
                length.words = length.words.saturating_sub(places);
            }
            sum + length
        })
    }

    /// Whether a word with `{}` is repeated for each item of a group.
    fn repeats_words(&self) -> bool {
        self.use_of_columns != UseOfColumns::ItemsInPlace
    }

    /// Returns the most that an item of a group adds to the length of a command.
    pub(super) fn added_length(&self, item: &Item) -> LineLength {
        let words = self.words.iter().map(|word| {
            let bytes = word.iter().map(|piece| bytes_of_item(piece, item)).sum();
            if self.repeats_words() && has_all(word) {
                return LineLength { bytes, words: 0 } + length_without_items(word);
            }
            // The item ends a word at each place where it stands.
            let words = count_all(word);
            LineLength {
                bytes: bytes + words,
                words,
            }
        });
        words.fold(LineLength::default(), LineLength::add)
    }
}

/// Refuses a script that has both `{}` for all items and a placeholder for a single one. `{}` becomes all parameters of
/// the shell, so there can be no further parameter.
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
        "with --shell and several items, {} stands for all of them, so the command can have no other placeholder",
    )
    .with_help("write {1} {2} .. for single items, or leave out --shell"))
}

/// Refuses a script in which `{}` for all items is a part of a word. The shell would not repeat the word for each item.
fn refuse_word_around_items(pieces: &[Piece]) -> Result<(), CliError> {
    let separates = |byte: &u8| byte.is_ascii_whitespace() || b"\"'();|&<>`=".contains(byte);
    let is_apart = |place: usize| {
        let before = place.checked_sub(1).and_then(|place| pieces.get(place));
        let begins = match before {
            Some(Piece::Literal(text)) => text.last().is_none_or(separates),
            Some(Piece::Placeholder(_)) => false,
            None => true,
        };
        let ends = match pieces.get(place + 1) {
            Some(Piece::Literal(text)) => text.first().is_none_or(separates),
            Some(Piece::Placeholder(_)) => false,
            None => true,
        };
        begins && ends
    };
    let mut places = (0..pieces.len()).filter(|place| has_all(&pieces[*place..=*place]));
    if places.all(is_apart) {
        return Ok(());
    }
    Err(CliError::usage(
        "with --shell and several items, the word around {} cannot be repeated for each of them",
    )
    .with_help("use -m, which puts the items where {} is, or leave out --shell"))
}

#[cfg(test)]
mod tests {
    use ratchet_runtime::SlotNumber;

    use super::*;
    use crate::map::text_template::TextTemplate;

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
    fn the_items_of_a_group_repeat_the_word_or_stand_in_their_place() {
        let columns = Columns {
            count: 0,
            names: &[],
            are_items: true,
        };
        let item = Item::from_columns([b"1.gif".as_slice(), b"2.gif"]);
        let parse = |word: &str| Template::parse(&words(&["e", word, "x"]), columns).unwrap();
        for (word, repeated, in_place) in [
            (
                "a{}b",
                &["a1.gifb", "a2.gifb"][..],
                &["a1.gif", "2.gifb"][..],
            ),
            ("{}", &["1.gif", "2.gif"], &["1.gif", "2.gif"]),
            (
                "a{}b{.}{#}",
                &["a1.gifb17", "a2.gifb27"],
                &["a1.gif", "2.gifb1", "27"],
            ),
        ] {
            let wrapped = |inner: &[&str]| words(&[&["e"], inner, &["x"]].concat());
            let template = parse(word);
            assert_eq!(template.expand(of(&item, 7)), wrapped(repeated), "{word}");
            let template = template.with_items_in_place();
            let filled = template.expand(of(&item, 7));
            assert_eq!(filled, wrapped(in_place), "{word}");
            let bytes: usize = filled.iter().map(|word| word.len() + 1).sum();
            let each = item
                .columns()
                .map(|one| template.added_length(&Item::from(one)));
            let most = each.fold(template.fixed_length(), LineLength::add);
            assert!(
                most.bytes >= bytes && most.words >= filled.len(),
                "{word}: {most:?}"
            );
        }
    }

    #[test]
    fn a_script_with_a_word_around_all_items_needs_them_in_place() {
        let columns = Columns {
            count: 0,
            names: &[],
            are_items: true,
        };
        let parse = |script: &str, in_place| {
            Template::shell("sh".as_ref(), &words(&[script]), columns, in_place)
        };
        for apart in [
            "echo {} | wc",
            "echo \"{}\" '{}'",
            "for x in {}; do :; done",
            "x=({})",
        ] {
            assert!(parse(apart, false).is_ok(), "{apart}");
        }
        for within in ["echo a{}", "echo {}b", "echo {}{}"] {
            let error = parse(within, false).unwrap_err();
            assert!(error.help().unwrap().contains("-m"), "{within}");
            assert!(parse(within, true).is_ok(), "{within}");
        }
    }

    #[test]
    fn columns_can_be_counted_from_the_last_one() {
        let columns = Columns {
            count: 3,
            names: &[],
            are_items: false,
        };
        let item = Item::from_columns([b"a".as_slice(), b"b", b"x/c.d"]);
        let template = Template::parse(&words(&["e", "{-1}", "{-3}{-1/.}", "{{-1}}"]), columns);
        assert_eq!(
            template.unwrap().expand(of(&item, 1)),
            words(&["e", "x/c.d", "ac", "{-1}"])
        );
        for (word, said) in [("{-4}", "there is no {-4}"), ("{-0}", "there is no {-0}")] {
            let error = Template::parse(&words(&["e", word]), columns).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
        }
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
            ("x{zz}", "there is no column `zz`", "{{zz}}"),
        ] {
            let error = Template::parse(&words(&["x", word]), columns).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
            assert!(error.help().unwrap().contains(hint), "{word}");
        }
        for (word, passed) in [
            ("{{zz}}", "{zz}"),
            ("${HOME}", "${HOME}"),
            ("{print $1}", "{print $1}"),
        ] {
            let template = Template::parse(&words(&["x", word, "{1}"]), columns);
            let expanded = template.unwrap().expand(of(&item, 1));
            assert_eq!(expanded, words(&["x", passed, "a@b.c"]));
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
            ("{1/(/b/}", "not a regular expression"),
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
        let error = TextTemplate::parse(OsStr::new("out/{%}"), Columns::ONE).unwrap_err();
        assert!(error.to_string().contains("out/{%}"), "{error}");
    }

    #[test]
    fn a_name_that_is_no_utf8_goes_through() {
        let template = Template::parse(&words(&["cat", "{.}x"]), Columns::ONE).unwrap();
        let item = Item::from(b"\xff/\xfe.png".as_slice());
        assert_eq!(template.expand(of(&item, 1))[1].as_bytes(), b"\xff/\xfex");
    }
}
