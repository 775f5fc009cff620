//! Items that a regular expression cuts into columns.

use regex::bytes::Regex;

use super::{ItemError, Items};
use crate::error::CliError;
use crate::escape::{plain, text_of};
use crate::map::item::Item;

/// How the text of an item becomes columns.
#[derive(Debug, Clone)]
pub(crate) enum ColumnSplitter {
    /// A match of the expression separates two columns.
    AtSeparators(Regex),
    /// The columns are the groups of the expression. If it has none, the whole match is the only column.
    IntoGroups(Regex),
}

/// Items that are cut into columns as they are read.
pub(crate) struct CutItems {
    items: Items,
    cut: ColumnSplitter,
    /// The names of the columns, if they have any.
    pub(super) names: Vec<Vec<u8>>,
    /// How many columns each item has.
    pub(super) columns: usize,
    /// The first item, if it was read to see how many columns there are.
    first: Option<Result<Item, ItemError>>,
}

impl ColumnSplitter {
    /// Parses the expression of `--colsep`.
    pub(crate) fn at_separators(expression: &str) -> Result<Self, CliError> {
        if expression.is_empty() {
            let error =
                CliError::usage("--colsep is empty, so it would split between all characters");
            return Err(error.with_help(
                "write an expression for what separates columns, as in --colsep ', *'",
            ));
        }
        parse("--colsep", expression).map(Self::AtSeparators)
    }

    /// Parses the expression of `--match`.
    pub(crate) fn into_groups(expression: &str) -> Result<Self, CliError> {
        parse("--match", expression).map(Self::IntoGroups)
    }

    /// Cuts an item into columns. If it has columns already, separators cut each of them by itself.
    fn cut(&self, item: &Item) -> Result<Item, ItemError> {
        match self {
            Self::AtSeparators(separator) => {
                let columns = item.columns();
                Ok(Item::from_columns(
                    columns.flat_map(|column| separator.split(column)),
                ))
            }
            Self::IntoGroups(expression) => {
                let text = item.joined();
                let Some(found) = expression.captures(&text) else {
                    let text = plain(&text_of(&text)).into_owned();
                    return Err(ItemError(format!(
                        "the item `{text}` does not match the expression of --match: `{expression}`"
                    )));
                };
                // A group that took no part in the match is an empty column.
                let group = |number| found.get(number).map_or(&b""[..], |group| group.as_bytes());
                let groups = if found.len() > 1 {
                    1..found.len()
                } else {
                    0..1
                };
                Ok(Item::from_columns(groups.map(group)))
            }
        }
    }
}

fn parse(flag: &str, expression: &str) -> Result<Regex, CliError> {
    Regex::new(expression).map_err(|error| {
        CliError::usage(format!("{flag}: this is not a regular expression")).because(error)
    })
}

impl CutItems {
    /// Cuts items. With separators, this reads the first item, which decides how many columns there are. With `header`,
    /// it names the columns and is not an item.
    pub(super) fn open(mut items: Items, cut: ColumnSplitter, header: bool) -> Self {
        let (mut names, mut columns, mut first) = (Vec::new(), 1, None);
        match &cut {
            ColumnSplitter::AtSeparators(_) => {
                first = items.next().map(|item| cut.cut(&item?));
                if let Some(Ok(item)) = &first {
                    columns = item.columns().count();
                    if header {
                        names = item.columns().map(<[u8]>::to_vec).collect();
                        first = None;
                    }
                }
            }
            ColumnSplitter::IntoGroups(expression) => {
                let groups = expression.captures_len() - 1;
                columns = groups.max(1);
                let mut groups = expression.capture_names().skip(1);
                if groups.any(|name| name.is_some()) {
                    // A group without a name is known by its number alone.
                    let groups = expression.capture_names().skip(1);
                    names = groups.map(|name| name.unwrap_or_default().into()).collect();
                }
            }
        }
        Self {
            items,
            cut,
            names,
            columns,
            first,
        }
    }

    /// Whether reading the next item may wait.
    pub(super) fn may_wait(&self) -> bool {
        self.first.is_none() && self.items.may_wait()
    }

    /// Returns how many items there are, if that is known before they are read.
    pub(super) fn total(&self) -> Option<u64> {
        let left = self.items.total()?;
        Some(left.saturating_add(u64::from(self.first.is_some())))
    }

    /// Reads the next item.
    pub(super) fn next(&mut self) -> Option<Result<Item, ItemError>> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let item = match self.items.next()? {
            Ok(item) => item,
            Err(error) => return Some(Err(error)),
        };
        Some(self.cut.cut(&item).and_then(|cut| {
            let count = cut.columns().count();
            if count == self.columns {
                return Ok(cut);
            }
            let text = plain(&text_of(&item.joined())).into_owned();
            Err(ItemError(format!(
                "the item `{text}` has another number of columns ({count}) than the first one ({})",
                self.columns
            )))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::LineItems;
    use super::super::tests::source;
    use super::*;
    use crate::map::lines::ItemEnd;

    fn cut(text: &str, cut: Result<ColumnSplitter, CliError>, header: bool) -> CutItems {
        let sources = [source(text.as_bytes())].into();
        let lines = Items::LineItems(LineItems::of(sources, ItemEnd::Line));
        CutItems::open(lines, cut.unwrap(), header)
    }

    fn columns(items: &mut CutItems) -> Vec<Result<Vec<String>, String>> {
        let text = |column: &[u8]| String::from_utf8(column.to_vec()).unwrap();
        std::iter::from_fn(|| items.next())
            .map(|item| Ok(item.map_err(|bad| bad.0)?.columns().map(text).collect()))
            .collect()
    }

    fn row(columns: &[&str]) -> Vec<String> {
        columns.iter().map(|column| (*column).to_owned()).collect()
    }

    #[test]
    fn a_separator_cuts_and_another_number_of_columns_fails_its_item_alone() {
        let mut items = cut(
            "a, b\nc,d\ne\nf,\n",
            ColumnSplitter::at_separators(", *"),
            false,
        );
        assert_eq!((items.columns, items.names.len()), (2, 0));
        let read = columns(&mut items);
        assert_eq!(
            [&read[0], &read[1], &read[3]],
            [
                &Ok(row(&["a", "b"])),
                &Ok(row(&["c", "d"])),
                &Ok(row(&["f", ""]))
            ]
        );
        let bad = read[2].as_ref().unwrap_err();
        assert!(
            bad.contains("`e`") && bad.contains("(1)") && bad.contains("(2)"),
            "{bad}"
        );
    }

    #[test]
    fn a_header_names_the_columns_and_is_no_item() {
        let mut items = cut("who;what\na;b\n", ColumnSplitter::at_separators(";"), true);
        assert_eq!(items.names, [b"who".to_vec(), b"what".to_vec()]);
        assert_eq!(columns(&mut items), [Ok(row(&["a", "b"]))]);
        assert_eq!(cut("", ColumnSplitter::at_separators(";"), true).columns, 1);
    }

    #[test]
    fn groups_are_columns_with_their_names() {
        let dated = r"(?<name>.*)-(?<year>\d+)(?<rest>x)?$";
        let mut items = cut(
            "a-b-2024\nnone\n",
            ColumnSplitter::into_groups(dated),
            false,
        );
        assert_eq!((items.columns, &items.names[1][..]), (3, &b"year"[..]));
        let read = columns(&mut items);
        assert_eq!(read[0], Ok(row(&["a-b", "2024", ""])));
        assert!(read[1].as_ref().unwrap_err().contains("`none`"));
        let mut whole = cut("xx-17-\n", ColumnSplitter::into_groups(r"\d+"), false);
        assert_eq!(
            (whole.columns, columns(&mut whole)),
            (1, vec![Ok(row(&["17"]))])
        );
        let mixed = cut("ab\n", ColumnSplitter::into_groups("(?<a>a)(b)"), false);
        assert_eq!(
            (mixed.columns, mixed.names),
            (2, vec![b"a".to_vec(), Vec::new()])
        );
        let unnamed = cut("ab\n", ColumnSplitter::into_groups("(a)(b)"), false);
        assert_eq!((unnamed.columns, unnamed.names.len()), (2, 0));
    }

    #[test]
    fn what_is_no_expression_is_refused_with_its_flag() {
        let error = ColumnSplitter::at_separators("(").unwrap_err();
        assert!(error.to_string().contains("--colsep"), "{error}");
        assert!(
            ColumnSplitter::into_groups("[")
                .unwrap_err()
                .to_string()
                .contains("--match")
        );
    }
}
