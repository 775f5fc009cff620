//! Items after `:::`: the combinations of several lists.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use super::item::Item;
use crate::error::CliError;

/// Lists that are combined with each other. The last one changes fastest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lists {
    groups: Vec<ListGroup>,
    /// The position in each group; nothing when all combinations are used up.
    next: Option<Vec<usize>>,
}

/// A list, and the lists that are joined to it by `:::+`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct ListGroup {
    lists: Vec<Vec<OsString>>,
}

impl ListGroup {
    /// The length of the group. Joined lists end with the shortest one.
    fn len(&self) -> usize {
        self.lists.iter().map(Vec::len).min().unwrap_or(0)
    }
}

/// Splits the arguments into the command and the lists, if there are any.
pub(crate) fn split_words(words: &[OsString]) -> Result<(&[OsString], Option<Lists>), CliError> {
    let is_mark = |word: &OsString| word == ":::" || word == ":::+";
    if words.iter().any(|word| word == "::::") {
        return Err(CliError::usage("`::::` is no mark here")
            .with_help("name a file of items by -a, as in: ratchet map -a items -- echo {}"));
    }
    let end = words.iter().position(is_mark).unwrap_or(words.len());
    let (command, rest) = words.split_at(end);
    if command.is_empty() {
        return Err(CliError::usage("there is no command before the items")
            .with_help("write the command first, as in: ratchet map -- echo {} ::: a b"));
    }
    let mut groups: Vec<ListGroup> = Vec::new();
    for word in rest {
        if word == ":::" {
            groups.push(ListGroup {
                lists: vec![Vec::new()],
            });
        } else if word == ":::+" {
            let Some(group) = groups.last_mut() else {
                return Err(
                    CliError::usage("`:::+` has no list before it to go along with")
                        .with_help("begin the first list with `:::`"),
                );
            };
            group.lists.push(Vec::new());
        } else if let Some(list) = groups.last_mut().and_then(|group| group.lists.last_mut()) {
            list.push(word.clone());
        }
    }
    let lists = (!groups.is_empty()).then(|| Lists::new(groups));
    Ok((command, lists))
}

impl Lists {
    fn new(groups: Vec<ListGroup>) -> Self {
        let some = groups.iter().all(|group| group.len() > 0);
        let next = some.then(|| vec![0; groups.len()]);
        Self { groups, next }
    }

    /// How many combinations there are.
    pub(super) fn total(&self) -> u64 {
        let lengths = self.groups.iter().map(|group| group.len() as u64);
        lengths.fold(1, u64::saturating_mul)
    }

    /// The number of columns of an item, one for each list.
    pub(super) fn columns(&self) -> usize {
        self.groups.iter().map(|group| group.lists.len()).sum()
    }
}

impl Iterator for Lists {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        let places = self.next.as_mut()?;
        let item = Item::from_columns(
            self.groups
                .iter()
                .zip(places.iter())
                .flat_map(|(group, place)| group.lists.iter().map(|list| list[*place].as_bytes())),
        );
        let mut wrapped = true;
        for (group, place) in self.groups.iter().zip(places.iter_mut()).rev() {
            *place += 1;
            if *place < group.len() {
                wrapped = false;
                break;
            }
            *place = 0;
        }
        if wrapped {
            self.next = None;
        }
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(line: &str) -> Vec<String> {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let (command, lists) = split_words(&words).unwrap();
        assert_eq!(command, ["echo"]);
        let lists = lists.unwrap();
        let items = lists.map(|item| String::from_utf8(item.joined()).unwrap());
        items.collect()
    }

    #[test]
    fn each_item_goes_with_each_of_the_other_lists() {
        let list = items("echo ::: a b ::: 1 2 3");
        assert_eq!(list, ["a 1", "a 2", "a 3", "b 1", "b 2", "b 3"]);
        assert_eq!(items("echo ::: a b"), ["a", "b"]);
    }

    #[test]
    fn linked_lists_go_side_by_side_as_far_as_the_shortest() {
        let list = items("echo ::: a b c :::+ 1 2 ::: x y");
        assert_eq!(list, ["a 1 x", "a 1 y", "b 2 x", "b 2 y"]);
    }

    #[test]
    fn an_empty_list_leaves_nothing() {
        assert!(items("echo ::: a b :::").is_empty());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [":::", "::: a", "echo :::+ a"] {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            assert!(split_words(&words).is_err(), "{line}");
        }
        let words = ["echo".into(), "{}".into()];
        assert_eq!(split_words(&words).unwrap(), (&words[..], None));
    }
}
