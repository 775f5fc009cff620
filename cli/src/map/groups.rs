//! Groups of items for one command each: as many as were asked for, and as fit into the command line.

use std::collections::VecDeque;
use std::num::NonZeroU32;

use super::item::{Item, ItemError};
use super::line_length::LineLength;
use super::template::Template;
use crate::error::CliError;
use crate::escape::{plain, text_of};
use crate::value;

/// The most bytes of a command line without `--max-chars`. The system allows more, but with longer lines fewer commands
/// run in parallel, and another host may allow less.
const USUAL_BYTES: usize = 128 * 1024;

/// How many bytes of the system's limit are left free, in case that a program adds variables to its environment and
/// starts another one with the same arguments.
const FREE_BYTES: usize = 4096;

/// How many items each command gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GroupRule {
    /// The most items of a command. Without it, a command gets as many as fit.
    most: Option<NonZeroU32>,
    /// The most bytes of a command with its items.
    bytes: usize,
    /// How many bytes the system allows, including a pointer for each word.
    allowed: usize,
    /// Over how many slots the last items are spread evenly. Without it, each command is filled before the next one.
    spread_over: Option<NonZeroU32>,
}

impl GroupRule {
    /// Makes a rule from the typed numbers. Refuses more `bytes` than the system allows.
    pub(crate) fn new(
        most: Option<NonZeroU32>,
        bytes: Option<NonZeroU32>,
        spread_over: Option<NonZeroU32>,
    ) -> Result<Self, CliError> {
        let allowed = allowed_bytes();
        let bytes = match bytes.map(as_usize) {
            Some(typed) if typed > allowed => {
                return Err(CliError::usage(format!(
                    "--max-chars {typed}: a command and its environment have room for {allowed} bytes here"
                ))
                .with_help("name a smaller number, or leave it out"));
            }
            Some(typed) => typed,
            None => USUAL_BYTES.min(allowed),
        };
        Ok(Self {
            most,
            bytes,
            allowed,
            spread_over,
        })
    }

    /// Whether a command may have this length.
    fn allows(&self, line: LineLength) -> bool {
        let pointers = line.words.saturating_mul(size_of::<usize>());
        line.bytes <= self.bytes && line.bytes.saturating_add(pointers) <= self.allowed
    }

    /// Returns how many columns a command can name: as many as the most items that it gets.
    pub(crate) fn columns(&self) -> Option<usize> {
        self.most.map(as_usize)
    }
}

#[expect(clippy::expect_used, reason = "a usize has at least 32 bits here")]
fn as_usize(number: NonZeroU32) -> usize {
    usize::try_from(number.get()).expect("a u32 fits into a usize")
}

/// Returns how many bytes the words of a command can have beside the environment of this process.
fn allowed_bytes() -> usize {
    let limit = nix::unistd::sysconf(nix::unistd::SysconfVar::ARG_MAX);
    // `sysconf` returns nothing on a system without a limit.
    let limit = limit.ok().flatten().unwrap_or(i64::MAX);
    let variables = std::env::vars_os();
    let taken: usize = variables
        .map(|(name, value)| name.len() + value.len() + 2 + size_of::<usize>())
        .sum();
    usize::try_from(limit)
        .unwrap_or_default()
        .saturating_sub(taken + FREE_BYTES)
}

/// Groups of items, which are joined as they are read. Each item of a group is a column of the joined item.
pub(crate) struct Groups {
    items: Box<dyn Iterator<Item = Result<Item, ItemError>> + Send>,
    /// Whether all items are known already, so that reading one never waits.
    are_all_there: bool,
    rule: GroupRule,
    template: Template,
    /// The items that were read and are in no group yet, each with the most that it adds to the length of a command.
    waiting: VecDeque<(Item, LineLength)>,
    /// The sum of the bytes that the waiting items add.
    waiting_bytes: usize,
    /// An error of the source, which is returned after the waiting items.
    failed: Option<ItemError>,
    /// Whether the source of the items has ended.
    has_ended: bool,
    /// Over how many commands the waiting items are spread, once the source has ended.
    commands_left: usize,
}

impl Groups {
    /// Groups items by this rule for this command.
    ///
    /// `are_all_there` is whether reading an item never waits.
    pub(super) fn new(
        items: impl Iterator<Item = Result<Item, ItemError>> + Send + 'static,
        are_all_there: bool,
        rule: GroupRule,
        template: Template,
    ) -> Self {
        Self {
            items: Box::new(items),
            are_all_there,
            rule,
            template,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            failed: None,
            has_ended: false,
            commands_left: rule.spread_over.map_or(1, as_usize),
        }
    }

    /// Whether reading the next group may wait. A group needs several items, so it may unless all are there.
    pub(super) fn may_wait(&self) -> bool {
        !self.has_ended && !self.are_all_there
    }

    /// Reads the next group.
    pub(super) fn next(&mut self) -> Option<Result<Item, ItemError>> {
        self.fill();
        if self.waiting.is_empty() {
            return self.failed.take().map(Err);
        }
        let most = self.most_of_next();
        let (first, length) = self.take()?;
        let mut line = self.template.fixed_length() + length;
        if !self.rule.allows(line) {
            return Some(Err(self.too_long(&first, line.bytes)));
        }
        let mut group = vec![first];
        while group.len() < most
            && let Some((_, length)) = self.waiting.front()
        {
            line = line + *length;
            if !self.rule.allows(line) {
                break;
            }
            group.extend(self.take().map(|(item, _)| item));
        }
        self.commands_left = (self.commands_left - usize::from(self.has_ended)).max(1);
        let columns = group.iter().flat_map(Item::columns);
        Some(Ok(Item::from_columns(columns)))
    }

    /// Reads items until there are enough for the next group. If the last items are to be spread, these are as many as
    /// the commands of all slots have room for.
    fn fill(&mut self) {
        let commands = if self.rule.spread_over.is_some() {
            self.commands_left
        } else {
            1
        };
        let most = self.rule.most.map_or(usize::MAX, as_usize);
        let items = most.saturating_mul(commands);
        let bytes = self.rule.bytes.saturating_mul(commands);
        while !self.has_ended
            && self.failed.is_none()
            && self.waiting.len() < items
            && self.waiting_bytes <= bytes
        {
            match self.items.next() {
                Some(Ok(item)) => {
                    let length = self.template.added_length(&item);
                    self.waiting_bytes = self.waiting_bytes.saturating_add(length.bytes);
                    self.waiting.push_back((item, length));
                }
                Some(Err(error)) => self.failed = Some(error),
                None => {
                    self.has_ended = true;
                    self.commands_left = self.commands_left.max(self.commands_needed());
                }
            }
        }
    }

    /// Returns how many commands the waiting items need at least.
    fn commands_needed(&self) -> usize {
        let room = self
            .rule
            .bytes
            .saturating_sub(self.template.fixed_length().bytes);
        let by_bytes = self.waiting_bytes.div_ceil(room.max(1));
        let most = self.rule.most.map_or(usize::MAX, as_usize);
        by_bytes.max(self.waiting.len().div_ceil(most))
    }

    /// Returns how many of the waiting items the next command gets at most.
    fn most_of_next(&self) -> usize {
        let most = self.rule.most.map_or(usize::MAX, as_usize);
        if self.has_ended && self.rule.spread_over.is_some() {
            most.min(self.waiting.len().div_ceil(self.commands_left))
        } else {
            most
        }
    }

    fn take(&mut self) -> Option<(Item, LineLength)> {
        let (item, length) = self.waiting.pop_front()?;
        self.waiting_bytes -= length.bytes;
        Some((item, length))
    }

    fn too_long(&self, item: &Item, bytes: usize) -> ItemError {
        let name = plain(&text_of(&item.joined())).into_owned();
        let name: String = name.chars().take(60).collect();
        let most = value::show_size(self.rule.bytes as u64);
        ItemError(format!(
            "the command of the item `{name}` would have {bytes} bytes, and {most} are allowed"
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::map::columns::Columns;
    use crate::map::items::Items;
    use crate::map::lines::ItemEnd;
    use crate::map::split_words;
    use crate::map::word::PlaceholderValues;

    /// Returns the commands of `echo` with these words, for items that are joined by the rule.
    fn commands(words: &[&str], items: &[&str], rule: GroupRule) -> Vec<Result<String, String>> {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let columns = Columns {
            count: rule.columns().unwrap_or(0),
            names: &[],
            are_items: true,
        };
        let template = Template::parse(&words, columns).unwrap();
        let line = [&["x", ":::"], items].concat();
        let line: Vec<OsString> = line.iter().map(OsString::from).collect();
        let lists = split_words(&line).unwrap().1.unwrap();
        let items = Items::lists(lists, ItemEnd::Line).unwrap();
        let mut groups = Groups::new(items, true, rule, template.clone());
        std::iter::from_fn(|| groups.next())
            .map(|group| {
                let item = group.map_err(|bad| bad.0)?;
                let values = PlaceholderValues {
                    item: &item,
                    number: 1,
                    slot: None,
                };
                let words = template.expand(values);
                let bytes: usize = words.iter().map(|word| word.len() + 1).sum();
                assert!(bytes <= rule.bytes, "{bytes}");
                let command = words.join(" ".as_ref());
                Ok(command.into_string().unwrap())
            })
            .collect()
    }

    fn rule(most: u32, bytes: usize, slots: u32) -> GroupRule {
        GroupRule {
            most: NonZeroU32::new(most),
            bytes,
            allowed: 1 << 20,
            spread_over: NonZeroU32::new(slots),
        }
    }

    fn all(commands: Vec<Result<String, String>>) -> Vec<String> {
        commands.into_iter().map(Result::unwrap).collect()
    }

    #[test]
    fn so_many_items_become_the_arguments_of_a_command() {
        let of_two = rule(2, 1000, 0);
        let items = ["a", "b", "c.x"];
        assert_eq!(all(commands(&["e"], &items, of_two)), ["e a b", "e c.x"]);
        let words = ["e", "-{.}-", "{}", "{#}"];
        assert_eq!(
            all(commands(&words, &items, of_two)),
            ["e -a- -b- a b 1", "e -c- c.x 1"]
        );
        let single = ["e", "{2}", "{1/c/d/}", "<{2}>"];
        assert_eq!(
            all(commands(&single, &items, of_two)),
            ["e b a <b>", "e d.x <>"]
        );
    }

    #[test]
    fn commands_are_as_long_as_they_may_be_and_no_longer() {
        // `e` and three words of one byte each.
        let bytes = 4 * 2;
        let items = ["a", "b", "c", "d", "e"];
        assert_eq!(
            all(commands(&["e"], &items, rule(0, bytes, 0))),
            ["e a b c", "e d e"]
        );
        assert_eq!(
            all(commands(&["e"], &items, rule(0, bytes + 1, 0))),
            ["e a b c", "e d e"]
        );
        assert_eq!(all(commands(&["e"], &items, rule(2, bytes, 0))).len(), 3);
        let read = commands(
            &["e"],
            &["a", "long enough to be too long for it", "b"],
            rule(0, bytes, 0),
        );
        assert_eq!(
            (&read[0], &read[2]),
            (&Ok("e a".to_owned()), &Ok("e b".to_owned()))
        );
        assert!(
            read[1].as_ref().unwrap_err().contains("`long enough"),
            "{read:?}"
        );
    }

    #[test]
    fn the_pointers_to_words_count_for_the_system() {
        let allowed = 3 * (2 + size_of::<usize>());
        let few = GroupRule {
            allowed,
            ..rule(0, 1000, 0)
        };
        assert_eq!(
            all(commands(&["e"], &["a", "b", "c"], few)),
            ["e a b", "e c"]
        );
    }

    #[test]
    fn the_last_items_are_spread_over_the_slots() {
        let items = ["a", "b", "c", "d", "e"];
        assert_eq!(
            all(commands(&["e"], &items, rule(0, 1000, 2))),
            ["e a b c", "e d e"]
        );
        assert_eq!(
            all(commands(&["e"], &items[..2], rule(0, 1000, 3))),
            ["e a", "e b"]
        );
        // The line of a command has room for three items, so the first ones are not spread.
        let full = rule(0, 4 * 2, 2);
        let items = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
        let spread = all(commands(&["e"], &items, full));
        assert_eq!(spread, ["e a b c", "e d e f", "e g h", "e i j"]);
    }

    #[test]
    fn a_limit_that_the_system_does_not_have_is_refused() {
        let huge = NonZeroU32::new(u32::MAX);
        let error = GroupRule::new(None, huge, None).unwrap_err();
        assert!(error.to_string().contains("--max-chars"), "{error}");
        let usual = GroupRule::new(None, None, None).unwrap();
        assert!(usual.bytes <= USUAL_BYTES);
    }
}
