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
    PlaceholderValues, TemplateWord, bytes_of_item, expand_word, has_all, has_placeholder,
    length_without_items, uses_item, uses_slot,
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
        let words = self.words.iter().filter(|word| !has_all(word));
        words.fold(LineLength::default(), |sum, word| {
            sum + length_without_items(word)
        })
    }

    /// Returns the most that an item of a group adds to the length of a command.
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
