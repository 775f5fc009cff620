//! The items after `:::` and `::::`: the combinations of several lists.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::item::Item;
use super::lines::{ItemRule, LineItems};
use crate::error::CliError;
use crate::escape::{plain, text_of};

/// All combinations of the items of several lists. The last list changes fastest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CombinedLists {
    groups: Vec<ListGroup>,
    /// The name of each list, if its first item is a header. Otherwise there are none.
    names: Vec<Vec<u8>>,
    /// The position of the next combination in each group. It is nothing when all combinations were returned.
    next: Option<Vec<usize>>,
}

/// Lists that are linked: their first items belong together, then their second items, and so on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ListGroup {
    lists: Vec<Vec<Item>>,
    /// How many combinations the group has.
    length: usize,
}

/// Where the lists of items come from, before files are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListSources {
    /// The groups that are combined. The lists of a group are linked.
    groups: Vec<Vec<ListSource>>,
    /// Whether a group is as long as its shortest or its longest list.
    length: GroupLength,
}

/// A list of items, as it was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum ListSource {
    /// The words after `:::`.
    Words(Vec<OsString>),
    /// A file after `::::`; `-` is stdin.
    File(PathBuf),
}

/// The length of a group whose lists have different lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GroupLength {
    /// The length of its shortest list. So it is for lists that `:::+` links.
    Shortest,
    /// The length of its longest list; the others start again from their beginning. So it is for lists that `--link`
    /// links.
    Longest,
}

/// A word of the command line after which a list follows.
#[derive(Debug, Clone, Copy)]
struct Mark {
    /// Whether files with items follow, and not the items themselves.
    names_files: bool,
    /// Whether the list is linked to the one before it.
    joins: bool,
}

impl Mark {
    /// Reads a mark; `None` if the word is not one.
    fn of(word: &OsStr) -> Option<Self> {
        let (names_files, joins) = match word.as_bytes() {
            b":::" => (false, false),
            b":::+" => (false, true),
            b"::::" => (true, false),
            b"::::+" => (true, true),
            _ => return None,
        };
        Some(Self { names_files, joins })
    }
}

/// Splits the arguments into the command and the lists, if there are any. If the command is empty, the items are
/// commands.
pub(crate) fn split_words(
    words: &[OsString],
) -> Result<(&[OsString], Option<ListSources>), CliError> {
    let is_mark = |word: &OsString| Mark::of(word).is_some();
    let end = words.iter().position(is_mark).unwrap_or(words.len());
    let (command, mut rest) = words.split_at(end);
    let mut groups: Vec<Vec<ListSource>> = Vec::new();
    while let [typed, list @ ..] = rest
        && let Some(mark) = Mark::of(typed)
    {
        let end = list.iter().position(is_mark).unwrap_or(list.len());
        let (list, others) = list.split_at(end);
        rest = others;
        let sources: Vec<ListSource> = if mark.names_files {
            let files = list.iter().map(|file| ListSource::File(file.into()));
            files.collect()
        } else {
            vec![ListSource::Words(list.to_vec())]
        };
        if sources.is_empty() {
            let typed = typed.display();
            return Err(CliError::usage(format!("`{typed}` has no file after it"))
                .with_help("name a file of items, one a line; `-` is stdin"));
        }
        match groups.last_mut() {
            Some(group) if mark.joins => group.extend(sources),
            // Several files are paired with each other.
            None if mark.joins && sources.len() > 1 => groups.push(sources),
            None if mark.joins => {
                let typed = typed.display();
                return Err(CliError::usage(format!(
                    "there is no list before `{typed}` to pair its items with"
                ))
                .with_help("begin the first list with `:::` or `::::`"));
            }
            _ => groups.extend(sources.into_iter().map(|source| vec![source])),
        }
    }
    let length = GroupLength::Shortest;
    let lists = (!groups.is_empty()).then_some(ListSources { groups, length });
    Ok((command, lists))
}

impl ListSources {
    /// Returns the lists in these files, all of which are linked.
    pub(crate) fn linked_files(files: &[PathBuf]) -> Self {
        let files = files.iter().map(|file| ListSource::File(file.clone()));
        Self {
            groups: vec![files.collect()],
            length: GroupLength::Longest,
        }
    }

    /// Puts these files before the others, as lists of their own.
    #[must_use]
    pub(crate) fn after_files(mut self, files: &[PathBuf]) -> Self {
        let files = files
            .iter()
            .map(|file| vec![ListSource::File(file.clone())]);
        self.groups.splice(..0, files);
        self
    }

    /// Links all lists. The shorter ones start again from their beginning until the longest has ended.
    #[must_use]
    pub(crate) fn linked(self) -> Self {
        Self {
            groups: vec![self.groups.into_iter().flatten().collect()],
            length: GroupLength::Longest,
        }
    }

    /// Whether a list is read from stdin.
    pub(crate) fn reads_stdin(&self) -> bool {
        let mut sources = self.groups.iter().flatten();
        sources.any(|source| matches!(source, ListSource::File(path) if path.as_os_str() == "-"))
    }

    /// Whether a list is read from a file or from stdin.
    pub(crate) fn reads_files(&self) -> bool {
        self.files().next().is_some()
    }

    /// Returns the files that lists are read from; `-` is stdin.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        let sources = self.groups.iter().flatten();
        sources.filter_map(|source| match source {
            ListSource::File(path) => Some(path.as_path()),
            ListSource::Words(_) => None,
        })
    }

    /// Returns the file of the only list, if there is exactly one list and it is read from a file.
    pub(super) fn single_file(&self) -> Option<&Path> {
        match &self.groups[..] {
            [group] => match &group[..] {
                [ListSource::File(path)] => Some(path),
                _ => None,
            },
            _ => None,
        }
    }

    /// Reads all lists, each as a whole.
    pub(super) fn read(self, rule: &ItemRule) -> Result<CombinedLists, CliError> {
        let mut groups = Vec::with_capacity(self.groups.len());
        let mut names: Vec<Vec<u8>> = Vec::new();
        for sources in self.groups {
            let mut lists = Vec::with_capacity(sources.len());
            for source in sources {
                let (name, items) = source.read(rule)?;
                if let Some(name) = name {
                    if names.contains(&name) {
                        return Err(CliError::usage(format!(
                            "two lists have the name `{}`",
                            plain(&text_of(&name))
                        ))
                        .with_help("the first item of each list is its name with --header: give each list a different one"));
                    }
                    names.push(name);
                }
                lists.push(items);
            }
            groups.push(ListGroup::new(lists, self.length));
        }
        Ok(CombinedLists::new(groups, names))
    }
}

impl ListSource {
    /// Returns the name of the list, if its first item is a header, and all other items.
    fn read(self, rule: &ItemRule) -> Result<(Option<Vec<u8>>, Vec<Item>), CliError> {
        let (name, items) = match self {
            Self::Words(words) => {
                let mut words = words.iter().map(|word| word.as_bytes());
                let name = if rule.has_header { words.next() } else { None };
                let words = words
                    .take_while(|word| !rule.ends_at(word))
                    .filter(|word| !rule.skips(word));
                let (mut items, mut begun) = (Vec::new(), Vec::new());
                for word in words {
                    begun.extend_from_slice(word);
                    if !rule.goes_on(word) {
                        items.push(Item::from(begun.as_slice()));
                        begun.clear();
                    }
                }
                if !begun.is_empty() {
                    items.push(Item::from(begun.as_slice()));
                }
                (name.map(<[u8]>::to_vec), items)
            }
            Self::File(path) => {
                let mut lines = LineItems::open(&[path], rule.clone())?;
                let name = lines.names.pop();
                let items = std::iter::from_fn(|| lines.next());
                let items = items.map(|item| item.map_err(|bad| CliError::usage(bad.0)));
                (name, items.collect::<Result<Vec<_>, _>>()?)
            }
        };
        if rule.has_header && name.is_none() {
            return Err(CliError::usage(
                "with --header, the first item of each list is its name, and a list is empty",
            )
            .with_help("write the name before the items, as in ::: size 1 2"));
        }
        Ok((name, items))
    }
}

impl ListGroup {
    fn new(lists: Vec<Vec<Item>>, length: GroupLength) -> Self {
        let lengths = lists.iter().map(Vec::len);
        let shortest = lengths.clone().min().unwrap_or(0);
        let length = match length {
            // An empty list has no item to repeat, so the group is empty.
            GroupLength::Longest if shortest > 0 => lengths.max().unwrap_or(0),
            _ => shortest,
        };
        Self { lists, length }
    }

    /// Returns the columns of the combination at this position.
    fn columns(&self, position: usize) -> impl Iterator<Item = &[u8]> {
        let lists = self.lists.iter();
        lists.flat_map(move |list| list[position % list.len()].columns())
    }
}

impl CombinedLists {
    fn new(groups: Vec<ListGroup>, names: Vec<Vec<u8>>) -> Self {
        let some = groups.iter().all(|group| group.length > 0);
        let next = some.then(|| vec![0; groups.len()]);
        Self {
            groups,
            names,
            next,
        }
    }

    /// Returns the names of the lists, if their first items are headers.
    pub(super) fn names(&self) -> &[Vec<u8>] {
        &self.names
    }

    /// Returns how many combinations there are.
    pub(super) fn total(&self) -> u64 {
        let lengths = self.groups.iter().map(|group| group.length as u64);
        lengths.fold(1, u64::saturating_mul)
    }

    /// Returns the number of columns of an item, one for each list.
    pub(super) fn columns(&self) -> usize {
        self.groups.iter().map(|group| group.lists.len()).sum()
    }
}

impl Iterator for CombinedLists {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        let places = self.next.as_mut()?;
        let groups = self.groups.iter().zip(places.iter());
        let item = Item::from_columns(groups.flat_map(|(group, place)| group.columns(*place)));
        let mut wrapped = true;
        for (group, place) in self.groups.iter().zip(places.iter_mut()).rev() {
            *place += 1;
            if *place < group.length {
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
    use crate::map::lines::ItemEnd;

    fn sources(line: &str) -> ListSources {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let (command, lists) = split_words(&words).unwrap();
        assert_eq!(command, ["echo"]);
        lists.unwrap()
    }

    fn opened(lists: ListSources) -> Vec<String> {
        let items = lists.read(&ItemEnd::Line.into()).unwrap();
        items
            .map(|item| String::from_utf8(item.joined()).unwrap())
            .collect()
    }

    fn items(line: &str) -> Vec<String> {
        opened(sources(line))
    }

    #[test]
    fn each_item_goes_with_each_of_the_other_lists() {
        let list = items("echo ::: a b ::: 1 2 3");
        assert_eq!(list, ["a 1", "a 2", "a 3", "b 1", "b 2", "b 3"]);
        assert_eq!(items("echo ::: a b"), ["a", "b"]);
    }

    #[test]
    fn joined_lists_go_side_by_side_as_far_as_the_shortest() {
        let list = items("echo ::: a b c :::+ 1 2 ::: x y");
        assert_eq!(list, ["a 1 x", "a 1 y", "b 2 x", "b 2 y"]);
    }

    #[test]
    fn linked_lists_go_side_by_side_and_the_shorter_ones_begin_anew() {
        let linked = |line: &str| opened(sources(line).linked());
        let list = linked("echo ::: a b c ::: 1 2");
        assert_eq!(list, ["a 1", "b 2", "c 1"]);
        assert!(linked("echo ::: a b :::").is_empty());
    }

    #[test]
    fn files_are_lists_too() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let (letters, digits) = (file("letters", "a\nb\n"), file("digits", "1\n2\n\n"));
        let typed = |line: &str| {
            let line = line.replace("LETTERS", letters.to_str().unwrap());
            items(&line.replace("DIGITS", digits.to_str().unwrap()))
        };
        assert_eq!(typed("echo :::: LETTERS"), ["a", "b"]);
        let each = ["a 1", "a 2", "b 1", "b 2"];
        assert_eq!(typed("echo :::: LETTERS DIGITS"), each);
        assert_eq!(typed("echo ::: a b :::: DIGITS"), each);
        assert_eq!(typed("echo :::: LETTERS ::::+ DIGITS"), ["a 1", "b 2"]);
        assert_eq!(typed("echo :::: LETTERS :::+ 8 9"), ["a 8", "b 9"]);
        assert_eq!(
            opened(ListSources::linked_files(&[letters, digits])),
            ["a 1", "b 2"]
        );
    }

    #[test]
    fn the_first_items_name_the_lists_if_they_are_headers() {
        let rule = ItemRule {
            has_header: true,
            end_item: Some(b"z".to_vec()),
            ..ItemEnd::Line.into()
        };
        let read = |line: &str| sources(line).read(&rule);
        let lists = read("echo ::: n 1 2 z 3 ::: m a").unwrap();
        assert_eq!(lists.names(), [b"n".to_vec(), b"m".to_vec()]);
        let items: Vec<_> = lists.map(|item| item.joined()).collect();
        assert_eq!(items, [b"1 a".to_vec(), b"2 a".to_vec()]);
        for (line, said) in [
            ("echo ::: n 1 ::: n 2", "two lists have the name `n`"),
            ("echo ::: n 1 :::", "a list is empty"),
        ] {
            let error = read(line).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
        }
    }

    #[test]
    fn an_empty_list_leaves_nothing() {
        assert!(items("echo ::: a b :::").is_empty());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in ["echo :::+ a", "echo ::::+ a", "echo ::::"] {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            assert!(split_words(&words).is_err(), "{line}");
        }
        let words = ["echo".into(), "{}".into()];
        assert_eq!(split_words(&words).unwrap(), (&words[..], None));
    }
}
